# MR scans with stomach and bowels (UW-Madison GI Tract), prepared, in windows of slices of 320 x 384, five folds.
# The folds: python tools/dataset/split.py data/gi_tract --out data/gi_tract/splits.json; FOLD=1 in the environment
# takes the second.
data_root = "data/gi_tract/"
window = dict(slices=5, stride=2)
# The grey mean and spread of ImageNet's colours, for encoders that come from there.
normalize = [dict(type="Percentile3D"), dict(type="Normalize3D", mean=0.449, std=0.226)]
train_pipeline = [
    *normalize,
    dict(type="RandomSpatial3D", in_slices=True, rotate=10, rotate_prob=0.5, scale=(0.9, 1.1), scale_prob=0.5),
    dict(type="RandomPatch3D", size=(None, 320, 384), foreground=0),
    dict(type="RandomFlip3D", axes="W"),
    dict(type="RandomGamma3D"),
    dict(type="RandomGaussianNoise", std=0.1, prob=0.15),
    dict(type="PackSegmentation"),
]
test_pipeline = [*normalize, dict(type="PackSegmentation")]
dataset = dict(
    type="GITract", data_root=data_root, prepared="prepared", split_file="splits.json", fold=int("{{$FOLD:0}}")
)
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="SliceWindows", dataset=dict(**dataset, split="train"), pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**dataset, split="val", whole_scans=True, pipeline=test_pipeline),
)
# The challenge keeps the labels of its test cases: what is reported here is the fold held out, choices included.
test_dataloader = val_dataloader
val_evaluator = dict(type="SegmentationScores", surface=False)
test_evaluator = [dict(type="GITractScore"), dict(type="SegmentationScores", resamples=1000)]
