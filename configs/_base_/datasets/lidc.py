# LIDC-IDRI nodule crops of 48 voxels, benign against malignant, with the published split, label rule and augmentation.
data_root = "data/lidc/"
# Changes nothing here, since the files have no orientation, but aligns scans to predict.
reorient = dict(type="Reorient3D")
train_pipeline = [
    reorient,
    dict(type="Normalize3D", mean=99, std=77),
    dict(type="RandomShiftCrop3D", size=48, shift=5),
    dict(type="RandomRotate90"),
    dict(type="RandomFlipOneAxis3D"),
    dict(type="PackVolume"),
]
test_pipeline = [
    reorient,
    dict(type="Normalize3D", mean=99, std=77),
    dict(type="CenterCrop3D", size=48),
    dict(type="PackVolume"),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="LIDCClassification", data_root=data_root, split="train", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="LIDCClassification", data_root=data_root, split="val", pipeline=test_pipeline),
)
test_dataloader = dict(
    batch_size=32,
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="LIDCClassification", data_root=data_root, split="test", pipeline=test_pipeline),
)
val_evaluator = dict(type="ClassificationScores", threshold="choose")
test_evaluator = dict(type="ClassificationScores", threshold="val", resamples=1000)
