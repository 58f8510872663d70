"""Several networks, or several views of one, as one: the mean of their probabilities, and how far they disagree."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional

# From (B, C, D, H, W) to logits (B, K, D, H, W), or (B, K) of whole volumes.
Network = Callable[[Tensor], Tensor]
DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


class Ensemble:
    """Answers logits (B, K, ...), float32, whose probabilities are the mean of those of ``networks``.

    Of classes that is the logarithm of the mean softmax; of regions, or of a single score, the logit of the mean
    sigmoid. Being logits again, they go wherever those of one network go, another ensemble included.

    Args:
        networks: checkpoints, folds, mirrorings, draws of dropout.
        regions: the scores are of regions that may overlap (sigmoid), not of classes (softmax).
        entropy: answer (B, K + 1, ...): the last channel is the mean of the networks' ``entropy``.

    Raises:
        ValueError: there is no network.
    """

    def __init__(self, networks: Sequence[Network], *, regions: bool = False, entropy: bool = False):
        if not networks:
            raise ValueError("an ensemble wants at least one network")
        self.networks, self.regions, self.entropy = tuple(networks), regions, entropy

    def __call__(self, batch: Tensor) -> Tensor:
        yes = no = unsure = None  # sums over the networks, of probabilities as logarithms: nothing underflows
        for network in self.networks:
            logits = network(batch).float()
            if self.entropy:
                of_this = entropy(logits, regions=self.regions)
                unsure = of_this if unsure is None else unsure.add_(of_this)
            if self.regions or logits.shape[1] == 1:
                yes, no = _plus(yes, functional.logsigmoid(logits)), _plus(no, functional.logsigmoid(-logits))
            else:
                yes = _plus(yes, logits.log_softmax(dim=1))
        mean = yes.sub_(math.log(len(self.networks))) if no is None else yes.sub_(no)
        return mean if unsure is None else torch.cat([mean, unsure.div_(len(self.networks))], dim=1)


def _plus(total: Tensor | None, logarithm: Tensor) -> Tensor:
    return logarithm if total is None else torch.logaddexp(total, logarithm, out=total)


def entropy(logits: Tensor, *, regions: bool = False) -> Tensor:
    """(B, 1, ...) from 0, sure, to 1, all classes alike: Shannon's entropy of the probabilities over its maximum.

    Of regions, or of a single score, the mean over them of that of yes and no.

    Args:
        logits: (B, K, ...).
        regions: as ``Ensemble``'s.
    """
    if regions or logits.shape[1] == 1:
        yes, no = functional.logsigmoid(logits), functional.logsigmoid(-logits)
        return (yes.exp() * yes + no.exp() * no).mean(dim=1, keepdim=True) / -math.log(2)
    logarithms = logits.log_softmax(dim=1)
    return (logarithms.exp() * logarithms).sum(dim=1, keepdim=True) / -math.log(logits.shape[1])


def mirrored(network: Network, axes: str, *, undo: bool = True) -> list[Network]:
    """``network`` as it sees the batch mirrored along each choice of ``axes`` (letters of "DHW"), and answers undone.

    The first is the network itself.

    Args:
        undo: the answers are volumes, to be mirrored back.
    """
    choices = (choice for count in range(len(axes) + 1) for choice in combinations(axes, count))
    return [_mirror(network, [2 + "DHW".index(axis) for axis in choice], undo) for choice in choices]


def _mirror(network: Network, dims: list[int], undo: bool) -> Network:
    if not dims:
        return network
    return (lambda batch: network(batch.flip(dims)).flip(dims)) if undo else (lambda batch: network(batch.flip(dims)))


def members(network: Network) -> tuple[Network, ...]:
    """The networks of an ensemble; of any other, itself alone."""
    return network.networks if isinstance(network, Ensemble) else (network,)


def dropout_passes(model: nn.Module, passes: int) -> list[Network]:
    """``model`` with its dropout on and all else as in evaluation, ``passes`` times: Monte Carlo dropout (Gal and
    Ghahramani 2016).

    Each is a draw of its own, which depends on nothing else: batches of one shape get the same in every window and
    every scan.

    Raises:
        ValueError: fewer than two passes, or the model has no dropout that could differ between them.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, DROPOUT) and layer.p > 0]
    if passes < 2:
        raise ValueError(f"{passes} passes with dropout cannot disagree; take 2 or more, such as 20")
    if not layers:
        raise ValueError(
            f"{type(model).__name__} has no dropout to leave on; train it with some (a head's dropout_ratio, say), or "
            "take several checkpoints or mirrorings instead"
        )
    return [partial(_with_dropout, model, layers, seed) for seed in range(passes)]


def _with_dropout(model: nn.Module, layers: Iterable[nn.Module], seed: int, batch: Tensor) -> Tensor:
    with torch.random.fork_rng([batch.device] if batch.is_cuda else []):
        torch.default_generator.manual_seed(seed)
        if batch.is_cuda:
            torch.cuda.manual_seed(seed)
        for layer in layers:
            layer.train()
        try:
            return model(batch)
        finally:
            for layer in layers:
                layer.eval()


def checked_flips(flips: Iterable[str]) -> str:
    """The axes to mirror along, as one word.

    Raises:
        ValueError: flips that are no letters of "DHW".
    """
    if not isinstance(flips, Iterable) or not all(isinstance(flip, str) for flip in flips):
        raise ValueError(f"flips={flips!r}: give letters of 'DHW', or '' for none")
    flips = "".join(flips)
    if len(set(flips)) < len(flips) or not set(flips) <= set("DHW"):
        raise ValueError(f"flips are different letters of 'DHW'; got {flips!r}")
    return flips


def checked_temperature(temperature: float) -> float:
    """``temperature`` itself.

    Raises:
        ValueError: it is not positive.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature={temperature!r} divides the scores and must be positive")
    return float(temperature)
