"""Random streams keyed by (seed, epoch, index): a sample is drawn alike by 0 or 8 workers, before or after a resume."""

import random
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import numpy as np
import torch


class SampleKey(NamedTuple):
    """What a sampler hands to a data set: which sample, in which epoch, under which seed."""

    seed: int
    epoch: int
    index: int


class _Draws:
    """The streams of one sample; asking twice under one name gives two independent streams, in order."""

    def __init__(self, key: SampleKey):
        self.key, self.asked = key, Counter()

    def stream(self, name: str) -> np.random.Generator:
        self.asked[name] += 1
        return np.random.default_rng((*self.key, zlib.crc32(name.encode()), self.asked[name]))


_current: ContextVar[_Draws | None] = ContextVar("sample_draws", default=None)


def stream(name: str) -> np.random.Generator:
    """A random generator of its own for ``name`` (a transform's class), keyed by the sample being prepared.

    Adding or removing one transform leaves the draws of all others as they were. Outside a data set (a transform
    called by hand) the stream follows NumPy's global seed.
    """
    draws = _current.get()
    return np.random.default_rng(np.random.randint(2**31, size=4)) if draws is None else draws.stream(name)


@contextmanager
def keyed(key: SampleKey) -> Iterator[None]:
    """Within the block ``stream`` and the global generators of Python, NumPy and torch (which third-party pipelines
    draw from) depend on ``key`` alone; outside they go on as if nothing had been drawn.
    """
    before = rng_state()
    token = _current.set(_Draws(key))
    first, second = (int(n) for n in np.random.SeedSequence(key).generate_state(2))
    random.seed(first)
    np.random.seed(first)
    torch.default_generator.manual_seed(second)  # torch.manual_seed would touch the accelerators too
    try:
        yield
    finally:
        _current.reset(token)
        set_rng_state(before)


def rng_state() -> dict:
    """The global generators of Python, NumPy and torch on the CPU, as plain values and tensors."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": (version, list(words), gauss),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(cached)),
        "torch": torch.get_rng_state(),
    }


def set_rng_state(state: dict) -> None:
    """Put back what ``rng_state`` returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
