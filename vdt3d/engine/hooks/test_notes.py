"""TestNotesHook: marks test scores of validation cases, and explains scores that are nan."""

import json
import math
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from vdt3d.engine.data import KeyedDataset
from vdt3d.engine.hooks.checkpoint import why_nan
from vdt3d.registry import DATASETS, HOOKS

VALIDATION_CASES = "validation_cases"


@HOOKS.register_module()
class TestNotesHook(Hook):
    """Marks the scores of a test whose cases are validation cases too; every runner has this hook.

    The scores get ``validation_cases``, the number of these cases, and the log gets a warning: where validation chose
    the checkpoint, the threshold or the length of training, the scores of its cases are too high. A second warning
    names the classes that the test lacks, where scores are nan.
    """

    __test__ = False  # not a test of pytest's
    priority = "HIGHEST"  # before the hooks that keep the scores

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if not metrics:
            return
        undefined = [name for name, value in metrics.items() if _is_nan(value) and not name.endswith(("_low", "_high"))]
        if undefined:
            reason = why_nan(runner.test_loop.evaluator)
            runner.logger.warning(f"nan: {', '.join(undefined)}" + (f"; the test has {reason}" if reason else ""))
        try:
            shared = validation_cases(runner)
        except (OSError, ValueError) as error:
            runner.logger.info(f"Test and validation cases were not compared, since validation has none: {error}")
            return
        if shared:
            metrics[VALIDATION_CASES] = shared
            runner.logger.warning(
                f"{shared} of {len(runner.test_dataloader.dataset)} test cases are validation cases too: scores are "
                "too high where validation chose the checkpoint, the threshold or the length of training"
            )


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def validation_cases(runner: Runner) -> int:
    """Return how many cases of a runner's test set are in its validation set.

    Cases are alike where the data sets know the same of them (files, label, patient). Data sets that know nothing of
    single cases are compared as a whole, by their settings.

    Raises:
        ValueError, OSError: the validation set cannot be listed.
    """
    loader, test = runner._val_dataloader, runner.test_dataloader.dataset
    if loader is None:
        return 0
    settings = loader.get("dataset") if isinstance(loader, dict) else None
    if settings is not None:
        tested = runner.cfg.get("test_dataloader", {}).get("dataset")
        if tested is not None and _without_pipeline(settings) == _without_pipeline(tested):
            return len(test)
        validation = DATASETS.build(settings)
    else:
        validation = loader.dataset
    known = _cases(validation)
    return sum(case in known for case in _cases(test))


def _without_pipeline(settings: dict) -> dict:
    return {key: value for key, value in settings.items() if key != "pipeline"}


def _cases(dataset: Any) -> dict[str, None]:
    """Return what a data set knows of each case, as text; nothing for one that knows nothing of single cases."""
    dataset = dataset.dataset if isinstance(dataset, KeyedDataset) else dataset
    while not hasattr(dataset, "get_data_info") and hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    if not hasattr(dataset, "get_data_info"):
        return {}
    if hasattr(dataset, "full_init"):
        dataset.full_init()
    infos = (dataset.get_data_info(place) for place in range(len(dataset)))
    return dict.fromkeys(
        json.dumps({key: value for key, value in info.items() if key != "sample_idx"}, sort_keys=True, default=str)
        for info in infos
    )
