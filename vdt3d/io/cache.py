"""The cache: prepared cases in compressed blocks, of which a patch is read in milliseconds; arrays are (C, D, H, W).

A case NAME is ``NAME.b2nd`` (image), ``NAME.seg.b2nd`` and ``NAME.foreground.npy`` (where it is labelled) and
``NAME.json``, which is written last: a case without it is unfinished and counts as absent.
"""

import json
import os
from pathlib import Path
from typing import Any

import blosc2
import numpy as np

from vdt3d.io.checks import ScanError
from vdt3d.io.lazy import ArrayInFiles
from vdt3d.structures import IGNORED, LabelMap, Sample, Volume
from vdt3d.utils.files import visible, write_aside

VERSION = 1
MOST_POSITIONS = 10_000  # kept for each label
# Of a dozen layouts tried on an abdominal CT, for patches from 48 x 64 x 48 to 32 x 256 x 256, none was a tenth faster:
# 32 KiB a block of int16, which the first-level cache holds. LZ4HC reads two to three times as fast as Zstandard, for a
# tenth more disc; shuffling bytes helps numbers of two and more, and only costs time where there is one.
CHUNK, BLOCK = (32, 128, 128), (8, 32, 64)
CODEC = {"codec": blosc2.Codec.LZ4HC, "clevel": 5, "nthreads": 1}
MAPPED = {} if os.name == "nt" else {"mmap_mode": "r"}  # blosc2 cannot open memory-mapped files on Windows
AGAIN = "run tools/dataset/prepare.py again"


class LazyArray(ArrayInFiles):
    """An array in a file; only its path travels to other processes.

    Raises:
        ScanError: the file is missing, truncated or damaged.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            self._file = blosc2.open(str(self.path), mode="r", dparams={"nthreads": 1}, **MAPPED)
        except (OSError, RuntimeError) as error:
            raise self._damaged(error) from error
        self.shape, self.dtype = self._file.shape, self._file.dtype

    def _read(self, slices: tuple[slice, ...]) -> np.ndarray:
        try:
            # A block holds several neighbours, so what lies between them is read and left out.
            found = self._file[tuple(slice(part.start, part.stop) for part in slices)]
            return found[tuple(slice(None, None, part.step) for part in slices)]
        except RuntimeError as error:
            raise self._damaged(error) from error

    def __reduce__(self) -> tuple:
        return LazyArray, (self.path,)

    def _damaged(self, error: Exception) -> ScanError:
        case = self.path.name.removesuffix(".b2nd").removesuffix(".seg")
        remedy = f"remove {case}.json beside it and {AGAIN}"
        return ScanError(self.path, f"is missing, truncated or damaged ({error})", remedy)


def write_case(folder: Path, name: str, sample: Sample, *, extra: dict[str, Any]) -> None:
    """Write a case so that it is there whole or not at all; an earlier one of that name is replaced.

    The image is stored as int16 where that loses nothing (CT), else as float32; labels in the smallest integer type.

    Args:
        folder: where to; made if need be.
        name: of the case, and of its files.
        sample: image and, where known, label map, as read or resampled.
        extra: what else is to be remembered of the case, as json: its source, where it was cropped, ...
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / f"{name}.json"
    record.unlink(missing_ok=True)
    image = np.asarray(sample.image.array)
    content = {
        "version": VERSION,
        "shape": list(image.shape),
        "spacing": list(sample.image.spacing),
        "affine": sample.image.affine.tolist(),
        "group": sample.group,
        "statistics": case_statistics(image),
        "voxels": None,
        "slices": None,
        "extra": extra,
    }
    write_array(folder / f"{name}.b2nd", image.astype(np.int16 if fits_int16(image) else np.float32, copy=False))
    if sample.label_map is not None:
        labels = np.asarray(sample.label_map.array)
        labels = labels.astype(np.min_scalar_type(int(labels.max())), copy=False)
        counts = _counts(labels[0])
        content["voxels"] = {label: int(count) for label, count in enumerate(counts.sum(axis=0)) if count}
        content["slices"] = {label: int((counts[:, label] > 0).sum()) for label in content["voxels"]}
        write_array(folder / f"{name}.seg.b2nd", labels)
        _write_positions(folder / f"{name}.foreground.npy", labels[0], counts, _kept(content["voxels"]))
    write_aside(record, lambda aside: aside.write_text(json.dumps(content, indent=1), encoding="utf-8"))


def read_case(folder: Path, name: str) -> Sample:
    """A case whose voxels are still in their files: image and label map hold ``LazyArray``.

    ``foreground`` has the positions of each label but 0 and 255, ``statistics`` those of the whole case.

    Raises:
        ScanError: the case is missing, unfinished, damaged, or of another version.
    """
    folder = Path(folder)
    content = read_record(folder, name)
    affine = np.array(content["affine"])
    image = Volume(LazyArray(folder / f"{name}.b2nd"), affine)
    label_map, foreground = None, None
    if content["voxels"] is not None:
        label_map = LabelMap(LazyArray(folder / f"{name}.seg.b2nd"), affine)
        voxels = {int(label): count for label, count in content["voxels"].items()}
        foreground = _read_positions(folder / f"{name}.foreground.npy", _kept(voxels))
    return Sample(
        image=image,
        label_map=label_map,
        foreground=foreground,
        statistics={key: tuple(values) for key, values in content["statistics"].items()},
        group=content["group"],
        name=name,
    )


def read_record(folder: Path, name: str) -> dict[str, Any]:
    """What is known of a case besides its voxels: shape (C, D, H, W), spacing (z, y, x) in mm, affine, group, per
    channel ``statistics``, ``voxels`` of each label and the number of ``slices`` they lie in (None where it is not
    labelled), and ``extra``.

    Raises:
        ScanError: the case is missing, unfinished, or of another version.
    """
    path = Path(folder, f"{name}.json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["version"]
    except FileNotFoundError as error:
        raise ScanError(path, "is missing: the case was never prepared, or not to the end", AGAIN) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ScanError(path, f"is damaged ({error})", f"remove it and {AGAIN}") from error
    if version != VERSION:
        raise ScanError(path, f"is of version {version}, not {VERSION}", f"remove the folder and {AGAIN}")
    return content


def list_cases(folder: Path) -> list[str]:
    """The names of the finished cases in a folder, sorted."""
    return [path.stem for path in visible(Path(folder).glob("*.json"))]


def write_array(
    path: Path, array: np.ndarray, *, chunk: tuple[int, ...] = CHUNK, block: tuple[int, ...] = BLOCK
) -> None:
    """Write an array (C, D, H, W) for ``LazyArray``, in chunks (D, H, W) that are made of blocks (D, H, W).

    Raises:
        OSError: it could not be written, as on a full disk; nothing of it is left.
    """
    chunks = (1, *map(min, chunk, array.shape[1:]))
    blocks = (1, *map(min, block, array.shape[1:]))
    cparams = CODEC | {"filters": [blosc2.Filter.SHUFFLE if array.itemsize > 1 else blosc2.Filter.NOFILTER]}

    def write(aside: Path) -> None:
        whole = np.ascontiguousarray(array)
        try:
            blosc2.asarray(whole, urlpath=str(aside), mode="w", chunks=chunks, blocks=blocks, cparams=cparams)
        except RuntimeError as error:  # blosc2's for whatever the disk refuses, without the reason
            raise OSError(f"{path} could not be written ({error}); is the disk full?") from error

    write_aside(path, write)


def fits_int16(image: np.ndarray) -> bool:
    """Whether int16 holds every number of an image (C, D, H, W) as it is."""
    if image.dtype == np.int16:
        return True
    low, high = np.iinfo(np.int16).min, np.iinfo(np.int16).max
    # slice by slice, so that no second volume is needed
    return all(
        low <= plane.min() and plane.max() <= high and (plane == np.rint(plane)).all()
        for channel in image
        for plane in channel
    )


def case_statistics(image: np.ndarray) -> dict[str, list[float]]:
    """For ``Sample.statistics``: numbers of each channel of an image (C, D, H, W), by name."""
    # The variance is that within the slices plus that of their means, which needs no float64 copy.
    means = image.mean(axis=(2, 3), dtype=np.float64)
    variances = np.array([[plane.var(dtype=np.float64) for plane in channel] for channel in image])
    low, high = np.array([np.percentile(channel, [0.5, 99.5]) for channel in image]).T
    found = {
        "mean": means.mean(axis=1),
        "std": np.sqrt(variances.mean(axis=1) + means.var(axis=1)),
        "percentile_00_5": low,
        "percentile_99_5": high,
        "min": image.min(axis=(1, 2, 3)),
        "max": image.max(axis=(1, 2, 3)),
    }
    return {key: [float(value) for value in values] for key, values in found.items()}


def _counts(labels: np.ndarray) -> np.ndarray:
    """(D, labels) voxels of each label in each slice."""
    width = int(labels.max()) + 1
    return np.array([np.bincount(plane.ravel(), minlength=width) for plane in labels])


def _kept(voxels: dict[int, int]) -> dict[int, int]:
    """How many positions are kept of each label that is a class; ``voxels`` has how many there are."""
    return {label: min(count, MOST_POSITIONS) for label, count in voxels.items() if label not in (0, IGNORED)}


def _write_positions(path: Path, labels: np.ndarray, counts: np.ndarray, kept: dict[int, int]) -> None:
    """For each label in ``kept``, in order, a sorted choice of its voxels: (n, 3) int32 in one array.

    The choice depends on the label map alone. It is one of ranks among the label's voxels, which a walk through the
    slices turns into positions: no list of all voxels is ever held.
    """
    rng = np.random.default_rng(0)
    found = [np.empty((0, 3), np.int32)]
    for label, number in kept.items():
        ends = np.cumsum(counts[:, label])
        ranks = np.sort(rng.choice(ends[-1], number, replace=False, shuffle=False))
        bounds = np.searchsorted(ranks, [0, *ends])
        for z in np.flatnonzero(np.diff(bounds)):
            chosen = ranks[bounds[z] : bounds[z + 1]] - (ends[z] - counts[z, label])
            y, x = np.divmod(np.flatnonzero(labels[z] == label)[chosen], labels.shape[2])
            found.append(np.stack([np.full_like(y, z), y, x], axis=1).astype(np.int32))
    write_aside(path, lambda aside: _save(aside, np.concatenate(found)))


def _save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:  # given a name, NumPy would add its suffix
        np.save(file, array, allow_pickle=False)


def _read_positions(path: Path, kept: dict[int, int]) -> dict[int, np.ndarray]:
    """What ``_write_positions`` wrote, by label; read from the disc as it is looked at."""
    ends = np.cumsum([0, *kept.values()])
    remedy = f"remove {path.name.removesuffix('.foreground.npy')}.json beside it and {AGAIN}"
    try:
        positions = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise ScanError(path, f"is missing, truncated or damaged ({error})", remedy) from error
    if positions.shape != (ends[-1], 3):
        finding = f"holds positions of shape {positions.shape}, where ({ends[-1]}, 3) was expected"
        raise ScanError(path, finding, remedy)
    return {label: positions[ends[n] : ends[n + 1]] for n, label in enumerate(kept)}
