"""The cache of prepared cases: what is written comes back, in slices; what is unfinished or damaged is named."""

import json
import pickle

import numpy as np
import pytest

from vdt3d.io import LazyArray, ScanError, cache, list_cases, read_case, read_record, write_case
from vdt3d.structures import LabelMap, Sample, Volume, affine_from_spacing
from vdt3d.transforms.grid import cut

AFFINE = affine_from_spacing((3.0, 1.0, 0.5))


def labelled(image, labels, **fields):
    return Sample(image=Volume(image, AFFINE), label_map=LabelMap(labels[None], AFFINE), **fields)


@pytest.fixture
def ramp():
    """A case whose voxel (z, y, x) has the value 100 z + 10 y + x; the label is 1 in slice 2 and 3 in one voxel."""
    z, y, x = np.indices((5, 6, 7))
    labels = np.zeros((5, 6, 7), np.int64)
    labels[2], labels[4, 5, 6] = 1, 3
    return labelled((100.0 * z + 10 * y + x)[None].astype(np.float32), labels, group="P1")


def test_a_case_comes_back_with_its_geometry(tmp_path, ramp):
    write_case(tmp_path, "a", ramp, extra={"source": "a.nii.gz"})
    back = read_case(tmp_path, "a")
    assert (back.name, back.group, back.image.spacing) == ("a", "P1", (3.0, 1.0, 0.5))
    assert (back.image.affine == AFFINE).all() and back.image.same_grid(back.label_map)
    assert (np.asarray(back.image.array) == ramp.image.array).all()
    assert (np.asarray(back.label_map.array) == ramp.label_map.array).all()
    assert (back.image.array.dtype, back.label_map.array.dtype) == (np.int16, np.uint8)  # whole numbers, few labels
    record = read_record(tmp_path, "a")
    assert (record["shape"], record["extra"]) == ([1, 5, 6, 7], {"source": "a.nii.gz"})
    assert record["voxels"] == {"0": 210 - 42 - 1, "1": 42, "3": 1}  # 5 x 6 x 7 voxels, 6 x 7 of them in a slice
    assert record["slices"] == {"0": 4, "1": 1, "3": 1}


@pytest.mark.parametrize("values", [(0.5, 1.0), (0.0, 32768.0), (-32769.0, 0.0)])
def test_what_int16_cannot_hold_stays_float32(tmp_path, values):
    write_case(tmp_path, "a", Sample(image=Volume(np.reshape(values, (1, 1, 1, 2)))), extra={})
    back = read_case(tmp_path, "a")
    assert back.image.array.dtype == np.float32
    assert np.asarray(back.image.array).ravel().tolist() == list(values)
    assert (back.label_map, back.foreground) == (None, None)


def test_slices_are_read_as_numpy_would_cut_them(tmp_path, ramp):
    write_case(tmp_path, "a", ramp, extra={})
    lazy, array = read_case(tmp_path, "a").image.array, ramp.image.array
    assert (lazy.shape, lazy.ndim) == ((1, 5, 6, 7), 4)
    for index in (np.s_[:, 1:3, 2:, :4], np.s_[:], np.s_[:, 4:9], np.s_[:, 3:3], np.s_[:, -2:], np.s_[:, ::2, 1:]):
        part = lazy[index]
        assert part.shape == array[index].shape and (part == array[index]).all()
    assert np.asarray(lazy, dtype=np.float32).dtype == np.float32
    for index in (np.s_[:, ::-1], np.s_[0], np.s_[..., 0]):
        with pytest.raises(IndexError, match=r"a.b2nd is read in forward slices.*numpy.asarray reads all"):
            lazy[index]


def test_a_patch_larger_than_the_case_is_filled_up(tmp_path, ramp):
    write_case(tmp_path, "a", ramp, extra={})
    patch = cut(read_case(tmp_path, "a").image, corner=(-1, 2, 0), size=(8, 4, 4))  # 5 slices in a patch of 8
    assert patch.shape == (8, 4, 4)
    assert (patch.array[0, 1:6] == ramp.image.array[0, :, 2:6, :4]).all()
    assert not patch.array[0, 0].any() and not patch.array[0, 6:].any()


def test_the_last_of_600_slices_is_found(tmp_path):
    labels = np.zeros((600, 3, 4), np.uint8)
    labels[599, 2, 1] = 2
    write_case(tmp_path, "long", labelled(np.arange(7200.0).reshape(1, 600, 3, 4), labels), extra={})
    back = read_case(tmp_path, "long")
    assert back.foreground[2].tolist() == [[599, 2, 1]]
    assert back.image.array[:, 599:, 2:, 1:2].ravel().tolist() == [7200 - 3]  # two voxels follow it


def test_statistics_are_those_of_the_whole_case_per_channel(tmp_path):
    image = np.zeros((2, 4, 10, 10), np.float32)
    image[0, 2:] = 2  # half 0, half 2: mean 1, each voxel 1 away from it
    image[1] = 7.5
    write_case(tmp_path, "a", Sample(image=Volume(image)), extra={})
    found = read_case(tmp_path, "a").statistics
    assert found == {
        "mean": (1.0, 7.5),
        "std": (1.0, 0.0),
        "percentile_00_5": (0.0, 7.5),
        "percentile_99_5": (2.0, 7.5),
        "min": (0.0, 7.5),
        "max": (2.0, 7.5),
    }


def test_statistics_agree_with_numpy_on_uneven_slices(tmp_path):
    image = np.random.default_rng(0).normal(size=(1, 5, 8, 8)) * np.arange(1, 6)[:, None, None] + np.arange(8)
    write_case(tmp_path, "a", Sample(image=Volume(image)), extra={})
    found = read_case(tmp_path, "a").statistics
    assert found["std"][0] == pytest.approx(image.std(), rel=1e-9)
    assert found["mean"][0] == pytest.approx(image.mean(), rel=1e-9)


def test_foreground_is_a_choice_of_each_labels_voxels(tmp_path):
    labels = np.zeros((30, 31, 32), np.uint16)
    labels[1:29, 2:30, 3:31] = 300  # 28 x 28 x 28 = 21,952 voxels, more than are kept
    labels[0, 0, 5] = 7
    labels[29] = 255
    sample = labelled(np.zeros((1, 30, 31, 32), np.int16), labels)
    write_case(tmp_path, "a", sample, extra={})
    found = read_case(tmp_path, "a").foreground
    assert list(found) == [7, 300]  # neither background nor 255
    assert found[7].tolist() == [[0, 0, 5]]
    assert found[300].shape == (10_000, 3) and len(np.unique(found[300], axis=0)) == 10_000
    assert (labels[tuple(found[300].T)] == 300).all()
    # spread over all 28 slices: 357 of 10,000 on average; five standard deviations of 18.5 either way
    assert np.abs(np.bincount(found[300][:, 0], minlength=29)[1:] - 10_000 / 28).max() < 93
    write_case(tmp_path, "b", sample, extra={})
    assert (read_case(tmp_path, "b").foreground[300] == found[300]).all()


def test_a_case_of_background_alone_has_no_foreground(tmp_path):
    write_case(tmp_path, "a", labelled(np.zeros((1, 2, 3, 4)), np.zeros((2, 3, 4), np.uint8)), extra={})
    back = read_case(tmp_path, "a")
    assert back.foreground == {} and back.label_map.array[:].max() == 0


def test_only_the_path_travels_to_another_process(tmp_path):
    noise = np.random.default_rng(0).normal(size=(1, 20, 30, 30))
    write_case(tmp_path, "a", Sample(image=Volume(noise)), extra={})
    lazy = read_case(tmp_path, "a").image.array
    content = pickle.dumps(lazy)
    assert len(content) < 1000
    back = pickle.loads(content)
    assert isinstance(back, LazyArray) and (back[:, 3:5] == lazy[:, 3:5]).all()


def test_a_truncated_file_among_good_ones_is_named(tmp_path, ramp):
    for name in "abc":
        write_case(tmp_path, name, ramp, extra={})
    damaged = tmp_path / "b.b2nd"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert list_cases(tmp_path) == ["a", "b", "c"]
    with pytest.raises(ScanError, match=r"b\.b2nd: is missing, truncated .*; remove b\.json beside it and run tools"):
        read_case(tmp_path, "b")
    assert all(read_case(tmp_path, name).image.array[:].max() == 456 for name in "ac")


@pytest.mark.parametrize("file", ["a.b2nd", "a.seg.b2nd", "a.foreground.npy"])
def test_a_missing_or_emptied_file_is_named(tmp_path, ramp, file):
    write_case(tmp_path, "a", ramp, extra={})
    for spoil in (lambda path: path.write_bytes(b""), lambda path: path.unlink()):
        spoil(tmp_path / file)
        with pytest.raises(ScanError, match=f"{file}: is missing, truncated or damaged .*remove a.json"):
            read_case(tmp_path, "a")


def test_damage_in_the_middle_is_named_when_it_is_read(tmp_path):
    noise = np.random.default_rng(0).integers(-1000, 1000, (1, 16, 64, 64))
    write_case(tmp_path, "a", Sample(image=Volume(noise)), extra={})
    path = tmp_path / "a.b2nd"
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = b"\xff" * 64
    path.write_bytes(content)
    with pytest.raises(ScanError, match=r"a\.b2nd: .*damaged"):
        read_case(tmp_path, "a").image.array[:]


def test_positions_of_another_case_are_refused(tmp_path, ramp):
    write_case(tmp_path, "a", ramp, extra={})
    with (tmp_path / "a.foreground.npy").open("wb") as file:
        np.save(file, np.zeros((5, 3), np.int32))
    with pytest.raises(ScanError, match=r"holds positions of shape \(5, 3\), where \(43, 3\) was expected"):
        read_case(tmp_path, "a")


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        (None, r"a\.json: is missing: the case was never prepared"),
        ("{", r"a\.json: is damaged"),
        ("[]", r"a\.json: is damaged"),
        (json.dumps({"version": 0}), r"a\.json: is of version 0, not 1; remove the folder"),
    ],
)
def test_an_unfinished_or_foreign_case_is_named(tmp_path, ramp, content, finding):
    write_case(tmp_path, "a", ramp, extra={})
    (tmp_path / "a.json").unlink()
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(ScanError, match=finding):
        read_case(tmp_path, "a")


def test_a_case_that_is_broken_off_counts_as_absent(tmp_path, ramp, monkeypatch):
    write_case(tmp_path, "a", ramp, extra={})

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(cache, "_save", full)
    with pytest.raises(OSError, match="no space left"):
        write_case(tmp_path, "a", ramp, extra={})
    assert list_cases(tmp_path) == []  # the earlier one is gone too: half of its files are the new one's
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.b2nd", "a.foreground.npy", "a.seg.b2nd"]
    monkeypatch.undo()
    write_case(tmp_path, "a", ramp, extra={})
    assert list_cases(tmp_path) == ["a"]
