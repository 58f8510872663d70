"""Several networks, or several views of one, as one network: the mean of their probabilities."""

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

# From (B, C, D, H, W) to logits (B, K, D, H, W).
Network = Callable[[Tensor], Tensor]


class Ensemble:
    """Answers logits (B, K, D, H, W), float32, whose probabilities are the mean of those of ``networks``.

    Of classes that is the logarithm of the mean softmax; of regions, or of a single score, the logit of the mean
    sigmoid. Being logits again, they go wherever those of one network go, another ensemble included.

    Args:
        networks: checkpoints, folds, mirrorings.
        regions: the scores are of regions that may overlap (sigmoid), not of classes (softmax).

    Raises:
        ValueError: there is no network.
    """

    def __init__(self, networks: Sequence[Network], *, regions: bool = False):
        if not networks:
            raise ValueError("an ensemble wants at least one network")
        self.networks, self.regions = tuple(networks), regions

    def __call__(self, batch: Tensor) -> Tensor:
        yes = no = None  # sums over the networks, as logarithms: nothing underflows
        for network in self.networks:
            logits = network(batch).float()
            if self.regions or logits.shape[1] == 1:
                yes, no = _plus(yes, functional.logsigmoid(logits)), _plus(no, functional.logsigmoid(-logits))
            else:
                yes = _plus(yes, logits.log_softmax(dim=1))
        return yes.sub_(math.log(len(self.networks))) if no is None else yes.sub_(no)


def _plus(total: Tensor | None, logarithm: Tensor) -> Tensor:
    return logarithm if total is None else torch.logaddexp(total, logarithm, out=total)


def mirrored(network: Network, axes: str) -> list[Network]:
    """``network`` as it sees the batch mirrored along each choice of ``axes`` (letters of "DHW"), and answers undone.

    The first is the network itself.
    """
    choices = (choice for count in range(len(axes) + 1) for choice in combinations(axes, count))
    return [_mirror(network, [2 + "DHW".index(axis) for axis in choice]) for choice in choices]


def _mirror(network: Network, dims: list[int]) -> Network:
    return (lambda batch: network(batch.flip(dims)).flip(dims)) if dims else network
