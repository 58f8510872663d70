"""made_once: a folder of made-up data is there whole or not at all, and is made anew only when asked for otherwise."""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

MARKER = "made.json"


def made_once(folder: Path, wanted: dict, fill: Callable[[Path], None]) -> Path:
    """Make ``folder`` with ``fill`` unless it was made with the same ``wanted``; several processes may ask at once.

    Args:
        folder: what to make; it appears under its name when it is finished.
        wanted: what was asked for, as json; kept beside the data.
        fill: writes the data into the empty folder it is given.

    Returns:
        ``folder``.

    Raises:
        ValueError: ``folder`` exists but was not made here, so it is not replaced.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        marker = folder / MARKER
        if marker.exists() and json.loads(marker.read_text()) == wanted:
            return folder
        if folder.exists() and not marker.exists():
            raise ValueError(f"{folder} holds something else than made-up data; name another folder or remove it")
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as aside:
            fresh = Path(aside, "fresh")
            fresh.mkdir()
            fill(fresh)
            (fresh / MARKER).write_text(json.dumps(wanted))
            if folder.exists():
                shutil.rmtree(folder)
            fresh.replace(folder)
    return folder
