"""ClassificationScores: gathers what a classifier said of every case, over all processes, and scores it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from mmengine.evaluator import BaseMetric

from vdt3d.evaluation.classification import score_report, youden_threshold
from vdt3d.evaluation.intervals import codes, units
from vdt3d.registry import METRICS
from vdt3d.utils.files import write_aside

UNSURE = ("uncertainty", "disagreement")  # what a sample may tell of its answer


@METRICS.register_module()
class ClassificationScores(BaseMetric):
    """Scores at 0.5 and, for two classes, at a threshold that no test case had a say in.

    Args:
        threshold: ``None``: 0.5 only. ``'choose'`` (for validation): report Youden's threshold of these cases as
            ``threshold``. ``'val'`` (for testing): also score at the threshold the validation split chose, which the
            runner puts in place of the word before the test. A number: also score there.
        resamples: bootstrap resamples behind the 95 % intervals; 0 for none.
        seed: of the bootstrap.
        out: csv file for what was said of each case: name, truth, p0, p1, ..., ``group`` (a code for its patient) and,
            where several networks or views answered, ``uncertainty`` and ``disagreement``
            (``vdt3d.inference.CaseInferer``).

    Attributes:
        absent: text that names the classes without a case in the last evaluation, for which scores are nan; '' for
            none.

    Raises:
        ValueError: the threshold is none of these; a case has no truth or no scores; scores that are no probabilities.
    """

    default_prefix = ""
    directions = {
        "log_loss*": "less",
        "fp*": "less",
        "fn*": "less",
        "threshold": None,
        **dict.fromkeys(
            ("auc*", "accuracy*", "balanced_accuracy*", "sensitivity*", "specificity*", "precision*", "f1*"), "greater"
        ),
        **dict.fromkeys(("tp*", "tn*"), "greater"),
    }

    def __init__(
        self,
        threshold: float | Literal["choose", "val"] | None = None,
        resamples: int = 0,
        seed: int = 0,
        out: str | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not (threshold in (None, "choose", "val") or (isinstance(threshold, int | float) and 0 <= threshold <= 1)):
            of_one_class = "; validation cases of one class tell none" if threshold != threshold else ""  # nan
            raise ValueError(
                f"threshold must be None, 'choose', 'val' or a number in 0..1, got {threshold!r}{of_one_class}"
            )
        self.threshold, self.resamples, self.seed, self.out = threshold, resamples, seed, out
        self.absent = ""

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep of each case its name, truth, probabilities and, where the sample tells, its group (the patient)."""
        if self.threshold == "val":
            raise ValueError("threshold='val' wants a runner that validates first; without one, give a number")
        for sample in data_samples:
            name = sample.get("sample_name") or sample.get("img_path", "")
            if "gt_label" not in sample or "pred_score" not in sample:
                raise ValueError(f"case '{name}': wanted gt_label and pred_score, got {sorted(sample)}")
            probabilities = sample["pred_score"].float().cpu().numpy()
            unsure = {kind: sample[kind] for kind in UNSURE if kind in sample}
            self.results.append((name, int(sample["gt_label"]), probabilities, sample.get("group"), unsure))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Score all cases, in the order of their names, so that the number of processes changes nothing."""
        results = sorted(results, key=lambda result: (*result[:2], result[2].tolist()))
        names, truth, probabilities, groups, unsure = zip(*results, strict=True)
        truth, probabilities = np.array(truth), np.stack(probabilities).astype(float)
        self.absent = self._absent(truth, probabilities.shape[1])
        drawn_as_one = units(names, groups)
        scores = score_report(
            probabilities,
            truth,
            threshold=None if self.threshold == "choose" else self.threshold,
            resamples=self.resamples,
            seed=self.seed,
            groups=None if drawn_as_one is None else np.array(drawn_as_one),
        )
        if self.threshold == "choose":
            if probabilities.shape[1] != 2:
                raise ValueError(f"threshold='choose' wants two classes, not {probabilities.shape[1]}; leave it out")
            scores["threshold"] = youden_threshold(probabilities[:, 1], truth)
        if self.out:
            more = pd.DataFrame({"group": codes(names, groups)}).join(pd.DataFrame(unsure))
            save_predictions(self.out, names, truth, probabilities, more=more)
        return scores

    def _absent(self, truth: np.ndarray, classes: int) -> str:
        """Return a text that names the classes without a case; '' for none."""
        known = (self.dataset_meta or {}).get("classes") or ()
        missing = sorted({*range(classes)} - {*truth.tolist()})
        names = (f"'{known[number]}'" if number < len(known) else str(number) for number in missing)
        return f"no case of class {', '.join(names)}" if missing else ""

    def score_names(self, classes: int | None) -> list[str] | None:
        """Return the names of the scores for so many classes, before any case is seen; None if that is not known.

        Raises:
            ValueError: a threshold for more than two classes.
        """
        if classes is None or classes < 2:
            return None
        if self.threshold is not None and classes > 2:
            raise ValueError(f"threshold={self.threshold!r} needs two classes, and there are {classes}; leave it out")
        fixed = 0.5 if self.threshold == "val" else self.threshold
        example = score_report(
            np.eye(classes),
            np.arange(classes),
            threshold=None if fixed == "choose" else fixed,
            resamples=min(self.resamples, 1),
        )
        return [*example, "threshold"] if self.threshold == "choose" else list(example)


def save_predictions(
    path: str | Path,
    names: Sequence[str],
    truth: np.ndarray,
    probabilities: np.ndarray,
    *,
    more: pd.DataFrame | None = None,
) -> None:
    """Write one line per case: name, truth, p0, p1, ... and the columns of ``more``."""
    table = pd.DataFrame(probabilities, columns=[f"p{c}" for c in range(probabilities.shape[1])])
    table.insert(0, "name", names)
    table.insert(1, "truth", truth)
    table = pd.concat([table, more], axis=1)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, lambda aside: table.to_csv(aside, index=False))
