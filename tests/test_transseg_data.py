"""The data of TransSeg: its splits case by case, its augmentation by hand, subsets of organs, counts of a release."""

import json
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator

from medseg.datasets import MSD
from medseg.datasets.msd import TASKS
from medseg.datasets.prepare import prepare
from medseg.datasets.prepare.btcv import ASIDE, COUNTS, OTHERS
from medseg.datasets.prepare.counts import Counts, compared
from medseg.datasets.published import BTCV
from medseg.evaluation import summary
from vdt3d.cli import main
from vdt3d.datasets.base import built
from vdt3d.inference import SliceWindowInferer
from vdt3d.io import write_nifti
from vdt3d.registry import METRICS
from vdt3d.structures import LabelMap, Sample, SegmentationSample, Volume, affine_from_spacing
from vdt3d.transforms import RandomCrop3D, RandomZoom3D
from vdt3d.utils.random import SampleKey, keyed

ROOT = Path(__file__).parents[1]
SPLITS = ROOT / "data/splits"
BASES = ROOT / "configs/_base_/datasets"


# --- splits


def positions() -> dict[int, tuple[list[int], list[int], list[int]]]:
    """Of every task what the release drew: one generator, seeded once, shuffles the ten lists of cases in turn."""
    rng, found = random.Random(1234), {}
    for number, task in TASKS.items():
        order = list(range(task.cases))
        rng.shuffle(order)
        train, val = int(0.8 * task.cases), int(0.95 * task.cases)
        found[number] = order[:train], order[train:val], order[val:]
    return found


def read(name: str) -> dict[str, list]:
    return json.loads((SPLITS / name).read_text())


def test_the_lists_of_the_decathlon_are_those_that_the_release_drew():
    drawn = positions()
    # as printed in the account of the release
    assert drawn[1][1][:5] == [90, 470, 339, 141, 213] and drawn[1][2][-3:] == [59, 225, 398]
    assert drawn[2][1:] == ([12, 11, 16], [9])
    assert drawn[5][1:] == ([15, 21, 16, 12, 4], [20, 31])
    assert drawn[6][1:] == ([32, 0, 60, 45, 49, 50, 40, 22, 58], [3, 55, 23, 26])
    assert drawn[9][1:] == ([10, 31, 22, 18, 7, 28], [6, 19, 23])
    assert drawn[10][2] == [76, 95, 39, 69, 88, 4, 24]
    for number, lists in drawn.items():
        content = read(f"msd{number:02d}_transseg.json")
        assert [content[part] for part in ("train", "val", "test")] == [sorted(part) for part in lists]


def test_the_12_abdomens_and_the_20_hearts_that_were_put_aside():
    assert read("btcv_transunet.json")["test"] == [
        f"img{number:04d}" for number in (1, 2, 3, 4, 8, 22, 25, 29, 32, 35, 36, 38)
    ]
    hearts = (2, 3, 8, 9, 12, 14, 17, 24, 42, 48, 49, 53, 55, 64, 67, 79, 81, 88, 92, 95)
    assert read("acdc.json")["test"] == [f"patient{number:03d}" for number in hearts]


SPLEENS = (  # train, val and test as the release drew them
    [
        *(32, 45, 40, 3, 52, 20, 28, 29, 17, 22, 56, 62, 41, 19, 44, 38),
        *(10, 27, 9, 61, 49, 16, 47, 25, 6, 8, 31, 60, 12, 26, 24, 13),
    ],
    [46, 59, 14, 2, 33, 63],
    [21, 53, 18],
)
LUNGS = ([], [57, 53, 27, 33, 29, 58, 78, 47, 93], [69, 62, 59, 73])  # of those to train on none was printed


@pytest.mark.parametrize(("task", "organ", "ids"), [(9, "spleen", SPLEENS), (6, "lung", LUNGS)])
def test_positions_name_the_published_cases(tmp_path, monkeypatch, task, organ, ids):
    """The cases in the release's order, which the lists and the positions tell, are dealt out by the data set class."""
    monkeypatch.setattr("mmengine.dataset.base_dataset.gc.collect", lambda: 0)  # half a second each
    official = [f"other_{position}" for position in range(TASKS[task].cases)]
    for drawn, numbers in zip(positions()[task], ids, strict=True):
        for position, number in zip(drawn, numbers, strict=bool(numbers)):
            official[position] = f"{organ}_{number:03d}"
    for name in official:  # never opened
        (tmp_path / f"{name}.nii.gz").touch()
    content = {
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": organ},
        "training": [{"image": f"{name}.nii.gz", "label": f"{name}.nii.gz"} for name in official],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    for split, numbers in zip(("train", "val", "test"), ids, strict=True):
        cases = MSD(tmp_path, task=task, split=split, split_file=f"data/splits/msd{task:02d}_transseg.json")
        names = {cases.get_data_info(index)["name"] for index in range(len(cases))}
        if numbers:
            assert names == {f"{organ}_{number:03d}" for number in numbers}
        else:
            assert len(names) == 50 and all(name.startswith("other") for name in names)


# --- augmentation


def test_a_zoom_across_slices_blends_them():
    array = np.arange(5).reshape(1, 5, 1, 1)

    def levels(depth: int) -> tuple[list[float], list[int]]:
        """Of slices that hold 0 to 4, what ``depth`` of them hold: image and label map."""
        drawn = {"size": (depth, 1, 1), "before": (5, 1, 1)}
        image, labels = (RandomZoom3D().apply(kind(array), **drawn) for kind in (Volume, LabelMap))
        return image.array.ravel().tolist(), labels.array.ravel().tolist()

    # Seven slices from five: each is as thick as 5/7 of one. From 0 to 5/7 it touches slice 0, from 5/7 to 10/7 slices
    # 0 and 1, and so on; their centres, at 5/14, 15/14, 25/14, ..., lie in 0, 1, 1, 2, 3, 3 and 4.
    assert levels(7) == ([0, 0.5, 1.5, 2, 2.5, 3.5, 4], [0, 1, 1, 2, 3, 3, 4])
    # Three from five: 0 to 5/3 touches slices 0 and 1, 5/3 to 10/3 touches 1 to 3, and so on.
    assert levels(3) == ([0.5, 2, 3.5], [0, 2, 4])


def test_a_zoom_leaves_out_no_voxel():
    row = Volume(np.array([8, 0, 0, 0, 0, 4]).reshape(1, 1, 1, 6))
    image = RandomZoom3D().apply(row, size=(1, 1, 2), before=row.shape)
    assert image.array.ravel().tolist() == pytest.approx([8 / 3, 4 / 3])
    assert image.affine[0].tolist() == [0, 0, 3, 1]  # along x a voxel is three now, the first in place of the second


@pytest.mark.parametrize("in_slices", [False, True])
def test_zooms_are_drawn_as_published(in_slices):
    sample, zoom = Sample(Volume(np.zeros((1, 5, 20, 30), np.float32))), RandomZoom3D(in_slices=in_slices)
    rng, depths = np.random.default_rng(0), Counter()
    for _ in range(1500):
        depth, height, width = zoom.draw(sample, rng)["size"]
        depths[depth] += 1
        assert 10 <= height < 40 and 15 <= width < 60
        # floor(20 z) and floor(30 z) of one z
        assert max(height / 20, width / 30) < min((height + 1) / 20, (width + 1) / 30)
    if in_slices:
        assert depths == {5: 1500}
    else:
        # Depth 2 for z from .5 to .6, a fifteenth of the range; 3 from .6 to .8, two fifteenths, and so on up to 9.
        shares = [depths[depth] / 1500 for depth in range(2, 10)]
        assert shares == pytest.approx([1 / 15, *[2 / 15] * 7], abs=0.03)
    one = Sample(Volume(np.zeros((1, 1, 1, 1), np.float32)))
    assert {zoom.draw(one, rng)["size"] for _ in range(20)} == {(1, 1, 1)}


def test_a_crop_takes_all_places_and_leaves_shorter_sides_alone():
    sample, crop = Sample(Volume(np.zeros((1, 5, 6, 7), np.float32))), RandomCrop3D((3, None, 9))
    rng = np.random.default_rng(0)
    drawn = [crop.draw(sample, rng) for _ in range(600)]
    assert {each["size"] for each in drawn} == {(3, 6, 7)}
    corners = Counter(each["corner"] for each in drawn)
    assert corners.keys() == {(0, 0, 0), (1, 0, 0), (2, 0, 0)} and min(corners.values()) > 150  # of 200 on average


# --- pipelines


def base(name: str) -> Config:
    return Config.fromfile(BASES / f"{name}.py", lazy_import=False)


def window(shape: tuple[int, ...] = (5, 500, 460)) -> Sample:
    """A window in Hounsfield units: slice z of the image holds 10 z, of the label map z + 1."""
    array = np.broadcast_to(np.arange(shape[0])[:, None, None], shape)[None]
    return Sample(Volume(10 * array.astype(np.int16)), LabelMap((1 + array).astype(np.uint8)), name="case")


@pytest.mark.parametrize(
    ("name", "side"), [("transseg", 512), ("transseg-acdc", 512), ("transseg-320", 320), ("transseg-240", 240)]
)
def test_both_pipelines_give_windows_of_one_size(name, side):
    config = base(name)
    loaders = (config.train_dataloader, config.val_dataloader, config.test_dataloader)
    train, *others = (loader.dataset.pipeline for loader in loaders)
    assert train == config.train_pipeline and others == [config.test_pipeline] * 2
    for pipeline in (config.train_pipeline, config.published_train_pipeline):
        for index in range(2):
            data = window()
            with keyed(SampleKey(0, 0, index)):
                for transform in built(pipeline):
                    data = transform(data)
            labels = data["data_samples"].gt_labels
            assert (data["inputs"].shape, labels.shape) == ((1, 5, side, side), (5, side, side))
            held = [set(part.unique().tolist()) - {0} for part in labels]
            if pipeline is config.train_pipeline:
                assert held == [{1}, {2}, {3}, {4}, {5}]  # no slice has taken anything of another
            else:
                assert len(held[2]) == 1  # the slice in the middle is never padding


def test_the_published_pipeline_differs_in_the_depth_and_scales_after_the_zoom():
    config = base("transseg")
    published = config.published_train_pipeline
    assert [step.type for step in published[:4]] == ["Pad3D", "RandomZoom3D", "RandomCrop3D", "Window"]
    default, published = config.augment, [*published[1:3], *published[4:]]
    changed = {ours.type: (ours, theirs) for ours, theirs in zip(default, published, strict=True) if ours != theirs}
    zoom, published_zoom = changed["RandomZoom3D"]
    assert zoom == {**published_zoom, "in_slices": True}
    assert [flip.axes for flip in changed["RandomFlip3D"]] == ["HW", "DHW"]
    for kind in ("RandomCrop3D", "Pad3D"):
        assert [step.size for step in changed[kind]] == [(None, 512, 512), (5, 512, 512)]
    assert len(changed) == 4


def test_hounsfield_units_are_scaled_as_published():
    scale = base("transseg").scale[:1]
    image = Volume(np.array([-1000, -175, 37.5, 250, 3000]).reshape(1, 1, 1, 5))
    (scaled,) = [transform(Sample(image)).image.array for transform in built(scale)]
    assert scaled.ravel().tolist() == [0, 0, 0.5, 1, 1]


@pytest.mark.parametrize("side", [512, 320, 240])
def test_a_child_says_only_what_differs(side, tmp_path):
    name = "transseg" if side == 512 else f"transseg-{side}"
    (tmp_path / "brain.py").write_text(
        f"""
_base_ = {str(BASES / f"{name}.py")!r}
scale = [dict(type="Percentile3D"), dict(type="Pad3D", size=(None, {side}, {side}))]
data = dict(task=1, data_root="data/msd/Task01_BrainTumour", split_file="data/splits/msd01_transseg.json")
train_dataloader = dict(dataset=dict(dataset=data, pipeline=[*scale, *_base_.augment]))
val_dataloader = dict(dataset=dict(**data, pipeline=[*scale, _base_.pack]))
"""
    )
    config = Config.fromfile(tmp_path / "brain.py", lazy_import=False)
    train, val = config.train_dataloader.dataset, config.val_dataloader.dataset
    assert train.dataset == dict(type="MSD", prepared="prepared", split="train", **config.data)
    assert (train.type, config.window) == ("SliceWindows", {"slices": 5})
    assert [step.type for step in val.pipeline] == ["Percentile3D", "Pad3D", "PackSegmentation"]
    assert (val.split, val.whole_scans, val.task) == ("val", True, 1)
    for augment in (train.pipeline[2:], config.published_train_pipeline):
        # Whatever the size of the slices, the windows of a batch are of one.
        data = Sample(Volume(np.random.default_rng(0).random((4, 5, side + 30, side - 20))), name="case")
        for transform in built(augment):
            data = transform(data)
        assert data["inputs"].shape == (4, 5, side, side)


@pytest.mark.parametrize("name", ["transseg", "transseg-acdc"])  # surrounded to 512 x 512, and resized to it
def test_whole_scans_come_back_to_their_own_grid(name):
    affine = affine_from_spacing((3.0, 0.8, 0.7))
    image = np.zeros((1, 6, 64, 32), np.int16)
    image[:, 2:4, 16:48, 8:24] = 250
    data = Sample(Volume(image, affine), name="case")
    for transform in built(base(name).test_pipeline):
        data = transform(data)
    assert data["inputs"].shape == (1, 6, 512, 512)
    seen = []

    def network(batch):
        """Class 1 where the slice in the middle is above 0.5."""
        seen.append(tuple(batch.shape))
        middle = batch[:, :, 2:3]
        return torch.cat([0.5 - middle, middle - 0.5], dim=1)

    label_map = SliceWindowInferer({"slices": 5}, batch=6).segment(network, data["inputs"], data["data_samples"])
    assert seen == [(6, 1, 5, 512, 512)]
    assert label_map.affine == pytest.approx(affine)
    # A side of 64 became one of 512: the edges lie between voxels of both, so nothing moves by even one.
    np.testing.assert_array_equal(label_map.array, image > 0)


# --- subsets of organs


def counted(both: int, only_guess: int = 0, only_truth: int = 0) -> dict[str, float]:
    size = 2 * both + only_guess + only_truth
    return dict(both=both, only_guess=only_guess, only_truth=only_truth, dice=2 * both / size if size else float("nan"))


# Dice: a: liver 6/8, spleen in neither map, aorta 0; b: liver 2/10, spleen 1, aorta 1.
CASES = {
    "a": {"liver": counted(3, 1, 1), "spleen": counted(0), "aorta": counted(0, 0, 2)},
    "b": {"liver": counted(1, 0, 8), "spleen": counted(1), "aorta": counted(4)},
}


def test_a_subset_of_the_labels_by_hand():
    found = summary(CASES, subsets={"two": ["liver", "spleen"]}, resamples=0)
    # Means of the cases: a .75 (the liver alone), b (.2 + 1) / 2 = .6. Together: liver 8/18, spleen 1.
    two = found["subsets"]["two"]
    assert two["dice"] == {"mean": pytest.approx((0.75 + 0.6) / 2), "counted": 3, "absent": 1, "infinite": 0}
    assert two["dice_pooled"] == pytest.approx((8 / 18 + 1) / 2)
    # All three: a (.75 + 0) / 2, b (.2 + 1 + 1) / 3. A subset of all labels is what they all are.
    assert found["mean"]["dice"]["mean"] == pytest.approx((0.375 + 2.2 / 3) / 2)
    every = summary(CASES, subsets={"all": ["liver", "spleen", "aorta"]}, resamples=20)
    assert json.dumps(every["subsets"]["all"]) == json.dumps(every["mean"])  # nan equals nan as text


def scored(**options) -> dict[str, float]:
    """One case of two voxels a label: liver (1) found, half of the spleen (2), none of the left kidney (3)."""
    truth = np.array([1, 1, 2, 2, 3, 3], np.uint8).reshape(1, 1, 1, 6)
    guess = np.array([1, 1, 2, 0, 0, 0], np.uint8).reshape(1, 1, 1, 6)
    sample = SegmentationSample(metainfo={"sample_name": "case", "group": "", "reference": LabelMap(truth)})
    sample.pred_labels = LabelMap(guess)
    metric = METRICS.build({"type": "SegmentationScores", "surface": False, **options})
    metric.dataset_meta = {"classes": ("background", "liver", "spleen", "left kidney")}
    evaluator = Evaluator([metric])
    evaluator.process([sample])
    return evaluator.evaluate(1)


def test_the_metric_tells_subsets_beside_the_rest(tmp_path):
    out = tmp_path / "scores.json"
    found = scored(subsets={"two organs": ["liver", "spleen"]}, resamples=10, out=str(out))
    plain = scored(resamples=10)
    two = (1 + 2 / 3) / 2
    assert {key: found[key] for key in found.keys() - plain.keys()} == pytest.approx(
        {"dice_two_organs": two, "dice_two_organs_pooled": two}  # of one case, which has no interval
        | dict.fromkeys(("dice_two_organs_low", "dice_two_organs_high"), math.nan),
        nan_ok=True,
    )
    assert {key: found[key] for key in plain} == pytest.approx(plain, nan_ok=True)
    assert json.loads(out.read_text())["summary"]["subsets"]["two organs"]["dice"]["mean"] == pytest.approx(two)


@pytest.mark.parametrize(
    ("subsets", "message"),
    [
        (
            {"two": ["liver", "splen"]},
            r"the subset 'two' names 'splen'; the labels are 'liver', 'spleen', 'left kidney'",
        ),
        ({"two": []}, "the subset 'two' names nothing"),
        ({"left_kidney": ["liver"]}, "'dice_left_kidney'; rename it"),
        ({"pooled": ["liver"]}, "'dice_pooled'; rename it"),
    ],
)
def test_subsets_that_cannot_be_are_refused(subsets, message):
    with pytest.raises(ValueError, match=message):
        scored(subsets=subsets)


def test_the_eight_organs_of_btcv_are_classes_of_it():
    config = base("transseg-btcv")
    (organs,) = config.test_evaluator.subsets.values()
    assert config.val_evaluator.subsets == {"8_organs": organs}
    # as published: labels 1, 2, 3, 4, 6, 7, 8 and 11
    assert sorted(BTCV.METAINFO["classes"].index(organ) for organ in organs) == [1, 2, 3, 4, 6, 7, 8, 11]
    assert set(organs) == set(COUNTS.labels)


# --- counts of a release


def test_the_published_counts_add_up():
    assert (len(ASIDE), sum(ASIDE.values())) == (12, 1568)
    assert (len(OTHERS), sum(OTHERS.values())) == (18, 2211)
    assert list(COUNTS.cases) == read("btcv_transunet.json")["test"]
    assert sorted(COUNTS.slices) == sorted([*COUNTS.cases, *read("btcv_transunet.json")["train"]])


CLASSES = ("background", "liver", "spleen")
KNOWN = Counts("Somebody", {"a": 3, "b": 4, "c": 5}, ("a", "b"), {"spleen": (7, 3), "liver": (20, 5)})


def record(depth: int, voxels: dict[str, int], slices: dict[str, int]) -> dict:
    return {"extra": {"scan": {"shape": [depth, 8, 8]}}, "voxels": voxels, "slices": slices}


def records() -> dict[str, dict]:
    """As ``KNOWN`` says: spleen 7 + 0 voxels in 3 slices, liver 8 + 12 in 2 + 3."""
    return {
        "a": record(3, {"0": 99, "1": 8, "2": 7}, {"0": 3, "1": 2, "2": 3}),
        "b": record(4, {"0": 99, "1": 12}, {"0": 4, "1": 3}),
        "c": record(5, {"0": 99}, {"0": 5}),
        "more": record(9, {"0": 99, "1": 1}, {"0": 9, "1": 1}),
    }


def test_a_release_that_is_the_published_one_or_differs():
    same = "This is the release that Somebody counted: the slices of 3 cases and the voxels of 2 labels agree"
    assert compared(KNOWN, records(), CLASSES) == same
    other = records()
    other["c"]["extra"]["scan"]["shape"][0] = 6
    other["a"]["slices"]["2"] = 2
    other["b"]["voxels"]["1"] = 11
    assert compared(KNOWN, other, CLASSES) == (
        "This is not the release that Somebody counted: c has 6 slices, not 5; spleen has 7 voxels in 2 slices, not 7 "
        "in 3; liver has 19 voxels in 5 slices, not 20 in 5"
    )
    del other["b"], other["c"]
    found = "This is not the release that Somebody counted: 2 of 3 cases are not there (b, c)"
    assert compared(KNOWN, other, CLASSES) == found  # of the labels of two cases nothing can be said


def test_preparing_btcv_says_whether_it_is_the_release(tmp_path, monkeypatch, capsys):
    for number, depth in ((1, 3), (2, 4)):
        array = np.random.default_rng(number).integers(-200, 200, (1, depth, 6, 8)).astype(np.float32)
        labels = np.zeros((1, depth, 6, 8), np.uint8)
        labels[0, 1:, :number, :3] = 6  # liver: 2 slices of 3 voxels and 3 slices of 6
        write_nifti(Volume(array), tmp_path / f"src/Training/img/img{number:04d}.nii.gz")
        write_nifti(LabelMap(labels), tmp_path / f"src/Training/label/label{number:04d}.nii.gz")
    known = Counts("Somebody", {"img0001": 3, "img0002": 4}, ("img0001", "img0002"), {"liver": (6 + 18, 5)})
    monkeypatch.setattr("medseg.datasets.prepare.btcv.COUNTS", known)
    main(["prepare", "btcv", str(tmp_path / "src"), str(tmp_path / "dst"), "--workers", "1"])
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == [
        "This is the release that Somebody counted: the slices of 2 cases and the voxels of 1 labels agree",
        "2 of 2 cases are good",
    ]
    monkeypatch.setattr("medseg.datasets.prepare.btcv.COUNTS", known._replace(labels={"liver": (25, 5)}))
    again = prepare("btcv", tmp_path / "src", tmp_path / "dst", workers=1)
    assert again.notice.endswith("counted: liver has 24 voxels in 5 slices, not 25 in 5") and not again.outcomes[0].new
    finer = prepare("btcv", tmp_path / "src", tmp_path / "dst", workers=1, spacing=(0.5, 1.0, 1.0))
    assert finer.notice is None and finer.problems == []
