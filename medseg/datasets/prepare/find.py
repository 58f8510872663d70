"""Which data sets can be prepared, and how their files are found in folders and archives."""

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
        ScanError: there is nothing of it, or an archive is damaged.
        ValueError: the name is unknown.
    """
    if name not in SOURCES:
        raise ValueError(f"'{name}' is no data set that can be prepared; choose one of {', '.join(SOURCES)}")
    if not src.exists():
        raise ScanError(src, "does not exist", "check the path")
    kind = SOURCES[name]
    source = kind.find(src) if src.is_dir() else None
    if source is None:
        archives = [path for path in visible(src.iterdir() if src.is_dir() else [src]) if _is_archive(path)]
        source = kind.find(_unpack(archives, unpacked)) if archives else None
    if source is None:
        remedy = "give the folder or the archives that do; docs/segmentation_data.md shows the tree"
        raise ScanError(src, f"holds nothing of what '{name}' looks for: {kind.LOOKED_FOR}", remedy)
    return source


def _is_archive(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(ARCHIVES)


def _unpack(archives: list[Path], unpacked: Path) -> Path:
    """Each archive in a folder of its name and size, so that one downloaded anew replaces the former."""
    wanted = {f"{archive.name}-{archive.stat().st_size}": archive for archive in archives}
    unpacked.mkdir(parents=True, exist_ok=True)
    for former in unpacked.iterdir():
        if former.name not in wanted:
            shutil.rmtree(former)
    for name, archive in wanted.items():
        if not (unpacked / name).exists():
            extract(archive, unpacked / name)
    return unpacked
