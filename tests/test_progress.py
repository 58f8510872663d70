"""The bar on a terminal: what it and the table of a test make redundant is not said a second time."""

import pytest
import tiny

from vdt3d.engine import Runner


@pytest.mark.parametrize("length", [dict(epochs=1), dict(iterations=4)])
def test_scores_of_a_test_are_left_to_the_table(length, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich take anything for a terminal
    config = tiny.config(tmp_path, **length)
    config.default_hooks.progress = dict(type="ProgressHook")
    Runner.from_cfg(config).test()
    said = capsys.readouterr().out
    assert "7/7" in said.replace(" ", "") or "4/4" in said.replace(" ", "")  # the bar
    assert "(test)" not in said
    (log,) = tmp_path.glob("*/*.log")
    assert "(test)" in log.read_text()  # which keeps everything
