"""ValidationLoss: the mean loss over validation cases, from what the model computed of each."""

import math
from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric

from vdt3d.registry import METRICS


@METRICS.register_module()
class ValidationLoss(BaseMetric):
    """Mean over cases of each loss term, as ``val_loss_TERM``, and of their sum, as ``val_loss``.

    The validation loop adds it to the metrics of the config. A case counts once, however many windows it has; cases
    without truth are left out, and where no case has a loss there is no score.
    """

    default_prefix = ""
    directions = {"val_loss*": "less"}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the loss terms of each case."""
        self.results.extend(sample.get("losses") or {} for sample in data_samples)

    def compute_metrics(self, results: list[dict[str, float]]) -> dict[str, float]:
        """Average over cases; the order of the cases does not change the result."""
        cases = [losses for losses in results if losses]
        if not cases:
            return {}
        names = sorted({name for losses in cases for name in losses})
        means = {f"val_{name}": math.fsum(losses[name] for losses in cases) / len(cases) for name in names}
        return {**means, "val_loss": sum(means.values())}
