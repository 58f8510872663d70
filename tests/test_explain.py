"""Maps of evidence, tests of maps and concepts, on networks whose answers can be worked out by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vdt3d.datasets.synthetic import draw_solids
from vdt3d.explain import (
    areas,
    attention_rollout,
    class_score,
    concept_tests,
    elsewhere,
    finding_score,
    grad_cam,
    integrated_gradients,
    last_maps,
    likeness,
    log_odds,
    occlusion,
    randomised,
    region_score,
    removal_curve,
    saliency,
)
from vdt3d.inference.way_back import carried
from vdt3d.models import ViT3D
from vdt3d.structures import Volume, affine_from_spacing

WEIGHTS = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
IMAGE = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))


def linear(batch: Tensor) -> Tensor:
    return (batch * WEIGHTS).flatten(1).sum(1) + 7


def over_median(image: Tensor) -> Tensor:
    return image - image.flatten(1).median(1).values.view(-1, 1, 1, 1)


def test_of_a_linear_score_the_maps_are_its_terms():
    terms = (WEIGHTS * over_median(IMAGE)).sum(0)
    assert torch.equal(saliency(linear, IMAGE), WEIGHTS.abs().amax(0))
    assert torch.allclose(integrated_gradients(linear, IMAGE, steps=3), terms, atol=1e-4)
    zero = torch.zeros(2, 1, 1, 1)
    whole = integrated_gradients(linear, IMAGE, baseline=zero, batch=3).sum()
    assert float(whole) == pytest.approx(float(linear(IMAGE[None]) - 7), abs=1e-4)
    # Windows of one voxel (3, 4 and 5 over 8 are below 1, which is the least) take one voxel's terms away.
    assert torch.allclose(occlusion(linear, IMAGE), terms, atol=1e-4)


def test_occlusion_is_the_mean_of_the_windows_over_a_voxel():
    weights = torch.tensor([1.0, 2.0, 4.0, 8.0]).view(1, 4, 1, 1)
    image = torch.ones(1, 4, 1, 1)
    options = dict(window=(2, 1, 1), stride=(1, 1, 1), baseline=torch.zeros(1, 1, 1, 1))
    # The windows take 1 + 2, 2 + 4, 4 + 8 away.
    told = occlusion(lambda batch: (batch * weights).flatten(1).sum(1), image, batch=2, **options)
    assert told.flatten().tolist() == [3, 4.5, 9, 12]
    # With stride 2 on five voxels the last window is cut off: 0-1, 2-3, 4.
    weights = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]).view(1, 5, 1, 1)
    options["stride"] = (2, 1, 1)
    told = occlusion(lambda batch: (batch * weights).flatten(1).sum(1), torch.ones(1, 5, 1, 1), **options)
    assert told.flatten().tolist() == [3, 3, 12, 12, 16]


def test_occlusion_comes_to_the_same_whatever_the_batch():
    seen = []

    def score(batch: Tensor) -> Tensor:
        seen.append(len(batch))
        return linear(batch).tanh()

    maps = [occlusion(score, IMAGE, window=(2, 2, 2), stride=(1, 2, 1), batch=batch) for batch in (1, 3, 64)]
    assert torch.allclose(maps[0], maps[1], atol=1e-6) and torch.allclose(maps[0], maps[2], atol=1e-6)
    # 2 x 2 x 4 windows, besides the image itself.
    assert max(seen) == 16 and seen.count(3) == 5


@pytest.mark.parametrize(
    "wrong", [dict(window=(4, 1, 1)), dict(window=(2, 2, 2), stride=(3, 1, 1)), dict(stride=(0, 1, 1)), dict(batch=0)]
)
def test_windows_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="windows fit into the image"):
        occlusion(linear, IMAGE, **wrong)


class TwoScales(nn.Module):
    """Channels x and -x at half the size, whose means count 3 and 1; then a map of one voxel."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv3d(1, 2, 1, stride=2, bias=False)
        self.last = nn.Conv3d(2, 1, 2, stride=2, bias=False)
        with torch.no_grad():
            self.first.weight[:] = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1, 1)
            self.last.weight[:] = torch.tensor([3.0, 1.0]).view(1, 2, 1, 1, 1) / 8

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x)).flatten(1)


def test_grad_cam_weighs_channels_by_their_mean_gradients():
    network, image = TwoScales(), torch.arange(64.0).view(1, 4, 4, 4)
    # Eight cells: each has gradient 3 / 8 in one channel, 1 / 8 in the other; 3 / 8 x - 1 / 8 x = x / 4.
    told = grad_cam(lambda batch: network(batch)[:, 0], image, network.first)
    assert torch.allclose(told, image[0, ::2, ::2, ::2] / 4)
    # The last convolution answers one voxel; the one before is the last with a map.
    assert last_maps(network, image, network) == "first"
    with pytest.raises(ValueError, match="no module of Linear answers maps"):
        last_maps(network, image, nn.Linear(1, 1))
    flat = nn.Conv2d(4, 2, 1)
    told = grad_cam(lambda batch: flat(batch[:, 0]).flatten(1).sum(1), image, flat)
    assert told.shape == (1, 4, 4)


def test_attention_flows_as_worked_out_by_hand():
    backbone = ViT3D(
        img_size=16, patch_size=8, embed_dims=8, depth=2, num_heads=2, out_indices=(1,), window=dict(slices=2)
    ).eval()
    for block in backbone.blocks:
        nn.init.zeros_(block.attn.qkv.weight)
    image = torch.randn(1, 2, 16, 16)
    before = backbone(image[None])[0]
    told = attention_rollout(lambda batch: backbone(batch)[0].flatten(1).sum(1), image, backbone)
    # Without queries all 5 tokens (one of the class, four patches) attend to all alike: U. ((U + I) / 2)^2 is, as
    # U U = U, (3 U + I) / 4. Of the four patches' mean a patch has 3 / 4 * 1 / 5 + 1 / 4 * 1 / 4.
    assert told.shape == (1, 2, 2) and torch.allclose(told, torch.full((1, 2, 2), 0.2125))
    assert torch.equal(backbone(image[None])[0], before) and "attend" not in vars(backbone.blocks[0].attn)
    with pytest.raises(ValueError, match="that of a WindowTransformer"):
        attention_rollout(linear, IMAGE, TwoScales())


def test_scores_are_log_odds():
    # Softmax of log 1, log 3, log 4 is 1/8, 3/8, 1/2: odds of 1 to 7, 3 to 5 and 1.
    logits = torch.tensor([[1.0, 3.0, 4.0]]).log()
    for target, odds in enumerate((1 / 7, 3 / 5, 1)):
        assert float(log_odds(logits, target).exp()) == pytest.approx(odds)
    assert log_odds(torch.tensor([[2.0]]), 1).tolist() == [2] and log_odds(torch.tensor([[2.0]]), 0).tolist() == [-2]
    with pytest.raises(ValueError, match="target 3 is no class: there are 3, from 0"):
        log_odds(logits, 3)
    with pytest.raises(ValueError, match="there are 2"):
        log_odds(torch.zeros(1, 1), -1)


def test_the_score_of_a_region_is_the_mean_over_its_voxels():
    logits = torch.stack([torch.zeros(1, 2, 2), torch.tensor([[[1.0, 2.0], [4.0, 8.0]]])])[None]
    inside = torch.tensor([[[True, False], [True, False]]])
    assert region_score(lambda batch: logits, 1, inside)(IMAGE[None]).tolist() == [2.5]
    assert region_score(lambda batch: logits, 0, inside)(IMAGE[None]).tolist() == [-2.5]
    assert region_score(lambda batch: logits, 0, inside, overlapping=True)(IMAGE[None]).tolist() == [0]
    with pytest.raises(ValueError, match="holds no voxel"):
        region_score(lambda batch: logits, 1, torch.zeros(1, 2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="do not lie on the region's grid"):
        region_score(lambda batch: logits, 1, torch.ones(1, 2, 3, dtype=torch.bool))(IMAGE[None])


def test_the_score_of_a_finding_is_the_best_of_score_times_overlap():
    def detect(batch: Tensor) -> list[dict[str, Tensor]]:
        boxes = torch.tensor([[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.0]])
        scores = torch.stack([0.8 * batch[0].mean(), batch[0].mean() * 0.3, batch[0].mean()])
        one = {"boxes": boxes, "scores": scores, "labels": torch.tensor([0, 0, 1])}
        return [one, {name: values[2:] for name, values in one.items()}]

    batch = torch.ones(2, 1, 1, 2, 2, requires_grad=True)
    told = finding_score(detect, torch.tensor([0.0, 0.0, 2.0, 2.0]), 0)(batch)
    # Half the box at 0.8 is more than all of it at 0.3; the third is of another label, as is all in the second image.
    assert told.tolist() == pytest.approx([0.4, 0])
    (slope,) = torch.autograd.grad(told.sum(), batch)
    assert slope.flatten().tolist() == pytest.approx([0.4 / 4] * 4 + [0] * 4)


def test_voxels_go_hottest_first():
    image, plain = torch.tensor([8.0, 4.0, 2.0, 1.0]).view(1, 1, 1, 4), torch.zeros(1, 1, 1, 1)

    def score(batch: Tensor) -> Tensor:
        return batch.flatten(1).sum(1)

    options = dict(steps=2, baseline=plain)
    # A quarter of the voxels at the first of two steps, all at the second.
    shares, scores = removal_curve(score, image, image[0], batch=2, **options)
    assert shares.tolist() == [0, 0.25, 1] and scores.tolist() == [15, 7, 0]
    assert removal_curve(score, image, image[0], keep=True, **options)[1].tolist() == [0, 8, 15]
    # Trapezia: (15 + 7) / 2 / 4 + 7 / 2 * 3 / 4 = 5.375, and 8 / 2 / 4 + 23 / 2 * 3 / 4 = 9.625.
    good, bad = (areas(score, image, heat, **options) for heat in (image[0], -image[0]))
    assert good == {"deletion": pytest.approx(5.375), "insertion": pytest.approx(9.625)}
    assert bad["deletion"] > good["deletion"] and bad["insertion"] < good["insertion"]
    # Sixteen voxels go by twos, an eighth: the second pair with mean 4 before the first with mean 3, then the rest.
    heat = torch.zeros(1, 1, 16)
    heat[0, 0, :4] = torch.tensor([6.0, 0.0, 4.0, 4.0])
    image = 2.0 ** torch.arange(16).view(1, 1, 1, 16)
    # Of 16 voxels the steps take 1, 4 and 9: half of the second pair, both pairs, and what follows them in order.
    left = removal_curve(score, image, heat, steps=4, baseline=plain)[1]
    assert left[:3].tolist() == [2**16 - 1, 2**16 - 1 - 4, 2**16 - 1 - 15] and left[-1] == 0
    with pytest.raises(ValueError, match="does not lie on an image"):
        removal_curve(score, image, heat[:, :, 1:])


def test_a_map_elsewhere_is_the_same_in_another_place():
    heat = torch.arange(24.0).view(1, 4, 6)
    moved = elsewhere(heat, np.random.default_rng(0))
    assert sorted(moved.flatten().tolist()) == sorted(heat.flatten().tolist()) and not (moved == heat).any()
    assert likeness(heat, heat) == pytest.approx(1) and likeness(heat, 23 - heat) == pytest.approx(-1)
    assert np.isnan(likeness(heat, torch.ones(1, 4, 6)))


def test_random_weights_are_new_in_every_layer_and_the_network_stays():
    network = nn.Sequential(nn.Conv3d(1, 8, 3), nn.BatchNorm3d(8), nn.ReLU(), nn.Conv3d(8, 4, 3))
    for parameter in network.parameters():
        nn.init.constant_(parameter, 5.0)
    network[1].running_mean += 3
    state = torch.get_rng_state()
    one, again, other = (randomised(network, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all((parameter == 5).all() for parameter in network.parameters())
    for layer in (0, 3):
        assert torch.equal(one[layer].weight, again[layer].weight)
        assert not torch.equal(one[layer].weight, other[layer].weight) and (one[layer].weight != 5).all()
    # He et al.: variance 2 / fan-in, here 8 * 27; 864 draws.
    assert one[3].weight.std().item() == pytest.approx((2 / 216) ** 0.5, rel=0.1)
    assert (one[1].running_mean == 0).all() and (one[1].weight == 1).all()


class CubeFinder(nn.Module):
    """Fires where a window of five voxels is full: a cube of that edge fills it, a ball of as many voxels to 84 %.

    The ball's radius is 3.1: of six caps of height 0.6, 20 of 125 voxels, it sticks out.
    """

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv3d(1, 1, 5, padding=2), nn.Linear(1, 2)
        with torch.no_grad():
            self.conv.weight.fill_(1 / 125)
            self.conv.bias.fill_(-0.92)
            self.head.weight.copy_(torch.tensor([[0.0], [1e5]]))
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).relu().mean((2, 3, 4)))


METHODS = {
    "occlusion": lambda score, image, network: occlusion(score, image, window=(4, 4, 4)),
    "integrated gradients": lambda score, image, network: integrated_gradients(score, image, steps=12),
    "grad-cam": lambda score, image, network: grad_cam(score, image, network.conv),
    "saliency": lambda score, image, network: saliency(score, image),
}


def in_cube(method: str, network: nn.Module, number: int) -> bool:
    """Whether the map is higher in a cube than in a ball of as many voxels, just as bright."""
    image, labels = draw_solids(np.random.default_rng(number), ("cube", "ball"), side=20, edge=(5, 5), noise=0.05)
    heat = METHODS[method](class_score(network, 1), torch.from_numpy(image)[None], network).numpy()
    return heat[labels == 1].max() > heat[labels == 2].max()


@pytest.mark.parametrize("method", METHODS)
def test_maps_find_the_solid_that_decides_and_know_nothing_with_random_weights(method):
    network = CubeFinder()
    assert all(in_cube(method, network, number) for number in range(8))
    # 24 draws of one half: fewer than 5 or more than 19 come once in 500 times; the seeds are fixed.
    assert 5 <= sum(in_cube(method, randomised(network, number), number) for number in range(24)) <= 19


def test_removing_what_the_map_shows_costs_more_than_removing_as_much_elsewhere():
    network, rng = CubeFinder(), np.random.default_rng(0)
    for number in range(4):
        image, _ = draw_solids(np.random.default_rng(number), ("cube", "ball"), side=20, edge=(5, 5), noise=0.05)
        image, score = torch.from_numpy(image)[None], class_score(network, 1)
        heat = integrated_gradients(score, image)
        away = [areas(score, image, elsewhere(heat, rng))["deletion"] for _ in range(5)]
        assert areas(score, image, heat)["deletion"] < np.mean(away) / 2


def test_solids_are_of_one_size_apart_and_as_asked_for():
    for number in range(20):
        image, labels = draw_solids(np.random.default_rng(number), ("cube", "ball", "rod"), noise=0)
        counts = np.bincount(labels.ravel())[1:]
        assert len(set(counts.tolist())) == 1 and round(counts[0] ** (1 / 3)) in (7, 8, 9)
        assert np.array_equal(image, labels > 0)
        boxes = [np.argwhere(labels == label) for label in (1, 2, 3)]
        sides = [np.ptp(box, axis=0) + 1 for box in boxes]
        assert (sides[0] == sides[0][0]).all() and (sides[1] - sides[0][0]).min() >= 1
        assert sides[2].max() > 2 * sides[2].min()
        # Four voxels or more along at least one axis.
        for one, other in ((0, 1), (0, 2), (1, 2)):
            gaps = np.maximum(boxes[one].min(0) - boxes[other].max(0), boxes[other].min(0) - boxes[one].max(0)) - 1
            assert gaps.max() >= 4
    with pytest.raises(ValueError, match="no solids \\['cone'\\]"):
        draw_solids(np.random.default_rng(0), ("cone",))
    with pytest.raises(ValueError, match="do not fit"):
        draw_solids(np.random.default_rng(0), ("ball", "ball"), side=12)


def channels(rng: np.random.Generator, count: int, *, planted: float = 0.0) -> list[Tensor]:
    """Images of 6 channels, their means scattered by 1; a planted concept raises the second."""
    shifts = rng.normal(size=(count, 6, 1, 1, 1))
    shifts[:, 1] += planted
    return [torch.from_numpy((shift + rng.normal(size=(6, 2, 2, 2))).astype(np.float32)) for shift in shifts]


def test_a_planted_concept_is_found_and_random_ones_are_not():
    layer = nn.Identity()
    rng = np.random.default_rng(0)

    def score(batch: Tensor) -> Tensor:
        return layer(batch)[:, 1].mean((1, 2, 3)) ** 3  # grows with the second channel, and with no other

    concepts = {"planted": channels(rng, 20, planted=3), "against": channels(rng, 20, planted=-3)}
    concepts |= {f"random {number}": channels(rng, 20) for number in range(20)}
    found = concept_tests(score, layer, channels(rng, 10), concepts, channels(rng, 80), repeats=15)
    planted, against = found.pop("planted"), found.pop("against")
    assert planted.p < 0.05 and planted.score == 1 and planted.sensitivity > 0.8 and planted.accuracy > 0.8
    assert against.p < 0.05 and against.score == 0 and against.sensitivity < -0.8
    assert sum(each.p < 0.05 for each in found.values()) <= 3
    assert abs(np.mean([each.accuracy for each in found.values()]) - 0.5) < 0.1
    few = channels(rng, 30)
    again = concept_tests(score, layer, few[:3], {"a": few[:8]}, few[10:], repeats=3)
    assert again == concept_tests(score, layer, few[:3], {"a": few[:8]}, few[10:], repeats=3)


@pytest.mark.parametrize(("examples", "against"), [(4, 40), (20, 39)])
def test_too_few_examples_are_refused(examples, against):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=f"{examples} examples for {against} counterexamples"):
        concept_tests(linear, nn.Identity(), [IMAGE], {"a": channels(rng, examples)}, channels(rng, against))


def test_a_map_is_carried_to_the_grid_of_the_scan():
    # Cells of 2 mm with 1, 3, 5 along z; the scan's voxels of 1 mm begin a cell earlier and are stored from the top.
    values = Volume(np.array([1.0, 3.0, 5.0]).reshape(1, 3, 1, 1), affine_from_spacing((2.0, 1.0, 1.0)))
    affine = np.diag([1.0, 1.0, 1.0, 1.0])[:, [2, 1, 0, 3]]
    affine[2, 0], affine[2, 3] = -1, 5.5
    grid = Volume(np.zeros((1, 10, 1, 1)), affine)
    # Middles at 5.5, 4.5, ... -3.5 mm; cells reach from -1 to 5, their middles are at 0, 2, 4: z + 1 between them.
    assert carried(values, grid).array.ravel().tolist() == [0, 5, 4.5, 3.5, 2.5, 1.5, 1, 0, 0, 0]
    assert np.array_equal(carried(values, grid).affine, affine)
    assert np.array_equal(carried(values, values).array, values.array)
