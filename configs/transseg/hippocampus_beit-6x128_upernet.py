# A small TransSeg for a CPU: six blocks of width 128 over 5 slices of hippocampus in patches of 4, from scratch.
_base_ = "../msd/unet16-5x1_scratch_1xb32-cos-4k_hippocampus.py"
size = (None, 64, 48)
norm_cfg = dict(type="SyncBN")
model = dict(
    backbone=dict(
        _delete_=True,
        type="BEiT3D",
        img_size=size[1:],
        patch_size=4,
        embed_dims=128,
        depth=6,
        num_heads=4,
        out_indices=(1, 3, 4, 5),
    ),
    # Half, a quarter, an eighth and a sixteenth of the resolution.
    neck=dict(type="Feature2Pyramid", rescales=[2, 1, 0.5, 0.25], norm_cfg=norm_cfg),
    decode_head=dict(
        _delete_=True, type="UPerHead", in_index=(0, 1, 2, 3), channels=64, dropout_ratio=0, norm_cfg=norm_cfg
    ),
)
test_pipeline = [
    _base_.reorient,
    dict(type="ZScore"),
    dict(type="Pad3D", size=size),
    dict(type="PackSegmentation"),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.05))
