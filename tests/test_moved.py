"""Modules under their old import paths."""

import importlib

import pytest

from vdt3d.moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_an_old_path_gives_the_module_and_a_warning(old: str, monkeypatch: pytest.MonkeyPatch):
    new = importlib.import_module(MOVED[old])
    monkeypatch.delitem(importlib.sys.modules, old, raising=False)
    with pytest.warns(DeprecationWarning, match=MOVED[old]):
        module = importlib.import_module(old)
    assert module is new
    assert new.__spec__.name == MOVED[old]
