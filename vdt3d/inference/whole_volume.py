"""WholeVolume: the scan goes through the network in one piece."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from vdt3d.inference.ensemble import Network
from vdt3d.inference.inferer import Inferer
from vdt3d.registry import TASK_UTILS


@TASK_UTILS.register_module()
class WholeVolume(Inferer):
    """One forward pass, with all the scores in memory: for crops and small scans.

    Args:
        divisor: the sides (D, H, W) are padded to a multiple of it; one number for all three or three.
        device: where the network computes; by default where the image is.
        **kwargs: ``flips``, ``temperature`` and ``post_process`` of ``Inferer``.

    Raises:
        ValueError: a divisor that is not positive. (On use) the network answers logits of another shape than its input.
    """

    def __init__(self, *, divisor: int | Sequence[int] = 1, device: str | None = None, **kwargs):
        super().__init__(**kwargs)
        self.divisor = (divisor,) * 3 if isinstance(divisor, int) else tuple(divisor)
        if len(self.divisor) != 3 or min(self.divisor) < 1:
            raise ValueError(f"a divisor is one positive number or three (D, H, W), got {divisor!r}")
        self.device = device

    def padded_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(-(-side // step) * step for side, step in zip(shape, self.divisor, strict=True))

    def outer_axis(self, shape: tuple[int, ...]) -> int:
        return 0

    def slabs(self, network: Network, image_CDHW: Tensor, outer: int) -> Iterator[Tensor]:
        logits = network(image_CDHW[None].to(self.device or image_CDHW.device))
        if logits.ndim != 5 or logits.shape[2:] != image_CDHW.shape[1:]:
            raise ValueError(
                f"the network answers {tuple(logits.shape)} to an image {tuple(image_CDHW.shape)}; wanted are logits "
                f"(1, K, D, H, W) of its size: choose a divisor that the network's strides divide"
            )
        yield logits[0].to(image_CDHW.device).float()
