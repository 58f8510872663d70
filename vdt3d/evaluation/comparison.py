"""Comparisons of training arms, as pure functions: paired tests over the cases, and the labels that each arm needs.

A result is the record of one run: ``arm``, ``fraction`` and ``labels`` (the share and the number of the training cases
it saw), ``seed``, ``steps``, ``seconds_per_step``, ``parameters``, ``test`` (its test scores by name) and ``cases``:
columns ``name`` and ``score`` (one number a case, None where it has none), or ``name``, ``truth`` and the probabilities
``p0``, ``p1``, ... (of two classes ``p1`` alone), and ``group``, a code for the patient (without it each case is one of
its own).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

from vdt3d.evaluation.classification import classification_scores
from vdt3d.evaluation.intervals import bootstrap_weights, interval

REFERENCE = "scratch"
RESAMPLES = 2000
SEEDS = 2  # fewer have no p-value: nothing would be known of the chance in training


class Paired(NamedTuple):
    """A mean difference, its 95 % bootstrap interval over patients, and a p-value (nan where there is none)."""

    difference: float
    low: float
    high: float
    p: float


def paired_test(
    ours: Sequence[Mapping[str, list]],
    theirs: Sequence[Mapping[str, list]],
    score: str,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Paired:
    """How much better one arm does than another on the same cases, seeds averaged.

    Patients (``group``; cases without a group) are bootstrapped. Of scores case by case: the mean difference, and the
    two-sided p of Wilcoxon's signed-rank test (1945) over each patient's mean difference, nan for a single seed, whose
    chance it would not cover; a case that has no score in some run is left out. Of probabilities: the difference of
    ``score`` (a name of ``classification_scores``), of both arms on the same resampled cases; no p.

    Args:
        ours: the ``cases`` of the arm's runs, one for each seed.
        theirs: those of the other arm.

    Raises:
        ValueError: two runs were tested on different cases.
    """
    first = ours[0]
    for cases in (*ours, *theirs):
        if any(cases.get(column) != first.get(column) for column in ("name", "truth")):
            raise ValueError("the runs were tested on different cases, or with other truths, and cannot be paired")
    groups = next((cases["group"] for cases in (*ours, *theirs) if "group" in cases), range(len(first["name"])))
    groups = pd.factorize(np.asarray(groups))[0]
    if "truth" in first:
        return _of_probabilities(ours, theirs, score, resamples, seed, groups)
    means = [np.mean([np.array(cases["score"], float) for cases in runs], axis=0) for runs in (ours, theirs)]
    difference = means[0] - means[1]
    known = ~np.isnan(difference)
    difference, groups = difference[known], groups[known]
    if not len(difference):
        return Paired(*[float("nan")] * 4)
    weights_of = bootstrap_weights(len(difference), resamples, seed, groups)
    draws = [weights @ difference / weights.sum(1) for weights in weights_of]
    p = _signed_rank(difference, groups) if min(len(ours), len(theirs)) >= SEEDS else float("nan")
    return Paired(float(difference.mean()), *interval(np.concatenate([np.empty(0), *draws])), p)


def _signed_rank(difference: np.ndarray, groups: np.ndarray) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test over the mean difference of each group."""
    of_groups = pd.Series(difference).groupby(groups).mean()
    return float(wilcoxon(of_groups).pvalue) if of_groups.any() else 1.0


def _of_probabilities(
    ours: Sequence, theirs: Sequence, score: str, resamples: int, seed: int, groups: np.ndarray
) -> Paired:
    truth = np.array(ours[0]["truth"])
    arms = [[probabilities(cases) for cases in runs] for runs in (ours, theirs)]

    def difference(weights: np.ndarray | None) -> np.ndarray:
        one, other = (
            np.mean([classification_scores(said, truth, weights=weights)[score] for said in arm], axis=0)
            for arm in arms
        )
        return one - other

    draws = [difference(weights) for weights in bootstrap_weights(len(truth), resamples, seed, groups)]
    return Paired(difference(None).item(), *interval(np.concatenate([np.empty(0), *draws])), float("nan"))


def probabilities(cases: Mapping[str, list]) -> np.ndarray:
    """(n, k) probabilities of the columns ``p0``, ``p1``, ...; ``p1`` alone tells both of two classes."""
    columns = [cases[name] for name in cases if name[0] == "p" and name[1:].isdigit()]
    if len(columns) == 1:
        columns.insert(0, [1 - p for p in columns[0]])
    return np.array(columns).T


def labels_needed(fractions: Sequence[float], scores: Sequence[float], target: float) -> float:
    """The least share of the labels at which ``scores`` reach ``target``, straight lines drawn over the log of shares.

    Args:
        fractions: in 0..1, in any order; the smallest is returned where it suffices, whatever fewer would do.
        scores: at each of them, higher is better.

    Returns:
        A share, or nan where no score reaches the target.
    """
    order = np.argsort(fractions)
    shares, values = np.array(fractions, float)[order], np.array(scores, float)[order]
    reached = np.flatnonzero(values >= target)
    if not len(reached):
        return float("nan")
    at = reached[0]
    if at == 0:
        return float(shares[0])
    way = (target - values[at - 1]) / (values[at] - values[at - 1])
    return float(shares[at - 1] * (shares[at] / shares[at - 1]) ** way)


def comparison_table(
    results: Sequence[Mapping[str, Any]], score: str, *, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """A row for each arm and share of the labels, arms in the order of ``results``.

    Columns: ``arm, fraction, labels``; ``runs``; ``mean`` and ``sd`` of the test score over seeds (nan for one run);
    ``difference, low, high, p`` against the arm 'scratch' at the same fraction, over the seeds both have
    (``paired_test``; nan for scratch itself and where it has no such run); ``needed``, the share of the labels at which
    the arm equals scratch at 100 % (``labels_needed``; nan: not reached); its cost: ``steps``, ``seconds_per_step``
    (mean over runs) and ``parameters``; ``validation_cases``, how many test cases are validation cases too.

    Raises:
        ValueError: there are no results, or see ``paired_test``.
    """
    if not results:
        raise ValueError("there are no results to compare")
    cells: dict[tuple[str, float], dict[int, Mapping[str, Any]]] = {}
    for result in results:
        cells.setdefault((result["arm"], result["fraction"]), {})[result["seed"]] = result
    arms = list(dict.fromkeys(arm for arm, _ in cells))
    rows = []
    for arm in arms:
        for fraction in sorted(share for name, share in cells if name == arm):
            runs, others = cells[arm, fraction], cells.get((REFERENCE, fraction), {})
            values = np.array([run["test"][score] for run in runs.values()], float)
            seeds = sorted(runs.keys() & others.keys())
            paired = Paired(*[float("nan")] * 4)
            if seeds and arm != REFERENCE:
                both = [[of_arm[seed]["cases"] for seed in seeds] for of_arm in (runs, others)]
                paired = paired_test(*both, score, resamples=resamples, seed=seed)
            rows.append(
                {
                    "arm": arm,
                    "fraction": fraction,
                    "labels": _mean_of(runs, "labels"),
                    "runs": len(runs),
                    "mean": float(np.mean(values)),
                    "sd": float(np.std(values, ddof=1)) if len(values) > 1 else float("nan"),
                    **paired._asdict(),
                    **{name: _mean_of(runs, name) for name in ("steps", "seconds_per_step", "parameters")},
                    "validation_cases": max(int(run["test"].get("validation_cases", 0)) for run in runs.values()),
                }
            )
    table = pd.DataFrame(rows)
    full = table[(table.arm == REFERENCE) & (table.fraction == 1)]
    target = full["mean"].iloc[0] if len(full) else float("nan")
    needed = {arm: labels_needed(part.fraction, part["mean"], target) for arm, part in table.groupby("arm")}
    table.insert(table.columns.get_loc("steps"), "needed", table.arm.map(needed))
    return table


def _mean_of(runs: Mapping[int, Mapping[str, Any]], name: str) -> float:
    return float(np.mean([run[name] for run in runs.values()]))


def markdown(table: pd.DataFrame, score: str) -> str:
    """``comparison_table`` as two tables to read: the scores, and what each arm needs and costs."""
    rows = []
    for row in table.itertuples():
        paired = f"{row.difference:+.4f} ({row.low:+.4f} to {row.high:+.4f})" if pd.notna(row.difference) else ""
        spread = f" ± {row.sd:.4f}" if pd.notna(row.sd) else ""
        p = f"{row.p:.2g}" if pd.notna(row.p) else ""
        labels = f"{percent(row.fraction)} ({row.labels:.0f})"
        rows.append((row.arm, labels, str(row.runs), f"{row.mean:.4f}{spread}", paired, p))
    head = ("initialisation", "labels", "runs", f"test {score}", f"against {REFERENCE}, 95 % interval", "p")
    scores = _lines(head, rows)

    compared = bool(len(table[(table.arm == REFERENCE) & (table.fraction == 1)]))
    rows = []
    for arm, part in table.groupby("arm", sort=False):
        needed, least = part.needed.iloc[0], part.fraction.min()
        told = "not reached" if pd.isna(needed) else percent(needed) + (" or fewer" if needed <= least else "")
        cost = f"{part.parameters.iloc[0] / 1e6:.2f} M", f"{part.seconds_per_step.mean():.3f}"
        rows.append((arm, told if compared else "", *cost, f"{part.steps.iloc[0]:.0f}"))
    tested = "; p: Wilcoxon's signed-rank test over patients" if table.p.notna().any() else ""
    tested += "; no p-value from a single seed" if table.runs.max() < SEEDS else ""
    shared = table.validation_cases.max()
    warning = f" {shared} test cases chose the checkpoints as validation cases: the scores are too high." * bool(shared)
    head = ("initialisation", f"labels to equal {REFERENCE} at 100 %", "parameters", "s a step", "steps")
    return (
        f"{scores}\nMean and standard deviation over seeds. Differences: cases paired, seeds averaged, patients (cases "
        f"where no patient is known) resampled {RESAMPLES} times{tested}.{warning}\n\n{_lines(head, rows)}"
    )


def percent(fraction: float) -> str:
    """A share as people say it: 0.1 is '10 %', 0.025 is '2.5 %'."""
    return f"{100 * fraction:.3g} %"


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rows))
