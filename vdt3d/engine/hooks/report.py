"""ReportHook: what a test says of every case, with pictures of some, and the page that shows it."""

import math
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial, reduce
from hashlib import sha256
from pathlib import Path
from typing import Any

from mmengine.dist import barrier, collect_results, get_rank, is_main_process
from mmengine.hooks import Hook

from vdt3d.engine.answers import kind_of, name_of, regions_of, scan_of
from vdt3d.engine.case_records import CASES, FROC, classified, detected, detections_of, labelled
from vdt3d.engine.ensemble import join
from vdt3d.engine.hounsfield import hounsfield_of
from vdt3d.engine.runner import Runner
from vdt3d.evaluation.detection import Detections, froc_report, match
from vdt3d.evaluation.detection_metric import DetectionScores
from vdt3d.registry import HOOKS
from vdt3d.utils.files import write_aside, write_json

PAGE = "report.html"
EACH = 20  # cases with pictures of each sort: the worst, the best, and such as chance picks
MOST_BOXES = 20  # found boxes of a case that are drawn, the surest


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
            record = labelled(sample, self._regions(runner))
        elif self._kind == "classification":
            record = classified(sample)
        else:
            rule, axes = self._rule(runner)
            detections = detections_of(sample, axes)
            record = detected(detections, rule)
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
