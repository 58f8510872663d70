# Class folders of 32 x 32 pictures read as volumes of three slices; one training picture in ten is held out.
data_root = "data/cifar10/"
data_preprocessor = dict(type="VolumeDataPreprocessor", mean=114.495, std=57.63)
read = dict(type="LoadImageFromFile")
pack = [dict(type="PackInputs"), dict(type="ColoursToSlices")]
train_pipeline = [
    read,
    dict(type="mmpretrain.RandomCrop", crop_size=32, padding=4),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="RandomChannelShuffle", prob=1.0),
    *pack,
]
test_pipeline = [read, *pack]
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="ImageFolder", data_root=data_root + "train", part="train", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="ImageFolder", data_root=data_root + "train", part="val", pipeline=test_pipeline),
)
test_dataloader = dict(
    batch_size=100,
    num_workers=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="ImageFolder", data_root=data_root + "test", pipeline=test_pipeline),
)
val_evaluator = test_evaluator = dict(type="Accuracy", topk=(1, 5))
