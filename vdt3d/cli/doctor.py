"""Look at what a run would meet here: packages, devices, known bad combinations, disk, memory, data folders."""

import os
import platform
import shutil
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

EXAMPLE = "vdt3d doctor --data-root data"
GOOD, WARNING, PROBLEM = "good", "warning", "problem"
# They bring modules of the same name, so what is imported is what was installed last.
TWINS = [("mmengine", "onedl-mmengine"), ("mmcv", "onedl-mmcv"), ("mmcv-lite", "onedl-mmcv")]
TWINS += [("mmpretrain", "onedl-mmpretrain"), ("mmsegmentation", "onedl-mmsegmentation")]
TWINS += [("opencv-python", "opencv-python-headless")]
LEAST_DISK, LEAST_SHARED = 5.0, 1.0  # GiB; workers hand batches over through shared memory


class Finding(NamedTuple):
    """What was looked at, how it is (good, warning, problem), what was found, and the remedy."""

    about: str
    level: str
    found: str
    remedy: str = ""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--data-root", type=Path, default=Path("data"), help="folder of the data sets (default: data, as in configs)"
    )


def run(args: Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    findings = [*python(), *packages(), *devices(), *places(), *data_sets(args.data_root)]
    styles = {GOOD: "green", WARNING: "yellow", PROBLEM: "red"}
    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings:
        text = finding.found + (f"\n{finding.remedy}" if finding.remedy else "")
        table.add_row(f"[{styles[finding.level]}]{finding.level}", finding.about, text)
    Console(highlight=False).print(table)
    if any(finding.level == PROBLEM for finding in findings):
        raise SystemExit(1)


def python() -> Iterator[Finding]:
    """The interpreter and the system."""
    told = f"{platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    yield Finding("python", GOOD, told)


def packages() -> Iterator[Finding]:
    """What vdt3d requires, as it is installed, and what does not go together."""
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    try:
        wanted = [Requirement(line) for line in requires("vdt3d") or ()]
    except PackageNotFoundError:
        yield Finding("vdt3d", WARNING, "is run from its folder, not installed", "pip install -e . (or: make test)")
        wanted = []
    good = []
    for requirement in wanted:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        have = installed(requirement.name)
        if have is None or not requirement.specifier.contains(have, prereleases=True):
            remedy = f"pip install '{requirement.name}{requirement.specifier}'"
            yield Finding(requirement.name, PROBLEM, f"{have or 'not installed'}, {requirement} is wanted", remedy)
        else:
            good.append(f"{requirement.name} {have}")
    if good:
        yield Finding("packages", GOOD, ", ".join(good))
    for one, other in TWINS:
        if installed(one) and installed(other):
            yield Finding(
                one,
                PROBLEM,
                f"{one} and {other} are both installed and overwrite each other",
                f"pip uninstall -y {one} {other} && pip install {other}",
            )
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        yield Finding("opencv", PROBLEM, str(error), "on Debian or Ubuntu: apt-get install libgl1 libglib2.0-0")


def devices() -> Iterator[Finding]:
    """What PyTorch computes on."""
    try:
        import torch
    except ImportError as error:
        yield Finding("torch", PROBLEM, str(error), "pip install torch torchvision")
        return
    if torch.version.cuda is not None and torch.__version__.startswith("2.9."):
        remedy = "3D convolutions are about 4 times slower there under AMP: take another release"
        yield Finding("torch", WARNING, f"{torch.__version__} with CUDA", remedy)
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(number)
            yield Finding(f"GPU {number}", GOOD, f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB")
    elif shutil.which("nvidia-smi"):
        found = f"there is one, but torch {torch.__version__} (CUDA {torch.version.cuda}) cannot use it"
        yield Finding("GPU", PROBLEM, found, "update the driver, or install the torch build for its CUDA version")
    else:
        yield Finding("GPU", GOOD, f"none; threads of the CPU that are used: {torch.get_num_threads()}")


def places() -> Iterator[Finding]:
    """Where runs are written, and the memory that workers share."""
    here = Path.cwd()
    try:
        with tempfile.TemporaryFile(dir=here):
            pass
    except OSError as error:
        yield Finding("work_dirs", PROBLEM, f"{here} cannot be written: {error.strerror}", "use another --work-dir")
    free = shutil.disk_usage(here).free / 2**30
    remedy = "" if free >= LEAST_DISK else "checkpoints and prepared data sets take gigabytes"
    yield Finding("disk", GOOD if free >= LEAST_DISK else WARNING, f"{free:.1f} GiB are free in {here}", remedy)
    shared = Path("/dev/shm")
    if shared.is_dir():
        size = shutil.disk_usage(shared).total / 2**30
        remedy = "" if size >= LEAST_SHARED else "workers may die: docker run --shm-size=8g, or num_workers=0"
        level = GOOD if size >= LEAST_SHARED else WARNING
        yield Finding("shared memory", level, f"{size:.1f} GiB at {shared}", remedy)


def data_sets(root: Path) -> Iterator[Finding]:
    """The folders of data."""
    folders = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    folders = [name for name in folders if name != "splits"]  # our lists of cases
    if folders:
        yield Finding("data", GOOD, f"{root}: {', '.join(folders)}")
    else:
        remedy = "data/README.md tells where each data set is had; configs/debug needs none"
        yield Finding("data", WARNING, f"there are no data sets in {root}", remedy)
