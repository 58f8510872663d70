"""Transforms for segmentation: where patches lie, ways back, deformations, packing, and the bugs of the release."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from nibabel.orientations import io_orientation

from vdt3d.registry import TRANSFORMS
from vdt3d.structures import LabelMap, Sample, SegmentationSample, Volume, affine_from_spacing
from vdt3d.transforms import (
    CropBody3D,
    CropForeground3D,
    Normalize3D,
    PackSegmentation,
    PadToMultiple3D,
    RandomFlip3D,
    RandomPatch3D,
    RandomResize3D,
    RandomSpatial3D,
    RandomZCrop,
    Reorient3D,
    ResampleSpacing3D,
    ZScore,
    undo,
)
from vdt3d.transforms.deform import _spline_weights
from vdt3d.utils.random import SampleKey, keyed


class OnDisk:
    """Stands for an array in a file: only slices of it may be read, and it remembers which."""

    def __init__(self, array: np.ndarray):
        self._array, self.read = array, []
        self.shape, self.ndim, self.dtype = array.shape, array.ndim, array.dtype

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        self.read.append(index)
        return self._array[index]

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("the whole array was read")


def labelled(labels: np.ndarray, spacing: tuple[float, float, float] = (1, 1, 1), **more) -> Sample:
    """A case whose image is its labels (D, H, W), as float32."""
    affine = affine_from_spacing(spacing)
    image = Volume(labels[None].astype(np.float32), affine)
    return Sample(image, LabelMap(labels[None].astype(np.uint8), affine), name="liver_3", **more)


def column(*labels: int) -> Sample:
    """One voxel a slice."""
    return labelled(np.array(labels).reshape(-1, 1, 1))


def corners(transform, sample: Sample, draws: int = 60) -> list[tuple[int, ...]]:
    """Where the cuts begin, over many keys."""
    found = []
    for index in range(draws):
        with keyed(SampleKey(0, 0, index)):
            found.append(transform(sample).history[-1][1]["corner"])
    return found


def starts(transform, sample: Sample, draws: int = 60) -> set[int]:
    return {corner[0] for corner in corners(transform, sample, draws)}


# Patches


def test_a_patch_holds_the_label_at_any_place_inside_the_volume():
    patch = RandomPatch3D((3, 1, 1), foreground=1)
    assert starts(patch, column(0, 0, 0, 1, 0, 0, 0, 0)) == {1, 2, 3}  # slice 3 is the patch's last, middle, first
    assert starts(patch, column(0, 0, 0, 0, 0, 0, 0, 1)) == {5}  # a lesion in the last slice
    assert starts(patch, column(1, 0, 0, 0, 0, 0, 0, 0)) == {0}


def test_without_labels_all_places_inside_the_volume_are_equally_likely():
    for sample in (column(0, 0, 0, 0, 0), column(0, 0, 0, 0, 255)):
        assert starts(RandomPatch3D((3, 1, 1), foreground=1), sample) == {0, 1, 2}
    assert starts(RandomPatch3D((3, 1, 1), foreground=0), column(1, 0, 0, 0, 0)) == {0, 1, 2}


def test_a_single_voxel_is_as_likely_as_a_large_organ():
    sample = column(*[1] * 30, *[0] * 10, 2)
    last = [corner[0] == 40 for corner in corners(RandomPatch3D(1, foreground=1), sample, draws=400)]
    assert 0.4 < np.mean(last) < 0.6
    # With chance 1/2 to ask for a label it is one of four, and one of 41 of the other half: 0.262.
    half = [corner[0] == 40 for corner in corners(RandomPatch3D(1, foreground=0.5), sample, draws=400)]
    assert 0.2 < np.mean(half) < 0.33


def test_known_voxels_are_used_until_something_moves():
    known = {0: np.array([[1, 0, 0]]), 1: np.zeros((0, 3), np.int32), 2: np.array([[4, 0, 0]], np.int32)}
    sample = column(1, 0, 0, 0, 0).replace(foreground=known)  # the map says otherwise, to tell the two apart
    patch = RandomPatch3D(1, foreground=1)
    assert starts(patch, sample) == {4}
    assert starts(patch, ZScore()(sample)) == {4}
    assert starts(patch, RandomFlip3D("D", prob=1)(sample)) == {4}  # the map's voxel, mirrored
    assert starts(patch, RandomFlip3D("D", prob=1)(RandomFlip3D("D", prob=1)(sample))) == {0}
    assert starts(patch, sample.replace(foreground={}), draws=100) == {0, 1, 2, 3, 4}


def test_a_case_that_knows_no_labels_cannot_be_asked_for_one():
    with pytest.raises(ValueError, match=r"'liver_3'.*no label map; set foreground=0"):
        RandomPatch3D(1, foreground=1)(column(1, 0).replace(label_map=None))


def test_only_the_patch_is_read_from_a_file():
    full = np.arange(2 * 20 * 30 * 40).reshape(2, 20, 30, 40)
    image, labels = OnDisk(full), OnDisk(np.ones((1, 20, 30, 40), np.uint8))
    sample = Sample(Volume(image), LabelMap(labels), foreground={1: np.array([[19, 29, 39]])})
    patch = RandomPatch3D((2, 3, 50), foreground=1)(Reorient3D()(sample))  # in canonical orientation already
    assert image.read == labels.read == [(slice(None), slice(18, 20), slice(27, 30), slice(0, 40))]
    (_, drawn) = patch.history[-1]
    assert drawn["corner"][:2] in itertools.product((17, 18), (27,)) and -10 <= drawn["corner"][2] <= 0
    assert patch.image.shape == patch.label_map.shape == (2, 3, 50)
    start = -drawn["corner"][2]
    np.testing.assert_array_equal(patch.image.array[..., start : start + 40], full[:, 18:20, 27:30])


def test_a_volume_thinner_than_the_patch_lies_anywhere_inside_it():
    sample = labelled(np.array([7, 9]).reshape(2, 1, 1))
    sample = sample.replace(image=Volume(np.array([[7, 9], [-3, -5]], np.float32).reshape(2, 2, 1, 1)))
    patch = RandomPatch3D((4, 1, 1), foreground=1)
    assert starts(patch, sample) == {-2, -1, 0}
    image = patch.apply(sample.image, (-1, 0, 0), (4, 1, 1), (2, 1, 1))
    assert image.array[..., 0, 0].tolist() == [[7, 7, 9, 7], [-5, -3, -5, -5]]  # each channel's least
    assert image.affine[:3, 3].tolist() == [0, 0, -1]
    assert patch.apply(sample.label_map, (-1, 0, 0), (4, 1, 1), (2, 1, 1)).array.ravel().tolist() == [0, 7, 9, 0]
    zero = RandomPatch3D((4, 1, 1), pad_value=0).apply(sample.image, (0, 0, 0), (4, 1, 1), (2, 1, 1))
    assert zero.array[0].ravel().tolist() == [7, 9, 0, 0]


def test_a_patch_is_normalised_with_the_numbers_of_its_case():
    sample = column(0, 0, 0, 8).replace(statistics={"mean": (2.0,), "std": (4.0,)})
    patch = RandomPatch3D((1, 1, 1), foreground=1)(sample)
    assert ZScore()(patch).image.array.item() == 1.5  # (8 - 2) / 4; by itself the patch is flat
    assert ZScore()(Normalize3D(0, 1)(patch)).image.array.item() == 0  # they were the values' as read


# The published crop of slices


def test_the_crop_of_slices_reaches_every_labelled_slice():
    # In the release the window that ends with the last labelled slice (start 6) could not be drawn at first.
    labels = np.zeros((12, 1, 2), int)
    labels[2:10, :, 1] = 1
    assert starts(RandomZCrop(4), labelled(labels), draws=100) == {2, 3, 4, 5, 6}


@pytest.mark.parametrize(
    ("labels", "depth", "expected"),
    [
        ([0, 0, 1, 0, 0, 0, 0], 3, {2}),  # shorter than the window: an error in the release
        ([0, 0, 0, 0, 0, 0, 1], 3, {4}),  # the window must end with the volume
        ([0, 0, 0, 0, 0], 3, {0, 1, 2}),  # nothing labelled
        ([255, 0, 0, 0, 0], 3, {0, 1, 2}),
        ([0, 1], 4, {-1}),  # too thin: an error in the release
        ([0, 1, 2], 3, {0}),
    ],
)
def test_the_crop_of_slices_never_fails(labels, depth, expected):
    transform = RandomZCrop(depth, pad_value=-7)
    assert starts(transform, column(*labels)) == expected
    assert transform(column(*labels)).image.shape == (depth, 1, 1)


def test_a_thin_volume_is_surrounded():
    result = RandomZCrop(4, pad_value=-7)(column(0, 1))
    assert result.image.array.ravel().tolist() == [-7, 0, 1, -7]
    assert result.label_map.array.ravel().tolist() == [0, 0, 1, 0]


def test_a_window_of_nearly_one_label_is_turned_down():
    labels = np.zeros((40, 1, 2), int)
    labels[20] = 1  # proposed first; share 1 of one label
    labels[0, 0] = labels[39, 0] = 1, 255  # 0 holds 1 and 255: 255 does not count, so one label alone
    labels[1, 0] = 0, 1  # the only good window
    found = [corner[0] for corner in corners(RandomZCrop(1), labelled(labels), draws=300)]
    # Ten draws of 40 slices hit slice 1 with chance 1 - (39/40)^10 = 0.22, slice 20 is left behind otherwise.
    assert 0.15 < found.count(1) / 300 < 0.31
    assert found.count(20) < 20


def test_the_crop_of_slices_needs_labels():
    with pytest.raises(ValueError, match="'liver_3' has no label map"):
        RandomZCrop(1)(column(0, 1).replace(label_map=None))


# Boxes and grids


def test_the_box_of_what_lies_above_a_threshold():
    labels = np.zeros((5, 6, 7), int)
    labels[1, 2, 3] = labels[3, 5, 3] = 2
    cropped = CropForeground3D((0, 1, 2), threshold=1)(labelled(labels))
    assert cropped.image.shape == (3, 5, 5)
    assert cropped.image.affine[:3, 3].tolist() == [1, 1, 1]  # x, y, z
    assert cropped.label_map.array.sum() == 4
    np.testing.assert_array_equal(undo(cropped.label_map, cropped).array[0], labels)
    with pytest.raises(ValueError, match=r"'liver_3': no voxel lies above the threshold 2; the greatest value is 2\.0"):
        CropForeground3D(threshold=2)(labelled(labels))


def test_the_box_of_the_body_asks_the_image_alone():
    image = np.zeros((2, 4, 6, 8), np.float32)
    image[0, 1:3, 2:4, 2:7] = image[1, 3, 5, 7] = 7  # 7 in either channel
    sample = Sample(Volume(image), LabelMap(np.ones((1, 4, 6, 8), np.uint8)))
    cropped = CropBody3D(ct=False)(sample)
    assert cropped.image.shape == (3, 4, 6)
    back = undo(cropped.label_map, cropped)
    assert back.same_grid(sample.label_map) and back.array.sum() == 3 * 4 * 6
    assert CropBody3D(ct=True)(sample).image.shape == (4, 6, 8)  # 0 Hounsfield units are water
    for whole in (image - 1, -image):
        assert CropBody3D(ct=False)(Sample(Volume(whole))).image.shape == (4, 6, 8)
    assert CropBody3D(ct=True)(Sample(Volume(image - 507))).image.shape == (4, 6, 8)  # all at -500 or below
    assert CropBody3D(ct=True)(Sample(Volume(image - 506))).image.shape == (3, 4, 6)


def test_integers_take_a_filling_that_is_none_of_them():
    voxel = Volume(np.full((1, 1, 1, 1), 250, np.uint8))
    for fill, dtype in ((0, np.uint8), (255.0, np.uint8), (-1000, np.float32), (0.5, np.float32), (300, np.float32)):
        array = RandomPatch3D((1, 1, 2), pad_value=fill).apply(voxel, (0, 0, 0), (1, 1, 2), (1, 1, 1)).array
        assert array.ravel().tolist() == [250, fill] and array.dtype == dtype


def test_padding_to_a_multiple():
    padded = PadToMultiple3D((2, 4, 16))(labelled(np.ones((4, 5, 16), int)))
    assert padded.image.shape == (4, 8, 16)
    assert padded.image.array[0, 0, :, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 0]
    assert undo(padded.image, padded).shape == (4, 5, 16)


def test_resampling_to_a_spacing_and_back():
    sample = labelled(np.arange(4).reshape(4, 1, 1) * np.ones((4, 6, 5), int), spacing=(2, 1, 1.5))
    coarse = ResampleSpacing3D((4, None, 1))(sample)
    assert coarse.image.shape == (2, 6, 8)  # 8 mm / 4, unchanged, 7.5 mm / 1 to the even neighbour
    np.testing.assert_allclose(coarse.image.spacing, (4, 1, 7.5 / 8))
    assert coarse.image.array[0, :, 0, 0].tolist() == [0.5, 2.5]
    assert coarse.label_map.array[0, :, 0, 0].tolist() == [1, 3]
    back = undo(coarse.label_map, coarse)
    assert back.same_grid(sample.label_map)
    assert back.array[0, :, 0, 0].tolist() == [1, 1, 3, 3]


def test_resampling_neither_clamps_nor_truncates():
    """The release cast to uint8 after resampling."""
    image = Volume(np.array([-1000, 301, 300, 0], np.int16).reshape(1, 4, 1, 1))
    assert ResampleSpacing3D((2, 1, 1))(Sample(image)).image.array.ravel().tolist() == [-349.5, 150]


def test_a_volume_never_loses_its_last_slice():
    thin = ResampleSpacing3D((50, 1, 1))(column(1, 2, 3))
    assert thin.image.shape == (1, 1, 1)
    assert thin.image.spacing == (3, 1, 1)


def test_zooming_slices_keeps_their_sides_ratio_and_number():
    zoom = RandomResize3D(scale=(0.8, 0.8))
    sample = labelled(np.ones((600, 20, 10), int))  # more than 512 slices: an error in the release
    result = zoom(sample)
    assert result.image.shape == (600, 16, 8)
    np.testing.assert_allclose(result.image.spacing, (1, 1.25, 1.25))
    with keyed(SampleKey(0, 0, 0)):
        sizes = {RandomResize3D()(labelled(np.ones((1, 100, 50), int))).image.shape[1:] for _ in range(300)}
    assert {height for height, _ in sizes} == set(range(80, 120))  # int(100 r), r uniform in 0.8..1.2
    assert all(width == height // 2 for height, width in sizes)  # int(50 r) of the same r


@pytest.mark.parametrize("angle", [0, 20])
def test_every_orientation_becomes_the_canonical_one_and_comes_back(angle):
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    tilt = np.eye(4)
    tilt[:2, :2] = [[cosine, -sine], [sine, cosine]]
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            axes = np.eye(4)
            axes[:3, :3] = affine_from_spacing((3, 2, 1))[:3, :3][:, order] * signs
            axes[:3, 3] = 10, 20, 30
            grid = LabelMap(np.arange(24).reshape(1, 2, 3, 4), tilt @ axes)
            turned = Reorient3D()(Sample(Volume(grid.array.astype(np.float32), grid.affine), grid))
            assert io_orientation(turned.image.affine).tolist() == [[2, 1], [1, 1], [0, 1]]
            np.testing.assert_allclose(turned.image.spacing, (3, 2, 1))
            back = undo(turned.label_map, turned)
            np.testing.assert_array_equal(back.array, grid.array)
            np.testing.assert_allclose(back.affine, grid.affine, atol=1e-9)
            for volume in (grid, turned.label_map):  # voxel 23 lies where it lay
                place = np.argwhere(volume.array[0] == 23)[0]
                np.testing.assert_allclose(volume.affine @ [*place, 1], grid.affine @ [1, 2, 3, 1], atol=1e-9)


# Deformation


def still(**changes) -> dict:
    return {"angles": (0.0, 0.0, 0.0), "zoom": 1.0, "bend": 0.0, "seed": 0} | changes


def test_nothing_drawn_changes_nothing():
    sample = labelled(np.arange(27).reshape(3, 3, 3))
    result = RandomSpatial3D(rotate_prob=0, scale_prob=0, elastic_prob=0)(sample)
    np.testing.assert_array_equal(result.image.array, sample.image.array)
    central = RandomSpatial3D(rotate_prob=0, scale_prob=0, elastic_prob=0, size=1)(sample)
    assert central.image.array.ravel().tolist() == central.label_map.array.ravel().tolist() == [13]


def test_a_quarter_turn_is_a_quarter_turn():
    sample = labelled(np.arange(27).reshape(3, 3, 3))
    for axis, plane in enumerate([(1, 2), (0, 2), (0, 1)]):
        angles = tuple(90.0 if k == axis else 0.0 for k in range(3))
        volume = RandomSpatial3D().apply(sample.label_map, **still(angles=angles)).array[0]
        quarters = [np.rot90(sample.label_map.array[0], turns, axes=plane) for turns in (1, 3)]
        assert any(np.array_equal(volume, quarter) for quarter in quarters)
        image = RandomSpatial3D().apply(sample.image, **still(angles=angles)).array[0]
        np.testing.assert_allclose(image, volume, atol=1e-4)


def test_rotation_is_true_in_millimetres():
    # A square of 8 mm: 4 rows 2 mm apart, 8 columns 1 mm apart. A bar of 2 mm, two columns, becomes one row.
    labels = np.zeros((1, 4, 8), int)
    labels[:, :, 2:4] = 1
    turned = RandomSpatial3D().apply(labelled(labels, (1, 2, 1)).label_map, **still(angles=(90.0, 0.0, 0.0))).array[0]
    rows = turned[0].sum(axis=1).tolist()
    assert rows in ([0, 8, 0, 0], [0, 0, 8, 0])


def test_zoom_2_doubles_and_a_half_halves():
    labels = np.zeros((1, 8, 8), int)
    labels[:, 3:5, 3:5] = 1
    doubled = RandomSpatial3D().apply(labelled(labels).label_map, **still(zoom=2.0)).array[0, 0]
    assert np.argwhere(doubled).min() == 2 and np.argwhere(doubled).max() == 5 and doubled.sum() == 16
    labels = np.zeros((1, 9, 9), int)
    labels[:, 2:7, 2:7] = 1
    halved = RandomSpatial3D().apply(labelled(labels).label_map, **still(zoom=0.5)).array[0, 0]
    # Voxel k looks at 4 + 2 (k - 4): 3, 4, 5 look at 2, 4, 6.
    assert np.argwhere(halved).min() == 3 and np.argwhere(halved).max() == 5 and halved.sum() == 9


def test_what_comes_from_outside_is_filled():
    image = Volume(np.full((1, 1, 4, 4), -5, np.float32))
    image.array[0, 0, 0, 0] = -9
    corner = {}
    for pad_value in ("min", 3):
        half = RandomSpatial3D(pad_value=pad_value).apply(image, **still(zoom=0.25)).array
        corner[pad_value] = half[0, 0, 0, 0]
    assert corner == {"min": -9, 3: 3}
    labels = RandomSpatial3D(pad_value=3).apply(LabelMap(np.ones((1, 1, 4, 4), np.uint8)), **still(zoom=0.25))
    assert labels.array[0, 0, 0, 0] == 0


@pytest.mark.parametrize("index", range(4))
def test_image_and_labels_deform_together(index):
    z, y, x = np.indices((12, 14, 16))
    ball = ((z - 6) ** 2 + (y - 7) ** 2 + (x - 5) ** 2 < 20).astype(int)
    bend = dict(rotate=30, elastic=3, elastic_step=8, rotate_prob=1, scale_prob=1, elastic_prob=1, pad_value=0)
    transform = pickle.loads(pickle.dumps(RandomSpatial3D(**bend)))
    with keyed(SampleKey(0, 0, index)):
        result = transform(labelled(ball, (1.5, 1, 1)))
    image, labels = result.image.array, result.label_map.array
    assert (labels[image > 1 - 1e-5] == 1).all()  # all neighbours in the ball, the nearest too
    assert (labels[image < 1e-5] == 0).all()
    assert 0.4 * ball.sum() < labels.sum() < 2.5 * ball.sum()
    assert not np.array_equal(labels[0], ball)
    with pytest.raises(NotImplementedError, match="RandomSpatial3D cannot be undone"):
        undo(result.label_map, result)


def test_a_smaller_result_is_the_centre_of_the_whole():
    rng = np.random.default_rng(0)
    sample = Sample(Volume(rng.normal(size=(2, 9, 12, 11)).astype(np.float32)))
    drawn = still(angles=(10.0, 5.0, -20.0), zoom=1.1)
    whole = RandomSpatial3D().apply(sample.image, **drawn).array
    # Odd sides in odd sides: both have the same centre voxel.
    centre = RandomSpatial3D(size=(5, 6, 3)).apply(sample.image, **drawn)
    np.testing.assert_allclose(centre.array, whole[:, 2:7, 3:9, 4:7], atol=1e-4)
    assert centre.affine[:3, 3].tolist() == [4, 3, 2]


def test_splines_share_out_each_voxel():
    weights = _spline_weights(8, 4.0).numpy()
    assert weights.shape == (8, 5)  # points at -4, 0, 4, 8, 12
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(weights[4], [0, 1 / 6, 4 / 6, 1 / 6, 0], rtol=1e-6)  # the B-spline at a knot
    np.testing.assert_allclose(weights[2], [1 / 48, 23 / 48, 23 / 48, 1 / 48, 0], rtol=1e-5)  # and half-way


def test_bending_moves_by_no_more_than_is_said():
    # The image is its own x coordinate, so the result minus x is the move along x. The filling outside is left out.
    x = np.broadcast_to(np.arange(40, dtype=np.float32), (1, 20, 20, 40))
    bent = RandomSpatial3D(elastic=3, elastic_step=8).apply(Volume(x), **still(bend=3.0, seed=4)).array
    moved = (bent - x)[0, 4:-4, 4:-4, 4:-4]
    assert np.abs(moved).max() <= 3
    assert np.abs(moved).max() > 0.3
    assert np.abs(np.diff(moved, axis=-1)).max() < 1  # it does not fold


def test_a_coarse_axis_is_never_rotated_into_another():
    thick = Sample(Volume(np.zeros((1, 4, 4, 4), np.float32), affine_from_spacing((5, 1, 1))))
    fine = thick.replace(image=thick.image.replace(affine=affine_from_spacing((2, 1, 1))))
    transform = RandomSpatial3D(rotate=(180, 30, 30), rotate_prob=1)
    rng = np.random.default_rng(0)
    angles = np.array([transform.draw(thick, rng)["angles"] for _ in range(50)])
    assert np.abs(angles[:, 0]).max() > 100 and not angles[:, 1:].any()
    angles = np.array([transform.draw(fine, rng)["angles"] for _ in range(50)])
    assert 20 < np.abs(angles[:, 1:]).max() <= 30


def test_each_deformation_has_its_own_chance():
    transform = RandomSpatial3D(elastic=2, rotate_prob=0.5, scale_prob=0.2, elastic_prob=0)
    rng, sample = np.random.default_rng(0), labelled(np.zeros((2, 2, 2), int))
    drawn = [transform.draw(sample, rng) for _ in range(400)]
    assert 0.4 < np.mean([any(each["angles"]) for each in drawn]) < 0.6
    assert 0.14 < np.mean([each["zoom"] != 1 for each in drawn]) < 0.26
    assert not any(each["bend"] for each in drawn)
    assert all(0.8 <= each["zoom"] <= 1.25 for each in drawn)


# Packing


def test_packing_a_case_for_training_and_one_for_testing():
    sample = labelled(np.arange(8).reshape(2, 2, 2), (3, 2, 1), group="patient 4")
    flipped = RandomFlip3D("W", prob=1)(sample)
    packed = PackSegmentation()(flipped)
    data_sample = packed["data_samples"]
    assert isinstance(data_sample, SegmentationSample)
    assert packed["inputs"].dtype == torch.float32 and packed["inputs"].is_contiguous()
    assert data_sample.gt_labels.tolist() == packed["inputs"][0].tolist() == [[[1, 0], [3, 2]], [[5, 4], [7, 6]]]
    assert data_sample.gt_labels.dtype == torch.uint8
    assert (data_sample.sample_name, data_sample.group, data_sample.reference) == ("liver_3", "patient 4", None)
    shape, affine = data_sample.grid
    prediction = LabelMap(data_sample.gt_labels[None].numpy(), affine)
    assert shape == prediction.shape
    back = undo(prediction, flipped.replace(history=data_sample.history))
    np.testing.assert_array_equal(back.array, sample.label_map.array)
    assert back.same_grid(sample.label_map)

    whole = PackSegmentation()(sample.replace(label_map=None, reference=sample.label_map))["data_samples"]
    assert "gt_labels" not in whole
    assert whole.reference is sample.label_map


def test_packing_labels_torch_computes_little_with():
    wide = LabelMap(np.full((1, 1, 1, 1), 60000, np.uint16))
    packed = PackSegmentation()(Sample(Volume(np.zeros((1, 1, 1, 1))), wide))
    assert packed["data_samples"].gt_labels.dtype == torch.int32
    assert packed["data_samples"].gt_labels.item() == 60000
    two = LabelMap(np.zeros((2, 1, 1, 1), np.uint8))
    with pytest.raises(ValueError, match="one channel, got 2"):
        PackSegmentation()(Sample(Volume(np.zeros((1, 1, 1, 1))), two))


# The release's pipelines


def test_the_lidc_pipeline_moves_image_and_labels_together():
    """In the release only the labels were turned, and the second flip undid the first."""
    pipeline = [
        TRANSFORMS.build(config)
        for config in (
            dict(type="RandomShiftCrop3D", size=4, shift=1),
            dict(type="RandomRotate90"),
            dict(type="RandomFlip3D", axes="D"),
            dict(type="RandomFlip3D", axes="W"),
            dict(type="RandomFlip3D", axes="H"),
        )
    ]
    case = labelled(np.arange(216).reshape(6, 6, 6))
    seen = set()
    for index in range(200):
        sample = case
        with keyed(SampleKey(0, 0, index)):
            for transform in pipeline:
                sample = transform(sample)
        np.testing.assert_array_equal(sample.image.array, sample.label_map.array)
        corner = sample.image.array[0, 0, 0, 0], sample.image.array[0, 1, 0, 0], sample.image.array[0, 0, 1, 0]
        seen.add((corner[1] - corner[0], corner[2] - corner[0]))
    assert len(seen) == 24  # the neighbours along D and H are along any two axes, either way: 6 x 4


def test_two_flips_in_a_row_do_both():
    sample = labelled(np.arange(4).reshape(1, 2, 2))
    both = RandomFlip3D("H", prob=1)(RandomFlip3D("W", prob=1)(sample))
    assert both.image.array.ravel().tolist() == [3, 2, 1, 0]


def test_slices_are_never_taken_for_channels():
    """In the release three slices and three means meant a mean for each slice."""
    image = Volume(np.full((1, 3, 1, 1), 99, np.float32))
    assert Normalize3D(99, 77)(Sample(image)).image.array.ravel().tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="3 means and 3 stds do not fit a volume of 1 channels"):
        Normalize3D([99, 0, 0], [77, 1, 1])(Sample(image))


def test_ct_takes_the_numbers_of_its_data_set_and_any_other_channel_those_of_its_case():
    nan = float("nan")
    numbers = {"set_percentile_00_5": -100, "set_percentile_99_5": 300, "set_mean": 100, "set_std": 50}
    of_set = {key: (value, nan) for key, value in numbers.items()}
    image = Volume(np.array([[-500, 200], [1, 3]], np.int16).reshape(2, 1, 1, 2))
    transform = TRANSFORMS.build(dict(type="FingerprintNormalize"))
    # CT: (-100 - 100) / 50 and (200 - 100) / 50; MR: mean 2, standard deviation 1.
    assert transform(Sample(image, statistics=of_set)).image.array.ravel().tolist() == [-4, 2, -1, 1]
    known = of_set | {"mean": (7.0, 5.0), "std": (7.0, 2.0)}
    assert transform(Sample(image, statistics=known)).image.array.ravel().tolist() == [-4, 2, -2, -1]
    for unfit in (Sample(image, name="x"), Sample(image.replace(array=image.array[:1]), name="x", statistics=of_set)):
        with pytest.raises(ValueError, match=r"case 'x'.*knows of its data set.*prepare\.py"):
            transform(unfit)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (dict(type="RandomPatch3D", size=0), "whole number >= 1"),
        (dict(type="RandomPatch3D", size=4, foreground=33), "between 0 and 1"),
        (dict(type="RandomZCrop", depth=2.5), "whole number"),
        (dict(type="CropForeground3D", margin=-1), "whole number >= 0"),
        (dict(type="PadToMultiple3D", divisor=0), "whole number >= 1"),
        (dict(type="ResampleSpacing3D", spacing=(1, 1)), "three positive numbers"),
        (dict(type="ResampleSpacing3D", spacing=(1, None, 0)), "three positive numbers"),
        (dict(type="RandomResize3D", scale=(1.2, 0.8)), "range"),
        (dict(type="RandomSpatial3D", scale=(0, 1)), "range"),
        (dict(type="RandomSpatial3D", elastic=8, elastic_step=16), "lest space folds"),
        (dict(type="RandomSpatial3D", rotate_prob=20), "between 0 and 1"),
        (dict(type="ClipNormalize3D", low=1, high=1, mean=0, std=1), "low must be below high"),
        (dict(type="Percentile3D", low=99, high=1), "percentiles lie in order"),
        (dict(type="RandomGamma3D", gamma=(-1, 1)), "range"),
        (dict(type="RandomLowResolution3D", zoom=(0.5, 2)), "between 0 and 1"),
        (dict(type="RandomBlur3D", sigma=(0, 1)), "range"),
    ],
)
def test_a_wrong_argument_is_refused_when_the_config_is_read(config, complaint):
    with pytest.raises(ValueError, match=complaint):
        TRANSFORMS.build(config)


def test_a_patch_may_keep_all_of_an_axis():
    sample = Sample(Volume(np.arange(3 * 6 * 7, dtype=np.float32).reshape(1, 3, 6, 7)))
    patch = RandomPatch3D((None, 4, 9), foreground=0, pad_value=0)(sample)
    assert patch.image.shape == (3, 4, 9)
    assert undo(patch.image, patch).shape == (3, 6, 7)
    with pytest.raises(ValueError, match="three of them"):
        RandomPatch3D((None, 4))


def test_within_slices_nothing_leaves_its_slice():
    """Slice z holds z everywhere inside: whatever is turned, zoomed and bent in it, it holds z still."""
    array = np.broadcast_to(np.arange(1, 4, dtype=np.float32)[None, :, None, None], (1, 3, 24, 24)).copy()
    sample = Sample(Volume(array))
    options = dict(rotate=40, scale=(1.2, 1.3), elastic=2, rotate_prob=1, scale_prob=1, elastic_prob=1)
    moved = RandomSpatial3D(in_slices=True, **options)(sample).image.array
    inner = moved[:, :, 8:16, 8:16]
    np.testing.assert_allclose(inner, array[:, :, 8:16, 8:16], atol=1e-5)
    ramp = Sample(Volume(np.broadcast_to(np.arange(24, dtype=np.float32), (1, 3, 24, 24)).copy()))
    assert not np.allclose(RandomSpatial3D(in_slices=True, **options)(ramp).image.array, ramp.image.array, atol=0.1)
