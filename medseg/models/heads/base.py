"""What every segmentation head has: the labels it knows, its loss, scores at one scale or several."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from mmengine.model import BaseModule
from torch import Tensor

from medseg.models.layers import to_size
from medseg.models.losses import build_loss
from medseg.models.targets import LabelScheme, shrink_targets
from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.structures import SegmentationSample


class VolumeHead(BaseModule):
    """A head over features (N, C, D, H, W) as ``feature_info`` announces them; subclasses say how scores arise.

    Args:
        feature_info: of the neck, or of the backbone where there is no neck.
        num_classes: labels to tell apart, background included.
        label_map: merges or drops labels; see ``LabelScheme``.
        regions: overlapping regions in place of exclusive classes; see ``LabelScheme``.
        loss_decode: a loss of ``medseg.models.losses``, or a list of them to be added; Dice and cross-entropy
            (``DiceCELoss3D``) when left out.
        init_cfg: how to initialise the head.
    """

    def __init__(
        self,
        feature_info: Sequence[FeatureInfo],
        num_classes: int,
        *,
        label_map: Mapping[int, int] | None = None,
        regions: Mapping[str, Sequence[int]] | None = None,
        loss_decode: dict | list[dict] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ):
        super().__init__(init_cfg)
        self.feature_info = tuple(feature_info)
        self.labels = LabelScheme(num_classes, label_map=label_map, regions=regions)
        self.loss_decode = build_loss(loss_decode or {"type": "DiceCELoss3D"})

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Scores (N, K, d, h, w), one per class or region, before softmax or sigmoid."""
        raise NotImplementedError

    def all_scales(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The scores, and those at coarser scales that training supervises too, each scale coarser than the last."""
        return [self(features)]

    def loss(
        self, features: Sequence[Tensor], samples: Sequence[SegmentationSample], size: Sequence[int]
    ) -> dict[str, Tensor]:
        """The terms of the loss as ``loss_<term>``; the k-th scale weighs 1 / 2^k, all together 1.

        The finest scores are compared at ``size`` (D, H, W), that of the input; coarser ones at their own size.
        """
        targets = self.labels.targets(samples, size)
        scales = self.all_scales(features)
        scales[0] = to_size(scales[0], size)
        losses, total = defaultdict(float), sum(0.5**k for k in range(len(scales)))
        for k, scores in enumerate(scales):
            parts = self.loss_decode.parts(scores, shrink_targets(targets, scores.shape[2:]))
            for name, value in parts.items():
                losses[f"loss_{name}"] += value * (0.5**k / total)
        return dict(losses)
