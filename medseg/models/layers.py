"""What decoders and heads are made of: convolution, norm, ReLU over volumes (N, C, D, H, W)."""

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import Tensor

from vdt3d.models.layers.norms import volume_norm
from vdt3d.models.layers.safe_conv import SafeConv3d


def conv_block(in_channels: int, out_channels: int, kernel: int, norm_cfg: dict | None) -> ConvModule:
    """Convolution without bias, norm (``.bn``, ``.in`` or ``.gn`` in the state dict) and ReLU; the size stays."""
    conv_cfg, norm_cfg = {"type": SafeConv3d}, volume_norm(norm_cfg)
    return ConvModule(in_channels, out_channels, kernel, padding=kernel // 2, conv_cfg=conv_cfg, norm_cfg=norm_cfg)


def to_size(x: Tensor, size: tuple[int, int, int]) -> Tensor:
    """``x`` trilinearly at ``size`` (D, H, W)."""
    if x.shape[2:] == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="trilinear", align_corners=False)
