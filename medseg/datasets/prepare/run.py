"""The preparation of a data set: every case in a process of a pool, then the tables over all of them."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from medseg.datasets.layouts import Case
from medseg.datasets.prepare.cases import Job, Outcome, place, prepare_case, scan_spacing
from medseg.datasets.prepare.check import Rules
from medseg.datasets.prepare.counts import compared
from medseg.datasets.prepare.find import IN_PLACE, check_source, find_source
from medseg.datasets.prepare.fingerprint import fingerprint
from medseg.datasets.prepare.source import Source
from medseg.datasets.prepare.target import PREPARED, PROBLEMS, UNPACKED, check_target, mark_finished, mark_unfinished
from vdt3d.io import ScanError
from vdt3d.utils.files import write_aside
from vdt3d.utils.pool import each, settled_workers


class Report(NamedTuple):
    """What a preparation came to.

    Fields:
        outcomes: of every case, in the order of the data set.
        fingerprint: of the data set; None where nothing was cached.
        notice: that there is no case to train on, or whether this is the release that numbers were published of; None
            where none are known, nothing was cached, or cases were sampled anew and have other voxels.
    """

    outcomes: list[Outcome]
    fingerprint: dict[str, Any] | None
    notice: str | None = None

    @property
    def problems(self) -> list[dict[str, str]]:
        """The cases that could not be prepared: "case", "file", "finding", "remedy"."""
        return [outcome.problem for outcome in self.outcomes if outcome.problem]


def prepare(
    name: str,
    src: str | Path,
    dst: str | Path,
    *,
    spacing: tuple[float | None, float | None, float | None] | Literal["median"] | None = None,
    workers: int | None = None,
    cache: bool = True,
    label_geometry: Literal["error", "image"] = "error",
    reader: dict[str, Any] | None = None,
    initializer: Callable[[], object] | None = None,
) -> Report:
    """Convert a data set to the one layout, check every case, and prepare those to learn from.

    ``dst`` becomes the ``data_root`` of a data set class, ``dst``/prepared its ``prepared``: ``cases`` (the cache),
    ``fingerprint.json`` and ``summary.csv``. Files keep their content: they get a further name (hard link) in ``dst``,
    or are copied where the file system has no such links. Where ``dst`` is the folder of ``src``'s own layout, they
    stay, and only ``prepared`` is added. A case that cannot be trusted is left out of ``dst`` and listed in
    ``dst``/problems.json. A run that was stopped goes on where it was; so does one whose sources have changed in part.

    Args:
        name: which data set, one of ``SOURCES``.
        src: its archive, a folder of its archives, or its folder.
        dst: where to.
        spacing: (z, y, x) in mm to resample every case to, with None for an axis that keeps its spacing; "median" for
            that of the data set; None to keep all.
        workers: processes; half of the processor's threads, at most 8, unless given. Each holds one case.
        cache: also write ``prepared``.
        label_geometry: what happens where a label map has the shape of its image but lies elsewhere; "image" writes it
            anew with the geometry of the image.
        reader: options of ``vdt3d.io.read_volume``, such as ``dict(nan="zero")`` or ``dict(shear="resample")``.
        initializer: called first in each process.

    Raises:
        ScanError: there is nothing of the data set in ``src``, an archive is damaged, or ``dst`` has files of other
            origin.
        ValueError: an unknown name or choice, or a worker that was killed.
        OSError: a file cannot be written, as on a full disk; what is done stays done.
    """
    src, dst = Path(src), Path(dst)
    _check_choices(spacing, label_geometry)
    workers = settled_workers(workers)
    check_source(name, src)
    _check_folders(name, src.resolve(), dst.resolve())
    source = find_source(name, src, dst / UNPACKED)
    in_place = source.root is not None and source.root.resolve() == dst.resolve()
    check_target(source, src, dst, in_place=in_place)
    if in_place and label_geometry == "image":
        raise ScanError(dst, "is the source itself, whose label maps are not to be changed", "name another folder")
    if not in_place:
        mark_unfinished(source, dst)
    jobs = _jobs(source, dst, in_place, cache and source.cached, _rules(source, label_geometry, reader or {}))
    answers = partial(each, workers=workers, initializer=initializer)
    if spacing == "median":
        found = list(filter(None, answers(scan_spacing, [job for job in jobs if job.cache], title="measure")))
        spacing = tuple(np.median(found, axis=0).tolist()) if found else None
    outcomes = list(answers(prepare_case, [job._replace(spacing=spacing) for job in jobs], title="prepare"))
    if not in_place:
        _write_tables(source, dst, jobs, outcomes)
    records = {outcome.name: outcome.record for outcome in outcomes if outcome.record}
    report = Report(
        outcomes,
        _write_measures(source, dst, records, spacing) if records else None,
        _notice(source, records, spacing),
    )
    _write_problems(report, dst)
    mark_finished(dst)
    return report


def _notice(source: Source, records: dict[str, dict[str, Any]], spacing: tuple[float, ...] | None) -> str | None:
    if not source.layout.labelled:
        return "There are test cases only, and none to train on."
    known = source.counts if records and spacing is None else None
    return compared(known, records, source.layout.classes) if known else None


def _check_choices(spacing: Any, label_geometry: str) -> None:
    numbers = isinstance(spacing, tuple) and len(spacing) == 3
    if not (spacing in (None, "median") or (numbers and all(step is None or 0 < step < np.inf for step in spacing))):
        raise ValueError(
            f"spacing={spacing!r}: expected 'median' or three positive numbers (z, y, x) in mm, None to keep an axis"
        )
    if label_geometry not in ("error", "image"):
        raise ValueError(f"label_geometry is 'error' or 'image', got {label_geometry!r}")


def _check_folders(name: str, src: Path, dst: Path) -> None:
    if dst.is_relative_to(src) and not (dst == src and name in IN_PLACE):
        raise ScanError(dst, f"lies in {src}, where its files would be found again", "name a folder beside it")


def _rules(source: Source, label_geometry: str, reader: dict[str, Any]) -> Rules:
    return Rules(
        channels=source.layout.channels,
        classes=source.layout.classes,
        image_reader=source.image_reader | reader,
        label_reader=source.label_reader | {key: reader[key] for key in ("shear",) if key in reader},
        label_geometry=label_geometry,
    )


def _jobs(source: Source, dst: Path, in_place: bool, cached: bool, rules: Rules) -> list[Job]:
    """Cases to learn from, which are cached, then test cases, which only are checked."""
    jobs = []
    for part, cases in (("Tr", source.layout.labelled), ("Ts", source.layout.test)):
        for case in cases:
            images, label = ((), None) if in_place else _targets(source, dst, case, part)
            cache = dst / PREPARED / "cases" if cached and part == "Tr" else None
            jobs.append(Job(case, rules, part == "Tr", images, label, cache, read=source.read))
    return jobs


def _targets(source: Source, dst: Path, case: Case, part: str) -> tuple[tuple[Path, ...], Path | None]:
    """Where the files of a case go."""
    if source.root is not None:
        images = tuple(dst / path.relative_to(source.root) for path in case.images)
        # A crop holds its label itself, and a table those of all cases.
        label = case.label if case.label not in (*case.images, *source.tables) else None
        return images, label and dst / label.relative_to(source.root)
    (image,), label = case.images, case.label
    suffix = {path: path.name[path.name.index(".") :] for path in filter(None, (image, label))}
    target = dst / f"images{part}" / f"{case.name}{suffix[image]}"
    return (target,), label and dst / f"labels{part}" / f"{case.name}{suffix[label]}"


def _write_tables(source: Source, dst: Path, jobs: list[Job], outcomes: list[Outcome]) -> None:
    """``dataset.json``, which names the good cases, or whatever tables the data set has of its own."""
    dst.mkdir(parents=True, exist_ok=True)
    for table in source.tables:
        place(table, dst / table.relative_to(source.root))
    if source.description is None:
        return
    good = [job for job, outcome in zip(jobs, outcomes, strict=True) if outcome.problem is None]
    labelled, test = [job for job in good if job.labelled], [job for job in good if not job.labelled]
    content = source.description | {"numTraining": len(labelled)}
    if "dataset" in content:
        content["dataset"] = {job.case.name: _listed(job, dst) for job in labelled}
    if "channel_names" not in content:  # nnU-Net's layout lists no case
        content |= {"numTest": len(test), "training": [_entry(job, dst) for job in labelled]}
        content["test"] = [_entry(job, dst) if job.label else _entry(job, dst)["image"] for job in test]
    _write_json(dst / "dataset.json", content)


def _entry(job: Job, dst: Path) -> dict[str, str]:
    files = {"image": job.images[0], "label": job.label}
    return {key: f"./{path.relative_to(dst).as_posix()}" for key, path in files.items() if path}


def _listed(job: Job, dst: Path) -> dict[str, Any]:
    """A case as the key "dataset" of nnU-Net's layout lists it."""
    images = [path.relative_to(dst).as_posix() for path in job.images]
    return {"images": images, "label": job.label.relative_to(dst).as_posix()}


def _write_measures(
    source: Source, dst: Path, records: dict[str, dict[str, Any]], spacing: tuple[float | None, ...] | None
) -> dict[str, Any]:
    """``prepared``/fingerprint.json and summary.csv of the cached cases."""
    found = fingerprint(records, source.layout.channels, source.layout.classes, spacing)
    _write_json(dst / PREPARED / "fingerprint.json", found)
    rows = [_row(name, case, source.layout.classes) for name, case in found["per_case"].items()]
    table = pd.DataFrame(rows)
    write_aside(dst / PREPARED / "summary.csv", lambda aside: table.to_csv(aside, index=False))
    return found


def _row(name: str, case: dict[str, Any], classes: tuple[str, ...]) -> dict[str, Any]:
    """A line of the summary: sizes in voxels, spacings and volumes in mm."""
    row: dict[str, Any] = {"case": name, "labelled_cut": case["labelled_cut"]}
    for key in ("shape", "spacing", "prepared_shape", "prepared_spacing"):
        row |= {f"{key}_{axis}": value for axis, value in zip("zyx", case[key], strict=True)}
    return row | {f"{text}_mm3": case["volumes_mm3"].get(text, 0) for text in classes[1:]}


def _write_problems(report: Report, dst: Path) -> None:
    """``problems.json``, or none."""
    path = dst / PROBLEMS
    if report.problems:
        dst.mkdir(parents=True, exist_ok=True)
        _write_json(path, report.problems)
    else:
        path.unlink(missing_ok=True)


def _write_json(path: Path, content: Any) -> None:
    """As one writes it by hand: a line per entry, and lists of numbers in one line."""
    text = re.sub(r"\[[\s\d.,e+-]*\]", lambda found: " ".join(found[0].split()), json.dumps(content, indent=1))
    text = text.replace("[ ", "[").replace(" ]", "]")
    write_aside(path, lambda aside: aside.write_text(text + "\n", encoding="utf-8"))
