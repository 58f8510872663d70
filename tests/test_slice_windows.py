"""Windows of neighbouring slices: which slices they hold, at both ends too, and that nothing reaches another case."""

import pickle

import numpy as np
import pytest
import torch

from vdt3d.datasets import SliceWindows, VolumeDataset
from vdt3d.inference import SliceWindowInferer
from vdt3d.io import read_case, write_case
from vdt3d.structures import IGNORED, LabelMap, Sample, SegmentationSample, SliceWindow, Volume
from vdt3d.structures.volume import affine_from_spacing
from vdt3d.transforms import CutWindow, PackSegmentation, Percentile3D, RandomFlip3D, Reorient3D, ZScore

# Worked out by hand, for scans of 6 slices (numbered 0 to 5) unless the length says otherwise. -1 is a slice of zeros.
HAND_WORKED = [
    # slices, stride, target, edge, position, length: the slices of the window
    (1, 1, "centre", "clamp", 0, 6, (0,)),
    (1, 2, "centre", "zero", 5, 6, (5,)),
    (3, 1, "centre", "clamp", 2, 6, (1, 2, 3)),
    (3, 1, "centre", "clamp", 0, 6, (0, 0, 1)),
    (3, 1, "centre", "clamp", 5, 6, (4, 5, 5)),
    (3, 1, "centre", "repeat", 0, 6, (0, 0, 1)),
    (3, 1, "centre", "zero", 0, 6, (-1, 0, 1)),
    (3, 1, "centre", "zero", 5, 6, (4, 5, -1)),
    (3, 2, "centre", "clamp", 1, 6, (0, 1, 3)),
    (3, 2, "centre", "repeat", 1, 6, (1, 1, 3)),
    (3, 2, "centre", "zero", 1, 6, (-1, 1, 3)),
    (3, 2, "centre", "clamp", 4, 6, (2, 4, 5)),
    (3, 2, "centre", "repeat", 4, 6, (2, 4, 4)),
    (5, 1, "centre", "clamp", 0, 6, (0, 0, 0, 1, 2)),
    (5, 1, "centre", "clamp", 3, 6, (1, 2, 3, 4, 5)),
    (5, 1, "centre", "clamp", 5, 6, (3, 4, 5, 5, 5)),
    (5, 1, "centre", "zero", 1, 6, (-1, 0, 1, 2, 3)),
    (5, 2, "centre", "clamp", 4, 6, (0, 2, 4, 5, 5)),
    (5, 2, "centre", "repeat", 4, 6, (0, 2, 4, 4, 4)),
    (5, 2, "centre", "zero", 4, 6, (0, 2, 4, -1, -1)),
    (5, 2, "centre", "repeat", 1, 6, (1, 1, 1, 3, 5)),
    # The public GI tract solutions took slices t, t + 2, t + 4 and filled what is missing with the last one there was.
    (3, 2, "first", "clamp", 0, 6, (0, 2, 4)),
    (3, 2, "first", "clamp", 3, 6, (3, 5, 5)),
    (3, 2, "first", "clamp", 5, 6, (5, 5, 5)),
    (3, 2, "first", "repeat", 2, 6, (2, 4, 4)),
    (3, 2, "first", "zero", 3, 6, (3, 5, -1)),
    (3, 1, "all", "clamp", 0, 6, (0, 0, 1)),
    # a scan of one slice, and one shorter than the window
    (1, 1, "centre", "clamp", 0, 1, (0,)),
    (3, 1, "centre", "clamp", 0, 1, (0, 0, 0)),
    (3, 1, "centre", "repeat", 0, 1, (0, 0, 0)),
    (5, 2, "centre", "zero", 0, 1, (-1, -1, 0, -1, -1)),
    (5, 1, "centre", "clamp", 1, 2, (0, 0, 1, 1, 1)),
]


@pytest.mark.parametrize(("slices", "stride", "target", "edge", "position", "length", "expected"), HAND_WORKED)
def test_the_slices_of_a_window(slices, stride, target, edge, position, length, expected):
    window = SliceWindow(slices, stride, target=target, edge=edge)
    assert window.positions(position, length, window.step(spacing=1.0)) == expected


def test_a_stride_in_mm_is_rounded_to_slices_of_each_scan():
    window = SliceWindow(3, stride_mm=3.0)
    # 3 mm are 3 slices of 1 mm, 1 of 2.5 mm (1.2), 2 of 1.5 mm, and never none: 1 of 10 mm (0.3)
    assert [window.step(spacing) for spacing in (1.0, 2.5, 1.5, 10.0)] == [3, 1, 2, 1]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"slices": 0}, "slices=0"),
        ({"stride": 0}, "stride=0"),
        ({"stride": 2, "stride_mm": 3.0}, "in place of stride=2"),
        ({"stride_mm": -1.0}, "stride_mm=-1.0"),
        ({"target": "last"}, "centre, first, all"),
        ({"edge": "mirror"}, "clamp, repeat, zero"),
        ({"strides": 2}, "no strides; it has slices, stride, stride_mm"),
    ],
)
def test_windows_that_cannot_be(arguments, named):
    with pytest.raises(ValueError, match=named):
        SliceWindow.of(arguments)
    with pytest.raises(ValueError, match="no slice 6 among 6"):
        SliceWindow().positions(6, 6, 1)


def case(length: int, first: int = 0, dtype: type = np.uint16) -> Sample:
    """Slice z of 2 x 3 pixels holds ``first + z`` everywhere, its labels z + 1; slices lie 3 mm apart."""
    values = np.broadcast_to(np.arange(first, first + length, dtype=dtype)[None, :, None, None], (1, length, 2, 3))
    labels = np.broadcast_to(np.arange(1, length + 1, dtype=np.uint8)[None, :, None, None], (1, length, 2, 3))
    affine = affine_from_spacing((3.0, 1.5, 1.5))
    return Sample(image=Volume(values.copy(), affine), label_map=LabelMap(labels.copy(), affine), name=f"from {first}")


def test_a_window_is_cut_out_of_image_and_labels_and_lies_where_it_was():
    cut = CutWindow(SliceWindow(3, stride=2)).at(case(6), 3)
    assert cut.image.array[0, :, 0, 0].tolist() == [1, 3, 5]
    assert cut.label_map.array[0, :, 0, 0].tolist() == [2, 4, 6]
    assert cut.image.array.dtype == np.uint16  # sixteen bits stay sixteen
    assert cut.image.spacing == pytest.approx((6.0, 1.5, 1.5))
    assert cut.image.affine[:3, 3] == pytest.approx([0, 0, 3.0])  # slice 1, 3 mm above slice 0


def test_slices_of_zeros_have_no_label():
    cut = CutWindow(SliceWindow(3, edge="zero")).at(case(4, first=7), 0)
    assert cut.image.array[0, :, 0, 0].tolist() == [0, 7, 8]
    assert cut.label_map.array[0, :, 0, 0].tolist() == [IGNORED, 1, 2]
    assert cut.image.affine[:3, 3] == pytest.approx([0, 0, -3.0])


@pytest.mark.parametrize(("axis", "moved"), [("H", (1, 0, 2)), ("W", (2, 0, 1))])
def test_any_axis_of_a_scan_may_be_that_of_the_slices(axis, moved):
    volume = Volume(np.random.default_rng(0).normal(size=(2, 4, 5, 6)), affine_from_spacing((3.0, 2.0, 1.0)))
    cut = CutWindow(SliceWindow(3), axis).at(Sample(image=volume), 2).image
    expected = volume.array.transpose(0, *(1 + each for each in moved))[:, 1:4]
    np.testing.assert_array_equal(cut.array, expected)
    assert cut.spacing == pytest.approx([(3.0, 2.0, 1.0)[each] for each in moved])
    with pytest.raises(ValueError, match="'D', 'H', 'W'"):
        CutWindow(SliceWindow(3), "z")


class Stacks(VolumeDataset):
    """Cases of the given lengths in memory; case k holds 100 k, 100 k + 1, ... and its reading is counted."""

    def __init__(self, lengths: tuple[int, ...] = (2, 3), **kwargs):
        self.lengths, self.reads = lengths, []
        super().__init__(".", serialize_data=False, **kwargs)

    def load_data_list(self) -> list[dict]:
        return [{"path": ".", "name": f"case {number}", "number": number} for number in range(len(self.lengths))]

    def read(self, case_: dict) -> Sample:
        self.reads.append(case_["number"])
        return case(self.lengths[case_["number"]], 100 * case_["number"]).replace(name=case_["name"])


def windows(dataset: SliceWindows) -> list[list[int]]:
    return [dataset.read(index).image.array[0, :, 0, 0].tolist() for index in range(len(dataset))]


def test_two_cases_side_by_side_never_mix():
    dataset = SliceWindows(Stacks((2, 3, 1)), window={"slices": 3})
    assert windows(dataset) == [
        [0, 0, 1],
        [0, 1, 1],
        [100, 100, 101],
        [100, 101, 102],
        [101, 102, 102],
        [200, 200, 200],
    ]
    assert [dataset.where(index) for index in range(6)] == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0)]
    assert dataset.read(4).name == "case 1, slice 3"
    with pytest.raises(IndexError, match="6 among 6"):
        dataset.read(6)


def test_a_scan_is_read_once_as_long_as_memory_allows():
    dataset = SliceWindows(Stacks(), window={"slices": 3})
    windows(dataset)
    windows(dataset)
    assert dataset.dataset.reads == [0, 1]
    small = SliceWindows(Stacks(), window={"slices": 3}, cache_mb=0)
    windows(small)
    assert small.dataset.reads == [0, 1, 0, 1]  # counted at first, then read case by case
    assert not pickle.loads(pickle.dumps(SliceWindows(VolumeDataset(".", lazy_init=True))))._kept


def test_empty_slices_are_told_from_others():
    dataset = SliceWindows(Stacks((3,)))
    sample = dataset._case(0)
    labels = np.array(sample.label_map.array)
    labels[0, 0], labels[0, 2] = 0, IGNORED
    dataset._kept[0] = sample.replace(label_map=sample.label_map.replace(array=labels))
    assert dataset.targets().tolist() == [0, 1, 0]


def test_a_window_is_normalised_with_the_numbers_of_its_case():
    dataset = SliceWindows(Stacks((5,)), window={"slices": 1}, pipeline=[ZScore()])
    # 0, 1, 2, 3, 4: mean 2, standard deviation sqrt(2)
    values = [float(dataset[index].image.array[0, 0, 0, 0]) for index in range(5)]
    assert values == pytest.approx([(value - 2) / 2**0.5 for value in range(5)], abs=1e-6)
    scaled = SliceWindows(Stacks((5,)), window={"slices": 1}, pipeline=[Percentile3D()])
    assert scaled[2].image.array.max() == pytest.approx(0.5, abs=1e-6)


def test_a_data_set_with_a_pipeline_of_its_own_is_refused():
    with pytest.raises(ValueError, match="RandomFlip3D"):
        SliceWindows(Stacks(pipeline=[Reorient3D(), RandomFlip3D()]))
    with pytest.raises(ValueError, match="pipeline returned None"):
        SliceWindows(Stacks(), pipeline=[lambda sample: None])[0]


@pytest.mark.parametrize("stride", [1, 2])
def test_of_a_prepared_case_only_the_slices_of_the_window_are_read(tmp_path, stride):
    write_case(tmp_path, "a", case(9, first=40_000, dtype=np.int32), extra={})
    sample = read_case(tmp_path, "a")
    boxes = []

    class Watched:
        """The array, which notes what is asked of it."""

        shape, ndim, dtype = sample.image.array.shape, 4, sample.image.array.dtype

        def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
            boxes.append(index[1])
            return sample.image.array[index]

    watched = sample.replace(image=sample.image.replace(array=Watched()))
    cut = CutWindow(SliceWindow(3, stride)).at(watched, 4)
    assert cut.image.array[0, :, 0, 0].tolist() == [40_004 - stride, 40_004, 40_004 + stride]
    assert boxes == [slice(4 - stride, 4 + stride + 1, stride)]
    assert "mean" in cut.statistics


# ---- from windows back to a scan -------------------------------------------------------------------------------------


def on_grid(volume: Volume, history: tuple = ()) -> SegmentationSample:
    sample = SegmentationSample()
    for name, value in {"sample_name": "a", "grid": (volume.shape, volume.affine), "history": history}.items():
        sample.set_field(value, name, field_type="metainfo")
    return sample


def centre_of(windows_: torch.Tensor) -> torch.Tensor:
    """Scores: class 1 where the middle slice is above the mean of the window, by how much."""
    above = windows_[:, 0, windows_.shape[2] // 2] - windows_[:, 0].mean(dim=1)
    return torch.stack([-above, above], dim=1)[:, :, None]


@pytest.mark.parametrize("axis", ["D", "H", "W"])
@pytest.mark.parametrize("batch", [1, 3, 16])
def test_every_slice_is_answered_in_its_place(axis, batch):
    image = torch.randn(1, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    inferer = SliceWindowInferer({"slices": 3}, axis=axis, batch=batch, divisor=4)
    labels = inferer(centre_of, image)
    slices = image[0].movedim("DHW".index(axis), 0)
    count = len(slices)
    padded = torch.stack([slices[min(max(z, 0), count - 1)] for z in range(-1, count + 1)])  # by hand: clamped ends
    expected = torch.stack([padded[z + 1] > padded[z : z + 3].mean(dim=0) for z in range(count)])
    assert np.array_equal(labels, expected.movedim(0, "DHW".index(axis)).byte().numpy())


def test_where_windows_answer_all_slices_their_mean_counts():
    image = torch.arange(4.0).view(1, 4, 1, 1).expand(1, 4, 2, 2)
    seen = []

    def echo(windows_: torch.Tensor) -> torch.Tensor:
        """Answers every slice with its value plus that of the window's first slice."""
        seen.extend(windows_[:, 0, :, 0, 0].tolist())
        return windows_ + windows_[:, :, :1]

    inferer = SliceWindowInferer({"slices": 3, "target": "all"}, batch=3, divisor=1)
    logits = inferer.logits(echo, image)
    assert seen == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]
    # slice 0: windows about 0 and 1, both begin with 0. Slice 1: begin 0, 0, 1. Slice 2: 0, 1, 2. Slice 3: 1, 2.
    assert logits[0, :, 0, 0].tolist() == pytest.approx([0, 1 + 1 / 3, 2 + 1, 3 + 1.5])


def test_a_slice_of_zeros_is_what_the_pipeline_made_of_zero():
    sample = case(4, first=1)
    pack, scale = PackSegmentation(), ZScore()
    packed = pack(scale(sample))
    mean, std = 2.5, 1.25**0.5  # of 1, 2, 3, 4
    seen = []

    def note(windows_: torch.Tensor) -> torch.Tensor:
        seen.extend(windows_[:, 0, 0, 0, 0].tolist())
        return torch.zeros(len(windows_), 2, 1, *windows_.shape[3:])

    inferer = SliceWindowInferer({"slices": 3, "edge": "zero"}, divisor=1)
    inferer.segment(note, packed["inputs"], packed["data_samples"])
    assert seen == pytest.approx([(value - mean) / std for value in (0, 1, 2, 3)], abs=1e-5)


def test_strides_in_mm_are_those_of_the_scan_at_hand():
    seen = []

    def note(windows_: torch.Tensor) -> torch.Tensor:
        seen.extend(windows_[:, 0, :, 0, 0].tolist())
        return torch.zeros(len(windows_), 2, 1, *windows_.shape[3:])

    volume = Volume(np.arange(5.0).reshape(1, 5, 1, 1), affine_from_spacing((1.5, 1.0, 1.0)))
    inferer = SliceWindowInferer({"slices": 3, "stride_mm": 3.0}, divisor=1)
    inferer.segment(note, torch.from_numpy(volume.array), on_grid(volume))
    assert seen == [[0, 0, 2], [0, 1, 3], [0, 2, 4], [1, 3, 4], [2, 4, 4]]
    with pytest.raises(ValueError, match="spacing of the scan"):
        inferer(note, torch.from_numpy(volume.array))


def test_flips_are_undone_and_every_view_is_asked():
    image = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    plain, flipped = (SliceWindowInferer({"slices": 3}, divisor=1, flips=flips) for flips in ("", "DW"))
    assert np.array_equal(plain(centre_of, image), flipped(centre_of, image))  # the network knows no left and right
    with pytest.raises(ValueError, match="would run back"):
        SliceWindowInferer({"slices": 3, "target": "first"}, flips="D")


def test_answers_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"answers \(4, 2, 3, 4, 4\) to windows \(4, 1, 3, 4, 4\).*of 1 slices"):
        SliceWindowInferer({"slices": 3}, divisor=1)(
            lambda batch: batch.expand(-1, 2, -1, -1, -1), torch.ones(1, 4, 4, 4)
        )
    with pytest.raises(ValueError, match="axis='x'"):
        SliceWindowInferer({"slices": 3}, axis="x")
