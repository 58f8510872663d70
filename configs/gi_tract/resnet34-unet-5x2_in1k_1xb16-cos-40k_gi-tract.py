# Five slices, every second one: 24 mm of context.
_base_ = "./resnet34-unet-3x1_in1k_1xb16-cos-40k_gi-tract.py"
model = dict(window=dict(slices=5, stride=2))
train_dataloader = dict(dataset=dict(window=dict(slices=5, stride=2)))
