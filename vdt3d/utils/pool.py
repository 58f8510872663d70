"""Jobs in a pool of processes: their answers in order, a bar where there is a terminal, no torn work when stopped."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

import torch
from rich.console import Console
from rich.progress import track

Job = TypeVar("Job")
Answer = TypeVar("Answer")


def settled_workers(workers: int | None) -> int:
    """``workers``; by default half of the processor's threads, at most 8.

    Raises:
        ValueError: below 1.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"it takes at least one worker, got {workers}")
    return workers or max(1, min(8, (os.cpu_count() or 2) // 2))


def each(
    function: Callable[[Job], Answer],
    jobs: Sequence[Job],
    *,
    workers: int,
    initializer: Callable[[], object] | None = None,
    title: str,
) -> Iterator[Answer]:
    """The answers of ``function`` to the jobs, in order; what is done when the run is stopped stays done.

    Args:
        function: of a module, so that processes can be told it.
        jobs: what it is asked.
        workers: processes; this one does it alone where one would do.
        initializer: called first in each process.
        title: of the bar.

    Raises:
        ValueError: a worker was killed.
    """
    console = Console(stderr=True)
    answers = map(function, jobs) if min(workers, len(jobs)) < 2 else _spread(function, jobs, workers, initializer)
    yield from track(answers, title, total=len(jobs), console=console, disable=not console.is_terminal)


def _spread(
    function: Callable[[Job], Answer], jobs: Sequence[Job], workers: int, initializer: Callable[[], object] | None
) -> Iterator[Answer]:
    """The same from a pool of processes."""
    with ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn"), initializer) as pool:
        try:
            yield from pool.map(partial(_in_worker, function), jobs)
        except BrokenProcessPool as error:
            raise ValueError(
                f"a worker was killed, most likely for want of memory: each of {workers} holds a whole case; take fewer"
                " (--workers), what is done stays done"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _in_worker(function: Callable[[Job], Answer], job: Job) -> Answer:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends the workers, after the case in hand
    torch.set_num_threads(1)
    return function(job)
