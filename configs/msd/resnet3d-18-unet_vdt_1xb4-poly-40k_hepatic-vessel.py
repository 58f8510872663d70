# Task 8 of the Decathlon: liver vessels and tumours in CT.
_base_ = "resnet3d-18-unet_vdt_1xb4-poly-40k_liver.py"
dataset = dict(task=8, data_root="data/msd/Task08_HepaticVessel")
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
