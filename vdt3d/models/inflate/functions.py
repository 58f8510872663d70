"""Functions that a 2D network calls on images, when it is given volumes: refused by name, or replaced.

Both are modes, so a forward of torchvision or timm runs as it is.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

SPACE = {2, 3, 4}  # the axes of (N, C, D, H, W) that are space
REDUCTIONS = ("mean", "sum", "amax", "amin", "var", "std", "norm", "var_mean", "std_mean", "logsumexp")
ARITHMETIC = ("add", "sub", "mul", "div", "truediv", "where", "maximum", "minimum", "addcmul", "lerp")


class ConversionError(ValueError):
    """A network has a part whose 3D counterpart is not known."""


class PictureFunctionsRefused(TorchFunctionMode):
    """Mode that refuses functions which use two of a volume's three axes as the two of an image."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if args and isinstance(args[0], Tensor) and args[0].dim() == 5:
            if name.endswith("2d") or name in ("pixel_shuffle", "pixel_unshuffle", "grid_sample", "affine_grid"):
                raise ConversionError(f"it calls the function {name}")
            axes = _axes(name, args, kwargs)
            if isinstance(axes, list | tuple) and len({axis % 5 for axis in axes} & SPACE) == 2:
                raise ConversionError(f"it calls the function {name} over axes {tuple(axes)}")
        if _plain(name) in ARITHMETIC:
            tensors = [each for each in args if isinstance(each, Tensor)]
            rank = max((each.dim() for each in tensors), default=0)
            # (1, C, 1, 1) beside (N, C, D, H, W) scales slices, and passes unnoticed where there are C of them.
            wrong = [each for each in tensors if 2 < each.dim() < rank and each.shape[-3] != 1]
            if rank > 4 and wrong:
                raise ConversionError(f"it combines an image's {tuple(wrong[0].shape)} with a volume ({_plain(name)})")
        return func(*args, **kwargs)


class VolumeFunctions(TorchFunctionMode):
    """Mode that replaces functions on images by those on volumes; only for forwards that were looked through.

    Args:
        depth_padding: 'zeros' or 'replicate'.
        depth: slices of what is resized to the (H, W) of something else.
        flat: whether layers read every slice for itself, so that depth needs no padding.
    """

    def __init__(self, depth_padding: str, depth: int = 0, *, flat: bool = False):
        super().__init__()
        self.depth_padding, self.depth, self.flat = depth_padding, depth, flat

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if replace := REPLACED.get(_plain(getattr(func, "__name__", ""))):
            tensors = [each for each in args[:2] if isinstance(each, Tensor)]
            if any(each.dim() == 5 for each in tensors):
                return replace(func, self, *args, **kwargs)
        return func(*args, **kwargs)


def _plain(name: str) -> str:
    """Return the name of a function without the signs of an operator: 'mul' for __rmul__, __imul__ and mul_."""
    plain = name.strip("_")
    return plain[1:] if plain != name and plain[:1] in "ir" and plain[1:] in ARITHMETIC else plain


def _axes(name: str, args: tuple, kwargs: dict) -> object:
    return kwargs.get("dim", args[1] if len(args) > 1 else None) if name in REDUCTIONS else None


def _permute(func: Callable, volumes: VolumeFunctions, x: Tensor, *order: int | tuple) -> Tensor:
    order = tuple(order[0]) if isinstance(order[0], list | tuple) else order
    return func(x, {(0, 2, 3, 1): (0, 2, 3, 4, 1), (0, 3, 1, 2): (0, 4, 1, 2, 3)}.get(order, order))


def _reduce(
    func: Callable, volumes: VolumeFunctions, x: Tensor, dim: object = (), *args: object, **kwargs: object
) -> Tensor:
    first = min((axis % 4 for axis in dim), default=0) if isinstance(dim, list | tuple) else 0
    if tuple(sorted(axis % 4 for axis in dim) if first else ()) not in ((2, 3), (1, 2)):
        return func(x, dim, *args, **kwargs)
    y = func(x.flatten(first, first + 1), dim, *args, **kwargs)
    return y.unsqueeze(first) if y.dim() == 4 else y


def _multiply(func: Callable, volumes: VolumeFunctions, a: object, b: object) -> Tensor:
    a, b = (each.unsqueeze(-1) if isinstance(each, Tensor) and each.dim() == 4 else each for each in (a, b))
    return func(a, b)


def _pad(
    func: Callable, volumes: VolumeFunctions, x: Tensor, pad: tuple, mode: str = "constant", value: object = None
) -> Tensor:
    if len(pad) != 4:
        return func(x, pad, mode, value)
    if not volumes.flat:
        x = pad_depth(x, *pad[2:], volumes.depth_padding)
    return func(x, (*pad, 0, 0), mode, value)


def _avg_pool(
    func: Callable, volumes: VolumeFunctions, x: Tensor, kernel_size: int, stride: int | None = None, padding: int = 0
) -> Tensor:
    return avg_pool3d(x, *map(layer_axes, (kernel_size, stride or kernel_size, padding)), volumes.depth_padding)


def _max_pool(func: Callable, volumes: VolumeFunctions, x: Tensor, *args: object, **kwargs: object) -> Tensor:
    return F.max_pool3d(x, *args, **kwargs)


def _adaptive_avg_pool(func: Callable, volumes: VolumeFunctions, x: Tensor, output_size: int | tuple) -> Tensor:
    return F.adaptive_avg_pool3d(x, (1, *layer_axes(output_size)[1:]))


def _adaptive_max_pool(
    func: Callable, volumes: VolumeFunctions, x: Tensor, output_size: int | tuple, return_indices: bool = False
) -> Tensor:
    return F.adaptive_max_pool3d(x, (1, *layer_axes(output_size)[1:]), return_indices)


def _interpolate(
    func: Callable, volumes: VolumeFunctions, x: Tensor, size: tuple | None = None, **kwargs: object
) -> Tensor:
    return func(x, (volumes.depth, *size) if size and len(size) == 2 else size, **kwargs)


REPLACED = {
    "permute": _permute,
    "mean": _reduce,
    "amax": _reduce,
    "mul": _multiply,
    "pad": _pad,
    "avg_pool2d": _avg_pool,
    "max_pool2d": _max_pool,
    "interpolate": _interpolate,
    "adaptive_avg_pool2d": _adaptive_avg_pool,
    "adaptive_max_pool2d": _adaptive_max_pool,
}


def pad_depth(x: Tensor, before: int, after: int, depth_padding: str) -> Tensor:
    """Return (N, C, D, H, W) with slices before the first and after the last: zeros, or copies of these two."""
    if not (before or after):
        return x
    return F.pad(x, (0, 0, 0, 0, before, after), "replicate" if depth_padding == "replicate" else "constant")


def pad_same(x: Tensor, kernel: tuple, stride: tuple, dilation: tuple, depth_padding: str, value: float = 0) -> Tensor:
    """Return (N, C, D, H, W) padded so that a layer of these (D, H, W) sizes divides each side by its stride, as
    TensorFlow's 'SAME'; with ``value``, or copies of the outermost slices along depth.
    """
    ends = []
    for size, span, step, gap in zip(x.shape[2:], kernel, stride, dilation, strict=True):
        short = max((-(size // -step) - 1) * step + (span - 1) * gap + 1 - size, 0)
        ends.append((short // 2, short - short // 2))
    (front, back), *plane = ends
    if depth_padding == "replicate":
        x, front, back = pad_depth(x, front, back, depth_padding), 0, 0
    return F.pad(x, (*plane[1], *plane[0], front, back), value=value)


def avg_pool3d(
    x: Tensor,
    kernel: tuple,
    stride: tuple,
    padding: tuple,
    depth_padding: str,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Average pooling by axes, with zeros or copies of the outermost slices before and after depth.

    Unlike torch's, it takes inputs that are smaller than the kernel before they are padded.
    """
    repeat = padding[0] if depth_padding == "replicate" else 0
    x, rest = pad_depth(x, repeat, repeat, depth_padding), padding[0] - repeat
    size, options = x.shape, (ceil_mode, count_include_pad)
    x = F.avg_pool2d(x.flatten(3), (kernel[0], 1), (stride[0], 1), (rest, 0), *options).unflatten(3, size[3:])
    return F.avg_pool2d(x.flatten(1, 2), kernel[1:], stride[1:], padding[1:], *options).unflatten(1, (size[1], -1))


def layer_axes(size: int | float | tuple) -> tuple:
    """Return (H, W) as (D, H, W): the depth as the height."""
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return height, height, width


@torch.no_grad()
def least_depth(network: torch.nn.Module, shape: tuple[int, ...]) -> int | None:
    """Return the least depth with which ``network`` takes inputs (N, C, D, H, W) of otherwise this ``shape``.

    None if it takes those of ``shape``, or none of up to 512 slices. ``network`` must be on the device "meta".
    """

    def takes(depth: int) -> bool:
        dtype = next((each.dtype for each in network.parameters() if each.is_floating_point()), None)
        try:
            network(torch.zeros(*shape[:2], depth, *shape[3:], device="meta", dtype=dtype))
        except RuntimeError:
            return False
        return True

    low = shape[2]
    if takes(low):
        return None
    high = next((low << power for power in range(1, 10) if low << power <= 512 and takes(low << power)), None)
    while high and high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if takes(middle) else (middle, high)
    return high
