"""One case from its files to the cache: checked, oriented, cropped, resampled, measured; arrays are (C, D, H, W)."""

import glob
import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medseg.datasets.layouts import Case
from medseg.datasets.prepare.check import Read, Rules, read_checked, read_files
from vdt3d.io import ScanError, read_record, write_case, write_nifti
from vdt3d.structures import IGNORED, LabelMap, Sample
from vdt3d.transforms import CropBody3D, Reorient3D, ResampleSpacing3D
from vdt3d.utils.files import write_aside

STEPS = 4  # raised whenever the steps below change, so that cases prepared before are prepared anew
# At which a case's intensities are kept, to be pooled over the data set: every half percent, and finer near both ends,
# where the percentiles of the data set lie between those of its cases.
PERCENTS = np.unique(
    np.round(np.concatenate([np.arange(0, 2, 0.02), np.arange(2, 98, 0.5), np.linspace(98, 100, 101)]), 2)
)


class Job(NamedTuple):
    """What is to be done with a case.

    Fields:
        rules: how it is read and checked.
        labelled: whether it must have a label map.
        images, label: where its files go; () and None where they stay.
        cache: folder of the cache; None where the case only is checked.
        spacing: (z, y, x) in mm to resample it to, None for an axis that keeps its spacing; None keeps all.
        read: how image and label map come out of its files.
    """

    case: Case
    rules: Rules
    labelled: bool
    images: tuple[Path, ...] = ()
    label: Path | None = None
    cache: Path | None = None
    spacing: tuple[float | None, float | None, float | None] | None = None
    read: Read = read_files


class Outcome(NamedTuple):
    """What came of a case.

    Fields:
        name: of the case.
        problem: what is wrong with it ("case", "file", "finding", "remedy"), or None.
        record: of the cache, where the case went there.
        new: whether it went there now, not in an earlier run.
    """

    name: str
    problem: dict[str, str] | None = None
    record: dict[str, Any] | None = None
    new: bool = False


def prepare_case(job: Job) -> Outcome:
    """Do a job; a case that cannot be trusted is the outcome's ``problem``, and nothing is left of it."""
    name = job.case.name
    record = finished(job)
    if record is not None and record["extra"]["settings"] == _settings(job):
        return Outcome(name, record=record)
    try:
        sample, moved = read_checked(job.case, job.rules, labelled=job.labelled, read=job.read)
    except ScanError as error:
        _remove(job)
        file, finding, remedy = (str(part) for part in error.args)
        return Outcome(name, problem={"case": name, "file": file, "finding": finding, "remedy": remedy})
    _place_files(job, sample.label_map if moved else None)
    if job.cache is None:
        return Outcome(name)
    _remove_leftovers(job)
    prepared, extra = _prepared(sample, job)
    write_case(job.cache, name, prepared, extra=extra)
    return Outcome(name, record=read_record(job.cache, name), new=True)


def finished(job: Job) -> dict[str, Any] | None:
    """The record of a case that was prepared, whatever the settings, from the very files it has now; else None."""
    if job.cache is None or not all(path.exists() for path in filter(None, (*job.images, job.label))):
        return None
    try:
        record = read_record(job.cache, job.case.name)
        return record if record["extra"]["sources"] == _stamps(job.case) else None
    except (ScanError, OSError):  # unfinished, of an earlier version, or its files are gone
        return None


def scan_spacing(job: Job) -> tuple[float, float, float] | None:
    """Spacing (z, y, x) of a case in canonical orientation; None where it cannot be read, which its check reports."""
    record = finished(job)
    if record is not None:
        return tuple(record["extra"]["scan"]["spacing"])
    try:
        sample, _ = read_checked(job.case._replace(label=None), job.rules, labelled=False, read=job.read)
    except ScanError:
        return None
    return Reorient3D()(sample).image.spacing


def _prepared(sample: Sample, job: Job) -> tuple[Sample, dict[str, Any]]:
    """The sample as it goes to the cache, and what is remembered of it besides."""
    sample = Reorient3D()(sample)
    scan = {"shape": list(sample.image.shape), "spacing": list(sample.image.spacing)}
    cropped = CropBody3D(ct=is_ct(job.rules.channels))(sample)
    resampled = cropped if job.spacing is None else ResampleSpacing3D(job.spacing)(cropped)
    return resampled, {
        "settings": _settings(job),
        "sources": _stamps(job.case),
        "scan": scan,
        "labelled_cut": int(_labelled(sample.label_map).sum() - _labelled(cropped.label_map).sum()),
        "intensity": _intensities(resampled),
    }


def is_ct(channels: tuple[str, ...]) -> bool:
    """Whether all channels are in Hounsfield units."""
    return all(channel.upper() == "CT" for channel in channels)


def _labelled(label_map: LabelMap) -> np.ndarray:
    """(D, H, W) where a class other than the background is."""
    labels_DHW = label_map.array[0]
    return (labels_DHW != 0) & (labels_DHW != IGNORED)


def _intensities(sample: Sample) -> list[dict[str, Any]] | None:
    """Of each channel's labelled voxels: mean, standard deviation and quantiles; None where nothing is labelled."""
    labelled_DHW = _labelled(sample.label_map)
    if not labelled_DHW.any():
        return None
    values_CN = sample.image.array[:, labelled_DHW]
    return [
        {
            "mean": float(values_N.mean(dtype=np.float64)),
            "std": float(values_N.std(dtype=np.float64)),
            "quantiles": np.percentile(values_N, PERCENTS).tolist(),
        }
        for values_N in values_CN
    ]


def _settings(job: Job) -> dict[str, Any]:
    """All that the cached case depends on but its files, as json gives it back."""
    return json.loads(json.dumps({"steps": STEPS, "spacing": job.spacing, **job.rules._asdict()}))


def _stamps(case: Case) -> list[list[int | str]]:
    """Names, sizes and times of the files of a case, in its folders too: other ones are other files."""
    paths = filter(None, (*case.images, case.label))
    files = (file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path]))
    return [[file.name, *_stamp(file)] for file in files]


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _place_files(job: Job, moved: LabelMap | None) -> None:
    """Put the files of the case where they belong; a label map that was moved to its image is written anew."""
    for source, target in zip(job.case.images, job.images, strict=False):  # in place there is no target
        place(source, target)
    if job.label is not None and moved is not None:
        write_nifti(moved, job.label)
    elif job.label is not None:
        place(job.case.label, job.label)


def place(source: Path, target: Path) -> None:
    """Make ``target`` the same file as ``source``: a further name of it where the file system allows, else a copy.

    Of a folder, each of its files, and no others.
    """
    if source.is_dir():
        files = {file.name: file for file in source.iterdir()}
        for former in target.iterdir() if target.exists() else ():
            if former.name not in files:
                former.unlink()
        for name, file in files.items():
            place(file, target / name)
        return
    if target.exists() and _stamp(target) == _stamp(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        write_aside(target, lambda aside: shutil.copy2(source, aside))


def _remove(job: Job) -> None:
    """Leave nothing that an earlier run made of a case that is no longer to be trusted."""
    for path in filter(None, (*job.images, job.label, job.cache and job.cache / f"{job.case.name}.json")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _remove_leftovers(job: Job) -> None:
    """What a run that was killed has left of this case under hidden names."""
    for path in job.cache.glob(f".{glob.escape(job.case.name)}.*"):
        path.unlink()
