"""Run-length codes and their tables: every mask comes back, organs overlap, and what is malformed is named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from medseg.io import mask_rows, read_masks, rle, write_masks
from vdt3d.io import ScanError

ORGANS = ("large_bowel", "small_bowel", "stomach")
SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
HEADER = "id,class,segmentation\n"
always_alike = settings(derandomize=True, deadline=None)  # a slow machine is no failure


@always_alike
@given(arrays(bool, SHAPES))
def test_any_mask_comes_back(mask):
    code = rle.encode(mask)
    assert np.array_equal(rle.decode(code, mask.shape), mask)
    assert rle.encode(rle.decode(code, mask.shape)) == code


@always_alike
@given(arrays(bool, SHAPES))
def test_a_code_has_as_few_runs_as_can_be(mask):
    """Counted otherwise: a run begins wherever a pixel follows one of the background, or none."""
    flat = mask.ravel().tolist()
    starts = [n + 1 for n, inside in enumerate(flat) if inside and (n == 0 or not flat[n - 1])]
    numbers = [int(word) for word in rle.encode(mask).split()]
    assert numbers[::2] == starts
    assert sum(numbers[1::2]) == sum(flat)


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        (["....", "....", "...."], ""),
        (["#...", "....", "...."], "1 1"),
        (["...#", "#...", "...."], "4 2"),  # along the rows: from the end of one into the next
        (["#.##", ".#..", "...#"], "1 1 3 2 6 1 12 1"),
        (["####", "####", "####"], "1 12"),
    ],
)
def test_codes_worked_out_by_hand(rows, code):
    mask = np.array([[pixel == "#" for pixel in row] for row in rows])
    assert rle.encode(mask) == code
    assert rle.decode(code, (3, 4)).tolist() == mask.tolist()


def test_all_but_zero_belongs_to_a_mask():
    assert rle.encode(np.array([[0, 255], [3, 0]], np.uint8)) == "2 2"
    assert rle.encode(np.array([[0.0, 0.5]])) == "2 1"
    with pytest.raises(ValueError, match=r"a mask to encode is \(H, W\), got shape \(1, 2, 2\)"):
        rle.encode(np.zeros((1, 2, 2)))


@pytest.mark.parametrize("cell", ["", " ", float("nan"), None])
def test_an_empty_cell_is_an_empty_mask(cell):
    mask = rle.decode(cell, (2, 3))
    assert mask.shape == (2, 3) and mask.dtype == bool and not mask.any()


def test_runs_may_touch():
    assert rle.decode("1 2 3 2\n", (2, 3)).tolist() == [[True, True, True], [True, False, False]]


MALFORMED = {
    "odd count": ("1 2 3", "3 numbers are no pairs of start and length"),
    "overlap": ("1 3 3 1", "run 2 .'3 1'. overlaps the run that it follows"),
    "the same twice": ("2 1 2 1", "run 2 .'2 1'. overlaps"),
    "within another": ("1 5 2 1", "run 2 .'2 1'. overlaps"),
    "out of the picture": ("5 3", "run 1 .'5 3'. leaves the picture of 6 pixels"),
    "begins outside": ("1 1 7 1", "run 2 .'7 1'. leaves the picture of 6 pixels"),
    "wrong order": ("5 1 1 2", "run 2 .'1 2'. begins before the run that it follows"),
    "zero length": ("1 1 3 0", "run 2 .'3 0'. has no pixel"),
    "pixel zero": ("0 2", "run 1 .'0 2'. begins before pixel 1"),
    "negative": ("1 -2", "'-2' is no pixel's number"),
    "a fraction": ("1.5 2", "'1.5' is no pixel's number"),
    "words": ("1 2 three 4", "'three' is no pixel's number"),
    "commas": ("1,2", "'1,2' is no pixel's number"),
    "other blanks": ("1\u20032", "'1\u20032' is no pixel's number"),
    "beyond 64 bits": ("1 99999999999999999999", "'99999999999999999999' is no pixel's number"),
    "a number": (5.0, "a run-length code is text, got 5.0"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_code_is_named(case):
    code, finding = MALFORMED[case]
    with pytest.raises(ValueError, match=finding):
        rle.decode(code, (2, 3))


@always_alike
@given(st.text("0123456789 -\t\u2003", max_size=12))
def test_a_code_is_refused_or_is_the_mask_it_stands_for(code):
    try:
        mask = rle.decode(code, (3, 3))
    except ValueError:
        return
    numbers = [int(word) for word in code.split()]
    runs = zip(numbers[::2], numbers[1::2], strict=True)
    pixels = [pixel for start, length in runs for pixel in range(start, start + length)]
    assert len(pixels) == len(set(pixels))
    assert sorted(pixels) == (np.flatnonzero(mask) + 1).tolist()


def table(path, *rows, header=HEADER):
    path.write_text(header + "".join(f"{row}\n" for row in rows))
    return path


def of_slice(number, *codes, case="case1_day2"):
    return [f"{case}_slice_{number:04d},{organ},{code}" for organ, code in zip(ORGANS, codes, strict=True)]


def test_organs_that_overlap_are_sums_of_bits(tmp_path):
    """A picture of 2 x 3: pixels 1 2 3 / 4 5 6."""
    path = table(
        tmp_path / "train.csv",
        *of_slice(2, "1 3", "3 2", "3 1 6 1"),
        *of_slice(1, "", "", ""),
        *of_slice(7, "1 1", "", "2 1", case="case10_day0"),
    )
    masks = read_masks(path, ORGANS)
    assert masks.cases == ["case1_day2", "case10_day0"]
    assert masks.slice_numbers("case1_day2") == [1, 2]
    labels = masks.label_map("case1_day2", [1, 2], (2, 3))
    assert labels.dtype == np.uint8
    # pixels 1 and 2 are large bowel (1); 3 is of all three (7); 4 small bowel (2); 6 stomach (4)
    assert labels.tolist() == [[[0, 0, 0], [0, 0, 0]], [[1, 1, 7], [2, 0, 4]]]
    assert masks.label_map("case10_day0", [7], (2, 3)).tolist() == [[[1, 4, 0], [0, 0, 0]]]
    # any slices in any order, as a window at the end of a scan asks for them
    assert masks.label_map("case1_day2", [2, 1, 2], (2, 3))[:, 0].tolist() == [[1, 1, 7], [0, 0, 0], [1, 1, 7]]


@settings(always_alike, max_examples=40)
@given(arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=5), elements=st.integers(0, 7)))
def test_any_label_map_comes_back(tmp_path_factory, labels):
    path = tmp_path_factory.getbasetemp() / "masks.csv"
    numbers = range(1, len(labels) + 1)
    write_masks(path, mask_rows("case3_day4", numbers, labels, ORGANS))
    assert np.array_equal(read_masks(path, ORGANS).label_map("case3_day4", numbers, labels.shape[1:]), labels)


def test_a_submission_is_read_like_the_truth(tmp_path):
    path = table(tmp_path / "s.csv", *of_slice(1, "1 1", "", "nan"), header="id,class,predicted\n")
    masks = read_masks(path, ORGANS)
    assert masks.column == "predicted"
    assert masks.label_map("case1_day2", [1], (1, 2)).tolist() == [[[1, 0]]]


def test_a_table_of_no_rows_has_no_cases(tmp_path):
    masks = read_masks(table(tmp_path / "s.csv", header="id,class,predicted\n"), ORGANS)
    assert (masks.cases, masks.rows) == ([], [])


def test_the_order_of_the_organs_is_that_of_the_bits(tmp_path):
    path = table(tmp_path / "train.csv", *of_slice(1, "1 1", "2 1", "3 1"))
    assert read_masks(path, ORGANS[::-1]).label_map("case1_day2", [1], (1, 3)).tolist() == [[[4, 2, 1]]]


BROKEN = {
    "unknown class": (
        ["case1_day2_slice_0001,liver,1 1"],
        r"row 1 \(case1_day2_slice_0001\): 'liver' is none of",
        "name",
    ),
    "twice": (
        [*of_slice(1, "", "", ""), *of_slice(1, "1 1", "", "")],
        "rows 1 and 4 are both of case1_day2",
        "keep one",
    ),
    "twice, by number": (
        ["case1_day2_slice_0001,stomach,", "case1_day2_slice_1,stomach,"],
        "rows 1 and 2 are both of",
        "keep one",
    ),
    "no id": (
        [*of_slice(1, "", "", ""), "img_0001,stomach,"],
        "row 4: 'img_0001' does not name a slice",
        "of the form",
    ),
    "no slice": (["case1_day2,stomach,"], "row 1: 'case1_day2' does not name a slice", "of the form"),
    "empty id": ([",stomach,1 1"], "row 1: '' does not name a slice", "of the form"),
    "too many cells": (["case1_day2_slice_0001,stomach,1,1"], "row 1: 'stomach' does not name a slice", "of the form"),
    "more cells than before": (
        [*of_slice(1, "", "", ""), "case1_day2_slice_0002,stomach,1,1"],
        "cannot be read as a csv table .*line 5",
        "fetch it again",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_table_is_refused(tmp_path, case):
    rows, finding, remedy = BROKEN[case]
    with pytest.raises(ScanError, match=f"(?s)train.csv: .*{finding}.*; .*{remedy}"):
        read_masks(table(tmp_path / "train.csv", *rows), ORGANS)


@pytest.mark.parametrize(
    ("header", "finding"),
    [
        ("id,class\n", "has the columns id, class; it wants id, class and one of segmentation and predicted"),
        ("id,class,segmentation,predicted\n", "has the columns id, class, segmentation, predicted; it wants"),
        ("image,class,predicted\n", "has the columns image, class, predicted; it wants"),
        ("", "cannot be read as a csv table"),
        ("\x00\xff", "has the columns|cannot be read as a csv table"),
    ],
)
def test_what_is_no_table_of_masks(tmp_path, header, finding):
    path = tmp_path / "x.csv"
    path.write_bytes(header.encode("latin-1"))
    with pytest.raises(ScanError, match=f"x.csv: {finding}"):
        read_masks(path, ORGANS)


def test_a_missing_table(tmp_path):
    with pytest.raises(ScanError, match=r"away.csv: does not exist; check the path"):
        read_masks(tmp_path / "away.csv", ORGANS)


@pytest.mark.parametrize("organs", [[], ["a", "a"], [*"abcdefgh"]])
def test_organs_that_are_no_bits(tmp_path, organs):
    with pytest.raises(ValueError, match="one to 7 different names"):
        read_masks(table(tmp_path / "train.csv"), organs)


def test_what_a_table_does_not_know_is_not_taken_for_empty(tmp_path):
    masks = read_masks(table(tmp_path / "train.csv", *of_slice(1, "", "", ""), *of_slice(2, "", "", "")[1:]), ORGANS)
    with pytest.raises(ScanError, match=r"train.csv: has no row of case1_day3 among its 1 case-days; check the name"):
        masks.label_map("case1_day3", [1], (2, 3))
    for wanted, finding in (([1, 2], "large_bowel in slice 2"), ([1, 3], "large_bowel in slice 3")):
        with pytest.raises(ScanError, match=f"train.csv: has no row for {finding} of case1_day2; add one"):
            masks.label_map("case1_day2", wanted, (2, 3))


def test_a_malformed_code_in_a_table_is_found_by_its_row(tmp_path):
    masks = read_masks(
        table(tmp_path / "train.csv", *of_slice(1, "", "1 1", ""), *of_slice(2, "", "9 9", "1 1")), ORGANS
    )
    assert masks.label_map("case1_day2", [1], (2, 3)).sum() == 2
    finding = r"row 5 \(case1_day2_slice_0002, small_bowel\): run 1 \('9 9'\) leaves the picture of 6 pixels; correct"
    with pytest.raises(ScanError, match=f"train.csv: {finding}"):
        masks.label_map("case1_day2", [1, 2], (2, 3))


LABELS = np.array([[[1, 0, 5]], [[0, 0, 0]]], np.uint8)  # two slices of one row


def rows_of(*cases):
    return [row for case in cases for row in mask_rows(case, (1, 2), LABELS, ORGANS)]


def test_rows_are_sorted_by_id_and_organ(tmp_path):
    write_masks(tmp_path / "new" / "m.csv", rows_of("case2_day0", "case10_day0"))
    text = (tmp_path / "new" / "m.csv").read_bytes().decode()
    assert text.splitlines()[:5] == [
        "id,class,segmentation",
        "case10_day0_slice_0001,large_bowel,1 1 3 1",
        "case10_day0_slice_0001,small_bowel,",
        "case10_day0_slice_0001,stomach,3 1",
        "case10_day0_slice_0002,large_bowel,",
    ]
    assert text.count("\n") == 1 + 2 * 2 * 3 and "\r" not in text


def test_a_template_says_which_rows_in_which_order(tmp_path):
    wanted = [
        "case2_day0_slice_0002,stomach,",
        "case2_day0_slice_0001,stomach,1 1",
        "case10_day0_slice_0001,large_bowel,",
    ]
    template = read_masks(table(tmp_path / "s.csv", *wanted, header="id,class,predicted\n"), ORGANS)
    write_masks(tmp_path / "m.csv", rows_of("case2_day0", "case10_day0"), template=template)
    assert (tmp_path / "m.csv").read_text().splitlines() == [
        "id,class,predicted",
        "case2_day0_slice_0002,stomach,",
        "case2_day0_slice_0001,stomach,3 1",
        "case10_day0_slice_0001,large_bowel,1 1 3 1",
    ]
    with pytest.raises(
        ScanError, match=r"s.csv: row 3 wants large_bowel in case10_day0_slice_0001, .*; add that slice"
    ):
        write_masks(tmp_path / "n.csv", rows_of("case2_day0"), template=template)
    assert not (tmp_path / "n.csv").exists()


def test_an_empty_template_wants_everything(tmp_path):
    template = read_masks(table(tmp_path / "s.csv", header="id,class,predicted\n"), ORGANS)
    write_masks(tmp_path / "m.csv", rows_of("case2_day0"), template=template)
    lines = (tmp_path / "m.csv").read_text().splitlines()
    assert lines[0] == "id,class,predicted" and len(lines) == 7
