"""From the volumes a data loader collected to the normalised batch a network is fed."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from mmengine.logging import print_log
from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn

from vdt3d.registry import MODELS


@MODELS.register_module()
class VolumeDataPreprocessor(BaseDataPreprocessor):
    """Stacks volumes (C, D, H, W) to a float32 batch (N, C, D, H, W) on the device and normalises it per channel.

    Args:
        mean: subtracted from the voxels, one number for all channels or one per channel.
        std: what the voxels are then divided by, likewise.
        input_statistics: 'pretrained' takes mean and std from the 2D network whose weights the backbone is made for, in
            place of ``mean`` and ``std``; the pipeline must have scaled the voxels to 0..1. Volumes of three channels
            take the numbers of the colours, others the mean over the colours.
        pad_to: let heights and widths differ: after normalisation zeros are added behind the last row and column, up to
            the largest of the batch and to a multiple of this number.
        channels_last: give the batch the memory format ``channels_last_3d``.
        non_blocking: copy to the device while the host goes on (needs pinned memory).

    Raises:
        ValueError: a standard deviation or ``pad_to`` that is not positive; ``input_statistics`` beside mean or std.
    """

    def __init__(
        self,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        *,
        input_statistics: Literal["pretrained"] | None = None,
        pad_to: int | None = None,
        channels_last: bool = False,
        non_blocking: bool = True,
    ):
        super().__init__(non_blocking)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1), persistent=False)
        if input_statistics not in (None, "pretrained"):
            raise ValueError(f"input_statistics={input_statistics!r} is not known: use 'pretrained' or leave it out")
        if input_statistics and (self.mean.any() or (self.std != 1).any()):
            raise ValueError(
                f"input_statistics={input_statistics!r} beside mean={mean} and std={std}: give one of both"
            )
        self.input_statistics = input_statistics
        if not (self.std > 0).all():
            raise ValueError(f"std={std} divides the voxels and must be positive")
        if pad_to is not None and pad_to < 1:
            raise ValueError(f"pad_to={pad_to}: sides become multiples of it, so it is 1 or more")
        self.pad_to = pad_to
        self.memory_format = torch.channels_last_3d if channels_last else torch.contiguous_format

    def forward(self, data: dict, training: bool = False) -> dict:
        """The batch under ``inputs``, and ``data_samples`` on the same device.

        Raises:
            ValueError: samples that were not packed; inputs that are no volumes, differ in shape (in more than
                ``pad_to`` allows), or have other channels than ``mean`` and ``std``.
        """
        if not isinstance(data, Mapping):
            wanted = "should in PackVolume, PackSegmentation or PackDetection"
            raise ValueError(f"the pipeline ends in a {type(data[0]).__name__}, and {wanted}")
        check_volumes(data["inputs"], padded=self.pad_to is not None)
        data = self.cast_data(data)
        volumes = data["inputs"]
        channels, depth = volumes[0].shape[:2]
        for name in ("mean", "std"):
            count = len(getattr(self, name))
            if count not in (1, channels):
                raise ValueError(f"{name} has {count} numbers for volumes of {channels} channels; give 1 or as many")
        multiple = self.pad_to or 1
        plane = [-(-max(volume.shape[axis] for volume in volumes) // multiple) * multiple for axis in (2, 3)]
        batch = volumes[0].new_zeros((len(volumes), channels, depth, *plane), dtype=torch.float32)
        for place, volume in zip(batch, volumes, strict=True):
            inside = place[..., : volume.shape[2], : volume.shape[3]]
            inside.copy_(volume).sub_(self.mean.view(-1, 1, 1, 1)).div_(self.std.view(-1, 1, 1, 1))
        batch = batch.contiguous(memory_format=self.memory_format)
        return {"inputs": batch, "data_samples": data.get("data_samples")}


def use_pretrained_statistics(model: nn.Module) -> None:
    """Set mean and std of a model's data preprocessor to those of its backbone's 2D network, if the config asks for it.

    A model calls it when it has its ``backbone``.

    Raises:
        ValueError: the backbone is not made from a named 2D network.
    """
    preprocessor = model.data_preprocessor
    if getattr(preprocessor, "input_statistics", None) is None:
        return
    backbone = model.backbone
    found = getattr(backbone, "input_statistics", None)
    if found is None:
        raise ValueError(
            f"data_preprocessor.input_statistics='pretrained': {type(backbone).__name__} is not made from a network of "
            "timm or torchvision, so its statistics are not known. Give mean and std"
        )
    for name, values in (("mean", found.mean), ("std", found.std)):
        numbers = torch.tensor(values, dtype=torch.float32)
        setattr(preprocessor, name, numbers if backbone.in_channels == len(numbers) else numbers.mean().view(1))
    print_log(
        f"Volumes scaled to 0..1 are normalised as for the pretrained weights: mean {preprocessor.mean.tolist()}, "
        f"std {preprocessor.std.tolist()}",
        logger="current",
    )


def check_volumes(inputs: Sequence[Tensor], *, padded: bool = False) -> None:
    """Refuse what cannot become one batch (N, C, D, H, W), with the remedy in the message.

    Args:
        inputs: the volumes.
        padded: whether H and W may differ.
    """
    shapes = sorted({tuple(volume.shape) for volume in inputs})
    for shape in shapes:
        if len(shape) != 4:
            hint = "; pictures become volumes through the transform ColoursToSlices" if len(shape) == 3 else ""
            raise ValueError(f"an input has shape {shape}, wanted is a volume (C, D, H, W){hint}")
    if len({shape[:2] for shape in shapes} if padded else shapes) > 1:
        raise ValueError(
            f"the volumes of a batch differ in shape: {', '.join(map(str, shapes))}; "
            "crop, pad or resize them to one shape in the pipeline, or use batch_size=1"
        )
