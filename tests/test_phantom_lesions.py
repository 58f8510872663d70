"""Phantom lesions: the same for the same seed, boxes where the balls are, tubes that a single slice cannot tell."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vdt3d.datasets import PhantomLesions
from vdt3d.datasets.deeplesion import DeepLesion
from vdt3d.datasets.prepare.deeplesion import prepare_deeplesion
from vdt3d.datasets.synthetic import LesionPhantoms, write_deeplesion_like
from vdt3d.structures import SpacedWindow

BALL = {"lesions": (1, 1), "distractors": (0, 0)}
TUBE = {"lesions": (0, 0), "distractors": (1, 1)}
HALF = 40 + 80 / 2  # HU, between the tissue and a ball


def drawn(seed: int = 0, **phantom):
    """Nine slices 2.5 mm apart, of 0.5 mm pixels, without noise."""
    return LesionPhantoms(**{"noise": 0, **phantom}).draw(
        np.random.default_rng(seed), (9, 96, 128), (2.5, 0.5, 0.5), key=4
    )


def test_one_seed_gives_the_same_windows_and_other_seeds_and_splits_others():
    def images(**told) -> np.ndarray:
        windows = PhantomLesions(cases=2, size=32, pixel=1.5, **told)
        return np.stack([windows.read(index).image.array for index in range(len(windows))])

    first = images()
    np.testing.assert_array_equal(first, images())
    others = [images(seed=1), images(split="val"), images(split="test"), first[::-1]]
    assert all((first != other).mean() > 0.9 for other in others)


@pytest.mark.parametrize("seed", range(5))
def test_the_box_is_about_the_disc_in_the_key_slice(seed: int):
    phantom = drawn(seed, **BALL)
    ((d1, y1, x1, d2, y2, x2),) = phantom.corners
    bright = np.argwhere(phantom.hu[4] > HALF)
    # Pixels whose middles lie in the disc: half a pixel or less is missing at each end.
    np.testing.assert_allclose(bright.min(0), (y1, x1), atol=1)
    np.testing.assert_allclose(bright.max(0) + 1, (y2, x2), atol=1)
    assert (d1, d2) == (4, 5)
    assert [y2 - y1, x2 - x1] == pytest.approx([phantom.diameters[0] / 0.5] * 2)
    assert len(bright) == pytest.approx(np.pi * ((x2 - x1) / 2) ** 2, rel=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_a_slice_shows_a_tube_as_a_ball_and_its_neighbours_do_not(seed: int):
    """Of the same draws: in the key slice not a voxel differs."""
    ball, tube = drawn(seed, **BALL), drawn(seed, **TUBE)
    np.testing.assert_array_equal(ball.hu[4], tube.hu[4])
    sizes = [(hu > HALF).sum(axis=(1, 2)) for hu in (ball.hu, tube.hu)]
    assert sizes[0].min() == 0  # a ball of at most 9 mm ends within 10 mm, at least on the side it is not shifted to
    assert sizes[1].min() > 0.9 * sizes[1].max() > 0  # all slices show the disc
    assert len(ball.corners) == 1 and len(tube.corners) == 0


def test_balls_and_tubes_are_as_many_as_asked_for_and_apart():
    counts = {(0, 0): set(), (1, 3): set()}
    for distractors, seen in counts.items():
        for seed in range(20):
            phantom = drawn(seed, distractors=distractors)
            centres = (phantom.corners[:, 1:3] + phantom.corners[:, 4:]) / 2
            if len(centres) == 2:
                assert np.linalg.norm(centres[0] - centres[1]) * 0.5 > phantom.diameters.mean() + 1.99
            assert phantom.corners[:, 1:3].min(initial=0) >= 0 and (phantom.corners[:, 4:] <= (96, 128)).all()
            seen.add(len(phantom.corners))
    assert counts == {(0, 0): {0, 1, 2}, (1, 3): {0, 1, 2}}


def test_noise_has_half_the_contrast():
    phantom = LesionPhantoms(lesions=(0, 0), distractors=(0, 0)).draw(
        np.random.default_rng(0), (5, 64, 64), (2.5, 1, 1), key=2
    )
    assert phantom.hu.mean() == pytest.approx(40, abs=1)  # 40 HU / sqrt(20480) = 0.3
    assert phantom.hu.std() == pytest.approx(40, abs=1)


def test_a_sample_is_a_window_with_boxes_of_its_key_slice():
    windows = PhantomLesions(window={"slices": 3, "spacing": 5.0}, size=96, pixel=0.7, make=BALL)
    sample = windows.read(7)
    assert windows.window == SpacedWindow(3, 5.0)
    assert sample.image.array.shape == (1, 3, 96, 96) and sample.image.array.dtype == np.float32
    assert sample.image.spacing == pytest.approx((5.0, 0.7, 0.7))
    assert sample.boxes is sample.reference and sample.boxes.corners[0, [0, 3]].tolist() == [1, 2]
    assert sample.boxes.facts["diameter_mm"].shape == (1,)
    assert (len(windows), windows.metainfo["classes"], sample.name) == (200, ("lesion",), "train_00007")
    with pytest.raises(IndexError):
        windows.read(200)


def test_where_there_is_no_room_there_is_no_ball():
    assert len(LesionPhantoms(**BALL).draw(np.random.default_rng(0), (3, 8, 8), (2.5, 1, 1), key=1).corners) == 0


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"split": "all"}, "train, val, test"),
        ({"make": {"lesions": (2, 1)}}, "are ranges"),
        ({"make": {"radius": (0, 1)}}, "are ranges"),
        ({"make": {"contrast": 0}}, "contrast=0"),
        ({"window": {"stride": 2}}, "has no stride"),
    ],
)
def test_what_cannot_be_is_refused(told: dict, said: str):
    with pytest.raises(ValueError, match=said):
        PhantomLesions(**told)


# ---- DeepLesion's layout ---------------------------------------------------------------------------------------------


def numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",")]


def test_files_as_deeplesion_has_them(tmp_path):
    table = pd.read_csv(write_deeplesion_like(tmp_path / "set", series=5) / "DL_info.csv")
    assert list(table.columns) == PUBLISHED
    assert sorted(table.groupby("Train_Val_Test").Patient_index.nunique().items()) == [(1, 3), (2, 1), (3, 1)]
    assert set(table.Coarse_lesion_type[table.Train_Val_Test == 1]) == {-1}
    for row in table.itertuples():
        name, number = row.File_name.removesuffix(".png").rsplit("_", 1)
        first, last = (int(end) for end in numbers(row.Slice_range))
        assert int(number) == row.Key_slice_index == (first + last) // 2
        folder = tmp_path / "set/Images_png" / name
        assert sorted(path.name for path in folder.iterdir()) == [f"{n:03d}.png" for n in range(first, last + 1)]
        with Image.open(folder / f"{number}.png") as picture:
            assert picture.mode == "I;16" and list(picture.size) == numbers(row.Image_size)
            hu = np.asarray(picture).astype(int) - 32768
        assert hu.mean() == pytest.approx(45, abs=15)
        x1, y1, x2, y2 = (int(end - 0.5) for end in numbers(row.Bounding_boxes))  # from 1 at the first pixel's middle
        x, y = (x1 + x2) // 2, (y1 + y2) // 2
        assert hu[y - 1 : y + 2, x - 1 : x + 2].mean() > 40 + 80 - 3 * 40 / 3  # three deviations of nine pixels' mean
        assert numbers(row.Lesion_diameters_Pixel_)[0] == pytest.approx(x2 - x1, abs=1)
        assert numbers(row.Spacing_mm_px_)[:2] == [0.8, 0.8]


def test_they_are_prepared_and_read_as_deeplesion_is(tmp_path):
    """Slices 5 mm apart, the key slice 24: as drawn, with 2.5 mm of the window half of a slice and its neighbour."""
    folder = write_deeplesion_like(tmp_path / "set", series=1)
    prepare_deeplesion(folder, tmp_path / "data", workers=1, cache=False)
    lesions = DeepLesion(tmp_path / "data", data_prefix={"img": str(folder / "Images_png")}, window={"slices": 3})
    lesions.full_init()
    phantoms = LesionPhantoms(lesions=(1, 2), radius=(4.0, 8.0))
    drawn = phantoms.draw(np.random.default_rng((0, 0)), (9, 64, 64), (5.0, 0.8, 0.8), key=4)
    hu = drawn.hu.round()
    sample = lesions.read(lesions.get_data_info(0))
    np.testing.assert_array_equal(sample.image.array[0], [(hu[3] + hu[4]) / 2, hu[4], (hu[4] + hu[5]) / 2])
    np.testing.assert_allclose(sample.boxes.corners[:, [1, 2, 4, 5]], drawn.corners[:, [1, 2, 4, 5]], atol=1e-3)
    np.testing.assert_allclose(sample.boxes.facts["diameter_mm"], drawn.diameters, atol=1e-2)


PUBLISHED = [
    *("File_name", "Patient_index", "Study_index", "Series_ID", "Key_slice_index", "Measurement_coordinates"),
    *("Bounding_boxes", "Lesion_diameters_Pixel_", "Normalized_lesion_location", "Coarse_lesion_type"),
    *("Possibly_noisy", "Slice_range", "Spacing_mm_px_", "Image_size", "DICOM_windows", "Patient_gender"),
    *("Patient_age", "Train_Val_Test"),
]
