# Cine MRI of the heart at end diastole and end systole (ACDC); slices are 5 to 10 mm apart, so patches are flat.
data_root = "data/acdc/"
split_file = "data/splits/acdc.json"
train_pipeline = [
    dict(type="RandomPatch3D", size=(12, 224, 224), foreground=0.33),
    dict(type="FingerprintNormalize"),
    dict(type="RandomSpatial3D", rotate=30, rotate_prob=0.3, scale_prob=0.3, elastic=6, elastic_prob=0.1),
    dict(type="RandomFlip3D", axes="HW"),
    dict(type="RandomGamma3D"),
    dict(type="RandomGaussianNoise", std=0.1, prob=0.15),
    dict(type="RandomBlur3D", prob=0.1),
    dict(type="RandomContrast3D"),
    dict(type="PackSegmentation"),
]
test_pipeline = [dict(type="FingerprintNormalize"), dict(type="PackSegmentation")]
dataset = dict(type="ACDC", data_root=data_root, split_file=split_file, prepared="prepared")
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(**dataset, split="train", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**dataset, split="val", whole_scans=True, pipeline=test_pipeline),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**dataset, split="test", whole_scans=True, pipeline=test_pipeline),
)
val_evaluator = dict(type="SegmentationScores", surface=False)
test_evaluator = dict(type="SegmentationScores", resamples=1000)
