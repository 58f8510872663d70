# MP3D63 with the group transform module, the network of the MICCAI 2020 paper, and its three scales.
_base_ = "p3d.py"
model = dict(backbone=dict(type="MP3D", conversion="groupconv"))
train_pipeline = _base_.train_pipeline
train_pipeline[1].sizes = (448, 512, 576)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
