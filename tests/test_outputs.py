"""Which outputs commands refuse to write: inputs, existing files, folders, places that cannot be written to."""

import os
from pathlib import Path

import pytest

from vdt3d.cli import main
from vdt3d.utils.files import read_json, read_text, write_aside
from vdt3d.utils.outputs import (
    check_outputs,
    check_writable,
    foreign_file,
    record_state,
    refuse_input_folder,
    write_recorded,
)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "in/a.nii.gz"
    path.parent.mkdir()
    path.write_text("voxels")
    return path


def test_an_input_is_no_output_by_whatever_path(scan: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(scan.parent)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/hard").hardlink_to(scan)
    (tmp_path / "out/soft").symlink_to(scan)
    (tmp_path / "out/link").symlink_to(scan.parent)
    for output in (scan, Path("a.nii.gz"), tmp_path / "in/../in/a.nii.gz", tmp_path / "out/soft"):
        with pytest.raises(ValueError, match=r"a\.nii\.gz"):
            check_outputs([output], inputs=[scan], overwrite=True)
    for output in (tmp_path / "out/hard", tmp_path / "out/link/a.nii.gz"):
        with pytest.raises(ValueError, match=str(output)):
            check_outputs([output], inputs=["https://host/weights", scan], overwrite=True)
    check_outputs([tmp_path / "out/new.nii.gz"], inputs=[scan])


def test_an_output_that_exists_needs_overwrite(tmp_path: Path):
    path, link = tmp_path / "scores.json", tmp_path / "link.json"
    path.write_text("{}")
    link.symlink_to(tmp_path / "nowhere.json")
    for output in (path, link):
        with pytest.raises(ValueError, match=f"{output} exists.*--overwrite"):
            check_outputs([output])
        check_outputs([output], overwrite=True)
    with pytest.raises(ValueError, match=f"{tmp_path} is a folder"):
        check_outputs([tmp_path], overwrite=True)


def test_where_nothing_can_be_written_is_known_before(tmp_path: Path, monkeypatch):
    (tmp_path / "file").touch()
    check_writable(tmp_path / "a/b/c")
    assert not (tmp_path / "a").exists()
    with pytest.raises(ValueError, match=f"{tmp_path / 'file'} is not a folder"):
        check_outputs([tmp_path / "file/b/scores.json"])
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match=f"no permission in {tmp_path}"):
        check_writable(tmp_path / "a")


def test_a_folder_of_inputs_is_no_folder_of_outputs(scan: Path, tmp_path: Path):
    (tmp_path / "link").symlink_to(scan.parent)
    for out in (scan.parent, tmp_path / "link", tmp_path / "in/../in"):
        with pytest.raises(ValueError, match=str(out)):
            refuse_input_folder(out, [scan.parent])
    refuse_input_folder(scan.parent, [scan])  # a file in it; its own name is checked with the outputs
    refuse_input_folder(tmp_path / "out", [scan.parent])


def test_a_record_is_complete_when_all_files_are(tmp_path: Path):
    record, place = tmp_path / "a.json", tmp_path / "a.nii.gz"
    seen = []
    writers = [lambda: seen.append(record_state(record, "a")), lambda: place.write_text("labels")]
    write_recorded(record, {"scan": "a", "ml": 3}, writers, [place])
    assert seen == ["unfinished"] and record_state(record, "a") == "done" and place.exists()
    assert record_state(record, "b") is None and foreign_file(record, "a", [place]) is None
    record.unlink()
    assert foreign_file(record, "a", [place]) == place

    def full() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_recorded(record, {"scan": "a"}, [lambda: place.write_text("labels"), full], [place])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b" \n", "empty"), ("{}".encode("utf-16"), "UTF-16"), (b"{,}", "not json"), (b"\xff{}", "UTF-8")],
)
def test_json_that_cannot_be_read_is_named(content: bytes, words: str, tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path}: is .*{words}"):
        read_json(path)


def test_text_may_begin_with_a_byte_order_mark(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes("\ufeffa\u00e4\r\n".encode())
    assert read_text(tmp_path / "a.txt") == "a\u00e4\r\n"


def test_a_file_that_cannot_be_begun_is_named_itself(tmp_path: Path):
    with pytest.raises(OSError, match=r"'.*missing/scores\.json'") as found:
        write_aside(tmp_path / "missing/scores.json", lambda aside: aside.write_text(""))
    assert found.value.filename == str(tmp_path / "missing/scores.json")


@pytest.mark.parametrize(
    "words",
    [
        ["browse", "config.py", "--out", "out"],
        ["calibrate", "config.py", "a.pth", "--out", "out"],
        ["choose-thresholds", "config.py", "a.pth", "--out", "out/a.json"],
        ["convert", "a.pth", "out/b.pth", "--how", "i3d"],
        ["evaluate", "pred", "ref", "--out", "out/a.json"],
        ["export", "config.py", "a.pth", "-o", "out/a.onnx"],
        ["inspect", "config.py", "--out", "out"],
        ["report", "run", "-o", "out/a.html"],
        ["runs", "run", "--html", "out/a.html"],
        ["split", "data", "--out", "out/a.json"],
        ["test", "config.py", "a.pth", "--out", "out/a.json"],
        ["test", "config.py", "a.pth", "--format-only", "out"],
    ],
)
def test_commands_replace_no_file_unasked(words: list[str], tmp_path: Path, monkeypatch, capsys):
    """Before a config, checkpoint or scan is read, none of which there is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    names = ("a.json", "b.pth", "a.onnx", "a.html", "train_01.png", "temperature.json", "inspection.json")
    for name in names:
        (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_text("by hand")
    with pytest.raises(SystemExit) as left:
        main(words)
    said = capsys.readouterr().err
    assert left.value.code == 2 and "out" in said and ("exists already" in said or "is not empty" in said)
    assert {path.read_text() for path in (tmp_path / "out").iterdir()} == {"by hand"}
