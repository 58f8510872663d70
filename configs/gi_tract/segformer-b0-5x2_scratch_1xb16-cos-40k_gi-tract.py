# SegFormer-B0 from scratch (its own file: load_from=FILE) in place of ResNet-34 with a U-Net.
_base_ = "./resnet34-unet-5x2_in1k_1xb16-cos-40k_gi-tract.py"
model = dict(
    backbone=dict(
        _delete_=True,
        type="MixVisionTransformer",
        embed_dims=32,
        num_layers=[2, 2, 2, 2],
        num_heads=[1, 2, 5, 8],
        sr_ratios=[8, 4, 2, 1],
        qkv_bias=True,
        drop_path_rate=0.1,
    ),
    neck=None,
    decode_head=dict(
        _delete_=True, type="SegformerHead", in_index=[0, 1, 2, 3], channels=256, norm_cfg=dict(type="SyncBN")
    ),
)
load_from = None
