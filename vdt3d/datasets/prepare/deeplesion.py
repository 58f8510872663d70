"""DeepLesion's table DL_info.csv and its pictures: annotations by the official split, and a cache of the slices."""

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vdt3d.datasets.prepare.annotations import (
    PARTS,
    KeySlice,
    Lesion,
    Problem,
    Report,
    check_target,
    write_annotations,
    write_problems,
)
from vdt3d.datasets.splits import read_table
from vdt3d.io import PictureSeries, ScanError, read_record, write_series
from vdt3d.io.series import read_hounsfield
from vdt3d.utils.pool import each, settled_workers

TABLE, PICTURES = "DL_info.csv", "Images_png"
TYPES = ("bone", "abdomen", "mediastinum", "liver", "lung", "kidney", "soft tissue", "pelvis")  # 1 to 8; -1: not known
# What is read of the table, and what is not: the first two are told by File_name, the boxes were drawn about the
# measurements, and sex and age are nobody's business here.
USED = (
    *("File_name", "Patient_index", "Key_slice_index", "Bounding_boxes", "Lesion_diameters_Pixel_"),
    *("Normalized_lesion_location", "Coarse_lesion_type", "Possibly_noisy", "Slice_range", "Spacing_mm_px_"),
    *("Image_size", "DICOM_windows", "Train_Val_Test"),
)
IGNORED = ("Study_index", "Series_ID", "Measurement_coordinates", "Patient_gender", "Patient_age")
FILE_NAME = re.compile(r"(?P<series>(?P<patient>\d+)_\d+_\d+)_(?P<number>\d+)\.png", re.ASCII)
LINE = "correct the line, or leave it out"
PICTURE = "fetch it again, or correct the table"


class _Job(NamedTuple):
    """A series: its pictures, what size (H, W) they should have, and where its cache goes (None: nowhere)."""

    name: str
    folder: Path
    size: tuple[int, int]
    cache: Path | None


class _Outcome(NamedTuple):
    """What came of a series: the numbers of its good slices, what is wrong with others, whether it was written now."""

    numbers: tuple[int, ...]
    problems: list[Problem]
    new: bool = False


def prepare_deeplesion(
    src: str | Path,
    dst: str | Path,
    *,
    images: str | Path | None = None,
    workers: int | None = None,
    cache: bool = True,
    initializer: Callable[[], object] | None = None,
) -> Report:
    """Write ``dst``/annotations/train.json, val.json and test.json (the official split) and ``dst``/prepared/series.

    The lines of one key slice become one image with several boxes. A line that cannot be, a key slice that is not there
    and a damaged picture are left out; each is listed in ``dst``/problems.json, as are missing neighbours, for which
    the nearest slice there is will stand. A run that was stopped goes on where it was.

    Boxes keep their numbers but for 1: the table counts pixels from 1 at the middle of the first one (as its authors'
    code does, and the published json files confirm), annotations from 0.

    Args:
        src: DL_info.csv, or the folder that holds it.
        dst: where to: the ``data_root`` of ``DeepLesion``.
        images: folder of the series' folders of pictures; default: Images_png beside the table, where it is there.
        workers: processes; half of the processor's threads, at most 8, unless given.
        cache: also write ``prepared``; otherwise pictures are only looked for.
        initializer: called first in each process.

    Raises:
        ValueError: there is no such table or folder, the table lacks a column, or a worker was killed.
    """
    src, dst, workers = Path(src), Path(dst), settled_workers(workers)
    table = src / TABLE if src.is_dir() else src
    beside = table.parent / PICTURES
    if images is not None and not Path(images).is_dir():
        raise ValueError(f"there is no folder {images}; it is the one that holds 000001_01_01 and so on")
    pictures = Path(images) if images is not None else beside if beside.is_dir() else None
    slices, problems = read_lesions(table)
    check_target(dst)
    outcomes: dict[str, _Outcome] = {}
    if pictures is not None:
        folder = dst / "prepared" / "series" if cache else None
        sizes = {key.series: key.size for key in slices}
        jobs = [_Job(name, pictures / name, size, folder) for name, size in sizes.items()]
        answers = each(_series, jobs, workers=workers, initializer=initializer, title="prepare")
        outcomes = dict(zip(sizes, answers, strict=True))
        slices, missing = _there(slices, outcomes, pictures)
        problems += [problem for outcome in outcomes.values() for problem in outcome.problems] + missing
    counts = write_annotations(dst / "annotations", slices)
    write_problems(dst, problems)
    cached = [outcome for outcome in outcomes.values() if cache and outcome.numbers]
    return Report(counts, len(cached), sum(outcome.new for outcome in cached), problems)


def read_lesions(path: Path) -> tuple[list[KeySlice], list[Problem]]:
    """The key slices of the table, by name, and the lines that cannot be.

    Raises:
        ValueError: the table is missing, damaged or lacks a column.
    """
    table = read_table(path, {*USED}, dtype=str)
    rows_of: dict[str, list[tuple[KeySlice, int]]] = defaultdict(list)
    problems = []
    for line, row in enumerate(table[list(USED)].fillna("").to_dict("records"), start=2):  # line 1 is the header
        try:
            key = _key_slice(row)
        except ValueError as error:
            problems.append(Problem(row["File_name"], f"{path}, line {line}", str(error), LINE))
            continue
        rows_of[row["File_name"]].append((key, line))
    slices = []
    for name, rows in sorted(rows_of.items()):
        keys = [key for key, _ in rows]
        if len({key[:6] for key in keys}) > 1:
            lines = ", ".join(str(line) for _, line in rows)
            finding = "its lines name different splits, sizes or spacings"
            problems.append(Problem(name, f"{path}, lines {lines}", finding, "correct the lines, or leave them out"))
            continue
        lesions = tuple(lesion for key in keys for lesion in key.lesions)
        ranges = [key.known["slice_range"] for key in keys]
        around = [min(low for low, _ in ranges), max(high for _, high in ranges)]
        slices.append(keys[0]._replace(lesions=lesions, known={**keys[0].known, "slice_range": around}))
    return slices, problems


def _key_slice(row: Mapping[str, str]) -> KeySlice:
    """The key slice of a line, with its one lesion.

    Raises:
        ValueError: a cell cannot be.
    """
    name = FILE_NAME.fullmatch(row["File_name"])
    if name is None:
        raise ValueError(f"File_name '{row['File_name']}' is not of the form 000001_01_01_109.png")
    (number,), (patient,) = _numbers(row, "Key_slice_index", 1), _numbers(row, "Patient_index", 1)
    if (number, patient) != (int(name["number"]), int(name["patient"])):
        raise ValueError(f"Key_slice_index {number:g} or Patient_index {patient:g} is not that of its File_name")
    height, width = (int(side) for side in _numbers(row, "Image_size", 2, above=0))
    x_mm, y_mm, interval = _numbers(row, "Spacing_mm_px_", 3, above=0)
    x1, y1, x2, y2 = (place - 1 for place in _numbers(row, "Bounding_boxes", 4))
    if x1 >= x2 or y1 >= y2:
        raise ValueError(f"Bounding_boxes '{row['Bounding_boxes']}' (x1, y1, x2, y2) is empty or inverted")
    if x1 >= width - 0.5 or y1 >= height - 0.5 or x2 <= -0.5 or y2 <= -0.5:
        raise ValueError(f"Bounding_boxes '{row['Bounding_boxes']}' is outside the slice of {height} x {width} pixels")
    choices = ("Train_Val_Test", "Coarse_lesion_type", "Possibly_noisy")
    (part,), (kind,), (noisy,) = (_numbers(row, column, 1) for column in choices)
    if part not in (1, 2, 3) or kind not in (-1, *range(1, len(TYPES) + 1)) or noisy not in (0, 1):
        raise ValueError(
            f"of Train_Val_Test {part:g} (1, 2 or 3), Coarse_lesion_type {kind:g} (-1, or 1 to {len(TYPES)}) and "
            f"Possibly_noisy {noisy:g} (0 or 1) one cannot be"
        )
    diameter = max(_numbers(row, "Lesion_diameters_Pixel_", 2, above=0)) * x_mm
    lesion = Lesion((x1, y1, x2, y2), TYPES[int(kind) - 1] if kind > 0 else "", round(diameter, 3), bool(noisy))
    known = {
        "z_position": _numbers(row, "Normalized_lesion_location", 3)[2],
        "windows": list(_numbers(row, "DICOM_windows", 2)),
        "slice_range": [int(end) for end in _numbers(row, "Slice_range", 2)],
    }
    spacing = (interval, y_mm, x_mm)
    return KeySlice(
        PARTS[int(part) - 1], name["series"], int(number), (height, width), spacing, name["patient"], (lesion,), known
    )


def _numbers(row: Mapping[str, str], column: str, count: int, above: float = -math.inf) -> tuple[float, ...]:
    """The numbers of a cell, parted by commas.

    Raises:
        ValueError: there are more or fewer than ``count``, or one is not finite or not ``above``.
    """
    try:
        found = tuple(float(word) for word in row[column].split(","))
    except ValueError:
        found = ()
    if len(found) != count or not all(above < number < math.inf for number in found):
        more = f" above {above:g}" if above > -math.inf else ""
        raise ValueError(f"{column} '{row[column]}' is not {count} finite number{'s' * (count > 1)}{more}")
    return found


def _series(job: _Job) -> _Outcome:
    """Look for the slices of a series or, where they go to the cache, read and check each and write the good ones."""
    try:
        series = PictureSeries(job.folder)
    except ScanError as error:
        return _Outcome((), [_problem(job.name, error)])
    if job.cache is None:
        return _Outcome(tuple(series.numbers.tolist()), [])
    files = [series.file(number) for number in series.numbers]
    source = _digest(files, job.size)
    try:
        record = read_record(job.cache, job.name)
        if record.get("source") == source and (job.cache / f"{job.name}.b2nd").exists():
            return _Outcome(tuple(record["numbers"]), [Problem(*problem) for problem in record["problems"]])
    except ScanError:  # never prepared, or by an earlier version
        pass
    planes, problems = {}, []
    for number, file in zip(series.numbers.tolist(), files, strict=True):
        try:
            plane = read_hounsfield(file)
            if plane.shape != job.size:
                finding = f"is of {plane.shape} pixels (H, W), where the table says {job.size}"
                raise ScanError(file, finding, PICTURE)
            planes[number] = plane
        except ScanError as error:
            problems.append(_problem(job.name, error))
    if planes:
        write_series(
            job.cache, job.name, np.stack(list(planes.values())), list(planes), source=source, problems=problems
        )
    return _Outcome(tuple(planes), problems, new=True)


def _there(
    slices: Iterable[KeySlice], outcomes: Mapping[str, _Outcome], pictures: Path
) -> tuple[list[KeySlice], list[Problem]]:
    """The key slices that are there, and what misses: key slices, and neighbours that the table says are there."""
    kept, problems = [], []
    for name, keys in groupby(slices, lambda key: key.series):
        there, wanted = set(outcomes[name].numbers), set()
        for key in keys:
            if key.number not in there:
                case, file = f"{name}_{key.number:03d}", pictures / name / f"{key.number:03d}.png"
                problems.append(Problem(case, str(file), "is missing or damaged: the key slice is left out", PICTURE))
                continue
            kept.append(key)
            low, high = key.known["slice_range"]
            wanted.update(range(low, high + 1))
        if missing := sorted(wanted - there):
            finding = f"of the neighbours that the table says are there, it lacks {', '.join(map(str, missing))}"
            remedy = "fetch them again; until then the nearest slice that is there stands for each"
            problems.append(Problem(name, str(pictures / name), finding, remedy))
    return kept, problems


def _problem(case: str, error: ScanError) -> Problem:
    return Problem(case, *(str(part) for part in error.args))


def _digest(files: Iterable[Path], size: Any) -> str:
    """Of all that the cached series depends on: other files, or another size, other cache."""
    stamps = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr((size, stamps)).encode()).hexdigest()
