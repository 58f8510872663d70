"""Masks of case-days in the four forms in which people share them: csv of run lengths, NIfTI, label PNG, npy.

In between they are label maps, whose labels are sums of bits (``vdt3d.structures.overlapping_classes``). Folders hold
case123_day20.nii.gz (uint8 labels with the scan's spacing), case123_day20/slice_0001.png (uint8 labels), or
case123_day20/slice_0001.npy (H, W, organs), 0 and 1 (255 is read as 1). Slices are numbered from 1.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from medseg.io.rle import CASE, RunLengths, mask_rows, read_masks, write_masks
from vdt3d.io.arrays import read_numpy
from vdt3d.io.checks import ScanError
from vdt3d.io.nifti import write_nifti
from vdt3d.io.read import read_label_map
from vdt3d.io.slices import check_gaps, find_slices, open_slices, slice_name
from vdt3d.structures import LabelMap, Volume, affine_from_spacing, describe_grids

NIFTI = re.compile(r"(.*)\.nii(\.gz)?")
DEPTHS = ("*", "*/*", "*/*/*")  # case123_day20, case123/case123_day20, train/case123/case123_day20


def find_scans(root: str | Path) -> dict[str, Path]:
    """The folders of slices in the challenge's tree (``root``/train/case123/case123_day20/scans), or a part of it, by
    case-day.

    Raises:
        ScanError: there are none, a folder of scans has not the name of a case-day, or two have the same.
    """
    root = Path(root)
    found: dict[str, Path] = {}
    for scans in sorted(path for depth in DEPTHS for path in root.glob(f"{depth}/scans")):
        _add(found, scans.parent.name, scans)
    if not found:
        raise ScanError(root, "holds no train/case123/case123_day20/scans", "give the folder above train")
    return found


def find_masks(
    src: str | Path, organs: Sequence[str], scans: Mapping[str, Path] | None = None
) -> tuple[str, dict[str, Callable[[], LabelMap]]]:
    """The form of the masks in a csv or folder, and what reads, and checks, the label map of each case-day.

    The label maps lie on the grids of the scans. Where these are not given, those of PNG and npy are of 1 mm.

    Args:
        organs: in the order of their bits.
        scans: as ``find_scans`` gives them; a csv needs them, since it does not tell how large its masks are.

    Raises:
        ScanError: there are no masks, or in several forms, or under names that are no case-day's, or scans are missing;
            on reading, a file cannot be trusted, or does not fit its scan.
    """
    src = Path(src)
    if src.suffix.lower() == ".csv":
        table = read_masks(src, organs)
        if not table.cases:
            raise ScanError(src, "has no rows", "give a table with a row for every slice and organ")
        if scans is None:
            raise ScanError(src, "does not tell how large its masks are", "give the scans too")
        form, found, read = "csv", dict.fromkeys(table.cases, src), partial(_from_table, table)
    else:
        form, found = _in_folder(src)
        planes = {"nifti": _read_nifti, "png": _read_pictures, "npy": partial(_read_arrays, len(organs))}[form]
        read = partial(_from_files, planes, len(organs))
    if scans is not None and (lacking := sorted(found.keys() - scans)):
        raise ScanError(src, f"has masks of {lacking[0]}, of which there is no scan", "add the scan, or take them out")
    return form, {case: partial(read, found[case], case, scans and scans[case]) for case in sorted(found)}


def write_mask_table(
    path: Path, label_maps: Iterable[tuple[str, LabelMap]], organs: Sequence[str], template: RunLengths | None = None
) -> None:
    """Write a csv, which appears whole or not at all.

    Args:
        label_maps: by case-day.
        organs: in the order of their bits.
        template: of ``write_masks``.
    """
    rows = []
    for case, label_map in label_maps:
        rows += mask_rows(case, range(1, label_map.shape[0] + 1), label_map.array[0], organs)
    write_masks(path, rows, template=template)


def write_mask_folder(
    folder: Path, label_maps: Iterable[tuple[str, LabelMap]], organs: Sequence[str], form: str
) -> None:
    """Write the new folder of a form ("nifti", "png" or "npy"), which appears whole or not at all; see ``find_masks``.

    Args:
        label_maps: by case-day.
        organs: in the order of their bits.
    """
    write = {"nifti": _write_nifti, "png": _write_pictures, "npy": partial(_write_arrays, len(organs))}[form]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".writing-") as aside:
        content = Path(aside) / "content"
        content.mkdir()
        for case, label_map in label_maps:
            write(content / case, label_map)
        content.replace(folder)


def _in_folder(src: Path) -> tuple[str, dict[str, Path]]:
    """The form of the masks in a folder, and the file or folder of each case-day."""
    if not src.is_dir():
        raise ScanError(src, "is neither a csv nor a folder", "check the path")
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(src.iterdir()):
        for form in _forms(path):
            match = NIFTI.fullmatch(path.name) if form == "nifti" else None
            _add(found.setdefault(form, {}), match[1] if match else path.name, path)
    if len(found) != 1:
        forms = f"masks in several forms ({', '.join(found)})" if found else "neither NIfTI nor folders of PNG or npy"
        raise ScanError(src, f"holds {forms}", "give a csv, or a folder with masks in one form")
    return found.popitem()


def _forms(path: Path) -> list[str]:
    """In which forms a file, or those in a folder, may hold masks."""
    if path.name.startswith("."):
        return []
    if not path.is_dir():  # a link without its target is one too, which reading refuses
        return ["nifti"] if NIFTI.fullmatch(path.name) else []
    suffixes = {file.suffix for file in path.iterdir() if not file.name.startswith(".")}
    return [form for form in ("png", "npy") if f".{form}" in suffixes]


def _add(found: dict[str, Path], case: str, path: Path) -> None:
    if CASE.fullmatch(case) is None:
        raise ScanError(path, f"'{case}' is not the name of a case-day", "name it as in case123_day20, or take it out")
    if case in found:
        raise ScanError(path, f"is of {case}, as is {found[case]}", "keep one of them")
    found[case] = path


def _scan(folder: Path) -> Volume:
    volume = open_slices(folder)
    _check_first(folder, volume.array.numbers)
    return volume


def _check_first(folder: Path, numbers: Sequence[int]) -> None:
    """The first is slice 1: NIfTI cannot tell another number."""
    if numbers[0] != 1:
        raise ScanError(folder, f"begins with slice {numbers[0]}", "add those before it, or number them from 1 on")


def _from_table(table: RunLengths, path: Path, case: str, scan: Path) -> LabelMap:
    volume = _scan(scan)
    numbers = volume.array.numbers
    if beyond := sorted(set(table.slice_numbers(case)) - set(numbers)):
        raise ScanError(path, f"has rows of slice {beyond[0]} of {case}, which is not in {scan}", "take them out")
    return LabelMap(table.label_map(case, numbers, volume.shape[1:])[None], volume.affine)


def _from_files(planes: Callable, organs: int, path: Path, case: str, scan: Path | None) -> LabelMap:
    array_DHW, affine = planes(path)
    if (highest := int(array_DHW.max())) >= 1 << organs:
        raise ScanError(path, f"holds the label {highest}, which is no sum of {organs} bits", "name all organs")
    array = array_DHW[None].astype(np.uint8, copy=False)
    volume = None if scan is None else _scan(scan)
    if affine is None:
        affine = affine_from_spacing((1.0, 1.0, 1.0)) if volume is None else volume.affine
    label_map = LabelMap(array, affine)
    if volume is not None and not label_map.same_grid(volume):
        ours, theirs = describe_grids(label_map, volume)
        raise ScanError(path, f"has {ours}, its scan {scan} has {theirs}", "take the masks of this scan")
    return label_map


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    label_map = read_label_map(path)
    if not np.allclose(label_map.affine[:3, :3], affine_from_spacing(label_map.spacing)[:3, :3], atol=1e-3):
        raise ScanError(path, "its axes are turned or mirrored, those of the pictures are not", "reorient it to RAS+")
    return label_map.array[0], label_map.affine


def _read_pictures(folder: Path) -> tuple[np.ndarray, None]:
    stack = open_slices(folder).array
    _check_first(folder, stack.numbers)
    return stack[:][0], None


def _read_arrays(organs: int, folder: Path) -> tuple[np.ndarray, None]:
    paths = find_slices(folder, "*.npy")
    numbers = [slice_name(path).number for path in paths]
    check_gaps(folder, numbers)
    _check_first(folder, numbers)
    planes: list[np.ndarray] = []
    for path in paths:
        masks_HWK = read_numpy(path)[0][0]
        wanted = (*(planes[0].shape if planes else masks_HWK.shape[:2]), organs)
        if masks_HWK.shape != wanted:
            finding = f"holds masks of shape {masks_HWK.shape}, where (H, W, organs) = {wanted} was expected"
            raise ScanError(path, finding, "name all organs, and keep scans apart")
        if not any(np.isin(masks_HWK, (0, on)).all() for on in (1, 255)):
            finding = f"holds values from {masks_HWK.min()} to {masks_HWK.max()}"
            raise ScanError(path, finding, "masks are 0 and 1, or 0 and 255")
        planes.append(np.packbits(masks_HWK != 0, axis=-1, bitorder="little")[..., 0])
    return np.stack(planes), None


def _write_nifti(path: Path, label_map: LabelMap) -> None:
    write_nifti(label_map, path.with_name(f"{path.name}.nii.gz"))


def _write_pictures(folder: Path, label_map: LabelMap) -> None:
    folder.mkdir()
    for number, plane_HW in enumerate(label_map.array[0], start=1):
        Image.fromarray(plane_HW).save(folder / f"slice_{number:04d}.png")


def _write_arrays(organs: int, folder: Path, label_map: LabelMap) -> None:
    folder.mkdir()
    for number, plane_HW in enumerate(label_map.array[0], start=1):
        masks_HWK = np.unpackbits(plane_HW[..., None], axis=-1, count=organs, bitorder="little")
        np.save(folder / f"slice_{number:04d}.npy", masks_HWK)
