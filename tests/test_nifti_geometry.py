"""NIfTI headers whose forms contradict each other: which one is read, and label maps that overlay their scan."""

import warnings

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from vdt3d.cli import main
from vdt3d.engine.hooks.predictions import PredictionsHook
from vdt3d.inference.way_back import carried
from vdt3d.io import ScanError, ScanWarning, read_label_map, read_volume, write_nifti
from vdt3d.structures import LabelMap, Sample, Volume
from vdt3d.transforms import PackSegmentation, ResampleSpacing3D

SHAPE = (40, 30, 20)  # x, y, z
SCANNER = np.array([[1.5, 0, 0, -30], [0, 1.5, 0, -20], [0, 0, 4, 100], [0, 0, 0, 1]])  # columns x, y, z
MOVED = SCANNER + np.array([[0, 0, 0, 10], [0, 0, 0, -5], [0, 0, 0, 3], [0, 0, 0, 0]])
SHEARED = SCANNER + np.array([[0, 7e-4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
# qform and sform, each with its code
HEADERS = {
    "no codes": ((None, 0), (None, 0)),
    "scanner and moved": ((SCANNER, 1), (MOVED, 2)),
    "moved to a template": ((SCANNER, 1), (MOVED, 4)),
    "moved, both of the scanner": ((SCANNER, 1), (MOVED, 1)),
    "slightly sheared": ((SCANNER, 1), (SHEARED, 1)),
    "qform alone": ((SCANNER, 1), (None, 0)),
    "sform alone": ((None, 0), (SCANNER, 2)),
}


def write_scan(path, header, units="mm"):
    image = nib.Nifti1Image(np.zeros(SHAPE, np.int16), SCANNER)
    image.set_qform(*header[0])
    image.set_sform(*header[1])
    image.header.set_xyzt_units(units)
    image.to_filename(path)
    return path


def itk_corners(path):
    image = SimpleITK.ReadImage(path)
    last = [size - 1 for size in image.GetSize()]
    return np.array([image.TransformIndexToPhysicalPoint(corner) for corner in ([0, 0, 0], last)])


def labels_on(volume, stored):
    return LabelMap(np.ones(volume.array.shape, np.uint8), volume.affine, stored)


@pytest.mark.filterwarnings("ignore::vdt3d.io.ScanWarning")
@pytest.mark.parametrize("case", HEADERS)
def test_a_label_map_overlays_its_scan_for_every_reader(tmp_path, case):
    path, label = write_scan(tmp_path / "scan.nii", HEADERS[case]), tmp_path / "label.nii.gz"
    scan = read_volume(path)
    write_nifti(labels_on(scan, scan.stored), label)
    of_scan, of_label = nib.load(path), nib.load(label)
    assert np.array_equal(of_scan.affine, of_label.affine)
    for form in ("sform", "qform"):
        pairs = [getattr(image, f"get_{form}")(coded=True) for image in (of_scan, of_label)]
        assert pairs[0][1] == pairs[1][1] and (pairs[0][1] == 0 or np.array_equal(pairs[0][0], pairs[1][0]))
    assert itk_corners(label) == pytest.approx(itk_corners(path), abs=1e-3)
    assert read_label_map(label).same_grid(scan)
    write_nifti(labels_on(scan, None), label)  # of its affine alone, ITK makes the same place
    assert itk_corners(label) == pytest.approx(itk_corners(path), abs=0.05)


def test_forms_that_differ_are_resolved_with_a_warning(tmp_path):
    path = write_scan(tmp_path / "scan.nii", HEADERS["scanner and moved"])
    with pytest.warns(ScanWarning, match=r"scan.nii: .*sform \(code 2\) and qform \(code 1\).* 11.6 mm"):
        assert read_volume(path).affine == pytest.approx(SCANNER[:, [2, 1, 0, 3]])  # |(10, -5, 3)| = 11.58


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", ["moved, both of the scanner", "slightly sheared", "qform alone", "sform alone"])
def test_headers_that_all_readers_read_alike_need_no_warning(tmp_path, case):
    path = write_scan(tmp_path / "scan.nii", HEADERS[case])
    assert read_volume(path).affine == pytest.approx(nib.load(path).affine[:, [2, 1, 0, 3]], abs=1e-5)


def test_an_sform_of_another_scale_than_pixdim_is_not_believed(tmp_path):
    header = nib.Nifti1Image(np.zeros((8, 7, 6), np.int16), np.diag([1.5, 1.5, 10, 1])).header
    header.set_qform(np.diag([-1.5, -1.5, 10, 1]), 1)
    header.set_sform(np.diag([-1, -1, 1, 1]), 1)
    header["vox_offset"] = 352
    (tmp_path / "scan.nii").write_bytes(header.binaryblock + bytes(4 + 8 * 7 * 6 * 2))
    with pytest.warns(ScanWarning, match=r"scan.nii: .*\[1.0, 1.0, 1.0\].*\[1.5, 1.5, 10.0\].*qform"):
        assert read_volume(tmp_path / "scan.nii").spacing == pytest.approx((10, 1.5, 1.5))
    header["qform_code"] = 0
    (tmp_path / "scan.nii").write_bytes(header.binaryblock + bytes(4 + 8 * 7 * 6 * 2))
    with pytest.raises(ScanError, match=r"scan.nii: .*\[1.0, 1.0, 1.0\].*\[1.5, 1.5, 10.0\]"):
        read_volume(tmp_path / "scan.nii")


def test_a_label_map_has_the_units_of_its_scan(tmp_path):
    scan = read_volume(write_scan(tmp_path / "scan.nii", HEADERS["sform alone"], "micron"))
    assert scan.spacing == pytest.approx((0.004, 0.0015, 0.0015))
    write_nifti(labels_on(scan, scan.stored), tmp_path / "label.nii")
    label = nib.load(tmp_path / "label.nii")
    assert label.header.get_xyzt_units()[0] == "micron" and np.array_equal(label.affine, SCANNER)
    assert read_label_map(tmp_path / "label.nii").same_grid(scan)


def test_another_grid_gets_a_header_of_its_own(tmp_path):
    scan = read_volume(write_scan(tmp_path / "scan.nii", HEADERS["moved, both of the scanner"], "micron"))
    coarse = ResampleSpacing3D((0.008, 0.003, 0.003))(Sample(scan, name="a")).image
    write_nifti(coarse, tmp_path / "coarse.nii")
    assert nib.load(tmp_path / "coarse.nii").header.get_xyzt_units()[0] == "mm"
    assert read_volume(tmp_path / "coarse.nii").spacing == pytest.approx((0.008, 0.003, 0.003))


@pytest.mark.filterwarnings("ignore::vdt3d.io.ScanWarning")
def test_maps_and_the_label_maps_of_a_test_keep_the_forms_of_the_scan(tmp_path):
    scan = read_volume(write_scan(tmp_path / "scan.nii", HEADERS["scanner and moved"]))
    sample = PackSegmentation()(Sample(scan, name="case"))["data_samples"]
    sample.pred_labels = labels_on(scan, None)
    PredictionsHook(tmp_path / "out").after_test_iter(None, 0, outputs=[sample])
    write_nifti(carried(Volume(np.ones((1, 2, 2, 2), np.float32)), scan), tmp_path / "map.nii")
    for path in (tmp_path / "out/case.nii.gz", tmp_path / "map.nii"):
        assert np.array_equal(nib.load(path).get_sform(), MOVED) and nib.load(path).header["sform_code"] == 2


def test_the_command_line_shows_a_warning_about_a_file_in_one_line(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert warnings.formatwarning("scan.nii: found", ScanWarning, "nifti.py", 7) == "warning: scan.nii: found\n"
    assert warnings.formatwarning("old", DeprecationWarning, "torch.py", 7).startswith("torch.py:7: DeprecationWarning")
