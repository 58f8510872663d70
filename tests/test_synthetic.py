"""Made-up data: the same bytes for the same seed, whole or not at all, in the formats a user has."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vdt3d.datasets import FractalPictures, PhantomNodules, VolumeClassification
from vdt3d.datasets.synthetic import write_fractals, write_nodule_volumes, write_nodules, write_organs
from vdt3d.datasets.synthetic.folder import made_once
from vdt3d.datasets.synthetic.phantoms import ORGANS, draw_nodule
from vdt3d.io import read_label_map, read_volume

WRITERS = {
    write_fractals: {"classes": 2, "per_class": 2, "size": 16},
    write_nodules: {"cases": 3},
    write_nodule_volumes: {"cases": 2},
    write_organs: {"cases": 1},
}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_one_seed_gives_the_same_bytes_and_another_seed_others(write, tmp_path):
    one, same, other = (
        contents(write(tmp_path / name, **WRITERS[write], seed=seed)) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one == same
    assert one != other


def test_fractals_are_jpeg_class_folders_that_make_themselves(tmp_path):
    make = {"classes": 2, "per_class": 5, "size": 32}
    train, val = (FractalPictures(tmp_path / "f", split=split, make=make) for split in ("train", "val"))
    assert (len(train), len(val)) == (10, 2)
    assert train.metainfo["classes"] == ("fractal_000", "fractal_001")
    with Image.open(train.get_data_info(0)["img_path"]) as picture:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (32, 32))
        assert np.asarray(picture).std() > 10


def test_pictures_of_one_class_are_alike_and_of_two_are_not(tmp_path):
    folder = write_fractals(tmp_path / "f", classes=4, per_class=6, size=32) / "train"
    # The shape alone: pixels brighter than the picture's middle.
    shapes = np.array(
        [
            [
                (grey := np.asarray(Image.open(path).convert("L")).ravel()) > np.median(grey)
                for path in sorted(home.iterdir())
            ]
            for home in sorted(folder.iterdir())
        ]
    )
    share = (shapes[:, None, :, None] == shapes[None, :, None]).mean(axis=(2, 3, 4))  # of pixels that agree
    own, others = np.diag(share).mean(), share[~np.eye(4, dtype=bool)].mean()
    assert own > others + 0.05


def test_phantom_nodules_have_the_published_format(tmp_path):
    cases = PhantomNodules(tmp_path / "lidc", make={"cases": 12}, split="all")
    assert set(cases.targets()) == {0, 1}
    path = Path(cases.get_data_info(0)["path"])
    with np.load(path, allow_pickle=False) as crop:
        voxel, mask = crop["voxel"], crop["answer1"]
    assert (voxel.dtype, voxel.shape) == (np.uint8, (64, 64, 64))
    assert voxel[mask > 0].mean() > 150 > 80 > voxel[mask == 0].mean()  # 20 HU is grey 187, lung -830 HU grey 35
    table = pd.read_csv(tmp_path / "lidc/info/lidc_nodule_info_new_with_subset.csv")
    assert list(table.columns) == PUBLISHED_COLUMNS
    lists = pd.read_csv(tmp_path / "lidc/train_test_split.csv")
    assert list(lists.columns) == ["Unnamed: 0", "train", "test"]
    patient = dict(zip(table["index"] + ".npz", table.uid, strict=True))
    assert not {patient[name] for name in lists.train.dropna()} & {patient[name] for name in lists.test.dropna()}


def test_spikes_make_the_difference():
    """Equal draws but for the spikes: a spiculated nodule has more surface for its volume."""

    def compactness(spiculation):
        mask = draw_nodule(np.random.default_rng(3), spiculation)[1].astype(int)
        surface = sum(np.abs(np.diff(mask, axis=axis)).sum() for axis in range(3))
        return mask.sum() ** (2 / 3) / surface

    assert compactness(0.9) < 0.9 * compactness(0.0)


def test_too_small_crops_are_refused(tmp_path):
    with pytest.raises(ValueError, match="needs 58 or more"):
        write_nodules(tmp_path / "lidc", side=48)


def test_nodule_volumes_are_a_users_own_data(tmp_path):
    cases = VolumeClassification(write_nodule_volumes(tmp_path / "own", cases=8), split="all")
    assert cases.metainfo["classes"] == ("smooth", "spiculated")
    image = cases[0].image
    assert (image.shape, image.spacing) == ((32, 64, 64), (2.0, 1.0, 1.0))
    assert -1000 < image.array.mean() < -600  # lung


def test_organs_and_their_labels_share_a_grid(tmp_path):
    folder = write_organs(tmp_path / "ct", cases=1)
    image = read_volume(folder / "images/organs_000.nii.gz")
    labels = read_label_map(folder / "labels/organs_000.nii.gz")
    assert image.same_grid(labels)
    assert np.allclose(image.spacing, (5.0, 3.5, 3.5))
    assert np.unique(labels.array).tolist() == list(range(len(ORGANS) + 1))
    for label, (hu, _, _) in enumerate(ORGANS.values(), start=1):
        assert abs(image.array[labels.array == label].mean() - hu) < 40  # five times the spread from case to case


def test_a_folder_is_made_once_and_anew_when_asked_for_otherwise(tmp_path):
    calls = []

    def fill(folder):
        calls.append(folder)
        (folder / "data").write_text(str(len(calls)))

    made = tmp_path / "made"
    for wanted in ({"n": 1}, {"n": 1}, {"n": 2}):
        made_once(made, wanted, fill)
    assert len(calls) == 2
    assert (made / "data").read_text() == "2"


def test_a_failure_leaves_what_was_there_and_nothing_half_written(tmp_path):
    made = made_once(tmp_path / "made", {"n": 1}, lambda folder: (folder / "data").write_text("whole"))

    def fail(folder):
        (folder / "data").write_text("half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        made_once(made, {"n": 2}, fail)
    assert (made / "data").read_text() == "whole"
    assert {path.name for path in tmp_path.iterdir()} == {"made", ".made.lock"}


def test_a_users_folder_is_never_replaced(tmp_path):
    (tmp_path / "precious").mkdir()
    with pytest.raises(ValueError, match="holds something else than made-up data"):
        write_organs(tmp_path / "precious")


PUBLISHED_COLUMNS = [
    *("index", "uid", "scan", "name", "roi", "volume", "diameter_mm", "coordZ", "coordY", "coordX"),
    *("spacingZ", "spacingY", "spacingX", "nodIDs1", "nodIDs2", "nodIDs3", "nodIDs4"),
    *("subtlety", "internalStructure", "calcification", "sphericity", "margin", "lobulation", "spiculation"),
    *("texture", "malignancy", "malignancy_mode", "subset", "remark"),
]
