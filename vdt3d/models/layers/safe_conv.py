"""A 3D convolution that stays right where the CPU's bfloat16 kernels do not."""

import torch
from torch import Tensor, nn


class SafeConv3d(nn.Conv3d):
    """``Conv3d`` that leaves bfloat16 on a CPU where an axis of the input is shorter than the kernel.

    There oneDNN (seen with torch 2.15 and AVX-512 BF16) computes weight gradients that are NaN or garbage, and can
    corrupt memory: of 2 slices under 3x3x3, of 2 to 6 under 7x7x7, of a single column with stride 2. Such inputs are
    small, so float32 costs little; the output is bfloat16 as ever.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 the name nn.Conv3d gives it
        if not (in_bfloat16_on_cpu(input) and self._short(input)):
            return super().forward(input)
        bias = None if self.bias is None else self.bias.float()
        with torch.autocast("cpu", enabled=False):
            return self._conv_forward(input.float(), self.weight.float(), bias).bfloat16()

    def _short(self, x: Tensor) -> bool:
        return any(size < kernel for size, kernel in zip(x.shape[-3:], self.kernel_size, strict=True))


def in_bfloat16_on_cpu(x: Tensor) -> bool:
    """Whether a convolution of ``x`` would be computed in bfloat16 on a CPU, under autocast or not."""
    if x.device.type != "cpu":
        return False
    autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return autocast or x.dtype == torch.bfloat16
