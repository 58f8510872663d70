"""When checkpoints are written, which are kept, and what happens when the machine wants to stop us."""

import json
import math
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType

import torch
from mmengine.dist import all_reduce, get_world_size, is_main_process
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner

from vdt3d.engine.work_dir import latest_checkpoint
from vdt3d.evaluation.directions import direction_of
from vdt3d.registry import HOOKS
from vdt3d.utils.files import write_aside


def point_to(checkpoint: Path) -> None:
    """Remember ``checkpoint`` as the last one written in its folder."""
    write_aside(checkpoint.parent / "last_checkpoint", lambda aside: aside.write_text(checkpoint.name))


class ScoreWatch:
    """A validation score and its direction.

    Args:
        score: its name.
        rule: ``'greater'`` or ``'less'``: which values are better; None: as the metric declares.
        setting: name of the setting that the score is given by, for messages.

    Raises:
        ValueError: ``rule`` is neither of these.
    """

    def __init__(self, score: str, rule: str | None, setting: str):
        if rule not in (None, "greater", "less"):
            raise ValueError(f"rule={rule!r} beside {setting}='{score}': choose 'greater' or 'less', or leave it out")
        self.score, self.rule, self.setting = score, rule, setting

    def sign(self, runner: Runner) -> int:
        """Return 1 where greater values are better, -1 where smaller ones are.

        Raises:
            ValueError: no metric of the validation declares it.
        """
        if self.rule is None:
            self.rule = direction_of(self.score, runner.val_loop.evaluator.metrics, self.setting)
        return 1 if self.rule == "greater" else -1

    def value(self, metrics: Mapping[str, float]) -> float:
        """Return the score of a validation.

        Raises:
            ValueError: the validation has no such score.
        """
        if self.score not in metrics:
            raise ValueError(
                f"{self.setting}='{self.score}' is not a score of the validation; it has {', '.join(metrics)}"
            )
        return metrics[self.score]


def why_nan(evaluator: Evaluator) -> str:
    """Return which classes, labels or boxes the cases of the last evaluation lack, for which scores are nan."""
    return "; ".join(filter(None, (getattr(metric, "absent", "") for metric in evaluator.metrics)))


def best_scores(runner: Runner, save_best: str | None = None) -> dict[str, float]:
    """Return the best validation scores of a run by their names.

    Args:
        save_best: name of the best score in a checkpoint that stores it without a name, as version 1 did.
    """
    info = runner.message_hub.runtime_info
    if "best_scores" not in info and "best_score" in info and save_best is not None:
        return {save_best: info["best_score"]}
    return info.get("best_scores", {})


@HOOKS.register_module()
class CheckpointHook(Hook):
    """Writes ``epoch_N.pth`` or ``iter_N.pth``, and ``best_SCORE.pth`` after validations.

    A new file is whole before an old one is deleted. With ``keep_best`` the best N are also kept, as
    ``best_SCORE_epoch_N.pth`` or ``best_SCORE_iter_N.pth``, for an ensemble.

    Args:
        interval: epochs (iterations) from one checkpoint to the next; the last of a run is always written.
        by_epoch: count epochs or iterations.
        max_keep_ckpts: how many of them stay; -1 for all.
        save_best: name of the validation score that decides which is best.
        rule: ``'greater'`` or ``'less'``: which values of the score are better; None: as the metric declares.
        keep_best: number of best checkpoints; of equal scores, the earlier one is better.

    The best scores are stored in checkpoints by their names.

    Raises:
        ValueError: ``keep_best`` is less than 1, or ``rule`` is unknown; (on use) ``save_best`` is not a score of the
            validation, or no metric declares its direction.
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        interval: int = 1,
        by_epoch: bool = True,
        max_keep_ckpts: int = -1,
        save_best: str | None = None,
        rule: str | None = None,
        keep_best: int = 1,
    ):
        if keep_best < 1:
            raise ValueError(f"keep_best={keep_best}: expected a number of checkpoints, 1 or more")
        self.keep_best = keep_best
        self.interval, self.by_epoch, self.max_keep, self.save_best = interval, by_epoch, max_keep_ckpts, save_best
        self.watch = None if save_best is None else ScoreWatch(save_best, rule, "save_best")

    def before_run(self, runner: Runner) -> None:
        """Find the direction of the score before the first step."""
        if self.watch is not None and runner.training and runner.val_loop is not None:
            self.watch.sign(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        if self.by_epoch and (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            self._write(runner, f"epoch_{runner.epoch + 1}.pth", epoch=runner.epoch + 1, iteration=runner.iter)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not self.by_epoch and (self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)):
            self._write(runner, f"iter_{runner.iter + 1}.pth", epoch=runner.epoch, iteration=runner.iter + 1)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if self.watch is None or not runner.training:
            return
        score, sign, best = self.watch.value(metrics), self.watch.sign(runner), best_scores(runner, self.save_best)
        if math.isnan(score):
            runner.logger.warning(self._nan_message(runner, best))
            return
        better = self.save_best not in best or sign * score > sign * best[self.save_best]
        if better:
            runner.message_hub.update_info("best_scores", {**best, self.save_best: score})
        self._keep_among_best(runner, score)
        if not better:
            return
        runner.save_checkpoint(
            runner.work_dir, self._best_name, epoch=runner.epoch, iteration=runner.iter, validated=True
        )
        if is_main_process() and not (Path(runner.work_dir) / "last_checkpoint").exists():
            point_to(Path(runner.work_dir) / self._best_name)  # of a run that stops before its first regular checkpoint
        runner.logger.info(f"Best {self.save_best} so far: {score:.4f}, saved as {self._best_name}")

    def after_train(self, runner: Runner) -> None:
        """Warn where no validation gave a best checkpoint."""
        if self.watch is not None and self.save_best not in best_scores(runner, self.save_best):
            reason = f"{self.save_best} was nan at every validation" if runner.val_loop else "there was no validation"
            runner.logger.warning(f"{self._best_name} was not written: {reason}. {self._kept(runner)}")

    @property
    def _best_name(self) -> str:
        return f"best_{self.save_best.replace('/', '_')}.pth"

    def _nan_message(self, runner: Runner, best: Mapping[str, float]) -> str:
        absent = why_nan(runner.val_loop.evaluator)
        reason = f": the validation has {absent}" if absent else ""
        if self.save_best in best:
            kept = f"{self._best_name} ({best[self.save_best]:.4f}) is kept"
        else:
            kept = f"there is no {self._best_name}. {self._kept(runner)}"
        return f"{self.save_best} is nan{reason}; {kept}"

    @staticmethod
    def _kept(runner: Runner) -> str:
        latest = latest_checkpoint(Path(runner.work_dir))
        return f"The last checkpoint is {latest.name}" if latest else "There is no checkpoint yet"

    def _keep_among_best(self, runner: Runner, score: float) -> None:
        """Write a checkpoint if it is among the ``keep_best`` best, and delete the one that no longer is.

        The list of them is stored in checkpoints by the score's name; validating a state twice writes the same file.
        """
        if self.keep_best == 1:
            return
        place = f"iter_{runner.iter}" if not self.by_epoch else f"epoch_{runner.epoch}"
        name = f"{Path(self._best_name).stem}_{place}.pth"
        lists, sign = runner.message_hub.runtime_info.get("best_checkpoints", {}), self.watch.sign(runner)
        known = {**lists.get(self.save_best, {}), name: score}
        ranked = sorted(known, key=lambda one: -sign * known[one])  # stable, so that equal scores keep their order
        kept = {one: known[one] for one in known if one in ranked[: self.keep_best]}
        runner.message_hub.update_info("best_checkpoints", {**lists, self.save_best: kept})
        if name in kept:
            runner.save_checkpoint(runner.work_dir, name, epoch=runner.epoch, iteration=runner.iter, validated=True)
        if is_main_process():
            for dropped in known.keys() - kept.keys():
                (Path(runner.work_dir) / dropped).unlink(missing_ok=True)

    def _write(self, runner: Runner, name: str, epoch: int, iteration: int) -> None:
        runner.save_checkpoint(runner.work_dir, name, epoch=epoch, iteration=iteration)
        if not is_main_process():
            return
        folder = Path(runner.work_dir)
        point_to(folder / name)
        if self.max_keep > 0:
            # By age: after resuming an early one, files of higher numbers may be older than the newest.
            mine = re.compile(name.partition("_")[0] + r"_\d+\.pth")  # and not a copy that somebody put beside them
            written = [path for path in folder.iterdir() if mine.fullmatch(path.name)]
            for path in sorted(written, key=lambda path: path.stat().st_mtime_ns)[: -self.max_keep]:
                path.unlink()


class Preempted(SystemExit):
    """The run was asked to stop, saved its state and leaves with the code of a process ended by SIGTERM."""

    def __init__(self):
        super().__init__(128 + signal.SIGTERM)


@HOOKS.register_module()
class PreemptionHook(Hook):
    """On SIGTERM: finish the step (or the validation), write ``preempted.pth``, leave; ``--resume`` goes on there."""

    priority = "LOWEST"

    def __init__(self):
        self._asked = False
        self._previous = None

    def before_train(self, runner: Runner) -> None:
        self._previous = signal.signal(signal.SIGTERM, self._remember)

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        self._asked = True

    def release(self) -> None:
        """Let SIGTERM do what it did before the training; the runner calls it however that ends."""
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)
            self._previous = None

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self._anybody_asked(runner):
            self._leave(runner, epoch=runner.epoch, iteration=runner.iter + 1)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if self._anybody_asked(runner):
            self._leave(runner, epoch=runner.epoch, iteration=runner.iter, validated=True)

    def _anybody_asked(self, runner: Runner) -> bool:
        if get_world_size() == 1:
            return self._asked
        asked = torch.tensor(int(self._asked), device=next(runner.model.parameters()).device)
        all_reduce(asked, op="max")  # processes hear the signal at different steps and must leave at the same one
        return bool(asked)

    def _leave(self, runner: Runner, **position) -> None:
        runner.save_checkpoint(runner.work_dir, "preempted.pth", **position)
        if is_main_process():
            point_to(Path(runner.work_dir) / "preempted.pth")
        runner.logger.warning(f"Asked to stop: saved preempted.pth in {runner.work_dir}; go on with --resume")
        raise Preempted


@HOOKS.register_module()
class ScoresHook(Hook):
    """Appends every validation's and test's scores to ``scores.jsonl`` in the work directory, one line each.

    A resumed run removes the validations that came after its checkpoint, and makes them again.
    """

    priority = "VERY_LOW"

    def before_train(self, runner: Runner) -> None:
        self._remove(runner, lambda place, now: place > now)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if runner.training:
            self._remove(runner, lambda place, now: place >= now)
        self._append(runner, "val", metrics)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._append(runner, "test", metrics)

    def _append(self, runner: Runner, split: str, metrics: dict[str, float]) -> None:
        if is_main_process():
            line = {"split": split, "epoch": runner.epoch, "iter": runner.iter, **metrics}
            with (Path(runner.work_dir) / "scores.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")

    @staticmethod
    def _remove(runner: Runner, outdated: Callable[[int, int], bool]) -> None:
        """Remove the validations whose epoch (iteration, in a run that counts those) is outdated, given the present."""
        path, place = Path(runner.work_dir) / "scores.jsonl", "iter" if runner.by_iterations else "epoch"
        if not is_main_process() or not path.is_file():
            return
        lines, now = path.read_text(encoding="utf-8").splitlines(keepends=True), getattr(runner, place)
        whole = [(line, json.loads(line)) for line in lines if line.endswith("\n")]  # a full disk cuts the last one
        kept = [line for line, told in whole if told["split"] != "val" or not outdated(told[place], now)]
        if kept != lines:
            write_aside(path, lambda aside: aside.write_text("".join(kept), encoding="utf-8"))
