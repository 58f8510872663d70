"""Which data sets can be prepared, and how their files are found in folders and archives."""

import re
import shutil
from pathlib import Path
from types import ModuleType

from medseg.datasets.prepare import acdc, btcv, gi_tract, lidc, lits, released
from medseg.datasets.prepare.source import Source
from vdt3d.io import ScanError, extract
from vdt3d.utils.files import visible

# By name: a module with ``find(folder)``, which answers None where there is nothing of it, and ``LOOKED_FOR``.
SOURCES: dict[str, ModuleType] = {
    "btcv": btcv,
    "bcv": btcv,
    "lits": lits,
    "acdc": acdc,
    "lidc": lidc,
    "gi_tract": gi_tract,
    "msd": released,
    "nnunet": released,
    "folder": released,
}
# What is read as it was released can be prepared where it is.
IN_PLACE = ("lidc", "gi_tract", "msd", "nnunet", "folder")
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")


def find_source(name: str, src: Path, unpacked: Path) -> Source:
    """Find data set ``name`` in ``src``: its folder, an archive, or a folder of archives.

    Archives are unpacked into folders of ``unpacked``, where a later call finds them.

    Raises:
        ScanError: there is nothing of it, it has no case, or an archive is damaged.
        ValueError: the name is unknown.
    """
    check_source(name, src)
    kind = SOURCES[name]
    source = kind.find(src) if src.is_dir() else None
    if source is None:
        archives = _archives(src)
        source = kind.find(_unpack(archives, unpacked)) if archives else None
    if source is None:
        raise _nothing(name, src)
    if not (source.layout.labelled or source.layout.test):
        raise ScanError(src, f"holds no case of '{name}'", "docs/segmentation_data.md shows the tree")
    return source


def check_source(name: str, src: Path) -> None:
    """Refuse an unknown name, and a source that has neither files of the data set nor archives.

    Raises:
        ScanError: ``src`` does not exist or has nothing of the data set.
        ValueError: the name is unknown.
    """
    if name not in SOURCES:
        raise ValueError(f"'{name}' is no data set that can be prepared; choose one of {', '.join(SOURCES)}")
    if not src.exists():
        raise ScanError(src, "does not exist", "check the path")
    if not _archives(src) and (not src.is_dir() or SOURCES[name].find(src) is None):
        raise _nothing(name, src)


def _nothing(name: str, src: Path) -> ScanError:
    remedy = "give the folder or the archives that do; docs/segmentation_data.md shows the tree"
    return ScanError(src, f"holds nothing of what '{name}' looks for: {SOURCES[name].LOOKED_FOR}", remedy)


def _archives(src: Path) -> list[Path]:
    return [path for path in visible(src.iterdir() if src.is_dir() else [src]) if _is_archive(path)]


def _is_archive(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(ARCHIVES)


def _unpack(archives: list[Path], unpacked: Path) -> Path:
    """Each archive in a folder of its name and size, so that one downloaded anew replaces the former."""
    wanted = {f"{archive.name}-{archive.stat().st_size}": archive for archive in archives}
    unpacked.mkdir(parents=True, exist_ok=True)
    for former in unpacked.iterdir():
        if former.name not in wanted:
            if not (former.is_dir() and re.search(r"-\d+$", former.name)):
                raise ScanError(former, "is no archive that was unpacked here", "move it away, or name another folder")
            shutil.rmtree(former)
    for name, archive in wanted.items():
        if not (unpacked / name).exists():
            extract(archive, unpacked / name)
    return unpacked
