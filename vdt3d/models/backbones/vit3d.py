"""ViT3D and BEiT3D: Vision Transformers over windows of slices; windows are (N, C, n, H, W), tokens (N, 1 + L, C)."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn.init import trunc_normal_, zeros_
from torch.utils.checkpoint import checkpoint

from vdt3d.models.backbones.attention import NORM_EPS, Attention, RelativeAttention, TransformerBlock
from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.backbones.window_backbone import WindowBackbone
from vdt3d.models.inflate.positions import Grid, fit_absolute_positions, relative_index
from vdt3d.registry import MODELS
from vdt3d.structures import SliceWindow


class WindowTransformer(WindowBackbone):
    """Patches of a window as tokens, a class token before them, and blocks; the maps are those of the answered slice.

    Where patches are as deep as the window (TransSeg, Zhang et al. 2022), depth is gone behind the first convolution,
    and what follows is the 2D network. Thinner ones give several tokens along depth; the map is then that of the
    patch the answered slice lies in.

    Args:
        img_size: (H, W) of the windows, or one number for both; positions are learnt for it.
        patch_size: along H and W.
        depth_patch_size: slices of a patch; all of the window when left out.
        embed_dims: of a token.
        depth: blocks.
        num_heads: of an attention.
        out_indices: after which blocks, from 0, the tokens are returned as maps.
        with_image: whether the window itself is the first map, its slices as channels, as a UNETR's decoder wants.
        with_cp: recompute each block in the backward pass: memory for time.
        in_channels, window, init_cfg: of ``WindowBackbone``.

    Raises:
        ValueError: patches do not fill the picture or the window; an out_index is no block. (On use) windows of another
            size.
    """

    def __init__(
        self,
        *,
        img_size: int | Sequence[int] = 512,
        patch_size: int = 16,
        depth_patch_size: int | None = None,
        embed_dims: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        out_indices: Sequence[int] = (3, 5, 7, 11),
        with_image: bool = False,
        with_cp: bool = False,
        in_channels: int = 1,
        window: SliceWindow | dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(in_channels=in_channels, window=window, init_cfg=init_cfg)
        plane = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        patch = (depth_patch_size or self.window.slices, patch_size, patch_size)
        self.shape = (self.window.slices, *plane)
        if any(have % side for have, side in zip(self.shape, patch, strict=True)):
            raise ValueError(f"windows of {self.shape} voxels are not filled by patches of {patch}")
        if not out_indices or not set(out_indices) <= set(range(depth)):
            raise ValueError(f"out_indices={tuple(out_indices)}: there are the blocks 0 to {depth - 1}")
        self.grid: Grid = tuple(have // side for have, side in zip(self.shape, patch, strict=True))
        self.out_indices, self.with_image, self.with_cp = tuple(out_indices), with_image, with_cp
        self.answered = self.window.place // patch[0]  # along depth, the token whose map is returned

        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dims))
        self.patch_embed = nn.Sequential(OrderedDict(proj=nn.Conv3d(in_channels, embed_dims, patch, patch)))
        self.blocks = nn.ModuleList(self.block(embed_dims, num_heads) for _ in range(depth))
        image = [FeatureInfo("image", in_channels * self.window.slices, (1, 1, 1))] if with_image else []
        blocks = [FeatureInfo(f"block{index}", embed_dims, (1, patch_size, patch_size)) for index in out_indices]
        self.feature_info = (*image, *blocks)

    def block(self, dims: int, heads: int) -> TransformerBlock:
        """One of the blocks."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The maps that ``feature_info`` announces, of windows (N, ``in_channels``, n, H, W)."""
        if x.shape[2:] != self.shape:
            raise ValueError(
                f"windows of {tuple(x.shape[2:])} voxels for a network whose positions are those of {self.shape}: "
                "give img_size, or resize in the pipeline (Resize3D)"
            )
        maps = [x.flatten(1, 2)] if self.with_image else []
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)
        tokens = self.placed(torch.cat([self.cls_token.expand(len(x), -1, -1), patches], dim=1))
        for number, block in enumerate(self.blocks[: max(self.out_indices) + 1]):
            if self.with_cp and tokens.requires_grad:
                tokens = checkpoint(block, tokens, *self.shared(), use_reentrant=False)
            else:
                tokens = block(tokens, *self.shared())
            if number in self.out_indices:
                maps.append(self._map(self.finished(tokens)))
        return tuple(maps)

    def layer_order(self) -> list[tuple[str, ...]]:
        """Names of what makes the tokens, then of each block."""
        return [("cls_token", "pos_embed", "patch_embed"), *((f"blocks.{n}",) for n in range(len(self.blocks)))]

    def placed(self, tokens: Tensor) -> Tensor:
        """The tokens, with what tells their places."""
        return tokens

    def shared(self) -> tuple[Tensor, ...]:
        """What every block is given beside the tokens."""
        return ()

    def finished(self, tokens: Tensor) -> Tensor:
        """Tokens behind a block as they are returned."""
        return tokens

    def _map(self, tokens: Tensor) -> Tensor:
        """(N, C, h, w) of the answered slice, without the class token."""
        return tokens[:, 1:].unflatten(1, self.grid)[:, self.answered].permute(0, 3, 1, 2).contiguous()

    def _start(self) -> None:
        """BEiT's start: normal weights of 0.02, what the blocks add divided by sqrt(2 l) in block l, counted from 1."""
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    zeros_(module.bias)
        trunc_normal_(self.cls_token, std=0.02)
        with torch.no_grad():
            for number, block in enumerate(self.blocks, start=1):
                block.attn.proj.weight /= sqrt(2 * number)
                block.mlp.fc2.weight /= sqrt(2 * number)


@MODELS.register_module()
class BEiT3D(WindowTransformer):
    """BEiT (Bao et al. 2022) over windows: relative positions in every block, layer scale, no last norm.

    Args:
        **kwargs: as ``WindowTransformer``'s.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.register_buffer("index", relative_index(self.grid), persistent=False)
        self._start()

    def block(self, dims: int, heads: int) -> TransformerBlock:
        return TransformerBlock(dims, RelativeAttention(dims, heads, grid=self.grid), layer_scale=True)

    def shared(self) -> tuple[Tensor, ...]:
        return (self.index,)


@MODELS.register_module()
class ViT3D(WindowTransformer):
    """A Vision Transformer over windows, as DINO's (Caron et al. 2021): learnt absolute positions, and a last norm that
    every map goes through.

    Args:
        **kwargs: as ``WindowTransformer``'s.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        dims, tokens = self.cls_token.shape[-1], self.grid[0] * self.grid[1] * self.grid[2]
        self.pos_embed = nn.Parameter(trunc_normal_(torch.empty(1, 1 + tokens, dims), std=0.02))
        self.norm = nn.LayerNorm(dims, NORM_EPS)
        self.fits = {"pos_embed": partial(fit_absolute_positions, grid=self.grid)}  # of checkpoints of another shape
        self._start()

    def block(self, dims: int, heads: int) -> TransformerBlock:
        return TransformerBlock(dims, Attention(dims, heads), layer_scale=False)

    def placed(self, tokens: Tensor) -> Tensor:
        return tokens + self.pos_embed

    def finished(self, tokens: Tensor) -> Tensor:
        return self.norm(tokens)
