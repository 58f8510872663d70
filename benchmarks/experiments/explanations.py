"""Do explanations find what decides? A network learns to tell cubes from balls; every scan holds two solids.

python benchmarks/experiments/explanations.py [--seeds ...] [--scans ...] [--steps ...]
Solids are equally bright and of as many voxels each; a scan of class 1 holds a cube and a ball, one of class 0 two
balls. Of every method: in what share of held-out scans with a cube the map is higher in the cube than in the ball, for
the trained network and for networks of random weights, another one for each scan; whether removing parts in the order
of the map costs more of the probability than in that of the same map elsewhere, or of noise. Then TCAV: a planted
concept, and 20 random ones.
"""

import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator

import numpy as np
import record
import torch
from torch import Tensor, nn
from torch.nn import functional

from vdt3d.cli.config import quiet_imports
from vdt3d.datasets.synthetic import draw_solids
from vdt3d.explain import (
    Score,
    areas,
    class_score,
    concept_tests,
    elsewhere,
    grad_cam,
    integrated_gradients,
    occlusion,
    randomised,
    saliency,
)

LAYER = "backbone.layer3"
EXAMPLES, POOL = 30, 150  # of a concept, and counterexamples
METHODS: dict[str, Callable[[Score, Tensor, nn.Module], Tensor]] = {
    "occlusion": lambda score, image, network: occlusion(score, image, window=(8,) * 3, stride=(4,) * 3),
    "integrated-gradients": lambda score, image, network: integrated_gradients(score, image, steps=16, batch=16),
    "gradcam": lambda score, image, network: grad_cam(score, image, network.get_submodule(LAYER)),
    "saliency": lambda score, image, network: saliency(score, image),
}


def main(seeds: list[int], scans: int, steps: int) -> None:
    quiet_imports()
    for seed in seeds:
        record.once("explanations", {"seed": seed, "scans": scans, "steps": steps}, lambda s=seed: run(s, scans, steps))


def run(seed: int, scans: int, steps: int) -> dict:
    start = time.perf_counter()
    network = train(seed, steps)
    minutes = (time.perf_counter() - start) / 60
    # Streams of their own: nothing that is explained was learnt from.
    told = [said(network, image) == kind for kind in (0, 1) for image, _ in drawn((seed, 1, kind), pairs(kind), scans)]
    cubes = list(drawn((seed, 1, 1), pairs(1), scans))
    result = {"train_minutes": round(minutes, 2), "accuracy": round(float(np.mean(told)), 4), "methods": {}}
    for name, method in METHODS.items():
        start = time.perf_counter()
        result["methods"][name] = judged(network, method, cubes, seed) | {
            "seconds": round(time.perf_counter() - start, 1)
        }
    result["tcav"] = concepts(network, [image for image, _ in cubes[:50]], seed)
    return result


def train(seed: int, steps: int, batch: int = 16) -> nn.Module:
    """The network, trained on scans that are drawn as it goes."""
    import vdt3d.models  # noqa: F401
    from vdt3d.registry import MODELS

    torch.manual_seed(seed)
    backbone = dict(type="ResNet3D", depth=10, base_channels=8, depth_stride=True, stem_pool=False)
    backbone |= dict(num_stages=3, strides=(1, 2, 1), out_indices=(2,))
    pooled = dict(type="GlobalAveragePooling", dim=3)
    head = dict(type="LinearClsHead", num_classes=2, in_channels=32)
    network = MODELS.build(dict(type="VolumeClassifier", backbone=backbone, neck=pooled, head=head))
    network.init_weights()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    streams = [drawn((seed, 0, kind), pairs(kind)) for kind in (0, 1)]
    truth = torch.tensor([0, 1] * (batch // 2))
    network.train()
    for _ in range(steps):
        images = torch.stack([next(streams[kind])[0] for kind in truth.tolist()])
        loss = functional.cross_entropy(network(images, mode="tensor"), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def pairs(kind: int) -> Callable[[np.random.Generator], tuple[str, ...]]:
    return lambda rng: ("cube" if kind else "ball", "ball")


def drawn(
    key: tuple[int, ...], kinds: Callable[[np.random.Generator], tuple[str, ...]], count: int = 2**31
) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Images (1, D, H, W) and labels (D, H, W)."""
    for number in range(count):
        rng = np.random.default_rng((*key, number))
        image, labels = draw_solids(rng, kinds(rng))
        yield torch.from_numpy(image)[None], labels


@torch.no_grad()
def said(network: nn.Module, image: Tensor) -> int:
    return int(network(image[None], mode="tensor")[0].argmax())


def judged(network: nn.Module, method: Callable, scans: list[tuple[Tensor, np.ndarray]], seed: int) -> dict:
    """Shares of the scans; of deletion the mean areas, too."""
    right, by_chance, deletion = [], [], {"map": [], "elsewhere": [], "noise": []}
    score = asked(network)

    def probability(batch: Tensor) -> Tensor:
        return score(batch).sigmoid()

    for number, (image, labels) in enumerate(scans):
        heat = method(score, image, network)
        right.append(prefers_cube(heat, labels))
        untaught = randomised(network, seed=1000 * seed + number)
        by_chance.append(prefers_cube(method(asked(untaught), image, untaught), labels))
        rng = np.random.default_rng((seed, 2, number))
        full = functional.interpolate(heat[None, None], image.shape[1:], mode="trilinear")[0, 0]
        noise = torch.from_numpy(rng.random(full.shape, dtype=np.float32))
        for name, other in (("map", full), ("elsewhere", elsewhere(full, rng)), ("noise", noise)):
            deletion[name].append(areas(probability, image, other)["deletion"])
    return {
        "in_cube": round(float(np.mean(right)), 4),
        "in_cube_random_weights": round(float(np.mean(by_chance)), 4),
        "deletion_area": {name: round(float(np.median(values)), 4) for name, values in deletion.items()},
        **{
            f"deletion_beats_{name}": round(float(np.mean(np.less(deletion["map"], deletion[name]))), 4)
            for name in ("elsewhere", "noise")
        },
    }


def asked(network: nn.Module) -> Score:
    return class_score(lambda batch: network(batch, mode="tensor"), 1)


def prefers_cube(heat: Tensor, labels: np.ndarray) -> bool:
    """Whether the map's highest value in the cube exceeds that in the ball, at the map's own resolution: a coarse cell
    belongs to a solid that touches it.
    """
    solids = torch.from_numpy(np.stack([labels == 1, labels == 2])).float()
    cells = functional.adaptive_max_pool3d(solids, heat.shape) > 0
    cube, ball = (heat[inside].max() for inside in cells)
    return bool(cube > ball)


def concepts(network: nn.Module, images: list[Tensor], seed: int) -> dict:
    """A concept whose examples hold a cube; counterexamples and random concepts hold another solid."""

    def some(key: int, kinds: tuple[str, ...], count: int) -> list[Tensor]:
        return [image for image, _ in drawn((seed, 3, key), lambda rng: (str(rng.choice(kinds)),), count)]

    others = ("ball", "rod")
    shown = {"cube": some(0, ("cube",), EXAMPLES)}
    shown |= {f"random {number}": some(1 + number, others, EXAMPLES) for number in range(20)}
    found = concept_tests(
        asked(network), network.get_submodule(LAYER), images, shown, some(100, others, POOL), seed=seed
    )
    planted = found.pop("cube")
    return {
        "planted": {name: round(value, 5) for name, value in planted._asdict().items()},
        "random_p": sorted(round(each.p, 4) for each in found.values()),
        "random_significant": int(sum(each.p < 0.05 for each in found.values())),
    }


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--scans", type=int, default=120)
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()
    main(args.seeds, args.scans, args.steps)
