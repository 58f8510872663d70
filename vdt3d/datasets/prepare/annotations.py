"""Key slices with their lesions, written as COCO-style json, and what could not be prepared, by name."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vdt3d.datasets.splits import SPLITS
from vdt3d.utils.files import read_json, write_aside
from vdt3d.utils.outputs import check_writable

PARTS = SPLITS["all"]


class Lesion(NamedTuple):
    """A lesion of a key slice.

    Fields:
        corners: (x1, y1, x2, y2) in pixels, from the middle of the first one.
        type: what it is; "" where not known.
        diameter_mm: its longest; None where not known.
        noisy: whether the box may be wrong.
    """

    corners: tuple[float, float, float, float]
    type: str = ""
    diameter_mm: float | None = None
    noisy: bool = False


class KeySlice(NamedTuple):
    """A slice with lesions.

    Fields:
        part: "train", "val" or "test".
        series, number: where it is.
        size: (H, W).
        spacing: (z, y, x) in mm.
        patient: whose, by a neutral id.
        lesions: in it.
        known: what else the json is to say of it.
    """

    part: str
    series: str
    number: int
    size: tuple[int, int]
    spacing: tuple[float, float, float]
    patient: str
    lesions: tuple[Lesion, ...]
    known: Mapping[str, Any] = {}


class Problem(NamedTuple):
    """What was left out, or stood for by something else: which case, the file, what was found and what to do."""

    case: str
    file: str
    finding: str
    remedy: str


FIELDS = Problem._fields


class Report(NamedTuple):
    """What a preparation came to.

    Fields:
        counts: key slices and boxes of each part.
        series: how many are in the cache.
        new: how many of them were written now, not in an earlier run.
        problems: what was left out or is not as it should be.
    """

    counts: dict[str, tuple[int, int]]
    series: int
    new: int
    problems: list[Problem]


def check_target(dst: Path) -> None:
    """Refuse a folder whose annotations or problems.json ``write_annotations`` and ``write_problems`` did not write.

    Raises:
        ValueError: the message names the file; or the folder is a file, or cannot be written to.
    """
    check_writable(dst / "annotations")
    check_problems(dst / "problems.json")
    for path in (dst / "annotations" / f"{part}.json" for part in PARTS):
        if path.exists():
            found = _content(path)
            images = found.get("images") if isinstance(found, dict) else None
            if not isinstance(images, list) or not all(
                isinstance(image, dict) and "patient" in image for image in images
            ):
                raise ValueError(f"{path} would be replaced, and vdt3d prepare did not write it; name another folder")


def check_problems(path: Path) -> None:
    """Refuse a problems.json that is no list of problems of cases, which the next list would replace.

    Raises:
        ValueError: the message names the file.
    """
    found = _content(path) if path.exists() else []
    if not isinstance(found, list) or not all(isinstance(each, dict) and each.keys() == {*FIELDS} for each in found):
        raise ValueError(f"{path} would be replaced, and vdt3d prepare did not write it; name another folder")


def _content(path: Path) -> Any:
    try:
        return read_json(path)
    except ValueError:
        return None


def write_annotations(folder: Path, slices: Sequence[KeySlice]) -> dict[str, tuple[int, int]]:
    """Write ``folder``/train.json, val.json and test.json, be they empty; how many key slices and boxes each has."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = {}
    for part in PARTS:
        content = _coco([each for each in slices if each.part == part])
        text = json.dumps(content)
        write_aside(folder / f"{part}.json", lambda aside, text=text: aside.write_text(text, encoding="utf-8"))
        counts[part] = (len(content["images"]), len(content["annotations"]))
    return counts


def write_problems(folder: Path, problems: Sequence[Problem]) -> None:
    """``folder``/problems.json, or none."""
    path = folder / "problems.json"
    if not problems:
        path.unlink(missing_ok=True)
        return
    text = json.dumps([problem._asdict() for problem in problems], indent=1) + "\n"
    write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def _coco(slices: Sequence[KeySlice]) -> dict[str, Any]:
    """In the form of the published files, with patient, type and diameter besides."""
    images, annotations = [], []
    for identity, each in enumerate(slices, start=1):
        height, width = each.size
        interval, *within = each.spacing
        images.append(
            {
                "id": identity,
                "file_name": f"{each.series}/{each.number:03d}.png",
                "height": height,
                "width": width,
                "slice_no": each.number,
                "spacing": within[0] if within[0] == within[1] else within,
                "slice_intv": interval,
                "patient": each.patient,
                **each.known,
            }
        )
        for lesion in each.lesions:
            x1, y1, x2, y2 = lesion.corners
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": identity,
                    "category_id": 1,
                    "bbox": [round(number, 4) for number in (x1, y1, x2 - x1, y2 - y1)],
                    "area": round((x2 - x1) * (y2 - y1), 4),
                    "iscrowd": 0,
                    "noisy": int(lesion.noisy),
                    "type": lesion.type,
                    "diameter_mm": lesion.diameter_mm,
                }
            )
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "lesion"}]}
