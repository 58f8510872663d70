# AdrenalMNIST3D at 28 voxels with the official split; a child names another of the six sets or size=64.
data_root = "data/medmnist/"
name = "adrenalmnist3d"
data_preprocessor = dict(type="VolumeDataPreprocessor", mean=0, std=255)
reorient = dict(
    type="Reorient3D"
)  # changes nothing in these volumes, which have no orientation, but aligns scans to predict
train_pipeline = [
    reorient,
    dict(type="Pad3D", size=32),
    dict(type="RandomShiftCrop3D", size=28, shift=2),
    dict(type="RandomFlip3D"),
    dict(type="PackVolume"),
]
test_pipeline = [reorient, dict(type="PackVolume")]
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="MedMNIST3D", data_root=data_root, name=name, split="train", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="MedMNIST3D", data_root=data_root, name=name, split="val", pipeline=test_pipeline),
)
test_dataloader = dict(
    batch_size=32,
    num_workers=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="MedMNIST3D", data_root=data_root, name=name, split="test", pipeline=test_pipeline),
)
val_evaluator = dict(type="ClassificationScores", threshold="choose")
test_evaluator = dict(type="ClassificationScores", threshold="val", resamples=1000)
