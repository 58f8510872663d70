"""How much faster the FROC curve of 5,000 images with 100 detections each is than by the textbook's loop.

All give the same numbers to the last bit. Every image has one to four true boxes of about 40 pixels; half of the
detections are true boxes moved a little, the others lie anywhere. The textbook pools the detections, sorts them by
score and walks through them one by one; it comes in two forms: it computes the overlaps of a detection with the true
boxes of its image as it meets it, or those of an image with one call beforehand, which is the fastest loop we know.
Each arm starts from the arrays of each image and ends with the curve and the sensitivities at six rates; they take
turns within one process, and the ratio is the median over the rounds.

    python benchmarks/froc.py --images 5000 --detections 100 --rounds 3
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np

from vdt3d.evaluation.detection import RATES, Detections, froc_curve, match, sensitivities

THRESHOLD = 0.5


def main() -> None:
    args = parse_args()
    images = made_up_images(args.images, args.detections)
    for arm in ARMS.values():
        arm(images[:20])  # warm up
    rounds, found = [], {}
    for _ in range(args.rounds):
        rounds.append({})
        for name, arm in ARMS.items():
            start = time.perf_counter()
            found[name] = arm(images)
            rounds[-1][name] = time.perf_counter() - start
    for name in ARMS:
        for values, expected in zip(found[name], found["ours"], strict=True):
            np.testing.assert_array_equal(values, expected)
        seconds = statistics.median(times[name] for times in rounds)
        ratio = statistics.median(times[name] / times["ours"] for times in rounds)
        print(f"{name:24} {seconds:8.3f} s   {ratio:6.1f} x ours")
        print(json.dumps({"arm": name, **vars(args), "seconds": seconds, "times_ours": ratio}))
    print("sensitivity:", dict(zip(RATES, found["ours"][2].round(4).tolist(), strict=True)))


def made_up_images(count: int, detections: int) -> list[Detections]:
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        truth = made_up_boxes(rng, int(rng.integers(1, 5)))
        near = truth[rng.integers(len(truth), size=detections // 2)]
        near = near + rng.normal(scale=8, size=near.shape)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        boxes = np.concatenate([near, made_up_boxes(rng, detections - len(near))])
        scores = rng.permutation(np.concatenate([rng.random(len(near)), rng.random(detections - len(near)) ** 2]))
        images.append(Detections(boxes, scores, truth))
    return images


def made_up_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corner = rng.uniform(0, 470, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(20, 60, (count, 2))], axis=1)


Curve = tuple[np.ndarray, np.ndarray, np.ndarray]  # false positives per image, sensitivity, sensitivity at the rates


def by_ours(images: list[Detections]) -> Curve:
    matches = match(images, threshold=THRESHOLD)
    curve = froc_curve(matches)
    return curve.false_positives, curve.sensitivity, sensitivities(matches)[0, 0]


def by_loop(images: list[Detections]) -> Curve:
    return walk(images, lambda image, number: ious(images[image].boxes[number], images[image].truth))


def by_loop_over_matrices(images: list[Detections]) -> Curve:
    matrices = [ious(image.boxes[:, None], image.truth) for image in images]
    return walk(images, lambda image, number: matrices[image][number])


def walk(images: list[Detections], overlaps_of: Callable[[int, int], np.ndarray]) -> Curve:
    """One detection after the other; the scores of these images are all different."""
    pool = [(score, i, k) for i, image in enumerate(images) for k, score in enumerate(image.scores.tolist())]
    hit = [set() for _ in images]
    boxes, hits, false = sum(len(image.truth) for image in images), 0, 0
    rates, found = [], []
    for _, image, number in sorted(pool, reverse=True):
        enough = np.flatnonzero(overlaps_of(image, number) >= THRESHOLD)
        if len(enough):
            before = len(hit[image])
            hit[image].update(enough.tolist())
            hits += len(hit[image]) - before
        else:
            false += 1
        rates.append(false / len(images))
        found.append(hits / boxes)
    at = [max((share for rate, share in zip(rates, found, strict=True) if rate <= most), default=0.0) for most in RATES]
    return np.array(rates), np.array(found), np.array(at)


def ious(box: np.ndarray, truth: np.ndarray) -> np.ndarray:
    width = np.minimum(box[..., 2], truth[:, 2]) - np.maximum(box[..., 0], truth[:, 0])
    height = np.minimum(box[..., 3], truth[:, 3]) - np.maximum(box[..., 1], truth[:, 1])
    both = np.maximum(width, 0) * np.maximum(height, 0)
    own = (box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1])
    return both / (own + (truth[:, 2] - truth[:, 0]) * (truth[:, 3] - truth[:, 1]) - both)


ARMS = {"ours": by_ours, "loop": by_loop, "loop, overlaps before": by_loop_over_matrices}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=100, help="of each image")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
