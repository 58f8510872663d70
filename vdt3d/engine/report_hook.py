"""ReportHook: what a test says of every case, with pictures of some, and the page that shows it."""

import math
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial, reduce
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import barrier, collect_results, get_rank, is_main_process
from mmengine.hooks import Hook

from vdt3d.engine.answers import kind_of, name_of, regions_of, scan_of
from vdt3d.engine.ensemble import join
from vdt3d.engine.runner import Runner
from vdt3d.evaluation.detection import FALSE, Detections, froc_report, match
from vdt3d.evaluation.detection_metric import DetectionScores
from vdt3d.evaluation.overlap import dice, label_counts
from vdt3d.registry import HOOKS
from vdt3d.structures import Volume
from vdt3d.transforms import IntensityTransform, Window
from vdt3d.transforms.base import Transform
from vdt3d.utils.files import write_aside, write_json

PAGE = "report.html"
CASES = Path("test", "cases")  # in a work directory: pictures; the numbers lie beside it, as json
FROC = Path("test", "froc.json")
EACH = 20  # cases with pictures of each sort: the worst, the best, and such as chance picks
MOST_CLASSES = 32  # of a classifier whose probabilities are kept, not only what it decided
MOST_BOXES = 20  # found boxes of a case that are drawn, the surest
AIR = -500.0  # what lies below it is air in Hounsfield units: values of other scans begin at 0 or are centred about it
PROBE = np.arange(-1100, 3101, dtype=np.float32)  # Hounsfield units


@HOOKS.register_module()
class ReportHook(Hook):
    """After a test ``report.html`` in the work directory: scores, curves, plots, and cases to scroll through.

    The numbers of every case lie in ``test/cases.json``; pictures of 60 cases at most (the 20 worst, the 20 best, by
    each case's own score, and 20 by chance, always the same) in ``test/cases``. A case's own score is its mean Dice,
    the probability of its true class, or the lowest score at which a true box is hit less the highest of a false box.

    Args:
        uncertainty: also keep how open each voxel's label is (``Inferer.assess``), as a heat map; of a model that
            labels voxels.

    Raises:
        ValueError: (on use) the model answers something else than classes, labels or boxes; ``uncertainty`` of a model
            that labels nothing.
    """

    priority = "LOWEST"

    def __init__(self, uncertainty: bool = False):
        self.uncertainty = uncertainty

    def before_test(self, runner: Runner) -> None:
        self._folder = Path(runner.work_dir) / CASES
        self._taken: list[tuple[dict[str, Any], Detections | None]] = []
        self._kept: dict[int, tuple[str, float | None]] = {}
        self._began, self._own = time.monotonic(), 0.0
        if self.uncertainty:
            inferer = getattr(runner.bare_model, "inferer", None)
            if hasattr(inferer, "uncertainty"):  # several networks are joined already
                inferer.uncertainty = True
            else:
                join([runner.bare_model], uncertainty=True)
        if is_main_process():
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.with_suffix(".json").unlink(missing_ok=True)
        barrier()

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        start = time.monotonic()
        for image, sample in zip(data_batch["inputs"], outputs, strict=True):
            self._take(runner, image, sample)
        self._own += time.monotonic() - start

    def after_test(self, runner: Runner) -> None:
        """Comes after every ``after_test_epoch``, so that the run's record holds the scores."""
        from vdt3d.engine.report import read_run  # matplotlib, which most runs do without
        from vdt3d.visualization.report import write_report

        start, dataset = time.monotonic(), runner.test_dataloader.dataset
        taken = collect_results(self._taken, len(dataset), "gpu")
        if not is_main_process() or not taken:
            return
        records = [record for record, _ in taken]
        self._add_tables(records, runner.test_loop.evaluator.metrics)
        kept = chosen({place: (record["name"], record["score"]) for place, record in enumerate(records)})
        for place, record in enumerate(records):
            record["pictures"] = record["pictures"] if place in kept else None
        self._tidy(records)
        work_dir = Path(runner.work_dir)
        if self._kind == "detection":
            rule, _ = self._rule(runner)
            write_json(work_dir / FROC, froc_report(match([detections for _, detections in taken], **rule)))
        told = {
            "kind": self._kind,
            "classes": list(dataset.metainfo.get("classes", ())),
            "test_seconds": round(start - self._began, 2),
            "report_seconds": round(self._own, 2),
            "cases": records,
        }
        write_json(self._folder.with_suffix(".json"), told)
        write_report(work_dir / PAGE, [read_run(work_dir, work_dir.name)])
        took = self._own + time.monotonic() - start
        runner.logger.info(
            f"The report is {work_dir / PAGE}; it took {took:.1f} s, the test without it "
            f"{start - self._began - self._own:.1f} s"
        )

    def _take(self, runner: Runner, image: Any, sample: Any) -> None:
        self._kind, detections = kind_of(sample), None
        if self._kind == "segmentation":
            record = _labelled(sample, self._regions(runner))
        elif self._kind == "classification":
            record = _classified(sample)
        else:
            rule, axes = self._rule(runner)
            detections = _detections(sample, axes)
            record = _detected(detections, rule)
        place = len(self._taken)
        self._taken.append(({"name": name_of(sample), **record, "pictures": None}, detections))
        asked = {**self._kept, place: (name_of(sample), record["score"])}
        kept = chosen(asked)
        for given_up in self._kept.keys() - kept:
            self._remove(self._taken[given_up][0])
        if place in kept:
            self._taken[place][0]["pictures"] = self._draw(runner, image, sample, f"{get_rank()}-{place:05d}")
        self._kept = {one: asked[one] for one in kept}

    def _draw(self, runner: Runner, image: Any, sample: Any, stem: str) -> dict[str, Any]:
        from vdt3d.visualization.report import case_sprites, label_codes  # imaging that most runs do without

        dataset = runner.test_dataloader.dataset
        scan = scan_of(image, sample)
        hounsfield = hounsfield_of(scan, sample, dataset)
        labels, heat, boxes, codes, regions = {}, None, {}, {}, {}
        if self._kind == "segmentation":
            layers = {"truth": sample.get("reference"), "prediction": sample.pred_labels}
            labels = {name: layer for name, layer in layers.items() if layer is not None}
            heat = sample.assessed.uncertainty if "assessed" in sample else None
            codes, regions = label_codes(self._regions(runner))
        elif self._kind == "detection":
            said = {"truth": sample.get("reference"), "prediction": sample.pred_boxes.chosen(slice(MOST_BOXES))}
            boxes = {name: of_kind for name, of_kind in said.items() if of_kind is not None}
        sprites = case_sprites(scan, labels, heat, boxes, codes=codes, hounsfield=hounsfield)
        self._folder.mkdir(parents=True, exist_ok=True)
        files = {}
        for name, (suffix, content) in sprites.files.items():
            files[name] = f"{stem}.{name}.{suffix}"
            write_aside(self._folder / files[name], partial(_fill, content))
        facts = {**sprites.facts, "regions": regions, "placed": "grid" in sample}
        if boxes:
            facts["scores"] = [round(float(score), 3) for score in sample.pred_scores[:MOST_BOXES]]
        return {**facts, "files": files}

    def _remove(self, record: dict[str, Any]) -> None:
        for file in record["pictures"]["files"].values():
            (self._folder / file).unlink()
        record["pictures"] = None

    def _tidy(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Remove the pictures of cases that other processes have better or worse ones than."""
        if self._folder.is_dir():
            listed = {file for record in records if record["pictures"] for file in record["pictures"]["files"].values()}
            for path in self._folder.iterdir():
                if path.name not in listed:
                    path.unlink()

    @staticmethod
    def _regions(runner: Runner) -> Mapping[str, int | Sequence[int]]:
        """What is scored by name; without a metric that says so, what the data set tells."""
        told = (getattr(metric, "labels", None) for metric in runner.test_loop.evaluator.metrics)
        return next(filter(None, told), None) or regions_of(runner.test_dataloader.dataset.metainfo)

    @staticmethod
    def _rule(runner: Runner) -> tuple[dict[str, Any], int]:
        """When a box is hit, and how many axes are compared, as the test scores it; else IoU 0.5 of three."""
        for metric in runner.test_loop.evaluator.metrics:
            if isinstance(metric, DetectionScores):
                return metric.rule, metric.dims
        return {"overlap": "iou", "threshold": 0.5}, 3

    @staticmethod
    def _add_tables(records: Iterable[dict[str, Any]], metrics: Iterable[Any]) -> None:
        """What metrics keep of single cases, beside our own numbers; which of it is infinite, JSON cannot tell."""
        tables = [metric.table for metric in metrics if getattr(metric, "table", None) is not None]
        if not tables:
            return
        table = reduce(lambda one, other: one.merge(other, on="case"), tables).set_index("case")
        rows = table.astype(float).to_dict("index")
        for record in records:
            record["scores"] = rows.get(record["name"], {})
            record["infinite"] = [name for name, value in record["scores"].items() if math.isinf(value)]


def _fill(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def chosen(cases: Mapping[int, tuple[str, float | None]], each: int = EACH) -> set[int]:
    """Of cases by place, with name and score, those whose pictures are kept: the lowest scores, the highest, and those
    whose names have the lowest digests. Asked again with one case more, it never wants back what it gave up.
    """
    scored = {place: score for place, (_, score) in cases.items() if score is not None and math.isfinite(score)}
    orders = (
        sorted(scored, key=lambda place: (scored[place], place)),
        sorted(scored, key=lambda place: (-scored[place], place)),
        sorted(cases, key=lambda place: (sha256(cases[place][0].encode()).digest(), place)),
    )
    return {place for order in orders for place in order[:each]}


def hounsfield_of(scan: Volume, sample: Any, dataset: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Values (n,) of a scan, rising, and the Hounsfield units they stand for; None of what is no CT, or not known.

    What the pipeline did to the values, it is asked to do to every Hounsfield unit; read backwards, that is the way
    back. What it clipped stays clipped.
    """
    steps = _normalisations(sample, dataset)
    modality = (dataset.metainfo.get("modality") or ("",))[0]
    probe = Volume(np.broadcast_to(PROBE, (scan.channels, 1, 1, len(PROBE))))
    for transform, drawn in steps:
        probe = transform.apply(probe, **drawn)
    given = np.asarray(probe.array[0, 0, 0])
    rising = np.flatnonzero(np.diff(given) > 0)
    if not len(rising):
        return None
    rising = np.append(rising, rising[-1] + 1)  # from the last that is clipped below to the first above
    scale = given[rising], PROBE[rising]
    is_ct = modality == "CT" or any(isinstance(step, Window) for step, _ in steps)
    has_air = not modality and np.interp(float(scan.array[0].min()), *scale) < AIR
    return scale if is_ct or has_air else None


def _normalisations(sample: Any, dataset: Any) -> list[tuple[Transform, dict[str, Any]]]:
    """What was done to the values, where that is known: by the sample, or by a pipeline that draws nothing."""
    if "history" in sample:
        return [(step, drawn) for step, drawn in sample.history if isinstance(step, IntensityTransform)]
    while hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    steps = getattr(getattr(dataset, "pipeline", None), "transforms", ())
    steps = [step for step in steps if isinstance(step, IntensityTransform)]
    return [(step, {}) for step in steps] if all(type(step).draw is Transform.draw for step in steps) else []


# ---- the numbers of a case -------------------------------------------------------------------------------------------


def _labelled(sample: Any, regions: Mapping[str, int | Sequence[int]]) -> dict[str, Any]:
    guess, truth = sample.pred_labels, sample.get("reference")
    millilitres = abs(float(np.linalg.det(guess.affine[:3, :3]))) / 1000
    guessed = np.asarray(guess.array)[0]
    true = guessed if truth is None else np.asarray(truth.array)[0]
    counts = label_counts(guessed, true, regions.values()) if regions else np.zeros((0, 3), int)
    values, labels = dice(counts), {}
    for name, (both, only_guess, only_truth), value in zip(regions, counts.tolist(), values.tolist(), strict=True):
        labels[name] = {"predicted_ml": millilitres * (both + only_guess)}
        if truth is not None:
            labels[name] |= {"truth_ml": millilitres * (both + only_truth), "dice": value}
    finite = values[np.isfinite(values)]
    score = float(finite.mean()) if truth is not None and len(finite) else None
    return {"score": score, "known": truth is not None, "labels": labels}


def _classified(sample: Any) -> dict[str, Any]:
    said = sample.pred_score.float().cpu().numpy().reshape(-1).astype(float)
    guess = int(said.argmax())
    record = {"guess": guess, "confidence": float(said[guess]), "truth": None, "score": None}
    record |= {kind: float(sample.get(kind)) for kind in ("uncertainty", "disagreement") if kind in sample}
    if len(said) <= MOST_CLASSES:
        record["probabilities"] = said.tolist()
    if "gt_label" in sample:
        truth = int(sample.gt_label)
        record |= {"truth": truth, "score": float(said[truth])}
    return {**record, "known": record["truth"] is not None}


def _detections(sample: Any, axes: int) -> Detections:
    columns = [2, 1, 5, 4] if axes == 2 else slice(None)
    said, truth = sample.pred_boxes, sample.get("reference")
    true = said.chosen(slice(0)) if truth is None else truth
    boxes = said.corners[:, columns], sample.pred_scores, true.corners[:, columns]
    return Detections(*boxes, said.labels, true.labels)


def _detected(detections: Detections, rule: Mapping[str, Any]) -> dict[str, Any]:
    matches = match([detections], **rule)
    false = matches.scores[matches.verdict == FALSE]
    lowest = float(np.where(np.isfinite(matches.best), matches.best, 0).min(initial=1))
    return {
        "known": True,
        "true": len(detections.truth),
        "found": len(detections.boxes),
        "never_hit": int(np.isneginf(matches.best).sum()),
        "lowest_hit": lowest if len(detections.truth) else None,
        "highest_false": float(false.max()) if len(false) else None,
        "score": lowest - float(false.max(initial=0)),
    }
