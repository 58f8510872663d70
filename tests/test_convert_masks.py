"""convert-masks: round trips through csv, NIfTI, PNG and npy, checked against the scans, whole or not at all."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medseg.io import mask_rows, write_masks
from vdt3d.cli import main
from vdt3d.io import write_nifti
from vdt3d.structures import LabelMap, affine_from_spacing

ORGANS = ("large_bowel", "small_bowel", "stomach")
# case-days, not in the order of their names: (D, H, W), spacing (y, x)
CASES = {"case9_day2": ((4, 5, 7), (1.63, 1.5)), "case10_day0": ((3, 6, 4), (1.5, 1.5))}


def labels_of(name):
    """Ellipses of all organs, which overlap; the first slice is empty, and so is the stomach in the last."""
    shape, _ = CASES[name]
    z, y, x = np.indices(shape)
    labels = np.zeros(shape, np.uint8)
    for bit, (low, high) in enumerate(((0, 3), (2, 5), (1, 4))):
        labels[(z > 0) & (y >= low) & (y < high) & (x >= bit) & (x < bit + 3)] |= 1 << bit
    labels[-1] &= 3
    return labels


@pytest.fixture
def root(tmp_path):
    """The challenge's tree: scans that are not square, and train.csv in the order that is ours too."""
    home, rows = tmp_path / "data", []
    for name, ((depth, height, width), (y, x)) in CASES.items():
        folder = home / "train" / name.partition("_")[0] / name / "scans"
        folder.mkdir(parents=True)
        for number in range(1, depth + 1):
            picture = Image.fromarray(np.full((height, width), 1000 * number, np.uint16))
            picture.save(folder / f"slice_{number:04d}_{width}_{height}_{x:.2f}_{y:.2f}.png")
        rows += mask_rows(name, range(1, depth + 1), labels_of(name), ORGANS)
    write_masks(home / "train.csv", rows)
    return home


def convert(src, dst, *words):
    main(["convert-masks", str(src), str(dst), *map(str, words)])
    return dst


def said(capsys, src, dst, *words):
    """What is said of a mistake; nothing must be left of it."""
    before = sorted(dst.parent.iterdir())
    with pytest.raises(SystemExit) as left:
        convert(src, dst, *words)
    assert left.value.code == 2
    assert sorted(dst.parent.iterdir()) == before
    return capsys.readouterr().err


def test_the_labels_of_this_test_are_what_they_are_said_to_be():
    labels = labels_of("case9_day2")
    assert not labels[0].any() and set(np.unique(labels)) >= {1, 2, 4, 5, 7}
    assert labels[1, 2, 2] == 7 and not (labels[3] & 4).any()


@pytest.mark.parametrize(
    "way", [("nifti", "png", "npy"), ("npy", "png", "nifti"), ("png", "npy", "nifti")], ids="-".join
)
def test_a_round_trip_gives_the_same_table(root, tmp_path, way, capsys):
    at = root / "train.csv"
    for form in way:
        at = convert(at, tmp_path / form, "--to", form, "--scans", root)
        assert capsys.readouterr().out == f"2 case-days, 7 slices: {at}\n"
    convert(at, tmp_path / "back.csv")
    assert (tmp_path / "back.csv").read_bytes() == (root / "train.csv").read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_nifti_lies_where_the_scan_does(root, tmp_path):
    convert(root / "train.csv", tmp_path / "out", "--to", "nifti", "--scans", root)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["case10_day0.nii.gz", "case9_day2.nii.gz"]
    image = nib.load(tmp_path / "out/case9_day2.nii.gz")
    assert image.get_data_dtype() == np.uint8 and image.shape == (7, 5, 4)  # x, y, z
    assert image.header.get_zooms() == pytest.approx((1.5, 1.63, 3))
    assert np.array_equal(np.asarray(image.dataobj).T, labels_of("case9_day2"))


def test_pictures_bear_the_labels(root, tmp_path):
    convert(root / "train.csv", tmp_path / "out", "--to", "png", "--scans", root)
    folder = tmp_path / "out/case10_day0"
    assert sorted(path.name for path in folder.iterdir()) == [f"slice_000{n}.png" for n in (1, 2, 3)]
    with Image.open(folder / "slice_0002.png") as picture:
        assert picture.mode == "L"
        assert np.array_equal(np.asarray(picture), labels_of("case10_day0")[1])


def test_arrays_have_an_organ_in_each_channel(root, tmp_path):
    convert(root / "train.csv", tmp_path / "out", "--to", "npy", "--scans", root)
    masks = np.load(tmp_path / "out/case9_day2/slice_0002.npy")
    assert masks.dtype == np.uint8 and masks.shape == (5, 7, 3)
    assert masks[2, 2].tolist() == [1, 1, 1]  # label 7
    assert masks[1, 2].tolist() == [1, 0, 1]  # label 5
    assert np.array_equal(masks @ [1, 2, 4], labels_of("case9_day2")[1])


def test_other_organs_in_their_own_order(root, tmp_path):
    order = ORGANS[::-1]
    convert(root / "train.csv", tmp_path / "out", "--to", "npy", "--scans", root, "--organs", *order)
    assert np.load(tmp_path / "out/case9_day2/slice_0002.npy")[3, 2].tolist() == [1, 1, 0]  # no large bowel
    convert(tmp_path / "out", tmp_path / "back.csv", "--organs", *order)
    lines = (tmp_path / "back.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines[1:4]] == list(order)
    assert sorted(lines) == sorted((root / "train.csv").read_text().splitlines())


def test_a_template_gives_order_and_layout(root, tmp_path, capsys):
    convert(root / "train.csv", tmp_path / "nifti", "--to", "nifti", "--scans", root)
    truth = (root / "train.csv").read_text().splitlines()[1:]
    template = tmp_path / "sample_submission.csv"
    template.write_text("id,class,predicted\n" + "".join(f"{row.rpartition(',')[0]},\n" for row in truth[::-2]))
    convert(tmp_path / "nifti", tmp_path / "some.csv", "--template", template)
    assert (tmp_path / "some.csv").read_text().splitlines() == ["id,class,predicted", *truth[::-2]]
    template.write_text("id,class,predicted\n")
    convert(tmp_path / "nifti", tmp_path / "all.csv", "--template", template)
    assert (tmp_path / "all.csv").read_text().splitlines() == ["id,class,predicted", *truth]
    template.write_text("id,class,predicted\ncase9_day2_slice_0005,stomach,\n")
    message = said(capsys, tmp_path / "nifti", tmp_path / "none.csv", "--template", template)
    assert "row 1 wants stomach in case9_day2_slice_0005, of which there is no mask" in message


def test_what_cannot_be_asked_for(root, tmp_path, capsys):
    table, out = root / "train.csv", tmp_path / "out"
    scans = ("--scans", root)
    assert "give the name of a .csv, or a folder and --to" in said(capsys, table, out, *scans)
    assert "give the name of a .csv" in said(capsys, table, tmp_path / "out.csv", "--to", "png", *scans)
    assert "--template is for a csv" in said(capsys, table, out, "--to", "png", "--template", table, *scans)
    assert "does not tell how large its masks are; give the scans too" in said(capsys, table, out, "--to", "png")
    assert "one to 7 different names" in said(capsys, table, out, "--to", "png", "--organs", *"aa", *scans)
    assert "holds no train/case123" in said(capsys, table, out, "--to", "png", "--scans", tmp_path / "away")
    assert "neither a csv nor a folder" in said(capsys, tmp_path / "away", out, "--to", "png")
    convert(table, tmp_path / "npy", "--to", "npy", *scans)
    assert "npy is there already; choose another name" in said(capsys, table, tmp_path / "npy", "--to", "npy", *scans)
    message = said(capsys, tmp_path / "npy", out, "--to", "nifti")
    assert "npy does not tell the spacing that NIfTI has; name the scans with --scans" in message


def test_a_bad_row_of_the_last_case_leaves_nothing(root, tmp_path, capsys):
    table = root / "train.csv"
    lines = table.read_text().splitlines()
    lines[-2] += " 999 1"  # case9_day2 has 35 pixels a slice
    table.write_text("\n".join(lines) + "\n")
    message = said(capsys, table, tmp_path / "out", "--to", "png", "--scans", root)
    assert f"row {len(lines) - 2} (case9_day2_slice_0004, small_bowel): run " in message
    assert "leaves the picture of 35 pixels; correct the code" in message


def test_rows_and_scans_must_be_of_each_other(root, tmp_path, capsys):
    words = (tmp_path / "out", "--to", "npy", "--scans", root)
    (last,) = (root / "train/case9/case9_day2/scans").glob("slice_0004*")
    moved = last.rename(tmp_path / last.name)
    assert "has rows of slice 4 of case9_day2, which is not in" in said(capsys, root / "train.csv", *words)
    moved.rename(last)
    first = next((root / "train/case9/case9_day2/scans").glob("slice_0001*"))
    first.rename(tmp_path / first.name)
    assert "scans: begins with slice 2; add those before it" in said(capsys, root / "train.csv", *words)
    (root / "train/case9").rename(tmp_path / "case9")
    assert "has masks of case9_day2, of which there is no scan" in said(capsys, root / "train.csv", *words)
    (root / "empty.csv").write_text("id,class,predicted\n")
    assert "empty.csv: has no rows" in said(capsys, root / "empty.csv", *words)


def test_scans_of_one_day_are_there_once(root, tmp_path, capsys):
    folder = root / "test/case9/case9_day2/scans"
    folder.mkdir(parents=True)
    words = (tmp_path / "out", "--to", "npy", "--scans", root)
    assert "is of case9_day2, as is" in said(capsys, root / "train.csv", *words)
    folder.parent.rename(folder.parent.with_name("case_9_day2"))
    assert "'case_9_day2' is not the name of a case-day; name it" in said(capsys, root / "train.csv", *words)


@pytest.fixture
def png(root, tmp_path):
    return convert(root / "train.csv", tmp_path / "png", "--to", "png", "--scans", root)


def test_a_folder_is_of_one_form(png, tmp_path, capsys):
    out = tmp_path / "out.csv"
    np.save(png / "case9_day2/slice_0001.npy", np.zeros((5, 7, 3)))
    assert "holds masks in several forms (png, npy); give" in said(capsys, png, out)
    (png / "case9_day2").rename(png / "case_nine")
    assert "'case_nine' is not the name of a case-day; name it as in case123_day20" in said(capsys, png, out)
    (tmp_path / "empty").mkdir()
    assert "holds neither NIfTI nor folders of PNG or npy" in said(capsys, tmp_path / "empty", out)


def test_other_files_and_hidden_ones_are_passed_over(png, tmp_path):
    (png / "README.txt").touch()
    (png / ".hidden.nii.gz").touch()
    (png / "case9_day2/._slice_0001.png").touch()
    convert(png, tmp_path / "out.csv")


def test_labels_that_are_no_sums_of_bits(png, tmp_path, capsys):
    Image.fromarray(np.full((6, 4), 8, np.uint8)).save(png / "case10_day0/slice_0003.png")
    finding = "case10_day0: holds the label 8, which is no sum of 3 bits; name all organs"
    assert finding in said(capsys, png, tmp_path / "out.csv")


def test_masks_of_another_size_than_their_scan(root, png, tmp_path, capsys):
    for number in (1, 2, 3):
        Image.fromarray(np.zeros((4, 6), np.uint8)).save(png / f"case10_day0/slice_000{number}.png")
    message = said(capsys, png, tmp_path / "out", "--to", "nifti", "--scans", root)
    assert "case10_day0: has (3, 4, 6) voxels of (3.0, 1.5, 1.5) mm" in message and "its scan" in message
    assert "has (3, 6, 4) voxels" in message
    (png / "case10_day0/slice_0002.png").unlink()
    assert "of slices 1 to 3 it lacks 2" in said(capsys, png, tmp_path / "out", "--to", "npy")


@pytest.mark.parametrize(
    ("masks", "finding"),
    [
        (
            np.zeros((5, 7, 2), np.uint8),
            "holds masks of shape (5, 7, 2), where (H, W, organs) = (5, 7, 3) was expected",
        ),
        (
            np.zeros((7, 5, 3), np.uint8),
            "holds masks of shape (7, 5, 3), where (H, W, organs) = (5, 7, 3) was expected",
        ),
        (np.full((5, 7, 3), 2, np.uint8), "holds values from 2 to 2; masks are 0 and 1, or 0 and 255"),
        (np.full((5, 7, 3), 0.5), "holds values from 0.5 to 0.5; masks are 0 and 1, or 0 and 255"),
        (np.zeros((5, 7), np.uint8), "holds an array of shape (5, 7)"),
    ],
)
def test_arrays_that_are_no_masks(root, tmp_path, capsys, masks, finding):
    npy = convert(root / "train.csv", tmp_path / "npy", "--to", "npy", "--scans", root)
    np.save(npy / "case9_day2/slice_0003.npy", masks)
    message = said(capsys, npy, tmp_path / "out.csv")
    assert f"case9_day2/slice_0003.npy: {finding}" in message


def test_nifti_must_be_turned_as_the_pictures_are(root, tmp_path, capsys):
    nifti = convert(root / "train.csv", tmp_path / "nifti", "--to", "nifti", "--scans", root)
    labels, affine = labels_of("case9_day2")[None], affine_from_spacing((3.0, 1.63, 1.5))
    elsewhere = affine.copy()
    elsewhere[0, 3] = 30
    write_nifti(LabelMap(labels, elsewhere), nifti / "case9_day2.nii.gz")
    convert(nifti, tmp_path / "fine.csv")  # where it lies does not matter, unless there is a scan to lie on
    message = said(capsys, nifti, tmp_path / "out", "--to", "png", "--scans", root)
    assert "case9_day2.nii.gz: has (4, 5, 7) voxels" in message
    mirrored = affine @ np.diag([1.0, -1, 1, 1])
    write_nifti(LabelMap(labels, mirrored), nifti / "case9_day2.nii.gz")
    assert "its axes are turned or mirrored" in said(capsys, nifti, tmp_path / "out.csv")


def test_a_full_disk_leaves_nothing(root, tmp_path, monkeypatch):
    def full(path, array):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "save", full)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="No space"):
        convert(root / "train.csv", tmp_path / "out", "--to", "npy", "--scans", root, "--debug")
    assert sorted(tmp_path.iterdir()) == before


def test_arrays_may_hold_255_in_place_of_1(root, tmp_path):
    npy = convert(root / "train.csv", tmp_path / "npy", "--to", "npy", "--scans", root)
    for path in npy.rglob("*.npy"):
        np.save(path, np.load(path) * np.uint8(255))
    assert convert(npy, tmp_path / "out.csv").read_bytes() == (root / "train.csv").read_bytes()
