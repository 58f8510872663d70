# StdUNet from VDT weights on task 3 of the Decathlon, liver and its tumours; the other tasks are children of this.
# python tools/dataset/prepare.py msd Task03_Liver.tar data/msd/Task03_Liver --spacing median
_base_ = [
    "../_base_/models/resnet3d-18-unet.py",
    "../_base_/datasets/msd.py",
    "../_base_/schedules/seg_poly_40k.py",
    "../_base_/inits/resnet3d-18.py",
    "../_base_/default_runtime.py",
]
dataset = dict(task=3, data_root="data/msd/Task03_Liver")
model = dict(
    decode_head=dict(num_classes=3),
    test_cfg=dict(inferer=dict(type="SlidingWindow", window=(64, 128, 128), flips="DHW")),
)
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
channels_last = True
default_hooks = dict(checkpoint=dict(interval=4000, save_best="dice"), logger=dict(interval=100))
init = "vdt"
