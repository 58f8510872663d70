"""A live bar on a terminal with loss, learning rate, data time and the time left; where there is none, plain lines."""

import atexit
import logging

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from vdt3d.engine.runner import Runner
from vdt3d.registry import HOOKS


@HOOKS.register_module()
class ProgressHook(Hook):
    """Draws the bar on the terminal of the main process; the log file gets its lines as ever."""

    priority = "BELOW_NORMAL"

    def __init__(self):
        self._bars: Progress | None = None

    def before_run(self, runner: Runner) -> None:
        # mmengine repeats the run's name every epoch; the file's first lines and its folder have it.
        runner.logger.addFilter(lambda record: not record.getMessage().startswith("Exp name"))

    def before_train(self, runner: Runner) -> None:
        self._open(runner, "train", runner.max_iters, runner.iter)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self._bars is None:
            return
        scalars = runner.message_hub.log_scalars
        loss, wait = scalars["train/loss"].mean(20), scalars["train/data_time"].mean(20)
        rate = runner.optim_wrapper.param_groups[0]["lr"]
        numbers = f"loss {loss:.4f}  lr {rate:.2e}  data {1000 * wait:.0f} ms"
        title = "train" if runner.by_iterations else f"epoch {runner.epoch + 1}/{runner.max_epochs}"
        self._bars.update(self._task, advance=1, numbers=numbers, title=title)

    def after_train(self, runner: Runner) -> None:
        self._close(runner)

    def before_test(self, runner: Runner) -> None:
        self._open(runner, "test", len(runner.test_dataloader), 0)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self._bars is not None:
            self._bars.update(self._task, advance=1)

    def after_test(self, runner: Runner) -> None:
        self._close(runner)

    def _open(self, runner: Runner, title: str, total: int, done: int) -> None:
        console = Console()
        if not console.is_terminal or not is_main_process():
            return
        columns = ("{task.fields[title]}", BarColumn(), MofNCompleteColumn(), "{task.fields[numbers]}")
        columns = [TextColumn(column) if isinstance(column, str) else column for column in columns]
        self._bars = Progress(*columns, TimeElapsedColumn(), "<", TimeRemainingColumn(), console=console)
        self._task = self._bars.add_task("", total=total, completed=done, title=title, numbers="")
        self._bars.start()
        atexit.register(self._bars.stop)  # however the run ends, the terminal gets its cursor back
        # Lines on the screen go above the bar, and the ones it makes redundant not at all.
        self._screens = [h for h in runner.logger.handlers if not isinstance(h, logging.FileHandler)]
        above = RichHandler(logging.INFO, console, show_path=False, show_level=False, log_time_format="%X")
        # By the bar, and by the table of ``vdt3d test``.
        told = ("Epoch(train)", "Iter(train)", "Epoch(test)", "Iter(test)")
        above.addFilter(lambda record: not record.getMessage().startswith(told))
        self._swap(runner, self._screens, [above])

    def _close(self, runner: Runner) -> None:
        if self._bars is None:
            return
        self._bars.stop()
        self._bars = None
        self._swap(runner, [h for h in runner.logger.handlers if isinstance(h, RichHandler)], self._screens)

    @staticmethod
    def _swap(runner: Runner, old: list[logging.Handler], new: list[logging.Handler]) -> None:
        for handler in old:
            runner.logger.removeHandler(handler)
        for handler in new:
            runner.logger.addHandler(handler)
