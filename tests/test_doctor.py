"""``vdt3d doctor``: what is wrong is told with its remedy and by the exit code."""

import importlib.metadata
import shutil
from collections import namedtuple

import pytest
import torch

from vdt3d.cli import doctor, main

Usage = namedtuple("Usage", "total used free")


def levels(findings) -> dict[str, str]:
    return {finding.about: finding.level for finding in findings}


@pytest.fixture
def versions(monkeypatch) -> dict[str, str | None]:
    """Versions to be found in place of those installed; None for what is not there."""
    others, real = {}, importlib.metadata.version

    def version(name: str) -> str:
        found = others[name] if name in others else real(name)
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)
    return others


def test_this_machine_is_fit(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["doctor"])
    told = capsys.readouterr().out
    assert "problem" not in told and "there are no data sets in data" in told


def test_old_missing_and_colliding_packages(versions, capsys):
    versions |= {"nibabel": "2.0", "blosc2": None, "mmcv": "2.1.0"}
    found = {finding.about: finding for finding in doctor.packages()}
    assert found["nibabel"].level == found["blosc2"].level == found["mmcv"].level == doctor.PROBLEM
    assert "2.0, nibabel" in found["nibabel"].found and "not installed" in found["blosc2"].found
    assert found["nibabel"].remedy.startswith("pip install 'nibabel")
    assert "overwrite each other" in found["mmcv"].found
    with pytest.raises(SystemExit) as left:
        main(["doctor"])
    assert left.value.code == 1


def test_slow_torch_and_a_gpu_that_cannot_be_used(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.9.1")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert levels(doctor.devices()) == {"torch": doctor.WARNING, "GPU": doctor.PROBLEM}


def test_little_room(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(2**29, 0, 2**30))  # 0.5 GiB in all, 1 GiB free
    found = levels(doctor.places())
    assert found["disk"] == doctor.WARNING and found.get("shared memory", doctor.WARNING) == doctor.WARNING


def test_data_folders_but_the_case_lists(tmp_path):
    for name in ("msd", "splits"):
        (tmp_path / name).mkdir()
    (finding,) = doctor.data_sets(tmp_path)
    assert finding.level == doctor.GOOD and finding.found.endswith(": msd")
