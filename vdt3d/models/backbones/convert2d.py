"""Any 2D network as a backbone of volumes: of torchvision, of timm, or registered by mmpretrain.

Shapes are (N, C, D, H, W).
"""

from collections.abc import Sequence
from functools import partial

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.backbones.feature_maps import choose, maps_of, picture_network, strides_of, with_features
from vdt3d.models.backbones.input_statistics import statistics_of
from vdt3d.models.inflate.kernels import fit_input_channels
from vdt3d.models.inflate.modules import PROBE, depth_error, exchanged, fit_first_conv, probe
from vdt3d.models.probing import probe_output
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
        network = picture_network(model)
        self.input_statistics = statistics_of(model, network)
        if not isinstance(model, str):
            _check_maps(network)
        network, whole = exchanged(network, how, depth_padding=depth_padding), set(network.state_dict())
        channels = fit_first_conv(network, in_channels, rgb)
        names = None
        if isinstance(model, str):
            if model.startswith("timm."):
                probe(network, channels)  # names the layer that fails, which is no longer known after tracing
            network, names = with_features(network, (channels, *PROBE), out_indices)
            out_indices = None
        self.channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
        maps = self._maps(probe(network, channels))
        strides = strides_of(type(network).__name__, maps, (channels, *PROBE))
        self.network, self.taken = network, choose(out_indices, len(maps), type(network).__name__)
        self.left_out = frozenset(f"network.{key}" for key in whole - set(network.state_dict()))
        self.feature_info = tuple(
            FeatureInfo(f"feature{name}", maps[index].shape[1], (strides[index],) * 3)
            for index, name in zip(self.taken, names or self.taken, strict=True)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the features that ``feature_info`` announces, of (N, ``in_channels``, D, H, W).

        Raises:
            ValueError: the volume has too few slices; the message contains the least number.
        """
        try:
            maps = self._maps(self.network(x))
        except RuntimeError as error:
            raise depth_error(self.network, x, error)  # noqa: B904 it is ``error`` mostly
        return tuple(maps[index] for index in self.taken)

    def _maps(self, output: object) -> list[Tensor]:
        # Blocks of timm's SelecSLS return several maps, of which the first is the stage's.
        maps = [each[0] if isinstance(each, list) else each for each in maps_of(output)]
        return [each.movedim(-1, 1) if self.channels_last else each for each in maps]


def _check_maps(network: nn.Module) -> None:
    """Raise ConversionError if a 2D network returns something else than maps, such as scores of classes."""
    channels = next((module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if channels is not None:
        shape = (channels, *PROBE[1:])
        maps = maps_of(probe_output(network, torch.zeros(1, *shape, device="meta")))
        strides_of(type(network).__name__, maps, shape)
