"""Laws every transform of volumes keeps, over the whole registry."""

import pickle

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmpretrain.registry import TRANSFORMS as MMPRETRAIN_TRANSFORMS
from mmseg.registry import TRANSFORMS as MMSEG_TRANSFORMS

from vdt3d.registry import TRANSFORMS
from vdt3d.structures import LabelMap, Sample, Volume
from vdt3d.transforms import (
    Cut,
    IntensityTransform,
    PackDetection,
    PackSegmentation,
    PackVolume,
    Resampling,
    SpatialTransform,
    Transform,
    undo,
)
from vdt3d.utils.random import SampleKey, keyed

TRANSFORMS.import_from_location()

OF_SET = {  # what a prepared data set of CT in four channels would add to its cases
    "set_percentile_00_5": 4 * (-20.0,),
    "set_percentile_99_5": 4 * (10.0,),
    "set_mean": 4 * (5.0,),
    "set_std": 4 * (2.0,),
}
# The least a config must say. A transform that is registered and not named here fails the tests below.
EXAMPLES = {
    "CenterCrop3D": {"size": (2, 3, 4)},
    "ClipNormalize3D": {"low": -20, "high": 10, "mean": 5, "std": 2},
    "ColoursToSlices": {},
    "CropBody3D": {"ct": True},
    "CropForeground3D": {"margin": 1, "threshold": 18},  # the last slice lies above 18 mm
    "FingerprintNormalize": {},
    "Normalize3D": {"mean": 99, "std": 77},
    "PackDetection": {},
    "PackSegmentation": {},
    "PackVolume": {},
    "Pad3D": {"size": (7, 9, 8)},
    "PadToMultiple3D": {"divisor": (4, 4, 5)},
    "Percentile3D": {},
    "RandomBlur3D": {"prob": 1},
    "RandomChannelShuffle": {},
    "RandomChoiceResize3D": {"sizes": (6, 8)},
    "RandomContrast3D": {"prob": 1},
    "RandomCrop3D": {"size": (2, None, 12)},
    "RandomFlip3D": {},
    "RandomFlipOneAxis3D": {},
    "RandomGamma3D": {"prob": 1},
    "RandomGaussianNoise": {"std": 0.1},
    "RandomLowResolution3D": {"zoom": (0.5, 0.7), "prob": 1},
    "RandomPatch3D": {"size": (2, 7, 4), "pad_value": 0},
    "RandomResize3D": {},
    "RandomRotate90": {},
    "RandomScaleShift": {},
    "RandomShiftCrop3D": {"size": (2, 3, 4), "shift": 1},
    "RandomSpatial3D": {"elastic": 2},
    "RandomZCrop": {"depth": 2},
    "RandomZoom3D": {},
    "Reorient3D": {},
    "ResampleSpacing3D": {"spacing": (3, 1.4, None)},
    "Resize3D": {"size": (3, 3, 4)},
    "Window": {"center": 40, "width": 400},
    "ZScore": {},
}
NAMES = sorted(TRANSFORMS.module_dict)
SHAPE = (4, 6, 8)


def build(name: str):
    return TRANSFORMS.build({"type": name, **EXAMPLES[name]})


def names_of(kind: type) -> list[str]:
    return [name for name in NAMES if issubclass(TRANSFORMS.get(name), kind)]


# What the laws of moving do not hold for: the way back of the first is a smoothing one, what the second cut away stays
# away, and the third changes the anatomy on a grid that stays (tests/test_segmentation_transforms.py). What the fourth
# averages lies about a new voxel, not evenly around its centre (tests/test_transseg_data.py).
RESAMPLING = names_of(Resampling)
CUTTING = sorted({*names_of(Cut)} - {"Pad3D", "PadToMultiple3D"})
DEFORMING = ("RandomSpatial3D",)
AVERAGING = ("RandomZoom3D",)
MOVING = sorted({*names_of(SpatialTransform)} - {*DEFORMING})


def oblique() -> np.ndarray:
    """An affine with different spacings, a turn about the z axis and an origin."""
    turn = np.array([[0.0, -0.6, 0.8], [0.0, 0.8, 0.6], [1.0, 0.0, 0.0]])
    return np.block([[turn @ np.diag([2.5, 0.7, 0.8]), np.array([[5.0], [-30.0], [12.0]])], [np.zeros((1, 3)), 1.0]])


def world(volume: Volume) -> np.ndarray:
    """(3, D, H, W): where in the world each voxel lies, in millimetres."""
    index = np.stack([*np.indices(volume.shape), np.ones(volume.shape)])
    return np.einsum("ij,jdhw->idhw", volume.affine, index)[:3]


def map_of_the_world() -> Sample:
    """The image's first three channels say where each voxel lies, its fourth that it is no filling.

    The label map numbers the voxels.
    """
    grid = Volume(np.zeros((1, *SHAPE)), oblique())
    image = grid.replace(array=np.concatenate([world(grid), np.ones((1, *SHAPE))]).astype(np.float32))
    number = LabelMap(1 + np.arange(image.array[0].size, dtype=np.int32).reshape(1, *SHAPE), oblique())
    return Sample(image=image, label_map=number, target=1, statistics=OF_SET, name="atlas")


def called(transform, sample: Sample, index: int = 0) -> Sample:
    with keyed(SampleKey(seed=0, epoch=0, index=index)):
        return transform(sample)


def test_the_examples_name_every_transform():
    assert sorted(EXAMPLES) == NAMES


def test_no_name_shadows_a_transform_of_the_libraries():
    theirs = set()
    for registry in (MMENGINE_TRANSFORMS, MMPRETRAIN_TRANSFORMS, MMSEG_TRANSFORMS):
        registry.import_from_location()
        theirs |= registry.module_dict.keys()
    assert not set(NAMES) & theirs
    assert {"RandomFlip", "RandomResizedCrop", "PackSegInputs"} <= theirs


@pytest.mark.parametrize("name", NAMES)
def test_a_transform_keeps_its_contract(name):
    transform = pickle.loads(pickle.dumps(build(name)))  # as a worker process receives it
    if isinstance(transform, BaseTransform):
        picture = {"img": np.zeros((4, 5, 3), np.uint8), "inputs": torch.zeros(3, 4, 5, dtype=torch.uint8)}
        assert isinstance(transform(picture), dict)
        return
    sample = map_of_the_world()
    before = sample.image.array.copy()
    result = transform(sample)
    np.testing.assert_array_equal(sample.image.array, before)  # what came in stays as it was
    if isinstance(transform, PackVolume | PackSegmentation | PackDetection):
        assert set(result) == {"inputs", "data_samples"}
        return
    assert (result.target, result.name) == (1, "atlas")
    assert result.image.array.dtype == np.float32
    assert result.history[-1][0] is transform
    assert all(len(pickle.dumps(drawn)) < 500 for _, drawn in result.history)  # draws are numbers, not volumes


@pytest.mark.parametrize("name", names_of(Transform))
def test_the_same_key_draws_the_same_and_another_key_something_else(name):
    transform, sample = build(name), map_of_the_world()
    drawn = [repr(called(transform, sample, index).history) for index in (0, *range(20))]
    assert drawn[0] == drawn[1]
    assert (len(set(drawn)) > 1) == name.startswith("Random")


@pytest.mark.parametrize("name", sorted({*MOVING} - {*AVERAGING}))
@pytest.mark.parametrize("index", range(5))
def test_a_spatial_transform_leaves_every_voxel_where_it_was(name, index):
    moved = called(build(name), map_of_the_world(), index).image
    real = moved.array[3] == 1
    assert real.any()
    np.testing.assert_allclose(moved.array[:3, real], world(moved)[:, real], atol=1e-4)


@pytest.mark.parametrize("name", sorted({*MOVING} - {*RESAMPLING}))
@pytest.mark.parametrize("index", range(5))
def test_image_and_label_map_move_together(name, index):
    sample = map_of_the_world()
    moved = called(build(name), sample, index)
    places = dict(zip(sample.label_map.array.ravel(), sample.image.array.reshape(4, -1).T, strict=True))
    for number, place in zip(moved.label_map.array.ravel(), moved.image.array.reshape(4, -1).T, strict=True):
        np.testing.assert_array_equal(place, places.get(number, 0))
    assert moved.label_map.array.dtype == np.int32


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("index", range(5))
def test_undo_is_the_way_back(name, index):
    sample = map_of_the_world()
    moved = called(build(name), sample, index)
    for was, now in ((sample.image, undo(moved.image, moved)), (sample.label_map, undo(moved.label_map, moved))):
        assert now.same_grid(was)
        np.testing.assert_allclose(now.affine, was.affine, atol=1e-9)
        assert type(now) is type(was)
        if name not in RESAMPLING:
            np.testing.assert_array_equal(now.array, np.where(now.array == 0, 0, was.array))
        if name not in CUTTING:
            assert (now.array[-1] != 0).all()  # only what a crop cut away is filled with 0


@pytest.mark.parametrize("name", names_of(IntensityTransform))
def test_an_intensity_transform_touches_neither_labels_nor_geometry(name):
    sample = map_of_the_world()
    changed = build(name)(sample)
    assert changed.label_map is sample.label_map
    np.testing.assert_array_equal(changed.image.affine, sample.image.affine)
    assert not np.array_equal(changed.image.array, sample.image.array)


@pytest.mark.parametrize("name", names_of(IntensityTransform))
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float64])
def test_intensities_of_any_type_become_float32(name, dtype):
    image = Volume(np.arange(32).reshape(4, 2, 2, 2).astype(dtype))
    assert build(name)(Sample(image, statistics=OF_SET)).image.array.dtype == np.float32


def test_a_pipeline_is_undone_newest_first():
    sample = map_of_the_world()
    moved = sample
    for name in ("RandomShiftCrop3D", "RandomRotate90", "RandomFlip3D", "ZScore", "Pad3D"):
        moved = called(build(name), moved, index=7)
    back = undo(moved.label_map, moved)
    assert back.same_grid(sample.label_map)
    kept = back.array != 0
    assert kept.sum() == 2 * 3 * 4  # the crop
    np.testing.assert_array_equal(back.array[kept], sample.label_map.array[kept])


def test_two_flips_in_one_pipeline_draw_independently():
    flip = build("RandomFlip3D")
    drawn = []
    for index in range(20):
        with keyed(SampleKey(0, 0, index)):
            drawn.append([axes["axes"] for _, axes in flip(flip(map_of_the_world())).history])
    assert any(first != second for first, second in drawn)


def test_a_transform_more_leaves_the_draws_of_the_others():
    crop, noise = build("RandomShiftCrop3D"), build("RandomGaussianNoise")
    for index in range(5):
        with keyed(SampleKey(0, 0, index)):
            alone = crop(map_of_the_world()).history[-1][1]
        with keyed(SampleKey(0, 0, index)):
            after_noise = crop(noise(map_of_the_world())).history[-1][1]
        assert alone == after_noise
