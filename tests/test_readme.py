"""Every command of the README and the guides runs as printed, only shorter: fewer epochs, fewer cases."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from vdt3d.datasets.synthetic import write_nodule_volumes

ROOT = Path(__file__).resolve().parents[1]
SHORT = {
    "pretrain.py": ["make.per_class=8"],
    "classify.py": ["make.cases=60"],
    "my_config.py": ["model.backbone.base_channels=4"],
}


def commands(page: str) -> list[str]:
    """The lines of the page's bash blocks, and the commands that stand alone in its tables."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    tables = re.findall(r"\| `((?:python|bash) [^`]+)` \|", text)
    return [line for block in blocks for line in block.splitlines() if line] + tables


def shortened(command: str) -> list[str]:
    """The words of a command, for one epoch over a handful of cases."""
    words = shlex.split(re.sub(r"(epoch|best)_\w+\.pth", "epoch_1.pth", command))
    config = next(Path(word).name for word in words if word.endswith(".py") and "tools/" not in word)
    options = [
        f"{split}_dataloader.dataset.{option}" if option.startswith("make.") else option
        for option in SHORT[config]
        for split in ("train", "val", "test")
    ]
    if "print_config" not in command:
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
    for name in ("configs", "tools", "vdt3d", ".venv"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [])
    return tmp_path


@pytest.mark.parametrize(("page", "least"), [("README.md", 11), ("docs/multi_gpu.md", 2)])
def test_the_commands_run(page: str, least: int, folder: Path):
    found = commands(page)
    assert len(found) >= least, found
    for command in found:
        run(command)


def test_own_data_takes_these_steps(folder: Path):
    write_nodule_volumes(folder / "my_data", cases=30)
    text = (ROOT / "docs/own_data.md").read_text(encoding="utf-8")
    (folder / "my_config.py").write_text(re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1))
    found = commands("docs/own_data.md")
    assert len(found) == 3
    for command in found:
        run(command)


def test_links_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "configs/README.md", ROOT / "data/README.md"]:
        for link in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
            assert link.startswith("http") or (page.parent / link).exists(), f"{page.name} -> {link}"
