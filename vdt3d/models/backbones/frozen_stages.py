"""FrozenStages: backbones of a stem and stages of which the first parts, and batch norms, may be kept as they are."""

from collections.abc import Sequence
from typing import Self

from mmengine.model import BaseModule
from torch.nn.modules.batchnorm import _BatchNorm


class FrozenStages(BaseModule):
    """A backbone of which parts do not learn; a subclass sets the attributes and then calls ``freeze``.

    Attributes:
        stem_names: of the children that are its stem.
        stage_names: of those that are its stages, in order.
        frozen_stages: -1 freezes nothing, 0 the stem, k the stem and the first k stages.
        norm_eval: keep batch norms at their running statistics while training.
    """

    stem_names: Sequence[str]
    stage_names: Sequence[str]
    frozen_stages: int
    norm_eval: bool

    def layer_order(self) -> list[tuple[str, ...]]:
        """Names of the stem's children, then of each stage."""
        return [tuple(self.stem_names), *((name,) for name in self.stage_names)]

    def freeze(self) -> None:
        """Let the frozen parts have no gradients."""
        for name in self._frozen():
            getattr(self, name).requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Switch to training, but for the frozen parts and, with ``norm_eval``, the batch norms."""
        super().train(mode)
        for name in self._frozen():
            getattr(self, name).eval()
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _frozen(self) -> list[str]:
        return [] if self.frozen_stages < 0 else [*self.stem_names, *self.stage_names[: self.frozen_stages]]
