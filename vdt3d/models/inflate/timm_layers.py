"""3D counterparts of timm's own layers and blocks; timm's forward code is used, only what knows two axes is replaced.

Classes are named by module and class without the leading "timm.", so that timm is imported by whoever has a network of
it, and a derived class with a forward of its own is not taken for one of these.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from vdt3d.models.inflate.functions import ConversionError, pad_depth
from vdt3d.models.inflate.layers import (
    Folded,
    Translated,
    VolumeLayer,
    convert_conv,
    convert_same_conv,
    convert_same_pool,
    convert_standardised_conv,
    with_mixin,
)
from vdt3d.models.layers.acs_conv import ACSConv3d
from vdt3d.models.layers.safe_conv import conv3d

FOLDED = {  # norms over channels or over all positions, scales of channels, gates by global means
    *(f"layers.norm.{name}" for name in ("LayerNorm2d", "LayerNorm2dFp32", "LayerNormExp2d")),
    *(f"layers.norm.{name}2d{end}" for name in ("RmsNorm", "SimpleNorm") for end in ("", "Fp32")),
    *(f"layers.norm_act.{name}Act2d" for name in ("BatchNorm", "FrozenBatchNorm", "LayerNorm", "RmsNorm")),
    *(f"layers.norm_act.{name}Act2dFp32" for name in ("LayerNorm", "RmsNorm")),
    *(f"layers.evo_norm.EvoNorm2d{name}" for name in ("B0", "B1", "B2", "S0", "S0a", "S1", "S1a", "S2", "S2a")),
    *(f"layers.filter_response_norm.FilterResponseNorm{name}2d" for name in ("Tlu", "Act")),
    "layers.layer_scale.LayerScale2d",
    "models.fastvit.LayerScale2d",
    "models.swiftformer.LayerScale2d",
    "layers.grn.GlobalResponseNorm",
    *(f"layers.squeeze_excite.{name}" for name in ("SEModule", "EffectiveSEModule")),
    *(f"layers.eca.{name}" for name in ("EcaModule", "CecaModule")),
    *(f"layers.cbam.{name}" for name in ("ChannelAttn", "LightChannelAttn")),
    "layers.global_context.GlobalContext",
    "models._efficientnet_blocks.SqueezeExcite",
    "models.senet.SEModule",
    "models.hgnet.EseModule",
    "models.shvit.SHSA",  # attention without positions
}

TRANSLATED = {  # forwards with permute, mean, pad or scales (1, C, 1, 1) between the layers
    *(f"layers.adaptive_avgmax_pool.Fast{name}" for name in ("AdaptiveAvgPool", "AdaptiveMaxPool")),
    *(f"layers.adaptive_avgmax_pool.Fast{name}" for name in ("AdaptiveAvgMaxPool", "AdaptiveCatAvgMaxPool")),
    *(f"layers.adaptive_avgmax_pool.{name}2d" for name in ("AdaptiveAvgMaxPool", "AdaptiveCatAvgMaxPool")),
    "models.convnext.ConvNeXtBlock",
    "models.edgenext.ConvBlock",
    "models.focalnet.FocalModulation",
    *(f"models.ghostnet.GhostModule{version}" for version in ("V2", "V3")),
    "models.iformer.IFormer",
    "models.inception_next.MetaNeXtBlock",
    *(f"models.inception_v3.Inception{name}" for name in ("A", "B", "C", "D", "E", "Aux")),
    *(f"models.mambaout.{name}" for name in ("Stem", "DownsampleNormFirst", "Downsample", "GatedConvBlock", "MlpHead")),
    "models.rdnet.DenseBlock",
    "models.repvit.RepVit",
}


def timm_class(module: nn.Module) -> str:
    """Return the class that defines a module's forward as the tables name it, "" unless it is timm's."""
    kind = next(kind for kind in type(module).mro() if "forward" in vars(kind))
    package, _, path = kind.__module__.partition(".")
    return f"{path}.{kind.__name__}" if package == "timm" and not isinstance(module, VolumeLayer) else ""


def each_slice(forward, x: Tensor) -> Tensor:
    """Return (N, C', D, H', W') from a ``forward`` on images (N * D, C, H, W)."""
    return forward(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(x), -1)).transpose(1, 2)


class SliceBySlice(VolumeLayer):
    """A layer without weights that reads every slice for itself."""

    def forward(self, x: Tensor) -> Tensor:
        return each_slice(super().forward, x)


class BlurPool3d(VolumeLayer):
    """Blurring and subsampling, along depth with the coefficients of one axis."""

    def forward(self, x: Tensor) -> Tensor:
        x = pad_depth(x, *self.padding[2:], self.depth_padding if self.pad_mode == "constant" else "replicate")
        kernel = self.filt[0, 0].sum(1).view(1, 1, -1, 1, 1).expand(x.shape[1], -1, -1, -1, -1)
        x = conv3d(x, kernel.to(x.dtype), None, (self.stride, 1, 1), (0, 0, 0), (1, 1, 1), x.shape[1])
        return each_slice(super().forward, x)


class SpaceToDepth3d(VolumeLayer):
    """Blocks of positions as channels; of as many slices the mean, so that the channels are those of an image."""

    def forward(self, x: Tensor) -> Tensor:
        return each_slice(super().forward, F.avg_pool3d(x, (self.bs, 1, 1)))


class SelectiveKernelAttn3d(VolumeLayer):
    """Weights (N, paths, C, 1, 1, 1) of the paths (N, paths, C, D, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(3, 4)).unsqueeze(-1)


class FoldedOutput(VolumeLayer):
    """A 3D convolution that returns depth and height as one axis."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).flatten(2, 3)


class SplitAttn3d(VolumeLayer):
    """Split attention; behind its convolution depth and height are one axis."""

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        stride = conv.depth_stride if isinstance(conv, ACSConv3d) else conv.stride[0]
        span = conv.dilation[0] * (conv.kernel_size[0] - 1) + 1
        return super().forward(x).unflatten(2, ((x.shape[2] + 2 * conv.padding[0] - span) // stride + 1, -1))


class DepthAveraged(VolumeLayer):
    """A head for maps of a fixed size: it reads the mean over depth, as it would read an image's maps."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mean(2)).unsqueeze(2)


class HighResolutionModule3d(VolumeLayer):
    """Branches at 1, 1/2, 1/4 ... of the resolution, whose depths are padded to be halves of each other exactly."""

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        depths = [each.shape[2] for each in x]
        whole = [depths[-1] << power for power in reversed(range(len(x)))]
        x = [pad_depth(each, 0, more - had, "replicate") for each, had, more in zip(x, depths, whole, strict=True)]
        return [each[:, :, :depth] for each, depth in zip(super().forward(x), depths, strict=False)]


class MetaFormerStage3d(VolumeLayer):
    """A stage whose token mixers are pools or convolutions."""

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


def _mixin(mixin: type[VolumeLayer]):
    def convert(layer: nn.Module, how: str, depth_padding: str) -> nn.Module:
        layer.depth_padding = depth_padding
        return with_mixin(layer, mixin)

    return convert


LEAVES = {  # layers that are converted as a whole
    "layers.conv2d_same.Conv2dSame": convert_same_conv,
    **dict.fromkeys(
        [f"layers.std_conv.{name}Conv2d{end}" for name in ("Std", "ScaledStd") for end in ("", "Same")],
        convert_standardised_conv,
    ),
    "layers.pool2d_same.AvgPool2dSame": convert_same_pool("avg"),
    "layers.pool2d_same.MaxPool2dSame": convert_same_pool("max"),
    "layers.blur_pool.BlurPool2d": _mixin(BlurPool3d),
    "layers.space_to_depth.SpaceToDepth": _mixin(SpaceToDepth3d),
    "layers.selective_kernel.SelectiveKernelAttn": _mixin(SelectiveKernelAttn3d),
    "layers.drop.DropBlock2d": _mixin(SliceBySlice),
    "models.vgg.ConvMlp": _mixin(DepthAveraged),
    **dict.fromkeys(FOLDED, _mixin(Folded)),
}


def _split_attention(layer: nn.Module, how: str, depth_padding: str) -> nn.Module:
    layer.conv = with_mixin(convert_conv(layer.conv, how, depth_padding), FoldedOutput)
    return with_mixin(layer, SplitAttn3d)


LEAVES["layers.split_attn.SplitAttn"] = _split_attention


def _single_head(layer: nn.Module, how: str, depth_padding: str) -> nn.Module:
    if layer.window_size:
        raise ConversionError("its attention is inside windows of an image")
    return with_mixin(layer, Folded)


LEAVES["models.iformer.SHMA"] = _single_head


def _halve_upwards(tree: nn.Module) -> None:
    if isinstance(tree.downsample, nn.MaxPool3d):
        tree.downsample.ceil_mode = True  # as the strided convolution of the same block rounds odd depths


def _stage(stage: nn.Module) -> None:
    if not stage.use_nchw:
        raise ConversionError("its blocks read tokens, not maps")
    with_mixin(stage, MetaFormerStage3d)


def _scale_of_channels(scale: nn.Module) -> None:
    if len(scale.shape) == 3:
        scale.shape = (*scale.shape, 1)


def _stem_of_even_kernels(stem: nn.Module) -> None:
    if stem.flat:
        stem.pool.kernel_size = (1, *stem.pool.kernel_size[1:])  # as the stem's convolutions
    with_mixin(stem, Translated)


BLOCKS = {  # modules whose children are converted first
    "models.dla.DlaTree": _halve_upwards,
    "models.hgnet.StemV2": _stem_of_even_kernels,
    "models.hrnet.HighResolutionModule": lambda module: with_mixin(module, HighResolutionModule3d),
    "models.metaformer.MetaFormerStage": _stage,
    "models.metaformer.Scale": _scale_of_channels,
    **dict.fromkeys(TRANSLATED, lambda module: with_mixin(module, Translated)),
}
