# LIDC-IDRI nodule crops of 48 voxels with their masks, published split and augmentation (image and mask turn together).
data_root = "data/lidc/"
normalize = dict(type="Normalize3D", mean=123.675, std=58.395)
# Changes nothing here, since the files have no orientation, but aligns scans to predict.
reorient = dict(type="Reorient3D")
train_pipeline = [
    reorient,
    normalize,
    dict(type="RandomShiftCrop3D", size=48, shift=5),
    dict(type="RandomRotate90"),
    dict(type="RandomFlip3D"),
    dict(type="PackSegmentation"),
]
test_pipeline = [reorient, normalize, dict(type="CenterCrop3D", size=48), dict(type="PackSegmentation")]
dataset = dict(type="LIDCSegmentation", data_root=data_root)
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(**dataset, split="train", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**dataset, split="val", whole_scans=True, pipeline=test_pipeline),
)
test_dataloader = dict(
    batch_size=4,
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**dataset, split="test", whole_scans=True, pipeline=test_pipeline),
)
val_evaluator = dict(type="SegmentationScores", surface=False)
test_evaluator = dict(type="SegmentationScores", resamples=1000)
