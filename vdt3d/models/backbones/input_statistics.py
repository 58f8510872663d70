"""InputStatistics: the mean and standard deviation that the pretrained weights of a 2D network expect."""

from dataclasses import dataclass

import torchvision
from torch import nn


@dataclass(frozen=True)
class InputStatistics:
    """Statistics of the images that weights were trained on, for images scaled to 0..1.

    Args:
        mean: per colour.
        std: per colour.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


def statistics_of(model: str | dict, network: nn.Module) -> InputStatistics | None:
    """Return the statistics of the pretrained weights of a network of timm or torchvision, None for others.

    Args:
        model: name or config that ``network`` was built from.
        network: of timm, with its ``pretrained_cfg``.
    """
    if config := getattr(network, "pretrained_cfg", None):
        return InputStatistics(tuple(config["mean"]), tuple(config["std"]))
    if isinstance(model, str) and model.startswith("torchvision."):
        preset = next(iter(torchvision.models.get_model_weights(model.partition(".")[2]))).transforms()
        return InputStatistics(tuple(preset.mean), tuple(preset.std))
    return None
