# A task of the Medical Segmentation Decathlon, prepared; a child names task and folder.
train_pipeline = [
    dict(type="RandomPatch3D", size=(64, 128, 128), foreground=0.33),
    dict(type="FingerprintNormalize"),
    dict(type="RandomSpatial3D", rotate=30, elastic=6, elastic_prob=0.1),
    dict(type="RandomFlip3D"),
    dict(type="RandomGamma3D"),
    dict(type="RandomGaussianNoise", std=0.1, prob=0.15),
    dict(type="RandomBlur3D", prob=0.1),
    dict(type="RandomLowResolution3D", prob=0.15),
    dict(type="RandomContrast3D"),
    dict(type="PackSegmentation"),
]
test_pipeline = [dict(type="FingerprintNormalize"), dict(type="PackSegmentation")]
dataset = dict(type="MSD", prepared="prepared")
train_dataloader = dict(
    batch_size=2,
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
# The Decathlon keeps the labels of its test cases: what is reported here is the fold held out, choices included.
test_dataloader = val_dataloader
val_evaluator = dict(type="SegmentationScores", surface=False)
test_evaluator = dict(type="SegmentationScores", resamples=1000)
