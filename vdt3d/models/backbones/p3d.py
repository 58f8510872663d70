"""P3D and MP3D: residual networks of split convolutions over windows of slices, as published for lesion detection.

Windows are (N, C, n, H, W), the maps that are returned (N, c, h, w). State-dict names and shapes are those of the MP3D
release (github.com/urmagicsmine/MP3D).
"""

from collections.abc import Iterator, Sequence
from itertools import count, cycle
from math import gcd

import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import Sequential
from torch import Tensor, nn

from vdt3d.models.backbones.converting_encoder import ConvertingEncoder
from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.backbones.frozen_stages import FrozenStages
from vdt3d.models.backbones.resnet3d import DEFAULT_INIT, accept
from vdt3d.models.layers.norms import volume_norm
from vdt3d.models.layers.pseudo3d import KINDS, UNSTRIDED, PseudoBasic, PseudoBottleneck
from vdt3d.models.layers.safe_conv import SafeConv3d
from vdt3d.registry import MODELS
from vdt3d.structures import SliceWindow

# depth: the blocks, how many per stage ("ba": basic)
ARCHITECTURES = {
    18: (PseudoBottleneck, (2, 2, 2, 2)),
    "18ba": (PseudoBasic, (2, 2, 2, 2)),
    "34ba": (PseudoBasic, (3, 4, 6, 3)),
    63: (PseudoBottleneck, (3, 4, 6, 3)),
    131: (PseudoBottleneck, (3, 4, 23, 3)),
    199: (PseudoBottleneck, (3, 8, 36, 3)),
}
STAGES = 4
GROUPS = 32  # of the group norms
SLICES = 9
POOL = 3  # slices, with these strides and paddings, behind layer1, layer2 and layer3
DEPTH_POOLS = ((2, 1), (2, 1), (1, 0))


@MODELS.register_module()
class P3D(FrozenStages, ConvertingEncoder):
    """Pseudo-3D residual network with max-pools along depth; blocks A, B, C take turns from the first to the last.

    9 slices are 5, 3, 1 and 1 in the maps of the four stages. Without pooling along depth (``depth_pooling=False``)
    they stay as many as they are; so, with ``conversion='keep3d'``, photographs of three colours pre-train it (VDT).
    No block starts as the identity: ReLU follows the last norm of basic blocks, so a weight of zero would stay zero.

    Args:
        depth: 18, 63, 131 or 199 with bottlenecks, '18ba' or '34ba' with basic blocks.
        base_channels: width of the stem and of the first stage, doubled in each further one.
        out_indices: the stages to return; further ones are not built.
        depth_pooling: as published. It answers the central slice of what is left: d // 2 of d.
        stem_stride: whether the stem strides by 2, and is followed by a max-pool of stride 2.
        norm_cfg: 'GN' (with ``num_groups``, 32 when left out), which is the default, 'BN' or 'SyncBN'.
        norm_eval: keep batch norms at their running statistics while training.
        frozen_stages: -1 freezes nothing, 0 the stem, k the stem and the first k stages.
        with_cp: recompute activations in the backward pass to save memory.
        conversion: of ``ConvertingEncoder``.
        in_channels: of the volumes.
        window: of ``WindowBackbone``; 9 slices when left out.
        init_cfg: Kaiming (fan-out) for convolutions and 1 for norms when left out.

    Raises:
        ValueError: an option has a value that no network of this class has; the message says what is accepted. With
            pooling, so has a window of which no slice would be left.
    """

    stem_pool_depth = 1  # slices

    def __init__(
        self,
        depth: int | str,
        *,
        base_channels: int = 64,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        depth_pooling: bool = True,
        stem_stride: bool = True,
        norm_cfg: dict | None = None,
        norm_eval: bool = False,
        frozen_stages: int = -1,
        with_cp: bool = False,
        conversion: str = "center_crop",
        in_channels: int = 1,
        window: SliceWindow | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ):
        super().__init__(
            conversion=conversion,
            in_channels=in_channels,
            window=window or SliceWindow(SLICES),
            init_cfg=DEFAULT_INIT if init_cfg is None else init_cfg,
        )
        accept("depth", depth, ARCHITECTURES)
        if not out_indices or not set(out_indices) <= set(range(STAGES)):
            raise ValueError(f"out_indices={tuple(out_indices)}: say some of 0 to {STAGES - 1}, the stages")
        stages = max(out_indices) + 1
        accept("frozen_stages", frozen_stages, range(-1, stages + 1))
        norm_cfg = _norm_of(norm_cfg, base_channels)
        self.out_indices, self.depth_pooling = sorted(out_indices), depth_pooling
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval
        depths, places = self._slices(stages)

        stride = 2 if stem_stride else 1
        self.conv1_custom = SafeConv3d(
            in_channels, base_channels, (1, 7, 7), (1, stride, stride), (0, 3, 3), bias=False
        )
        self.norm1 = build_norm_layer(norm_cfg, base_channels)[1]
        self.stem_names = ["conv1_custom", "norm1"]
        slices = self.stem_pool_depth
        self.max_pool = nn.MaxPool3d((slices, 3, 3), (1, 2, 2), (slices // 2, 1, 1)) if stem_stride else None

        block, block_counts = ARCHITECTURES[depth]
        kinds, channels, stride, infos = cycle(KINDS), base_channels, stride**2, []
        for index, blocks in enumerate(block_counts[:stages]):
            layers, step = [], 2 if index else 1
            for number in range(blocks):
                first = UNSTRIDED if number else (1, step, step)
                width = base_channels * 2**index
                layers.append(block(channels, width, first, next(kinds), norm_cfg=norm_cfg, with_cp=with_cp))
                channels = layers[-1].out_channels
            stride *= step
            self.add_module(f"layer{index + 1}", Sequential(*layers))
            infos.append(FeatureInfo(f"layer{index + 1}", channels, (1, stride, stride)))
        self.stage_names = [info.name for info in infos]
        self.convert(*([each[index] for index in self.out_indices] for each in (infos, depths, places)))
        self.freeze()

    def volumes(self, x: Tensor) -> list[Tensor]:
        x = F.relu(self.norm1(self.conv1_custom(x)), inplace=True)
        if self.max_pool is not None:
            x = self.max_pool(x)
        volumes = []
        for index, name in enumerate(self.stage_names):
            x = getattr(self, name)(x)
            if self.depth_pooling and index < len(DEPTH_POOLS):
                stride, padding = DEPTH_POOLS[index]
                x = F.max_pool3d(x, (POOL, 1, 1), (stride, 1, 1), (padding, 0, 0))
            if index in self.out_indices:
                volumes.append(x)
        return volumes

    def _slices(self, stages: int) -> tuple[list[int], list[int]]:
        """How many slices each stage returns, and the place of the answered one among them.

        Raises:
            ValueError: no slice is left, or it is not known which is which.
        """
        slices = self.window.slices
        if not self.depth_pooling:
            return [slices] * stages, [self.window.place] * stages
        if self.conversion == "keep3d":
            raise ValueError("conversion='keep3d' keeps all slices: say depth_pooling=False")
        if self.window.place != slices // 2:
            raise ValueError(f"pooling along depth answers the central slice, not target={self.window.target!r}")
        depths = list(_pooled(slices, stages))
        if depths[-1] < 1:
            least = next(number for number in count(slices) if [*_pooled(number, stages)][-1] > 0)
            raise ValueError(
                f"a window of {slices} slices has none left where P3D has pooled along depth: it takes {least} or more "
                "(window=dict(slices=...)), or depth_pooling=False"
            )
        return depths, [left // 2 for left in depths]


@MODELS.register_module()
class MP3D(P3D):
    """P3D without pooling along depth but in the stem, where three slices are pooled into each; it keeps them all.

    Zhang et al., "Revisiting 3D context modeling with supervised pre-training for universal lesion detection in CT
    slices", MICCAI 2020, where ``conversion='groupconv'`` makes the maps. It has P3D's names and shapes, so each takes
    the other's checkpoints.

    Args:
        depth: as ``P3D``'s.
        **kwargs: as ``P3D``'s, but for ``depth_pooling``.
    """

    stem_pool_depth = 3

    def __init__(self, depth: int | str, **kwargs):
        super().__init__(depth, depth_pooling=False, **kwargs)


def _pooled(slices: int, stages: int) -> Iterator[int]:
    """How many of ``slices`` are left behind each stage: (d + 1) // 2 of d, again (d + 1) // 2, d - 2, d."""
    for index in range(stages):
        if index < len(DEPTH_POOLS):
            stride, padding = DEPTH_POOLS[index]
            slices = (slices + 2 * padding - POOL) // stride + 1
        yield slices


def _norm_of(norm_cfg: dict | None, channels: int) -> dict:
    """The norm of a network whose widths are multiples of ``channels``, as mmcv reads it.

    Raises:
        ValueError: its groups do not divide the channels.
    """
    norm_cfg = volume_norm(norm_cfg or {"type": "GN"})
    if norm_cfg["type"] == "GN":
        groups = norm_cfg.setdefault("num_groups", GROUPS)
        if channels % groups:
            fit = gcd(channels, groups)
            raise ValueError(
                f"base_channels={channels} are not {groups} equal groups: say norm_cfg=dict(type='GN', "
                f"num_groups={fit}), another number that divides them, or norm_cfg=dict(type='BN')"
            )
    return norm_cfg
