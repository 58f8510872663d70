"""The head of a network that ends in scores by itself."""

from collections.abc import Sequence

from torch import Tensor

from medseg.models.heads.base import VolumeHead
from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.registry import MODELS


@MODELS.register_module()
class PseudoHead(VolumeHead):
    """Takes the last feature for the scores and adds only labels and loss; it has no parameters.

    Args:
        feature_info: of the network; its last feature has one channel per class or region.
        num_classes: labels to tell apart; when left out, the channels of the last feature.
        **options: ``label_map``, ``regions`` and ``loss_decode`` of ``VolumeHead``.

    Raises:
        ValueError: the last feature has another number of channels than there are classes or regions.
    """

    def __init__(self, feature_info: Sequence[FeatureInfo], num_classes: int | None = None, **options):
        given = feature_info[-1].channels
        super().__init__(feature_info, given if num_classes is None else num_classes, **options)
        if given != self.labels.channels:
            raise ValueError(
                f"the network ends in {given} channels ({feature_info[-1].name}) for {self.labels.channels} classes or "
                "regions; give it as many (UNet3D: num_classes), and PseudoHead the num_classes of its labels"
            )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return features[-1]
