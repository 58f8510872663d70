"""RunRecordHook: keeps the record of a run in its work directory."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from vdt3d.engine.hooks.checkpoint import CheckpointHook, best_scores
from vdt3d.engine.run_record import NAME, describe, read_records
from vdt3d.engine.runner import Runner
from vdt3d.registry import HOOKS
from vdt3d.utils.files import write_json


@HOOKS.register_module()
class RunRecordHook(Hook):
    """Writes ``record.json``: ``train`` and ``test``, of the last of either in this work directory.

    Each has the ``config`` as text, the ``config_file``, ``command``, ``seed``, ``git`` (commit and what differs from
    it, where this package is a checkout), ``packages`` and their versions, ``environment`` (Python, system, devices,
    threads, processes; no names of hosts or users), ``data`` (of each split the number of cases and a digest of their
    names, labels and file sizes), ``started``, ``seconds`` (of a resumed run, in all), ``finished``, and ``results``:
    all scores of the ``last`` validation, the ``best`` of the one that chooses checkpoints, or the ``test``.

    It is written when the run begins, at each validation, and when it ends.
    """

    priority = "LOWEST"

    def __init__(self):
        self._begun: set[str] = set()
        self._records: dict[str, Any] = {}

    def before_run(self, runner: Runner) -> None:
        if not hasattr(runner, "by_iterations"):
            raise ValueError(
                "mmengine's Runner cannot run this config; use vdt3d.engine.Runner.from_cfg(config), or "
                "mmengine.registry.RUNNERS.build(config) with runner_type='vdt3d.Runner'"
            )

    def before_train(self, runner: Runner) -> None:
        self._begin(runner, "train", ("train", "val") if runner.val_loop is not None else ("train",))

    def before_val(self, runner: Runner) -> None:
        if runner.training:  # a resumed run may have a validation to make up for before it trains
            self.before_train(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if runner.training:
            name = next((hook.save_best for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
            best = best_scores(runner, name)
            results = {"last": dict(metrics), "epoch": runner.epoch, "iter": runner.iter}
            self._update(runner, "train", results | ({"best": {name: best[name]}} if name in best else {}))

    def after_train(self, runner: Runner) -> None:
        self._update(runner, "train", {}, finished=True)

    def before_test(self, runner: Runner) -> None:
        self._begin(runner, "test", ("test",))

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._update(runner, "test", {"test": dict(metrics)}, finished=True)

    def _begin(self, runner: Runner, kind: str, splits: tuple[str, ...]) -> None:
        if kind in self._begun or not is_main_process():
            return
        self._begun.add(kind)
        self._start, self._earlier = time.monotonic(), 0.0
        told = describe(runner, splits)
        before = self._on_disk(runner).get(kind)
        if kind == "train" and before and runner.iter:  # it goes on
            self._earlier = before["seconds"]
            told |= {"started": before["started"], "results": before["results"]}
        self._records[kind] = told
        self._update(runner, kind, {})

    @staticmethod
    def _on_disk(runner: Runner) -> dict[str, Any]:
        path = Path(runner.work_dir) / NAME
        return read_records(path) if path.exists() else {}

    def _update(self, runner: Runner, kind: str, results: Mapping[str, Any], *, finished: bool = False) -> None:
        if not is_main_process():
            return
        record = self._records[kind]
        record["results"] = {**record["results"], **results}
        record["seconds"] = round(self._earlier + time.monotonic() - self._start, 1)
        record["finished"] = finished
        # Read again, since a test may have been recorded while this run trains.
        write_json(Path(runner.work_dir) / NAME, {**self._on_disk(runner), kind: record})
