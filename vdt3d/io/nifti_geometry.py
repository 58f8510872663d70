"""Geometry of NIfTI headers: which of the sform, the qform and pixdim places the voxels, and how it is written."""

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np

from vdt3d.io.checks import ScanError, ScanWarning
from vdt3d.io.shear import TOLERANCE, shear_of
from vdt3d.structures import StoredGeometry, Volume, corner_distance

REPAIR = "repair the geometry in its header"
MILLIMETRES = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}  # by the code of the unit; in 0, unknown, lengths are in mm by custom
SCANNER = 1  # code of coordinates as the scanner gave them
CODES = range(6)  # of both forms; 0 is unset
SAME_SCALE = 1e-3  # relative; over 500 voxels, half a voxel
ITK_SHEAR = 1e-4  # cosine between two axes, from which on ITK reads the qform in place of any sform
SAME_PLACE = 0.1  # in voxels, at the corners
# With both codes 0 the standard leaves the orientation open. ITK reads left, posterior, superior from 0, 0, 0.
ITK_UNSET = np.array([-1.0, -1.0, 1.0])
FIELDS = (
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)


def read_geometry(path: Path, header: nib.Nifti1Header) -> StoredGeometry:
    """Return the affine in mm and the fields of the header that it comes from.

    All readers agree where the forms agree, or the sform has code 1 and axes at right angles. Elsewhere nibabel and
    MONAI take the sform, ITK takes the qform: so does this function, with a warning.

    Raises:
        ScanError: a code, a unit or the quaternion is impossible, or the sform contradicts pixdim and there is no
            qform to decide.
    """
    unit, codes = int(header["xyzt_units"]) & 7, {name: int(header[f"{name}_code"]) for name in ("sform", "qform")}
    if unit not in MILLIMETRES:
        raise ScanError(path, f"its header states the unknown unit of length {unit}", "write 2 (mm) into xyzt_units")
    if wrong := [f"{name}_code = {code}" for name, code in codes.items() if code not in CODES]:
        raise ScanError(path, f"its header states {wrong[0]}, where 0 to 5 was expected", REPAIR)
    affine = _chosen(path, header)[:, [2, 1, 0, 3]]
    affine[:3] *= MILLIMETRES[unit]
    pixdim = header["pixdim"][:4].copy()
    return StoredGeometry(affine, {"units": unit, "pixdim": pixdim} | {name: header[name].copy() for name in FIELDS})


def write_geometry(header: nib.Nifti1Header, volume: Volume) -> None:
    """Fill the geometry of a header whose shape is set.

    A volume on the grid of the NIfTI file it comes from gets the fields of that file, so that every reader, whichever
    form it prefers, shows both in one place. Any other gets its affine as sform and qform, code 1; the qform, which
    ITK needs where axes are not exactly at right angles, has these straightened.
    """
    stored = volume.stored
    if stored is None or not volume.same_grid(volume.replace(affine=stored.affine)):
        affine = volume.affine[:, [2, 1, 0, 3]]
        header.set_qform(affine, SCANNER)
        header.set_sform(affine, SCANNER)
        header.set_xyzt_units("mm")
        return
    header["xyzt_units"] = stored.fields["units"]
    header["pixdim"][:4] = stored.fields["pixdim"]
    for name in FIELDS:
        header[name] = stored.fields[name]


def _chosen(path: Path, header: nib.Nifti1Header) -> np.ndarray:
    """The affine (4, 4) of array axes x, y, z in the header's unit."""
    shape = header.get_data_shape()[:3]
    spacing = np.array([*header["pixdim"][1 : 1 + len(shape)], 1, 1], float)[:3]
    sform = header.get_sform() if header["sform_code"] else None
    qform = _qform(path, header) if header["qform_code"] else None
    if sform is None and qform is None:
        finding = "has neither sform nor qform (codes 0), so its orientation and position are unknown"
        _warn(path, f"{finding}; read as ITK does: left, posterior, superior from 0, 0, 0. Write an sform to change it")
        return np.diag([*ITK_UNSET * spacing, 1])
    if sform is None:
        return qform
    scale = np.linalg.norm(sform[:3, :3], axis=0)
    if not np.isfinite(sform).all() or not scale.all():
        return sform  # which is refused, as that of any format
    trusted = qform is None or header["sform_code"] == SCANNER
    shear = shear_of(sform)
    if trusted and shear > TOLERANCE:
        return sform  # which is refused, or resampled where that is declared
    if not np.allclose(scale[: len(shape)], spacing[: len(shape)], rtol=SAME_SCALE, atol=0):
        steps = f"has steps of {scale.round(4).tolist()}, its pixdim of {spacing.round(4).tolist()} (x, y, z)"
        if qform is None:
            raise ScanError(path, f"its sform {steps}", "write the true spacing into both")
        _warn(path, f"its sform {steps}; the qform is used, which has those of pixdim. Correct the sform to change it")
        return qform
    if trusted and (qform is None or shear <= ITK_SHEAR):
        return sform
    apart = corner_distance(sform, qform, (*shape, 1, 1)[:3])
    if apart <= SAME_PLACE * spacing.min():
        return sform
    codes = f"sform (code {header['sform_code']}) and qform (code {header['qform_code']})"
    most = f"{apart * MILLIMETRES[int(header['xyzt_units']) & 7]:.3g} mm"
    _warn(path, f"its {codes} differ by up to {most}; the qform is used, as by ITK. Make them equal to change it")
    return qform


def _qform(path: Path, header: nib.Nifti1Header) -> np.ndarray:
    try:
        return header.get_qform()
    except ValueError as error:  # of a quaternion longer than 1
        raise ScanError(path, f"its qform is impossible ({error})", REPAIR) from error


def _warn(path: Path, text: str) -> None:
    warnings.warn(f"{path}: {text}", ScanWarning, stacklevel=2)
