"""VolumeSegmentation: scans with a label for every voxel, read from the scans themselves or from their cache."""

import colorsys
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from medseg.datasets.layouts import Case, Layout, read_layout
from medseg.datasets.splits import assign_parts
from vdt3d.datasets import VolumeDataset
from vdt3d.datasets.base import built
from vdt3d.datasets.splits import SPLITS
from vdt3d.io import ScanError, check_same_grid, read_case, read_image, read_label_map
from vdt3d.registry import DATASETS
from vdt3d.structures import IGNORED, LabelMap, Sample, Volume
from vdt3d.utils.files import package_roots, read_json


@DATASETS.register_module()
class VolumeSegmentation(VolumeDataset):
    """A data set in the layout of the Medical Segmentation Decathlon, or in nnU-Net's raw one.

    Training reads patches: give it the ``prepared`` folder, where every case lies reoriented, cropped, resampled and
    in compressed blocks; image and label map of its samples are lazy, and a transform that cuts reads no more than it
    needs. Validation and test read ``whole_scans`` from the original files; what the preparation did (``pipeline`` of
    its fingerprint.json) is then done to the image as transforms, so that the prediction finds its way back to the
    scan's own grid, where the truth has waited, untouched, as ``Sample.reference``. Either way
    ``Sample.statistics`` has what ``FingerprintNormalize`` wants to know of the data set.

    Args:
        data_root: folder of ``dataset.json``.
        split: "train", "val", "trainval", "test" or "all".
        split_file: json of case lists (``medseg.datasets.splits``), in ``data_root``, from the working folder, or one
            of ours (data/splits/...). A file without "val" leaves the choice of models to us: of its "train", one
            patient in ``folds`` is held out, and "trainval" is all of it. Without a file, this is done to all labelled
            cases. "test" is the file's, and where it has none or there is no file, the test cases of the layout.
        fold, folds: which hand of how many is held out; of a file with several folds, which one is taken.
        group: a pattern whose first bracket, in a case's name, is the patient: ``r"(patient\\d+)_"``. Without it,
            every case counts as a patient.
        prepared: folder made by tools/dataset/prepare.py, in ``data_root``.
        spacing: (z, y, x) in mm to which ``prepared`` must have been resampled, with None for an axis that keeps its
            spacing; left out, any preparation is accepted.
        whole_scans: put the label map into ``reference`` instead of ``label_map``.
        reader: options of ``vdt3d.io.read_volume``, such as ``dict(nan="zero")`` or ``dict(shear="resample")``.

    Metainfo:
        classes: names in the order of their labels. palette: a colour (r, g, b) for each. modality: names of the
        channels. regions: where classes overlap, the labels each is made of, by name. preparation: what a new scan
        goes through before the pipeline, and the ``statistics`` it gets; with the checkpoint it reaches the predictor.

    Raises:
        ValueError: an unknown choice, or a split that does not fit the cases.
        ScanError: a file is missing or does not fit the others; ``prepared`` has another spacing than ``spacing``.
    """

    METAINFO = {"classes": ()}
    group = ""

    def __init__(
        self,
        data_root: str | Path,
        *,
        split: str = "train",
        split_file: str | Path | None = None,
        fold: int = 0,
        folds: int = 5,
        group: str | None = None,
        prepared: str | Path | None = None,
        spacing: tuple[float | None, float | None, float | None] | None = None,
        whole_scans: bool = False,
        reader: dict[str, Any] | None = None,
        **kwargs,
    ):
        if split not in SPLITS or fold not in range(folds):
            raise ValueError(
                f"split='{split}', fold={fold}: the split is one of {', '.join(SPLITS)}, the fold from 0 to {folds - 1}"
            )
        self.split, self.fold, self.folds, self.whole_scans = split, fold, folds, whole_scans
        self.split_file = None if split_file is None else located(split_file, data_root)
        if spacing is not None and prepared is None:
            raise ValueError(f"spacing={spacing}: only a prepared data set is resampled; give prepared='prepared' too")
        self.prepared = None if prepared is None else Path(data_root, prepared)
        self.spacing = None if spacing is None else tuple(spacing)
        self.cache = None if prepared is None or whole_scans else self.prepared / "cases"
        self.steps: list[Callable[[Sample], Sample]] = []
        self.statistics: dict[str, tuple[float, ...]] = {}
        self.group = self.group if group is None else group
        self.reader = dict(reader or {})
        super().__init__(data_root, **kwargs)

    def find_layout(self) -> Layout:
        """Where the files are; a data set of another layout redefines this."""
        return read_layout(self.data_root)

    def load_data_list(self) -> list[dict]:
        """The cases of the split, in the order of the layout."""
        layout = self.find_layout()
        self._settle_metainfo(layout)
        if self.prepared is not None:
            self._settle_preparation(self.prepared / "fingerprint.json")
        names = [case.name for case in layout.labelled]
        groups = [self._group_of(name) for name in names]
        parts = assign_parts(names, groups, split_file=self.split_file, fold=self.fold, folds=self.folds)
        if self.split == "test" and "test" not in set(parts):
            chosen = layout.test
        else:
            chosen = [case for case in layout.labelled if parts[case.name] in SPLITS[self.split]]
        return [self._entry(case) for case in chosen]

    def filter_data(self) -> list[dict]:
        """Refuse an empty list and missing files at the door rather than in the middle of an epoch."""
        if not self.data_list:
            raise ValueError(f"{type(self).__name__} finds no case for split='{self.split}' in {self.data_root}")
        remedy = "prepare it (tools/dataset/prepare.py names what is wrong with it)" if self.cache else "put it there"
        for case in self.data_list:
            for path in filter(None, (*case["images"], case["label"])):
                if not Path(path).exists():
                    raise ScanError(path, f"is missing, a file of case '{case['name']}'", f"{remedy}, or take it out")
        return self.data_list

    def read(self, case: dict) -> Sample:
        """Load one entry of the data list."""
        if self.cache is not None:
            sample = read_case(self.cache, case["name"])
            check_label(case["path"], max(sample.foreground or [0]), self.metainfo["classes"])
            return sample.replace(group=case["group"], statistics=sample.statistics | self.statistics)
        image, label_map = self.read_files(case)
        sample = Sample(
            image=image,
            statistics=self.statistics,
            group=case["group"],
            name=case["name"],
            **placed(label_map, self.whole_scans),
        )
        for step in self.steps:
            sample = step(sample)
        return sample

    def read_files(self, case: dict) -> tuple[Volume, LabelMap | None]:
        """Image and labels from their own files; a data set whose files are others redefines this."""
        image = read_image(case["images"], self.channels, **self.reader)
        if case["label"] is None:
            return image, None
        shared = {key: value for key, value in self.reader.items() if key in ("shear", "spacing")}
        return image, read_labels(case["label"], image, case["path"], self.metainfo["classes"], **shared)

    def targets(self) -> np.ndarray:
        """There are none.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{type(self).__name__} has a label for each voxel, none for each case: leave balancing out")

    def _settle_metainfo(self, layout: Layout) -> None:
        classes = tuple(self._metainfo["classes"]) or layout.classes
        if len(classes) != len(layout.classes):
            finding = (
                f"has {len(layout.classes)} classes {layout.classes}, where {len(classes)} {classes} were expected"
            )
            raise ScanError(Path(self.data_root, "dataset.json"), finding, "check data_root and the data set's type")
        self.channels = len(layout.channels)
        found = {"modality": layout.channels, "regions": layout.regions, "palette": palette(len(classes))}
        self._metainfo = found | self._metainfo | {"classes": classes}

    def _settle_preparation(self, path: Path) -> None:
        """What was done to every case, and what was measured over all of them."""
        try:
            found = read_json(path)
            self.statistics = set_statistics(found["intensity"])
            self.steps = built(found["pipeline"]) if self.whole_scans else []
            self._metainfo["preparation"] = {"pipeline": found["pipeline"], "statistics": self.statistics}
        except (OSError, ValueError, KeyError, TypeError) as error:
            finding = f"is not the fingerprint of a prepared data set ({type(error).__name__}: {error})"
            raise ScanError(path, finding, "prepare it (tools/dataset/prepare.py), or leave prepared out") from error
        resampled = [tuple(step["spacing"]) for step in found["pipeline"] if step["type"] == "ResampleSpacing3D"]
        if self.spacing is not None and resampled != [self.spacing]:
            had = f"was resampled to (z, y, x) {resampled[0]} mm" if resampled else "was not resampled"
            words = " ".join(map(str, self.spacing))
            finding = f"{had}, but the config expects {self.spacing} (dataset.spacing)"
            raise ScanError(path, finding, f"prepare it again with --spacing {words}")

    def _group_of(self, name: str) -> str:
        if not self.group:
            return name
        match = re.search(self.group, name)
        if match is None:
            raise ValueError(f"the pattern group={self.group!r} finds no patient in the case name '{name}'")
        return match[1]

    def _entry(self, case: Case) -> dict:
        group = self._group_of(case.name)
        if self.cache is not None:
            path = str(self.cache / f"{case.name}.json")
            return {"path": path, "images": [path], "label": None, "name": case.name, "group": group}
        images = [str(path) for path in case.images]
        label = None if case.label is None else str(case.label)
        return {"path": images[0], "images": images, "label": label, "name": case.name, "group": group}


def placed(label_map: LabelMap | None, whole_scans: bool) -> dict[str, LabelMap | None]:
    """The field of a sample that a label map belongs into."""
    return {"reference" if whole_scans else "label_map": label_map}


def read_labels(
    path: str | Path, image: Volume, image_path: str | Path, classes: tuple[str, ...], **reader
) -> LabelMap:
    """The label map of an image; ``reader`` are options of ``vdt3d.io.read_label_map``.

    Raises:
        ScanError: it does not lie on the image's grid, or holds a label that is no class; the message names the files.
    """
    label_map = read_label_map(path, **reader)
    check_same_grid(path, label_map, image_path, image)
    highest = int(label_map.array.max())
    if highest >= len(classes):  # only then is it worth a look at every voxel
        highest = int(label_map.array[label_map.array != IGNORED].max(initial=0))
    check_label(path, highest, classes)
    return label_map


def set_statistics(intensity: list[dict[str, Any]]) -> dict[str, tuple[float, ...]]:
    """For ``Sample.statistics``: numbers of the data set by channel, as ``set_mean`` and so on; nan where the units of
    a channel are no Hounsfield units, and so differ between cases.

    Args:
        intensity: of a fingerprint.json.
    """
    return {
        f"set_{key}": tuple(
            float(channel[key]) if channel["modality"].upper() == "CT" else float("nan") for channel in intensity
        )
        for key in ("percentile_00_5", "percentile_99_5", "mean", "std")
    }


def check_label(path: str | Path, highest: int, classes: tuple[str, ...]) -> None:
    """Raise ScanError unless ``highest``, the highest label in the file, is a class."""
    if highest >= len(classes):
        finding = f"holds the label {highest}, but there are {len(classes)} classes {classes}"
        raise ScanError(path, finding, f"correct it, or add the class; {IGNORED} marks what nobody knows")


def palette(count: int) -> list[tuple[int, int, int]]:
    """``count`` colours (r, g, b), 0 to 255, no two alike: black for the background, then hues a golden angle apart."""
    hues = [(label * 0.618034) % 1 for label in range(1, count)]
    tones = [((0.9, 1.0), (0.6, 0.9), (0.9, 0.65))[label // 16 % 3] for label in range(1, count)]
    colours = [colorsys.hsv_to_rgb(hue, *tone) for hue, tone in zip(hues, tones, strict=True)]
    return [(0, 0, 0), *(tuple(round(255 * part) for part in colour) for colour in colours)]


def located(path: str | Path, data_root: str | Path) -> Path:
    """The file ``path`` in ``data_root``, from the working folder, or of the package: the first there is.

    Where there is none, it is ``path`` itself, for the reader to refuse.
    """
    roots = (Path(data_root), Path(), *package_roots())
    return next((root / path for root in roots if (root / path).is_file()), Path(path))
