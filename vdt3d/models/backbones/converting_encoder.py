"""ConvertingEncoder: window encoders whose network answers volumes, of which a conversion makes maps of one slice."""

from collections.abc import Sequence

from torch import Tensor

from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.backbones.resnet3d import accept
from vdt3d.models.backbones.window_backbone import WindowBackbone
from vdt3d.models.layers.group_transform import CONVERSIONS


class ConvertingEncoder(WindowBackbone):
    """What turns windows (N, C, n, H, W) into volumes first; a subclass defines ``volumes`` and calls ``convert``.

    Args:
        conversion: 'center_crop' takes the slice the window is about; 'groupconv' is the group transform module, of
            each channel a learnt sum over the slices; 'conv3d' a learnt sum over slices and channels; 'keep3d' leaves
            volumes, of windows of any number of slices, as pre-training on photographs needs them. Layers with weights
            start as 'center_crop' and are called groupconv_1, ... or conv3d_all_1, ... after their stage.
        **kwargs: as ``WindowBackbone``'s.

    Raises:
        ValueError: an unknown conversion.
    """

    def __init__(self, *, conversion: str = "center_crop", **kwargs):
        super().__init__(**kwargs)
        accept("conversion", conversion, CONVERSIONS)
        self.conversion = conversion

    def convert(self, infos: Sequence[FeatureInfo], depths: Sequence[int], places: Sequence[int]) -> None:
        """Add a layer for each of the volumes that ``infos`` announce, and announce its maps.

        Args:
            depths: how many slices each volume has.
            places: which of them, from 0, is the one the window is about.
        """
        name, layer = CONVERSIONS[self.conversion]
        self.conversion_names = [f"{name}_{info.name.removeprefix('layer')}" for info in infos]
        for child, info, *slices in zip(self.conversion_names, infos, depths, places, strict=True):
            self.add_module(child, layer(info.channels, *slices))
        self.feature_info = tuple(infos)
        # Conversions are behind the features and begin as the slice alone: a file may have others, or none.
        tensors = [
            (kind, f"{kind}_{child.rpartition('_')[2]}.{tensor}")
            for kind, _ in CONVERSIONS.values()
            for child in self.conversion_names
            for tensor in ("weight", "bias")
        ]
        self.fresh_weights = frozenset(key for kind, key in tensors if kind == name)
        self.left_out = frozenset(key for kind, key in tensors if kind != name)

    def volumes(self, x: Tensor) -> Sequence[Tensor]:
        """The volumes (N, c, d, h, w) of windows (N, ``in_channels``, n, H, W)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The maps that ``feature_info`` announces, of windows (N, ``in_channels``, n, H, W).

        Raises:
            ValueError: windows of another number of slices, unless volumes are kept.
        """
        if x.shape[2] != self.window.slices and self.conversion != "keep3d":
            raise ValueError(f"a window of {x.shape[2]} slices for a network of {self.window.slices}")
        volumes = self.volumes(x)
        return tuple(getattr(self, name)(volume) for name, volume in zip(self.conversion_names, volumes, strict=True))
