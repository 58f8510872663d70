"""What a predictor says of scans, as the files of one folder: labels, findings or classes; each written aside first.

Each scan has a record, a json file with its numbers; a table lists the numbers of all scans in the folder. A record is
first written as unfinished and completed after the scan's other files, so files without a record are of other origin.
"""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vdt3d.apis.predictor import Predictor
from vdt3d.inference import Classified, scan_report, table_rows
from vdt3d.inference.findings import COLUMNS
from vdt3d.io import Scan, SegSource, write_dicom_seg, write_nifti
from vdt3d.structures import LabelMap, Volume
from vdt3d.utils.files import read_json, visible, write_aside
from vdt3d.utils.notice import NOTICE
from vdt3d.utils.outputs import foreign_file, record_state, write_recorded

SHEET_PLANES = ("axial", "coronal", "sagittal")


class Prediction(NamedTuple):
    """Prediction for one scan, ready to be written.

    Fields:
        record: content of its record.
        writers: calls that write its other files, all of them or none.
        extras: calls that write files whose failure leaves the others.
    """

    record: dict[str, Any]
    writers: Sequence[Callable[[], Any]]
    extras: Sequence[Callable[[], Any]] = ()


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
        """Return the paths of the files of a scan that make it done."""
        return [self.out / f"{name}{self.suffix}", self.record_of(name)]

    def places(self, name: str) -> list[Path]:
        """Return the paths that writing a scan may replace."""
        return self.expected(name)

    def overviews(self) -> list[Path]:
        """Return the paths of the files about all scans."""
        return [self.out / self.table]

    def record_of(self, name: str) -> Path:
        """Return the path of a scan's record."""
        return self.out / f"{name}{self.record}"

    def is_done(self, name: str) -> bool:
        """Return whether all files of a scan exist and its record is complete."""
        return all(path.exists() for path in self.expected(name)) and record_state(self.record_of(name), name) == "done"

    def foreign(self, name: str) -> Path | None:
        """Return the first file that is in the place of a scan's own and that no prediction wrote, or None."""
        return foreign_file(self.record_of(name), name, self.places(name))

    def write(self, predictor: Predictor, name: str, scan: Scan) -> None:
        """Predict one scan and write its files; if writing fails, none of them is left (``extras`` excepted).

        Raises:
            ValueError, OSError: as reading, predicting and writing do.
        """
        prediction = self._predict(predictor, name, scan)
        write_recorded(self.record_of(name), prediction.record, prediction.writers, self.places(name))
        for write in prediction.extras:
            write()

    @abstractmethod
    def _predict(self, predictor: Predictor, name: str, scan: Scan) -> Prediction:
        """Return what is to be written of one scan."""

    @abstractmethod
    def rows(self, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of the table that one scan's record makes."""

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the records of the finished scans in the folder, by name."""
        for path in visible(self.out.glob(f"*{self.record}")):
            name = path.name.removesuffix(self.record)
            if record_state(path, name) == "done" and (self.out / f"{name}{self.suffix}").exists():
                yield read_json(path)

    def write_overview(self) -> None:
        """Write the table of all finished scans in the folder; without any, remove it."""
        rows = [self.rows(record) for record in self.records()]
        if rows:
            table = pd.DataFrame([row for part in rows for row in part], columns=list(self.columns) or None)
            write_aside(self.out / self.table, lambda aside: table.to_csv(aside, index=False))
        else:
            for path in self.overviews():
                path.unlink(missing_ok=True)


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
        return [*(path for path, wanted in more.items() if wanted), *super().expected(name)]

    def places(self, name: str) -> list[Path]:
        more = [self.out / "disagreement" / f"{name}.nii.gz"] if self.uncertainty else []
        return [*more, *self.expected(name)]

    def _predict(self, predictor: Predictor, name: str, scan: Scan) -> Prediction:
        source = SegSource.read(scan.path, scan.series) if self.dicom_seg else None  # refused before the work is done
        volume = predictor.read(scan.path, series=scan.series)
        writers: list[Callable[[], Any]] = []
        if self.uncertainty:
            assessed = predictor.assess(volume, name=name)
            labels = assessed.labels
            for kind in ("disagreement", "uncertainty"):
                if (map_ := getattr(assessed, kind)) is not None:
                    writers.append(partial(write_nifti, map_, self.out / kind / f"{name}.nii.gz"))
        else:
            labels = predictor(volume, name=name)
        if self.sheets:
            writers.append(partial(self._draw, name, volume, labels, predictor.classes))
        writers.append(partial(write_nifti, labels, self.out / f"{name}{self.suffix}"))
        structures = predictor.structures or {str(label): label for label in np.unique(labels.array).tolist() if label}
        extras = [] if source is None else [partial(self._write_seg, predictor, name, labels, source)]
        return Prediction(volumes_report(labels, name=name, structures=structures), writers, extras)

    def _write_seg(self, predictor: Predictor, name: str, labels: LabelMap, source: SegSource) -> None:
        from vdt3d.visualization import PALETTE

        path = self.out / f"{name}.seg.dcm"
        try:
            write_dicom_seg(labels, path, source, segments=predictor.structures, colours=PALETTE)
        except ValueError as error:
            raise ValueError(f"{error}; {name}{self.suffix} was written, {path.name} was not") from error

    def rows(self, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{"scan": record["scan"]} | structure for structure in record["volumes"]]

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

    def expected(self, name: str) -> list[Path]:
        return [self.out / "pictures" / name, self.record_of(name)]

    def overviews(self) -> list[Path]:
        return [self.out / self.table, self.out / "findings.html"]

    def _predict(self, predictor: Predictor, name: str, scan: Scan) -> Prediction:
        from vdt3d.visualization import finding_pictures

        volume = predictor.read(scan.path, series=scan.series)
        findings = predictor.find(volume, name=name, **self.options)
        report = scan_report(findings, volume, name=name, classes=predictor.classes)
        pictures = finding_pictures(volume, findings.boxes, findings.slices, axis=findings.axis)
        folder = self.out / "pictures" / name
        for finding in report["findings"]:
            finding["picture"] = (folder / f"{finding['rank']}.jpg").relative_to(self.out).as_posix()
        return Prediction(report, [partial(self._write_pictures, report, pictures)])

    def _write_pictures(self, report: Mapping[str, Any], pictures: Sequence[np.ndarray]) -> None:
        from vdt3d.visualization import jpeg

        folder = self.out / "pictures" / report["scan"]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for finding, picture in zip(report["findings"], pictures, strict=True):
            path = self.out / finding["picture"]
            write_aside(path, lambda aside, picture=picture: aside.write_bytes(jpeg(picture)))

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

    def _predict(self, predictor: Predictor, name: str, scan: Scan) -> Prediction:
        said = predictor(predictor.read(scan.path, series=scan.series), name=name)
        return Prediction(class_report(said, name), [])

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
