"""Which scans a user means: files, folders, patterns, and the series of DICOM folders, each under a name of its own."""

import os
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from vdt3d.io.checks import ScanError, is_dangling
from vdt3d.io.dicom import SeriesFacts, list_series
from vdt3d.io.dicom_headers import may_hold_slices
from vdt3d.io.slices import pictures
from vdt3d.utils.files import visible

SCANS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")  # what is looked for in a folder
SLICES = "scans"  # the folder of a scan's slices in that of the scan, as the UW-Madison GI Tract challenge has it
DEPTHS = ("", "*/", "*/*/", "*/*/*/")  # below case123_day20, case123, train, and the folder above
MAGIC = set("*?[")  # by which a pattern is known
LARGEST, ALL = "largest", "all"
FIRST = "_0000"  # what the name of a scan's first channel ends in


class Scan(NamedTuple):
    """One scan: its file or folder and, where a series was chosen, the series instance UID."""

    path: Path
    series: str | None = None


def find_scans(inputs: Iterable[str | Path], suffix: str = ".nii.gz", *, channels: int = 1) -> dict[str, Path]:
    """The scans that ``inputs`` name, by the names of their answers, which end in ``suffix``.

    A folder stands for the scans in it: files or, where there are none, folders of slices as the UW-Madison GI Tract
    challenge has them (``train/case123/case123_day20/scans``, of which the label map is called case123_day20); without
    any, for itself and the folders below it that hold DICOM (``a/b`` is called a_b); else for itself. What is not there
    may be a pattern (``scans/**/*.nii.gz``), for where no shell has filled it in. Of several ``channels`` that lie in a
    file each (``channel_files``), the first stands for the scan.

    Raises:
        ValueError: two scans would be answered under one name; a folder holds both files of scans and DICOM slices.
    """
    found: dict[str, Path] = {}
    for given in inputs:
        for path in _filled_in(Path(given)):
            for name, scan in _inside(path):
                _enter(found, name, scan, suffix)
    return found if channels == 1 else _joined(found, suffix, channels)


def channel_files(path: Path, channels: int) -> tuple[Path, ...]:
    """The files that hold a scan's channels: ``path`` alone or, as nnU-Net lays them out, NAME_0000, NAME_0001, ...

    ``path`` must be the first of these, and all be there, but for one that is missing and that reading will name. Where
    there are more of them than channels, their numbers count scans.
    """
    name = scan_name(path)
    if channels == 1 or not name.endswith(FIRST):
        return (path,)
    ending = path.name.removeprefix(name)
    files = [path.with_name(f"{name.removesuffix(FIRST)}_{number:04d}{ending}") for number in range(channels + 1)]
    some, beyond = any(file.exists() for file in files[1:-1]), files.pop().exists()
    return tuple(files) if some and not beyond else (path,)


def with_series(
    scans: Mapping[str, Path], choice: str | None = None, suffix: str = ".nii.gz"
) -> tuple[dict[str, Scan], list[ScanError]]:
    """The same scans, of DICOM folders with the series that are meant, and what is wrong with the others.

    Args:
        choice: a series instance UID, which folders without it are passed over for; "largest", the series of most
            slices; "all", each as a scan of its own: of several, NAME_s and the series' number, or letters made of its
            UID where the number is missing or not the only one. None leaves it to reading, which refuses several.

    Raises:
        ValueError: no folder holds the series, or two scans would be answered under one name.
    """
    found: dict[str, Scan] = {}
    wrong = []
    for name, path in scans.items():
        if choice is None or not path.is_dir() or pictures(path):
            _enter(found, name, Scan(path), suffix)
            continue
        try:
            for addition, series in _meant(path, list_series(path), choice):
                _enter(found, name + addition, Scan(path, series), suffix)
        except ScanError as error:
            wrong.append(error)
    if not found and not wrong:
        raise ValueError(f"no DICOM folder holds the series '{choice}'; --list-series tells which there are")
    return found, wrong


def scan_name(path: str | Path) -> str:
    """The name of a file without its suffix, of a folder as it is, or of the one around the slices of a scan."""
    path = Path(path)
    if path.is_dir():
        return path.resolve().parent.name if _is_of_slices(path) else path.resolve().name
    suffix = next((suffix for suffix in SCANS if path.name.lower().endswith(suffix)), path.suffix)
    return path.name[: len(path.name) - len(suffix)]


def _joined(found: Mapping[str, Path], suffix: str, channels: int) -> dict[str, Path]:
    """The same scans, but of the files of one scan only the first, by the name of the scan."""
    files = {name: channel_files(path, channels) for name, path in found.items()}
    further = {file for of_one in files.values() for file in of_one[1:]}
    joined: dict[str, Path] = {}
    for name, path in found.items():
        if path not in further:
            _enter(joined, name.removesuffix(FIRST) if len(files[name]) > 1 else name, path, suffix)
    return joined


def _filled_in(given: Path) -> list[Path]:
    first = next((at for at, part in enumerate(given.parts) if MAGIC & set(part)), None)
    if first is None or given.exists():
        return [given]
    found = Path(*given.parts[:first]).glob(str(Path(*given.parts[first:])))
    return sorted(path for path in found if not path.name.startswith(".")) or [given]


def _inside(given: Path) -> Iterator[tuple[str, Path]]:
    """The scans that one path stands for, with their names."""
    files = sorted(filter(_is_scan, given.iterdir())) if given.is_dir() else []
    folders = [path for depth in DEPTHS for path in sorted(given.glob(depth + SLICES)) if _is_of_slices(path)]
    if files and _is_of_dicom(given):
        finding = f"holds both {files[0].name} and DICOM slices"
        raise ScanError(given, finding, "give the files by name, or move the slices into a folder of their own")
    if files or folders or not given.is_dir():
        yield from ((scan_name(path), path) for path in files or folders or [given])
        return
    series = [path for path in walk_folders(given) if _is_of_dicom(path)]
    if not series and (pairs := sorted(path for path in given.iterdir() if path.suffix.lower() == ".hdr")):
        yield from ((path.stem, path) for path in pairs)  # which reading refuses
        return
    for path in series or [given]:
        yield "_".join(path.relative_to(given).parts) or scan_name(given), path


def walk_folders(given: Path) -> list[Path]:
    """Return ``given`` and the folders below it, sorted; links are followed, and each folder is listed once."""
    found: dict[Path, Path] = {}
    for text, names, _ in os.walk(given, followlinks=True):
        path = Path(text)
        if found.setdefault(path.resolve(), path) is not path:
            names.clear()  # a link back to a folder that was walked already
        names.sort()
    return sorted(found.values())


def _meant(folder: Path, found: Mapping[str, SeriesFacts], choice: str) -> Iterator[tuple[str, str | None]]:
    """The series that ``choice`` means, each with what its scan's name gets in addition."""
    if not found:
        yield "", None  # which reading refuses
    elif choice == ALL and len(found) > 1:
        numbers = [facts.number for facts in found.values()]
        for uid, facts in found.items():
            known = facts.number.isdigit() and numbers.count(facts.number) == 1
            yield f"_s{facts.number if known else sha256(uid.encode()).hexdigest()[:8]}", uid
    elif choice in (ALL, LARGEST):
        counts = {uid: len(facts.files) for uid, facts in found.items()}
        largest = [uid for uid, count in counts.items() if count == max(counts.values())]
        if len(largest) > 1:
            listed = ", ".join(f"'{uid}' ({found[uid]})" for uid in largest)
            raise ScanError(folder, f"its largest series are {listed}", "choose one with --series UID")
        yield "", largest[0]
    elif choice in found:
        yield "", choice


def _enter(found: dict, name: str, scan: Path | Scan, suffix: str) -> None:
    if name in found:
        one, other = (each.path if isinstance(each, Scan) else each for each in (found[name], scan))
        raise ValueError(f"{one} and {other} would both become {name}{suffix}; give them separately")
    found[name] = scan


def _is_scan(path: Path) -> bool:
    """Whether the name is a scan's; what else such a path may be, as a link without its target, reading refuses."""
    return not path.name.startswith(".") and path.name.lower().endswith(SCANS)


def _is_of_slices(path: Path) -> bool:
    return path.resolve().name == SLICES and bool(visible(path.glob("*.png")))


def _is_of_dicom(path: Path) -> bool:
    if not path.is_dir() or path.name.startswith("."):
        return False
    files = (file for file in path.iterdir() if not file.name.startswith(".") and not file.is_dir())
    files = (file for file in files if not _is_scan(file))  # among them links without their targets
    return any(is_dangling(file) or may_hold_slices(file) for file in files)  # reading refuses a dangling link
