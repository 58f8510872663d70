"""The parts of models that read windows of slices: window backbones, 2D networks, necks and heads.

Windows are (N, C, n, H, W), maps (N, c, h, w).
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS as MMSEG_MODELS
from torch import Tensor, nn

from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.backbones.feature_probe import probe_features
from vdt3d.models.backbones.image_network import take_channels
from vdt3d.models.backbones.window_backbone import WindowBackbone
from vdt3d.models.backbones.window_encoder import WindowEncoder
from vdt3d.models.inflate.kernels import COLOURS, spread_over_slices
from vdt3d.registry import MODELS
from vdt3d.structures import SliceWindow, SpacedWindow

_TRAINS_ON_OTHERS = "it returns other maps in training than in prediction"
REFUSED = {  # parts of mmsegmentation, and why
    "CLIPTextEncoder": "it reads text",
    "DDRHead": _TRAINS_ON_OTHERS,
    "DDRNet": _TRAINS_ON_OTHERS,
    "IterativeDecodeHead": _TRAINS_ON_OTHERS,
    "Mask2FormerHead": "it classifies masks, not pixels",
    "MaskFormerHead": "it classifies masks, not pixels",
    "PIDHead": _TRAINS_ON_OTHERS,
    "PIDNet": _TRAINS_ON_OTHERS,
    "PointHead": "it scores single points, chosen in its own loss and prediction",
    "SideAdapterCLIPHead": "it needs a text encoder",
    "VPD": "it is a diffusion model that reads text",
    "VPDDepthHead": "it estimates depth",
}


def build_window_backbone(
    config: dict, *, in_channels: int, window: SliceWindow, first_conv: str | None = None
) -> tuple[nn.Module, tuple[FeatureInfo, ...]]:
    """Build a backbone for windows; return what it announces of its maps too.

    Args:
        config: of a ``WindowBackbone``, which is given ``in_channels`` and ``window``; or of a 2D network, whose first
            convolution gets fresh kernels for the C * n channels that ``to_backbone_input`` makes of a window.
        in_channels: of the volumes.
        window: the windows.
        first_conv: how the 2D network's kernels for colours spread over the slices when weights are loaded, 'average'
            when left out: see ``WindowEncoder``. Three slices take the kernels for colours as they are.

    Raises:
        ValueError: a ``first_conv`` where nothing is spread, or an unknown one; a network that returns no maps.
    """
    kind = _class_of(config)
    channels = in_channels * window.slices
    if first_conv is not None and channels == COLOURS and first_conv != "learned":
        raise ValueError(f"first_conv={first_conv!r}: three slices take the colours' kernels; leave it out")
    if issubclass(kind, WindowBackbone):
        given = {"in_channels": in_channels, "window": window}
        if first_conv is not None:
            if not issubclass(kind, WindowEncoder):
                raise ValueError(f"first_conv={first_conv!r}: {config['type']} has no such argument; leave it out")
            given["first_conv"] = first_conv
        backbone = MODELS.build({**given, **config})
        return backbone, backbone.feature_info
    spread = {"slices": window.slices, "place": window.place, "how": first_conv or "average"}
    fit_input = partial(spread_over_slices, **spread)
    fit_input(torch.zeros(1, COLOURS, 1, 1), channels)  # refuses an unknown first_conv
    backbone = build_image_part(config)
    take_channels(backbone, channels)
    backbone.fit_input = fit_input  # of checkpoints, when they are loaded
    return backbone, probe_features(backbone, channels)


def to_backbone_input(backbone: nn.Module, windows: Tensor, window: SliceWindow | SpacedWindow) -> Tensor:
    """Return windows as a backbone of ``build_window_backbone`` reads them: unchanged, or (N, C * n, H, W).

    Raises:
        ValueError: they have another number of slices than ``window``.
    """
    if windows.shape[2] != window.slices:
        raise ValueError(
            f"windows of {windows.shape[2]} slices for a model of {window.slices}: give data set and model the same "
            f"window, here {window}; a whole scan goes through an inferer"
        )
    return windows if isinstance(backbone, WindowBackbone) else windows.flatten(1, 2)


def build_image_part(config: dict) -> nn.Module:
    """Build a part of a 2D network; names that several packages know, also nested ones, are mmsegmentation's.

    Raises:
        ValueError: a part is not supported; the message contains its type.
    """
    check_supported(config)
    MMSEG_MODELS.import_from_location()
    if config["type"] not in MMSEG_MODELS.module_dict:
        return MODELS.build(config)
    with DefaultScope.overwrite_default_scope("mmseg"):
        try:
            return MMSEG_MODELS.build(config)
        except RuntimeError as error:  # CCHead and PSAHead
            if "mmcv" not in str(error):
                raise
            raise ValueError(
                f"{config['type']} needs compiled operators of mmcv, which are not supported: choose another type"
            ) from error


def check_supported(config: dict) -> None:
    """Raise ValueError if a part of mmsegmentation is known not to work here, before it is built."""
    if (reason := REFUSED.get(str(config.get("type")).removeprefix("mmseg."))) is not None:
        raise ValueError(f"{config['type']} is not supported, since {reason}: choose another type")


def check_channels(config: dict, channels: int | Sequence[int]) -> None:
    """Raise ValueError if ``in_channels`` of a neck or head are given and are not those of the features it reads."""
    given, wanted = np.atleast_1d(config.get("in_channels", channels)), np.atleast_1d(channels)
    if given.shape == wanted.shape and (given != wanted).any():
        raise ValueError(
            f"{config['type']} has in_channels={config['in_channels']}, but the features it reads have {channels} "
            "channels: leave in_channels out"
        )


def _class_of(config: dict) -> type:
    """Return the registered class of a config, ``object`` where it is a name of another registry."""
    known = MODELS.get(config["type"]) if isinstance(config["type"], str) else config["type"]
    return known if isinstance(known, type) else object
