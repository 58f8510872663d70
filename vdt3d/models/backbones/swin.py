"""Swin transformers that read windows of slices: Swin, whose stem takes the whole window, and Video Swin.

Windows are (N, C, n, H, W), the maps that are returned (N, c, h, w), tokens (N, h, w, c) or (N, d, h, w, c).
"""

from collections.abc import Iterable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models.swin_transformer import ShiftedWindowAttention, SwinTransformer
from torchvision.models.video.swin_transformer import PatchEmbed3d, SwinTransformer3d
from torchvision.ops import Permute

from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.backbones.window_backbone import WindowBackbone
from vdt3d.registry import MODELS
from vdt3d.structures import SliceWindow

PATCH = 4  # pixels along each side of a token of the first stage
SLICES = 2  # of a token of Video Swin


class SwinStages(WindowBackbone):
    """What the two share: stages of torchvision's blocks, between two of them a merging of 2 x 2 tokens into one.

    The initialisation is torchvision's, whether or not a checkpoint follows. (The published code leaves PyTorch's
    default in the linear layers where it trains from scratch, by an oversight.) Height and width may be any; they are
    padded with zeros at the end, to whole tokens and before each merging.

    Args:
        embed_dims: width of the first stage, doubled in each further one.
        depths: blocks of each stage; the default is Swin-B.
        num_heads: of the attention in each stage.
        out_indices: the stages to return; further ones are not built.
        with_cp: recompute each block in the backward pass: memory for time.
        in_channels, window, init_cfg: of ``WindowBackbone``.

    Raises:
        ValueError: there is no such stage, or the heads do not divide the widths.
    """

    def __init__(
        self,
        *,
        embed_dims: int = 128,
        depths: Sequence[int] = (2, 2, 18, 2),
        num_heads: Sequence[int] = (4, 8, 16, 32),
        out_indices: Sequence[int] = (0, 1, 2, 3),
        with_cp: bool = False,
        in_channels: int = 1,
        window: SliceWindow | dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(in_channels=in_channels, window=window, init_cfg=init_cfg)
        widths = [embed_dims * 2**stage for stage in range(len(depths))]
        if len(num_heads) != len(depths) or any(a % b for a, b in zip(widths, num_heads, strict=True)):
            raise ValueError(
                f"num_heads={tuple(num_heads)}: one number for each of the {len(depths)} stages, which divides its "
                f"width, one of {widths}"
            )
        if not out_indices or not set(out_indices) <= set(range(len(depths))):
            raise ValueError(f"out_indices={tuple(out_indices)}: say some of 0 to {len(depths) - 1}, the stages")
        self.sizes = embed_dims, list(depths), list(num_heads)  # as torchvision's networks take them
        self.out_indices, self.with_cp = sorted(out_indices), with_cp
        self.feature_info = tuple(
            FeatureInfo(f"stage{stage}", widths[stage], (1, PATCH * 2**stage, PATCH * 2**stage))
            for stage in self.out_indices
        )

    def layer_order(self) -> list[tuple[str, ...]]:
        """Names of the stem, then of each stage and merging."""
        stem = [("patch_embed",)] if hasattr(self, "patch_embed") else []
        return [*stem, *((f"features.{n}",) for n in range(len(self.features)))]

    def outputs(self, x: Tensor, layers: Iterable[nn.Module]) -> list[Tensor]:
        """The tokens behind each stage of ``out_indices``; in ``layers`` stages and mergings take turns."""
        outputs = []
        for place, layer in enumerate(layers):
            stage, merging = divmod(place, 2)
            if merging or not (self.with_cp and torch.is_grad_enabled()):
                x = layer(x)
            else:
                for block in layer:
                    x = checkpoint(block, x, use_reentrant=False)
            if not merging and stage in self.out_indices:
                outputs.append(x)
        return outputs


@MODELS.register_module()
class Swin3D(SwinStages):
    """Swin transformer whose stem, a kernel (n, 4, 4), makes tokens of a picture of all n slices of a window.

    Liu et al., "Swin Transformer: Hierarchical vision transformer using shifted windows", ICCV 2021, inflated as Zhang
    et al., "Adapting pre-trained vision transformers from 2D to 3D through weight inflation improves medical image
    segmentation", ML4H 2022. State-dict keys are torchvision's, without its last norm, and ``norm0`` to ``norm3`` of
    the maps, which are in no checkpoint of pictures.

    Args:
        window_size: tokens along each side of the squares within which tokens attend to each other.
        drop_path_rate: of the last block; it grows from 0 block by block.
        **kwargs: as ``SwinStages``'s.
    """

    def __init__(self, *, window_size: int = 7, drop_path_rate: float = 0.3, **kwargs):
        super().__init__(**kwargs)
        network = SwinTransformer(
            [PATCH, PATCH],
            *self.sizes,
            [window_size, window_size],
            stochastic_depth_prob=drop_path_rate,
            num_classes=1,  # of a head that is left out
        )
        embed_dims, kernel = self.sizes[0], (self.window.slices, PATCH, PATCH)
        network.features[0][0] = nn.Conv3d(self.in_channels, embed_dims, kernel, kernel)
        network.features[0][1] = Permute([0, 2, 3, 4, 1])
        self.features = network.features[: 2 * self.out_indices[-1] + 2]
        for module in self.features.modules():
            if isinstance(module, ShiftedWindowAttention):  # whose index is a square in the authors' files
                module.fits = {"relative_position_index": torch.flatten}
        for stage, info in zip(self.out_indices, self.feature_info, strict=True):
            self.add_module(f"norm{stage}", nn.LayerNorm(info.channels))
        self.left_out = frozenset(f"norm{stage}." for stage in range(self.out_indices[-1])) - {
            f"norm{stage}." for stage in self.out_indices
        }

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The maps that ``feature_info`` announces, of windows (N, ``in_channels``, n, H, W)."""
        height, width = x.shape[-2:]
        stem, *layers = self.features
        tokens = stem(F.pad(x, (0, -width % PATCH, 0, -height % PATCH))).squeeze(1)
        return tuple(
            _map_of(getattr(self, f"norm{stage}")(output))
            for stage, output in zip(self.out_indices, self.outputs(tokens, layers), strict=True)
        )


@MODELS.register_module()
class VideoSwin(SwinStages):
    """Video Swin transformer (Liu et al., CVPR 2022), which reads slices as frames and attends along depth too.

    A token is of 2 slices and 4 x 4 pixels; an odd window is padded with a slice of zeros, and depth keeps its tokens
    to the last stage. Of each stage the map is returned whose token holds the answered slice: in 5 slices the second of
    three, as published. (The published rule, the middle token, misses that slice in windows of 3, 7, 11, ...)
    State-dict keys are torchvision's, without its last norm, which the published network holds but does not use.

    Inputs should have more than 192 pixels along each side. In smaller ones the last map has fewer tokens than the 7 of
    a window, and torchvision, like the authors, then takes the position biases of other distances than the tokens'.

    Args:
        window_size: tokens along (D, H, W) of the boxes within which tokens attend to each other.
        drop_path_rate: of the last block; it grows from 0 block by block.
        **kwargs: as ``SwinStages``'s.
    """

    def __init__(self, *, window_size: Sequence[int] = (8, 7, 7), drop_path_rate: float = 0.2, **kwargs):
        super().__init__(**kwargs)
        network = SwinTransformer3d(
            [SLICES, PATCH, PATCH],
            *self.sizes,
            list(window_size),
            stochastic_depth_prob=drop_path_rate,
            num_classes=1,  # of a head that is left out
            patch_embed=partial(PatchEmbed3d, in_channels=self.in_channels),
        )
        self.patch_embed = network.patch_embed
        self.features = network.features[: 2 * self.out_indices[-1] + 1]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The maps that ``feature_info`` announces, of windows (N, ``in_channels``, n, H, W)."""
        token = self.window.place // SLICES
        return tuple(_map_of(output[:, token]) for output in self.outputs(self.patch_embed(x), self.features))


def _map_of(tokens: Tensor) -> Tensor:
    """(N, h, w, c) as (N, c, h, w), in this order in memory too, lest what follows trains in channels_last."""
    return tokens.permute(0, 3, 1, 2).contiguous()
