# DeepLesion, official split: windows of 9 slices 2.5 mm apart about the key slices, in several sizes while training.
data_root = "data/deeplesion/"
window = dict(slices=9, spacing=2.5)
grey = (1050 + 1024) / 255  # HU of a step, where -1024 to 1050 HU are the 256 greys that mean and spread are told in
normalize = dict(type="ClipNormalize3D", low=-1024, high=1050, mean=123.675 * grey - 1024, std=58.395 * grey)
train_pipeline = [
    normalize,
    dict(type="RandomChoiceResize3D", sizes=(384, 448, 512, 576, 640)),
    dict(type="RandomFlip3D", axes="DW"),
    dict(type="PackDetection"),
]
test_pipeline = [normalize, dict(type="RandomChoiceResize3D", sizes=(512,)), dict(type="PackDetection")]
dataset = dict(type="DeepLesion", data_root=data_root, prepared="prepared")
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(**dataset, ann_file="annotations/train.json", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**dataset, ann_file="annotations/val.json", pipeline=test_pipeline),
)
test_dataloader = dict(
    batch_size=4,
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**dataset, ann_file="annotations/test.json", pipeline=test_pipeline),
)
val_evaluator = dict(type="DetectionScores")
test_evaluator = dict(type="DetectionScores", resamples=1000)
