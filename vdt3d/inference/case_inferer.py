"""CaseInferer: a classifier's answer for volumes: the mean of several views, calibrated, and how far they agree."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmpretrain.structures import DataSample
from scipy.special import entr
from torch import Tensor

from vdt3d.inference.ensemble import Ensemble, Network, checked_flips, checked_temperature, entropy, members, mirrored
from vdt3d.registry import TASK_UTILS


class Classified(NamedTuple):
    """What a classifier says of a scan.

    Fields:
        classes: their names.
        probabilities: (K,), of each.
        disagreement: from 0 to 1, how far several views contradict each other; None where there is one view only.
    """

    classes: tuple[str, ...]
    probabilities: np.ndarray
    disagreement: float | None = None

    @property
    def label(self) -> str:
        """The name of the likeliest class."""
        return self.classes[int(self.probabilities.argmax())]

    @property
    def uncertainty(self) -> float:
        """From 0, sure, to 1, all classes alike: Shannon's entropy of the probabilities over its maximum."""
        return float(entr(self.probabilities).sum()) / math.log(len(self.classes))


@TASK_UTILS.register_module()
class CaseInferer:
    """From a network of (B, C, D, H, W) to logits (B, K) to what is said of each case.

    Args:
        flips: letters of "DHW": the mean probability over every combination of mirrorings along these axes is taken.
        temperature: what the logits of that mean are divided by (Guo et al. 2017); ``vdt3d calibrate`` finds it.

    Raises:
        ValueError: flips that are no letters of "DHW", a temperature that is not positive.
    """

    def __init__(self, *, flips: Iterable[str] = (), temperature: float = 1.0):
        self.flips, self.temperature = checked_flips(flips), checked_temperature(temperature)

    def logits(self, network: Network, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, K) of the mean probability over all views, at temperature 1, and (B,) how far the views disagree, from 0
        to 1: their mutual information (Houlsby et al. 2011); None where there is one view only.
        """
        views = [view for member in members(network) for view in mirrored(member, self.flips, undo=False)]
        if len(views) == 1:
            return views[0](batch), None
        mean, of_views = Ensemble(views, entropy=True)(batch).tensor_split([-1], dim=1)
        return mean, (entropy(mean) - of_views).clamp_(min=0)[:, 0]

    @torch.no_grad()
    def classify(self, network: Network, batch: Tensor, samples: Sequence[DataSample]) -> Sequence[DataSample]:
        """The samples, each with ``pred_score`` (K,) and ``pred_label``; where there are several views also with
        ``uncertainty``, the entropy of the mean probability, and ``disagreement``, each from 0 to 1.
        """
        logits, disagreement = self.logits(network, batch)
        logits = logits / self.temperature
        scores, unsure = logits.softmax(dim=1), entropy(logits)[:, 0]
        for place, (sample, score) in enumerate(zip(samples, scores, strict=True)):
            sample.set_pred_score(score).set_pred_label(score.argmax())
            if disagreement is not None:
                sample.set_field(unsure[place].item(), "uncertainty", field_type="metainfo")
                sample.set_field(disagreement[place].item(), "disagreement", field_type="metainfo")
        return samples
