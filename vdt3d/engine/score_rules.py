"""Directions of the scores that schedulers and hooks of a config follow, filled in from the declarations of metrics."""

from collections.abc import Collection
from typing import Any

from vdt3d.evaluation.directions import direction_of


def with_rules(settings: Any, evaluator: Any, only: Collection[str] = ()) -> Any:
    """Return configs of schedulers or hooks in which those that follow a score have a ``rule``.

    A rule that a config gives stays.

    Args:
        settings: a config, a list of them, or a mapping of lists.
        evaluator: config of the validation's evaluator.
        only: types whose rules are filled in; default: all types.

    Raises:
        ValueError: no metric declares whether a greater value of a score is better.
    """
    if isinstance(settings, list | tuple):
        return [with_rules(part, evaluator, only) for part in settings]
    if not isinstance(settings, dict):
        return settings
    if "type" not in settings:
        return {name: with_rules(part, evaluator, only) for name, part in settings.items()}
    if "rule" in settings or not follows_score(settings) or (only and settings["type"] not in only):
        return settings
    score = settings.get("monitor", "loss")  # mmengine's default
    return {**settings, "rule": direction_of(score, validation_metrics(evaluator), "monitor")}


def follows_score(settings: dict[str, Any]) -> bool:
    """Return whether a hook or scheduler, by its config, follows a validation score."""
    return "monitor" in settings or str(settings.get("type")).startswith("ReduceOnPlateau")


def metric_configs(evaluator: Any) -> list[dict[str, Any]]:
    """Return the configs of the metrics of an evaluator that is not built yet."""
    evaluator = evaluator if isinstance(evaluator, list | tuple) else [evaluator]
    return [metric for metric in evaluator if isinstance(metric, dict)]


def validation_metrics(evaluator: Any) -> list[dict[str, Any]]:
    """Return the configs of the metrics of a validation, with the one that the validation loop adds."""
    return [*metric_configs(evaluator), {"type": "ValidationLoss"}]
