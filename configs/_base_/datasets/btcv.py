# Abdominal CT with 13 organs (BTCV, also called BCV), UNETR's split 24/6, with the published patches and normalisation.
data_root = "data/btcv/"
split_file = "data/splits/btcv_unetr.json"
normalize = dict(type="Normalize3D", mean=83, std=137)
train_pipeline = [
    dict(type="RandomZCrop", depth=32, cat_max_ratio=0.95),
    normalize,
    dict(type="RandomResize3D", scale=(0.8, 1.2)),
    dict(type="RandomPatch3D", size=(32, 256, 256), foreground=0, pad_value=0),
    dict(type="RandomFlip3D", axes="DW"),
    dict(type="PackSegmentation"),
]
test_pipeline = [normalize, dict(type="PackSegmentation")]
dataset = dict(type="BTCV", data_root=data_root, split_file=split_file, prepared="prepared")
train_dataloader = dict(
    batch_size=1,
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
