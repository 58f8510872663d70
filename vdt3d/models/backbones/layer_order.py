"""The parts of a model's backbone from input to output, for learning rates and freezing that follow their depth."""

from torch import nn


def layer_order(model: nn.Module) -> list[tuple[str, ...]]:
    """Prefixes of parameter names: those of each part of ``model.backbone``, the one next to the input first.

    A backbone tells them by a method ``layer_order``. What no part holds (necks, heads, last norms) comes after all.

    Raises:
        ValueError: there is no backbone, or it does not tell.
    """
    backbone = getattr(model, "backbone", None)
    if not hasattr(backbone, "layer_order"):
        raise ValueError(
            f"{type(backbone or model).__name__} does not tell the order of its layers; ResNet3D, P3D, MP3D, ViT3D, "
            "BEiT3D, Swin3D and VideoSwin do"
        )
    return [tuple(f"backbone.{name}" for name in part) for part in backbone.layer_order()]


def part_of(name: str, order: list[tuple[str, ...]]) -> int:
    """Which part of ``layer_order`` a parameter (or module) belongs to; ``len(order)`` for what comes after all."""
    for place, prefixes in enumerate(order):
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes):
            return place
    return len(order)
