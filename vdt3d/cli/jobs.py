"""Runs one after the other, each in a process of its own: what the commands that start several have in common."""

import multiprocessing
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

CONTEXT = multiprocessing.get_context("spawn")  # a run's memory is gone with its process, and a crash takes no other
STOPPED = (128 + signal.SIGTERM, -signal.SIGTERM)  # in order, or before it could be


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


def perform(jobs: Sequence[Job]) -> list[str]:
    """Do the jobs that have no result yet, one after another, each in its own process; return the names of the failed.

    Raises:
        ValueError: the folder of a job holds another run.
        SystemExit: 143, a run was asked to stop and left.
    """
    from vdt3d.engine.comparison import settle

    waiting = [job for job in jobs if not settle(job.folder, job.description, job.file)]
    if len(waiting) < len(jobs):
        say(f"{len(jobs) - len(waiting)} of {len(jobs)} runs are done already")
    failed, spent = [], []
    for number, job in enumerate(waiting):
        left = f", about {_duration(sum(spent) / len(spent) * (len(waiting) - number))} left" if spent else ""
        say(f"run {number + 1} of {len(waiting)}: {job.name}{left}", "bold")
        start = time.monotonic()
        code = execute(job)
        spent.append(time.monotonic() - start)
        if code in STOPPED:
            raise SystemExit(STOPPED[0])
        if code:
            say(f"failed with exit code {code}; its log is in {job.folder}", "bold red")
            failed.append(job.name)
    return failed


def execute(job: Job) -> int:
    """Run a job in a process of its own, to which SIGTERM is passed on; returns its exit code."""
    process = CONTEXT.Process(target=job.run)
    process.start()
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        process.join()
    finally:
        signal.signal(signal.SIGTERM, before)
    return process.exitcode


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
