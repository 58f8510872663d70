"""WindowEncoder and PictureEncoder: any 2D network as a backbone of windows of slices, or of images.

Windows are (N, C, n, H, W), images (N, C, H, W).
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.backbones.feature_maps import maps_of
from vdt3d.models.backbones.image_network import can_inflate_input, image_network
from vdt3d.models.backbones.input_statistics import statistics_of
from vdt3d.models.backbones.window_backbone import WindowBackbone
from vdt3d.models.inflate.kernels import COLOURS, fit_input_channels, spread_over_slices
from vdt3d.registry import MODELS
from vdt3d.structures import SliceWindow


@MODELS.register_module()
class WindowEncoder(WindowBackbone):
    """A 2D network that reads the slices of a window as the channels of one image; only its first layer is inflated.

    All else is the network's own, with its own forward code. When 2D weights are loaded, the kernels of the first layer
    spread over the slices such that a window of equal slices gives the maps of that slice repeated in all colours.
    State-dict keys are ``network.`` and the key of the 2D network.

    Args:
        model: 'timm.NAME', 'torchvision.NAME', ``dict(type='timm.NAME', depth=2)`` with arguments of timm's network, or
            the config of a registered 2D backbone that returns a tuple of maps.
        in_channels: of the volumes.
        window: a ``SliceWindow`` or its arguments.
        out_indices: of the maps to return, in ascending order; negative ones count from the end. All when left out,
            except for networks of timm whose maps have the same stride: of these, four at equal distances.
        first_conv: how kernels for colours spread over the slices when 2D weights are loaded: see
            ``spread_over_slices``. 'learned' keeps the kernels for colours and feeds them a learned weighted sum of the
            slices, which starts as their average. When left out, 'average', or 'learned' for networks whose first
            layer standardises its kernels or is no convolution. Three channels in all take the kernels for colours
            unchanged.
        img_size: (H, W) or one number, for networks of timm that are built for one size; their own when left out.
        resize: resize maps whose stride is no power of two to the nearest one (14 to 16), as decoders expect.
        init_cfg: how to initialise it.

    Attributes:
        input_statistics: mean and standard deviation that the network's pretrained weights expect.
        left_out: state-dict keys of the 2D network whose layers are left out, as no returned map needs them.

    Raises:
        ValueError: the network, a map, the size or ``first_conv`` does not exist; the maps differ from those that timm
            announces. (On use) images of a size that the network does not take.
    """

    def __init__(
        self,
        model: str | dict,
        *,
        in_channels: int = 1,
        window: SliceWindow | dict | None = None,
        out_indices: Sequence[int] | None = None,
        first_conv: Literal["average", "repeat", "centre", "learned"] | None = None,
        img_size: int | Sequence[int] | None = None,
        resize: bool = True,
        init_cfg: dict | None = None,
    ):
        super().__init__(in_channels=in_channels, window=window, init_cfg=init_cfg)
        channels, slices = in_channels * self.window.slices, self.window.slices
        self.slice_weights = None
        inflatable = channels == COLOURS or can_inflate_input(model)
        if first_conv == "learned" or (first_conv is None and not inflatable):
            self.slice_weights = nn.Parameter(torch.full((channels,), 1 / channels))
            channels = COLOURS
        else:
            if not inflatable:
                raise ValueError(
                    f"first_conv={first_conv!r}: the first layer of {model} standardises its kernels or is no "
                    "convolution for three colours, so they cannot spread over slices: use first_conv='learned'"
                )
            spread = {"slices": slices, "place": self.window.place, "how": first_conv or "average"}
            self.fit_input = partial(spread_over_slices, **spread)
            self.fit_input(torch.zeros(1, COLOURS, 1, 1), channels)  # refuses an unknown first_conv
        built = image_network(model, channels, out_indices=out_indices, img_size=img_size)
        self.network, self.name, self.sizes, self.taken = built.network, built.name, built.sizes, built.taken
        self.fits = {f"network.{key}": function for key, function in built.fits.items()}  # of checkpoints
        self.left_out = frozenset(f"network.{key}" for key in built.left_out)
        self.own_info = built.infos
        self.feature_info = tuple(_resized(info) if resize else info for info in built.infos)
        self.input_statistics = statistics_of(model, self.network)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps that ``feature_info`` announces for windows (N, C, n, H, W) or images (N, C * n, H, W)."""
        x = x.flatten(1, -3)
        if self.slice_weights is not None:
            x = torch.einsum("nchw,c->nhw", x, self.slice_weights).unsqueeze(1).expand(-1, COLOURS, -1, -1)
        maps = maps_of(self.network(self.sizes.pad(x, self.name)))
        maps = [maps[index] for index in self.taken]
        return tuple(
            _fit_map(features, own.stride[2], info.stride[2], x.shape[-2:])
            for features, own, info in zip(maps, self.own_info, self.feature_info, strict=True)
        )


@MODELS.register_module()
class PictureEncoder(WindowEncoder):
    """``WindowEncoder`` of single images (N, C, H, W).

    Args:
        model: as ``WindowEncoder``'s.
        in_channels: of the images.
        window: one slice when left out; a ``SliceWindowSegmentor`` gives its own.
        **kwargs: as ``WindowEncoder``'s.
    """

    def __init__(
        self,
        model: str | dict,
        *,
        in_channels: int = COLOURS,
        window: SliceWindow | dict | None = None,
        **kwargs,
    ):
        super().__init__(model, in_channels=in_channels, window=window or SliceWindow(1), **kwargs)
        if window is None:
            self.fit_input = fit_input_channels


def _resized(info: FeatureInfo) -> FeatureInfo:
    """Return the announcement of a map resized to the nearest stride that is a power of two."""
    own = info.stride[2]
    stride = 2 ** round(math.log2(own))
    if stride == own:
        return info
    return FeatureInfo(f"{info.name} (stride {own} resized to {stride})", info.channels, (1, stride, stride))


def _fit_map(features: Tensor, own: int, stride: int, size: Sequence[int]) -> Tensor:
    """Resize a map from its own stride to ``stride`` and crop it to an image of ``size``."""
    height, width = (math.ceil(side / stride) for side in size)
    if own != stride:
        bottom = max(math.ceil(height * stride / own) - features.shape[2], 0)
        right = max(math.ceil(width * stride / own) - features.shape[3], 0)
        features = F.pad(features, (0, right, 0, bottom), mode="replicate")
        features = F.interpolate(features, scale_factor=own / stride, mode="bilinear", align_corners=False)
    return features[:, :, :height, :width]
