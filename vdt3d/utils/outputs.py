"""Checks of output paths before any work is done: neither inputs nor files of other origin are replaced."""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vdt3d.utils.files import read_json, write_json

UNFINISHED = "unfinished"  # key of a record whose scan's other files are still being written


def check_outputs(outputs: Iterable[Path], *, inputs: Iterable[str | Path] = (), overwrite: bool = False) -> None:
    """Refuse output files that would replace an input or, without ``overwrite``, any existing file.

    Args:
        outputs: files that will be written.
        inputs: files that are read; anything that is not an existing file, such as an address, is left out.
        overwrite: whether existing files that are no inputs may be replaced.

    Raises:
        ValueError: an output is an input (by any path or link), exists, is a folder or cannot be written.
    """
    outputs = list(outputs)
    refuse_inputs(outputs, inputs)
    for path in outputs:
        if path.is_dir():
            raise ValueError(f"{path} is a folder; give the name of a file")
        if os.path.lexists(path) and not overwrite:
            raise ValueError(f"{path} exists already; choose another name, or replace it with --overwrite")
        check_writable(path.parent)


def refuse_inputs(outputs: Iterable[Path], inputs: Iterable[str | Path]) -> None:
    """Refuse outputs that are the same file as an input.

    Symbolic and hard links, relative paths and, where the file system ignores it, other case count as the same file.

    Raises:
        ValueError: an output is an input; the message names both.
    """
    known = {identity: path for path in map(Path, inputs) for identity in _identities(path)}
    for output in outputs:
        found = next((known[identity] for identity in _identities(output) if identity in known), None)
        if found is not None:
            raise ValueError(f"{output} would replace the input {found}; choose another output")


def refuse_input_folder(out: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output folder that is one of the input folders, where outputs would later be taken for inputs.

    Raises:
        ValueError: they are the same folder, by any path or link.
    """
    folders = [path for path in inputs if path.is_dir()]
    try:
        refuse_inputs([out], folders)
    except ValueError:
        raise ValueError(f"{out} is the folder that the inputs are read from; choose another output folder") from None


def check_writable(folder: Path) -> None:
    """Refuse a folder that exists and cannot be written to, or cannot be made.

    Raises:
        ValueError: a file is in its place or in that of a folder above, or permissions forbid writing.
    """
    above = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not above.is_dir():
        raise ValueError(f"{folder} cannot be made: {above} is not a folder; choose another output")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ValueError(f"{folder} cannot be written to: no permission in {above}; choose another output")


def write_recorded(
    record: Path, report: Mapping[str, Any], writers: Iterable[Callable[[], Any]], places: Sequence[Path]
) -> None:
    """Write the files of one scan together with its record; if one cannot be written, none of them is left.

    The record is first written as unfinished and completed last, so files without a record are of other origin.

    Args:
        record: json file.
        report: its content, with the name of the scan as "scan".
        writers: calls that write the other files.
        places: files and folders that ``writers`` may write.
    """
    write_json(record, {"scan": report["scan"], UNFINISHED: True})
    try:
        for write in writers:
            write()
        write_json(record, report)
    except BaseException:
        for path in (*places, record):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        raise


def record_state(record: Path, scan: str) -> str | None:
    """Return "done" or "unfinished" for a record of ``scan`` made by ``write_recorded``, else None."""
    try:
        content = read_json(record)
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("scan") != scan:
        return None
    return UNFINISHED if UNFINISHED in content else "done"


def foreign_file(record: Path, scan: str, places: Iterable[Path]) -> Path | None:
    """Return the first existing path of ``places`` if the scan has no record of ours, else None."""
    if record_state(record, scan) is not None:
        return None
    return next((path for path in (*places, record) if os.path.lexists(path)), None)


def refuse_foreign(paths: Sequence[Path], command: str) -> None:
    """Raise ValueError if there are ``paths``: existing files that ``command`` did not write."""
    if paths:
        more = f" and {len(paths) - 1} others" if len(paths) > 1 else ""
        raise ValueError(
            f"{paths[0]}{more} would be replaced, and vdt3d {command} did not write it; choose another folder with -o"
        )


def _identities(path: Path) -> set[object]:
    """What tells a file from others: its resolved path and, where it exists, device and inode."""
    found: set[object] = {path.parent.resolve() / path.name, path.resolve()}
    try:
        status = path.stat()
    except OSError:
        return found
    return found | {(status.st_dev, status.st_ino)}
