"""Surface distances under each named definition, worked out by hand, and compared with MONAI's own functions."""

import math

import numpy as np
import pytest
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice
from scipy.ndimage import gaussian_filter

from vdt3d.evaluation import DEFINITIONS, surface_scores

UNIT = (1.0, 1.0, 1.0)


def mask(shape: tuple[int, ...], *places: tuple) -> np.ndarray:
    array = np.zeros(shape, bool)
    for place in places:
        array[place] = True
    return array


@pytest.mark.parametrize("definition", ["monai", "medpy", "chaos", "lits"])
def test_two_voxels_apart(definition):
    one, other = mask((9, 5, 5), (2, 2, 2)), mask((9, 5, 5), (5, 2, 2))  # three slices of 2 mm
    found = surface_scores(one, other, (2, 1, 1), definition=definition, tolerance=5.9)
    assert found == {"hd95": 6, "assd": 6, "mssd": 6, "nsd": 0}
    assert surface_scores(one, other, (2, 1, 1), definition=definition, tolerance=6)["nsd"] == 1


@pytest.mark.parametrize(
    ("definition", "hd95"),
    # Distances 0, 1 .. 40 one way and 0 the other. The 95th percentile of the 41 is the one at .95 x 40 = 38; of all 42
    # it lies at .95 x 41 = 38.95, between 37 and 38. The mean of the 42 is 820 / 42.
    [("monai", 38), ("chaos", 38), ("medpy", 37.95)],
)
def test_definitions_join_the_directions_differently(definition, hd95):
    row, voxel = mask((3, 3, 43), (1, 1, slice(1, 42))), mask((3, 3, 43), (1, 1, 1))
    found = surface_scores(row, voxel, UNIT, definition=definition)
    assert found == pytest.approx({"hd95": hd95, "assd": 820 / 42, "mssd": 40, "nsd": 3 / 42})
    assert surface_scores(voxel, row, UNIT, definition=definition) == found


def test_only_chaos_sees_no_surface_where_the_volume_ends():
    # Slabs of 2 and 3 slices of 5 x 5 voxels that the volume cuts off on five sides. CHAOS sees the one plane towards
    # the background in each, 2 mm apart. Others see all 50 voxels of the thin one and 66 of the thick one, whose middle
    # slice has 9 voxels inside. The thick one's last plane is 2 mm away from the other, 25 x 2; of the thin one's 9
    # voxels opposite those inside, 8 are 1 mm from the middle slice's rim and one 2 mm: 60 mm for 116 voxels.
    thin, thick = mask((5, 5, 5), slice(0, 2)), mask((5, 5, 5), slice(0, 3))
    assert surface_scores(thick, thin, (2, 1, 1), definition="chaos") == {"hd95": 2, "assd": 2, "mssd": 2, "nsd": 0}
    found = surface_scores(thick, thin, (2, 1, 1))
    assert found == pytest.approx({"hd95": 2, "assd": 60 / 116, "mssd": 2, "nsd": 90 / 116})


def test_lits_counts_neighbours_across_edges():
    # Of a cube of four voxels a side 8 are inside, by 6 neighbours and by 18. Without a voxel in the middle of an edge
    # of the cube, an inner voxel has a neighbour outside across that edge.
    whole = mask((6, 6, 6), (slice(1, 5),) * 3)
    cut = whole.copy()
    cut[1, 1, 2] = False
    surface = {name: surface_scores(cut, cut, UNIT, definition=name)["nsd"] for name in ("monai", "lits")}
    assert surface == {"monai": 1, "lits": 1}
    # Both surfaces are the cube's 56 voxels; without the voxel, 55 of them, and 56 with the inner one it uncovers. The
    # removed voxel is 1 mm from the rest, and the inner one 1 mm from the cube's surface.
    assert surface_scores(whole, cut, UNIT, definition="monai")["assd"] == pytest.approx(1 / (56 + 55))
    assert surface_scores(whole, cut, UNIT, definition="lits")["assd"] == pytest.approx(2 / (56 + 56))


PLANE = (np.zeros((1, 40, 40), bool), np.zeros((1, 40, 40), bool))
PLANE[0][0, 10:30, 12:30] = PLANE[1][0, 13:36, 10:27] = True


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_slice_is_scored_in_its_plane(axis: int):
    # Two outlines of squares, 3 and 5 pixels wide, around one middle: the voxels inside are no surface, though nothing
    # lies above and below. The small one's 8 pixels are 1 mm from the large one's 16, of which 12 are 1 mm away and the
    # 4 corners sqrt(2).
    masks = [mask((1, 9, 9), (0, slice(low, 9 - low), slice(low, 9 - low))) for low in (3, 2)]
    spacing = np.insert([1.0, 1.0], axis, 7.0)
    small, large = (np.moveaxis(one, 0, axis) for one in masks)
    found = surface_scores(small, large, spacing, tolerance=1)
    root = math.sqrt(2)
    wanted = {"hd95": root, "assd": (20 + 4 * root) / 24, "mssd": root, "nsd": 20 / 24}
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize("definition", ["monai", "deepmind"])
def test_one_slice_scores_as_monai_scores_an_image(definition: str):
    ours = surface_scores(*PLANE, (4.0, 1.0, 1.5), definition=definition, tolerance=2.0)
    images = [torch.tensor(one)[None].float() for one in PLANE]
    settings = dict(include_background=True, spacing=(1.0, 1.5))
    subvoxels = definition == "deepmind"
    nsd = compute_surface_dice(*images, [2.0], use_subvoxels=subvoxels, **settings).item()
    assert ours["nsd"] == pytest.approx(nsd, rel=1e-5)
    if definition == "monai":
        assd = compute_average_surface_distance(*images, symmetric=True, **settings).item()
        hd95 = compute_hausdorff_distance(*images, percentile=95, **settings).item()
        assert (ours["assd"], ours["hd95"]) == pytest.approx((assd, hd95), rel=1e-5)


def test_under_chaos_a_mask_that_fills_the_volume_has_no_surface():
    full, voxel = np.ones((4, 4, 4), bool), mask((4, 4, 4), (1, 1, 1))
    assert np.isnan(list(surface_scores(full, full, UNIT, definition="chaos").values())).all()
    assert surface_scores(full, voxel, UNIT, definition="chaos")["assd"] == math.inf
    assert surface_scores(full, full, UNIT)["hd95"] == 0


def test_deepmind_compares_corners():
    # A voxel's eight corners; those of the other voxel are 3 - 1 = 2 or 3 slices away, half and half.
    one, other = mask((9, 5, 5), (2, 2, 2)), mask((9, 5, 5), (5, 2, 2))
    found = surface_scores(one, other, UNIT, definition="deepmind", tolerance=2)
    assert found == pytest.approx({"hd95": 3, "assd": 2.5, "mssd": 3, "nsd": 0.5})


@pytest.mark.parametrize(
    ("spacing", "corner", "edge"),
    # A lone corner is cut by a triangle through the middles of three edges: with steps (3, 2, 1) its normal is
    # (2 x 1, 3 x 1, 3 x 2) / 8, of length 7/8. Two voxels side by side along x are cut by a rectangle: one step of x
    # long, and as wide as the diagonal of half a step of z and of y.
    [(UNIT, math.sqrt(3) / 8, math.sqrt(2) / 2), ((3.0, 2.0, 1.0), 7 / 8, math.hypot(1.5, 1))],
)
def test_deepmind_weighs_by_area(spacing, corner, edge):
    # The bar's last four corners are a step of x away from the voxel; its first four coincide, its middle four too.
    bar, voxel = mask((4, 4, 5), (1, 1, slice(1, 3))), mask((4, 4, 5), (1, 1, 1))
    found = surface_scores(bar, voxel, spacing, definition="deepmind", tolerance=0.5)
    share = 4 * corner / (4 * (2 * corner + edge) + 8 * corner)
    assert found == pytest.approx({"hd95": 1, "assd": share, "mssd": 1, "nsd": 1 - share})


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_absence(definition):
    empty, voxel = mask((4, 4, 4)), mask((4, 4, 4), (1, 1, 1))
    assert np.isnan(list(surface_scores(empty, empty, UNIT, definition=definition).values())).all()
    alone = {"hd95": math.inf, "assd": math.inf, "mssd": math.inf, "nsd": 0}
    assert surface_scores(voxel, empty, UNIT, definition=definition) == alone
    assert surface_scores(empty, voxel, UNIT, definition=definition) == alone


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_a_mask_equals_itself(definition):
    same = mask((4, 6, 6), slice(1, 3), (3, 2, 2))
    assert surface_scores(same, same, UNIT, definition=definition, tolerance=0) == pytest.approx(
        {"hd95": 0, "assd": 0, "mssd": 0, "nsd": 1}
    )


def test_a_distance_of_just_the_tolerance_is_within_it():
    one, other = mask((1, 1, 4), (0, 0, 0)), mask((1, 1, 4), (0, 0, 3))
    assert 3 * 0.1 > 0.3  # in double precision
    assert surface_scores(one, other, (1, 1, 0.1), tolerance=0.3)["nsd"] == 1


def blobs(seed: int, shape: tuple[int, ...] = (12, 15, 10)) -> tuple[np.ndarray, np.ndarray]:
    """Two rough masks that agree in part and reach the volume's edge."""
    rng = np.random.default_rng(seed)
    common, *own = (gaussian_filter(rng.normal(size=shape), 1.5) for _ in range(3))
    return tuple(common + part > 0.05 for part in own)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI's, of its own call
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_monai(seed):
    one, other = blobs(seed)
    spacing = [2.5, 0.7, 0.9]
    batch = [torch.from_numpy(each)[None, None] for each in (one, other)]
    options = {"include_background": True, "spacing": spacing}
    expected = {
        "hd95": compute_hausdorff_distance(*batch, percentile=95, **options),
        "assd": compute_average_surface_distance(*batch, symmetric=True, **options),
        "mssd": compute_hausdorff_distance(*batch, **options),
        "nsd": compute_surface_dice(*batch, [1.0], **options),
    }
    found = surface_scores(one, other, spacing)
    assert found == pytest.approx({name: value.item() for name, value in expected.items()}, rel=1e-5)
    by_area = compute_surface_dice(*batch, [1.0], use_subvoxels=True, **options).item()
    assert surface_scores(one, other, spacing, definition="deepmind")["nsd"] == pytest.approx(by_area, rel=1e-5)


@pytest.mark.parametrize("definition", ["monai", "medpy", "deepmind"])
def test_what_lies_around_changes_nothing(definition):
    one, other = blobs(7)
    wide = [np.pad(each, ((0, 3), (2, 0), (9, 1))) for each in (one, other)]
    assert surface_scores(*wide, UNIT, definition=definition) == surface_scores(one, other, UNIT, definition=definition)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"guess": np.zeros((4, 4, 4), int)}, r"booleans .* got int64 \(4, 4, 4\)"),
        ({"guess": np.zeros((4, 4, 5), bool)}, r"\(4, 4, 5\) and bool \(4, 4, 4\)"),
        ({"guess": np.zeros((4, 4), bool), "truth": np.zeros((4, 4), bool)}, r"\(D, H, W\)"),
        ({"spacing": (1, 0, 1)}, "three positive numbers"),
        ({"definition": "other"}, "choose one of .*'lits', 'deepmind'"),
        ({"tolerance": -1}, "not -1"),
    ],
)
def test_what_cannot_be_compared_is_refused(changes, message):
    empty = np.zeros((4, 4, 4), bool)
    words = {"guess": empty, "truth": empty, "spacing": UNIT} | changes
    with pytest.raises(ValueError, match=message):
        surface_scores(**words)
