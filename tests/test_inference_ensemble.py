"""Several networks or mirrorings as one: the mean of their probabilities, as logits."""

from math import log

import pytest
import torch

from vdt3d.inference import Ensemble, SlidingWindow, WholeVolume, mirrored


def fixed(*logits):
    """A network that answers one vector of logits everywhere."""
    return lambda batch: torch.tensor(logits).view(1, -1, 1, 1, 1).expand(len(batch), -1, *batch.shape[2:])


VOXEL = torch.zeros(1, 1, 1, 1, 1)


def test_probabilities_of_classes_are_averaged():
    # Odds of 3 : 1 and of 1 : 1 are probabilities (3/4, 1/4) and (1/2, 1/2): 5/8 and 3/8 in the mean.
    answer = Ensemble([fixed(log(3), 0.0), fixed(7.0, 7.0)])(VOXEL)
    assert answer.flatten().exp().tolist() == pytest.approx([5 / 8, 3 / 8])


@pytest.mark.parametrize("regions", [True, False])
def test_probabilities_of_regions_are_averaged(regions):
    # Scores of log 3 and 0 are probabilities 3/4 and 1/2: 5/8 in the mean, odds of 5 : 3. A single score is a region.
    answer = Ensemble([fixed(log(3)), fixed(0.0)], regions=regions)(VOXEL)
    assert answer.item() == pytest.approx(log(5 / 3))


def test_nothing_is_lost_where_networks_are_certain():
    # Each is certain of its own class, by more than float32 can tell from 1: both remain equally likely.
    assert Ensemble([fixed(500.0, -500.0), fixed(-500.0, 500.0)])(VOXEL).flatten().tolist() == pytest.approx(
        [log(0.5)] * 2
    )
    assert Ensemble([fixed(500.0), fixed(500.0)])(VOXEL).item() == pytest.approx(500)


def test_one_network_is_unchanged_but_for_a_constant():
    answer = Ensemble([fixed(1.0, 2.0, 4.0)])(VOXEL).flatten()
    assert (answer - answer[0]).tolist() == pytest.approx([0, 1, 3])


def test_an_ensemble_may_consist_of_ensembles():
    inner = Ensemble([fixed(log(3), 0.0), fixed(0.0, 0.0)])  # 5/8
    answer = Ensemble([inner, fixed(0.0, 0.0)])(VOXEL)  # (5/8 + 1/2) / 2
    assert answer.flatten().exp().tolist() == pytest.approx([9 / 16, 7 / 16])


def test_it_needs_a_network():
    with pytest.raises(ValueError, match="at least one"):
        Ensemble([])


def test_every_combination_of_mirrorings_is_asked_once_and_undone():
    asked = []

    def network(batch):
        asked.append(batch.flatten().tolist())
        return batch

    batch = torch.arange(8.0).view(1, 1, 2, 2, 2)
    answers = [view(batch) for view in mirrored(network, "DHW")]
    assert len({tuple(order) for order in asked}) == 8  # each order of the eight voxels is another one
    assert asked[0] == list(range(8)) and all(torch.equal(answer, batch) for answer in answers)


@pytest.mark.parametrize("inferer", [SlidingWindow((1, 1, 2), flips="W"), WholeVolume(flips="W")])
def test_flips_average_probabilities_voxel_by_voxel(inferer):
    # Whatever the network sees, it gives its first voxel odds of 3 : 1 and its second 1 : 1. Mirrored and undone it is
    # the other way round, so both voxels get (3/4 + 1/2) / 2 = 5/8.
    network = lambda batch: torch.tensor([[log(3), 0.0], [0.0, 0.0]]).view(1, 2, 1, 1, 2)  # noqa: E731
    logits = inferer.logits(network, torch.zeros(1, 1, 1, 2))
    assert logits.exp().view(2, 2).tolist() == [pytest.approx([5 / 8] * 2), pytest.approx([3 / 8] * 2)]


def test_flips_of_regions_are_averaged_as_regions():
    # Two regions, odds of 3 : 1 for both in the first voxel and 1 : 7 in the second. As regions the mean is
    # (3/4 + 1/8) / 2 = 7/16, below one half; as classes both would be 1/2.
    network = lambda batch: torch.tensor([log(3), -log(7)] * 2).view(1, 2, 1, 1, 2)  # noqa: E731
    image = torch.zeros(1, 1, 1, 2)
    inferer = WholeVolume(flips="W")
    assert inferer.logits(network, image, regions=True).flatten().tolist() == pytest.approx([log(7 / 9)] * 4, rel=1e-5)
    assert not inferer(network, image, decide=lambda scores: (scores > 0).any(dim=0).int()).any()
