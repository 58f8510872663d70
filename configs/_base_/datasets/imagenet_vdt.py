# ImageNet-1k folders at 224 pixels, read as volumes of three slices with one grey mean and std, colours shuffled.
data_root = "data/imagenet/"
data_preprocessor = dict(type="VolumeDataPreprocessor", mean=114.495, std=57.63)
read = dict(type="LoadImageFromFile")
pack = [dict(type="PackInputs"), dict(type="ColoursToSlices")]
train_pipeline = [
    read,
    dict(type="RandomResizedCrop", scale=224),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="RandomChannelShuffle", prob=1.0),
    *pack,
]
test_pipeline = [read, dict(type="ResizeEdge", scale=256, edge="short"), dict(type="CenterCrop", crop_size=224), *pack]
train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="ImageNet", data_root=data_root, split="train", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="ImageNet", data_root=data_root, split="val", pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type="Accuracy", topk=(1, 5))
