"""Unpacking: what stays inside the target is unpacked, what would leave it is refused and nothing is written."""

import io
import tarfile
import zipfile

import pytest

from vdt3d.io import ScanError, extract


def make_zip(path, name, mode=0o644):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("scans/good.txt", "good")
        member = zipfile.ZipInfo(name)
        member.external_attr = mode << 16
        file.writestr(member, "content")


def make_tar(path, name, kind=tarfile.REGTYPE, target=""):
    with tarfile.open(path, "w:gz") as file:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        member.size = 7 if kind == tarfile.REGTYPE else 0
        file.addfile(member, io.BytesIO(b"content"))


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_an_archive_is_unpacked_into_a_new_folder(tmp_path, make):
    make(tmp_path / "archive", "scans/a.txt")
    assert extract(tmp_path / "archive", tmp_path / "deep/target") == tmp_path / "deep/target"
    assert (tmp_path / "deep/target/scans/a.txt").read_text() == "content"
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["target"]


LEAVING = {
    "zip, upwards": (make_zip, "../evil.txt"),
    "zip, upwards inside": (make_zip, "scans/../../evil.txt"),
    "zip, absolute": (make_zip, "/evil.txt"),
    "zip, Windows": (make_zip, "C:\\evil.txt"),
    "zip, Windows upwards": (make_zip, "..\\evil.txt"),
    "zip, link": (make_zip, "scans/link", 0o120777),
    "tar, upwards": (make_tar, "../evil.txt"),
    "tar, absolute": (make_tar, "/evil.txt"),
    "tar, symbolic link": (make_tar, "link", tarfile.SYMTYPE, "/etc/passwd"),
    "tar, hard link": (make_tar, "link", tarfile.LNKTYPE, "../../evil.txt"),
    "tar, device": (make_tar, "device", tarfile.CHRTYPE),
}


@pytest.mark.parametrize("case", LEAVING)
def test_a_member_that_leaves_the_folder_is_refused(tmp_path, case):
    make, *arguments = LEAVING[case]
    make(tmp_path / "archive", *arguments)
    with pytest.raises(ScanError, match=r"archive: its member '.*' is a link or would leave .*; do not trust it"):
        extract(tmp_path / "archive", tmp_path / "deep/target")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "archive"]


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_truncated_archive_leaves_nothing_behind(tmp_path, make):
    make(tmp_path / "archive", "scans/a.txt")
    whole = (tmp_path / "archive").read_bytes()
    (tmp_path / "archive").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ScanError, match=r"(?s)archive: cannot be unpacked .*copy or download it again"):
        extract(tmp_path / "archive", tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def test_a_folder_that_exists_is_not_overwritten(tmp_path):
    make_zip(tmp_path / "archive", "a.txt")
    (tmp_path / "target").mkdir()
    with pytest.raises(ScanError, match=r"archive: is to be unpacked into .*target, which exists; remove"):
        extract(tmp_path / "archive", tmp_path / "target")
