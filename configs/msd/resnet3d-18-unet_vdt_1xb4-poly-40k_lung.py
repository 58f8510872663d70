# Task 6 of the Decathlon: lung tumours in CT.
_base_ = "resnet3d-18-unet_vdt_1xb4-poly-40k_liver.py"
dataset = dict(task=6, data_root="data/msd/Task06_Lung")
model = dict(decode_head=dict(num_classes=2))
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
