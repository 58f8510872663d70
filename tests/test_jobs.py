"""Runs in processes of their own: how their errors are reported, and which of them end a series."""

from pathlib import Path

import processes
import pytest

from vdt3d.cli import jobs


class Failing:
    """A job that fails in its own way."""

    description, file = {}, "run.json"

    def __init__(self, folder: Path, error: Exception):
        self.name, self.folder, self.error = folder.name, folder, error

    def run(self) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("lr='x' is no number"), 2),
        (FileNotFoundError("a.nii.gz"), 2),
        (FloatingPointError("loss is nan"), 1),
    ],
)
def test_an_error_that_the_user_can_mend_is_one_line(error: Exception, code: int, tmp_path: Path, capsys):
    with pytest.raises(SystemExit) as left:
        jobs.run_job(Failing(tmp_path / "fold0", error), "kfold", debug=False)
    assert left.value.code == code
    assert capsys.readouterr().err == f"vdt3d kfold: error: fold0: {error}\n"


def test_another_error_and_debug_keep_the_traceback(tmp_path: Path):
    with pytest.raises(KeyError):
        jobs.run_job(Failing(tmp_path, KeyError("gone")), "kfold", debug=False)
    with pytest.raises(ValueError, match="no number"):
        jobs.run_job(Failing(tmp_path, ValueError("no number")), "kfold", debug=True)


def test_bad_input_ends_the_series_and_a_failure_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(jobs, "CONTEXT", processes._CONTEXT)
    errors = [FloatingPointError("loss is nan"), ValueError("lr='x' is no number"), ValueError("never reached")]
    series = [Failing(tmp_path / f"fold{number}", error) for number, error in enumerate(errors)]
    with pytest.raises(SystemExit) as left:
        jobs.perform(series, "kfold")
    assert left.value.code == 2
    said = capsys.readouterr().out  # of this process alone
    assert "run 2 of 3" in said and "run 3 of 3" not in said
