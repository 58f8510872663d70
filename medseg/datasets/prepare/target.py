"""Whether a preparation may write to a folder: one that is empty, or that the same data set was prepared in."""

import filecmp
from pathlib import Path
from typing import Any

from medseg.datasets.prepare.source import Source
from vdt3d.datasets.prepare.annotations import check_problems
from vdt3d.io import ScanError
from vdt3d.utils.files import read_json, write_json
from vdt3d.utils.outputs import check_writable

UNPACKED, PROBLEMS, PREPARED = "unpacked", "problems.json", "prepared"
UNFINISHED = ".unfinished.json"
SAME = ("name", "reference", "labels", "modality", "channel_names")  # keys of a description that name the data set


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
    if _content(dst / UNFINISHED) == _identity(source):
        return True
    if source.description is not None:
        found = _content(dst / "dataset.json")
        return found is not None and {key: found.get(key) for key in SAME} == _identity(source)
    tables = [(table, dst / table.relative_to(source.root)) for table in source.tables]
    same = any(former.is_file() and filecmp.cmp(table, former, shallow=False) for table, former in tables)
    return same or (dst / PREPARED / "cases").is_dir()


def mark_unfinished(source: Source, dst: Path) -> None:
    """Record in ``dst`` which data set is being prepared, so that an interrupted preparation can be continued."""
    write_json(dst / UNFINISHED, _identity(source))


def mark_finished(dst: Path) -> None:
    """Remove the record of ``mark_unfinished``."""
    (dst / UNFINISHED).unlink(missing_ok=True)


def _identity(source: Source) -> dict[str, Any]:
    if source.description is not None:
        return {key: source.description.get(key) for key in SAME}
    return {"tables": [table.name for table in source.tables]}


def _content(path: Path) -> dict[str, Any] | None:
    """Return the content of a json file; None where there is none or it is damaged."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _foreign(path: Path) -> ScanError:
    return ScanError(path, "was not written by a preparation of this data set", "name another folder, or move it away")
