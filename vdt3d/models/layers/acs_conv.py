"""The ACS convolution: 2D kernels on volumes, a third of them on axial, a third on coronal, a third on sagittal planes.

Yang et al., "Reinventing 2D convolutions for 3D images", IEEE JBHI 2021, section III.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vdt3d.models.layers.safe_conv import check_depth_padding, conv3d, replicate_depth

PLANES = 3


class ACSConv3d(nn.Conv2d):
    """A convolution of volumes (N, C, D, H, W) with the weight (O, I, kH, kW) of one of pictures.

    Of the output channels, a first third is computed with kernels 1 x kH x kW, a second with kH x 1 x kW, the last with
    kH x kW x 1; the remainder of the division goes to the first, then to the second. Of a convolution with groups, the
    groups are divided so. Across its plane a kernel reads the one voxel that is the middle of the cubic kernel it
    replaces, so that every third has the same size whatever stride and padding.

    Args:
        stride: of all axes, or (D, H, W).
        depth_padding: 'zeros' or 'replicate', as of ``SafeConv3d``.
        others: as of ``nn.Conv2d``; what they say of the height counts for the depth too.

    Raises:
        ValueError: a padding in words, or another padding mode than zeros.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        depth_padding: str = "zeros",
    ):
        steps = (stride,) * 3 if isinstance(stride, int) else tuple(stride)
        if isinstance(padding, str):
            raise ValueError(f"padding={padding!r}: an ACS convolution wants numbers")
        check_depth_padding(depth_padding)
        super().__init__(in_channels, out_channels, kernel_size, steps[1:], padding, dilation, groups, bias)
        self.depth_stride, self.depth_padding = steps[0], depth_padding

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if max(self.kernel_size) == 1:  # the three planes see the same
            shares = [(0, slice(None), slice(None), self.groups)]
        else:
            shares = [(plane, *share) for plane, share in enumerate(self._shares()) if share[-1]]
        parts = [
            self._part(x[:, ins], plane, weight[outs], None if bias is None else bias[outs], groups)
            for plane, outs, ins, groups in shares
        ]
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]

    def _shares(self) -> list[tuple[slice, slice, int]]:
        """Per plane: its output channels, the input channels these read, and their number of groups (0: no share)."""
        units = self.out_channels if self.groups == 1 else self.groups
        ends = [0]
        for plane in range(PLANES):
            ends.append(ends[-1] + units // PLANES + (plane < units % PLANES))
        if self.groups == 1:
            return [(slice(a, b), slice(None), int(b > a)) for a, b in pairwise(ends)]
        outs, ins = self.out_channels // self.groups, self.in_channels // self.groups
        return [(slice(a * outs, b * outs), slice(a * ins, b * ins), b - a) for a, b in pairwise(ends)]

    def _part(self, x: Tensor, plane: int, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        """The output channels of ``weight``, flat along axis ``plane`` (0 depth, 1 height, 2 width)."""
        stride, padding, dilation = (self.depth_stride, *self.stride), list(self.padding), list(self.dilation)
        padding.insert(plane, 0)
        dilation.insert(plane, 1)
        x = self._aligned(x, plane, stride[plane])
        if self.depth_padding == "replicate" and plane != 0:
            x, padding[0] = replicate_depth(x, padding[0]), 0
        return conv3d(x, weight.unsqueeze(2 + plane), bias, stride, padding, dilation, groups)

    def _aligned(self, x: Tensor, plane: int, stride: int) -> Tensor:
        """``x`` cut (or padded) along ``plane``, so that step i of a kernel of one voxel reads window i's middle."""
        axis = max(plane - 1, 0)  # the axis of the 2D kernel that speaks for this one; the height speaks for the depth
        kernel, padding, dilation = self.kernel_size[axis], self.padding[axis], self.dilation[axis]
        size = x.shape[2 + plane]
        steps = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        first = dilation * (kernel // 2) - padding
        if first == 0 and steps == (size - 1) // stride + 1:
            return x
        amounts = [0] * 6
        amounts[4 - 2 * plane : 6 - 2 * plane] = -first, (steps - 1) * stride + 1 - size + first
        return F.pad(x, amounts)  # negative amounts cut

    def extra_repr(self) -> str:
        depth = f"depth_stride={self.depth_stride}, depth_padding={self.depth_padding}"
        return f"{super().extra_repr()}, {depth}"
