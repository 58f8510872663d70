"""The report: what a test leaves of every case, which pictures are kept and how large, and what the page says."""

import json
import re
from argparse import ArgumentParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import reports
from mmengine.config import Config
from overlapping import OverlappingOrgans
from PIL import Image

from vdt3d.cli import main
from vdt3d.cli.report import add_arguments
from vdt3d.engine.hooks.report import chosen
from vdt3d.engine.hounsfield import hounsfield_of
from vdt3d.engine.report import read_validations
from vdt3d.registry import HOOKS
from vdt3d.structures import Boxes, LabelMap, Volume, affine_from_spacing
from vdt3d.transforms import Normalize3D, Window, ZScore
from vdt3d.visualization.report import ReportRun, case_sprites, label_codes, slices_of, write_report
from vdt3d.visualization.report.charts import agreement

ROOT = Path(__file__).resolve().parents[1]
ENDS = np.array([-2000.0, 4000.0])  # HU that stand for themselves


def read(folder: Path) -> dict:
    return json.loads((folder / "test/cases.json").read_text())


def viewed(page: str) -> dict:
    """What the viewer is given."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S).group(1))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A work directory of each task, and of a segmentation with heat maps."""
    folder = tmp_path_factory.mktemp("runs")
    names = ("segmentation", "classification", "detection")
    for name in names:
        getattr(reports, name)(folder / name)
    reports.segmentation(folder / "heat", uncertainty=True)
    return {name: folder / name for name in (*names, "heat")}


# ---- what a test leaves ----------------------------------------------------------------------------------------------


def test_labels_of_every_case(runs: dict[str, Path]):
    folder = runs["segmentation"]
    told, scores = read(folder), json.loads((folder / "record.json").read_text())["test"]["results"]["test"]
    assert told["kind"] == "segmentation" and [case["name"] for case in told["cases"]] == ["case0", "case1", "case2"]
    first = told["cases"][0]
    # 2 x 3 x 4 voxels of 3 x 1.5 x 1.5 mm bear the bowel: 24 x 6.75 mm3
    assert first["labels"]["bowel"]["truth_ml"] == pytest.approx(0.162)
    values = [case["labels"]["bowel"]["dice"] for case in told["cases"]]
    assert np.mean(values) == pytest.approx(scores["dice_bowel"])
    assert first["score"] == pytest.approx(np.mean([of["dice"] for of in first["labels"].values()]))
    assert first["scores"]["hd95_bowel"] >= 0 and first["infinite"] == []
    # In the sheet the organs are turned towards the viewer: the scan's H runs to the front and W to the right.
    sheet = (folder / "test/cases" / first["pictures"]["files"]["truth"]).read_bytes()
    np.testing.assert_array_equal(slices_of(sheet, first["pictures"]), OverlappingOrgans().truth(0)[:, ::-1, ::-1])
    assert first["pictures"]["regions"] == {"bowel": [1, 3], "stomach": [2, 3]}
    assert "heat" not in first["pictures"]["files"]


def test_heat_where_it_is_asked_for(runs: dict[str, Path]):
    case = read(runs["heat"])["cases"][0]
    heat = slices_of((runs["heat"] / "test/cases" / case["pictures"]["files"]["heat"]).read_bytes(), case["pictures"])
    assert heat.shape == (4, 6, 8) and heat.max() > 150  # where a score is near 0, the entropy is near 1


def test_classes_of_every_case(runs: dict[str, Path]):
    told = read(runs["classification"])
    assert told["kind"] == "classification" and told["classes"] == ["dark", "bright"]
    assert [case["truth"] for case in told["cases"]] == [0, 1, 0, 1, 0, 1, 0]
    for case in told["cases"]:
        assert case["score"] == pytest.approx(case["probabilities"][case["truth"]])
        assert case["confidence"] == pytest.approx(max(case["probabilities"]))
        assert case["pictures"]["shape"] == [4, 6, 6]


def test_boxes_of_every_case(runs: dict[str, Path]):
    told = read(runs["detection"])
    hit, missed = told["cases"]
    assert (hit["true"], hit["found"], hit["never_hit"]) == (1, 2, 0)
    assert hit["score"] == pytest.approx(0.8 - 0.3) and missed["score"] == pytest.approx(0 - 0.3)
    assert (missed["lowest_hit"], missed["highest_false"], missed["never_hit"]) == (0, 0.3, 1)
    facts = hit["pictures"]
    # H (12 voxels) and W (16) run the other way in the sheets: 12 - 8 = 4, 16 - 9 = 7
    assert facts["boxes"]["truth"] == [[1, 4, 7, 4, 10, 13]] and facts["scores"] == [0.8, 0.3]
    assert facts["unit"] == "HU" and facts["spacing"] == [2, 1, 1]
    # Of two true boxes one is hit, at 0.8, and before both false finds at 0.3: 0.5 at every rate
    assert json.loads((runs["detection"] / "test/froc.json").read_text())["scores"]["froc"] == 0.5


def test_a_test_replaces_the_one_before(tmp_path: Path):
    reports.detection(tmp_path, ("a", "b", "c"))
    reports.detection(tmp_path, ("a",))
    assert [case["name"] for case in read(tmp_path)["cases"]] == ["a"]
    assert [path.name for path in (tmp_path / "test/cases").iterdir()] == ["0-00000.image.webp"]


def test_pictures_of_the_worst_the_best_and_some_by_chance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cases = {place: (f"case{place}", place / 100) for place in range(100)}
    kept = chosen(cases, each=2)
    assert {0, 1, 98, 99} < kept and len(kept) <= 6
    one_by_one: dict = {}
    for place in (*range(50, 100), *range(50)):
        asked = {**one_by_one, place: cases[place]}
        one_by_one = {kept: asked[kept] for kept in chosen(asked, each=2)}
    assert set(one_by_one) == kept
    assert chosen({0: ("a", None), 1: ("b", None)}, each=1) == {1}  # without scores by the digest alone: 3e... < ca...
    monkeypatch.setattr("vdt3d.engine.hooks.report.chosen", lambda cases: set(sorted(cases)[-2:]))
    reports.detection(tmp_path, tuple("abcde"))
    assert [case["name"] for case in read(tmp_path)["cases"] if case["pictures"]] == ["d", "e"]
    assert len(list((tmp_path / "test/cases").iterdir())) == 2
    assert "2 of 5 cases have pictures" in (tmp_path / "report.html").read_text()


def test_values_are_told_in_hounsfield_units_again():
    steps = [Window(center=40, width=400), Normalize3D(mean=0.4, std=0.3)]
    dataset = SimpleNamespace(metainfo={}, pipeline=SimpleNamespace(transforms=steps))
    hounsfield = np.array([-1000, -160, 40, 140, 240, 1000], np.float32).reshape(1, 1, 1, 6)
    scan = Volume(hounsfield)
    for step in steps:
        scan = step.apply(scan)
    back = np.interp(scan.array[0, 0, 0], *hounsfield_of(scan, {}, dataset))
    np.testing.assert_allclose(back, [-160, -160, 40, 140, 240, 240], atol=0.01)  # clipped at both ends
    drawn = SimpleNamespace(metainfo={}, pipeline=SimpleNamespace(transforms=[ZScore()]))
    assert hounsfield_of(scan, {}, drawn) is None  # what was drawn for the case nobody knows, and there is no air
    air = Volume(hounsfield)  # as read
    assert hounsfield_of(air, {}, SimpleNamespace(metainfo={})) is not None
    assert hounsfield_of(air, {}, SimpleNamespace(metainfo={"modality": ("MR",)})) is None


# ---- sprites ---------------------------------------------------------------------------------------------------------


def test_a_case_is_as_coarse_as_its_bytes_ask_for():
    noise = np.random.default_rng(0).normal(size=(1, 20, 80, 60)).astype(np.float32)
    scan = Volume(noise, affine_from_spacing((4.0, 1.0, 1.0)))
    labels = LabelMap((noise > 1).astype(np.uint8), scan.affine)
    boxes = Boxes([[0, 0, 0, 20, 80, 60]], affine=scan.affine)
    whole = case_sprites(scan, {"truth": labels}, boxes={"truth": boxes}, codes={1: 1})
    assert whole.facts["shape"] == [20, 80, 60] and whole.facts["note"] == ""
    small = case_sprites(scan, {"truth": labels}, boxes={"truth": boxes}, codes={1: 1}, limit=20_000)
    assert sum(len(content) for _, content in small.files.values()) <= 20_000
    shape = small.facts["shape"]
    assert shape[1] < 80 and shape[1] / shape[2] == pytest.approx(80 / 60, rel=0.1)
    assert small.facts["note"] == f"shown with {' x '.join(map(str, shape))} of its 20 x 80 x 60 voxels"
    np.testing.assert_allclose(np.multiply(shape, small.facts["spacing"]), (80, 80, 60), rtol=1e-3)  # mm
    assert small.facts["boxes"]["truth"] == [[0, 0, 0, *shape]]
    assert case_sprites(Volume(np.zeros((1, 2, 300, 2), np.float32))).facts["shape"] == [2, 256, 2]


def test_levels_windows_and_codes():
    ramp = Volume(np.linspace(-160, 240, 1000, dtype=np.float32).reshape(1, 10, 10, 10))
    facts = case_sprites(ramp, hounsfield=(ENDS, ENDS)).facts
    # Of the lung's window -1350 to 150 only 310 HU are there, of the bone's 400: less than half.
    assert list(facts["presets"]) == ["abdomen", "brain", "all values"]
    flat = case_sprites(Volume(np.full((1, 2, 2, 2), 7.0)))
    assert flat.facts["values"] == [7, 8] and not slices_of(flat.files["image"][1], flat.facts).any()
    assert label_codes({"a": (300, 2), "b": 2}) == ({2: 1, 300: 2}, {"a": [2, 1], "b": [1]})
    ignored = LabelMap(np.array([0, 2, 300, 255], np.uint16).reshape(1, 1, 1, 4))
    sprites = case_sprites(Volume(np.zeros((1, 1, 1, 4))), {"truth": ignored}, codes={2: 1, 300: 2})
    assert slices_of(sprites.files["truth"][1], sprites.facts).ravel().tolist() == [255, 2, 1, 0]  # W to the left
    with pytest.raises(ValueError, match=r"the truth, \(1, 1, 4\), does not lie on a scan of \(2, 2, 2\) voxels"):
        case_sprites(Volume(np.zeros((1, 2, 2, 2))), {"truth": ignored})


def test_limits_of_agreement():
    # Differences 1, 3: mean 2, standard deviation sqrt(2)
    assert agreement(np.array([[2, 1], [5, 2]])) == pytest.approx((2, 1.96 * 2**0.5))


# ---- the page --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "words"),
    {
        "segmentation": ("Dice of every case", "Volumes", "dice_bowel", "HD95, mm", "95 % interval"),
        "classification": (
            "Confusion",
            "ROC and precision-recall",
            "Reliability",
            "Training loss",
            "Last validation",
            "Layers watched",
            "epoch 1: what is true",
        ),
        "detection": ("FROC", "never hit", "1 of 1 true boxes were never hit", "margin"),
    }.items(),
)
def test_the_page_of_a_task(runs: dict[str, Path], task: str, words: tuple[str, ...]):
    page = (runs[task] / "report.html").read_text()
    for word in (*words, "For research only: not a medical device"):
        assert word in page
    data = viewed(page)["runs"][0]
    told = read(runs[task])["cases"]
    assert {case["name"] for case in data["cases"]} == {case["name"] for case in told}
    assert all(uri.startswith("data:image/") for case in data["cases"] for uri in case["pictures"].values())
    scores = {case["name"]: case["score"] for case in told}
    assert [scores[case["name"]] for case in data["cases"]] == sorted(scores.values())  # the worst first


def test_the_page_needs_nothing_else(runs: dict[str, Path]):
    page = (runs["segmentation"] / "report.html").read_text()
    assert not re.findall(r"""(?:src|href|srcset)\s*=\s*["'](?!data:|#)""", page)
    assert "http:" not in page and not re.search(r"https:|@import|url\(|\son\w+=|\sstyle=", page.split('id="data"')[0])
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page).group(1)
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_names_are_text_and_homes_are_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home/doe"))
    name = "</script><script>alert('x')</script>"
    reports.detection(tmp_path / "run", (name, "b"))
    record = dict(
        **dict(vdt3d="0", config=f"data_root = '{tmp_path}/home/doe/scans'", config_file="a.py", command="train"),
        **dict(seed=0, git=None, packages={}, environment={}, data={}, started="2026-01-01T00:00", seconds=1.0),
        **dict(finished=True, results={"test": {"froc": None}}),
    )
    (tmp_path / "run/record.json").write_text(json.dumps({"test": record}))
    main(["report", str(tmp_path / "run")])
    page = (tmp_path / "run/report.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    assert name in {case["name"] for case in viewed(page)["runs"][0]["cases"]}
    assert "doe" not in page and "~/scans" in page and "no value" in page


def test_pictures_that_do_not_fit_are_left_out(runs: dict[str, Path], tmp_path: Path):
    told = read(runs["classification"])
    folder = runs["classification"] / "test/cases"
    sizes = [
        sum((folder / file).stat().st_size for file in case["pictures"]["files"].values()) for case in told["cases"]
    ]
    write_report(tmp_path / "a.html", [ReportRun("a", folder, cases=told)], embedded=2 * max(sizes) * 4 // 3 + 8)
    page = (tmp_path / "a.html").read_text()
    shown = len(viewed(page)["runs"][0]["cases"])
    assert 2 <= shown < 7
    assert f"{shown} of 7 cases have pictures ({7 - shown} more would make the page too large)" in page


def test_several_runs_beside_each_other(runs: dict[str, Path], tmp_path: Path):
    (tmp_path / "inspection.json").write_text(
        json.dumps({"findings": [{"kind": "leak", "text": "twice", "cases": ["case <1>"]}]})
    )
    folders = [str(runs["segmentation"]), str(runs["heat"]), str(runs["detection"])]
    main(["report", *folders, "-o", str(tmp_path / "page.html"), "--inspection", str(tmp_path / "inspection.json")])
    page = (tmp_path / "page.html").read_text()
    assert [run["name"] for run in viewed(page)["runs"]] == ["segmentation", "heat", "detection"]
    assert '<th scope="col">segmentation</th><th scope="col">heat</th>' in page
    assert "What the runs differ in" in page and "What is learnt from is tested on" in page
    assert "twice: case &lt;1&gt;" in page
    one = (runs["heat"] / "report.html").read_text()
    assert "What the data warns of" not in one  # nobody looked it over


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["{empty}"], "neither record.json nor test/cases.json"),
        (["{empty}/none"], "is no folder"),
        (["{run}", "{run}", "-o", "a.html"], "a run is given twice"),
        (["{run}", "{empty}"], "say where the page of several runs goes"),
        (["{run}", "--inspection", "{empty}/none.json"], "no such file; vdt3d inspect writes inspection.json"),
    ],
)
def test_what_is_no_run_is_refused(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as stopped:
        main(["report", *(word.format(run=runs["detection"], empty=tmp_path / "empty") for word in words)])
    assert stopped.value.code == 2 and complaint in capsys.readouterr().err


def test_validations_are_those_of_the_training(tmp_path: Path):
    told = [
        ("val", 4, 0.5),
        ("val", 8, 0.6),
        ("val", 8, 0.7),
        ("test", 8, 0.1),
        ("val", 0, 0.2),
    ]  # resumed
    lines = [json.dumps({"split": split, "epoch": 1, "iter": step, "auc": auc}) for split, step, auc in told]
    (tmp_path / "scores.jsonl").write_text("\n".join(lines))
    assert read_validations(tmp_path)[["iter", "auc"]].to_numpy().tolist() == [[4, 0.5], [8, 0.7]]


def test_sheets_are_pictures_any_program_opens(runs: dict[str, Path]):
    case = read(runs["segmentation"])["cases"][0]["pictures"]
    with Image.open(runs["segmentation"] / "test/cases" / case["files"]["image"]) as picture:
        columns = case["columns"]
        rows = -(-4 // columns)
        assert picture.size == (8 * columns, 6 * rows)


def test_the_guide_holds(tmp_path: Path):
    """Its config is one, and the command line knows its words."""
    guide = (ROOT / "docs/report.md").read_text()
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "with_heat.py").write_text(re.search(r"```python\n(.*?)```", guide, re.DOTALL).group(1))
    hooks = Config.fromfile(tmp_path / "with_heat.py", lazy_import=False).default_hooks
    assert HOOKS.build(hooks.report).uncertainty
    parser = ArgumentParser()
    add_arguments(parser)
    (words,) = re.findall(r"^vdt3d report (.*)$", guide, re.MULTILINE)
    assert len(parser.parse_args(words.split()).runs) == 2
