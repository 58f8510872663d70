"""Positions of tokens for larger pictures and for windows: BEiT's numbers, and rows worked out by hand."""

import numpy as np
import pytest
import torch

from vdt3d.models.inflate.positions import (
    fit_absolute_positions,
    fit_relative_positions,
    offsets,
    relative_index,
    relative_rows,
)


@pytest.mark.parametrize(("wanted", "ratio"), [(63, 1.134918), (39, 1.060968), (29, 1.012253)])
def test_the_ratio_of_beits_knots(wanted, ratio):
    """From tables of 14 x 14 patches, 27 offsets, to pictures of 512, 320 and 240 pixels (measured on the release)."""
    knots = offsets(27, wanted)
    assert knots[15] - knots[14] == pytest.approx(ratio, abs=1e-6)  # 1 + q - 1
    assert knots[13:15].tolist() == [0, 1]
    assert knots[-1] == pytest.approx(wanted // 2, abs=1e-3)
    assert np.array_equal(knots, -knots[::-1])


def test_fewer_offsets_are_those_in_the_middle():
    table = torch.arange(5 * 5 + 3.0).unsqueeze(1)
    smaller = fit_relative_positions(table, (1, 2, 2))
    middle = table[:25].view(5, 5)[1:4, 1:4].reshape(-1, 1)
    torch.testing.assert_close(smaller, torch.cat([middle, table[25:]]))


def test_resizing_keeps_the_middle_and_the_rows_of_the_class_token():
    table = torch.randn(732, 12, generator=torch.Generator().manual_seed(0))
    larger = fit_relative_positions(table, (1, 32, 32))
    assert larger.shape == (3972, 12)
    assert torch.equal(larger[-3:], table[-3:])
    torch.testing.assert_close(larger[63 * 31 + 31], table[27 * 13 + 13])
    torch.testing.assert_close(larger[63 * 30 + 31], table[27 * 12 + 13])  # one token away is one token away


def test_what_is_straight_stays_straight():
    """A cubic spline through the offsets themselves gives them back at every place, also of oblong pictures."""
    high, wide = offsets(27, 39), offsets(27, 29)
    square = torch.from_numpy(offsets(27, 27))
    assert square.tolist() == list(range(-13, 14))
    table = torch.zeros(732, 2, dtype=torch.double)
    table[:-3, 0] = torch.from_numpy(np.repeat(high, 27))
    table[:-3, 1] = torch.from_numpy(np.tile(wide, 27))
    larger = fit_relative_positions(table, (1, 20, 15))[:-3].view(39, 29, 2)
    torch.testing.assert_close(larger[:, 3, 0], torch.arange(-19.0, 20).double())
    torch.testing.assert_close(larger[7, :, 1], torch.arange(-14.0, 15).double())


def test_an_equal_table_is_not_touched():
    table = torch.randn(relative_rows((1, 3, 3)), 2)
    assert torch.equal(fit_relative_positions(table, (1, 3, 3)), table)


def test_a_table_of_no_square_is_refused():
    with pytest.raises(ValueError, match="19 relative positions is of no square picture"):
        fit_relative_positions(torch.zeros(19, 2), (1, 3, 3))


def test_rows_of_pairs_by_hand():
    """Tokens (0, 0) and (0, 1) of a 1 x 2 picture: offsets 0, -1, +1 are rows 1, 0, 2; of the class token 3 to 5."""
    assert relative_rows((1, 1, 2)) == 6
    assert relative_index((1, 1, 2)).tolist() == [[5, 3, 3], [4, 1, 0], [4, 2, 1]]


def test_rows_of_two_slices_follow_one_another():
    """(2, 1, 2): 3 offsets in depth of 3 each; the same place one slice on (query later) is slab 2, row 2 * 3 + 1."""
    index = relative_index((2, 1, 2))
    assert relative_rows((2, 1, 2)) == 12
    assert index[1:3, 1:3].tolist() == [[4, 3], [5, 4]]
    assert index[3, 1] == 7 and index[1, 3] == 1
    assert index[0, 0] == 11


def test_every_offset_has_a_row_of_its_own():
    depth, height, width = grid = (2, 3, 4)
    index = relative_index(grid)[1:, 1:]
    places = [(d, h, w) for d in range(depth) for h in range(height) for w in range(width)]
    rows = {}
    for query, one in enumerate(places):
        for key, other in enumerate(places):
            offset = tuple(a - b for a, b in zip(one, other, strict=True))
            assert rows.setdefault(offset, int(index[query, key])) == index[query, key]
    assert sorted(rows.values()) == list(range(relative_rows(grid) - 3))


def test_every_slice_takes_the_pictures_table_and_the_class_token_its_share():
    table = torch.randn(12, 2)
    deep = fit_relative_positions(table, (2, 2, 2))
    assert len(deep) == 3 * 9 + 3
    for slab in deep[:-3].split(9):
        assert torch.equal(slab, table[:-3])
    share = torch.tensor([[0.0], [0.6931472], [0.6931472]])  # log 2 where the class token is the key
    torch.testing.assert_close(deep[-3:], table[-3:] + share)


def test_absolute_positions_keep_the_class_token_first():
    positions = torch.randn(1, 1 + 4, 3)
    same = fit_absolute_positions(positions, (1, 2, 2))
    assert torch.equal(same, positions)
    deep = fit_absolute_positions(positions, (2, 2, 2))
    assert torch.equal(deep, torch.cat([positions, positions[:, 1:]], 1))
    larger = fit_absolute_positions(positions, (1, 4, 6))
    assert larger.shape == (1, 25, 3)
    assert torch.equal(larger[:, :1], positions[:, :1])
    constant = fit_absolute_positions(torch.ones(1, 5, 1), (1, 5, 3))
    torch.testing.assert_close(constant, torch.ones(1, 16, 1))


def test_positions_of_no_square_are_refused():
    with pytest.raises(ValueError, match="6 positions"):
        fit_absolute_positions(torch.zeros(1, 6, 2), (1, 2, 2))
