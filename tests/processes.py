"""Functions in processes of their own, started in milliseconds from a server that has imported the stack once."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import NamedTuple

LIMIT_S = 120
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["mmpretrain.datasets", "mmpretrain.models", "vdt3d.engine"])


class Outcome(NamedTuple):
    """Exit code of a process and what its function returned, or the error it raised, as text."""

    code: int
    result: object


def call(function: Callable, *args: object, environment: dict[str, str] | None = None) -> Outcome:
    """Run ``function`` in a process and wait for it."""
    return together((function, args, environment or {}))[0]


def together(*calls: tuple[Callable, tuple, dict[str, str]]) -> list[Outcome]:
    """Run functions with their arguments and environments side by side and wait for all."""
    started = []
    for function, args, environment in calls:
        ours, theirs = _CONTEXT.Pipe(duplex=False)
        process = _CONTEXT.Process(target=_body, args=(theirs, function, args, environment))
        process.start()
        theirs.close()
        started.append((process, ours))
    return [_outcome(process, pipe) for process, pipe in started]


def ranks(function: Callable, args: tuple, port: int, world_size: int = 2) -> list[Outcome]:
    """Run ``function`` once per rank, in the environment torchrun would make."""
    common = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return together(
        *((function, args, {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(world_size))
    )


def _body(pipe: Connection, function: Callable, args: tuple, environment: dict[str, str]) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ.update(environment)
    try:
        pipe.send(function(*args))
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")
        raise


def _outcome(process: multiprocessing.Process, pipe: Connection) -> Outcome:
    try:
        if not pipe.poll(LIMIT_S):
            process.kill()
        result = pipe.recv()
    except EOFError:  # it was ended by a signal
        result = None
    process.join(LIMIT_S)
    return Outcome(process.exitcode, result)
