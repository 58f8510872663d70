"""Boxes of slices joined to findings in 3D, and what is told of them: every number worked out by hand."""

import numpy as np
import pytest
from PIL import Image

from vdt3d.inference import Findings, join_slices, scan_report, table_rows
from vdt3d.inference.findings import COLUMNS
from vdt3d.structures import Boxes, Volume, affine_from_spacing
from vdt3d.visualization import finding_pictures, jpeg, write_findings_page


def joined(*rows: tuple[int, tuple[float, ...], float], step: int = 1, labels: list[int] | None = None, **options):
    """``join_slices`` of (slice, (h1, w1, h2, w2), score)."""
    thick = [(place + 0.5 - step / 2, place + 0.5 + step / 2) for place, _, _ in rows]
    corners = [(low, box[0], box[1], high, *box[2:]) for (low, high), (_, box, _) in zip(thick, rows, strict=True)]
    boxes = Boxes(np.array(corners).reshape(-1, 6), labels)
    scores, slices = np.array([row[2] for row in rows]), np.array([row[0] for row in rows], int)
    return join_slices(boxes, scores, slices, step, **options)


def disc(radius: float, centre: tuple[float, float] = (20, 30)) -> tuple[float, ...]:
    return centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius


# A ball of radius 5 about slice 12: discs of radius sqrt(25 - z^2) = 3, 4.58, 5, 4.58, 3 at z = -4, -2, 0, 2, 4, which
# here are called slices 10 to 14.
BALL = [(10 + place, disc(radius), 0.9) for place, radius in enumerate((3, 21**0.5, 5, 21**0.5, 3))]


def told(found: Findings) -> list[tuple]:
    corners = found.boxes.corners.round(9).tolist()
    return [(*each, score, place) for each, score, place in zip(corners, found.scores, found.slices, strict=True)]


# ---- joining ---------------------------------------------------------------------------------------------------------


def test_a_ball_in_five_slices_is_one_finding_as_large_as_its_largest_slice():
    """Equal scores: the largest disc is the best slice, whatever the order of the boxes."""
    for order in (BALL, BALL[::-1], [BALL[place] for place in (3, 0, 2, 4, 1)]):
        assert told(joined(*order)) == [(10, 15, 25, 15, 25, 35, 0.9, 12)]


def test_a_finding_reaches_as_far_as_its_boxes_have_half_the_score():
    """0.8 / 2 = 0.4: slices 11 to 13 belong to it, those at 0.39 and 0.1 are findings of their own, less sure."""
    rows = [(10 + place, disc(5), score) for place, score in enumerate((0.39, 0.4, 0.8, 0.4, 0.1))]
    assert told(joined(*rows)) == [
        (11, 15, 25, 14, 25, 35, 0.8, 12),
        (10, 15, 25, 11, 25, 35, 0.39, 10),
        (14, 15, 25, 15, 25, 35, 0.1, 14),
    ]


def test_the_ends_of_a_ball_belong_to_it_however_small():
    """Radii 4 and 1 at the ends: 1 / 16 of the union, all of the smaller."""
    rows = [(3, disc(4), 0.9), (4, disc(1), 0.8)]
    assert told(joined(*rows)) == [(3, 16, 26, 5, 24, 34, 0.9, 3)]


def test_two_neighbours_side_by_side_stay_two():
    """Discs of 10 x 10 whose middles lie 6 apart share 4 of 10 columns, too little; each goes its own way."""
    one, other = disc(5, (20, 30)), disc(5, (20, 36))
    rows = [(place, box, score) for place in (3, 4, 5) for box, score in ((one, 0.7), (other, 0.8))]
    assert told(joined(*rows)) == [(3, 15, 31, 6, 25, 41, 0.8, 3), (3, 15, 25, 6, 25, 35, 0.7, 3)]


def test_a_finding_goes_on_in_what_is_most_like_it():
    """In slice 4 a small box within it is surer, yet not what slice 3 shows; it is a finding of its own."""
    rows = [(3, disc(5), 0.9), (4, disc(1), 0.8), (4, disc(4), 0.6)]
    assert told(joined(*rows)) == [(3, 15, 25, 5, 25, 35, 0.9, 3), (4, 19, 29, 5, 21, 31, 0.8, 4)]


def test_what_was_found_again_is_left_out():
    """5 apart, 5 of 15 columns are in both: a third of the union, in 3D too. 6 apart it is a quarter, see above."""
    rows = [(place, disc(5, (20, x)), score) for place in (3, 4, 5) for x, score in ((30, 0.7), (35, 0.8))]
    assert told(joined(*rows)) == [(3, 15, 30, 6, 25, 40, 0.8, 3)]
    assert len(joined(*rows, labels=[0, 1] * 3).boxes) == 2  # another kind of thing


def test_one_missing_slice_is_bridged_and_two_are_not():
    assert told(joined((4, disc(5), 0.9), (6, disc(5), 0.8))) == [(4, 15, 25, 7, 25, 35, 0.9, 4)]
    assert [found[0] for found in told(joined((4, disc(5), 0.9), (7, disc(5), 0.8)))] == [4, 7]


def test_the_nearer_slice_goes_before_the_better_box():
    """Slice 5 goes on although slice 6 has a better box; from there, slice 6 goes on as well."""
    rows = [(4, disc(5), 0.9), (5, disc(5), 0.5), (6, disc(5), 0.8)]
    assert told(joined(*rows)) == [(4, 15, 25, 7, 25, 35, 0.9, 4)]


def test_a_box_moves_along_with_its_lesion():
    """Each disc shares 8 of 10 columns with the one before, the last none with the first."""
    rows = [(place, disc(5, (20, 30 + 2 * place)), 0.9 - place / 100) for place in range(8)]
    assert told(joined(*rows)) == [(0, 15, 25, 8, 25, 35, 0.9, 0)]


def test_a_lone_slice_and_none():
    assert told(joined((7, disc(2), 0.3))) == [(7, 18, 28, 8, 22, 32, 0.3, 7)]
    nothing = joined()
    assert len(nothing.boxes) == len(nothing.scores) == len(nothing.slices) == 0


def test_ties_fall_to_the_larger_box_then_to_the_lower_slice():
    rows = [(9, disc(3), 0.5), (2, disc(3), 0.5), (5, disc(4), 0.5)]
    assert [found[-1] for found in told(joined(*rows))] == [5, 2, 9]
    assert [found[-1] for found in told(joined(*rows, top=2))] == [5, 2]


def test_kinds_are_kept_apart():
    rows = [(3, disc(5), 0.9), (4, disc(5), 0.8), (3, disc(5), 0.7)]
    found = joined(*rows, labels=[1, 0, 0])
    assert told(found) == [(3, 15, 25, 4, 25, 35, 0.9, 3), (3, 15, 25, 5, 25, 35, 0.8, 4)]
    assert found.boxes.labels.tolist() == [1, 0]


def test_key_slices_that_stand_for_several():
    """Every third slice, 1, 4, 7, ...: each stands for the three about it. 1 and 4 are neighbours, 4 and 13 are not."""
    rows = [(1, disc(5), 0.9), (4, disc(5), 0.8), (13, disc(5), 0.7)]
    assert [found[:6:3] for found in told(joined(*rows, step=3))] == [(0, 6), (12, 15)]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"step": 0}, "step=0"), ({"top": 0}, "top=0")],
)
def test_what_cannot_be_is_refused(options, message):
    boxes = Boxes(np.array([(0, 0, 0, 1, 2, 2)]))
    with pytest.raises(ValueError, match=message):
        join_slices(boxes, np.ones(1), np.zeros(1, int), **options)
    with pytest.raises(ValueError, match="1 boxes have 2 scores"):
        join_slices(boxes, np.ones(2), np.zeros(1, int))


# ---- where it is -----------------------------------------------------------------------------------------------------

# D runs down, H back, W to the left, 5 x 0.5 x 0.5 mm; the middle of voxel (0, 0, 0) lies 40 mm up, at (0, 0).
AS_SHOWN = np.array([[0, 0, -0.5, 0], [0, -0.5, 0, 0], [-5.0, 0, 0, 40], [0, 0, 0, 1]])


def test_findings_move_to_a_grid_that_is_turned():
    found = Findings(Boxes(np.array([(2, 10, 20, 4, 16, 24.0)]), affine=AS_SHOWN), np.array([0.9]), np.array([3]))
    # The same scan of 8 slices of 32 x 40 pixels, stored as (W, H, D): x to the right, y forth, z down.
    turned = AS_SHOWN @ np.array([[0, 0, 1, 0], [0, -1, 0, 31], [-1, 0, 0, 39], [0, 0, 0, 1.0]])
    moved = found.on(turned)
    assert moved.boxes.corners.round(9).tolist() == [[40 - 24, 32 - 16, 2, 40 - 20, 32 - 10, 4]]
    assert moved.axis == 2 and moved.slices.tolist() == [3]
    # ... and upside down: slice 3 of 8 is slice 4 from below.
    up = AS_SHOWN @ np.array([[-1, 0, 0, 7], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    moved = found.on(up)
    assert moved.axis == 0 and moved.slices.tolist() == [4] and moved.boxes.corners[0, [0, 3]].tolist() == [4, 6]


def test_what_is_told_of_a_scan():
    volume = Volume(np.zeros((1, 8, 32, 40), np.float32), AS_SHOWN)
    boxes = Boxes(np.array([(2, 10, 20, 4, 16, 24.0)]), affine=AS_SHOWN)
    report = scan_report(Findings(boxes, np.array([0.9]), np.array([3])), volume, name="a", classes=("lesion",))
    assert report["shape_dhw"] == [8, 32, 40] and report["spacing_mm_dhw"] == [5, 0.5, 0.5]
    assert report["slices_along"] == "d" and "research only" in report["note"]
    # Columns 20 to 24 begin half a voxel left of the middle of voxel 20: x = -0.5 * 19.5 to -0.5 * 23.5; rows 10 to 16
    # likewise; slices 2 to 4: z = 40 - 5 * 1.5 down to 40 - 5 * 3.5.
    assert report["findings"] == [
        {
            "rank": 1,
            "label": "lesion",
            "score": 0.9,
            "slice": 3,
            "box_voxels_dhw": [2, 10, 20, 4, 16, 24],
            "box_mm_xyz": [-11.75, -7.75, 22.5, -9.75, -4.75, 32.5],
            "centre_mm_xyz": [-10.75, -6.25, 27.5],
            "size_mm_dhw": [10, 3, 2],
        }
    ]
    (row,) = table_rows(report)
    assert tuple(row) == COLUMNS
    assert (row["scan"], row["d2"], row["x1_mm"], row["z2_mm"], row["y_mm"]) == ("a", 4, -11.75, 32.5, -6.25)
    assert row["size_w_mm"] == 2


# ---- how it is shown -------------------------------------------------------------------------------------------------


def test_the_picture_shows_the_box_about_what_was_found():
    """48 slices of 64 x 48 pixels of 1 x 2 mm: 64 x 96 mm, so 384 pixels are 96 mm across, 256 are 64 mm down."""
    array = np.zeros((1, 6, 64, 48), np.float32)
    array[0, 2, 16:32, 12:24] = 100
    affine = affine_from_spacing((5.0, 1.0, 2.0)) @ np.diag([1.0, -1, -1, 1])  # back and left, as it is hung
    boxes = Boxes(np.array([(2, 16, 12, 3, 32, 24.0)]), affine=affine)
    (picture,) = finding_pictures(Volume(array, affine), boxes, [2], window=(0, 100))
    assert picture.size == (384, 256)
    pixels = np.asarray(picture).astype(int)
    colour = pixels.max(-1) - pixels.min(-1) > 50
    # 4 pixels are a mm; rows 16 to 32 mm, columns 24 to 48 mm: what is bright lies within, the frame around it.
    assert [colour.any(1).argmax(), colour.any(0).argmax()] == [4 * 16 - 2, 4 * 24 - 2]
    assert colour.any(1).sum() == 4 * 16 + 4 and colour.any(0).sum() == 4 * 24 + 4
    assert (pixels[66:126, 100:188] == 255).all() and pixels[:60].max() == 0

    # The same scan, stored up, forth and to the right, is hung the same way.
    flipped = affine @ np.array([[1, 0, 0, 0], [0, -1, 0, 63], [0, 0, -1, 47], [0, 0, 0, 1.0]])
    volume = Volume(array[:, :, ::-1, ::-1], flipped)
    (again,) = finding_pictures(volume, boxes.on(flipped), [2], window=(0, 100))
    assert np.array_equal(again, picture)


def test_the_greys_of_ct_are_those_of_the_abdomen():
    array = np.full((1, 2, 8, 8), 40.0, np.float32)
    array[0, 0, 0] = -1000
    nothing = Boxes(np.array([(1, 0, 0, 2, 1, 1.0)]))
    (picture,) = finding_pictures(Volume(array), nothing, [1])
    assert picture.getpixel((300, 300)) == (128, 128, 128)  # 40 lies in the middle of -160 to 240: 127.5


def test_the_page_is_one_safe_file(tmp_path):
    (tmp_path / "1.jpg").write_bytes(jpeg(Image.new("RGB", (4, 4), "red")))
    finding = {"rank": 1, "label": "<i>lesion</i>", "score": 0.91234, "slice": 3, "picture": "1.jpg"}
    finding |= {"size_mm_dhw": [10.0, 3.2, 2.0], "centre_mm_xyz": [-1.0, 2.0, 3.0]}
    scan = {"scan": "<script>alert(1)</script>", "shape_dhw": [8, 32, 40], "slices_along": "d", "findings": [finding]}
    empty = {"scan": "b & c", "shape_dhw": [8, 32, 40], "slices_along": "d", "findings": []}
    write_findings_page(tmp_path / "page.html", iter([scan, empty]), folder=tmp_path, note="research only")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in page and "&lt;script&gt;" in page and "<i>" not in page
    assert "b &amp; c" in page and "Nothing was found." in page and "research only" in page
    assert "slice 4 of 8" in page and "2 x 3 x 10 mm" in page and "score 0.912" in page and "-1, 2, 3 mm" in page
    assert 'src="data:image/jpeg;base64,' in page and "http" not in page.replace("http-equiv", "")
