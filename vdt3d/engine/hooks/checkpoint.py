"""When checkpoints are written, which are kept, and what happens when the machine wants to stop us."""

import json
import math
import re
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import torch
from mmengine.dist import all_reduce, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from vdt3d.registry import HOOKS
from vdt3d.utils.files import write_aside

_LOWER_IS_BETTER = ("loss", "hd95", "assd", "error")


def point_to(checkpoint: Path) -> None:
    """Remember ``checkpoint`` as the last one written in its folder."""
    write_aside(checkpoint.parent / "last_checkpoint", lambda aside: aside.write_text(checkpoint.name))


def sign_of(score: str | None, rule: str | None = None) -> int:
    """1 where more of a score is better, -1 where less is; ``rule``, ``'greater'`` or ``'less'``, or else its name
    tells.
    """
    if rule is None:
        rule = "less" if any(word in (score or "").lower() for word in _LOWER_IS_BETTER) else "greater"
    return -1 if rule == "less" else 1


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
        rule: ``'greater'`` or ``'less'``; None reads it off the score's name.
        keep_best: number of best checkpoints; of equal scores, the earlier one is better.

    Raises:
        ValueError: ``keep_best`` is less than 1.
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
        self.sign = sign_of(save_best, rule)

    def after_train_epoch(self, runner: Runner) -> None:
        if self.by_epoch and (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            self._write(runner, f"epoch_{runner.epoch + 1}.pth", epoch=runner.epoch + 1, iteration=runner.iter)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not self.by_epoch and (self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)):
            self._write(runner, f"iter_{runner.iter + 1}.pth", epoch=runner.epoch, iteration=runner.iter + 1)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if self.save_best is None or not runner.training:
            return
        if self.save_best not in metrics:
            raise ValueError(f"save_best='{self.save_best}' is no validation score; there are {', '.join(metrics)}")
        score, info = metrics[self.save_best], runner.message_hub.runtime_info
        better = not math.isnan(score) and self.sign * score > self.sign * info.get("best_score", -self.sign * math.inf)
        if better:
            runner.message_hub.update_info("best_score", score)
        self._keep_among_best(runner, score)
        if not better:
            return
        name = f"best_{self.save_best.replace('/', '_')}.pth"
        runner.save_checkpoint(runner.work_dir, name, epoch=runner.epoch, iteration=runner.iter, validated=True)
        if is_main_process() and not (Path(runner.work_dir) / "last_checkpoint").exists():
            point_to(Path(runner.work_dir) / name)  # for a run that is stopped before its first regular checkpoint
        runner.logger.info(f"Best {self.save_best} so far: {score:.4f}, saved as {name}")

    def _keep_among_best(self, runner: Runner, score: float) -> None:
        """Write this state under a name of its own if it is among the ``keep_best`` best, and delete who no longer is.

        Which those are is part of the state, and validating a state twice writes the same file twice.
        """
        if self.keep_best == 1 or math.isnan(score):
            return
        place = f"iter_{runner.iter}" if not self.by_epoch else f"epoch_{runner.epoch}"
        name = f"best_{self.save_best.replace('/', '_')}_{place}.pth"
        known = {**runner.message_hub.runtime_info.get("best_checkpoints", {}), name: score}
        ranked = sorted(known, key=lambda one: -self.sign * known[one])  # stable, so that equal scores keep their order
        kept = {one: known[one] for one in known if one in ranked[: self.keep_best]}
        runner.message_hub.update_info("best_checkpoints", kept)
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
