"""DetectionScores: gathers what a detector said of every image, over all processes, and scores it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mmengine.evaluator import BaseMetric

from vdt3d.evaluation.detection import (
    LEFT_OUT,
    Detections,
    Matches,
    check_rule,
    coco_scores,
    froc_report,
    match,
)
from vdt3d.evaluation.intervals import units
from vdt3d.registry import METRICS
from vdt3d.structures import Boxes, Overlap
from vdt3d.utils.files import write_aside, write_json

COLUMNS = {2: ("x1", "y1", "x2", "y2"), 3: ("d1", "h1", "w1", "d2", "h2", "w2")}
OF_PARTS = "sensitivity_4"  # what is returned of each type and size, as papers print it; ``out`` holds the others too


@dataclass(frozen=True, eq=False)
class _Image:
    """What is kept of one image: numbers, no pixels."""

    name: str
    group: str | None
    detections: Detections
    types: list[str]  # of the true boxes; "" where not known
    diameters: list[float]  # mm; nan where not known


@METRICS.register_module()
class DetectionScores(BaseMetric):
    """FROC and COCO's average precision of boxes; see ``vdt3d.evaluation.detection`` for the rules.

    Returned are ``sensitivity_0.5``, ``_1``, ``_2``, ``_4``, ``_8`` and ``_16``, at that many false positives per
    image; ``froc``, their mean; ``froc_to_4``, the mean of the first four; ``froc_luna16``, the mean sensitivity at
    1/8, 1/4, 1/2, 1, 2, 4 and 8; with ``dims=2`` COCO's ``map`` and ``ap50``, at IoU whatever ``overlap`` is;
    ``sensitivity_4_type_TYPE`` for each "type" among the facts of the true boxes, and by their "diameter_mm"
    ``sensitivity_4_below_10_mm``, ``_10_to_30_mm`` and ``_above_30_mm``. With ``resamples``, ``NAME_low`` and
    ``NAME_high`` of all but COCO's.

    Args:
        overlap: 'iou', 'iobb', 'iom', 'iou_plus_1' (DeepLesion's published code) or 'centre' (LUNA16, for which any
            ``threshold`` does); see ``vdt3d.structures.box_overlap``.
        threshold: from which overlap on a box is hit.
        dims: 2: height and width, of boxes in one slice, the answered one of a window. 3: depth too.
        leave_out_noisy: true boxes whose fact "noisy" is true count neither as hit nor as missed, nor what overlaps
            them as false.
        resamples: bootstrap resamples behind the 95 % intervals, of whole groups (patients) where every sample tells
            its own; 0 for none.
        seed: of the bootstrap.
        out: json file for all of it, with the scores of every part and the curve that ``froc_curves`` draws; the csv
            beside it has a row for each detection: image, box, label, score, and whether it hits (1), is false (0) or
            overlaps only boxes that are left out (empty).

    Attributes:
        absent: 'no true box' where the last evaluation had none and its scores are nan; else ''.

    Raises:
        ValueError: a setting is none of these; an image has no prediction or no reference, both lie on different grids,
            or (with ``dims=2``) boxes in different slices; two images have the same name.
    """

    default_prefix = ""
    directions = dict.fromkeys(("sensitivity_*", "froc*", "map", "ap50"), "greater")

    def __init__(
        self,
        overlap: Overlap = "iou",
        threshold: float = 0.5,
        dims: int = 2,
        leave_out_noisy: bool = False,
        resamples: int = 0,
        seed: int = 0,
        out: str | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_rule(overlap, threshold)
        if dims not in COLUMNS:
            raise ValueError(f"boxes are scored in 2 or 3 dimensions, not dims={dims!r}")
        self.rule = dict(overlap=overlap, threshold=threshold)
        self.dims, self.leave_out_noisy = dims, leave_out_noisy
        self.resamples, self.seed, self.absent = resamples, seed, ""
        self.out = None if out is None else Path(out)
        if self.out is not None and self.out.suffix != ".json":
            raise ValueError(f"{out}: wanted a file name that ends in .json; the csv is written beside it")

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep of each image its name, its group (the patient), both kinds of boxes, scores and facts."""
        for sample in data_samples:
            name = sample.get("sample_name", "")
            said, truth = sample.get("pred_boxes"), sample.get("reference")
            if not isinstance(said, Boxes) or not isinstance(truth, Boxes) or "pred_scores" not in sample:
                raise ValueError(
                    f"image '{name}': wanted Boxes as pred_boxes and as reference (the true ones), and pred_scores; "
                    f"got {type(said).__name__}, {type(truth).__name__} and {sorted(sample)}"
                )
            if not np.allclose(said.affine, truth.affine, atol=1e-3):
                raise ValueError(
                    f"image '{name}': the predicted boxes lie on another grid than the true ones; put them there by "
                    "Boxes.on(affine)"
                )
            try:
                self.results.append(self._kept(name, sample.get("group"), said, sample["pred_scores"], truth))
            except ValueError as error:
                raise ValueError(f"image '{name}': {error}") from error

    def compute_metrics(self, results: list[_Image]) -> dict[str, float]:
        """Score all images, in the order of their names, so that the number of processes changes nothing."""
        images = sorted(results, key=lambda image: image.name)
        names = [image.name for image in images]
        if len(set(names)) < len(names):
            raise ValueError(f"{len(names)} images have only {len(set(names))} names among them; each needs its own")
        groups = units(names, [image.group for image in images])
        detections = [image.detections for image in images]
        matches = match(detections, **self.rule)
        report = froc_report(
            matches,
            parts=_parts(images),
            resamples=self.resamples,
            seed=self.seed,
            groups=None if groups is None else np.array(groups),
        )
        self.absent = "" if report["boxes"] else "no true box"
        if self.dims == 2:
            report["scores"] |= coco_scores(detections)
        if self.out is not None:
            self._save(report, images, matches)
        return report["scores"] | _of_parts(report["parts"])

    def score_names(self, classes: int | None) -> list[str]:
        """Return the names of the scores, before any image is seen; ``*`` stands for any letters.

        Args:
            classes: not used.
        """
        example = Detections(*(np.ones(shape) for shape in ((1, 4), (1,), (1, 4))))
        names = list(froc_report(match([example], **self.rule), resamples=min(self.resamples, 1))["scores"])
        return [*names, *(("map", "ap50") if self.dims == 2 else ()), f"{OF_PARTS}_*"]

    def _kept(self, name: str, group: str | None, said: Boxes, scores: np.ndarray, truth: Boxes) -> _Image:
        if self.dims == 2:
            _check_slice(np.concatenate([said.corners, truth.corners]))
        columns = [2, 1, 5, 4] if self.dims == 2 else slice(None)
        noisy = truth.facts.get("noisy") if self.leave_out_noisy else None
        boxes = (said.corners[:, columns], scores, truth.corners[:, columns])
        detections = Detections(*boxes, said.labels, truth.labels, noisy)
        types, diameters = truth.facts.get("type"), truth.facts.get("diameter_mm")
        return _Image(
            name,
            group,
            detections,
            [""] * len(truth) if types is None else [str(kind) for kind in types],
            [float("nan")] * len(truth) if diameters is None else [float(length) for length in diameters],
        )

    def _save(self, report: Mapping[str, Any], images: Sequence[_Image], matches: Matches) -> None:
        boxes = np.concatenate([image.detections.boxes for image in images])
        names = np.array([image.name for image in images], object)
        table = pd.DataFrame(boxes, columns=COLUMNS[self.dims])
        table.insert(0, "image", names[matches.image_of])
        table["label"] = np.concatenate([image.detections.labels for image in images])
        table["score"] = matches.scores
        table["hit"] = pd.Series(matches.verdict).mask(matches.verdict == LEFT_OUT).astype("Int8")
        write_json(self.out, {**self.rule, "dims": self.dims, "leave_out_noisy": self.leave_out_noisy, **report})
        write_aside(self.out.with_suffix(".csv"), lambda aside: table.to_csv(aside, index=False))


def _check_slice(corners: np.ndarray) -> None:
    """Raise ValueError unless one slice is in all boxes: what else says that height and width can be compared?"""
    begin, end = corners[:, 0].max(initial=-np.inf), corners[:, 3].min(initial=np.inf)
    if begin >= end:
        raise ValueError(
            f"no slice is in all boxes (one begins at {begin:g}, one ends at {end:g}), so their height and width "
            "cannot be compared; dims=3 scores boxes of a volume"
        )


def _parts(images: Sequence[_Image]) -> dict[str, np.ndarray]:
    """Masks of the true boxes of each type and size there is."""
    types = np.array([kind for image in images for kind in image.types], object)
    diameters = np.array([length for image in images for length in image.diameters])
    parts = {f"type_{kind.replace(' ', '_')}": types == kind for kind in sorted({*types} - {""})}
    sizes = {
        "below_10_mm": diameters < 10,
        "10_to_30_mm": (diameters >= 10) & (diameters <= 30),
        "above_30_mm": diameters > 30,
    }
    return parts | {name: mask for name, mask in sizes.items() if mask.any()}


def _of_parts(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    ends = ("", "_low", "_high")
    return {
        f"{OF_PARTS}_{name}{end}": part["scores"][f"{OF_PARTS}{end}"]
        for name, part in parts.items()
        for end in ends
        if f"{OF_PARTS}{end}" in part["scores"]
    }
