"""SegmentationScores: scores every case as it comes, on the scan's own grid, and sums up over all processes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric

from medseg.evaluation.report import check_suffix, save_report
from medseg.evaluation.scores import case_scores, summary
from vdt3d.evaluation.surface import Definition
from vdt3d.registry import METRICS
from vdt3d.structures import IGNORED

OF_A_LABEL = ("dice", "hd95", "nsd")  # told label by label; ``out`` holds the others too


@METRICS.register_module()
class SegmentationScores(BaseMetric):
    """Scores of label maps.

    Returned are ``dice``, ``iou``, ``volume_difference`` and, with ``surface``, ``hd95``, ``assd``, ``mssd``, ``nsd``:
    each the mean over cases of the mean over the labels a case has (in either map); ``dice_pooled`` and
    ``iou_pooled``: the mean over labels of the score of all cases' voxels counted together; ``dice_LABEL`` and, with
    ``surface``, ``hd95_LABEL`` and ``nsd_LABEL`` (blanks in a name become ``_``): means over cases;
    ``infinite_distances``: in how many a label is in one map only, which the means of distances leave out. With
    ``resamples``, ``SCORE_low`` and ``SCORE_high``.

    Args:
        labels: what is scored, by name: a label, or several that make up one region. Default: the classes of the data
            set, whose place in the list is their label; the first, 0, is the background and left out.
        surface: whether distances are computed; without, as between epochs, scoring takes a fraction of the time.
        definition: whose rules they follow: 'monai', 'medpy', 'chaos' or 'deepmind'; see ``vdt3d.evaluation.surface``.
        tolerance: of ``nsd``, in mm.
        ignore_index: voxels of the reference that bear it are left out.
        resamples: bootstrap resamples behind the 95 % intervals, of whole groups (patients) where every sample tells
            its own; 0 for none.
        seed: of the bootstrap.
        out: csv file for the scores of each case; a json file also holds the summary, and the csv lies beside it.

    Raises:
        ValueError: ``out`` is neither csv nor json; neither labels nor a data set with classes are given; a case has no
            prediction or no reference, or they lie on different grids.
    """

    default_prefix = ""

    def __init__(
        self,
        labels: Mapping[str, int | Sequence[int]] | None = None,
        surface: bool = True,
        definition: Definition = "monai",
        tolerance: float = 1.0,
        ignore_index: int | None = IGNORED,
        resamples: int = 0,
        seed: int = 0,
        out: str | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.labels, self.resamples, self.seed = labels, resamples, seed
        self.settings = dict(definition=definition, tolerance=tolerance, ignore_index=ignore_index, surface=surface)
        self.out = None if out is None else Path(out)
        if self.out is not None:
            check_suffix(self.out)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep of each case its name, its group (the patient) and its scores: numbers, no volumes."""
        for sample in data_samples:
            name = sample.get("sample_name", "")
            guess, truth = sample.get("pred_labels"), sample.get("reference")
            if guess is None or truth is None:
                missing = "prediction (pred_labels)" if guess is None else "reference (the scan's own label map)"
                raise ValueError(f"case '{name}' has no {missing}; only cases with both can be scored")
            try:
                scores = case_scores(guess, truth, self._labels(), **self.settings)
            except ValueError as error:
                raise ValueError(f"case '{name}': {error}") from error
            self.results.append((name, sample.get("group"), scores))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Sum up all cases, in the order of their names, so that the number of processes changes nothing."""
        results = sorted(results, key=lambda result: result[0])
        cases = {name: scores for name, _, scores in results}
        if len(cases) < len(results):
            raise ValueError(f"{len(results)} cases have only {len(cases)} names among them; each needs its own")
        groups = {name: group for name, group, _ in results}
        report = summary(
            cases, groups=groups if all(groups.values()) else None, resamples=self.resamples, seed=self.seed
        )
        if self.out is not None:
            for path in {self.out, self.out.with_suffix(".csv")}:
                save_report(path, {**self.settings, "cases": cases, "summary": report})
        return flat(report)

    def _labels(self) -> Mapping[str, int | Sequence[int]]:
        if self.labels is None:
            classes = (self.dataset_meta or {}).get("classes", ())
            if len(classes) < 2:
                raise ValueError(
                    f"the data set tells no classes beside the background (classes={tuple(classes)}); give "
                    "SegmentationScores labels, such as labels=dict(liver=1, tumour=2)"
                )
            self.labels = {name: label for label, name in enumerate(classes) if label > 0}
        return self.labels


def flat(report: Mapping[str, Any]) -> dict[str, float]:
    """The report of ``summary`` as one level of names; see ``SegmentationScores``."""
    mean, scores = report["mean"], {}
    for score, found in mean.items():
        if score.endswith("_pooled"):
            scores[score] = found
        else:
            scores |= {
                f"{score}_{end}".removesuffix("_mean"): found[end] for end in ("mean", "low", "high") if end in found
            }
    for score in OF_A_LABEL:
        if score in mean:
            scores |= {
                f"{score}_{label.replace(' ', '_')}": entry[score]["mean"] for label, entry in report["labels"].items()
            }
    return scores | ({"infinite_distances": mean["hd95"]["infinite"]} if "hd95" in mean else {})
