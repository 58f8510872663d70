"""Blocks of Vision Transformers under the names of DINO's and BEiT's files; tokens are (N, L, C)."""

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from vdt3d.models.inflate.positions import Grid, fit_relative_positions, relative_rows

NORM_EPS = 1e-6


class Attention(nn.Module):
    """Self-attention with several heads (Dosovitskiy et al. 2021, appendix A).

    Attributes:
        fused: whether one fused operation does it; without, its products are there to be counted one by one.
    """

    fused = True

    def __init__(self, dims: int, heads: int, *, qkv_bias: bool = True):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dims, 3 * dims, bias=qkv_bias)
        self.proj = nn.Linear(dims, dims)

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(self.qkv(x))

    def attend(self, qkv: Tensor, bias: Tensor | None = None) -> Tensor:
        """What (N, L, 3 * C) queries, keys and values come to, with a ``bias`` (heads, L, L) on the scores."""
        query, key, value = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = None if bias is None else bias.to(query.dtype).unsqueeze(0)
        if self.fused:
            x = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        else:
            scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
            x = (scores if bias is None else scores + bias).softmax(-1) @ value
        return self.proj(x.transpose(1, 2).flatten(2))


class RelativeAttention(Attention):
    """BEiT's: keys without a bias, and a learnt bias for each offset between two tokens of a ``grid``.

    Attributes:
        fits: how a checkpoint's parameters of another shape are made to fit.
    """

    def __init__(self, dims: int, heads: int, *, grid: Grid):
        super().__init__(dims, heads, qkv_bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dims))
        self.v_bias = nn.Parameter(torch.zeros(dims))
        self.relative_position_bias_table = nn.Parameter(torch.zeros(relative_rows(grid), heads))
        self.fits = {"relative_position_bias_table": partial(fit_relative_positions, grid=grid)}

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        """``index`` (L, L) is the grid's ``relative_index``, which all blocks share."""
        qkv_bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        bias = self.relative_position_bias_table[index].permute(2, 0, 1)
        return self.attend(functional.linear(x, self.qkv.weight, qkv_bias), bias)


class TransformerBlock(nn.Module):
    """Attention and a perceptron four times as wide, each behind a norm and around it a shortcut.

    Args:
        attention: of ``dims``.
        layer_scale: whether what is added is scaled, channel by channel, by learnt numbers that begin with 1.
    """

    def __init__(self, dims: int, attention: nn.Module, *, layer_scale: bool):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dims, NORM_EPS), nn.LayerNorm(dims, NORM_EPS)
        self.attn = attention
        layers = OrderedDict(fc1=nn.Linear(dims, 4 * dims), act=nn.GELU(), fc2=nn.Linear(4 * dims, dims))
        self.mlp = nn.Sequential(layers)
        if layer_scale:
            self.gamma_1, self.gamma_2 = nn.Parameter(torch.ones(dims)), nn.Parameter(torch.ones(dims))
        else:
            self.gamma_1 = self.gamma_2 = None

    def forward(self, x: Tensor, *index: Tensor) -> Tensor:
        x = x + _scaled(self.attn(self.norm1(x), *index), self.gamma_1)
        return x + _scaled(self.mlp(self.norm2(x)), self.gamma_2)


def _scaled(x: Tensor, gamma: Tensor | None) -> Tensor:
    return x if gamma is None else gamma * x
