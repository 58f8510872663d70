"""What FasterRCNN3D adds to torchvision's own FasterRCNN with the same backbone, weights and numbers, turn by turn.

Windows of three slices, which to torchvision are colours. A turn is a training step of each, from the samples to the
updated weights, and a prediction of each, from the samples to boxes on the scan. Prints one line of json; the ratios
are medians of ours over torchvision's (the aim: at most 1.05).
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

import vdt3d.models  # noqa: F401
from vdt3d.models import FasterRCNN3D
from vdt3d.models.detectors.faster_rcnn import POOLING, ROI, RPN
from vdt3d.registry import MODELS
from vdt3d.structures import DetectionSample, affine_from_spacing

MEAN, STD = 120.0, 58.0


class Pyramid(nn.Module):
    """The backbone and the neck of a detector of ours, as torchvision asks for them."""

    def __init__(self, detector: FasterRCNN3D):
        super().__init__()
        self.backbone, self.neck, self.out_channels = detector.backbone, detector.neck, detector.fpn_channels

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        return self.neck({str(level): features for level, features in enumerate(self.backbone(pictures))})


def ours(network: str) -> FasterRCNN3D:
    """With all defaults."""
    backbone = dict(type="PictureEncoder", model=f"torchvision.{network}", out_indices=(1, 2, 3, 4))
    model = dict(type="FasterRCNN3D", backbone=backbone, window=dict(slices=3))
    return MODELS.build(model | dict(data_preprocessor=dict(mean=MEAN, std=STD, pad_to=32)))


def theirs(detector: FasterRCNN3D, side: int) -> FasterRCNN:
    """torchvision's, with the weights of ``detector`` and its numbers."""
    sizes = tuple((4 * stride,) for stride in detector.strides)
    numbers = {f"rpn_{name}": value for name, value in RPN.items() if not isinstance(value, dict)}
    for name in ("pre_nms_top_n", "post_nms_top_n"):
        numbers |= {f"rpn_{name}_train": RPN[name]["training"], f"rpn_{name}_test": RPN[name]["testing"]}
    numbers |= {f"box_{name}": value for name, value in ROI.items() if name not in ("beta", "bbox_reg_weights")}
    model = FasterRCNN(
        Pyramid(detector),
        num_classes=2,
        min_size=side,
        max_size=side,
        image_mean=[MEAN] * 3,
        image_std=[STD] * 3,
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], **POOLING),
        bbox_reg_weights=ROI["bbox_reg_weights"],
        **numbers,
    )
    for part in ("rpn", "roi_heads"):
        getattr(model, part).load_state_dict(getattr(detector, part).state_dict())
    return model


def samples(batch: int, side: int) -> dict[str, list]:
    """Windows of noise with two boxes each, as a data loader collects them."""
    found = {"inputs": [], "data_samples": []}
    for number in range(batch):
        grid = ((3, side, side), affine_from_spacing((2.5, 0.8, 0.8)))
        sample = DetectionSample(metainfo={"sample_name": f"{number}", "grid": grid, "reference": None})
        sample.gt_boxes = torch.tensor([[20.0, 30, 44, 60], [70, 80, 86, 100]])
        sample.gt_labels = torch.zeros(2, dtype=torch.int64)
        found["inputs"].append(MEAN + STD * torch.randn(1, 3, side, side))
        found["data_samples"].append(sample)
    return found


def step_of(model: nn.Module, losses: Callable[[], dict[str, Tensor]]) -> Callable[[], None]:
    """A training step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def step() -> None:
        loss = sum(losses().values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def seconds(work: Callable[[], object], turn: int) -> float:
    """How long it takes, with the chance of this turn."""
    torch.manual_seed(turn)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="resnet18", help="of torchvision")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--size", type=int, default=256, help="pixels along a side")
    parser.add_argument("--turns", type=int, default=10)
    args = parser.parse_args()
    torch.manual_seed(0)
    own = ours(args.network)
    other = theirs(own, args.size)
    data = samples(args.batch_size, args.size)
    pictures = [window[0] for window in data["inputs"]]
    targets = [{"boxes": sample.gt_boxes, "labels": sample.gt_labels + 1} for sample in data["data_samples"]]
    arms = {  # predictions first, while both have the same weights and so the same proposals
        "prediction": (lambda: own(**own.data_preprocessor(data), mode="predict"), lambda: other(pictures)),
        "step": (
            step_of(own, lambda: own(**own.data_preprocessor(data, True), mode="loss")),
            step_of(other, lambda: other(pictures, targets)),
        ),
    }
    result = {}
    for name, pair in arms.items():
        own.train(name == "step")
        other.train(name == "step")
        with torch.set_grad_enabled(name == "step"):
            # The one that begins takes turns too: caches are warm for the second.
            times = [
                [seconds(work, turn) for work in (pair if turn % 2 else pair[::-1])][:: 1 if turn % 2 else -1]
                for turn in range(args.turns + 1)
            ][1:]
        mine, plain = (statistics.median(column) for column in zip(*times, strict=True))
        result |= {f"{name}_ratio": round(mine / plain, 3), f"{name}_s": round(mine, 4)}
        result[f"{name}_plain_s"] = round(plain, 4)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
