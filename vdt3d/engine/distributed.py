"""Joining the process group on the device at hand: NCCL on GPUs, gloo on CPUs, under torchrun or Slurm."""

import gc
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed
from mmengine.device import get_device
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from torch import nn

LAUNCHERS = ("none", "pytorch", "slurm")


# Number and rank of the processes of a group, as torchrun, srun and mpirun give them to each.
GROUPS = {
    "pytorch": ("WORLD_SIZE", "RANK"),
    "slurm": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    "mpi": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
}


def require_launcher(launcher: str) -> int:
    """Check that processes which were started together also run together, and return the rank of this one.

    Raises:
        ValueError: this is one of several processes, but no launcher is given; each would do all of the work alone, in
            the same folder.
    """
    if launcher != "none":
        return int(os.environ.get(GROUPS[launcher][1], 0)) if launcher in GROUPS else 0
    for name, (size, _) in GROUPS.items():
        if int(os.environ.get(size) or 1) > 1:
            remedy = f"give --launcher {name}" if name in LAUNCHERS else "start with tools/dist_train.sh"
            raise ValueError(
                f"{os.environ[size]} processes were started ({size}), but --launcher is none, so that each would do "
                f"all of the work in the same folder; {remedy}, or start one process"
            )
    return 0


def init_distributed(launcher: str, timeout_s: float) -> None:
    """Join the process group whose place in it torchrun or Slurm put into the environment.

    Args:
        timeout_s: how long a process waits for the others before it gives up.

    Raises:
        ValueError: an unknown launcher, or an environment in which that launcher did not start this process.
    """
    if launcher not in LAUNCHERS:
        raise ValueError(f"launcher '{launcher}' is unknown; there are {', '.join(LAUNCHERS)}")
    if launcher == "slurm":
        _read_slurm()
    absent = [
        name for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ
    ]
    if absent:
        raise ValueError(
            f"{', '.join(absent)} not set: start with tools/dist_train.sh (torchrun) or "
            "tools/slurm_train.sh, or give --launcher none for a single process"
        )
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        local_rank, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local_rank >= gpus:
            raise ValueError(f"process {local_rank} of this node has no GPU of its own: there are {gpus}; start {gpus}")
        torch.cuda.set_device(local_rank)
    torch.distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=timedelta(seconds=timeout_s))


def distribute(model: nn.Module, distributed: bool, *, find_unused_parameters: bool = False) -> nn.Module:
    """Wrap a model that is on its device in DistributedDataParallel, or return it where there is one process.

    Synchronised batch norm becomes ordinary batch norm on CPUs and in one process: statistics across processes exist on
    GPUs only.
    """
    on_cpu = get_device() == "cpu"
    if on_cpu or not distributed:
        model = revert_sync_batchnorm(model)
    if not distributed:
        return model
    with warnings.catch_warnings():  # the oldest supported torch lacks the argument's new name
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return MMDistributedDataParallel(
            model,
            device_ids=None if on_cpu else [int(os.environ["LOCAL_RANK"])],
            broadcast_buffers=False,
            find_unused_parameters=find_unused_parameters,
        )


@contextmanager
def distributed_left_after() -> Iterator[None]:
    """Leave the process group once the block is done, or was asked to stop in order (SystemExit).

    Left to the interpreter's end, a finished process has been seen to abort ("terminate called without an active
    exception"), most likely in a thread of gloo's that outlived Python; too rare to be shown at will. After an error
    the group is not left: its collectives may still wait for processes that will not come.
    """
    try:
        yield
    except SystemExit:
        _leave()
        raise
    _leave()


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        gc.collect()  # the group's threads end with the last model that refers to it, which may be part of a cycle


def _read_slurm() -> None:
    """Translate Slurm's variables to torchrun's; slurm_train.sh sets MASTER_ADDR, one node needs none."""
    if "SLURM_PROCID" not in os.environ:
        raise ValueError("launcher='slurm' but SLURM_PROCID is not set: start with tools/slurm_train.sh (srun)")
    os.environ.update(
        RANK=os.environ["SLURM_PROCID"], LOCAL_RANK=os.environ["SLURM_LOCALID"], WORLD_SIZE=os.environ["SLURM_NTASKS"]
    )
    os.environ.setdefault("MASTER_PORT", "29500")
    if os.environ.get("SLURM_NNODES", "1") == "1":
        os.environ.setdefault("MASTER_ADDR", socket.gethostname())
