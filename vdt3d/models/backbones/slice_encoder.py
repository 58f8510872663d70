"""SliceEncoder: a 2D network that turns every slice of a volume into a vector."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from vdt3d.models.backbones.image_network import sized_network
from vdt3d.models.backbones.input_statistics import statistics_of
from vdt3d.models.inflate.kernels import COLOURS
from vdt3d.models.probing import probe_copy
from vdt3d.registry import MODELS


@MODELS.register_module()
class SliceEncoder(BaseModule):
    """A network of timm that reads each slice of a volume as an image.

    State-dict keys are ``network.`` and timm's, without the classifier.

    Args:
        model: 'timm.NAME' or ``dict(type='timm.NAME', ...)`` with arguments of timm's network.
        in_channels: of the volumes. One channel is repeated in all three colours, three are the colours; for other
            numbers the first layer takes them.
        img_size: (H, W) or one number: slices are resized to it. The network's own size when left out.
        chunk: slices that go through the network at a time.
        init_cfg: how to initialise it.

    Attributes:
        num_features: length of a slice's vector.
        input_statistics: mean and standard deviation that the network's pretrained weights expect.

    Raises:
        ValueError: timm does not have this network, it returns no vectors, or ``chunk`` is not positive.
    """

    def __init__(
        self,
        model: str | dict,
        *,
        in_channels: int = 1,
        img_size: int | Sequence[int] | None = None,
        chunk: int = 32,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if chunk < 1:
            raise ValueError(f"chunk={chunk}: give the number of slices to encode at a time, at least 1")
        self.in_channels, self.chunk = in_channels, chunk
        colours = COLOURS if in_channels == 1 else in_channels
        self.network, self.size = sized_network(model, colours, img_size)
        self.input_statistics = statistics_of(model, self.network)
        name = model if isinstance(model, str) else model["type"]
        try:
            with torch.no_grad():
                vectors = _vectors(probe_copy(self.network, "meta"), torch.zeros(1, colours, *self.size, device="meta"))
        except Exception as error:  # a forward can raise anything
            raise ValueError(f"{name} fails on images of {self.size[0]} x {self.size[1]} pixels: {error}") from error
        if vectors.dim() != 2:
            raise ValueError(f"{name} returns {tuple(vectors.shape)} for an image, but a vector is expected")
        self.num_features = vectors.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """Return the vectors (N, D, F) of the slices of volumes (N, C, D, H, W): what the classifier would read."""
        return self._encode(x, lambda images: [_vectors(self.network, images)])[0]

    def maps(self, x: Tensor, out_indices: Sequence[int] = (-1,)) -> tuple[Tensor, ...]:
        """Return maps (N, D, c, h, w) of the slices of volumes (N, C, D, H, W).

        Args:
            x: volumes.
            out_indices: indices of the maps in timm's ``feature_info``.
        """
        options = {"indices": list(out_indices), "output_fmt": "NCHW", "intermediates_only": True}
        return tuple(self._encode(x, lambda images: self.network.forward_intermediates(images, **options)))

    def _encode(self, x: Tensor, function: Callable[[Tensor], Sequence[Tensor]]) -> list[Tensor]:
        """Return the outputs of ``function`` for all slices, which it gets ``chunk`` at a time as images."""
        count, depth = x.shape[0], x.shape[2]
        slices = x.transpose(1, 2).flatten(0, 1)
        outputs = [function(self._images(each)) for each in slices.split(self.chunk)]
        return [torch.cat(parts).unflatten(0, (count, depth)) for parts in zip(*outputs, strict=True)]

    def _images(self, slices: Tensor) -> Tensor:
        """Return slices (n, C, H, W) as images of the network's size and colours."""
        if slices.shape[2:] != self.size:
            slices = F.interpolate(slices, self.size, mode="bilinear", align_corners=False, antialias=True)
        return slices.expand(-1, COLOURS, -1, -1) if self.in_channels == 1 else slices


def _vectors(network: torch.nn.Module, images: Tensor) -> Tensor:
    return network.forward_head(network.forward_features(images), pre_logits=True)
