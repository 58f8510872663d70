"""Sliding windows: where they lie, what they add up to, how little they keep, and that MONAI's labels come out."""

import math

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from vdt3d.inference import SlidingWindow, WholeVolume
from vdt3d.inference.slabs import likeliest
from vdt3d.inference.sliding_window import window_starts
from vdt3d.registry import TASK_UTILS


def made_up(shape, classes=3, channels=1):
    """An image and a network of one layer, always the same."""
    torch.manual_seed(0)
    return torch.randn(channels, *shape), torch.nn.Conv3d(channels, classes, 3, padding=1)


def less_mean(batch):
    """One score: how far a voxel lies above the mean of its window."""
    return batch - batch.mean(dim=(1, 2, 3, 4), keepdim=True)


@pytest.mark.parametrize(
    ("length", "window", "stride", "starts"),
    [
        (10, 4, 3, [0, 3, 6]),  # the last one ends at the border by itself
        (11, 4, 3, [0, 3, 6, 7]),  # the last one is shifted back
        (4, 4, 2, [0]),
        # the published slide3d, max(ceil((length - window) / stride), 0) + 1 windows: 2, 3
        (40, 32, 12, [0, 8]),
        (512, 256, 128, [0, 128, 256]),
    ],
)
def test_windows_begin_where_they_should(length, window, stride, starts):
    assert window_starts(length, window, stride) == starts


@pytest.mark.parametrize("weights", ["uniform", "gaussian"])
def test_overlapping_scores_are_averaged(weights):
    # Windows (0, 1) and (1, 2) of the row 0, 1, 4 have means 0.5 and 2.5: scores -0.5, 0.5 and -1.5, 1.5. The voxel in
    # both gets the mean of 0.5 and -1.5; in a window of two both voxels are as far from its middle.
    row = torch.tensor([0.0, 1.0, 4.0]).view(1, 1, 1, 3)
    inferer = SlidingWindow((1, 1, 2), stride=(1, 1, 1), weights=weights)
    assert inferer.logits(less_mean, row).flatten().tolist() == pytest.approx([-0.5, -0.5, 1.5], rel=1e-5)
    assert inferer(less_mean, row).flatten().tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("shape", "window", "overlap", "classes"),
    [
        ((20, 24, 30), (8, 8, 8), 0.25, 3),
        ((20, 17, 15), (8, 8, 8), 0.5, 5),  # windows do not divide the scan
        ((30, 9, 10), (7, 8, 9), 0.9, 3),  # a stride of int(0.7) becomes 1
        ((5, 24, 6), (8, 8, 8), 0.5, 3),  # thinner than the window along two axes
        ((3, 4, 5), (8, 8, 8), 0.5, 3),  # along all
        ((600, 6, 7), (16, 6, 6), 0.25, 2),  # many slices
        ((1, 20, 21), (1, 8, 8), 0.5, 3),  # one voxel deep
        ((1, 20, 21), (4, 8, 8), 0.5, 1),  # the same, thinner than the window; one score
    ],
)
@pytest.mark.parametrize("weights", ["uniform", "gaussian"])
@pytest.mark.parametrize("batch", [1, 4])
def test_monais_scores_and_labels_come_out(shape, window, overlap, classes, weights, batch):
    image, network = made_up(shape, classes, channels=2)
    mode = {"uniform": "constant", "gaussian": "gaussian"}[weights]
    with torch.no_grad():
        theirs = sliding_window_inference(image[None], window, 1, network, overlap=overlap, mode=mode)[0]
    inferer = SlidingWindow(window, overlap=overlap, weights=weights, batch=batch)
    assert torch.allclose(inferer.logits(network, image), theirs, atol=1e-5)
    labels = inferer(network, image)
    best, second = theirs.topk(2, dim=0).values if classes > 1 else (theirs[0].abs(), torch.zeros(shape))
    wanted = theirs.argmax(dim=0) if classes > 1 else (theirs[0] > 0).long()
    differ = (torch.from_numpy(labels).long() != wanted) & (best - second >= 1e-5)
    assert labels.shape == shape and labels.dtype == np.uint8 and not differ.any()


def test_the_network_is_fed_windows_only():
    seen = []

    def network(batch):
        seen.append(tuple(batch.shape))
        return batch

    # Slabs follow along H, 20 / 4 windows; across it lie 2 x 1 windows, of which 2 go together.
    SlidingWindow((2, 4, 4), overlap=0, batch=2)(network, torch.randn(1, 4, 20, 3))
    assert seen == [(2, 1, 2, 4, 4)] * 5


class LargestTensor(TorchDispatchMode):
    """Notes how many numbers the largest tensor made within the block has; views and work in place make none."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and func._schema.returns[0].alias_info is None:
            self.numbers = max(self.numbers, made.numel())
        return made


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape_out", [False, True], ids=["own grid", "finer grid"])
def test_a_longer_scan_takes_no_more_memory(axis, shape_out):
    numbers = []
    for length in (40, 160):
        shape = [12, 12, 12]
        shape[axis] = length
        image, network = made_up(shape, classes=6)
        finer = tuple(2 * side for side in shape) if shape_out else None
        with LargestTensor() as largest:
            SlidingWindow((8, 8, 8))(network, image, shape_out=finer)
        numbers.append(largest.numbers)
    # Scores of 6 classes, 8 planes of 12 x 12 voxels; on the finer grid a plane of 24 x 24 is less than that.
    assert numbers == [6 * 8 * 12 * 12] * 2


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("zoom", [2.3, 0.6])
def test_scores_are_interpolated_slab_by_slab_as_at_once(axis, zoom):
    shape = [9, 10, 11]
    shape[axis] = 30
    image, network = made_up(shape)
    new = tuple(round(zoom * side) for side in shape)
    inferer = SlidingWindow((8, 8, 8))
    whole = functional.interpolate(inferer.logits(network, image)[None], new, mode="trilinear")[0]
    best, second = whole.topk(2, dim=0).values
    differ = torch.from_numpy(inferer(network, image, shape_out=new)).long() != whole.argmax(dim=0)
    assert not (differ & (best - second >= 1e-5)).any() and best.shape == new


def test_the_decision_is_made_between_voxels_where_the_grid_is_finer():
    # Class 1 leads class 0 by -1 and 4. Four voxels over the extent of two have their centres at -1/4, 1/4, 3/4, 5/4:
    # it leads by -1 (beyond the first centre), 1/4, 11/4, 4. The labels of the nearest voxels would be 0, 0, 1, 1.
    row = torch.tensor([-1.0, 4.0]).view(1, 1, 1, 2)
    network = lambda batch: torch.cat([torch.zeros_like(batch), batch], dim=1)  # noqa: E731
    for inferer in (SlidingWindow((1, 1, 1), overlap=0), WholeVolume()):
        assert inferer(network, row, shape_out=(1, 1, 4)).flatten().tolist() == [0, 1, 1, 1]


def test_of_equal_scores_the_first_wins():
    scores = torch.tensor([[0.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 2.0, 3.0]])
    assert likeliest(scores).tolist() == [0, 1, 2]
    assert likeliest(torch.full((3, 2), -math.inf)).tolist() == [0, 0]


def test_many_classes_and_painted_labels_get_the_room_they_need():
    scores = torch.zeros(1, 300, 1, 1, 1)
    scores[0, 299] = 1
    many = WholeVolume()(lambda batch: scores, torch.zeros(1, 1, 1, 1))
    assert many.tolist() == [[[299]]] and many.dtype == np.uint16
    image, network = made_up((4, 4, 4))
    painted = WholeVolume()(network, image, decide=lambda scores: 1000 * (scores[0] > 9).int() + 500)
    assert (painted == 500).all()


def test_a_whole_volume_is_padded_to_what_the_network_can_divide():
    seen = []

    def network(batch):
        seen.append(tuple(batch.shape))
        return less_mean(batch)

    image = torch.ones(1, 3, 8, 9)
    labels = WholeVolume(divisor=(4, 8, 8))(network, image)
    assert seen == [(1, 1, 4, 8, 16)] and labels.shape == (3, 8, 9)
    assert labels.all()  # 1 lies above the mean with the zeros around; none of those is left


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("accumulate", ["auto", "cpu"])
def test_a_gpu_answers_for_an_image_on_either_side(accumulate):
    image, network = made_up((20, 17, 15))
    wanted = SlidingWindow((8, 8, 8))(network, image)
    network = network.cuda()
    inferer = SlidingWindow((8, 8, 8), device="cuda", accumulate=accumulate, batch=2)
    for scan in (image, image.cuda()):
        assert (inferer(network, scan) == wanted).mean() > 0.999


@pytest.mark.parametrize("inferer", [SlidingWindow((4, 4, 4)), WholeVolume()])
@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda batch: batch / 0 * 0, "answers NaN"),
        (lambda batch: batch[..., ::2], r"\(1, 1, 4, 4, 2\).*that (its|the network's) strides divide"),
    ],
)
def test_a_network_that_cannot_be_right_is_refused(inferer, network, message):
    with pytest.raises(ValueError, match=message):
        inferer(network, torch.ones(1, 4, 4, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(window=(8, 8)), "three positive sides"),
        (dict(window=(8, 8, 0)), "three positive sides"),
        (dict(overlap=1), "share of a window"),
        (dict(stride=(4, 4, 9)), "leaves gaps"),
        (dict(stride=(4, 4, 0)), "does not move on"),
        (dict(weights="hann"), "choose 'gaussian' or 'uniform'"),
        (dict(batch=0), "at least one window"),
        (dict(flips="DX"), "letters of 'DHW'"),
        (dict(flips=None), "flips=None: give letters of 'DHW'"),
        (dict(flips=[1]), r"flips=\[1\]: give letters of 'DHW'"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SlidingWindow(**{"window": (8, 8, 8), **arguments})


def test_a_config_names_them():
    assert isinstance(TASK_UTILS.build(dict(type="SlidingWindow", window=[8, 8, 8])), SlidingWindow)
    assert isinstance(TASK_UTILS.build(dict(type="WholeVolume", divisor=16)), WholeVolume)
    with pytest.raises(ValueError, match="one image"):
        WholeVolume()(less_mean, torch.zeros(1, 1, 4, 4, 4))
