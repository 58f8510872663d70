"""The GI tract challenge by the commands, from csv to submission in five folds, on a likeness; and real slices."""

import csv
import json
import re
from collections.abc import Iterator
from math import hypot
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from scipy.spatial.distance import directed_hausdorff

import vdt3d.io.slices
from medseg.datasets import GITract
from medseg.datasets.gi_slices import write_gi_like
from medseg.datasets.gi_tract import ORGANS
from medseg.io import mask_rows, rle, write_masks
from vdt3d.apis.predictor import Predictor
from vdt3d.cli import main
from vdt3d.engine import Runner
from vdt3d.engine.config import read_config
from vdt3d.io import open_slices, read_label_map, read_volume

ROOT = Path(__file__).resolve().parents[1]
CONFIG = str(ROOT / "configs/debug/segment_slices.py")
FOLDS, EPOCHS = 5, 3
MAKE = dict(cases=5, days=2, slices=10, side=32)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="module")
def no_garbage() -> Iterator[None]:
    """mmengine collects garbage for every data set it makes: half a second each, in a process that holds torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmengine.dataset.base_dataset.gc.collect", lambda: 0)
        yield


def options(data: Path) -> list[str]:
    """What points the config to the prepared data and its folds, and makes the run short."""
    own = {"data_root": data, "make": MAKE, "prepared": "prepared", "split_file": "splits.json"}
    places = ("train_dataloader.dataset.dataset", "val_dataloader.dataset", "test_dataloader.dataset")
    settings = {f"{place}.{key}": value for place in places for key, value in own.items()}
    settings |= {
        "train_dataloader.dataset.pipeline.1.size": (None, 32, 32),
        "train_cfg.max_epochs": EPOCHS,
    }
    return ["--cfg-options", *(f"{key}={value}" for key, value in settings.items())]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten scans of five patients, dealt out to five folds and prepared."""
    root = write_gi_like(tmp_path_factory.mktemp("gi_tract") / "data", **MAKE)
    main(["split", str(root), "--folds", str(FOLDS), "--out", str(root / "splits.json")])
    main(["prepare", "gi_tract", str(root), str(root), "--workers", "1"])
    return root


@pytest.fixture(scope="module")
def checkpoints(data: Path) -> list[str]:
    """The weights of five runs, each of which held one fold out."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        for fold in range(FOLDS):
            patch.setenv("FOLD", str(fold))
            folder = data.parent / f"fold{fold}"
            main(["train", CONFIG, "--work-dir", str(folder), *options(data)])
            found.append(str(folder / f"epoch_{EPOCHS}.pth"))
    return found


@pytest.fixture(scope="module")
def predictions(data: Path, checkpoints: list[str]) -> Path:
    """The label maps of all scans by all five together."""
    out = data.parent / "predictions"
    main(["predict", CONFIG, checkpoints[0], str(data), "-o", str(out), "--ensemble", *checkpoints[1:], *options(data)])
    return out


def scan_folders(data: Path) -> dict[str, Path]:
    return {path.parent.name: path for path in data.glob("train/*/*/scans")}


def by_hand(code: str, shape: tuple[int, int]) -> np.ndarray:
    """The mask of a run-length code: pairs of a start, counted from 1 along the rows, and a length."""
    flat = np.zeros(shape[0] * shape[1], bool)
    numbers = [int(word) for word in code.split()]
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        flat[start - 1 : start - 1 + length] = True
    return flat.reshape(shape)


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_fold_is_trained_on_the_other_patients(data: Path, checkpoints: list[str]):
    folds = json.loads((data / "splits.json").read_text())
    assert sorted(name for fold in folds for name in fold["val"]) == sorted(scan_folders(data))
    for path, fold in zip(checkpoints, folds, strict=True):
        log = next(Path(path).parent.glob("*/vis_data/config.py"))
        assert Config.fromfile(log).train_dataloader.dataset.dataset.fold == folds.index(fold)
        patients = {part: {name.partition("_")[0] for name in fold[part]} for part in ("train", "val")}
        assert len(patients["val"]) == 1 and not patients["val"] & patients["train"]


def test_the_submission_is_what_the_challenge_asks_for(data: Path, predictions: Path, capsys):
    submission = data.parent / "submission.csv"
    template = ["--template", str(data / "sample_submission.csv")]
    main(["convert-masks", str(predictions), str(submission), *template])
    rows = rows_of(submission)
    assert list(rows[0]) == ["id", "class", "predicted"]
    asked = [(row["id"], row["class"]) for row in rows_of(data / "train.csv")]
    assert [(row["id"], row["class"]) for row in rows] == asked
    assert len(asked) == 10 * 10 * 3  # scans, slices, organs
    found = dict.fromkeys(ORGANS, 0)
    for name, folder in scan_folders(data).items():
        labels_DHW = read_label_map(predictions / f"{name}.nii.gz").array[0]
        with Image.open(folder / sorted(path.name for path in folder.iterdir())[0]) as picture:
            width, height = picture.size
        assert labels_DHW.shape == (10, height, width)
        codes = {(row["id"], row["class"]): row["predicted"] for row in rows}
        for number, plane_HW in enumerate(labels_DHW, start=1):
            for bit, organ in enumerate(ORGANS):
                mask = by_hand(codes[f"{name}_slice_{number:04d}", organ], plane_HW.shape)
                np.testing.assert_array_equal(mask, (plane_HW >> bit) % 2 == 1)
                found[organ] += mask.sum()
    assert all(found.values()), found  # they have learnt enough to find each organ somewhere


def test_the_score_of_a_case_is_the_one_by_hand(data: Path, checkpoints: list[str], monkeypatch):
    """Of the first scan that fold 0 held out: the prediction of the network that never saw it, the truth of the csv."""
    monkeypatch.setenv("FOLD", "0")
    name = json.loads((data / "splits.json").read_text())[0]["val"][0]
    out, table = data.parent / "held_out", data.parent / "scores.csv"
    scans = str(scan_folders(data)[name])
    main(["predict", CONFIG, checkpoints[0], scans, "-o", str(out), *options(data)])
    main(["test", CONFIG, checkpoints[0], *options(data), f"test_evaluator.0.out={table}"])

    guess_DHW = read_label_map(out / f"{name}.nii.gz").array[0]
    codes = {(row["id"], row["class"]): row["segmentation"] for row in rows_of(data / "train.csv")}
    scores = next(row for row in rows_of(table) if row["case"] == name)
    for bit, organ in enumerate(ORGANS):
        ids = [f"{name}_slice_{number + 1:04d}" for number in range(len(guess_DHW))]
        truth_DHW = [by_hand(codes[each, organ], guess_DHW.shape[1:]) for each in ids]
        dice = dice_by_hand(guess_DHW >> bit & 1, truth_DHW)
        assert float(scores[f"dice_slices_{organ}"]) == pytest.approx(sum(dice) / len(dice))
        assert int(scores[f"slices_{organ}"]) == len(dice)
        hausdorff = hausdorff_by_hand(guess_DHW >> bit & 1, truth_DHW)
        assert float(scores[f"hausdorff_score_{organ}"]) == pytest.approx(hausdorff)


def dice_by_hand(guess_DHW, truth_DHW) -> list[float]:
    """Of every slice in which one of two masks, or both, have a voxel."""
    found = []
    for guess_HW, truth_HW in zip(guess_DHW, truth_DHW, strict=True):
        both = either = 0
        for guessed, true in zip(guess_HW.ravel().tolist(), truth_HW.ravel().tolist(), strict=True):
            both += 2 if guessed and true else 0
            either += bool(guessed) + bool(true)
        if either:
            found.append(both / either)
    return found


def hausdorff_by_hand(guess_DHW, truth_DHW) -> float:
    """1 - the distance of the two masks, both of which have a voxel, over the scan's diagonal, all in voxels."""
    guess, truth = (
        [(z, y, x) for z, plane in enumerate(mask) for y, line in enumerate(plane) for x, on in enumerate(line) if on]
        for mask in (guess_DHW, truth_DHW)
    )
    farthest = max(directed_hausdorff(guess, truth)[0], directed_hausdorff(truth, guess)[0])
    return 1 - farthest / hypot(*np.shape(guess_DHW))


def test_a_scan_of_144_slices_is_read_slice_by_slice_once(data: Path, checkpoints: list[str], tmp_path, monkeypatch):
    root = write_gi_like(tmp_path / "long", cases=1, days=1, slices=144, side=16)
    (scans,) = root.glob("train/*/*/scans")
    read, seen = [], []
    honest = vdt3d.io.slices.read_picture
    monkeypatch.setattr(vdt3d.io.slices, "read_picture", lambda path: read.append(path.name) or honest(path))
    config = read_config(CONFIG)
    config.test_dataloader.dataset.update(type="GITract", data_root=str(root))
    predictor = Predictor(config, checkpoints[0], device="cpu")
    predictor.model.backbone.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape[0]))
    volume = predictor.read(scans)
    names = sorted(path.name for path in scans.iterdir())
    assert len(names) == 144 and read == [names[0], *names]  # the first tells size and type before
    assert predictor(volume, name="long").shape == volume.shape == (144, 16, 19)
    assert len(read) == 145 and sum(seen) == 144  # and one window about each goes through the network


# ---- real slices -----------------------------------------------------------------------------------------------------


@pytest.fixture
def samples(real_data: Path) -> Path:
    return real_data / "uwm_gi_tract_samples"


def test_real_slices_are_read(samples: Path):
    pictures = sorted((samples / "images").iterdir())
    assert len(pictures) == 36
    for path in pictures:
        image, labels = read_volume(path), read_label_map(samples / "labels" / path.name)
        assert image.shape == labels.shape == (1, 512, 512) and image.array.max() <= 255
        assert set(np.unique(labels.array)) <= {0, 1, 2, 3}
        for label in (1, 2, 3):
            mask_HW = labels.array[0, 0] == label
            np.testing.assert_array_equal(rle.decode(rle.encode(mask_HW), mask_HW.shape), mask_HW)
    original = open_slices(samples / "original_16bit", spacing=(3.0, 1.5, 1.5))
    assert original.array.dtype == np.uint16 and original.array[:].max() == 125


def test_a_config_trains_on_real_slices(samples: Path, tmp_path: Path):
    """Each slice, an eighth as large, as a case-day of one slice; patients keep their numbers."""
    root, rows, bits = tmp_path / "real", [], np.array([0, 2, 1, 4], np.uint8)  # labels there: small, large, stomach
    for path in sorted((samples / "images").iterdir()):
        case, day, number = re.fullmatch(r"case(\d+)_day(\d+)_slice_(\d+)", path.stem).groups()
        name = f"case{case}_day{day}{number}"
        folder = root / f"train/case{case}/{name}/scans"
        folder.mkdir(parents=True)
        with Image.open(path) as picture, Image.open(samples / "labels" / path.name) as labels:
            Image.fromarray(np.asarray(picture)[::8, ::8]).save(folder / f"slice_{number}_64_64_1.50_1.50.png")
            rows += mask_rows(name, [int(number)], bits[np.asarray(labels)[None, ::8, ::8]], ORGANS)
    write_masks(root / "train.csv", rows)
    assert all(sample.label_map.array.any() for sample in GITract(root, split="all"))
    config = read_config(CONFIG)
    config.merge_from_dict({"work_dir": str(tmp_path / "run"), "visualizer": None})
    for loader in (config.train_dataloader.dataset, config.val_dataloader, config.test_dataloader):
        loader.dataset = dict(loader.dataset) | {"type": "GITract", "data_root": str(root)}
        loader.dataset.pop("make")
    config.train_cfg.update(max_epochs=4)
    config.default_hooks.logger.interval = 1
    runner = Runner.from_cfg(config)
    runner.train()
    losses, _ = runner.message_hub.get_scalar("train/loss").data
    assert len(losses) == 4 * len(runner.train_dataloader) and np.mean(losses[-5:]) < np.mean(losses[:5])
    (scores,) = (json.loads(line) for line in (tmp_path / "run/scores.jsonl").read_text().splitlines())
    assert {f"dice_{organ}" for organ in ORGANS} < scores.keys() and scores["dice"] > 0
