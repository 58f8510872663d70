# The LIDC network, narrow, on other nodule crops in LIDC's format: the mask is called `seg`, the case lists are a json.
_base_ = "resnet3d-18-fcn_scratch_8xb4-poly-13k_lidc-seg.py"
data_root = "data/sjtu_m3dv_nodules/"
dataset = dict(data_root=data_root, folder="nodules64", label_key="seg", split_file="split.json")
model = dict(backbone=dict(base_channels=16), decode_head=dict(channels=32, hidden_channels=16))
train_dataloader = dict(dataset=dataset, num_workers=1)
val_dataloader = dict(dataset=dataset, num_workers=1)
test_dataloader = dict(dataset=dataset, num_workers=1)
train_cfg = dict(max_iters=1000, val_interval=200)
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(checkpoint=dict(interval=200), logger=dict(interval=20))
inits = init = None  # the weights of the table are for another width
