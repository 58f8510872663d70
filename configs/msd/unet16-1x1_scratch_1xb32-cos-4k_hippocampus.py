# The same U-Net with each slice by itself: 2D.
_base_ = "./unet16-5x1_scratch_1xb32-cos-4k_hippocampus.py"
model = dict(window=dict(slices=1))
train_dataloader = dict(dataset=dict(window=dict(slices=1)))
