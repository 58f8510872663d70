# The 2D baseline of the same width: a ResNet-18 to which three slices are the colours.
_base_ = "./detect.py"
window = dict(slices=3, spacing=2.5)
model = dict(
    backbone=dict(
        _delete_=True,
        type="ResNet",
        depth=18,
        stem_channels=16,
        base_channels=16,
        out_indices=(0, 1, 2, 3),
        norm_cfg=dict(type="GN", num_groups=4),
    ),
)
