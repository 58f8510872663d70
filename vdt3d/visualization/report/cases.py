"""A case in words and numbers: its row in the table, a line of text, and what went wrong with it.

A case is one of those that a test left, ``told`` all it left: see ``docs/report.md``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from vdt3d.visualization.report.charts import names_of

SURE = 0.9  # from which probability on a wrong answer is a confident one


def columns_of(told: Mapping[str, Any]) -> tuple[list[str], Callable[[Mapping[str, Any]], list[Any]]]:
    """The head of the table of cases, and from a case to its cells."""
    cases = told["cases"]
    if told["kind"] == "segmentation":
        labels = list(dict.fromkeys(label for case in cases for label in case["labels"]))[:8]
        hd95 = any("scores" in case and any(name.startswith("hd95_") for name in case["scores"]) for case in cases)
        head = ["mean Dice"]
        if len(labels) > 1:
            head += [f"Dice {label}" for label in labels]
        head += [f"{label}, ml (true)" for label in labels] + (["HD95, mm"] if hd95 else [])
        return head, partial(_cells_of_labels, labels=labels, hd95=hd95)
    if told["kind"] == "classification":
        names = names_of(told)
        return ["true", "answer", "probability", "of the true class"], lambda case: [
            "" if case["truth"] is None else names[case["truth"]],
            names[case["guess"]],
            case["confidence"],
            case["score"],
        ]
    keys = ("true", "found", "never_hit", "lowest_hit", "highest_false", "score")
    head = ["true boxes", "found", "never hit", "lowest hit", "highest false", "margin"]
    return head, lambda case: [case[key] for key in keys]


def _cells_of_labels(case: Mapping[str, Any], labels: Sequence[str], hd95: bool) -> list[Any]:
    told = [case["labels"].get(label, {}) for label in labels]
    cells = [case["score"]] + ([numbers.get("dice") for numbers in told] if len(labels) > 1 else [])
    for numbers in told:
        true = numbers.get("truth_ml")
        cells.append(_ml(numbers.get("predicted_ml", 0)) + ("" if true is None else f" ({_ml(true)})"))
    distances = [value for name, value in case.get("scores", {}).items() if name.startswith("hd95_")]
    distances = [value for value in distances if value is not None]
    return cells + ([float(np.mean(distances)) if distances else None] if hd95 else [])


def cell_of(value: Any) -> tuple[str, str]:
    """What is shown, and what is sorted by."""
    if value is None:
        return "-", ""
    if isinstance(value, float):
        return f"{value:.3f}", repr(value)
    return str(value), str(value).split(" ")[0]


def in_words(case: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    """The numbers of a case in a line."""
    if told["kind"] == "classification":
        names = names_of(told)
        true = "truth not known" if case["truth"] is None else f"true: {names[case['truth']]}"
        return f"{true}; answer: {names[case['guess']]}, {case['confidence']:.0%}"
    if told["kind"] == "detection":
        true = "1 true box" if case["true"] == 1 else f"{case['true']} true boxes"
        return f"{true}, {case['never_hit']} never hit; {case['found']} found"
    parts = []
    for label, numbers in case["labels"].items():
        true = f" of {_ml(numbers['truth_ml'])}" if "truth_ml" in numbers else ""
        value = f", Dice {numbers['dice']:.3f}" if numbers.get("dice") is not None else ""
        parts.append(f"{label} {_ml(numbers['predicted_ml'])}{true} ml{value}")
    return "; ".join(parts[:8]) + (f"; {len(parts) - 8} more" if len(parts) > 8 else "")


def failures_of(case: Mapping[str, Any], told: Mapping[str, Any]) -> Iterator[str]:
    """Each thing that went wrong, in a line; of cases whose truth is not known nothing."""
    if not case["known"]:
        return
    if told["kind"] == "classification":
        if case["guess"] != case["truth"] and case["confidence"] >= SURE:
            names = names_of(told)
            yield f"{names[case['guess']]} with {case['confidence']:.0%}, but it is {names[case['truth']]}"
    elif told["kind"] == "detection":
        if case["never_hit"]:
            yield f"{case['never_hit']} of {case['true']} true boxes were never hit"
    else:
        for label, numbers in case["labels"].items():
            if numbers["truth_ml"] > 0 and numbers["predicted_ml"] == 0:
                yield f"{label}: missed, {_ml(numbers['truth_ml'])} ml"
            elif numbers["truth_ml"] == 0 and numbers["predicted_ml"] > 0:
                yield f"{label}: {_ml(numbers['predicted_ml'])} ml where there is none"
            elif numbers["dice"] == 0:
                yield f"{label}: in another place, Dice 0"
        if any(name.startswith("hd95") for name in case.get("infinite", ())):
            yield "distances are infinite, and not in their means"


def _ml(volume: float) -> str:
    """Three digits, and no power of ten."""
    return f"{volume:.0f}" if volume >= 100 else f"{volume:.3g}"
