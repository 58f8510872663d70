"""Whether a preparation may write to a folder: one that is empty, or that the same data set was prepared in."""

import filecmp
from pathlib import Path

from medseg.datasets.prepare.source import Source
from vdt3d.datasets.prepare.annotations import check_problems
from vdt3d.io import ScanError
from vdt3d.utils.files import read_json
from vdt3d.utils.outputs import check_writable

UNPACKED, PROBLEMS, PREPARED = "unpacked", "problems.json", "prepared"


def check_target(source: Source, src: Path, dst: Path, *, in_place: bool) -> None:
    """Refuse to write to ``dst`` where files of other origin would be replaced or mixed with the data set's.

    Raises:
        ValueError: the message names such a file; or ``dst`` is a file, or cannot be written to.
    """
    check_writable(dst / PREPARED)
    check_problems(dst / PROBLEMS)
    if in_place:
        prepared = dst / PREPARED
        if prepared.exists() and any(prepared.iterdir()) and not (prepared / "cases").is_dir():
            raise _foreign(prepared)
        return
    given = src.resolve()
    names = (path for path in sorted(dst.iterdir()) if not path.name.startswith(".")) if dst.exists() else ()
    others = [
        path for path in names if path.name not in (UNPACKED, PROBLEMS) and not given.is_relative_to(path.resolve())
    ]
    if others and not _is_of(source, dst):
        raise _foreign(others[0])


def _is_of(source: Source, dst: Path) -> bool:
    """Whether a folder was prepared from this data set, in an earlier state of it perhaps."""
    if source.description is not None:
        try:
            found = read_json(dst / "dataset.json")
        except (OSError, ValueError):
            return False
        same = ("name", "reference", "labels", "modality", "channel_names")
        return isinstance(found, dict) and all(found.get(key) == source.description.get(key) for key in same)
    tables = [(table, dst / table.relative_to(source.root)) for table in source.tables]
    same = any(former.is_file() and filecmp.cmp(table, former, shallow=False) for table, former in tables)
    return same or (dst / PREPARED / "cases").is_dir()


def _foreign(path: Path) -> ScanError:
    return ScanError(path, "was not written by a preparation of this data set", "name another folder, or move it away")
