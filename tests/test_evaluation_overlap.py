"""Counts of voxels and the scores of overlap from them, worked out by hand."""

import numpy as np
import pytest

from vdt3d.evaluation import dice, iou, label_counts, volume_difference

#                0  1  2  3  4  5  6    7
TRUTH = np.array([[[0, 1, 1, 2, 2, 0, 255, 3]]], np.uint8)
GUESS = np.array([[[0, 1, 2, 2, 1, 1, 1, 3]]], np.uint8)


def test_two_slabs_that_share_one_slice():
    guess, truth = np.zeros((2, 4, 2, 2), bool)
    truth[0:2], guess[1:3] = True, True  # two slices of four voxels each, one slice shared
    counts = label_counts(guess, truth, [1])
    assert counts.tolist() == [[4, 4, 4]]
    assert (dice(counts).item(), iou(counts).item(), volume_difference(counts).item()) == (8 / 16, 4 / 12, 0)


def test_labels_and_overlapping_regions_in_one_pass():
    # Voxel 6 is ignored. 1: both at voxel 1, only the guess at 4 and 5, only the truth at 2. 2: at 3, 2 and 4.
    # 1 and 2 together: both at 1 to 4, only the guess at 5. 3: both at 7.
    counts = label_counts(GUESS, TRUTH, [1, 2, (1, 2), 3, 4])
    assert counts.tolist() == [[1, 2, 1], [1, 1, 1], [4, 1, 0], [1, 0, 0], [0, 0, 0]]


def test_ignored_voxels_count_where_nothing_is_ignored():
    assert label_counts(GUESS, TRUTH, [1, (2, 1)], ignore_index=None).tolist() == [[1, 3, 1], [4, 2, 0]]
    assert label_counts(GUESS, TRUTH, [1], ignore_index=3).tolist() == [[1, 3, 1]]
    assert label_counts(GUESS, TRUTH, [255], ignore_index=3).tolist() == [[0, 0, 1]]


def test_the_ignored_label_in_the_guess_is_a_label_like_others():
    guess, truth = np.array([[[255, 1]]]), np.array([[[1, 1]]])
    assert label_counts(guess, truth, [1]).tolist() == [[1, 0, 1]]


def test_background_can_be_scored():
    assert label_counts(GUESS, TRUTH, [0]).tolist() == [[1, 0, 1]]  # both at 0, only the truth at 5


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int64, np.uint64])
def test_labels_of_any_integer_type(dtype):
    guess, truth = np.array([[[700, 700, 0]]], dtype), np.array([[[700, 0, 0]]], np.uint16)
    assert label_counts(guess, truth, [700, 1]).tolist() == [[1, 1, 0], [0, 0, 0]]


def test_one_pass_counts_as_masks_do():
    rng = np.random.default_rng(0)
    guess, truth = rng.integers(6, size=(2, 5, 6, 7))
    expected = []
    for label in range(6):
        a, b = guess == label, truth == label
        expected.append([(a & b).sum(), (a & ~b).sum(), (~a & b).sum()])
    assert label_counts(guess, truth, range(6)).tolist() == expected


def test_scores_where_a_label_is_missing():
    in_neither, in_guess, in_truth = np.array([0, 0, 0]), np.array([0, 5, 0]), np.array([0, 0, 5])
    counts = np.stack([in_neither, in_guess, in_truth])
    np.testing.assert_equal(dice(counts), [np.nan, 0, 0])
    np.testing.assert_equal(iou(counts), [np.nan, 0, 0])
    np.testing.assert_equal(volume_difference(counts), [np.nan, np.inf, -1])


def test_counts_of_cases_add_up():
    # Cases of 2 x 1 / (2 + 0) = 1 and 2 x 1 / (2 + 6) = 1/4: the mean is 5/8, the score of all voxels 4 / 10.
    counts = np.array([[1, 0, 0], [1, 4, 2]])
    assert dice(counts).mean() == 5 / 8
    assert dice(counts.sum(0)) == 4 / 10


@pytest.mark.parametrize(
    ("guess", "truth", "labels", "message"),
    [
        (GUESS, TRUTH[:, :, 1:], [1], r"\(1, 1, 8\), the truth \(1, 1, 7\)"),
        (GUESS / 2, TRUTH, [1], "the guess holds float64; labels are integers"),
        (GUESS, TRUTH.astype(int) - 1, [1], "the truth holds labels from -1 to 254"),
        (GUESS, TRUTH.astype(int) * 1000, [1], "the truth holds labels from 0 to 255000"),
        (GUESS, TRUTH, [1, 255], "label 255 is to be scored and ignored at once"),
        (GUESS, TRUTH, [], "at least one"),
        (GUESS, TRUTH, [[]], "at least one"),
        (GUESS, TRUTH, [-1], "labels lie in 0..65535; got -1 to -1"),
    ],
)
def test_what_cannot_be_counted_is_refused(guess, truth, labels, message):
    with pytest.raises(ValueError, match=message):
        label_counts(guess, truth, labels)
