"""Every command of the README and the guides runs as printed, only shorter: fewer epochs, fewer cases."""

import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from string import Template

import nibabel as nib
import numpy as np
import pytest
from mmengine.registry import DefaultScope

from medseg.datasets import write_organs_msd
from medseg.datasets.gi_slices import write_gi_like
from medseg.models import SliceWindowSegmentor
from vdt3d.cli import jobs
from vdt3d.datasets.synthetic import write_deeplesion_like, write_nodule_volumes
from vdt3d.registry import MODELS

ROOT = Path(__file__).resolve().parents[1]
GI_TRACT = "resnet34-unet-5x2_in1k_1xb16-cos-40k_gi-tract.py"
TRANSSEG = "bcv_beit-b16_upernet.py"
SHORT = {
    "pretrain.py": ["make.per_class=8"],
    "classify.py": ["make.cases=60"],
    "resnet3d_scratch_15e_nodules.py": ["make.cases=60"],
    "segment.py": ["make.cases=5"],
    "my_config.py": ["model.backbone.base_channels=4"],
    "my_segmentation.py": ["model.backbone.base_channels=4"],
    "my_slices.py": ["model.backbone.model=torchvision.resnet18"],
    GI_TRACT: [
        "model.backbone.model=torchvision.resnet18",
        "load_from=none",
        "train_dataloader.dataset.pipeline.3.size=(None,64,64)",
        "train_dataloader.batch_size=2",
        "train_dataloader.num_workers=0",
        "val_dataloader.num_workers=0",
        "test_dataloader.num_workers=0",
        "test_evaluator.1.resamples=10",
    ],
}
SHORT[TRANSSEG] = [
    *("load_from=none", "inflate=none", "param_scheduler.warmup=1", "test_evaluator.resamples=10"),
    *("model.backbone.img_size=32", "model.backbone.embed_dims=16", "model.backbone.num_heads=2"),
    "model.decode_head.channels=8",
    *(f"train_dataloader.dataset.pipeline.{place}.size=(None,32,32)" for place in (1, 3, 7)),
    *(f"{split}_dataloader.dataset.pipeline.1.size=(None,32,32)" for split in ("val", "test")),
    *(f"{split}_dataloader.num_workers=0" for split in ("train", "val", "test")),
]
SHORT["detect.py"] = [
    *(f"{split}_dataloader.dataset.cases=4" for split in ("train", "val", "test")),
    "test_evaluator.resamples=10",
]
SHORT["p3d18ba.py"] = [
    *("model.backbone.base_channels=8", "model.backbone.norm_cfg.type=BN", "model.fpn_channels=16"),
    *("model.head_channels=32", "train_dataloader.dataset.pipeline.1.sizes=(64,)", "test_evaluator.resamples=10"),
    *(f"{split}_dataloader.dataset.pipeline.1.sizes=(64,)" for split in ("val", "test")),
    *(f"{split}_dataloader.num_workers=0" for split in ("train", "val", "test")),
]
BY_ITERATIONS = ("my_segmentation.py", "my_slices.py", GI_TRACT, TRANSSEG)


def commands(page: str) -> list[str]:
    """The lines of the page's bash blocks, and the commands that stand alone in its tables."""
    text = page_text(page)
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    tables = re.findall(r"\| `((?:python|bash) [^`]+)` \|", text)
    return [line for block in blocks for line in block.splitlines() if line] + tables


def spelled_out(lines: list[str]) -> Iterator[str]:
    """The commands as a shell runs them: variables and loops carried out, of these the first two turns."""
    values: dict[str, str] = {}
    for line in lines:
        if setting := re.fullmatch(r"(\w+)=(\S+)", line):
            values[setting[1]] = setting[2]
        elif loop := re.fullmatch(r"for (\w+) in ([^;]+); do (.+); done", line):
            for word in loop[2].split()[:2]:
                yield Template(loop[3]).substitute(values | {loop[1]: word})
        else:
            yield Template(line).substitute(values)


def page_text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def shortened(command: str) -> list[str]:
    """The words of a command, for one epoch (two iterations) over a handful of cases."""
    words = shlex.split(re.sub(r"(epoch_\d+|best_auc)\.pth", "epoch_1.pth", command))
    config = next((Path(word).name for word in words if word.endswith(".py") and "tools/" not in word), None)
    if config is None:  # a command without a config is short as it is
        return words
    options = [
        f"{split}_dataloader.dataset.{option}" if option.startswith("make.") else option
        for option in SHORT[config]
        for split in ("train", "val", "test")
    ]
    if config in BY_ITERATIONS:
        options += ["train_cfg.max_iters=2", "train_cfg.val_interval=2"]
    elif "print_config" not in command:
        options.append("train_cfg.max_epochs=1")
    return [*words, "--cfg-options", *options]


def matched(word: str) -> list[str]:
    """The paths that a pattern matches, as a shell finds them; any other word as it is."""
    return [path.as_posix() for path in sorted(Path().glob(word))] if re.search(r"/.*\[", word) else [word]


def run(command: str) -> None:
    if command.startswith("make "):
        subprocess.run(["make", "-n", "-C", ROOT, command.removeprefix("make ")], check=True, capture_output=True)
        return
    words = shortened(command)
    if words[0] == "bash":
        subprocess.run(words, check=True)
        return
    words = [path for word in words for path in matched(word)]
    with pytest.MonkeyPatch.context() as patch:
        while setting := re.fullmatch(r"([A-Z]+)=(.*)", words[0]):
            patch.setenv(*setting.groups())
            words = words[1:]
        sys.argv = words[1:]
        runpy.run_path(words[1], run_name="__main__")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own with the checkout's configs and tools at hand."""
    for name in ("configs", "tools", "vdt3d", "medseg", ".venv"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [])
    # A process for each run of a comparison would mostly import.
    monkeypatch.setattr(jobs, "execute", lambda job, *_: job.run() or 0)
    return tmp_path


@pytest.mark.parametrize(("page", "least"), [("README.md", 16), ("docs/multi_gpu.md", 2)])
def test_the_commands_run(page: str, least: int, folder: Path):
    found = commands(page)
    assert len(found) >= least, found
    for command in found:
        run(command)


def test_own_data_takes_these_steps(folder: Path):
    write_nodule_volumes(folder / "my_data", cases=30)
    config = re.search(r"```python\n(.*?)```", page_text("docs/own_data.md"), re.DOTALL).group(1)
    (folder / "my_config.py").write_text(config)
    found = commands("docs/own_data.md")
    assert len(found) == 3
    for command in found:
        run(command)


def test_own_segmentation_takes_these_steps(folder: Path):
    write_organs_msd(folder / "my_task", cases=5)
    for name, part in (("new_scans", "images"), ("references", "labels")):
        (folder / name).mkdir()
        (folder / name / "a.nii.gz").symlink_to(folder / "my_task" / part / "organs_000.nii.gz")
    config = re.search(r"```python\n(.*?)```", page_text("docs/segmentation.md"), re.DOTALL).group(1)
    for long, short in {
        "patch = (64, 128, 128)": "patch = (16, 32, 32)",
        "num_classes=3": "num_classes=6",
        'load_from = "zoo:vdt-resnet3d-18"': "",
        "num_workers=4": "num_workers=0",
        "num_workers=2": "num_workers=0",
        "resamples=1000": "resamples=10",
    }.items():
        assert long in config
        config = config.replace(long, short)
    (folder / "my_segmentation.py").write_text(config)
    found = commands("docs/segmentation.md")
    assert len(found) == 5, found
    for command in found:
        run(command)
    scores = json.loads((folder / "scores.json").read_text())
    assert set(scores["cases"]["a"]) == {"1", "2", "3", "4", "5"}
    assert (folder / "work_dirs/my_segmentation/scores.csv").exists()


def test_the_gi_tract_from_release_to_submission(folder: Path):
    made = write_gi_like(folder / "made", cases=5, days=1, slices=6, side=32)
    (made / "made.json").unlink()
    shutil.make_archive(str(folder / "downloads/uw-madison-gi-tract-image-segmentation"), "zip", made)
    (folder / "new_scans").symlink_to(made / "train/case2")
    page = commands("docs/slice_windows.md")
    lines = page[: page.index(next(line for line in page if "my_task" in line))]
    found = list(spelled_out(lines))
    assert len(found) == 9, found  # two of five folds
    for command in found:
        run(command)
    submission = (folder / "submission.csv").read_text().splitlines()
    assert submission[0] == "id,class,predicted" and len(submission) == 1 + 6 * 3
    assert submission[1].startswith("case2_day0_slice_0001,large_bowel,")
    assert set(json.loads((folder / "work_dirs/gi/thresholds.json").read_text())["thresholds"]) == {
        "large_bowel",
        "small_bowel",
        "stomach",
    }
    labels = json.loads((folder / "work_dirs/gi/labels/labels.json").read_text())
    assert labels["checkpoints"] == [f"work_dirs/gi/fold{fold}/best_dice.pth" for fold in (0, 1)]


def test_own_slices_take_these_steps(folder: Path):
    write_organs_msd(folder / "my_task", cases=5)
    (folder / "new_scans").mkdir()
    (folder / "new_scans/a.nii.gz").symlink_to(folder / "my_task/images/organs_000.nii.gz")
    config, model, prediction = re.findall(r"```python\n(.*?)```", page_text("docs/slice_windows.md"), re.DOTALL)
    for long, short in {
        "num_classes=3": "num_classes=6",
        "(None, 256, 256)": "(None, 64, 64)",
        "batch_size=16": "batch_size=2",
        'load_from = "torchvision://resnet34"': "load_from = None",
        "num_workers=4": "num_workers=0",
        "num_workers=2": "num_workers=0",
    }.items():
        assert long in config
        config = config.replace(long, short)
    (folder / "my_slices.py").write_text(config)
    found = [line for line in commands("docs/slice_windows.md") if "my_" in line]
    assert len(found) == 4, found
    for command in found:
        run(command)
    assert (folder / "labels/a.nii.gz").exists()

    values: dict = {}
    exec(model, values)
    other: dict = {}
    exec(prediction, other)
    with DefaultScope.overwrite_default_scope("vdt3d"):
        built = MODELS.build(values["model"])
        assert isinstance(built, SliceWindowSegmentor) and built.backbone.conv1.in_channels == 5
        test_cfg = other["model"]["test_cfg"]
        test_cfg["inferer"]["type"] = "SliceWindowInferer"
        regions = {"stomach": (1, 3), "bowel": (2, 3)}
        MODELS.build(values["model"] | {"regions": regions, "test_cfg": test_cfg})


def test_transseg_from_release_to_predictions(folder: Path, capsys):
    rng = np.random.default_rng(0)
    for number in (*range(1, 11), *range(21, 41)):
        organs = np.zeros((24, 24, 6), np.uint8)
        organs[4:20, 4:20] = rng.integers(14, size=(1, 1, 6))
        for kind, voxels in (("img", 40.0 * organs - 100), ("label", organs)):
            path = folder / f"made/RawData/Training/{kind}/{kind}{number:04d}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(voxels.astype(np.int16), np.eye(4)), path)
    shutil.make_archive(str(folder / "downloads/RawData"), "zip", folder / "made")
    (folder / "new_scans").mkdir()
    (folder / "new_scans/a.nii.gz").symlink_to(folder / "made/RawData/Training/img/img0001.nii.gz")
    found = commands("docs/transseg.md")
    assert len(found) == 6, found
    for command in found:
        run(re.sub(r"bash tools/dist_train.sh (\S+) 8", r"python tools/train.py \1", command))
    assert nib.load(folder / "labels/a.nii.gz").shape == (24, 24, 6)
    said = capsys.readouterr().out
    assert "This is not the release that TransSeg" in said


def test_lesions_from_release_to_findings(folder: Path):
    write_deeplesion_like(folder / "downloads/deeplesion")
    (folder / "new_scans").mkdir()
    scan = np.full((40, 40, 12), 40, np.int16)
    scan[15:22, 18:25, 5:8] = 120
    nib.save(nib.Nifti1Image(scan, np.diag([0.8, 0.8, 2.5, 1])), folder / "new_scans/a.nii.gz")
    found = commands("docs/detection.md")
    assert len(found) == 6, found
    for command in found:
        run(re.sub(r"bash tools/dist_train.sh (\S+) 8 --amp", r"python tools/train.py \1", command))
    assert "for research only" in (folder / "findings/findings.html").read_text().lower()
    assert json.loads((folder / "findings/a.findings.json").read_text())["findings"] is not None


def test_the_converted_network_of_the_guide_has_the_features_its_head_wants():
    blocks = re.findall(r"```python\n(model = .*?)```", page_text("docs/from_2d_to_3d.md"), re.DOTALL)
    block = next(block for block in blocks if "Convert2d" in block)
    found = {}
    exec(block, found)
    with DefaultScope.overwrite_default_scope("vdt3d"):
        model = MODELS.build(found["model"])
    assert [info.channels for info in model.backbone.feature_info] == [found["model"]["head"]["in_channels"]]


def test_links_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "configs/README.md", ROOT / "data/README.md"]:
        for link in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
            assert link.startswith("http") or (page.parent / link).exists(), f"{page.name} -> {link}"
