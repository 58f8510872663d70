"""Volumes with 3D boxes about their lesions: key slices with annotations, and a cache of the slices; (C, D, H, W)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vdt3d.datasets.lesion_scans import MIDDLE
from vdt3d.datasets.prepare.annotations import (
    KeySlice,
    Lesion,
    Problem,
    Report,
    check_target,
    write_annotations,
    write_problems,
)
from vdt3d.datasets.splits import SPLITS, deal_parts
from vdt3d.io import ScanError, read_volume, write_series
from vdt3d.structures import Boxes, Sample
from vdt3d.transforms import RandomFlip3D, Reorient3D
from vdt3d.utils.files import read_json
from vdt3d.utils.pool import each, settled_workers

KNOWN = ("scan", "boxes", "patient", "split", "types", "diameters_mm")
BOX = "correct the box, or leave it out"


class _Job(NamedTuple):
    """A scan, its entry in the list, which part it belongs to, and where its cache goes."""

    name: str
    path: Path
    entry: dict[str, Any]
    part: str
    in_mm: bool
    reader: dict[str, Any]
    cache: Path


class _Outcome(NamedTuple):
    """Key slices of a scan, and what was left out; ``good``: whether the scan is in the cache."""

    slices: list[KeySlice]
    problems: list[Problem]
    good: bool = True


def prepare_lesion_scans(
    src: str | Path,
    dst: str | Path,
    *,
    reader: dict[str, Any] | None = None,
    workers: int | None = None,
    initializer: Callable[[], object] | None = None,
) -> Report:
    """Write ``dst``/annotations/train.json, val.json and test.json and ``dst``/prepared/series, for ``LesionScans``.

    Each scan is turned so that its axes run down, back and to the patient's left, as radiologists see it and DeepLesion
    shows it, and cached slice by slice. The middle slice of each box becomes a key slice, in which all lesions count
    whose boxes hold the slice's middle. A scan that cannot be read and a box that cannot be are left out and listed in
    ``dst``/problems.json.

    Args:
        src: json ``{"unit": "mm", "cases": [{"scan": "scans/a.nii.gz", "boxes": [[x1, y1, z1, x2, y2, z2]]}]}``. A scan
            is a path, relative to the json, of whatever ``vdt3d.io.read_volume`` reads. Boxes are in "mm" (to the
            right, forward, up: NIfTI's world) or in "voxel"s of the file (x, y, z as NIfTI counts them; voxel i reaches
            from i to i + 1). A case may say "patient", "split" ("train", "val" or "test", all cases or none; otherwise
            patients are dealt out, five sevenths, one and one), and of each box "types" and "diameters_mm".
        dst: where to: the ``data_root`` of ``LesionScans``.
        reader: options of ``read_volume``, such as ``dict(nan="zero")``.
        workers: processes, each of which holds a scan; half of the processor's threads, at most 8, unless given.
        initializer: called first in each process.

    Raises:
        ValueError: the json is missing, damaged or not of this form, or a worker was killed.
    """
    src, dst, workers = Path(src), Path(dst), settled_workers(workers)
    entries, in_mm = _listed(src)
    check_target(dst)
    parts = _parts(src, entries)
    cache = dst / "prepared" / "series"
    jobs = [
        _Job(name, src.parent / entry["scan"], entry, parts[name], in_mm, reader or {}, cache)
        for name, entry in entries.items()
    ]
    outcomes = list(each(_prepared, jobs, workers=workers, initializer=initializer, title="prepare"))
    problems = [problem for outcome in outcomes for problem in outcome.problems]
    counts = write_annotations(dst / "annotations", [key for outcome in outcomes for key in outcome.slices])
    write_problems(dst, problems)
    good = sum(outcome.good for outcome in outcomes)
    return Report(counts, good, good, problems)


def _listed(path: Path) -> tuple[dict[str, dict[str, Any]], bool]:
    """The cases by name, and whether their boxes are in mm."""
    try:
        content = read_json(path)
    except (FileNotFoundError, IsADirectoryError):
        raise ValueError(
            f"there is no {path}; docs/detection_data.md says what such a list of boxes looks like"
        ) from None
    cases = content.get("cases") if isinstance(content, dict) and content.get("unit") in ("mm", "voxel") else None
    if not cases or not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        raise ValueError(
            f'{path} is not of the form {{"unit": "mm" or "voxel", "cases": [{{"scan": ..., "boxes": []}}]}}'
        )
    entries: dict[str, dict[str, Any]] = {}
    for case in cases:
        lacking, foreign = {"scan", "boxes"} - case.keys(), case.keys() - set(KNOWN)
        if lacking or foreign:
            told = f"lacks {sorted(lacking)}" if lacking else f"says {sorted(foreign)}, which means nothing"
            raise ValueError(f"{path}: case {case.get('scan')} {told}; it may say {', '.join(KNOWN)}")
        for name in ("types", "diameters_mm"):
            if name in case and len(case[name]) != len(case["boxes"]):
                counts = f"{len(case['boxes'])} boxes and {len(case[name])} {name}"
                raise ValueError(f"{path}: case {case['scan']} has {counts}")
        name = Path(case["scan"]).name.partition(".")[0]
        if name in entries:
            raise ValueError(f"{path}: {entries[name]['scan']} and {case['scan']} would both be called '{name}'")
        entries[name] = case
    return entries, content["unit"] == "mm"


def _parts(path: Path, entries: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The part of each case."""
    told = {name: entry["split"] for name, entry in entries.items() if "split" in entry}
    if told and (len(told) < len(entries) or not set(told.values()) <= set(SPLITS["all"])):
        raise ValueError(
            f"{path}: {len(told)} of {len(entries)} cases say a split; all or none, of train, val and test"
        )
    patients = pd.Series({name: str(entry.get("patient", name)) for name, entry in entries.items()})
    if told:
        if (torn := pd.Series(told).groupby(patients).nunique() > 1).any():
            raise ValueError(f"{path}: patient {torn.idxmax()} is in two parts; correct the splits")
        return told
    return deal_parts(patients, pd.Series(0, index=patients.index)).to_dict()


def _prepared(job: _Job) -> _Outcome:
    try:
        image = read_volume(job.path, **job.reader)
    except ScanError as error:
        return _Outcome([], [Problem(job.name, *(str(part) for part in error.args))], good=False)
    corners, which, problems = _readable(job)
    if job.in_mm:  # a grid of millimetres, where 0 mm is the middle of the voxel that reaches from 0 to 1
        boxes = Boxes(corners + MIDDLE, facts={"row": which}).on(image.affine)
    else:
        boxes = Boxes(corners, affine=image.affine, facts={"row": which})
    sample = Reorient3D()(Sample(image, boxes=boxes, name=job.name))
    sample = RandomFlip3D().change(sample, {"axes": (0, 1, 2)})
    kept = sample.boxes.inside(sample.image.shape)
    for row in sorted(set(which) - set(kept.facts["row"])):
        finding = f"box {row}, {job.entry['boxes'][row]}, is outside the scan, or thinner than one voxel there"
        problems.append(Problem(job.name, str(job.path), finding, BOX))
    write_series(job.cache, job.name, np.asarray(sample.image.array[0]), range(sample.image.shape[0]))
    return _Outcome(_key_slices(job, sample, kept), problems)


def _readable(job: _Job) -> tuple[np.ndarray, np.ndarray, list[Problem]]:
    """Corners (N, 6) as (z, y, x, z, y, x) of the boxes that are some, their places in the list, and what is wrong with
    the others.
    """
    corners, which, problems = [], [], []
    for row, box in enumerate(job.entry["boxes"]):
        try:
            x1, y1, z1, x2, y2, z2 = (float(number) for number in box)
            if not (np.isfinite([x1, y1, z1, x2, y2, z2]).all() and x1 < x2 and y1 < y2 and z1 < z2):
                raise ValueError
        except (TypeError, ValueError):
            finding = f"box {row}, {box}, is not x1 < x2, y1 < y2, z1 < z2 as [x1, y1, z1, x2, y2, z2]"
            problems.append(Problem(job.name, str(job.path), finding, BOX))
            continue
        corners.append((z1, y1, x1, z2, y2, x2))
        which.append(row)
    return np.array(corners).reshape(-1, 6), np.array(which, dtype=int), problems


def _key_slices(job: _Job, sample: Sample, boxes: Boxes) -> list[KeySlice]:
    """The middle slice of each box, once, with the lesions in it."""
    depth, *size = sample.image.shape
    low, high = boxes.corners[:, 0], boxes.corners[:, 3]
    middles = np.minimum(np.floor((low + high) / 2), depth - 1).astype(int)
    slices = []
    for number in np.unique(middles):
        held = (low <= number + 0.5) & (number + 0.5 < high) | (middles == number)
        lesions = tuple(_lesion(job, boxes, place) for place in np.flatnonzero(held))
        spacing = tuple(round(step, 6) for step in sample.image.spacing)
        patient = str(job.entry.get("patient", job.name))
        slices.append(KeySlice(job.part, job.name, int(number), tuple(size), spacing, patient, lesions))
    return slices


def _lesion(job: _Job, boxes: Boxes, place: int) -> Lesion:
    _, y1, x1, _, y2, x2 = (boxes.corners[place] - MIDDLE).tolist()
    told = {name: job.entry.get(name) for name in ("types", "diameters_mm")}
    row = int(boxes.facts["row"][place])
    kind, diameter = (values and values[row] for values in told.values())
    return Lesion((x1, y1, x2, y2), str(kind or ""), diameter or None)
