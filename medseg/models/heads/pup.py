"""The progressively upsampling decoder of SETR over one map of a transformer; shapes are (N, C, H, W)."""

from collections.abc import Sequence
from itertools import pairwise

from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn
from torch.nn import functional

from vdt3d.registry import MODELS

STEPS = 4


@MODELS.register_module()
class PUPHead(BaseDecodeHead):
    """Four 3x3 convolutions with norm and ReLU, each of the first three doubling the size, and the scores.

    SETR-PUP (Zheng et al. 2021) as TransSeg has it (Zhang et al. 2022): a map of stride 16 gives scores at stride 2,
    which the segmentor brings to full size. mmsegmentation's ``SETRUPHead`` differs: it norms the tokens first, doubles
    the size once more before the scores, and takes batch norms. The convolutions have no bias: an instance norm would
    take it off again.

    Args:
        in_channels: of the map.
        channels: of the convolutions; those of the map when left out.
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
        how = {"conv_cfg": self.conv_cfg, "norm_cfg": self.norm_cfg, "act_cfg": self.act_cfg}
        widths = [in_channels, *[channels] * STEPS]
        self.convs = nn.ModuleList(ConvModule(given, wanted, 3, padding=1, **how) for given, wanted in pairwise(widths))

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Scores (N, K, 8 h, 8 w) of maps of which the one read is (N, ``in_channels``, h, w)."""
        first, *others = self.convs
        x = first(self._transform_inputs(inputs))
        for conv in others:
            x = conv(functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=self.align_corners))
        return self.cls_seg(x)
