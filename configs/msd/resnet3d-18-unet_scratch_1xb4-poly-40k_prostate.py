# Task 5 of the Decathlon: two zones of the prostate in two MRI channels, slices 3.6 mm apart; from scratch.
_base_ = "resnet3d-18-unet_vdt_1xb4-poly-40k_liver.py"
patch = (16, 256, 256)
dataset = dict(task=5, data_root="data/msd/Task05_Prostate")
model = dict(backbone=dict(in_channels=2, depth_stride=False), test_cfg=dict(inferer=dict(window=patch, flips="HW")))
train_pipeline = [
    dict(type="RandomPatch3D", size=patch, foreground=0.33),
    dict(type="FingerprintNormalize"),
    dict(type="RandomSpatial3D", rotate=30, elastic=6, elastic_prob=0.1),
    dict(type="RandomFlip3D", axes="HW"),
    dict(type="RandomGamma3D"),
    dict(type="RandomGaussianNoise", std=0.1, prob=0.15),
    dict(type="RandomContrast3D"),
    dict(type="PackSegmentation"),
]
train_dataloader = dict(dataset=dict(**dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
inits = init = None  # the weights of the table are for one channel
