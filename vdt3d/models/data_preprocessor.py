"""From the volumes a data loader collected to the normalised batch a network is fed."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from vdt3d.registry import MODELS


@MODELS.register_module()
class VolumeDataPreprocessor(BaseDataPreprocessor):
    """Stacks volumes (C, D, H, W) to a float32 batch (N, C, D, H, W) on the device and normalises it per channel.

    Args:
        mean: subtracted from the voxels, one number for all channels or one per channel.
        std: what the voxels are then divided by, likewise.
        channels_last: give the batch the memory format ``channels_last_3d``.
        non_blocking: copy to the device while the host goes on (needs pinned memory).

    Raises:
        ValueError: a standard deviation that is not positive.
    """

    def __init__(
        self,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        *,
        channels_last: bool = False,
        non_blocking: bool = True,
    ):
        super().__init__(non_blocking)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1), persistent=False)
        if not (self.std > 0).all():
            raise ValueError(f"std={std} divides the voxels and must be positive")
        self.memory_format = torch.channels_last_3d if channels_last else torch.contiguous_format

    def forward(self, data: dict, training: bool = False) -> dict:
        """The batch under ``inputs``, and ``data_samples`` on the same device.

        Raises:
            ValueError: inputs that are no volumes, differ in shape, or have other channels than ``mean`` and ``std``.
        """
        check_volumes(data["inputs"])
        data = self.cast_data(data)
        batch = torch.stack(tuple(data["inputs"])).float()  # a copy, so what follows may change it in place
        for name in ("mean", "std"):
            count = len(getattr(self, name))
            if count not in (1, batch.shape[1]):
                raise ValueError(
                    f"{name} has {count} numbers for volumes of {batch.shape[1]} channels; give 1 or as many"
                )
        batch.sub_(self.mean.view(-1, 1, 1, 1)).div_(self.std.view(-1, 1, 1, 1))
        batch = batch.contiguous(memory_format=self.memory_format)
        return {"inputs": batch, "data_samples": data.get("data_samples")}


def check_volumes(inputs: Sequence[Tensor]) -> None:
    """Refuse what cannot become one batch (N, C, D, H, W), with the remedy in the message."""
    shapes = sorted({tuple(volume.shape) for volume in inputs})
    for shape in shapes:
        if len(shape) != 4:
            hint = "; pictures become volumes through the transform ColoursToSlices" if len(shape) == 3 else ""
            raise ValueError(f"an input has shape {shape}, wanted is a volume (C, D, H, W){hint}")
    if len(shapes) > 1:
        raise ValueError(
            f"the volumes of a batch differ in shape: {', '.join(map(str, shapes))}; "
            "crop, pad or resize them to one shape in the pipeline, or use batch_size=1"
        )
