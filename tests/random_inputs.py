"""Random valid and broken inputs for every reader, judged by other libraries.

A valid input must be read as the judge reads it. A broken one must be refused with an error for the user, or be read
as the judge reads it; where the judge refuses it too, only the unspoilt content is right. A traceback, a hang and any
other content are faults. As a script it makes many of them and prints a line for each fault and a table of counts:

    python tests/random_inputs.py --count 25 --seed 0
"""

import argparse
import contextlib
import gzip
import io
import itertools
import os
import re
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import SimpleITK
from dicoms import write_ct
from PIL import Image
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from medseg.io import read_masks
from vdt3d.cli import message_of
from vdt3d.cli.config import load_run_config
from vdt3d.datasets import VolumeClassification
from vdt3d.engine.validation import check_settings
from vdt3d.io import ScanWarning, read_volume

HANG = 60  # seconds
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
TYPES = ("uint8", "int16", "uint16", "int32", "float32", "float64")
Content = Mapping[str, Any]  # parts by name: arrays or lists


class Input(NamedTuple):
    """Input of one reader.

    Fields:
        read: the project's reading.
        judge: another library's reading; it raises where that library refuses the input.
        damages: functions that spoil the files in place, by name.
    """

    read: Callable[[], Content]
    judge: Callable[[], Content]
    damages: Mapping[str, Callable[[], None]]


# ---- damages ----


def flip(path: Path, rng: np.random.Generator, begin: int, end: int) -> None:
    """Change one bit between two places."""
    raw = bytearray(path.read_bytes())
    raw[rng.integers(begin, min(end, len(raw)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(raw)


def cut(path: Path, rng: np.random.Generator) -> None:
    """Keep a part of a file."""
    raw = path.read_bytes()
    path.write_bytes(raw[: rng.integers(0, len(raw))])


def file_damages(path: Path, rng: np.random.Generator, header: int) -> dict[str, Callable[[], None]]:
    """Damages of a file whose header takes ``header`` bytes; half of the draws are byte flips within it."""
    flips = {f"header flip {number}": lambda: flip(path, rng, 0, header) for number in range(4)}
    return {
        **flips,
        "flip": lambda: flip(path, rng, 0, path.stat().st_size),
        "cut": lambda: cut(path, rng),
        "cut in header": lambda: path.write_bytes(path.read_bytes()[: rng.integers(0, header)]),
        "bytes appended": lambda: path.write_bytes(path.read_bytes() + rng.bytes(int(rng.integers(1, 50)))),
    }


# ---- scans in one file ----


def random_array(rng: np.random.Generator, types: tuple[str, ...] = TYPES) -> np.ndarray:
    """Numbers (z, y, x), among them the least and greatest of their type."""
    dtype = np.dtype(rng.choice(types))
    shape = rng.integers(2, 9, 3)
    if dtype.kind == "f":
        return rng.normal(scale=1000, size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    array = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    array.flat[:2] = limits.min, limits.max
    return array


def random_axes(rng: np.random.Generator) -> np.ndarray:
    """Directions of x, y and z as columns: a rotation, some axes exchanged and mirrored."""
    angles = rng.choice([0.0, rng.uniform(-0.6, 0.6)], 3)
    rotation = np.eye(3)
    for (one, other), angle in zip(itertools.combinations(range(3), 2), angles, strict=True):
        turn = np.eye(3)
        turn[[one, other], [one, other]] = np.cos(angle)
        turn[one, other], turn[other, one] = -np.sin(angle), np.sin(angle)
        rotation = rotation @ turn
    return rotation[:, rng.permutation(3)] * rng.choice([-1, 1], 3)


def as_read(path: Path, **options: Any) -> Content:
    volume = read_volume(path, **options)
    return {"voxels": volume.array[0], "affine": volume.affine[:, [2, 1, 0, 3]]}


def nifti(folder: Path, rng: np.random.Generator) -> Input:
    """NIfTI-1 and NIfTI-2, either byte order, packed or plain, scaled or not, by sform, qform or both."""
    kind = nib.Nifti1Image if rng.random() < 0.8 else nib.Nifti2Image
    affine = np.eye(4)
    affine[:3, :3] = random_axes(rng) * rng.uniform(0.3, 8, 3)
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    image = kind(random_array(rng), affine, dtype="compat" if rng.random() < 0.1 else None)
    image.set_data_dtype(image.dataobj.dtype)
    codes = [(1, 0), (0, 1), (1, 1), (2, 4), (4, 0), (0, 3)][rng.integers(6)]
    image.set_sform(affine, codes[0])
    image.set_qform(affine, codes[1])
    image.header.set_xyzt_units(["mm", "meter", "micron", "unknown"][rng.integers(4)] if rng.random() < 0.3 else "mm")
    raw = bytearray(image.to_bytes())
    if rng.random() < 0.3:  # a slope and an intercept, whose places are those of NIfTI-1
        swapped = image.header.endianness == ">"
        if kind is nib.Nifti1Image and not swapped:
            raw[112:120] = np.array([rng.uniform(0.1, 3), rng.uniform(-1000, 100)], "<f4").tobytes()
    zipped = rng.random() < 0.5
    path = folder / ("scan.nii.gz" if zipped else "scan.nii")
    path.write_bytes(gzip.compress(bytes(raw)) if zipped else bytes(raw))
    header = 352 if kind is nib.Nifti1Image else 544

    doubts: list[warnings.WarningMessage] = []

    def reading() -> Content:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ScanWarning)
            content = as_read(path)
        doubts[:] = [warning for warning in caught if issubclass(warning.category, ScanWarning)]
        return content

    def judge() -> Content:
        read = nib.load(path)
        if read.ndim != 3:
            raise ValueError("another number of axes")
        unit = {"meter": 1e3, "micron": 1e-3}.get(read.header.get_xyzt_units()[0], 1)
        affine = np.diag([unit, unit, unit, 1]) @ read.affine
        if doubts:  # qform and sform differ, and the warning names ITK's choice
            affine = itk_content(SimpleITK.ReadImage(path))["affine"]
        return {"voxels": read.get_fdata(dtype=np.float64).T, "affine": affine}

    def unpacked(damage: Callable[[Path], None]) -> None:
        plain = folder / "plain"
        plain.write_bytes(gzip.decompress(path.read_bytes()))
        damage(plain)
        path.write_bytes(gzip.compress(plain.read_bytes()))

    damages = file_damages(path, rng, header)
    if zipped:
        damages |= {
            f"header flip {number}": lambda: unpacked(lambda plain: flip(plain, rng, 0, header)) for number in range(4)
        }
        damages["cut before packing"] = lambda: unpacked(lambda plain: cut(plain, rng))
    return Input(reading, judge, damages)


def itk_image(rng: np.random.Generator) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(random_array(rng))
    image.SetSpacing(rng.uniform(0.3, 8, 3).round(int(rng.integers(1, 6))).clip(0.1).tolist())
    image.SetOrigin(rng.uniform(-200, 200, 3).tolist())
    image.SetDirection(random_axes(rng).ravel().tolist())
    return image


def itk_content(image: SimpleITK.Image) -> Content:
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return {"voxels": SimpleITK.GetArrayFromImage(image), "affine": RAS @ affine}


def itk_file(folder: Path, rng: np.random.Generator, suffix: str, needed: str, end: bytes) -> Input:
    """A file of SimpleITK's, of which it takes a geometry that it does not find to be 1 mm, without a word.

    Args:
        needed: pattern of the header line that holds the spacing.
        end: what the header ends with.
    """
    path = folder / f"scan{suffix}"
    SimpleITK.WriteImage(itk_image(rng), path, useCompression=bool(rng.random() < 0.5))

    def judge() -> Content:
        text = path.read_bytes().partition(end)[0].decode("latin-1")
        if re.search(needed, text, re.MULTILINE) is None:
            raise ValueError("no spacing")
        image = SimpleITK.ReadImage(path)
        if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
            raise ValueError("another number of axes")
        return itk_content(image)

    def without_a_line() -> None:
        head, mark, voxels = path.read_bytes().partition(end)
        lines = head.split(b"\n")
        del lines[rng.integers(1, len(lines))]
        path.write_bytes(b"\n".join(lines) + mark + voxels)

    header = path.read_bytes().index(end)
    return Input(
        lambda: as_read(path), judge, {**file_damages(path, rng, header), "without a header line": without_a_line}
    )


def nrrd(folder: Path, rng: np.random.Generator) -> Input:
    return itk_file(folder, rng, ".nrrd", r"^(space directions|spacings): ", b"\n\n")


def metaimage(folder: Path, rng: np.random.Generator) -> Input:
    return itk_file(folder, rng, ".mha", r"^(ElementSpacing|ElementSize) = ", b"ElementDataFile = LOCAL\n")


def numpy_file(folder: Path, rng: np.random.Generator) -> Input:
    """An .npy, or an .npz with one array."""
    array = random_array(rng)
    if rng.random() < 0.3:
        array = np.asfortranarray(array)
    if packed := rng.random() < 0.5:
        path = folder / "scan.npz"
        np.savez_compressed(path, volume=array)
    else:
        path = folder / "scan.npy"
        np.save(path, array)

    def judge() -> Content:
        found = np.load(path, allow_pickle=False)
        found = found if isinstance(found, np.ndarray) else found[found.files[0]]
        if found.ndim != 3:
            raise ValueError("another number of axes")
        return {"voxels": found, "affine": np.eye(4)}

    return Input(lambda: as_read(path), judge, file_damages(path, rng, 128 if not packed else 60))


# ---- folders of slices ----


def slices(folder: Path, rng: np.random.Generator) -> Input:
    """A folder of grey PNG, 8 or 16 bits."""
    array = random_array(rng, ("uint8", "uint16"))
    first, digits = int(rng.integers(0, 20)), int(rng.integers(1, 5))
    scan = folder / "slices"
    scan.mkdir()
    for number, plane in enumerate(array, start=first):
        Image.fromarray(plane).save(scan / f"slice_{number:0{digits}d}.png")
    one = sorted(scan.iterdir())[rng.integers(len(array))]

    def judge() -> Content:
        files = sorted(scan.iterdir(), key=lambda path: int(re.findall(r"\d+", path.stem)[-1]))
        images = [Image.open(file) for file in files]
        for image in images:
            image.load()
        planes = [np.asarray(image) for image in images]
        if len({(plane.shape, plane.dtype) for plane in planes}) > 1 or len(planes) != len(array):
            raise ValueError("slices that differ")
        return {"voxels": np.stack(planes), "affine": np.eye(4)}

    damages = {
        **file_damages(one, rng, 60),
        "one of another size": lambda: Image.fromarray(array[0][:1]).save(one),
        "one of another kind": lambda: Image.fromarray(np.zeros((*array.shape[1:], 3), np.uint8)).save(one),
        "one missing": one.unlink,
        "one twice": lambda: (scan / f"again_{one.name}").write_bytes(one.read_bytes()),
    }
    return Input(lambda: as_read(scan), judge, damages)


def dicom(folder: Path, rng: np.random.Generator) -> Input:
    """A CT or PET series, oblique or not, its rescaling the same for all slices or not."""
    array = rng.integers(-1000, 3000, rng.integers(2, 7, 3))
    axes = random_axes(rng)
    signed = rng.random() < 0.3
    header = {"PixelRepresentation": 1} if signed else {}
    if rng.random() < 0.2:
        header["PhotometricInterpretation"] = "MONOCHROME1"
    if rng.random() < 0.3:
        header |= {"RescaleSlope": round(rng.uniform(0.1, 3), 3), "RescaleIntercept": round(rng.uniform(-99, 99), 2)}
    spacing = tuple(rng.uniform(0.5, 6, 3).round(3).tolist())
    scan = folder / "series"
    files = write_ct(scan, array, spacing=spacing, orientation=tuple(axes[:, :2].T.ravel().round(9)), **header)
    if rng.random() < 0.3:
        for file in files:
            edit(file, RescaleSlope=round(rng.uniform(0.5, 2), 4), Modality="PT")
    one = files[rng.integers(len(files))]
    begin = one.read_bytes().index(b"\xe0\x7f\x10\x00")  # the tag of the voxels
    tags = ["SliceThickness", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "Rows"]
    tags += ["BitsStored", "RescaleIntercept", "PixelRepresentation", "BitsAllocated", "SeriesInstanceUID", "Columns"]

    def judge() -> Content:
        return dicom_content(sorted(scan.iterdir()))

    def spoil_tag() -> None:
        odd = ["", None, 0, -1, 1e30, "1\\2\\3\\4", "nan", "1,5", 3.25]
        edit(one, **{str(rng.choice(tags)): odd[rng.integers(len(odd))]})

    def remove_tag() -> None:
        dataset = pydicom.dcmread(one)
        del dataset[str(rng.choice(tags))]
        dataset.save_as(one)

    damages = {
        **file_damages(one, rng, begin),
        "shuffled tags": lambda: shuffle_tags(one, rng),
        "odd value": spoil_tag,
        "tag removed": remove_tag,
        "one missing": one.unlink,
        "one twice": lambda: (scan / "again.dcm").write_bytes(one.read_bytes()),
        "text among them": lambda: (scan / "notes.txt").write_text("seen twice"),
    }
    return Input(lambda: as_read(scan), judge, damages)


def edit(path: Path, **header: Any) -> None:
    """Write elements of a DICOM file as they are, without pydicom's checks."""
    with pydicom.config.disable_value_validation():
        dataset = pydicom.dcmread(path)
        for name, value in header.items():
            with contextlib.suppress(ValueError, TypeError, OverflowError):  # no value of this type
                setattr(dataset, name, value)
        with contextlib.suppress(Exception):
            content = io.BytesIO()
            dataset.save_as(content)
            path.write_bytes(content.getvalue())


def shuffle_tags(path: Path, rng: np.random.Generator) -> None:
    """Write the elements of a DICOM file in another order than the standard's."""
    dataset = pydicom.dcmread(path)
    raw = path.read_bytes()
    start = raw.index(b"\x08\x00", 132 + 12 + int.from_bytes(raw[140:144], "little"))
    parts = []
    for element in dataset:
        single = pydicom.Dataset()
        single.add(element)
        stream = DicomBytesIO()
        stream.is_little_endian, stream.is_implicit_VR = True, False
        write_dataset(stream, single)
        parts.append(stream.getvalue())
    path.write_bytes(raw[:start] + b"".join(parts[at] for at in rng.permutation(len(parts))))


def dicom_content(files: list[Path]) -> Content:
    """A series as pydicom and the standard have it: PS3.3, C.7.6.2.1.1 (places) and C.11.1 (values).

    Raises:
        ValueError: the slices make up no volume.
    """
    headers = [pydicom.dcmread(file, force=True) for file in files if file.suffix == ".dcm"]
    headers = [header for header in headers if "PixelData" in header]
    orientation = np.array(headers[0].ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(*orientation)
    headers.sort(key=lambda header: float(normal @ np.array(header.ImagePositionPatient, float)))
    places = np.array([header.ImagePositionPatient for header in headers], float)
    steps = np.diff(places, axis=0)
    same = {
        (str(header.get("SeriesInstanceUID")), *map(float, (*header.ImageOrientationPatient, *header.PixelSpacing)))
        for header in headers
    }
    if len(same) > 1 or np.ptp(steps, axis=0).max(initial=0) > 0.1 * np.linalg.norm(steps[0]):
        raise ValueError("slices that do not belong together")
    if len(files) != len(headers) + sum(file.suffix != ".dcm" for file in files):
        raise ValueError("a file without voxels")
    if any(np.linalg.norm(step) < 1e-3 for step in steps) or abs(np.linalg.norm(normal) - 1) > 1e-3:
        raise ValueError("an impossible place")
    between_rows, between_columns = map(float, headers[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = orientation[0] * between_columns, orientation[1] * between_rows
    affine[:3, 2], affine[:3, 3] = (places[-1] - places[0]) / (len(places) - 1), places[0]
    with pydicom.config.disable_value_validation():
        planes = [pydicom.pixels.apply_modality_lut(header.pixel_array, header) for header in headers]
    return {"voxels": np.stack(planes), "affine": RAS @ affine}


# ---- tables ----


def labels_table(folder: Path, rng: np.random.Generator) -> Input:
    """A table of a classification data set."""
    count = int(rng.integers(4, 12))
    names = [f"{rng.choice(['scan', 'a b', 'größe', '片', 'x,y'])} {number}.nii.gz" for number in range(count)]
    classes = ["benign", "malignant", "0 or 1"] if rng.random() < 0.5 else ["0", "1"]
    targets = [*classes[:2], *rng.choice(classes, count - 2).tolist()]
    table = pd.DataFrame({"path": names, "target": targets})
    if rng.random() < 0.5:
        table["split"] = rng.choice(["train", "val", "test"], count)
        table.loc[:2, "split"] = ["train", "val", "test"]
    if rng.random() < 0.3:
        table.insert(0, "remark", rng.choice(["", "seen", 'said "no"', "two\nlines"], count))
    for name in names:
        (folder / name).touch()
    path = folder / "labels.csv"
    encoding = "utf-8-sig" if rng.random() < 0.3 else "utf-8"
    table.to_csv(path, index=False, encoding=encoding, lineterminator="\r\n" if rng.random() < 0.3 else "\n")

    def read() -> Content:
        data = VolumeClassification(folder, split="all")
        rows = sorted((item["name"], data.metainfo["classes"][item["target"]]) for item in data.load_data_list())
        return {"rows": rows}

    def judge() -> Content:
        found = pd.read_csv(path, dtype=str, encoding="utf-8-sig", keep_default_na=False, skipinitialspace=True)
        found = found[["path", "target"]].apply(lambda column: column.str.strip())
        if (found == "").any(axis=None) or found.path.duplicated().any():
            raise ValueError("blank cells, or a path twice")
        if found.target.nunique() < 2:
            raise ValueError("one class")
        return {"rows": sorted(map(tuple, found.to_numpy().tolist()))}

    def with_cell(column: str, value: str) -> None:
        changed = table.copy()
        changed.loc[int(rng.integers(count)), column] = value
        changed.to_csv(path, index=False, encoding="utf-8")

    odd = ["", " ", "NA", "None", "1.0", "-1", "inf", "benign ", "\t", "0x1", "1e0", "\x00", "=1+1", "'", "\uff19"]
    damages = {
        **file_damages(path, rng, 60),
        "odd target": lambda: with_cell("target", str(rng.choice(odd))),
        "odd path": lambda: with_cell("path", str(rng.choice([*odd, names[0]]))),
        "odd split": lambda: with_cell("split", str(rng.choice(["", "Train", "holdout", "1"]))),
        "semicolons": lambda: table.to_csv(path, index=False, sep=";"),
        "UTF-16": lambda: table.to_csv(path, index=False, encoding="utf-16"),
        "without header": lambda: table.to_csv(path, index=False, header=False),
        "a column twice": lambda: pd.concat([table, table.target], axis=1).to_csv(path, index=False),
    }
    return Input(read, judge, damages)


def run_lengths(folder: Path, rng: np.random.Generator) -> Input:
    """A table of masks as run lengths."""
    shape = (int(rng.integers(1, 5)), int(rng.integers(3, 9)), int(rng.integers(3, 9)))
    organs, rows = ("stomach", "bowel"), []
    for number in range(1, shape[0] + 1):
        for organ in organs:
            mask = np.flatnonzero(rng.random(shape[1] * shape[2]) < rng.choice([0, 0.3, 0.9]))
            runs = np.split(mask, np.flatnonzero(np.diff(mask) > 1) + 1) if len(mask) else []
            code = " ".join(f"{run[0] + 1} {len(run)}" for run in runs)
            rows.append((f"case1_day2_slice_{number:04d}", organ, code))
    table = pd.DataFrame(rows, columns=["id", "class", "segmentation"])
    path = folder / "train.csv"
    table.to_csv(path, index=False)

    def read() -> Content:
        return {"labels": read_masks(path, organs).label_map("case1_day2", range(1, shape[0] + 1), shape[1:])}

    def judge() -> Content:
        found = pd.read_csv(path, dtype=str, keep_default_na=False).set_index(["id", "class"]).segmentation
        labels = np.zeros((shape[0], shape[1] * shape[2]), np.uint8)
        for number, plane in enumerate(labels, start=1):
            for bit, organ in enumerate(organs):
                end = 0
                pairs = np.array(found.loc[f"case1_day2_slice_{number:04d}", organ].split(), int).reshape(-1, 2)
                for begin, length in pairs:
                    if begin < max(end, 1) or length < 1 or begin + length > plane.size + 1:
                        raise ValueError("a run beside the image or over another")
                    plane[begin - 1 : begin - 1 + length] |= 1 << bit
                    end = begin + length
        return {"labels": labels.reshape(shape)}

    def with_code(code: str) -> None:
        changed = table.copy()
        changed.loc[int(rng.integers(len(rows))), "segmentation"] = code
        changed.to_csv(path, index=False)

    odd = ["1", "0 1", "1 0", "-1 2", "1 2 2 2", "5 1 1 1", "999 9", "1.0 2", "a b", "1 2,4 1", "1  2", "\u0661 1"]
    damages = {
        **file_damages(path, rng, 120),
        "odd code": lambda: with_code(str(rng.choice(odd))),
        "row twice": lambda: pd.concat([table, table[-1:]]).to_csv(path, index=False),
        "row missing": lambda: table.drop(int(rng.integers(len(rows)))).to_csv(path, index=False),
    }
    return Input(read, judge, damages)


CONFIG = """
model = dict(
    type="VolumeClassifier",
    backbone=dict(type="ResNet3D", depth=10, in_channels=1, base_channels=8, depth_stride=True),
    neck=dict(type="GlobalAveragePooling", dim=3),
    head=dict(type="LinearClsHead", num_classes=2, topk=(1,)),
)
dataset = dict(type="PhantomNodules", data_root="nodules", make=dict(cases=30), by="patient")
sampler = dict(type="DefaultSampler")
train_dataloader = dict(batch_size=4, num_workers=0, dataset=dataset, drop_last=True, sampler=sampler)
val_dataloader = dict(batch_size=4, num_workers=0, dataset=dataset, sampler=sampler)
train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=1)
val_cfg = dict()
val_evaluator = dict(type="ClassificationScores", resamples=100)
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.01), accumulative_counts=2)
param_scheduler = dict(type="MultiStepLR", milestones=[1, 2], gamma=0.1)
default_hooks = dict(logger=dict(type="LoggerHook", interval=10), checkpoint=dict(type="CheckpointHook", interval=1))
randomness = dict(seed=3, deterministic=False)
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method="spawn"))
"""
LOCAL = ("dataset", "sampler")  # names of the file itself
OVERRIDES = {  # valid values, all other than the config's
    "model.backbone.depth": [18, 50],
    "model.backbone.depth_stride": [False],
    "train_dataloader.batch_size": [2, 16],
    "train_dataloader.drop_last": [False],
    "train_cfg.max_epochs": [1, 7],
    "val_evaluator.resamples": [0, 9],
    "optim_wrapper.optimizer.lr": [0.5, 1e-6],
    "optim_wrapper.accumulative_counts": [1, 4],
    "param_scheduler.milestones": [[2], []],
    "default_hooks.logger.interval": [1, 50],
    "default_hooks.checkpoint.interval": [2],
    "randomness.seed": [0, 12345],
    "randomness.deterministic": [True],
    "env_cfg.mp_cfg.mp_start_method": ["fork"],
}


def override(folder: Path, rng: np.random.Generator) -> Input:
    """A config file and one setting of it that the command line changes."""
    path = folder / "config.py"
    path.write_text(CONFIG)
    key = str(rng.choice(list(OVERRIDES)))
    value = OVERRIDES[key][rng.integers(len(OVERRIDES[key]))]
    given = [f"{key}={value}"]
    truth = [True]  # False once the text is broken

    def read() -> Content:
        args = argparse.Namespace(config=path, cfg_options=given, work_dir=folder, launcher=None)
        config = load_run_config(args)
        check_settings(config.to_dict())
        return {"settings": sorted((name, repr(part)) for name, part in config.to_dict().items() if name not in LOCAL)}

    def judge() -> Content:
        if not truth[0]:
            raise ValueError("broken on purpose")
        settings: dict[str, Any] = {}
        exec(CONFIG, settings)
        place = settings
        *parents, last = key.split(".")
        for name in parents:
            place = place[name]
        place[last] = value
        settings |= {"default_scope": "vdt3d", "launcher": "none", "work_dir": str(folder)}
        kept = {name: part for name, part in settings.items() if name not in ("__builtins__", *LOCAL)}
        return {"settings": sorted((name, repr(part)) for name, part in kept.items())}

    def give(text: str) -> Callable[[], None]:
        def damage() -> None:
            given[0], truth[0] = text, False

        return damage

    names = key.split(".")
    at = int(rng.integers(len(names)))
    word = names[at]
    letter = int(rng.integers(1, len(word)))
    before, after = word[:letter], word[letter:]
    misspelt = {
        "letter lost": before + after[1:],
        "letter twice": before + before[-1] + after,
        "letters exchanged": before[:-1] + after[0] + before[-1] + after[1:],
        "capital": word.capitalize(),
    }
    damages = {
        name: give(".".join([*names[:at], wrong, *names[at + 1 :]]) + f"={value}")
        for name, wrong in misspelt.items()
        if wrong != word
    }
    other = [-3, "many", [1, "a"], {"a": 1}, 1.5e300, None]
    damages |= {
        "no value": give(key),
        "open bracket": give(f"{key}=[1, 2"),
        "below a value": give(f"{key}.more=1"),
        "another type": give(f"{key}={other[rng.integers(len(other))]}"),
        "file cut": lambda: (give(given[0])(), path.write_text(CONFIG[: rng.integers(20, 300)])),
        "unknown name in file": lambda: (give(given[0])(), path.write_text(CONFIG + "lod_from = None\n")),
    }
    return Input(read, judge, damages)


KINDS: dict[str, Callable[[Path, np.random.Generator], Input]] = {
    "nifti": nifti,
    "nrrd": nrrd,
    "metaimage": metaimage,
    "numpy": numpy_file,
    "slices": slices,
    "dicom": dicom,
    "labels table": labels_table,
    "run lengths": run_lengths,
    "overrides": override,
}


# ---- verdicts ----


@contextlib.contextmanager
def no_longer_than(seconds: int) -> Iterator[None]:
    """Raise TimeoutError for what takes longer, where the system has alarms."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(*_: object) -> None:
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def equal(one: Content, other: Content) -> bool:
    """Whether both hold the same, up to float32."""
    for name, part in one.items():
        wanted = other[name]
        if isinstance(part, list):
            if part != wanted:
                return False
        elif np.shape(part) != np.shape(wanted) or not np.allclose(part, wanted, rtol=1e-5, atol=1e-4, equal_nan=True):
            return False
    return True


def try_input(kind: str, seed: int, *, broken: bool) -> tuple[str, str, str]:
    """Make one input and read it.

    Returns:
        its damage, the verdict ("read", "refused" or "FAULT") and what was seen.
    """
    rng = np.random.default_rng([seed, sum(kind.encode()), broken])
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        item = KINDS[kind](Path(name), rng)
        original, damage = item.judge(), "none"
        if broken:
            damages = list(item.damages)
            half = [one for one in damages if one.startswith("header flip")]
            damage = str(rng.choice(half if half and rng.random() < 0.5 else damages))
            item.damages[damage]()
        try:
            with no_longer_than(HANG):
                found = item.read()
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            if isinstance(error, TimeoutError) or message_of(error) is None or not broken:
                return damage, "FAULT", message
            return damage, "refused", message
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                wanted = item.judge()
        except Exception as error:
            right = equal(found, original)
            return damage, "read" if right else "FAULT", f"the judge refuses it: {type(error).__name__}: {error}"
        return damage, "read" if equal(found, wanted) else "FAULT", f"read {summary(found)}, right {summary(wanted)}"


def summary(content: Content) -> str:
    shown = (
        f"{name} {np.shape(part)} ... {np.ravel(np.asarray(part))[-16:].tolist()}" for name, part in content.items()
    )
    return "; ".join(shown)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=25, help="valid and as many broken inputs for each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    args = parser.parse_args()
    counts: Counter[tuple[str, str, str]] = Counter()
    for kind in args.kinds:
        for number in range(args.seed, args.seed + args.count):
            for broken in (False, True):
                damage, verdict, seen = try_input(kind, number, broken=broken)
                counts[kind, "broken" if broken else "valid", verdict] += 1
                if verdict == "FAULT":
                    print(f"FAULT {kind} seed {number} damage {damage}: {seen}"[:600])
    print(pd.Series(counts).rename_axis(["reader", "inputs", "verdict"]).unstack(fill_value=0).to_string())
    return int(any(verdict == "FAULT" for _, _, verdict in counts))


if __name__ == "__main__":
    os.environ.setdefault("ITK_GLOBAL_WARNING_DISPLAY", "0")
    sys.exit(main())
