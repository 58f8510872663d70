"""The decoder of transposed convolutions over one map of a transformer; shapes are (N, C, H, W)."""

from collections.abc import Sequence
from itertools import pairwise

from mmcv.cnn import ConvModule, build_activation_layer, build_norm_layer
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from vdt3d.registry import MODELS

STEPS = 3  # before that of the scores


@MODELS.register_module()
class ConvTransHead(BaseDecodeHead):
    """Norm and ReLU of the map, three transposed convolutions with norm and ReLU, and one that ends in the scores.

    Each doubles the size, so that a map of stride 16 gives scores at full size (TransSeg, Zhang et al. 2022). Those
    before a norm have no bias: an instance norm would take it off again.

    Args:
        in_channels: of the map.
        channels: of the transposed convolutions; those of the map when left out.
        norm_cfg: of mmcv; instance norms without parameters when left out.
        dropout_ratio: chance of a whole channel to be dropped before the scores; TransSeg has none.
        **options: ``num_classes``, ``in_index`` (the last map when left out), ``act_cfg`` and others
            of ``BaseDecodeHead``.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int | None = None,
        *,
        norm_cfg: dict | None = None,
        dropout_ratio: float = 0,
        **options,
    ):
        channels = in_channels if channels is None else channels
        super().__init__(
            in_channels, channels, norm_cfg=norm_cfg or {"type": "IN"}, dropout_ratio=dropout_ratio, **options
        )
        how = {"conv_cfg": {"type": nn.ConvTranspose2d}, "norm_cfg": self.norm_cfg, "act_cfg": self.act_cfg}
        widths = [in_channels, *[channels] * STEPS]
        norm = build_norm_layer(self.norm_cfg, in_channels)[1]
        self.start = nn.Sequential(norm, build_activation_layer(self.act_cfg))
        convs = [ConvModule(given, wanted, 2, stride=2, **how) for given, wanted in pairwise(widths)]
        self.convs = nn.Sequential(*convs)
        self.conv_seg = nn.ConvTranspose2d(channels, self.out_channels, 2, stride=2)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Scores (N, K, 16 h, 16 w) of maps of which the one read is (N, ``in_channels``, h, w)."""
        return self.cls_seg(self.convs(self.start(self._transform_inputs(inputs))))
