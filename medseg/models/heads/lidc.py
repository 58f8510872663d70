"""The head of the LIDC segmentation network: three features joined from coarse to fine."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from medseg.models.heads.base import VolumeHead
from medseg.models.layers import conv_block
from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.backbones.resnet3d import DEFAULT_INIT
from vdt3d.models.layers.norms import volume_norm
from vdt3d.models.layers.safe_conv import SafeConv3d
from vdt3d.registry import MODELS


@MODELS.register_module()
class LIDCFCNHead(VolumeHead):
    """Nearest upsampling to the next finer feature, joined with it, and a 1x1x1 convolution, twice; then the scores.

    State-dict names are those of the original VDT release; its conv3 and conv_seg, which it never used, are left out,
    so a file of that time has them left over.

    Args:
        feature_info: of the backbone.
        num_classes: labels to tell apart, background included.
        channels: of the joined features; the release has 512.
        hidden_channels: before the scores.
        in_index: the features to read, finest first.
        norm_cfg: 'BN', 'SyncBN', 'IN' or 'GN' (with ``num_groups``) and the norm's own arguments.
        **options: ``label_map``, ``regions``, ``loss_decode`` and ``init_cfg`` of ``VolumeHead``.
    """

    def __init__(
        self,
        feature_info: Sequence[FeatureInfo],
        num_classes: int,
        *,
        channels: int = 512,
        hidden_channels: int = 128,
        in_index: tuple[int, int, int] = (0, 2, 4),
        norm_cfg: dict | None = None,
        **options,
    ):
        super().__init__(feature_info, num_classes, **{"init_cfg": DEFAULT_INIT, **options})
        self.in_index = in_index
        fine, middle, coarse = (feature_info[index].channels for index in in_index)
        self.conv1 = conv_block(middle + coarse, channels, 1, norm_cfg)
        self.conv2 = conv_block(fine + channels, channels, 1, norm_cfg)
        self.seg_head = nn.Sequential(
            SafeConv3d(channels, hidden_channels, 3, padding=1, bias=False),
            build_norm_layer(volume_norm(norm_cfg), hidden_channels)[1],
            nn.ReLU(inplace=True),
            SafeConv3d(hidden_channels, self.labels.channels, 1),
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        fine, middle, coarse = (features[index] for index in self.in_index)
        x = self.conv1(_joined(middle, coarse))
        return self.seg_head(self.conv2(_joined(fine, x)))


def _joined(skip: Tensor, x: Tensor) -> Tensor:
    return torch.cat([skip, F.interpolate(x, size=skip.shape[2:], mode="nearest")], dim=1)
