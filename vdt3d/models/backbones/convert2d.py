"""Any 2D network as a backbone of volumes: of torchvision, of timm, or registered by mmpretrain.

Shapes are (N, C, D, H, W).
"""

from collections.abc import Sequence
from functools import partial

from mmengine.model import BaseModule
from torch import Tensor

from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.backbones.feature_maps import choose, maps_of, picture_network, stride_of, with_features
from vdt3d.models.backbones.input_statistics import statistics_of
from vdt3d.models.inflate.kernels import fit_input_channels
from vdt3d.models.inflate.modules import PROBE, ConversionError, exchanged, fit_first_conv, probe
from vdt3d.registry import MODELS


@MODELS.register_module()
class Convert2d(BaseModule):
    """A 2D network turned into 3D by ``to_3d``, without its classifier.

    Its features are those that timm announces, or a config's network returns; of torchvision's networks, at each
    resolution the last map that no shortcut goes around. State-dict keys are ``network.`` and the key of the 2D
    network, so ``load_from`` takes its 2D checkpoints.

    Args:
        model: 'torchvision.NAME', 'timm.NAME', or the config of a registered 2D
            backbone that returns a tuple of maps.
        how: 'i3d', 'centre', 'acs' or '2.5d'.
        in_channels: of the volumes.
        out_indices: which of the features to return, the finest first; all when left out.
        depth_padding: 'zeros' or 'replicate'.
        rgb: 'sum' or 'mean': how the first convolution's colours become one channel, also of checkpoints.

    Attributes:
        input_statistics: mean and standard deviation that the 2D network's pretrained weights expect.

    Raises:
        ConversionError: the network, or a part of it, cannot be converted; the message names it.
        ValueError: an argument is none of the accepted.
    """

    def __init__(
        self,
        model: str | dict,
        how: str = "i3d",
        *,
        in_channels: int = 1,
        out_indices: Sequence[int] | None = None,
        depth_padding: str = "zeros",
        rgb: str = "sum",
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.how, self.in_channels = how, in_channels
        self.fit_input = partial(fit_input_channels, rgb=rgb)  # of checkpoints, when they are loaded
        source = picture_network(model)
        self.input_statistics = statistics_of(model, source)
        network = exchanged(source, how, depth_padding=depth_padding)
        channels = fit_first_conv(network, in_channels, rgb)
        names = None
        if isinstance(model, str):
            if model.startswith("timm."):
                probe(network, channels)  # names the layer that fails, which is no longer known after tracing
            network, names = with_features(network, (channels, *PROBE), out_indices)
            out_indices = None
        maps = maps_of(probe(network, channels))
        strides = [stride_of(features, (channels, *PROBE)) for features in maps]
        if None in strides:
            raise ConversionError(f"{model} has maps of {[tuple(m.shape[2:]) for m in maps]} for an input of {PROBE}")
        self.network, self.taken = network, choose(out_indices, len(maps), type(network).__name__)
        self.feature_info = tuple(
            FeatureInfo(f"feature{name}", maps[index].shape[1], (strides[index],) * 3)
            for index, name in zip(self.taken, names or self.taken, strict=True)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The features that ``feature_info`` announces, of (N, ``in_channels``, D, H, W)."""
        maps = maps_of(self.network(x))
        return tuple(maps[index] for index in self.taken)
