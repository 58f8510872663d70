"""Where the files of a segmentation data set are: the layouts of the Medical Segmentation Decathlon and of nnU-Net."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from vdt3d.io import ScanError
from vdt3d.utils.files import visible

BOTH = "MSD's has 'modality' and 'training', nnU-Net's 'channel_names' and 'file_ending' (data/README.md shows both)"


class Case(NamedTuple):
    """The files of one case: several images are its channels; without ``label`` nothing is known of it."""

    name: str
    images: tuple[Path, ...]
    label: Path | None = None


class Layout(NamedTuple):
    """What ``dataset.json`` says of a data set.

    Fields:
        channels: the names of the images' channels ("CT", "FLAIR", ...).
        classes: names in the order of their labels, 0 the background.
        regions: where classes overlap (the tumour with its core), the labels that each region is made of.
        labelled: the cases to train on, in the order of the file.
        test: the cases the release keeps for its test, most often without labels.
    """

    channels: tuple[str, ...]
    classes: tuple[str, ...]
    regions: dict[str, tuple[int, ...]]
    labelled: list[Case]
    test: list[Case]


def read_layout(root: str | Path) -> Layout:
    """Find the cases of the data set in folder ``root``; no image is opened, and a missing one is named all the same.

    MSD: http://medicaldecathlon.com. nnU-Net: its documentation/dataset_format.md.

    Raises:
        ScanError: ``dataset.json`` is missing, is of neither layout, or lists a case twice.
    """
    path = Path(root, "dataset.json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ScanError(
            path, "is missing", "name the folder that holds it, or make one with tools/dataset/prepare.py"
        ) from error
    except ValueError as error:
        raise ScanError(path, f"is not json ({error})", "repair it") from error
    read = next((read for keys, read in LAYOUTS.items() if isinstance(content, dict) and keys <= content.keys()), None)
    if read is None:
        raise ScanError(path, "is of neither layout", BOTH)
    try:
        layout = read(path, content)
    except ScanError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ScanError(path, f"is not as its layout wants it ({type(error).__name__}: {error})", BOTH) from error
    twice = [name for name, count in Counter(case.name for case in layout.labelled).items() if count > 1]
    if twice:
        raise ScanError(path, f"lists the case '{twice[0]}' more than once", "list every case once")
    return layout


def _read_msd(path: Path, content: dict[str, Any]) -> Layout:
    def case(entry: dict | str) -> Case:
        entry = {"image": entry} if isinstance(entry, str) else entry
        image = Path(path.parent, entry["image"])
        return Case(_stem(image), (image,), Path(path.parent, entry["label"]) if "label" in entry else None)

    return Layout(
        channels=_channels(content["modality"]),
        classes=_classes(path, {name: int(label) for label, name in content["labels"].items()}),
        regions={},
        labelled=[case(entry) for entry in content["training"]],
        test=[case(entry) for entry in content.get("test", [])],
    )


def _read_nnunet(path: Path, content: dict[str, Any]) -> Layout:
    root, ending = path.parent, content["file_ending"]
    channels = _channels(content["channel_names"])
    labels = content["labels"]
    if "ignore" in labels:
        remedy = "write 255 into the label maps in its place, and remove 'ignore'"
        raise ScanError(path, f"has an ignore label, {labels['ignore']}", remedy)
    regions = {name: tuple(value) for name, value in labels.items() if isinstance(value, list)}
    return Layout(
        channels=channels,
        classes=_classes(path, _labels_of_regions(labels) if regions else labels),
        regions={name: regions.get(name, (value,)) for name, value in labels.items() if value} if regions else {},
        labelled=_nnunet_cases(root / "imagesTr", root / "labelsTr", ending, len(channels)),
        test=_nnunet_cases(root / "imagesTs", root / "labelsTs", ending, len(channels)),
    )


LAYOUTS = {
    frozenset({"modality", "labels", "training"}): _read_msd,
    frozenset({"channel_names", "labels", "file_ending"}): _read_nnunet,
}


def _nnunet_cases(images: Path, labels: Path, ending: str, channels: int) -> list[Case]:
    """NAME_0000, NAME_0001, ... in one folder, NAME in the other; a name in either of them is a case.

    A folder that is not there holds none; without any label map, none is expected.
    """
    first = f"_0000{ending}"
    names = {file.name.removesuffix(first) for file in visible(images.glob(f"*{first}"))}
    labelled = {file.name.removesuffix(ending) for file in visible(labels.glob(f"*{ending}"))}
    return [
        Case(
            name,
            tuple(images / f"{name}_{channel:04d}{ending}" for channel in range(channels)),
            labels / f"{name}{ending}" if labelled else None,
        )
        for name in sorted(names | labelled)
    ]


def _labels_of_regions(labels: dict[str, int | list[int]]) -> dict[str, int]:
    """A name for every label: that of the region made of it alone, where there is one."""
    parts = {name: value if isinstance(value, list) else [value] for name, value in labels.items()}
    alone = {value[0]: name for name, value in parts.items() if len(value) == 1}
    return {
        alone.get(label, f"label {label}"): label for label in {label for value in parts.values() for label in value}
    }


def _classes(path: Path, labels: dict[str, int]) -> tuple[str, ...]:
    names = {int(label): name for name, label in labels.items()}
    if sorted(names) != list(range(len(labels))):
        remedy = "number the classes 0, 1, 2, ... in it and in the label maps, 0 being the background"
        raise ScanError(path, f"has the labels {sorted(int(label) for label in labels.values())}", remedy)
    return tuple(names[label] for label in range(len(names)))


def _channels(names: dict[str, str]) -> tuple[str, ...]:
    return tuple(names[key] for key in sorted(names, key=int))


def _stem(path: Path) -> str:
    """The name without its suffix, .nii.gz being one."""
    return Path(path.name.removesuffix(".gz")).stem
