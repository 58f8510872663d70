# Task 1 of the Decathlon: brain tumours in four MRI channels, as overlapping regions; from scratch, see the README.
_base_ = "resnet3d-18-unet_vdt_1xb4-poly-40k_liver.py"
dataset = dict(task=1, data_root="data/msd/Task01_BrainTumour")
regions = dict(whole=(1, 2, 3), core=(2, 3), enhancing=(3,))
model = dict(backbone=dict(in_channels=4), decode_head=dict(num_classes=4, regions=regions))
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
val_evaluator = test_evaluator = dict(labels={name: list(labels) for name, labels in regions.items()})
inits = init = None  # the weights of the table are for one channel
