"""Files that are whole or not there (written aside, then renamed), and where those that came with the package lie."""

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import vdt3d
from vdt3d.utils.removed_configs import replacement


def package_roots() -> tuple[Path, Path]:
    """Below which configs, case lists and the model index may lie: beside the package in a checkout, in a wheel."""
    package = Path(vdt3d.__file__).parent
    return package.parent, package / ".mim"


def find_config(path: Path) -> Path:
    """``path`` itself, or the config of that name that came with the installed package.

    Raises:
        FileNotFoundError: there is neither; for a config that was removed the message has its replacement.
    """
    if path.is_file():
        return path
    for root in package_roots():
        if (root / path).is_file():
            return root / path
    if removed := replacement(path):
        raise FileNotFoundError(removed)
    names = (one.name for root in (Path(), *package_roots()) for one in (root / path.parent).glob("*.py"))
    near = get_close_matches(path.name, names, n=1)
    hint = f"; did you mean '{path.with_name(near[0])}'?" if near else ""
    raise FileNotFoundError(f"{path}: no such config, neither below {Path.cwd()} nor among those of the package{hint}")


def read_text(path: str | Path) -> str:
    """Return the text of a file that a user may have written: UTF-8, with or without a byte order mark.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is in another encoding.
    """
    content = Path(path).read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        kind = "UTF-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "of another encoding"
        raise ValueError(f"{path}: is {kind}, not UTF-8 text; save it as UTF-8") from None


def read_json(path: str | Path) -> Any:
    """Return the content of a json file; see ``read_text``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, not json or in another encoding than UTF-8.
    """
    text = read_text(path)
    if not text.strip():
        raise ValueError(f"{path}: is empty; json was expected")
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path}: is not json ({error}); repair it") from error


def visible(paths: Iterable[Path]) -> list[Path]:
    """Return the paths in order, without hidden files (macOS writes ._NAME beside NAME) and those of __MACOSX."""
    return sorted(path for path in paths if not path.name.startswith(".") and "__MACOSX" not in path.parts)


def write_aside(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it; on failure nothing of it is left.

    Raises:
        OSError: it could not be written, as on a full disk; the message names ``path``, which is as it was.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:  # which names the temporary file
        raise OSError(error.errno, error.strerror, str(path)) from error
    os.close(handle)
    aside = Path(name)
    try:
        write(aside)
        aside.chmod(0o644)
        aside.replace(path)
    except BaseException as error:
        aside.unlink(missing_ok=True)
        cause = error.__context__ if isinstance(error, RuntimeError) else error  # torch's writer hides it
        if isinstance(cause, OSError) and cause.errno and _concerns(cause, name):
            reason = f"{cause.strerror}; it was not written, and what was there before is whole"
            raise OSError(cause.errno, reason, str(path)) from cause
        raise


def write_json(path: Path, report: Mapping[str, Any]) -> None:
    """Write ``report`` aside, then rename it; folders are made where they are missing.

    JSON knows neither nan nor inf: both become null.
    """
    text = json.dumps(_finite(report), indent=2, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def _finite(value: Any) -> Any:
    """``value`` with None in place of every nan and inf."""
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _concerns(error: OSError, name: str) -> bool:
    """Whether an error is about the file ``name``, and not about another that it was to be copied from."""
    return name in (error.filename, error.filename2) or not isinstance(error.filename, str)
