"""Every command of the README and the guides runs as printed, only shorter: fewer epochs, fewer cases."""

import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.datasets import write_organs_msd
from vdt3d.cli import compare_inits
from vdt3d.datasets.synthetic import write_nodule_volumes

ROOT = Path(__file__).resolve().parents[1]
SHORT = {
    "pretrain.py": ["make.per_class=8"],
    "classify.py": ["make.cases=60"],
    "resnet3d_scratch_15e_nodules.py": ["make.cases=60"],
    "segment.py": ["make.cases=5"],
    "my_config.py": ["model.backbone.base_channels=4"],
    "my_segmentation.py": ["model.backbone.base_channels=4"],
}
BY_ITERATIONS = ("segment.py", "my_segmentation.py")


def commands(page: str) -> list[str]:
    """The lines of the page's bash blocks, and the commands that stand alone in its tables."""
    text = page_text(page)
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    tables = re.findall(r"\| `((?:python|bash) [^`]+)` \|", text)
    return [line for block in blocks for line in block.splitlines() if line] + tables


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


def run(command: str) -> None:
    if command.startswith("make "):
        subprocess.run(["make", "-n", "-C", ROOT, command.removeprefix("make ")], check=True, capture_output=True)
        return
    words = shortened(command)
    if words[0] == "bash":
        subprocess.run(words, check=True)
        return
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
    monkeypatch.setattr(compare_inits, "execute", lambda job: compare_inits.train(job) or 0)
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


def test_links_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "configs/README.md", ROOT / "data/README.md"]:
        for link in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
            assert link.startswith("http") or (page.parent / link).exists(), f"{page.name} -> {link}"
