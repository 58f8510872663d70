"""Run-length codes of masks, and csv tables of them as the UW-Madison GI Tract challenge has them.

A code is "start length start length ...": pixels are counted from 1 along the rows, and runs ascend. In a label map a
label is a sum of bits, one for each organ, since organs overlap (``vdt3d.structures.overlapping_classes``).
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from vdt3d.io.checks import ScanError
from vdt3d.structures import overlapping_classes
from vdt3d.utils.files import write_aside

CODE = re.compile(r"\s*(?:[0-9]{1,15}(?:\s+|$))*", re.ASCII)  # 15 digits: sums stay within 64 bits
CASE = re.compile(r"case\d+_day\d+", re.ASCII)
ID = re.compile(rf"({CASE.pattern})_slice_(\d+)", re.ASCII)
COLUMNS = ("segmentation", "predicted")  # of train.csv and of sample_submission.csv


def encode(mask: np.ndarray) -> str:
    """The code of a mask (H, W), of which all but 0 belongs to the organ; "" where nothing does.

    Raises:
        ValueError: the mask has not two axes.
    """
    mask_HW = np.asarray(mask)
    if mask_HW.ndim != 2:
        raise ValueError(f"a mask to encode is (H, W), got shape {mask_HW.shape}")
    padded = np.zeros(mask_HW.size + 2, bool)
    padded[1:-1] = mask_HW.ravel() != 0
    edges = np.flatnonzero(padded[1:] != padded[:-1])  # where runs begin, and one behind their ends, by turns
    edges[1::2] -= edges[::2]
    edges[::2] += 1
    return " ".join(map(str, edges.tolist()))


def decode(code: str | float | None, shape: tuple[int, int]) -> np.ndarray:
    """The mask (H, W), bool, of a code; "", nan and None, as empty cells of tables are read, are the empty mask.

    Args:
        shape: (H, W).

    Raises:
        ValueError: the code is malformed: the message says where.
    """
    empty = code is None or (isinstance(code, float) and np.isnan(code))
    if not (empty or isinstance(code, str)):
        raise ValueError(f"a run-length code is text, got {code!r}")
    height, width = shape
    mask = np.zeros(height * width, bool)
    mask[_pixels(*_runs("" if empty else code, mask.size))] = True
    return mask.reshape(height, width)


def _runs(code: str, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the runs begin, counted from 0, and how long they are: (n,) each."""
    if not CODE.fullmatch(code):
        wrong = next(word for word in code.split(" ") if not CODE.fullmatch(word))
        raise ValueError(f"'{wrong}' is no pixel's number and no length")
    if not code.strip():
        return np.empty(0, np.int64), np.empty(0, np.int64)
    numbers = np.fromstring(code, np.int64, sep=" ")  # six times as fast as splitting the text
    if len(numbers) % 2:
        raise ValueError(f"{len(numbers)} numbers are no pairs of start and length")
    starts, lengths = numbers.reshape(-1, 2).T
    ends = starts + lengths
    inside = starts[0] >= 1 and ends[-1] <= pixels + 1
    if not (inside and (lengths >= 1).all() and (ends[:-1] <= starts[1:]).all()):
        raise ValueError(next(_faults(starts.tolist(), lengths.tolist(), pixels)))
    return starts - 1, lengths


def _faults(starts: Sequence[int], lengths: Sequence[int], pixels: int) -> Iterator[str]:
    """What is wrong with each run, in order."""
    before, end = 0, 0  # start of the run before, and the pixel behind it
    for number, (start, length) in enumerate(zip(starts, lengths, strict=True), start=1):
        for wrong, finding in (
            (start < 1, "begins before pixel 1, the first"),
            (length < 1, "has no pixel"),
            (start < before, "begins before the run that it follows: runs ascend"),
            (start < end, "overlaps the run that it follows"),
            (start + length > pixels + 1, f"leaves the picture of {pixels} pixels"),
        ):
            if wrong:
                yield f"run {number} ('{start} {length}') {finding}"
        before, end = start, start + length


def _pixels(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Every pixel of runs that begin at ``starts``."""
    ends = np.cumsum(lengths)
    return np.arange(lengths.sum()) + np.repeat(starts - ends + lengths, lengths)


class MaskRow(NamedTuple):
    """A row of a table: which slice (``case123_day20_slice_0001``), which organ, and the code of its mask."""

    id: str
    organ: str
    code: str


@dataclass(frozen=True, eq=False)
class RunLengths:
    """The masks of a table by case-day, slice and organ; each is decoded, and so checked, when it is asked for.

    Args:
        path: of the table, for messages.
        organs: in the order of their bits.
        column: what the column of codes is called.
        rows: as in the file.
        places: of each case-day ("case123_day20"), the place in ``rows``, from 0, of (slice number, organ).
    """

    path: Path
    organs: tuple[str, ...]
    column: str
    rows: list[MaskRow] = field(repr=False)
    places: dict[str, dict[tuple[int, str], int]] = field(repr=False)

    @property
    def cases(self) -> list[str]:
        """The case-days in the order in which the table names them first."""
        return list(self.places)

    def slice_numbers(self, case: str) -> list[int]:
        """The slices of a case-day that have a row, ascending.

        Raises:
            ScanError: the table does not name the case-day.
        """
        return sorted({number for number, _ in self._places_of(case)})

    def label_map(self, case: str, slice_numbers: Sequence[int], shape: tuple[int, int]) -> np.ndarray:
        """The organs of some slices of a case-day as labels (D, H, W), uint8, a bit for each organ.

        Args:
            case: such as "case123_day20".
            slice_numbers: D of them, in any order.
            shape: (H, W) of its pictures.

        Raises:
            ScanError: the table does not name the case-day, has no row for a slice and an organ (an empty mask is a row
                with an empty cell), or a code is malformed or does not fit the pictures.
        """
        places = self._places_of(case)
        height, width = shape
        labels = np.zeros(len(slice_numbers) * height * width, np.uint8)
        for bit, organ in enumerate(self.organs):
            runs = []
            for at, number in enumerate(slice_numbers):
                place = places.get((number, organ))
                if place is None:
                    finding = f"has no row for {organ} in slice {number} of {case}"
                    raise ScanError(self.path, finding, "add one, with an empty cell where there is nothing")
                if self.rows[place].code:
                    starts, lengths = self._runs_of(place, height * width)
                    runs.append((starts + at * height * width, lengths))
            if runs:
                labels[_pixels(*map(np.concatenate, zip(*runs, strict=True)))] |= 1 << bit
        return labels.reshape(len(slice_numbers), height, width)

    def _places_of(self, case: str) -> dict[tuple[int, str], int]:
        if case not in self.places:
            raise ScanError(self.path, f"has no row of {case} among its {len(self.places)} case-days", "check the name")
        return self.places[case]

    def _runs_of(self, place: int, pixels: int) -> tuple[np.ndarray, np.ndarray]:
        row = self.rows[place]
        try:
            return _runs(row.code, pixels)
        except ValueError as error:
            finding = f"row {place + 1} ({row.id}, {row.organ}): {error}"
            raise ScanError(self.path, finding, "correct the code, or fetch the table again") from error


def read_masks(path: str | Path, organs: Sequence[str]) -> RunLengths:
    """Read a csv in the layout of train.csv (id, class, segmentation) or sample_submission.csv (id, class, predicted).

    Further columns are passed over. Rows are counted from 1 below the header; there may be none.

    Args:
        organs: the classes that the table may name, in the order of their bits.

    Raises:
        ScanError: the file is no such table, an id is not of the form case123_day20_slice_0001, a class is no organ, or
            an id and a class come twice.
        ValueError: no organs, more than seven, or two of one name.
    """
    path, organs = Path(path), tuple(organs)
    overlapping_classes(organs)  # refuses what cannot be bits of a label
    table, column = _table(path)
    rows = [MaskRow(*row) for row in table[["id", "class", column]].itertuples(index=False)]
    places: dict[str, dict[tuple[int, str], int]] = {}
    for place, row in enumerate(rows):
        match = ID.fullmatch(row.id)
        if match is None:
            finding = f"row {place + 1}: '{row.id}' does not name a slice"
            raise ScanError(path, finding, "ids are of the form case123_day20_slice_0001")
        if row.organ not in organs:
            finding = f"row {place + 1} ({row.id}): '{row.organ}' is none of {', '.join(organs)}"
            raise ScanError(path, finding, "correct it, or name all the table's organs")
        of_case, key = places.setdefault(match[1], {}), (int(match[2]), row.organ)
        if key in of_case:
            finding = f"rows {of_case[key] + 1} and {place + 1} are both of {row.id}, {row.organ}"
            raise ScanError(path, finding, "keep one of them")
        of_case[key] = place
    return RunLengths(path, organs, column, rows, places)


def _table(path: Path) -> tuple[pd.DataFrame, str]:
    """The table, as text and with "" for empty cells, and the name of its column of codes."""
    try:
        table = pd.read_csv(path, dtype=str, encoding="utf-8-sig").fillna("")
    except FileNotFoundError:
        raise ScanError(path, "does not exist", "check the path") from None
    except (ValueError, OSError) as error:  # the parser's errors are ValueErrors
        raise ScanError(path, f"cannot be read as a csv table ({error})", "fetch it again") from error
    found = [column for column in COLUMNS if column in table]
    if not {"id", "class"} <= set(table) or len(found) != 1:
        finding = f"has the columns {', '.join(map(str, table))}"
        raise ScanError(path, finding, f"it wants id, class and one of {' and '.join(COLUMNS)}")
    return table, found[0]


def mask_rows(case: str, slice_numbers: Sequence[int], labels: np.ndarray, organs: Sequence[str]) -> Iterator[MaskRow]:
    """The rows of a case-day for ``write_masks``: of each slice, every organ in order.

    Args:
        case: such as "case123_day20".
        slice_numbers: D of them.
        labels: (D, H, W) integers, a bit for each organ.
        organs: in the order of their bits.
    """
    for number, plane_HW in zip(slice_numbers, labels, strict=True):
        for bit, organ in enumerate(organs):
            yield MaskRow(f"{case}_slice_{number:04d}", organ, encode(plane_HW >> bit & 1))


def write_masks(path: str | Path, rows: Iterable[MaskRow], *, template: RunLengths | None = None) -> None:
    """Write a table of masks, which appears whole or not at all.

    Args:
        rows: sorted by id, where those of one id keep their order, into the layout of train.csv.
        template: sample_submission.csv: just its rows in its order, or all ``rows`` as above if it has none, under the
            name of its column.

    Raises:
        ScanError: the template wants a row that is not among ``rows``.
    """
    path = Path(path)
    rows = sorted(rows, key=itemgetter(0))
    if template is not None and template.rows:
        codes = {row[:2]: row for row in rows}
        for place, wanted in enumerate(template.rows):
            if wanted[:2] not in codes:
                finding = f"row {place + 1} wants {wanted.organ} in {wanted.id}, of which there is no mask"
                raise ScanError(template.path, finding, "add that slice, or take the template of these scans")
        rows = [codes[wanted[:2]] for wanted in template.rows]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("id", "class", COLUMNS[0] if template is None else template.column))
    table.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, lambda aside: aside.write_text(text.getvalue(), encoding="utf-8", newline="\n"))
