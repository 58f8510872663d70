"""What is inspected: the cases of a config's data sets, or scans and pictures found in a folder, read one by one."""

import pickle
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vdt3d.io import list_series, read_label_map, read_volume
from vdt3d.io.checks import is_dangling
from vdt3d.io.pictures import read_picture
from vdt3d.io.read import FORMATS
from vdt3d.io.scans import walk_folders
from vdt3d.io.slices import SUFFIXES as PICTURES
from vdt3d.registry import DATASETS
from vdt3d.structures import Sample, Volume

SUFFIXES = tuple(suffix for form in FORMATS for suffix in form.suffixes)
SPLITS = {
    **dict.fromkeys(("train", "training", "imagesTr"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing", "imagesTs"), "test"),
}
VOXELS = "voxel"  # LIDC's name, in an .npz, of the image beside its masks


class Entry(NamedTuple):
    """Where a case is.

    Fields:
        name: as it is called in the report.
        splits: the parts of the data that it belongs to.
        source: the file or folder that it is read from.
        target: the name of its class; "" where it has none as a whole.
        group: its patient; "" where nobody said.
        dataset: the pickled config of the data set that reads it; empty for files of a folder.
        case: what the data set, or ``_read_file``, is told.
        labels: names of the labels of its label map from 0 on, where the data set tells them.
    """

    name: str
    splits: tuple[str, ...]
    source: str
    target: str
    group: str
    dataset: bytes
    case: dict[str, Any]
    labels: tuple[str, ...] = ()


def config_entries(datasets: Mapping[str, Mapping[str, Any]]) -> list[Entry]:
    """The cases of data sets, each once though it may be in several splits.

    Args:
        datasets: name of the split to the config of its data set, which may be wrapped in others (``SliceWindows``).

    Raises:
        ValueError: a data set whose cases cannot be read one by one.
    """
    found: dict[tuple[str, str], Entry] = {}
    for split, config in datasets.items():
        packed = pickle.dumps(_plain(config))
        dataset = _opened(packed)
        classes = dataset.metainfo.get("classes") or ()
        for index in range(len(dataset)):
            case = dataset.get_data_info(index) if hasattr(dataset, "get_data_info") else {"index": index}
            source = str(case.get("img_path") or case.get("path") or "")
            target = case.get("gt_label", case.get("target"))
            name = str(case.get("name") or (_below(source, dataset.data_root) if source else f"{split}_{index:05d}"))
            former = found.get((source, name))
            found[source, name] = Entry(
                name=name,
                splits=(*(former.splits if former else ()), split),
                source=source,
                target="" if target is None else str(classes[target] if target < len(classes) else target),
                group=_group(case, name),
                dataset=packed,
                case={key: value for key, value in case.items() if key != "sample_idx"},
                labels=tuple(classes) if target is None else (),
            )
    return list(found.values())


def folder_entries(root: str | Path, group: str | None = None) -> list[Entry]:
    """Scans (in any format that ``read_volume`` knows) and pictures below a folder, in the order of their names.

    A first folder called train, val or test (or much like it) is the split. A file of a folder ``labels...`` is the
    label map of the one with its name in the folder ``images...`` beside it. Where all files lie one folder deeper, and
    these are several, they are the classes.

    Args:
        group: a pattern whose first bracket, in a file's name, is the patient.

    Raises:
        ValueError: there is no such folder, nothing in it, or the pattern fits no name.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root} is neither a config (.py) nor a folder")
    files = [(path, case) for path, case in _scans(root) if _image_of(path) is None]
    if not files:
        raise ValueError(f"there is no scan and no picture below {root}; known are {', '.join(SUFFIXES)}, and DICOM")
    places = [_place(path.relative_to(root)) for path, _ in files]
    classed = all(len(folders) == 1 for _, folders in places) and len({folders for _, folders in places}) > 1
    entries = []
    for (path, case), (split, folders) in zip(files, places, strict=True):
        name = path.relative_to(root).as_posix() + (f"#{case['number']}" if "number" in case else "")
        patient = re.search(group, name) if group else None
        if group and patient is None:
            raise ValueError(f"the pattern group={group!r} finds no patient in the name '{name}'")
        label = _label_of(path)
        case = {"path": str(path), "label": label and str(label), **case}
        target = folders[0] if classed and label is None else ""
        entries.append(Entry(name, (split,), str(path), target, patient[1] if patient else "", b"", case))
    return entries


def read_entry(entry: Entry) -> Sample:
    """The case as its data set reads it, before any pipeline.

    Raises:
        ValueError: it cannot be trusted; of most kinds a ``ScanError``.
    """
    if not entry.dataset:
        return _read_file(entry)
    dataset = _opened(entry.dataset)
    if hasattr(dataset, "read"):
        return dataset.read(entry.case.get("index", entry.case))  # what is made on the spot is known by its number
    return Sample(image=_picture(entry.source), name=entry.name)


def read_masks_of(entry: Entry, shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """(D, H, W) masks of several annotators: arrays of an .npz whose names differ in their last number only."""
    if not entry.source.endswith(".npz"):
        return {}
    with np.load(entry.source, allow_pickle=False) as arrays:
        names = [name for name in arrays.files if re.search(r"\d$", name)]
        stems = [re.sub(r"\d+$", "", name) for name in names]
        several = [name for name, stem in zip(names, stems, strict=True) if stems.count(stem) > 1]
        masks = {name: arrays[name] for name in several}
    fitting = {name: mask for name, mask in masks.items() if mask.shape == shape and mask.dtype.kind in "biu"}
    return fitting if len(fitting) > 1 else {}


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the data set within wrappers, which reads its original files, and nothing else."""
    config = dict(config)
    while isinstance(config.get("dataset"), Mapping):
        config = dict(config["dataset"])
    config.pop("pipeline", None)
    if hasattr(DATASETS.get(config["type"]), "read_files"):  # what is prepared has lost its shape and spacing
        config |= {"prepared": None, "whole_scans": False}
    return config


@lru_cache(maxsize=3)
def _opened(packed: bytes):
    config = pickle.loads(packed)  # of this very program
    dataset = DATASETS.build(config)
    if hasattr(dataset, "full_init"):
        dataset.full_init()
    if not hasattr(dataset, "read") and "img_path" not in dataset.get_data_info(0):
        raise ValueError(f"{config['type']} reads neither scans nor pictures; inspect its folder")
    return dataset


def _group(case: Mapping[str, Any], name: str) -> str:
    """The patient, unless every case counts as one."""
    group = str(case.get("group", ""))
    return "" if group == name else group


def _below(source: str, root: str) -> str:
    return Path(source).relative_to(root).as_posix() if Path(source).is_relative_to(root) else source


def _scans(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Files of known suffixes and, of folders with other files, the DICOM series."""
    for path in sorted(path for folder in walk_folders(root) for path in folder.iterdir()):
        if any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        if (path.is_file() or is_dangling(path)) and path.name.lower().endswith(SUFFIXES):
            yield path, {}
        elif path.is_dir() and any(_may_be_dicom(file) for file in path.iterdir()):
            for number, series in enumerate(list_series(path), start=1):
                yield path, {"series": series, "number": number}


def _may_be_dicom(file: Path) -> bool:
    return file.is_file() and file.suffix.lower() in ("", ".dcm", ".ima")


def _place(path: Path) -> tuple[str, tuple[str, ...]]:
    """The split that the first folder names, and the other folders."""
    folders = path.parts[:-1]
    if folders and folders[0] in SPLITS:
        return SPLITS[folders[0]], folders[1:]
    return "all", folders


def _label_of(path: Path) -> Path | None:
    """The label map beside the folder of images."""
    if not path.parent.name.startswith("images"):
        return None
    label = path.parent.with_name(path.parent.name.replace("images", "labels", 1)) / path.name
    return label if label.exists() else None


def _image_of(path: Path) -> Path | None:
    """The image that a file of a folder of labels belongs to."""
    if not path.parent.name.startswith("labels"):
        return None
    image = path.parent.with_name(path.parent.name.replace("labels", "images", 1)) / path.name
    return image if image.exists() else None


def _read_file(entry: Entry) -> Sample:
    path, label = Path(entry.source), entry.case["label"]
    if path.name.lower().endswith(PICTURES):
        return Sample(image=_picture(path), label_map=label and read_label_map(label), name=entry.name)
    if path.suffix == ".npz" and len(names := _arrays(path)) > 1:
        masks = [name for name in names if name != VOXELS]
        image = read_volume(path, key=VOXELS)
        return Sample(image=image, label_map=read_label_map(path, key=masks[0]), name=entry.name)
    series = {"series": entry.case["series"]} if "series" in entry.case else {}
    return Sample(image=read_volume(path, **series), label_map=label and read_label_map(label), name=entry.name)


def _arrays(path: Path) -> list[str]:
    with np.load(path, allow_pickle=False) as arrays:
        return arrays.files


def _picture(path: str | Path) -> Volume:
    return Volume(*read_picture(Path(path)))
