"""LesionScans: windows about key slices whose lesions are listed in a COCO-style json; arrays are (C, D, H, W)."""

from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from vdt3d.datasets.base import VolumeDataset
from vdt3d.io import CachedSeries, ScanError, Series
from vdt3d.registry import DATASETS
from vdt3d.structures import Boxes, Sample, SpacedWindow, Volume, affine_from_spacing
from vdt3d.transforms import mixed, window_affine
from vdt3d.utils.files import read_json

# The json counts from the middle of the first pixel, as DeepLesion's table does; in ``Boxes`` pixel 0 begins at 0.
MIDDLE = 0.5
# From our canonical axes (up, forward, to the right) to those of radiologists' pictures, DeepLesion's among them.
AS_SHOWN = np.diag([-1.0, -1.0, -1.0, 1.0])


@DATASETS.register_module()
class LesionScans(VolumeDataset):
    """Key slices of scans with boxes about their lesions, each with its neighbours; read from the cache slice by slice.

    A sample is the window about a key slice, in the values that were prepared (CT: Hounsfield units) as float32, on a
    grid whose axes run down, back and to the patient's left. ``boxes`` and ``reference`` are the lesions of the key
    slice, which is ``[window.place, window.place + 1]`` along D, with the facts "type" ("" where not known),
    "diameter_mm" (the longest; nan where not known) and "noisy". What of a box lies outside its slice is cut off. Key
    slices without boxes are read too. ``tools/dataset/prepare.py lesion_scans`` makes such a set of volumes with 3D
    boxes.

    Args:
        data_root: folder of the data.
        ann_file: COCO-style json, relative to ``data_root``: of images file_name ("SERIES/NUMBER.png"), height, width,
            spacing (y and x, or one number) and slice_intv, both in mm, perhaps patient; of annotations bbox (x, y, w,
            h, from the middle of the first pixel), perhaps noisy, type, diameter_mm.
        window: arguments of ``SpacedWindow``; the model must be told the same number of slices.
        noisy: "keep" boxes that are marked as possibly wrong, or "drop" them, and the key slices that hold no other.
        prepared: folder that the preparation wrote, relative to ``data_root``.
        **kwargs: as ``VolumeDataset``.

    Raises:
        ValueError: an unknown choice; the json is missing or damaged, lacks what is said above, has several categories,
            or a box that is empty or outside its slice. (On use) a slice is missing, damaged or of another size.
    """

    METAINFO = {"classes": ("lesion",)}

    def __init__(
        self,
        data_root: str | Path,
        *,
        ann_file: str = "annotations/train.json",
        window: dict | SpacedWindow | None = None,
        noisy: Literal["keep", "drop"] = "keep",
        prepared: str = "prepared",
        **kwargs,
    ):
        if noisy not in ("keep", "drop"):
            raise ValueError(f"noisy={noisy!r} is unknown; choose 'keep' or 'drop'")
        self.window, self.noisy = SpacedWindow.of(window), noisy
        self.folder = Path(data_root, prepared, "series")
        self._opened: dict[str, Series] = {}
        super().__init__(data_root, ann_file=ann_file, **kwargs)

    def load_data_list(self) -> list[dict]:
        """The key slices in the order of the json."""
        content = read_annotations(self.ann_file)
        boxes_of = defaultdict(list)
        for box in content["annotations"]:
            boxes_of[box.get("image_id")].append(box)
        cases = [self._case(image, boxes_of.pop(image["id"], [])) for image in content["images"]]
        if boxes_of:
            raise ValueError(
                f"{self.ann_file}: {len(boxes_of)} images with boxes are not listed, such as {next(iter(boxes_of))}"
            )
        return [case for case in cases if case is not None]

    def read(self, case: dict) -> Sample:
        """The window about a key slice."""
        series = self._series(case["series"])
        key, step = case["key"], self.window.step(case["spacing"][0])
        try:
            sources = self.window.sources(key, step, series.numbers)
        except ValueError as error:
            finding = f"lacks the key slice {key}, which {self.ann_file} lists"
            raise ScanError(series.path, finding, "fetch it again, or prepare the annotations anew") from error
        planes = series.planes(sorted({number for source in sources for number in source[:2]}))
        if planes[key].shape != case["shape"]:
            finding = f"its slices are of {planes[key].shape} pixels (H, W), {self.ann_file} says {case['shape']}"
            raise ScanError(series.path, finding, "prepare the annotations anew, of these slices")
        affine = affine_from_spacing(case["spacing"]) @ AS_SHOWN
        image = Volume(np.stack(mixed(planes, sources))[None], window_affine(affine, self.window, key, step))
        place = np.full((len(case["boxes"]), 1), float(self.window.place))
        rows_N4 = np.array(case["boxes"], dtype=np.float64).reshape(-1, 4)[:, [1, 0, 3, 2]]
        corners = np.concatenate([place, rows_N4[:, :2], place + 1, rows_N4[:, 2:]], axis=1)
        boxes = Boxes(
            corners, affine=image.affine, facts={name: np.array(facts) for name, facts in case["facts"].items()}
        )
        return Sample(image=image, boxes=boxes, reference=boxes, group=case["group"], name=case["name"])

    def targets(self) -> np.ndarray:
        """(N,) 1 where a lesion is known, else 0, for ``BalancedSampler``; reads no slice."""
        return np.array([int(bool(self.get_data_info(index)["boxes"])) for index in range(len(self))])

    def _series(self, name: str) -> Series:
        if name not in self._opened:
            self._opened[name] = self._open(name)
        return self._opened[name]

    def _open(self, name: str) -> Series:
        return CachedSeries(self.folder, name)

    def _path(self, image: PurePosixPath) -> Path:
        """What must be there for the image to be read."""
        return self.folder / f"{image.parent.name}.json"

    def _case(self, image: dict[str, Any], listed: list[dict]) -> dict | None:
        """An entry of the data list; None for a key slice all of whose boxes are dropped."""
        try:
            file = PurePosixPath(image["file_name"])
            height, width = int(image["height"]), int(image["width"])
            within = image["spacing"] if isinstance(image["spacing"], list) else [image["spacing"]] * 2
            spacing = tuple(float(step) for step in (image["slice_intv"], *within))
            affine_from_spacing(spacing)
            kept = [box for box in listed if self.noisy == "keep" or not box.get("noisy")]
            if listed and not kept:
                return None
            boxes = [_corners(box["bbox"], height, width) for box in kept]
            key = int(file.stem)
        except (KeyError, TypeError, ValueError) as error:
            said = f"it lacks {error}" if isinstance(error, KeyError) else error
            raise ValueError(
                f"{self.ann_file}: image {image.get('file_name')}: {said}; correct it, or make the file anew with "
                "tools/dataset/prepare.py, which leaves out what cannot be and names it"
            ) from error
        series = file.parent.name
        return {
            "path": str(self._path(file)),
            "name": f"{series}_{file.stem}",
            "group": str(image.get("patient", series.partition("_")[0])),
            "series": series,
            "key": key,
            "spacing": spacing,
            "shape": (height, width),
            "boxes": boxes,
            "facts": {
                "type": [str(box.get("type") or "") for box in kept],
                "diameter_mm": [float(box.get("diameter_mm") or "nan") for box in kept],
                "noisy": [bool(box.get("noisy")) for box in kept],
            },
        }


def read_annotations(path: str | Path) -> dict[str, list]:
    """A COCO-style json of one category: "images", "annotations" and "categories".

    Raises:
        ValueError: it is missing, damaged, or none; it has several categories.
    """
    try:
        content = read_json(path)
        kinds = {box["category_id"] for box in content["annotations"]}
        identities = {image["id"] for image in content["images"]}
    except FileNotFoundError:
        raise ValueError(
            f"there is no {path}; tools/dataset/prepare.py writes it, data/README.md says of what"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no COCO-style json: {type(error).__name__} {error}") from error
    if len(kinds) > 1:
        raise ValueError(f"{path} has boxes of the categories {sorted(kinds)}; lesions are one, their types are facts")
    if len(identities) < len(content["images"]):
        raise ValueError(f"{path}: of {len(content['images'])} images {len(identities)} have an id of their own")
    return content


def _corners(bbox: list[float], height: int, width: int) -> tuple[float, float, float, float]:
    """(x1, y1, x2, y2) of a box as ``Boxes`` count, cut to its slice.

    Raises:
        ValueError: it is empty, inverted or outside.
    """
    x, y, w, h = (float(number) for number in bbox)
    if not (np.isfinite([x, y, w, h]).all() and w > 0 and h > 0):
        raise ValueError(f"the box {bbox} (x, y, w, h) is empty or inverted")
    low = max(x + MIDDLE, 0.0), max(y + MIDDLE, 0.0)
    high = min(x + w + MIDDLE, float(width)), min(y + h + MIDDLE, float(height))
    if low[0] >= high[0] or low[1] >= high[1]:
        raise ValueError(f"the box {bbox} (x, y, w, h) is outside its slice of {height} x {width} pixels (H, W)")
    return *low, *high
