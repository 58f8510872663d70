"""ResNet in three dimensions whose strides along depth are a choice: kept for VDT pre-training, taken for volumes.

Shapes are (N, C, D, H, W). State-dict names and shapes are those of the original VDT release.
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial

import torch.nn.functional as F
from mmcv.cnn import ConvModule, build_norm_layer
from mmengine.model import Sequential
from torch import Tensor, nn

from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.backbones.frozen_stages import FrozenStages
from vdt3d.models.inflate.modules import exchange_volume_convs
from vdt3d.models.layers.folded_conv import FoldedConv3d
from vdt3d.models.layers.norms import volume_norm
from vdt3d.models.layers.residual import (
    ResidualBlock,
    Stride,
    basic_convs,
    bottleneck_convs,
)
from vdt3d.models.layers.safe_conv import SafeConv3d
from vdt3d.registry import MODELS

# depth: the convolutions of a block, blocks per stage
ARCHITECTURES = {
    10: (basic_convs, (1, 1, 1, 1)),
    18: (basic_convs, (2, 2, 2, 2)),
    34: (basic_convs, (3, 4, 6, 3)),
    50: (bottleneck_convs, (3, 4, 6, 3)),
    101: (bottleneck_convs, (3, 4, 23, 3)),
    152: (bottleneck_convs, (3, 8, 36, 3)),
    200: (bottleneck_convs, (3, 24, 36, 3)),
}
DEFAULT_INIT = [
    {"type": "Kaiming", "layer": ["Conv3d", "SafeConv3d", "ACSConv3d"], "mode": "fan_out", "nonlinearity": "relu"},
    {"type": "Constant", "layer": ["_BatchNorm", "_InstanceNorm", "GroupNorm"], "val": 1},
]


@MODELS.register_module()
class ResNet3D(FrozenStages):
    """Residual network whose kernels reach over depth, height and width.

    A 4-D input (N, 3, H, W) is read as (N, 1, 3, H, W): the colours of a picture become the slices of a volume, which
    is the variable dimension transform. With the defaults no layer strides along depth, so the three slices last to
    the end; ``depth_stride=True`` gives the same weights isotropic strides for volumes. The segmentation networks of
    the release are ``depth_stride=True, unet_features=True`` and, of the stem, nothing more (features at strides
    2, 4, 8, 16, 32), ``stem_stride=False, stem_pool=True`` (StdUNet: 1, 2, 4, 8, 16), ``stem_pool=False``
    (ResNet3DSeg), or ``stem_stride=False`` (ResNet3DNoStemStride, with ``strides=(1, 2, 1, 2)``).

    Args:
        depth: 10, 18, 34, 50, 101, 152 or 200.
        in_channels: channels of the input; 1 for pictures read as volumes and for CT.
        base_channels: width of the first stage, doubled in each further one.
        stem_channels: width of the stem, ``base_channels`` when left out.
        num_stages: how many of the four stages to build.
        strides: of each stage, in the plane and, with ``depth_stride``, along depth.
        dilations: of each stage.
        dilate_both: in blocks of depth 10, 18 and 34, dilate the second convolution as well, as MedicalNet does.
        out_indices: the stages to return.
        depth_stride: whether strides act along depth too.
        stem_stride: whether the stem strides by 2.
        stem_pool: whether a max-pool of stride 2 follows the stem; when left out, exactly if the stem strides.
        deep_stem: three 3x3x3 convolutions in place of one 7x7x7 (V1d together with ``avg_down``).
        avg_down: average instead of skipping voxels where a shortcut strides.
        shortcut_type: 'B', a convolution where the shape changes, or 'A', zero padding without parameters.
        force_downsample: give layer1 a convolution as shortcut even if the shape stays; for older weights.
        unet_features: return the output of the stem, before the pooling, as the first feature.
        style: where a bottleneck strides: on its 3x3x3 ('pytorch') or its first 1x1x1 ('caffe').
        norm_cfg: 'BN', 'SyncBN', 'IN' or 'GN' (with ``num_groups``) and the norm's own arguments.
        norm_eval: keep batch norms at their running statistics while training.
        frozen_stages: -1 freezes nothing, 0 the stem, k the stem and the first k stages.
        with_cp: recompute activations in the backward pass to save memory.
        zero_init_residual: start every block as the identity.
        fold_stem: let the stem compute few slices as one 2D convolution: the same result, sooner.
        conv: '3d' for cubic kernels; 'acs' or '2.5d' for kernels of pictures, in the planes of all three axes or in
            height and width alone, which 2D weights fill as they are.
        init_cfg: Kaiming (fan-out) for convolutions and 1 for norms when left out.

    Raises:
        ValueError: an option has a value that no network of this class has; the message says what is accepted.
    """

    def __init__(
        self,
        depth: int,
        *,
        in_channels: int = 1,
        base_channels: int = 64,
        stem_channels: int | None = None,
        num_stages: int = 4,
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
        dilate_both: bool = False,
        out_indices: Sequence[int] = (3,),
        depth_stride: bool = False,
        stem_stride: bool = True,
        stem_pool: bool | None = None,
        deep_stem: bool = False,
        avg_down: bool = False,
        shortcut_type: str = "B",
        force_downsample: bool = False,
        unet_features: bool = False,
        style: str = "pytorch",
        norm_cfg: dict | None = None,
        norm_eval: bool = False,
        frozen_stages: int = -1,
        with_cp: bool = False,
        zero_init_residual: bool = True,
        fold_stem: bool = True,
        conv: str = "3d",
        init_cfg: dict | list[dict] | None = None,
    ):
        super().__init__(DEFAULT_INIT if init_cfg is None else init_cfg)
        accept("depth", depth, ARCHITECTURES)
        accept("shortcut_type", shortcut_type, "AB")
        accept("style", style, ("pytorch", "caffe"))
        accept("conv", conv, ("3d", "acs", "2.5d"))
        _accept_stages(num_stages, strides, dilations, out_indices, frozen_stages)
        if shortcut_type == "A" and (avg_down or force_downsample):
            raise ValueError("shortcut_type='A' has no convolution: use 'B' for avg_down and force_downsample")
        norm_cfg = volume_norm(norm_cfg)
        self.depth_stride, self.unet_features, self.out_indices = depth_stride, unet_features, sorted(out_indices)
        self.norm_eval, self.frozen_stages = norm_eval, frozen_stages

        channels, stride = stem_channels or base_channels, self._axes(2 if stem_stride else 1)
        if deep_stem:
            stem = deep_stem_layers(in_channels, channels, stride, norm_cfg)
        else:
            stem = plain_stem_layers(in_channels, channels, stride, norm_cfg, fold_stem)
        self.stem_names = self._add(stem)
        features = [FeatureInfo("stem", channels, stride)] if unet_features else []
        pooled = stem_stride if stem_pool is None else stem_pool
        self.max_pool = nn.MaxPool3d(3, self._axes(2), padding=1) if pooled else None
        stride = _times(stride, self._axes(2)) if pooled else stride

        convs_of, block_counts = _architecture(depth, dilate_both)
        block = partial(
            ResidualBlock,
            convs_of=convs_of,
            style=style,
            shortcut_type=shortcut_type,
            avg_down=avg_down,
            norm_cfg=norm_cfg,
            with_cp=with_cp,
            zero_init=zero_init_residual,
        )
        stages = {}
        for index, count in enumerate(block_counts[:num_stages]):
            width, step, dilation = base_channels * 2**index, self._axes(strides[index]), dilations[index]
            first = block(channels, width, step, dilation, force_shortcut=force_downsample and index == 0)
            channels, stride = first.out_channels, _times(stride, step)
            others = [block(channels, width, (1, 1, 1), dilation) for _ in range(count - 1)]
            stages[f"layer{index + 1}"] = Sequential(first, *others)
            if index in self.out_indices:
                features.append(FeatureInfo(f"layer{index + 1}", channels, stride))
        self.stage_names = self._add(stages)
        self.feature_info = tuple(features)
        if conv != "3d":
            exchange_volume_convs(self, conv)
        self.freeze()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The features that ``feature_info`` announces, of an input (N, C, D, H, W) or a picture (N, D, H, W)."""
        if x.dim() == 4:
            x = x.unsqueeze(1)
        for name in self.stem_names:
            x = getattr(self, name)(x)
        x = F.relu(x, inplace=True)
        features = [x] if self.unet_features else []
        if self.max_pool is not None:
            x = self.max_pool(x)
        for index, name in enumerate(self.stage_names):
            x = getattr(self, name)(x)
            if index in self.out_indices:
                features.append(x)
        return tuple(features)

    def _axes(self, stride: int) -> Stride:
        return (stride if self.depth_stride else 1, stride, stride)

    def _add(self, parts: dict[str, nn.Module]) -> list[str]:
        for name, part in parts.items():
            self.add_module(name, part)
        return list(parts)


def _architecture(depth: int, dilate_both: bool) -> tuple[Callable[..., list[nn.Conv3d]], tuple[int, ...]]:
    """Return the function that builds a block's convolutions, and the number of blocks of each stage."""
    convs_of, block_counts = ARCHITECTURES[depth]
    if not dilate_both:
        return convs_of, block_counts
    if convs_of is not basic_convs:
        raise ValueError(f"dilate_both=True: blocks of depth {depth} have one convolution of 3x3x3; leave it out")
    return partial(basic_convs, dilate_both=True), block_counts


def plain_stem_layers(
    in_channels: int, channels: int, stride: Stride, norm_cfg: dict, fold: bool
) -> dict[str, nn.Module]:
    """One 7x7x7 convolution and its norm, by their names in the state dict."""
    conv = FoldedConv3d if fold else SafeConv3d
    name, norm = build_norm_layer(norm_cfg, channels, postfix=1)
    return {"conv1": conv(in_channels, channels, 7, stride, padding=3, bias=False), name: norm}


def deep_stem_layers(in_channels: int, channels: int, stride: Stride, norm_cfg: dict) -> dict[str, nn.Module]:
    """Three 3x3x3 convolutions of half, half and full width, the first with the stride."""
    half = channels // 2
    common = {"kernel_size": 3, "padding": 1, "conv_cfg": {"type": SafeConv3d}, "norm_cfg": norm_cfg}
    convs = [
        ConvModule(in_channels, half, stride=stride, **common),
        ConvModule(half, half, **common),
        ConvModule(half, channels, act_cfg=None, **common),  # the network itself ends the stem with ReLU
    ]
    return {"stem": nn.Sequential(*convs)}


def _times(stride: Stride, step: Stride) -> Stride:
    return tuple(a * b for a, b in zip(stride, step, strict=True))


def _accept_stages(
    num_stages: int, strides: Sequence[int], dilations: Sequence[int], out_indices: Sequence[int], frozen_stages: int
) -> None:
    accept("num_stages", num_stages, range(1, 5))
    accept("frozen_stages", frozen_stages, range(-1, num_stages + 1))
    for index in out_indices:
        accept("out_indices", index, range(num_stages))
    for name, given in (("strides", strides), ("dilations", dilations)):
        if len(given) < num_stages:
            raise ValueError(f"{name} has {len(given)} entries for {num_stages} stages")


def accept(name: str, value: object, accepted: Collection) -> None:
    """Raise ValueError for the ``value`` of an option ``name`` that is none of ``accepted``."""
    if value not in accepted:
        raise ValueError(f"{name}={value!r} is none of {', '.join(map(str, accepted))}")
