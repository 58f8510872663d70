"""Check, before the first step, that the scores which hooks and schedules follow are scores of the validation."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import IterBasedTrainLoop
from mmengine.runner.base_loop import BaseLoop


def check_monitored(followers: Iterable[object], metrics: Sequence[BaseMetric] | None, classes: int | None) -> None:
    """Refuse names of scores that no validation gives.

    Args:
        followers: hooks and schedules; those with a ``save_best`` or ``monitor`` follow a score.
        metrics: the metrics of the validation; None if the run has no validation. A metric with a method
            ``score_names(classes)`` lists its scores, ``*`` standing for any letters; else its ``directions`` do. With
            a metric that has neither, every name passes.
        classes: number of classes that the model tells apart; None if not known.

    Raises:
        ValueError: a score that is not among those of the validation, or a score without a validation; or a metric that
            cannot score so many classes.
    """
    named = [
        (key, value) for one in followers for key in ("save_best", "monitor") if (value := getattr(one, key, None))
    ]
    if metrics is None:
        if named:
            key, name = named[0]
            raise ValueError(
                f"{key}='{name}' needs a validation, and the run has none; set val_dataloader, val_cfg and "
                f"val_evaluator, or {key}=None"
            )
        return
    known: list[str] = []
    for metric in metrics:
        declared = getattr(metric, "directions", None)
        names = metric.score_names(classes) if hasattr(metric, "score_names") else declared
        if names is None:  # read on: a metric may refuse the number of classes
            known.append("*")
        else:
            known += [f"{metric.prefix}/{name}" if metric.prefix else name for name in names]
    for key, name in named:
        if not any(name == one or fnmatchcase(name, one) for one in known):
            near = get_close_matches(str(name), known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ValueError(f"{key}='{name}' is no validation score; there are {', '.join(known)}{hint}")


def check_hooks(hooks: Sequence[Hook], loop: BaseLoop, validates: bool) -> None:
    """Refuse hooks and validations that would begin after the end of a run, and two averages of the weights.

    Args:
        hooks: those with a ``begin_epoch`` or ``begin_iter`` are looked at.
        loop: of the training.
        validates: whether the run has a validation.

    Raises:
        ValueError: the message has the setting, its value and the length of the run.
    """
    averages = [type(hook).__name__ for hook in hooks if isinstance(hook, EMAHook)]
    if len(averages) > 1:
        raise ValueError(f"custom_hooks: {' and '.join(averages)} each average the weights; keep one of them")
    by_iterations = isinstance(loop, IterBasedTrainLoop)
    ends = {"begin_epoch": (loop.max_epochs, "epochs"), "begin_iter": (loop.max_iters, "iterations")}
    for hook in hooks:
        for name, (end, unit) in ends.items():
            begin = getattr(hook, name, None)
            if isinstance(begin, int) and begin > end:
                remedy = "use begin_iter: the run counts iterations" if by_iterations else f"lower {name}"
                raise ValueError(f"{type(hook).__name__}: {name}={begin}, but the run has {end} {unit}; {remedy}")
    end, unit = ends["begin_iter" if by_iterations else "begin_epoch"]
    if validates and getattr(loop, "val_begin", 0) > end:
        raise ValueError(f"train_cfg.val_begin={loop.val_begin}, but the run has {end} {unit}, so none is validated")
