"""NIfTI through nibabel, with the checks that no library makes, on the header's own bytes; arrays are (C, D, H, W)."""

import gzip
import math
import zlib
from io import BufferedIOBase
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
from nibabel.nifti1 import data_type_codes
from nibabel.spatialimages import HeaderDataError

from vdt3d.io.checks import AGAIN, ScanError
from vdt3d.io.nifti_geometry import read_geometry, write_geometry
from vdt3d.structures import LabelMap, StoredGeometry, Volume

HEADERS = {348: nib.Nifti1Header, 540: nib.Nifti2Header}  # by the size they state in their first four bytes
PAIR = "convert it to .nii.gz, for example with nibabel: nib.save(nib.load('a.hdr'), 'a.nii.gz')"
GZIP_MOST = 1032  # deflate cannot make anything smaller than this many times


def read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray, StoredGeometry]:
    """Read voxels (C, z, y, x), scaled by scl_slope and scl_inter where the header asks for it, and the affine in mm.

    Which of the header's forms gives the affine is up to ``read_geometry``. Further axes (t, vectors) become channels,
    the file's last axis slowest.

    Returns:
        The voxels, the affine, and the geometry as stored.

    Raises:
        ScanError: the file is not the NIfTI its name promises, is cut short, or its header is impossible.
    """
    zipped = _is_zipped(path)
    with path.open("rb") as stream:
        is_gzip = stream.read(2) == b"\x1f\x8b"
    if zipped and not is_gzip:
        raise ScanError(path, "is not gzip, whatever its name says", f"rename it to .nii if it is one, or {AGAIN}")
    if is_gzip and not zipped:
        raise ScanError(path, "is gzip, whatever its name says", "rename it to .nii.gz")
    try:
        with gzip.open(path) if zipped else path.open("rb") as stream:
            header = _header(path, stream.read(540))
            voxels = _voxels(path, stream, header)
            while stream.read(1 << 20):  # to the end, where gzip compares its checksum
                pass
            geometry = read_geometry(path, header)
            return _scaled(voxels, header), geometry.affine, geometry
    except (EOFError, OSError, zlib.error) as error:
        raise ScanError(path, f"is truncated or damaged ({error})", AGAIN) from error
    except HeaderDataError as error:
        raise ScanError(path, f"its header is impossible ({error})", "repair the header") from error


def value_step(path: Path) -> float:
    """Return the step between the values that the voxels of a NIfTI can be stored as: that of integers with a slope.

    It is 0 for floats, and where no slope is set: such values are as exact as their type. ``path`` is a file that
    ``read_nifti`` has read.
    """
    with gzip.open(path) if _is_zipped(path) else path.open("rb") as stream:
        header = _header(path, stream.read(540))
    slope, _ = header.get_slope_inter()
    return abs(slope) if slope and header.get_data_dtype().kind in "iu" else 0.0


def _is_zipped(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _header(path: Path, raw: bytes) -> nib.Nifti1Header:
    """The header as written: nibabel's own checks, which turn a zero spacing into 1 without a word, are off."""
    size = next((n for n in HEADERS if raw[:4] in (n.to_bytes(4, "little"), n.to_bytes(4, "big"))), None)
    if size is None or len(raw) < size:
        raise ScanError(path, "does not begin with a NIfTI header", AGAIN)
    header = HEADERS[size](raw[:size], check=False)
    if not bytes(header["magic"]).startswith((b"n+1", b"n+2")):
        raise ScanError(path, "is not a single-file NIfTI (Analyze or .hdr/.img?)", PAIR)
    shape = header.get_data_shape()
    spacing = header["pixdim"][1 : 1 + min(len(shape), 3)]
    if not shape or min(shape) < 1:
        raise ScanError(path, f"its header states the shape {shape}", "repair the header")
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        finding = f"its header states the voxel spacing {spacing.tolist()} mm"
        raise ScanError(path, finding, "write the true spacing into pixdim")
    code = int(header["datatype"])
    if code not in data_type_codes.value_set("code") or header.get_data_dtype().itemsize == 0:
        raise ScanError(path, f"its header states the unknown voxel type {code}", "repair the header")
    header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1  # handedness, as the reference library reads it
    return header


def _voxels(path: Path, stream: BufferedIOBase, header: nib.Nifti1Header) -> np.ndarray:
    """The voxels as stored, (C, z, y, x), a read-only view on the bytes."""
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    offset = float(header["vox_offset"])
    if not header.sizeof_hdr <= offset < 1 << 31:
        raise ScanError(path, f"its header says that voxels begin at byte {offset}", "repair vox_offset")
    wanted = math.prod(shape) * dtype.itemsize
    stream.seek(int(offset))
    possible = path.stat().st_size * (GZIP_MOST if isinstance(stream, gzip.GzipFile) else 1)
    data = stream.read(wanted) if wanted <= possible else b""  # never ask for memory the file cannot fill
    if len(data) < wanted:
        raise ScanError(path, f"is truncated: its header announces {wanted} bytes of voxels, it holds fewer", AGAIN)
    spatial = (*shape[:3], 1, 1)[:3]
    return np.frombuffer(data, dtype).reshape(-1, *spatial[::-1])  # NIfTI's first axis is the fastest: x


def _scaled(voxels: np.ndarray, header: nib.Nifti1Header) -> np.ndarray:
    """``slope * voxels + inter`` as float32; the voxels as stored where no scaling is asked for, or allowed (RGB)."""
    slope, inter = header.get_slope_inter()
    if slope is None or (slope, inter) == (1, 0) or voxels.dtype.kind not in "iuf":
        return voxels
    scaled = voxels.astype(np.float32)
    scaled *= slope
    scaled += inter
    return scaled


def write_nifti(volume: Volume, path: str | Path) -> None:
    """Write ``volume`` as .nii or .nii.gz: label maps in the smallest integer type, images as float32.

    The geometry is that of the NIfTI file the volume comes from, where it lies on that file's grid; else sform and
    qform hold the affine, in float32. The file appears whole or not at all.

    Raises:
        ValueError: the path ends neither in .nii nor in .nii.gz.
    """
    path = Path(path)
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise ValueError(f"{path}: a NIfTI file ends in .nii or .nii.gz")
    array = np.asarray(volume.array)
    array = array[0] if volume.channels == 1 else array
    dtype = _smallest_integer(array) if isinstance(volume, LabelMap) else np.float32
    voxels = array.astype(dtype, copy=False).T
    header = nib.Nifti1Header()
    header.set_data_shape(voxels.shape)
    write_geometry(header, volume)
    image = nib.Nifti1Image(voxels, None, header, dtype=dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=".writing-") as aside:
        nib.save(image, Path(aside) / path.name)
        (Path(aside) / path.name).replace(path)


def _smallest_integer(array: np.ndarray) -> np.dtype:
    low, high = int(array.min()), int(array.max())
    return np.promote_types(np.min_scalar_type(low), np.min_scalar_type(high))
