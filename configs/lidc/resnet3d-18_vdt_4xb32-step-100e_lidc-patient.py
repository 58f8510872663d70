# From VDT weights, on our split by patient: the published one shares 268 patients between training and test.
_base_ = "resnet3d-18_vdt_4xb32-step-100e_lidc.py"
train_dataloader = dict(dataset=dict(by="patient"))
val_dataloader = dict(dataset=dict(by="patient"))
test_dataloader = dict(dataset=dict(by="patient"))
