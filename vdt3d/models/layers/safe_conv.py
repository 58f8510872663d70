"""3D convolutions that stay right where the CPU's bfloat16 kernels do not, and that may repeat the outermost slices."""

from collections.abc import Sequence
from operator import lt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DEPTH_PADDINGS = ("zeros", "replicate")


def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int] | str,
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """``F.conv3d`` that leaves bfloat16 on a CPU where an axis of the input is shorter than the kernel.

    There oneDNN (seen with torch 2.15 and AVX-512 BF16) computes weight gradients that are NaN or garbage, and can
    corrupt memory: of 2 slices under 3x3x3, of 2 to 6 under 7x7x7, of a single column with stride 2. Such inputs are
    small, so float32 costs little; the output is bfloat16 as ever.
    """
    # Sizes are looked at last, so that a network exported in float32 is not tied to those it was exported with.
    if not (in_bfloat16_on_cpu(x) and any(map(lt, x.shape[-3:], weight.shape[-3:]))):
        return F.conv3d(x, weight, bias, stride, padding, dilation, groups)
    bias = None if bias is None else bias.float()
    with torch.autocast("cpu", enabled=False):
        return F.conv3d(x.float(), weight.float(), bias, stride, padding, dilation, groups).bfloat16()


class SafeConv3d(nn.Conv3d):
    """``Conv3d`` by the function above.

    Args:
        depth_padding: 'zeros', or 'replicate' to repeat the first and the last slice instead, as often as ``padding``
            says for depth; height and width are padded with zeros all the same.

    Raises:
        ValueError: another ``depth_padding``, or 'replicate' without a padding in numbers.
    """

    def __init__(self, *args, depth_padding: str = "zeros", **kwargs):
        super().__init__(*args, **kwargs)
        check_depth_padding(depth_padding)
        if depth_padding == "replicate" and isinstance(self.padding, str):
            raise ValueError(f"depth_padding='replicate' needs numbers, not padding={self.padding!r}")
        self.depth_padding = depth_padding

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            x, padding = F.pad(x, self._reversed_padding_repeated_twice, self.padding_mode), (0, 0, 0)
        elif self.depth_padding == "replicate":
            x, padding = replicate_depth(x, padding[0]), (0, *padding[1:])
        return conv3d(x, weight, bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        return super().extra_repr() + (", depth_padding=replicate" if self.depth_padding == "replicate" else "")


def replicate_depth(x: Tensor, slices: int) -> Tensor:
    """``x`` (N, C, D, H, W) with its first and its last slice repeated ``slices`` times each."""
    return F.pad(x, (0, 0, 0, 0, slices, slices), "replicate") if slices else x


def check_depth_padding(depth_padding: str) -> None:
    """Raise ValueError for a word that is none of ``DEPTH_PADDINGS``."""
    if depth_padding not in DEPTH_PADDINGS:
        raise ValueError(f"depth_padding={depth_padding!r} is none of {', '.join(DEPTH_PADDINGS)}")


def in_bfloat16_on_cpu(x: Tensor) -> bool:
    """Whether a convolution of ``x`` would be computed in bfloat16 on a CPU, under autocast or not."""
    if x.device.type != "cpu":
        return False
    autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return autocast or x.dtype == torch.bfloat16
