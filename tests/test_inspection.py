"""``vdt3d inspect``: planted copies and leaks are all found and none is invented; facts and odd cases as worked out."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom

from vdt3d.cli import main
from vdt3d.datasets.inspection import (
    Facts,
    config_entries,
    find_alike,
    find_all,
    folder_entries,
    measure,
    read_entry,
    spectrum,
)
from vdt3d.datasets.inspection.facts import Region
from vdt3d.datasets.inspection.findings import robust_scores
from vdt3d.datasets.inspection.spectrum import bands, ends, motions
from vdt3d.datasets.synthetic.phantoms import ORGANS, draw_nodule, draw_organs
from vdt3d.io import write_nifti
from vdt3d.structures import LabelMap, Volume, affine_from_spacing

ROOT = Path(__file__).resolve().parents[1]
COPIES = {"leak", "conflict", "duplicate", "slices"}
SPACING = (2.0, 2.0, 2.0)


def nodule(seed: int) -> np.ndarray:
    return draw_nodule(np.random.default_rng((7, seed)), 0.3, (20, 28, 24), SPACING)[0]


def save(array: np.ndarray, path: Path, spacing=SPACING, kind=Volume) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(kind(np.ascontiguousarray(array)[None], affine_from_spacing(spacing)), path)


def looked_over(root: Path, group: str | None = None) -> tuple[list[Facts], list]:
    cases = [measure(entry) for entry in folder_entries(root, group)]
    return cases, find_all(cases)


def named(cases: list[Facts], findings: list, kind: str) -> set[frozenset[str]]:
    return {frozenset(cases[number].name for number in found.cases) for found in findings if found.kind == kind}


def test_every_planted_copy_is_found_and_no_other(tmp_path: Path):
    scans, rng = [nodule(seed) for seed in range(16)], np.random.default_rng(0)
    for number, scan in enumerate(scans):
        save(scan.astype(np.float32), tmp_path / f"train/{number:02d}.nii.gz")
    content = (tmp_path / "train/00.nii.gz").read_bytes()
    (tmp_path / "test").mkdir()
    (tmp_path / "test/exact.nii.gz").write_bytes(content)
    save(scans[1].round().astype(np.int16), tmp_path / "test/type.nii")
    grey = ((scans[2] + 1200) / 2000 * 255).clip(0, 255).round().astype(np.uint8)
    np.save(tmp_path / "test/scale.npy", grey)
    save(scans[3][:, ::-1, ::-1], tmp_path / "test/flipped.nii.gz")
    save(scans[4] + rng.normal(0, 0.05 * np.ptp(scans[4]), scans[4].shape), tmp_path / "test/noised.nii.gz")
    smaller = zoom(scans[5], (0.6, 0.7, 0.7), order=1, grid_mode=True, mode="nearest")
    save(smaller, tmp_path / "test/resampled.nii.gz", (3.33, 2.86, 2.86))
    save(scans[6][5:17], tmp_path / "test/part.nii.gz")
    both = zoom(scans[7][::-1], 1.4, order=1) + rng.normal(0, 20, zoom(scans[7], 1.4, order=1).shape)
    save(both, tmp_path / "train/everything.nii.gz", (1.43, 1.43, 1.43))
    cases, findings = looked_over(tmp_path)
    copies = ("exact.nii.gz", "type.nii", "scale.npy", "flipped.nii.gz", "noised.nii.gz", "resampled.nii.gz")
    leaks = {frozenset((f"train/{number:02d}.nii.gz", f"test/{name}")) for number, name in enumerate(copies)}
    leaks.add(frozenset(("train/06.nii.gz", "test/part.nii.gz")))
    assert named(cases, findings, "leak") == leaks
    assert named(cases, findings, "duplicate") == {frozenset(("train/07.nii.gz", "train/everything.nii.gz"))}
    assert not named(cases, findings, "slices")
    notes = " ".join(note for found in findings if found.kind == "leak" for note in found.notes)
    assert "the voxels of test/exact.nii.gz" in notes and "mirrored along H, W" in notes
    assert "20 x 28 x 24 instead of 12 x 20 x 17 voxels" in notes


def test_pictures_turned_saved_anew_and_of_another_class_are_found(tmp_path: Path):
    rng = np.random.default_rng(0)
    for number in range(20):
        picture = gaussian_filter(rng.normal(size=(32, 32, 3)), (1.5, 1.5, 0))
        picture = (255 * (picture - picture.min()) / np.ptp(picture)).astype(np.uint8)
        home = tmp_path / "train" / ("ants", "bees")[number % 2]
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(home / f"{number:02d}.png")
        if number == 3:
            Image.fromarray(np.rot90(picture)).save(tmp_path / "train/ants/turned.jpg", quality=90)
        if number == 4:
            (tmp_path / "val/ants").mkdir(parents=True)
            Image.fromarray(picture).resize((48, 48)).save(tmp_path / "val/ants/larger.png")
    cases, findings = looked_over(tmp_path)
    turned = frozenset(("train/bees/03.png", "train/ants/turned.jpg"))
    assert named(cases, findings, "duplicate") == named(cases, findings, "conflict") == {turned}
    assert named(cases, findings, "leak") == {frozenset(("train/ants/04.png", "val/ants/larger.png"))}
    assert [found.text for found in findings if found.kind == "labels"] == ["val has no case of bees"]


@pytest.mark.parametrize("draw", [lambda rng: draw_organs(rng, (16, 40, 48), (10.0, 7.0, 7.0))[0], None])
def test_scans_of_different_seeds_are_no_copies(draw, tmp_path: Path):
    for seed in range(24):
        save(nodule(seed) if draw is None else draw(np.random.default_rng(seed)), tmp_path / f"{seed:02d}.nii")
    cases, findings = looked_over(tmp_path)
    assert len(cases) == 24 and not COPIES & {found.kind for found in findings}


def test_a_copy_is_found_where_all_scans_are_much_alike(tmp_path: Path):
    # The bodies of these phantoms have one shape and differ by a few millimetres.
    for seed in range(24):
        scan, _ = draw_organs(np.random.default_rng(seed), (16, 40, 48), (10.0, 7.0, 7.0))
        save(scan, tmp_path / f"{seed:02d}.nii")
    noise = np.random.default_rng(0).normal(0, 30, scan.shape)
    save(scan[:, :, ::-1] + noise, tmp_path / "copy.nii")
    cases, findings = looked_over(tmp_path)
    assert named(cases, findings, "duplicate") == {frozenset(("23.nii", "copy.nii"))}


def test_a_patient_of_two_splits_is_a_leak(tmp_path: Path):
    for seed, name in enumerate(("train/p1_a", "train/p1_b", "train/p2_a", "test/p1_c", "test/p3_a")):
        save(nodule(seed), tmp_path / f"{name}.nii")
    cases, findings = looked_over(tmp_path, group=r"(p\d)_")
    (leak,) = (found for found in findings if found.kind == "leak")
    assert leak.text == "cases of one patient: 1 in test, 2 in train"
    assert {cases[number].name for number in leak.cases} == {"train/p1_a.nii", "train/p1_b.nii", "test/p1_c.nii"}


def test_cases_that_two_splits_share_are_one_finding(tmp_path: Path):
    for number in range(3):
        save(nodule(number), tmp_path / f"{number}.nii")
    (tmp_path / "labels.csv").write_text("path,target\n0.nii,a\n1.nii,b\n2.nii,a\n")
    dataset = {"type": "VolumeClassification", "data_root": str(tmp_path), "split": "all"}
    cases = [measure(entry) for entry in config_entries({"val": dataset, "test": dataset})]
    assert [(case.splits, case.target) for case in cases] == [(("val", "test"), label) for label in "aba"]
    assert [found.text for found in find_all(cases)] == ["val and test share 3 cases, by name"]


@pytest.mark.parametrize("axes", [2, 3])
def test_a_motion_of_the_array_is_one_of_its_spectrum(axes: int):
    array = np.random.default_rng(0).normal(size=(30,) * axes)
    limits = ends(array)
    waves = spectrum(array, limits, axes).astype(np.float32)
    for motion, (source, sign) in zip(motions(axes), bands(axes).moved, strict=True):
        moved = np.flip(array.T if motion.exchanged else array, motion.axes)
        np.testing.assert_allclose(spectrum(moved, limits, axes), waves[source] * sign, atol=2e-3)
        back = motion.inverse()
        np.testing.assert_array_equal(np.flip(moved.T if back.exchanged else moved, back.axes), array)


def test_constant_arrays_have_no_waves_and_no_copies():
    waves = spectrum(np.full((5, 8, 8), 3.0), (3.0, 3.0), 2)
    assert not waves.any() and find_alike(waves, 2) == []


def test_many_copies_of_one_picture_are_all_joined():
    # 150 copies crowd one bucket, of which each is compared with a few: the group must hold together all the same.
    rng = np.random.default_rng(0)
    others = [rng.normal(size=(24, 24)) for _ in range(30)]
    waves = np.stack([spectrum(array, (-3, 3), 2) for array in [*others, *others[:1] * 149]])
    joined = {0}
    for pair in find_alike(waves, 2):
        assert {pair.first, pair.second} <= {0, *range(30, 179)}
        joined |= {pair.first, pair.second}
    assert len(joined) == 150


def test_labels_are_measured_and_empty_maps_named(tmp_path: Path):
    labels = np.zeros((4, 6, 6), np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = labels[3, 5, 5] = 1  # the first two touch at a corner: two parts
    labels[2:, :2, :2] = 2
    labels[0, 5, 0] = 255
    for name, content in (("a", labels), ("b", np.zeros_like(labels))):
        save(nodule(0)[:4, :6, :6] + ord(name), tmp_path / f"imagesTr/{name}.nii", (3.0, 1.0, 0.5))
        save(content, tmp_path / f"labelsTr/{name}.nii", (3.0, 1.0, 0.5), LabelMap)
    cases, findings = looked_over(tmp_path)
    # A voxel is 3 x 1 x 0.5 = 1.5 mm3; label 2 has 2 x 2 x 2 of them.
    assert cases[0].regions == {1: Region(3, 4.5, 2), 2: Region(8, 12.0, 1)} and cases[1].regions == {}
    assert (cases[0].shape, cases[0].spacing, cases[0].orientation) == ((4, 6, 6), (3.0, 1.0, 0.5), "RAS")
    (empty,) = (found for found in findings if found.kind == "empty")
    assert empty.cases == (1,) and cases[0].splits == ("train",)


def test_annotators_are_compared_by_pairs(tmp_path: Path):
    masks = np.zeros((3, 4, 4, 4), bool)
    masks[0, 0], masks[1, 0, :2], masks[2, 3] = True, True, True  # 16, 8 and 16 voxels; 8 shared, then none
    arrays = {f"answer{number}": mask for number, mask in enumerate(masks, start=1)}
    np.savez(tmp_path / "n.npz", voxel=nodule(0)[:4, :4, :4], **arrays)
    cases, findings = looked_over(tmp_path)
    # 2 x 8 / (16 + 8) = 2 / 3
    assert cases[0].annotators == {
        "answer1, answer2": pytest.approx(2 / 3),
        "answer1, answer3": 0.0,
        "answer2, answer3": 0.0,
    }
    assert [found.kind for found in findings] == ["annotators"]


def test_masks_for_images_are_no_parts_of_one_series_and_empty_ones_no_copies(tmp_path: Path):
    for name, corner in (("a", 2), ("b", 9)):
        mask = np.zeros((16, 40, 40), np.uint8)
        mask[corner : corner + 5, corner : corner + 4, 8:12] = 1  # slices of both are a square of 16 pixels
        save(mask, tmp_path / f"{name}.nii")
        save(np.zeros((6, 6, 6), np.uint8), tmp_path / f"empty_{name}.nii")
    Image.fromarray(np.eye(16, dtype=bool)).save(tmp_path / "bits.png")
    cases, findings = looked_over(tmp_path)
    assert [found.kind for found in findings] == ["empty"] and not any(case.problem for case in cases)


def test_a_damaged_file_is_a_finding_and_no_end(tmp_path: Path):
    save(nodule(0), tmp_path / "good.nii.gz")
    (tmp_path / "bad.nii.gz").write_bytes((tmp_path / "good.nii.gz").read_bytes()[:2000])
    cases, findings = looked_over(tmp_path)
    assert [(found.kind, cases[found.cases[0]].name) for found in findings] == [("unreadable", "bad.nii.gz")]


def test_cases_that_cannot_be_read_show_in_the_exit_code(tmp_path: Path):
    save(nodule(0), tmp_path / "in/good.nii.gz")
    (tmp_path / "in/bad.nii.gz").write_bytes((tmp_path / "in/good.nii.gz").read_bytes()[:2000])
    (tmp_path / "in/link.nii.gz").symlink_to(tmp_path / "annex/link.nii.gz")
    with pytest.raises(SystemExit) as left:
        main(["inspect", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--workers", "1"])
    assert left.value.code == 1
    findings = json.loads((tmp_path / "out/inspection.json").read_text())["findings"]
    assert [(found["kind"], found["cases"]) for found in findings] == [
        ("unreadable", ["bad.nii.gz"]),
        ("unreadable", ["link.nii.gz"]),
    ]


def test_robust_scores_by_hand():
    # Median 3, distances 2 1 0 1 97 of median 1: 97 / 1.4826 = 65.4.
    np.testing.assert_allclose(robust_scores(np.array([1.0, 2, 3, 4, 100]))[[0, 4]], [-1.349, 65.43], atol=0.005)
    assert robust_scores(np.array([1.0] * 19 + [2.5])).tolist() == [0] * 19 + [np.inf]
    assert not robust_scores(np.array([1.0] * 6 + [2.5] * 4)).any()  # 40 % are no exceptions


def test_odd_cases_are_named_and_wild_scales_told():
    def case(number: int, spacing: float = 1.0, scale: float = 1.0) -> Facts:
        return Facts(
            name=str(number),
            splits=("train",),
            shape=(10, 10, 10),
            spacing=(spacing, 1.0, 1.0),
            orientation="RAS",
            percentiles=tuple(scale * level for level in range(21)),
            digest=str(number),
            whole=np.zeros(12**3, np.float16),
        )

    cases = [case(number) for number in range(19)] + [case(19, spacing=5.0)]
    odd = [found for found in find_all(cases) if found.kind == "odd"]
    assert [(found.cases, found.notes) for found in odd] == [((19,), ("5, train",))]
    assert "spacing along z" in odd[0].text
    wild = [case(number, scale=10.0 ** (number % 4)) for number in range(20)]
    assert any("normalise case by case" in found.text for found in find_all(wild))


def test_the_page_and_the_json_of_a_config(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = ROOT / "configs/debug/classify.py"
    options = [f"{split}_dataloader.dataset.make={{'cases':16,'side':58}}" for split in ("train", "val", "test")]
    main(["inspect", str(config), "--out", "out", "--workers", "1", "--cfg-options", *options])
    page = Path("out/inspection.html").read_text(encoding="utf-8")
    assert "data:image/png" in page and not re.search(r"(src|href)=\"(?!data:)", page)
    report = json.loads(Path("out/inspection.json").read_text(encoding="utf-8"))
    assert {row["split"] for row in report["counts"]} == {"train", "val", "test"}
    assert sum(row["cases"] for row in report["counts"]) == len(report["cases"]) > 10
    assert not COPIES & {finding["kind"] for finding in report["findings"]}
    assert "PHANTOM" not in page + json.dumps(report)  # the patients


def test_what_cannot_be_inspected_is_refused(tmp_path: Path, capsys):
    for words, told in (
        ([str(tmp_path)], "no scan and no picture"),
        ([str(tmp_path / "nothing")], "no such config"),
        ([str(ROOT / "configs/debug/classify.py"), "--group", "x"], "--group is for folders"),
        ([str(tmp_path), "--cfg-options", "a=1"], "are for configs"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["inspect", *words])
        assert stop.value.code == 2 and told in capsys.readouterr().err


def test_the_guides_commands_run(tmp_path: Path, monkeypatch):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        save(nodule(number), tmp_path / f"scans/train/patient{number}_ct.nii.gz")
    page = (ROOT / "docs/inspection.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    assert len(lines) >= 2
    short = [f"{split}_dataloader.dataset.make={{'cases':5}}" for split in ("train", "val", "test")]
    for line in lines:
        words = shlex.split(line)
        assert words[:2] == ["vdt3d", "inspect"]
        main(["inspect", *words[2:], "--workers", "1", *(["--cfg-options", *short] if ".py" in words[2] else [])])
    assert Path("work_dirs/segment/inspection/inspection.html").is_file()
    case, *_ = json.loads(Path("work_dirs/segment/inspection/inspection.json").read_text())["cases"]
    names = ["background", *ORGANS]
    assert case["regions"] and all(names[int(label)] == region["name"] for label, region in case["regions"].items())
    assert Path("work_dirs/scans/inspection/inspection.json").is_file()


def test_cases_read_as_their_data_set_reads_them_without_what_is_prepared(tmp_path: Path):
    dataset = {"type": "PhantomOrgans", "data_root": str(tmp_path / "o"), "make": {"cases": 3}, "split": "all"}
    wrapped = {"type": "SliceWindows", "dataset": dataset | {"prepared": "prepared", "whole_scans": True}}
    entries = config_entries({"val": wrapped})
    sample = read_entry(entries[0])
    assert len(entries) == 3 and sample.label_map is not None and sample.image.spacing == pytest.approx((5, 3.5, 3.5))
