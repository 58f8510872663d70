"""Unpacking downloads: nothing leaves the target folder, and the folder appears whole or not at all."""

import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PureWindowsPath
from tempfile import TemporaryDirectory

from vdt3d.io.checks import AGAIN, ScanError


def extract(archive: str | Path, target: str | Path) -> Path:
    """Unpack a zip or tar file (plain, gz, bz2, xz) into the new folder ``target``, and return it.

    Raises:
        ScanError: the archive is damaged or encrypted, ``target`` exists, or a member would leave it (an absolute
            path, ``..``, a link) or is no plain file.
    """
    archive, target = Path(archive), Path(target)
    if target.exists():
        raise ScanError(archive, f"is to be unpacked into {target}, which exists", "remove that folder first")
    target.parent.mkdir(parents=True, exist_ok=True)
    unpack = _unpack_zip if zipfile.is_zipfile(archive) else _unpack_tar
    with TemporaryDirectory(dir=target.parent, prefix=".unpacking-") as aside:
        content = Path(aside) / "content"
        content.mkdir()
        try:
            unpack(archive, content)
        except (tarfile.TarError, zipfile.BadZipFile, RuntimeError, EOFError, OSError, zlib.error) as error:
            raise ScanError(
                archive, f"cannot be unpacked ({error})", f"free the disk if it is full, or {AGAIN}"
            ) from error
        content.replace(target)
    return target


def _unpack_zip(archive: Path, target: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            _check_member(archive, member.filename, plain=not stat.S_ISLNK(member.external_attr >> 16))
        file.extractall(target)


def _unpack_tar(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as file:
        for member in file.getmembers():
            _check_member(archive, member.name, plain=member.isreg() or member.isdir())
        file.extractall(target, filter="data")


def _check_member(archive: Path, name: str, *, plain: bool) -> None:
    """Windows' reading of a name is the stricter one: it knows both slashes and drives."""
    path = PureWindowsPath(name)
    if path.anchor or ".." in path.parts or not plain:
        finding = f"its member '{name}' is a link or would leave the target folder"
        raise ScanError(archive, finding, "do not trust it; get it from its original source")
