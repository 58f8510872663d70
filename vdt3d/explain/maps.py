"""Maps of evidence: which voxels a score rests on; images (C, D, H, W), maps (D, H, W), more is more in favour."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vdt3d.explain.scores import Score


def saliency(score: Score, image_CDHW: Tensor) -> Tensor:
    """How steep the score is at each voxel, up or down: the greatest of the channels (Simonyan et al. 2014).

    Raises:
        ValueError: captum is not installed.
    """
    kind = _captum("Saliency")
    return kind(score).attribute(_asked(image_CDHW))[0].amax(0).detach()


def integrated_gradients(
    score: Score, image_CDHW: Tensor, *, baseline: Tensor | None = None, steps: int = 32, batch: int = 8
) -> Tensor:
    """The part of each voxel in what the score has over that of the ``baseline`` (Sundararajan et al. 2017).

    All parts add up to the difference, as far as ``steps`` of the way between the two tell.

    Args:
        baseline: an image without evidence, (C, D, H, W) or (C, 1, 1, 1). Default: ``ordinary``.
        steps: points on the way.
        batch: of them at once.

    Raises:
        ValueError: captum is not installed.
    """
    kind = _captum("IntegratedGradients")
    plain = baseline_of(image_CDHW, baseline)
    parts = kind(score).attribute(_asked(image_CDHW), plain[None], n_steps=steps, internal_batch_size=batch)
    return parts[0].sum(0).detach().float()


@torch.no_grad()
def occlusion(
    score: Score,
    image_CDHW: Tensor,
    *,
    window: Sequence[int] | None = None,
    stride: Sequence[int] | None = None,
    baseline: Tensor | None = None,
    batch: int = 64,
) -> Tensor:
    """What the score loses when a window is painted over with the ``baseline`` (Zeiler and Fergus 2014).

    Of a voxel it is the mean over the windows that cover it.

    Args:
        window: voxels (D, H, W). Default: an eighth of each side.
        stride: from window to window; the last ones are cut off where the image ends. Default: the window, so that
            each voxel is painted over once.
        baseline: of ``integrated_gradients``.
        batch: windows at once: several times as fast as one by one (``benchmarks/occlusion.py``).

    Raises:
        ValueError: captum is not installed; a window that does not fit into the image, a stride that leaves gaps, or a
            batch below 1.
    """
    kind, channels, shape = _captum("Occlusion"), len(image_CDHW), tuple(image_CDHW.shape[1:])
    window = tuple(max(1, side // 8) for side in shape) if window is None else tuple(window)
    stride = window if stride is None else tuple(stride)
    if batch < 1 or not all(0 < step <= side <= have for have, side, step in zip(shape, window, stride, strict=True)):
        raise ValueError(
            f"window {window} with stride {stride} on {shape} voxels, {batch} at once: windows fit into the image, "
            "strides are no longer than they, and all are 1 or more"
        )
    plain = baseline_of(image_CDHW, baseline)
    lost = kind(score).attribute(
        image_CDHW[None], (channels, *window), (channels, *stride), plain[None], perturbations_per_eval=batch
    )
    return lost[0, 0].float()  # all channels are painted over at once, and have the same


def grad_cam(score: Score, image_CDHW: Tensor, layer: nn.Module) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017) at the resolution of ``layer``: its channels, weighed by their mean gradients.

    What speaks against is negative and not cut off. Maps (B, c, h, w) of networks of pictures have one slice.

    Raises:
        ValueError: captum is not installed, or the layer gives no maps.
    """
    kind = _captum("LayerGradCam")
    found = kind(score, layer).attribute(_asked(image_CDHW))
    if not isinstance(found, Tensor) or found.ndim not in (4, 5):
        raise ValueError(f"{type(layer).__name__} gives no maps (B, c, d, h, w): choose another layer")
    return found.detach().float().reshape(-1, *found.shape[-2:])


@torch.no_grad()
def last_maps(score: Score, image_CDHW: Tensor, part: nn.Module) -> str:
    """The name within ``part`` of the module that comes last of those that answer maps of more than one voxel along H
    and W: the layer at which Grad-CAM is usually looked.

    Raises:
        ValueError: there is none, as in a network of tokens.
    """
    found: list[str] = []

    def hook(name: str) -> Callable[..., None]:
        def remember(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.ndim in (4, 5) and min(output.shape[-2:]) > 1:
                found.append(name)

        return remember

    handles = [module.register_forward_hook(hook(name)) for name, module in part.named_modules() if name]
    try:
        score(image_CDHW[None])
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise ValueError(f"no module of {type(part).__name__} answers maps: name a layer, or choose another method")
    return found[-1]


@torch.no_grad()
def attention_rollout(score: Score, image_CDHW: Tensor, network: nn.Module) -> Tensor:
    """How much of each token reaches those of the answered slice, through all blocks (Abnar and Zuidema 2020): (d, h,
    w) of a ``WindowTransformer``'s grid of tokens.

    Heads are averaged, and half of a token is taken to stay in its place in every block. It tells where a network
    looks, whatever the class.

    Raises:
        ValueError: there is no such transformer in ``network``.
    """
    tokens = next((part for part in network.modules() if hasattr(part, "blocks") and hasattr(part, "answered")), None)
    if tokens is None:
        raise ValueError("attention is that of a WindowTransformer (ViT3D, BEiT3D): choose another method")
    seen: list[Tensor] = []
    layers = [block.attn for block in tokens.blocks]

    def watched(layer: nn.Module) -> Callable[..., Tensor]:
        def attend(qkv: Tensor, bias: Tensor | None = None) -> Tensor:
            query, key, _ = qkv.unflatten(-1, (3, layer.heads, -1)).permute(2, 0, 3, 1, 4)
            weights = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
            seen.append((weights if bias is None else weights + bias).softmax(-1).mean(1)[0])
            return type(layer).attend(layer, qkv, bias)

        return attend

    for layer in layers:
        layer.attend = watched(layer)
    try:
        score(image_CDHW[None])
    finally:
        for layer in layers:
            del layer.attend
    reach = torch.eye(len(seen[0]), device=seen[0].device)
    for weights in seen:
        reach = (weights + torch.eye(len(weights), device=weights.device)) / 2 @ reach
    read = reach[1:].unflatten(0, tokens.grid)[tokens.answered].flatten(0, 1).mean(0)  # token 0 is the class token
    return read[1:].view(tokens.grid).float()


def ordinary(image_CDHW: Tensor) -> Tensor:
    """(C, 1, 1, 1): the median of each channel, which says nothing in particular."""
    return image_CDHW.flatten(1).median(1).values.view(-1, 1, 1, 1)


def baseline_of(image_CDHW: Tensor, baseline: Tensor | None) -> Tensor:
    """What is painted over an image: ``baseline``, or what is ordinary, in its shape."""
    return (ordinary(image_CDHW) if baseline is None else baseline).to(image_CDHW).expand_as(image_CDHW)


def _asked(image_CDHW: Tensor) -> Tensor:
    return image_CDHW[None].clone().requires_grad_()  # in any case: weights may be frozen


def _captum(name: str) -> type:
    try:
        import captum.attr
    except ModuleNotFoundError as error:
        raise ValueError("this method is of a package that is not there: pip install 'vdt3d[explain]'") from error
    return getattr(captum.attr, name)
