# The same U-Net with 3 neighbouring slices.
_base_ = "./unet16-5x1_scratch_1xb32-cos-4k_hippocampus.py"
model = dict(window=dict(slices=3))
train_dataloader = dict(dataset=dict(window=dict(slices=3)))
