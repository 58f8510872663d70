"""Files that are whole or not there (written aside, then renamed), and where those that came with the package lie."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import vdt3d


def package_roots() -> tuple[Path, Path]:
    """Below which configs, case lists and the model index may lie: beside the package in a checkout, in a wheel."""
    package = Path(vdt3d.__file__).parent
    return package.parent, package / ".mim"


def write_aside(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it; on failure nothing of it is left."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    aside = Path(name)
    try:
        write(aside)
        aside.chmod(0o644)
        aside.replace(path)
    except BaseException as error:
        aside.unlink(missing_ok=True)
        if isinstance(error, RuntimeError) and isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
