"""Direction of scores: each metric declares whether a greater or a smaller value is better; names are not guessed at.

A metric class has an attribute ``directions``: score name to 'greater', 'less' or None (neither is better, as for a
signed difference). A name may hold ``*``, such as ``dice*``; the first entry that fits counts.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, Literal

from mmengine.evaluator import BaseMetric

from vdt3d.registry import METRICS

Direction = Literal["greater", "less"]
# Metrics of mmpretrain and mmsegmentation whose scores are shares or percentages of what is right.
GREATER_ONLY = {"Accuracy", "SingleLabelMetric", "MultiLabelMetric", "AveragePrecision", "IoUMetric"}


def direction_of(score: str, metrics: Iterable[BaseMetric | Mapping[str, Any]], setting: str) -> Direction:
    """Return whether a greater or a smaller value of a score is better.

    Args:
        score: name of a validation score, with the prefix of its metric if that has one.
        metrics: metrics of the evaluator, or their configs.
        setting: name of the setting that asks, for messages.

    Raises:
        ValueError: no metric declares the score, or its metric declares that neither direction is better.
    """
    silent, known = [], []
    for metric in metrics:
        name, prefix, directions = _declared(metric)
        own = score.removeprefix(prefix)
        if directions is None:
            silent.append(name)
        elif score.startswith(prefix) and (fits := [key for key in directions if fnmatchcase(own, key)]):
            if directions[fits[0]] is None:
                raise ValueError(
                    f"{setting}='{score}': neither greater nor smaller values are better, as {name} declares; choose "
                    "another score"
                )
            return directions[fits[0]]
        else:
            known += [prefix + key for key in directions]
    if silent:
        remedy = (
            f"add directions = {{'{score}': 'greater'}} (or 'less') to the class {' or '.join(silent)}, or give "
            f"rule='greater' (or 'less') beside {setting}"
        )
        raise ValueError(f"{setting}='{score}': no metric declares whether greater is better; {remedy}")
    near = get_close_matches(score, [name.strip("*") for name in known], n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise ValueError(f"{setting}='{score}' is not a score of the evaluator; it has {', '.join(known) or 'none'}{hint}")


def _declared(metric: BaseMetric | Mapping[str, Any]) -> tuple[str, str, Mapping[str, Direction | None] | None]:
    """Return the class name of a metric, its prefix with a slash, and its directions (None: not declared)."""
    if isinstance(metric, Mapping):
        kind = metric["type"]
        kind = METRICS.get(kind) if isinstance(kind, str) else kind
        prefix, owner = metric.get("prefix") or getattr(kind, "default_prefix", None), kind
    else:
        kind, prefix, owner = type(metric), metric.prefix, metric
    others = {"*": "greater"} if kind.__name__ in GREATER_ONLY else None
    directions = getattr(owner, "directions", others)
    return kind.__name__, f"{prefix}/" if prefix else "", directions
