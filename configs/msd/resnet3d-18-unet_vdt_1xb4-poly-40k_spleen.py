# Task 9 of the Decathlon: spleen in CT.
_base_ = "resnet3d-18-unet_vdt_1xb4-poly-40k_liver.py"
dataset = dict(task=9, data_root="data/msd/Task09_Spleen")
model = dict(decode_head=dict(num_classes=2))
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
