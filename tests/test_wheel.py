"""The wheel: it holds configs, case lists, model index and package data, and trains from another folder, alone."""

import os
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("vdt3d", "medseg", "configs", "data/splits", "requirements")
FILES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "model-index.yml")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools leaves its build folder beside what it builds, and packs what lies in it."""
    copy = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in FILES:
        shutil.copy2(ROOT / name, copy)
    out = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", out, copy)
    (path,) = out.glob("vdt3d-*-py3-none-any.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds nothing but the wheel, and sees third-party packages."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=os.name != "nt")
    scripts = "Scripts" if os.name == "nt" else "bin"
    python = folder / scripts / Path(sys.executable).name
    pip("--python", python, "install", "--no-deps", "--no-index", wheel)
    (packages,) = {path.parent.parent for path in folder.rglob("vdt3d/__init__.py")}
    # Folders named in a .pth come last, and their own .pth files, an editable checkout's among them, are not read.
    (packages / "third_party.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return python


def pip(*words: object) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def alone(command: list[object], folder: Path) -> str:
    """What a command says, in ``folder``, where nothing leads to the checkout."""
    free = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(list(map(str, command)), cwd=folder, env=free, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_what_is_no_module_too(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder, place in (("configs", "vdt3d/.mim/"), ("data/splits", "vdt3d/.mim/"), ("vdt3d", ""), ("medseg", "")):
        ours = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}
        wanted = {f"{place}{name}" for name in ours if not name.endswith((".pyc", ".sh"))}
        assert len(wanted) > 10
        assert wanted - names == set()
    assert "vdt3d/.mim/model-index.yml" in names
    assert not any(name.startswith(("tests", "tools", "benchmarks", "docs")) for name in names)


def test_the_installed_command_trains_from_another_folder(python: Path, tmp_path: Path):
    command = python.with_name("vdt3d.exe" if os.name == "nt" else "vdt3d")
    where = alone([python, "-c", "import vdt3d, medseg; print(vdt3d.__file__); print(medseg.__file__)"], tmp_path)
    assert all(Path(line).is_relative_to(python.parents[1]) for line in where.splitlines())
    assert "vdt3d train configs/debug/classify.py" in alone([command, "train", "--help"], tmp_path)
    options = ["train_cfg.max_epochs=1", *(f"{split}_dataloader.dataset.make.cases=20" for split in ("train", "val"))]
    alone([command, "train", "configs/debug/classify.py", "--work-dir", "run", "--cfg-options", *options], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "run"]
    assert (tmp_path / "run/epoch_1.pth").is_file()
