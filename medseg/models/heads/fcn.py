"""A few convolutions on the finest feature, with scores at coarser features while training if wanted."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from medseg.models.heads.base import VolumeHead
from medseg.models.layers import conv_block
from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.backbones.resnet3d import DEFAULT_INIT
from vdt3d.models.layers.safe_conv import SafeConv3d
from vdt3d.registry import MODELS


@MODELS.register_module()
class FCNHead3D(VolumeHead):
    """3x3x3 convolutions with norm and ReLU, dropout, and a 1x1x1 convolution to the scores.

    State-dict names are those of the original VDT release (convs.{j}.conv, conv_seg). Its scores began near 0, with
    weights of N(0, 0.01); under AdamW and Dice such a network learnt nothing for 800 steps that now takes it 50.

    Args:
        feature_info: of the neck.
        num_classes: labels to tell apart, background included.
        channels: of the convolutions.
        num_convs: how many; with 0 the scores come straight from the feature.
        dropout_ratio: chance of a whole channel to be dropped.
        in_index: which feature to read.
        deep_supervision: how many of the features before that one, each coarser, are given scores of their own and
            supervised in training.
        norm_cfg: 'BN', 'SyncBN', 'IN' or 'GN' (with ``num_groups``) and the norm's own arguments.
        **options: ``label_map``, ``regions``, ``loss_decode`` and ``init_cfg`` of ``VolumeHead``.

    Raises:
        ValueError: there are fewer features before ``in_index`` than ``deep_supervision``, or they are not coarser.
    """

    def __init__(
        self,
        feature_info: Sequence[FeatureInfo],
        num_classes: int,
        *,
        channels: int = 16,
        num_convs: int = 2,
        dropout_ratio: float = 0.1,
        in_index: int = -1,
        deep_supervision: int = 0,
        norm_cfg: dict | None = None,
        **options,
    ):
        super().__init__(feature_info, num_classes, **{"init_cfg": DEFAULT_INIT, **options})
        self.in_index = range(len(feature_info))[in_index]
        widths = [feature_info[self.in_index].channels, *[channels] * num_convs]
        self.convs = nn.Sequential(*[conv_block(given, wanted, 3, norm_cfg) for given, wanted in pairwise(widths)])
        self.dropout = nn.Dropout3d(dropout_ratio)
        self.conv_seg = SafeConv3d(widths[-1], self.labels.channels, 1)

        last = self.in_index - deep_supervision
        supervised = [feature_info[index] for index in range(self.in_index, last - 1, -1) if index >= 0]
        strides = [info.stride for info in supervised]
        if last < 0 or strides != sorted(set(strides)):
            raise ValueError(
                f"deep_supervision={deep_supervision} wants as many features before number {self.in_index}, each "
                f"coarser than the next; the strides there are {strides}"
            )
        self.aux_seg = nn.ModuleList(SafeConv3d(info.channels, self.labels.channels, 1) for info in supervised[1:])

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.conv_seg(self.dropout(self.convs(features[self.in_index])))

    def all_scales(self, features: Sequence[Tensor]) -> list[Tensor]:
        coarser = [layer(features[self.in_index - k]) for k, layer in enumerate(self.aux_seg, 1)]
        return [self(features), *coarser]
