"""One downloader for every file from the net: resumed, checked before it bears its name, one process at a time."""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from itertools import count
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, build_opener

from filelock import FileLock

ATTEMPTS = 4
PAUSE_S = 1.0  # before the second attempt; doubled before each further one
BY_HAND = "check the address, or fetch the file with a browser and hand it over: vdt3d download NAME --from FILE"
TIMEOUT_S = 30  # for an answer, and for each block of it
BLOCK = 1 << 20
QUICK_S = 2  # what takes no longer gets no bar
MIRROR = "VDT3D_MIRROR"


class DownloadError(ValueError):
    """A file could not be had as it was published."""


class _CutError(Exception):
    """The connection failed; another attempt may do better."""


def download(url: str, path: str | Path, *, sha256: str | None, size: int | None = None) -> None:
    """Fetch ``url`` to ``path``, unless a file is there already.

    What arrives is kept in ``path`` + ``.part``, from where an interrupted download goes on if the server can (Range);
    it is renamed when its hash is right. Proxies are those of the environment (``http_proxy``, ``https_proxy``,
    ``no_proxy``); ``VDT3D_MIRROR=https://host/folder`` replaces the address but for the name of the file.

    Args:
        sha256: the hash in hexadecimal, or at least its first 8 digits; None if it is not known.
        size: bytes, where it is known.

    Raises:
        DownloadError: no answer, a web page instead of a file, another hash or size; nothing is at ``path`` then.
        OSError: the disk is full or the folder cannot be written; nothing is at ``path`` or beside it then.
    """
    path = Path(path)
    if not re.match(r"https?://", url):
        raise DownloadError(f"{url}: not fetched (no http:// or https:// address)")
    if mirror := os.environ.get(MIRROR):
        url = f"{mirror.rstrip('/')}/{path.name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if not path.exists():  # another process may have fetched it meanwhile
            _fetch(url, path, sha256, size)


def verify(path: Path, *, sha256: str | None, size: int | None = None) -> None:
    """See that a file is the published one.

    Args:
        sha256, size: as in ``download``.

    Raises:
        DownloadError: it is a web page, or has another size or hash.
    """
    with path.open("rb") as file:
        head = file.read(512).lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        raise DownloadError(_page(path.name))
    found = path.stat().st_size
    if size is not None and found != size:
        raise DownloadError(f"{path.name} has {found} bytes instead of {size}: it is another file, or not whole")
    if sha256 is None:
        return
    if not re.fullmatch("[0-9a-f]{8,64}", sha256.lower()):
        raise DownloadError(f"'{sha256}' is no SHA-256 hash; give 8 to 64 hexadecimal digits")
    digest = sha256_of(path)
    if not digest.startswith(sha256.lower()):
        raise DownloadError(f"{path.name} has the SHA-256 hash {digest} instead of {sha256}: it is another file")


def sha256_of(path: Path) -> str:
    """The SHA-256 hash of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(url: str, path: Path, sha256: str | None, size: int | None) -> None:
    part, tag = (path.with_name(f"{path.name}.part{end}") for end in ("", ".tag"))
    try:
        _persist(url, part, tag, size)
        _verify_or_drop(part, tag, sha256, size)
        part.replace(path)
    except _CutError as cut:
        kept = f"; {part} is kept, and the next try goes on from it" if part.exists() else ""
        raise DownloadError(f"{url}: not fetched ({cut}, {ATTEMPTS} times){kept}; {BY_HAND}") from cut
    except DownloadError as error:
        raise DownloadError(f"{url}: not fetched ({error}); {BY_HAND}") from error
    except OSError as error:
        _drop(part, tag)  # a full disk is no place to keep half a file
        raise OSError(error.errno, f"{error.strerror}; {url} was not kept", str(path)) from error
    _drop(tag)


def _verify_or_drop(part: Path, tag: Path, sha256: str | None, size: int | None) -> None:
    try:
        verify(part, sha256=sha256, size=size)
    except DownloadError:
        _drop(part, tag)  # or the next try would go on from what is wrong
        raise


def _drop(*files: Path) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def _persist(url: str, part: Path, tag: Path, size: int | None) -> None:
    """Fill ``part``; after a cut, go on from what there is."""
    for attempt in count(1):
        try:
            _fill(url, part, tag, size)
            return
        except _CutError:
            if attempt == ATTEMPTS:
                raise
        time.sleep(PAUSE_S * 2 ** (attempt - 1))


def _fill(url: str, part: Path, tag: Path, size: int | None) -> None:
    """One attempt. ``tag`` holds what the server calls the version of the file that ``part`` is the beginning of."""
    headers = {"User-Agent": "vdt3d"}
    done = part.stat().st_size if part.exists() and tag.exists() else 0
    if done:
        headers |= {"Range": f"bytes={done}-", "If-Range": tag.read_text(encoding="utf-8")}
    with _ask(Request(url, headers=headers), part) as answer:
        if answer.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
            raise DownloadError(_page(part.stem))
        if answer.status != 206:  # the server sends all of it: it knows no Range, or has another version by now
            done = 0
        elif not answer.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            _drop(part)
            raise _CutError("the server answered with another part of the file than the one asked for")
        length = answer.headers.get("Content-Length")
        total = size if length is None else done + int(length)
        _remember(tag, answer)
        with part.open("ab" if done else "wb") as file, _bar(part.stem, done, total) as tell:
            for block in _blocks(answer):
                file.write(block)
                tell(len(block))
            done = file.tell()
    if total is not None and done < total:
        raise _CutError(f"the connection was cut after {done} of {total} bytes")


def _ask(request: Request, part: Path) -> HTTPResponse:
    try:
        return build_opener().open(request, timeout=TIMEOUT_S)  # a new one, for it reads the proxies when it is made
    except HTTPError as error:
        if error.code == 416:  # nothing comes after what there is, so that is not the beginning of this file
            _drop(part)
        if error.code in (408, 416, 429) or error.code >= 500:
            raise _CutError(str(error)) from error
        raise DownloadError(str(error)) from error
    except (OSError, HTTPException) as error:
        raise _CutError(str(error)) from error


def _blocks(answer: HTTPResponse) -> Iterator[bytes]:
    try:
        while block := answer.read1(BLOCK):  # what has come, so that a cut loses nothing
            yield block
    except (OSError, HTTPException) as error:
        raise _CutError(str(error)) from error


def _remember(tag: Path, answer: HTTPResponse) -> None:
    """Keep a strong ETag, or else the date, for If-Range; without either the next attempt begins anew."""
    version = answer.headers.get("ETag", "")
    if not version or version.startswith("W/"):
        version = answer.headers.get("Last-Modified", "")
    if version:
        tag.write_text(version, encoding="utf-8")
    else:
        tag.unlink(missing_ok=True)


def _page(name: str) -> str:
    return f"in place of {name} there is a web page, such as one that asks for confirmation"


@contextmanager
def _bar(title: str, done: int, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, once the download has lasted; what comes out is told of every block."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
    task, begun, shown = bar.add_task(title, total=total, completed=done), time.monotonic(), False

    def tell(arrived: int) -> None:
        nonlocal shown
        bar.advance(task, arrived)
        if console.is_terminal and not shown and time.monotonic() - begun > QUICK_S:
            bar.start()
            shown = True

    try:
        yield tell
    finally:
        if shown:
            bar.stop()
