# Task 7 of the Decathlon: pancreas and its tumours in CT.
_base_ = "resnet3d-18-unet_vdt_1xb4-poly-40k_liver.py"
dataset = dict(task=7, data_root="data/msd/Task07_Pancreas")
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
