"""What a predictor says of scans, as the files of one folder: labels, findings or classes; each written aside first.

Of every scan a file NAME.json says the numbers, and a table those of all scans in the folder. A scan is done when all
of its files are there.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vdt3d.engine.predictor import Predictor
from vdt3d.inference import Classified, scan_report, table_rows
from vdt3d.inference.findings import COLUMNS
from vdt3d.io import Scan, SegSource, write_dicom_seg, write_nifti
from vdt3d.structures import LabelMap, Volume
from vdt3d.utils.files import visible, write_aside, write_json
from vdt3d.utils.notice import NOTICE

SHEET_PLANES = ("axial", "coronal", "sagittal")


class PredictionFiles(ABC):
    """The files of one kind of answer.

    Args:
        out: the folder.

    Attributes:
        suffix: what the name of a scan's main file ends in.
        record: the same of the file with its numbers; no scan is called so, and labels.json stays free.
        table: the name of the table.
        columns: that the table has even where it is empty.
        verb, what: how messages speak of the work and of what it gives.
    """

    suffix: str
    record: str
    table: str
    columns: Sequence[str]
    verb: tuple[str, str]
    what: str

    def __init__(self, out: Path):
        self.out = out

    def expected(self, name: str) -> list[Path]:
        """The files that make a scan done."""
        return [self.out / f"{name}{self.suffix}", self.out / f"{name}{self.record}"]

    def is_done(self, name: str) -> bool:
        return all(path.exists() for path in self.expected(name))

    @abstractmethod
    def write(self, predictor: Predictor, name: str, scan: Scan) -> None:
        """Read and answer one scan.

        Raises:
            ValueError, OSError: as reading, predicting and writing do.
        """

    @abstractmethod
    def rows(self, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of the table that one scan's record makes."""

    def records(self) -> Iterator[dict[str, Any]]:
        """What the folder holds of each scan, by name."""
        for path in visible(self.out.glob(f"*{self.record}")):
            yield json.loads(path.read_text(encoding="utf-8"))

    def write_overview(self) -> None:
        """Write the table of all scans in the folder; of none, nothing."""
        rows = [self.rows(record) for record in self.records()]
        if rows:
            table = pd.DataFrame([row for part in rows for row in part], columns=list(self.columns) or None)
            write_aside(self.out / self.table, lambda aside: table.to_csv(aside, index=False))


class LabelFiles(PredictionFiles):
    """NAME.nii.gz with the labels and NAME.volumes.json; volumes.csv.

    Args:
        uncertainty: also maps of how far the labels are to be trusted, uncertainty/NAME.nii.gz and, of several views,
            disagreement/NAME.nii.gz.
        dicom_seg: also NAME.seg.dcm.
        sheets: also sheets/NAME.png.
    """

    suffix, record, table = ".nii.gz", ".volumes.json", "volumes.csv"
    columns = ("scan", "label", "voxels", "ml")
    verb, what = ("labelling", "labelled"), "{} label maps"

    def __init__(self, out: Path, *, uncertainty: bool = False, dicom_seg: bool = False, sheets: bool = False):
        super().__init__(out)
        self.uncertainty, self.dicom_seg, self.sheets = uncertainty, dicom_seg, sheets

    def expected(self, name: str) -> list[Path]:
        more = {
            self.out / "uncertainty" / f"{name}.nii.gz": self.uncertainty,
            self.out / f"{name}.seg.dcm": self.dicom_seg,
            self.out / "sheets" / f"{name}.png": self.sheets,
        }
        return [*super().expected(name), *(path for path, wanted in more.items() if wanted)]

    def write(self, predictor: Predictor, name: str, scan: Scan) -> None:
        source = SegSource.read(scan.path, scan.series) if self.dicom_seg else None  # refused before the work is done
        volume = predictor.read(scan.path, series=scan.series)
        labels = self._assessed(predictor, name, volume) if self.uncertainty else predictor(volume, name=name)
        structures = predictor.structures or {str(label): label for label in np.unique(labels.array).tolist() if label}
        label_file = self.out / f"{name}{self.suffix}"
        write_nifti(labels, label_file)
        write_json(self.out / f"{name}{self.record}", volumes_report(labels, name=name, structures=structures))
        if source is not None:
            from vdt3d.visualization import PALETTE

            path = self.out / f"{name}.seg.dcm"
            try:
                write_dicom_seg(labels, path, source, segments=predictor.structures, colours=PALETTE)
            except ValueError as error:
                raise ValueError(f"{error}; {label_file.name} was written, {path.name} was not") from error
        if self.sheets:
            self._draw(name, volume, labels, predictor.classes)

    def rows(self, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{"scan": record["scan"]} | structure for structure in record["volumes"]]

    def _assessed(self, predictor: Predictor, name: str, volume: Volume) -> LabelMap:
        assessed = predictor.assess(volume, name=name)
        for kind in ("disagreement", "uncertainty"):
            if (map_ := getattr(assessed, kind)) is not None:
                write_nifti(map_, self.out / kind / f"{name}.nii.gz")
        return assessed.labels

    def _draw(self, name: str, volume: Volume, labels: LabelMap, classes: Sequence[str]) -> None:
        from vdt3d.visualization import save, volume_sheet  # matplotlib, which most runs do without
        from vdt3d.visualization.findings import AIR, CT_ABDOMEN

        first = volume.replace(array=np.asarray(volume.array[:1]))
        window = CT_ABDOMEN if first.array.min() < AIR else None
        options = dict(title=name, note=NOTICE, planes=SHEET_PLANES, window=window)
        sheet = volume_sheet(first, labels, classes=classes[1:], **options)
        save(sheet, self.out / "sheets" / f"{name}.png", dpi=150)


class FindingFiles(PredictionFiles):
    """NAME.findings.json and pictures/NAME/1.jpg, ...; findings.csv and findings.html.

    Args:
        options: further ones of ``Predictor.find``.
    """

    suffix = record = ".findings.json"
    table, columns = "findings.csv", COLUMNS
    verb, what = ("searching", "searched"), "findings of {} scans"

    def __init__(self, out: Path, **options: float):
        super().__init__(out)
        self.options = options

    def write(self, predictor: Predictor, name: str, scan: Scan) -> None:
        from vdt3d.visualization import finding_pictures, jpeg

        volume = predictor.read(scan.path, series=scan.series)
        findings = predictor.find(volume, name=name, **self.options)
        report = scan_report(findings, volume, name=name, classes=predictor.classes)
        pictures = finding_pictures(volume, findings.boxes, findings.slices, axis=findings.axis)
        folder = self.out / "pictures" / name
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.jpg"):
            old.unlink()
        for finding, picture in zip(report["findings"], pictures, strict=True):
            path = folder / f"{finding['rank']}.jpg"
            write_aside(path, lambda aside, picture=picture: aside.write_bytes(jpeg(picture)))
            finding["picture"] = path.relative_to(self.out).as_posix()
        write_json(self.out / f"{name}{self.record}", report)

    def rows(self, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        return table_rows(record)

    def write_overview(self) -> None:
        from vdt3d.visualization import write_findings_page

        super().write_overview()
        if (self.out / self.table).exists():
            write_findings_page(self.out / "findings.html", self.records(), folder=self.out, note=NOTICE)


class ClassFiles(PredictionFiles):
    """NAME.prediction.json; predictions.csv."""

    suffix = record = ".prediction.json"
    table, columns = "predictions.csv", ()
    verb, what = ("classifying", "classified"), "predictions of {} scans"

    def write(self, predictor: Predictor, name: str, scan: Scan) -> None:
        said = predictor(predictor.read(scan.path, series=scan.series), name=name)
        write_json(self.out / f"{name}{self.record}", class_report(said, name))

    def rows(self, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        told = {key: record[key] for key in ("scan", "class", "uncertainty", "disagreement")}
        return [told | {f"p_{name}": value for name, value in record["probabilities"].items()}]


FILES: dict[str, Callable[..., PredictionFiles]] = {
    "labels": LabelFiles,
    "findings": FindingFiles,
    "classes": ClassFiles,
}


def volumes_report(labels: LabelMap, *, name: str, structures: Mapping[str, int | Sequence[int]]) -> dict[str, Any]:
    """What a file tells of the volumes in one scan; regions may overlap.

    Args:
        name: how the case is called (never a patient's name).
        structures: name to label, or to the labels of a region.
    """
    array = np.asarray(labels.array)
    counts = np.zeros(int(array.max()) + 1, int)
    for plane in array[0]:  # all at once they would become int64
        counts += np.bincount(plane.ravel(), minlength=len(counts))
    ml = abs(float(np.linalg.det(labels.affine[:3, :3]))) / 1000  # of a voxel
    volumes = []
    for structure, members in structures.items():
        voxels = sum(int(counts[label]) for label in np.atleast_1d(members) if label < len(counts))
        volumes.append({"label": structure, "voxels": voxels, "ml": round(voxels * ml, 4)})
    grid = {"shape_dhw": list(labels.shape), "spacing_mm_dhw": [round(step, 4) for step in labels.spacing]}
    return {"scan": name, "note": NOTICE, **grid, "volumes": volumes}


def class_report(said: Classified, name: str) -> dict[str, Any]:
    """What a file tells of the class of one scan, called ``name``."""
    return {
        "scan": name,
        "note": NOTICE,
        "class": said.label,
        "probabilities": dict(zip(said.classes, said.probabilities.tolist(), strict=True)),
        "uncertainty": said.uncertainty,
        "disagreement": said.disagreement,
    }
