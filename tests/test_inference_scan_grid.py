"""Labels on the scan's own grid: what the pipeline did to the scan is undone, on scores where it can be."""

import numpy as np
import pytest
import torch

from vdt3d.inference import SlidingWindow, WholeVolume
from vdt3d.structures import LabelMap, Sample, Volume
from vdt3d.transforms import (
    CenterCrop3D,
    Normalize3D,
    PackSegmentation,
    Pad3D,
    RandomFlip3D,
    Reorient3D,
    ResampleSpacing3D,
    Resize3D,
)

# An oblique grid of 2 x 1 x 1 mm: z and y are turned into one another by asin(0.6), x points to the left.
AFFINE = np.array([[0.0, 0.0, -1.0, 40.0], [1.2, 0.8, 0.0, -5.0], [1.6, -0.6, 0.0, 7.0], [0.0, 0.0, 0.0, 1.0]])
BOX = (slice(3, 7), slice(4, 12), slice(5, 17))


def scan():
    array = np.zeros((1, 10, 18, 22), np.float32)
    array[0][BOX] = 1
    return Sample(image=Volume(array, AFFINE), name="case")


def bright(batch):
    """Class 1 above 0.5."""
    return torch.cat([0.5 - batch, batch - 0.5], dim=1)


def segmented(inferer, transforms, sample=None, network=bright, **options):
    sample = scan() if sample is None else sample
    for transform in (*transforms, PackSegmentation()):
        sample = transform(sample)
    return inferer.segment(network, sample["inputs"], sample["data_samples"], **options)


PIPELINES = {
    "nothing": [],
    "intensity": [Normalize3D(0.0, 1.0)],
    "reoriented": [Reorient3D()],
    "padded": [Pad3D((16, 20, 30))],
    "flipped": [RandomFlip3D("DW", prob=1.0)],
    "finer": [ResampleSpacing3D((1.0, 0.5, 0.5))],
    "all": [Reorient3D(), CenterCrop3D((8, 16, 20)), ResampleSpacing3D((1.0, 0.5, 0.5)), Pad3D((30, 40, 50))],
    "finer and flipped": [Resize3D((30, 54, 66)), RandomFlip3D("DW", prob=1.0)],
}


@pytest.mark.parametrize("inferer", [SlidingWindow((8, 10, 12)), WholeVolume(divisor=8)], ids=["windows", "whole"])
@pytest.mark.parametrize("transforms", PIPELINES.values(), ids=PIPELINES.keys())
def test_a_known_box_comes_back_where_it_was(inferer, transforms):
    sample = scan()
    label_map = segmented(inferer, transforms, sample)
    assert isinstance(label_map, LabelMap) and label_map.same_grid(sample.image)
    assert label_map.affine == pytest.approx(AFFINE)
    # Each voxel of the scan is the mean of the eight that lie evenly around its centre where there are twice as many,
    # and the middle one of three where there are three times as many: above 0.5 within the box only.
    assert np.array_equal(label_map.array, sample.image.array)


def test_scores_are_interpolated_not_labels():
    # The row 0, 0, 8, 8 read with two voxels: at their centres, 0.5 and 2.5 of the row, lie 0 and 8. Interpolated back
    # to four voxels the scores are 0, 2, 6, 8; class 1 wins above 1, in three of them. Nearest labels would be two.
    sample = Sample(Volume(np.array([0, 0, 8, 8], np.float32).reshape(1, 1, 1, 4)))
    network = lambda batch: torch.cat([1 - batch, batch - 1], dim=1)  # noqa: E731
    label_map = segmented(WholeVolume(), [Resize3D((1, 1, 2)), Pad3D((1, 1, 4))], sample, network)
    assert label_map.array.flatten().tolist() == [0, 1, 1, 1]
    # What a flip comes after, the labels alone can be brought back.
    label_map = segmented(WholeVolume(), [Resize3D((1, 1, 2)), RandomFlip3D("W", prob=1.0)], sample, network)
    assert label_map.array.flatten().tolist() == [0, 0, 1, 1]


def test_voxels_that_were_cut_away_are_background():
    everywhere = lambda batch: torch.cat([batch * 0, batch * 0 + 1], dim=1)  # noqa: E731
    label_map = segmented(WholeVolume(), [CenterCrop3D((4, 18, 22))], network=everywhere)
    assert label_map.array.sum(axis=(2, 3)).tolist() == [[0] * 3 + [18 * 22] * 4 + [0] * 3]


def test_a_decision_and_post_processing_are_made_on_the_way():
    sample = scan()
    sample.image.array[0, 0, 0, 0] = 1  # a speck
    regions = lambda batch: torch.cat([batch - 0.5, batch - 2], dim=1)  # noqa: E731
    options = dict(network=regions, decide=lambda scores: 7 * (scores[0] > 0).int())
    label_map = segmented(SlidingWindow((8, 10, 12)), [Reorient3D()], sample, **options)
    assert np.unique(label_map.array).tolist() == [0, 7] and label_map.array[0, 0, 0, 0] == 7
    inferer = SlidingWindow((8, 10, 12), post_process=[dict(type="keep_largest")])
    assert segmented(inferer, [Reorient3D()], sample, **options).array[0, 0, 0, 0] == 0


def test_an_image_that_is_not_on_the_grid_of_its_sample_is_refused():
    packed = PackSegmentation()(scan())
    with pytest.raises(ValueError, match=r"case 'case': its grid has \(10, 18, 22\) voxels"):
        WholeVolume().segment(bright, packed["inputs"][:, 1:], packed["data_samples"])
