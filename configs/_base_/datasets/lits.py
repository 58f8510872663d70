# CT of livers with tumours (LiTS), the published split 105/13/13, resampled to 1 mm between slices, published window.
# vdt3d prepare lits downloads/lits data/lits --label-geometry image --spacing 1 None None
data_root = "data/lits/"
split_file = "data/splits/lits.json"
# The release stored the window as 0 to 255; here it is 0 to 1.
normalize = [
    dict(type="Window", center=25, width=450),
    dict(type="Normalize3D", mean=123.675 / 255, std=58.395 / 255),
]
train_pipeline = [
    # Half of the patches lie anywhere, half where there is liver, as the published list names every scan twice.
    dict(type="RandomPatch3D", size=(32, 320, 320), foreground=0.5),
    *normalize,
    dict(type="RandomResize3D", scale=(0.8, 1.2)),
    dict(type="RandomPatch3D", size=(32, 256, 256), foreground=0, pad_value=0),
    dict(type="RandomFlip3D", axes="DW"),
    dict(type="PackSegmentation"),
]
test_pipeline = [*normalize, dict(type="PackSegmentation")]
dataset = dict(type="LiTS", data_root=data_root, split_file=split_file, prepared="prepared", spacing=(1.0, None, None))
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
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**dataset, split="test", whole_scans=True, pipeline=test_pipeline),
)
val_evaluator = dict(type="SegmentationScores", surface=False)
test_evaluator = dict(type="SegmentationScores", resamples=1000)
