"""Runs one after the other, each in a process of its own: what the commands that start several have in common."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

CONTEXT = multiprocessing.get_context("spawn")  # a run's memory is gone with its process, and a crash takes no other
STOPPED = (128 + signal.SIGTERM, -signal.SIGTERM)  # in order, or before it could be

BAD_INPUT = 2  # exit code of a command that met an error which the user can mend


class Job(Protocol):
    """A run that waits for its process, which gets it pickled.

    Attributes:
        name: for messages.
        folder: where its result.json goes.
        description: what tells it from other runs in this folder.
        file: where that is written.
    """

    name: str
    folder: Path
    description: Mapping[str, Any]
    file: str

    def run(self) -> None:
        """Do it."""


def torchrun_share() -> tuple[int, int]:
    """Which process of how many this is."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def perform(jobs: Sequence[Job], command: str, *, debug: bool = False) -> list[str]:
    """Do the jobs that have no result yet, one after another, each in its own process; return the names of the failed.

    Args:
        command: name of the command, for messages.
        debug: show the whole traceback of an error.

    Raises:
        ValueError: the folder of a job holds another run.
        SystemExit: 143 if a run was asked to stop and left; 2 if one met bad input, which the others would meet too.
    """
    from vdt3d.experiments.comparison import settle

    waiting = [job for job in jobs if not settle(job.folder, job.description, job.file)]
    if len(waiting) < len(jobs):
        say(f"{len(jobs) - len(waiting)} of {len(jobs)} runs are done already")
    failed, spent = [], []
    for number, job in enumerate(waiting):
        left = f", about {_duration(sum(spent) / len(spent) * (len(waiting) - number))} left" if spent else ""
        say(f"run {number + 1} of {len(waiting)}: {job.name}{left}", "bold")
        start = time.monotonic()
        code = execute(job, command, debug)
        spent.append(time.monotonic() - start)
        if code in STOPPED:
            raise SystemExit(STOPPED[0])
        if code == BAD_INPUT:  # its process printed why
            raise SystemExit(BAD_INPUT)
        if code:
            say(f"failed with exit code {code}; its log is in {job.folder}", "bold red")
            failed.append(job.name)
    return failed


def execute(job: Job, command: str, debug: bool) -> int:
    """Run a job in a process of its own, to which SIGTERM is passed on; return its exit code."""
    process = CONTEXT.Process(target=run_job, args=(job, command, debug))
    process.start()
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        process.join()
    finally:
        signal.signal(signal.SIGTERM, before)
    return process.exitcode


def run_job(job: Job, command: str, debug: bool) -> None:
    """Run a job; an error that the user can mend is printed in one line, as the command itself prints it.

    Raises:
        SystemExit: ``BAD_INPUT``; or 1 if a loss is not finite, which is the fate of this run alone.
    """
    from vdt3d.cli import message_of

    try:
        job.run()
    except Exception as error:
        message = None if debug else message_of(error)
        if message is None:
            raise
        sys.stderr.write(f"vdt3d {command}: error: {job.name}: {message}\n")
        raise SystemExit(1 if isinstance(error, FloatingPointError) else BAD_INPUT) from None


def begin() -> None:
    """Settle the process of a job: under torchrun, each has a GPU of its own."""
    multiprocessing.set_start_method(None, force=True)  # how this process came about is nothing to its own workers
    import torch

    if torch.cuda.is_available() and "LOCAL_RANK" in os.environ:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


def conclude(kind: str, *, missing: int, total: int, failed: Sequence[str]) -> None:
    """Say what is still to be done.

    Args:
        kind: what the jobs are, in the plural.
        failed: names of those that did, here and now.

    Raises:
        SystemExit: 1, some did.
    """
    if missing:
        say(f"{missing} of {total} {kind} have no result yet", "bold")
    if failed:
        say("these failed, and go on when the command is given again:\n  " + "\n  ".join(failed), "bold")
        raise SystemExit(1)


def say(text: str, style: str = "") -> None:
    """Write to the terminal."""
    from rich.console import Console

    Console(highlight=False, markup=False).print(text, style=style, soft_wrap=True)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(minutes, 1)} min"
