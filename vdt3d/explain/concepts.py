"""Concepts (TCAV, Kim et al. 2018): whether what a person can show examples of moves a network's answer.

Nothing is stored: activations and vectors are of the network at hand, and go with the call.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from vdt3d.explain.scores import Score


class ConceptReport(NamedTuple):
    """What was found about a concept.

    Fields:
        score: of TCAV, the share of the images whose score grows towards the concept, in 0..1; mean over the repeats.
        sensitivity: the mean cosine, in -1..1, between the score's gradient and the direction of the concept.
        accuracy: with which examples that were held back are told from counterexamples; near 0.5 the network does not
            know the concept at this layer.
        random_mean, random_std: the sensitivities of random concepts.
        p: two-sided, of a sensitivity so far from those of random concepts.
    """

    score: float
    sensitivity: float
    accuracy: float
    random_mean: float
    random_std: float
    p: float


def concept_tests(
    score: Score,
    layer: nn.Module,
    images: Sequence[Tensor],
    concepts: Mapping[str, Sequence[Tensor]],
    counterexamples: Sequence[Tensor],
    *,
    repeats: int = 20,
    seed: int = 0,
) -> dict[str, ConceptReport]:
    """Test whether concepts move the score of ``images``.

    In every repeat a linear classifier tells the concept's examples from as many counterexamples by the activations of
    ``layer``, averaged over all positions; across its boundary lies the direction of the concept. ``repeats`` random
    concepts, as many counterexamples each, go through the same. The test (Student's t) asks whether the concept's mean
    could be one more of theirs. It compares means of whole concepts, not the repeats of one with those of another as in
    the paper: repeats share their examples, and by counting them as independent most random concepts come out
    significant. It compares cosines, since the share of images is 0 or 1 for a random concept, too, once gradients are
    alike.

    Args:
        score: from a batch to (B,).
        layer: whose activations (B, c, ...) are looked at.
        images: of the class in question, each (C, D, H, W), of any sizes that the network takes.
        concepts: examples by the name of the concept.
        counterexamples: chosen without regard to any concept; at least twice as many as a concept has examples, four
            times is better.
        repeats: draws of counterexamples, and of random concepts.
        seed: of the draws.

    Raises:
        ValueError: a concept has fewer than 5 examples, or counterexamples are too few.
    """
    if not images or not concepts:
        raise ValueError(f"{len(images)} images and {len(concepts)} concepts: there must be some of each")
    for name, examples in concepts.items():
        if len(examples) < 5 or len(counterexamples) < 2 * len(examples):
            raise ValueError(
                f"concept '{name}' has {len(examples)} examples for {len(counterexamples)} counterexamples: wanted are "
                "5 or more, and twice as many counterexamples"
            )
    pool = activations(score, layer, counterexamples)
    # One scale for all channels: one that is silent in counterexamples may be just what tells the concept.
    mean, scale = pool.mean(0), pool.std() or 1.0
    pool = (pool - mean) / scale
    gradients = _unit(slopes(score, layer, images))
    found, random = {}, {}
    for name, examples in concepts.items():
        size = len(examples)
        if size not in random:
            drawn = (np.random.default_rng((seed, size, number)) for number in range(repeats))
            random[size] = [_of_random(pool, size, gradients, repeats, rng)["sensitivity"] for rng in drawn]
        rng = np.random.default_rng((seed, size, repeats))
        known = (activations(score, layer, examples) - mean) / scale
        told = _of_concept(known, pool, gradients, repeats, rng)
        centre, spread = float(np.mean(random[size])), float(np.std(random[size], ddof=1))
        t = (told["sensitivity"] - centre) / max(spread * np.sqrt(1 + 1 / repeats), np.finfo(float).tiny)
        found[name] = ConceptReport(
            **told, random_mean=centre, random_std=spread, p=2 * stats.t.sf(abs(t), repeats - 1)
        )
    return found


def activations(score: Score, layer: nn.Module, images: Sequence[Tensor]) -> np.ndarray:
    """(N, c) what a layer answers, averaged over all positions."""
    with torch.no_grad():
        return np.stack([_kept(score, layer, image)[0][0].flatten(1).mean(1).cpu().numpy() for image in images])


def slopes(score: Score, layer: nn.Module, images: Sequence[Tensor]) -> np.ndarray:
    """(N, c) how the score grows with a channel of a layer, raised by as much at all positions."""
    found = []
    for image in images:
        answer, value = _kept(score, layer, image)
        (slope,) = torch.autograd.grad(value.sum(), answer)
        found.append(slope[0].flatten(1).sum(1).cpu().numpy())
    return np.stack(found)


def _kept(score: Score, layer: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """What the layer answers to an image, and its score."""
    kept: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, inputs, output: kept.append(output))
    try:
        value = score(image[None].clone().requires_grad_())  # weights may be frozen
    finally:
        handle.remove()
    if len(kept) != 1 or not isinstance(kept[0], Tensor) or kept[0].ndim < 3:
        raise ValueError(f"{type(layer).__name__} gives no maps (B, c, ...), once each time: choose another layer")
    return kept[0], value


def _of_random(
    pool: np.ndarray, size: int, gradients: np.ndarray, repeats: int, rng: np.random.Generator
) -> dict[str, float]:
    order = rng.permutation(len(pool))
    return _of_concept(pool[order[:size]], pool[order[size:]], gradients, repeats, rng)


def _of_concept(
    known: np.ndarray, pool: np.ndarray, gradients: np.ndarray, repeats: int, rng: np.random.Generator
) -> dict[str, float]:
    """Means over the repeats."""
    told = []
    for _ in range(repeats):
        against = pool[rng.choice(len(pool), len(known), replace=False)]
        cosines = gradients @ _direction(known, against)
        told.append(((cosines > 0).mean(), cosines.mean(), _accuracy(known, against, rng)))
    return dict(zip(("score", "sensitivity", "accuracy"), np.mean(told, axis=0).tolist(), strict=True))


def _direction(known: np.ndarray, against: np.ndarray) -> np.ndarray:
    return _unit(_told_apart(known, against).coef_)[0]


def _accuracy(known: np.ndarray, against: np.ndarray, rng: np.random.Generator) -> float:
    """Of a classifier that a third of either side was kept from."""
    parts = [np.split(rng.permutation(each), [len(each) - len(each) // 3]) for each in (known, against)]
    fitted = _told_apart(parts[0][0], parts[1][0])
    return (fitted.predict(parts[0][1]).mean() + 1 - fitted.predict(parts[1][1]).mean()) / 2


def _told_apart(known: np.ndarray, against: np.ndarray) -> LogisticRegression:
    truth = np.repeat([1, 0], [len(known), len(against)])
    return LogisticRegression(max_iter=1000).fit(np.concatenate([known, against]), truth)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(float).tiny)
