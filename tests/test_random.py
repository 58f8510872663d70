"""Random streams: they depend on (seed, epoch, index) and a name alone, and leave the rest of the program alone."""

import io
import random

import numpy as np
import pytest
import torch

from vdt3d.utils.random import SampleKey, keyed, rng_state, set_rng_state, stream

KEY = SampleKey(seed=1, epoch=2, index=3)


def global_draws() -> tuple[float, float, float]:
    return random.random(), np.random.rand(), torch.rand(1).item()


def keyed_draws(key: SampleKey, name: str = "Flip") -> tuple[float, ...]:
    with keyed(key):
        return (stream(name).random(), *global_draws())


def test_the_same_key_gives_the_same_draws():
    assert keyed_draws(KEY) == keyed_draws(KEY)


@pytest.mark.parametrize("other", [KEY._replace(seed=9), KEY._replace(epoch=9), KEY._replace(index=9)])
def test_another_key_gives_other_draws(other):
    assert all(a != b for a, b in zip(keyed_draws(KEY), keyed_draws(other), strict=True))


def test_a_key_outlives_whatever_was_drawn_before():
    first = keyed_draws(KEY)
    global_draws()
    assert keyed_draws(KEY) == first


@pytest.mark.parametrize("fails", [False, True])
def test_keyed_leaves_the_global_generators_as_they_were(fails):
    set_rng_state(state := rng_state())
    undisturbed = global_draws()
    set_rng_state(state)
    try:
        with keyed(KEY):
            global_draws()
            if fails:
                raise RuntimeError("a reader stumbles")
    except RuntimeError:
        pass
    assert global_draws() == undisturbed


def test_streams_are_independent():
    with keyed(KEY):
        flip, again, shift = stream("Flip").random(), stream("Flip").random(), stream("Shift").random()
    assert len({flip, again, shift}) == 3
    with keyed(KEY):
        stream("Noise").random(100)  # one more transform in the pipeline
        assert (stream("Shift").random(), stream("Flip").random(), stream("Flip").random()) == (shift, flip, again)


def test_outside_a_data_set_a_stream_follows_numpys_seed():
    np.random.seed(5)
    first = stream("Flip").random()
    assert stream("Flip").random() != first
    np.random.seed(5)
    assert stream("Flip").random() == first


def test_the_state_survives_a_safe_save():
    np.random.standard_normal()  # leaves a second normal number cached
    random.gauss(0, 1)
    torch.save(rng_state(), file := io.BytesIO())
    expected = global_draws(), np.random.standard_normal(), random.gauss(0, 1)
    file.seek(0)
    set_rng_state(torch.load(file, weights_only=True))
    assert (global_draws(), np.random.standard_normal(), random.gauss(0, 1)) == expected
