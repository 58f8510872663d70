"""Metrics of label maps: every case is scored as it comes, on the scan's own grid, and summed up over all processes."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mmengine.evaluator import BaseMetric

from medseg.evaluation.report import case_table, check_suffix, save_report
from medseg.evaluation.scores import case_scores, check_subsets, summary, tolerance_of
from vdt3d.evaluation.intervals import codes, units
from vdt3d.evaluation.surface import Definition
from vdt3d.registry import METRICS
from vdt3d.structures import IGNORED, LabelMap

OF_A_LABEL = ("dice", "hd95", "nsd")  # told label by label; ``out`` holds the others too
Scores = dict[str, dict[str, float]]  # of one case: label, score to number


class CaseMetric(BaseMetric):
    """What metrics of label maps share; a subclass says how a case is scored and what the cases come to.

    Args:
        labels: what is scored, by name: a label, or several that make up one region. Default: the regions of the data
            set, where its classes overlap; else its classes, whose place in the list is their label, but the first, 0,
            which is the background.
        out: csv file for the scores of each case; a json file also holds the summary and, as ``groups``, a code for the
            patient of each case; the csv lies beside it.

    Attributes:
        settings: how it is scored, for the json file.
        table: of the last evaluation a row per case (``case_table``), in the process that summed up; before it, None.
        absent: text that names the labels that no case of the last evaluation has in either map, whose scores are nan;
            '' for none.

    Raises:
        ValueError: ``out`` is neither csv nor json; neither labels nor a data set with classes are given; a case has no
            prediction or no reference, or they lie on different grids.
    """

    default_prefix = ""

    def __init__(self, labels: Mapping[str, int | Sequence[int]] | None = None, *, out: str | None = None, **kwargs):
        super().__init__(**kwargs)
        self.labels = labels
        self.settings: dict[str, Any] = {}
        self.table: pd.DataFrame | None = None
        self.absent = ""
        self.out = None if out is None else Path(out)
        if self.out is not None:
            check_suffix(self.out)

    def score(self, guess: LabelMap, truth: LabelMap, labels: Mapping[str, int | Sequence[int]]) -> Scores:
        """The scores of one case."""
        raise NotImplementedError

    def sum_up(self, cases: Mapping[str, Scores], groups: Mapping[str, str] | None) -> tuple[Mapping, dict[str, float]]:
        """What the cases come to: as it stands in the json file, and as one level of names.

        Args:
            cases: by name, in the order of their names.
            groups: what is resampled as one (the patient), by the name of the case; None where no patient is known.
        """
        raise NotImplementedError

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep of each case its name, its group (the patient) and its scores: numbers, no volumes."""
        for sample in data_samples:
            name = sample.get("sample_name", "")
            guess, truth = sample.get("pred_labels"), sample.get("reference")
            if guess is None or truth is None:
                missing = "prediction (pred_labels)" if guess is None else "reference (the scan's own label map)"
                raise ValueError(f"case '{name}' has no {missing}; only cases with both can be scored")
            try:
                scores = self.score(guess, truth, self._labels())
            except ValueError as error:
                raise ValueError(f"case '{name}': {error}") from error
            self.results.append((name, sample.get("group"), scores))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Sum up all cases, in the order of their names, so that the number of processes changes nothing."""
        results = sorted(results, key=lambda result: result[0])
        cases = {name: scores for name, _, scores in results}
        if len(cases) < len(results):
            raise ValueError(f"{len(results)} cases have only {len(cases)} names among them; each needs its own")
        groups = [group for _, group, _ in results]
        drawn_as_one = units(list(cases), groups)
        report, scores = self.sum_up(cases, drawn_as_one and dict(zip(cases, drawn_as_one, strict=True)))
        self.table = case_table(cases)
        self.absent = _absent(cases)
        if self.out is not None:
            for path in {self.out, self.out.with_suffix(".csv")}:
                known = dict(zip(cases, codes(list(cases), groups), strict=True))
                save_report(path, {**self.settings, "cases": cases, "groups": known, "summary": report})
        return scores

    def score_names(self, classes: int | None) -> list[str]:
        """Return the names of the scores, before any case is seen.

        Args:
            classes: not used; the labels are those of the data set or of the settings.

        Raises:
            ValueError: as ``CaseMetric`` for missing or unknown labels.
        """
        labels = self._labels()
        numbers = np.unique(np.concatenate([np.atleast_1d(region) for region in labels.values()]))
        example = LabelMap(np.asarray(numbers, np.int32).reshape(1, 1, 1, -1))  # a voxel of each label
        _, scores = self.sum_up({"": self.score(example, example, labels)}, None)
        return list(scores)

    def _labels(self) -> Mapping[str, int | Sequence[int]]:
        if self.labels is None:
            known = self.dataset_meta or {}
            classes = known.get("classes", ())
            if len(classes) < 2:
                raise ValueError(
                    f"the data set tells no classes beside the background (classes={tuple(classes)}); give "
                    f"{type(self).__name__} labels, such as labels=dict(liver=1, tumour=2)"
                )
            self.labels = known.get("regions") or {name: label for label, name in enumerate(classes) if label > 0}
        return self.labels


@METRICS.register_module()
class SegmentationScores(CaseMetric):
    """Scores of label maps.

    Returned are ``dice``, ``iou``, ``volume_difference`` and, with ``surface``, ``hd95``, ``assd``, ``mssd``, ``nsd``:
    each the mean over cases of the mean over the labels a case has (in either map); ``dice_pooled`` and
    ``iou_pooled``: the mean over labels of the score of all cases' voxels counted together; ``dice_LABEL`` and, with
    ``surface``, ``hd95_LABEL`` and ``nsd_LABEL`` (blanks in a name become ``_``): means over cases;
    ``infinite_distances``: in how many a label is in one map only, which the means of distances leave out; and of each
    subset ``dice_SUBSET`` and ``dice_SUBSET_pooled``, which are to its labels what ``dice`` and ``dice_pooled`` are to
    all. With ``resamples``, ``SCORE_low`` and ``SCORE_high``.

    Args:
        labels: as ``CaseMetric``'s.
        subsets: some of the labels, by name, as ``{"8_organs": ["liver", ...]}``.
        surface: whether distances are computed; without, as between epochs, scoring takes a fraction of the time.
        definition: whose rules they follow: 'monai', 'medpy', 'chaos', 'lits' or 'deepmind'; see
            ``vdt3d.evaluation.surface``.
        tolerance: of ``nsd``, in mm: one for all labels, or one for each by name.
        ignore_index: voxels of the reference that bear it are left out.
        resamples: bootstrap resamples behind the 95 % intervals, of whole groups (patients) where every sample tells
            its own; 0 for none.
        seed: of the bootstrap.
        out: as ``CaseMetric``'s.

    Raises:
        ValueError: as ``CaseMetric``, or a subset names what is no label.
    """

    directions = {
        **dict.fromkeys(("dice*", "iou*", "nsd*"), "greater"),
        **dict.fromkeys(("hd95*", "assd*", "mssd*", "infinite_distances"), "less"),
        "volume_difference*": None,
    }

    def __init__(
        self,
        labels: Mapping[str, int | Sequence[int]] | None = None,
        subsets: Mapping[str, Sequence[str]] | None = None,
        surface: bool = True,
        definition: Definition = "monai",
        tolerance: float | Mapping[str, float] = 1.0,
        ignore_index: int | None = IGNORED,
        resamples: int = 0,
        seed: int = 0,
        out: str | None = None,
        **kwargs,
    ):
        super().__init__(labels, out=out, **kwargs)
        self.subsets, self.resamples, self.seed = dict(subsets or {}), resamples, seed
        self.settings = dict(definition=definition, tolerance=tolerance, ignore_index=ignore_index, surface=surface)

    def score(self, guess: LabelMap, truth: LabelMap, labels: Mapping[str, int | Sequence[int]]) -> Scores:
        return case_scores(guess, truth, labels, **self.settings)

    def sum_up(self, cases: Mapping[str, Scores], groups: Mapping[str, str] | None) -> tuple[Mapping, dict[str, float]]:
        report = summary(cases, subsets=self.subsets, groups=groups, resamples=self.resamples, seed=self.seed)
        return report, flat(report)

    def _labels(self) -> Mapping[str, int | Sequence[int]]:
        labels = super()._labels()
        check_subsets(self.subsets, labels)  # at the first case, not after the last
        tolerance_of(labels, self.settings["tolerance"])
        return labels


def _absent(cases: Mapping[str, Scores]) -> str:
    """Return a text that names the labels that no case has in either map; '' for none."""
    labels = {label: [case[label] for case in cases.values()] for label in next(iter(cases.values()))}
    missing = [f"'{label}'" for label, scores in labels.items() if all(map(_is_empty, scores))]
    return f"no case with label {', '.join(missing)}" if missing else ""


def _is_empty(scores: Mapping[str, float]) -> bool:
    """Return whether the Dice of a case and label is nan: neither map has the label."""
    return any(name.startswith("dice") and math.isnan(value) for name, value in scores.items())


def flat(report: Mapping[str, Any]) -> dict[str, float]:
    """The report of ``summary`` as one level of names; see ``SegmentationScores``."""
    mean, scores = report["mean"], {}
    for score, found in mean.items():
        if score.endswith("_pooled"):
            scores[score] = found
        else:
            scores |= _ends(score, found)
    for score in OF_A_LABEL:
        if score in mean:
            scores |= {
                f"{score}_{label.replace(' ', '_')}": entry[score]["mean"] for label, entry in report["labels"].items()
            }
    for subset, entry in report.get("subsets", {}).items():
        name = f"dice_{subset.replace(' ', '_')}"
        scores |= _ends(name, entry["dice"]) | {f"{name}_pooled": entry["dice_pooled"]}
    return scores | ({"infinite_distances": mean["hd95"]["infinite"]} if "hd95" in mean else {})


def _ends(score: str, found: Mapping[str, float]) -> dict[str, float]:
    """The mean under the name of the score and, where there are any, the ends of its interval."""
    return {f"{score}_{end}".removesuffix("_mean"): found[end] for end in ("mean", "low", "high") if end in found}
