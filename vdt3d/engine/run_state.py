"""All that a run consists of, as plain containers that a checkpoint holds, and the way back into a run."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mmengine
import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MessageHub, MMLogger
from mmengine.optim import OptimWrapper, _ParamScheduler
from mmengine.runner.base_loop import BaseLoop
from torch import Tensor, nn

import vdt3d
from vdt3d.engine.schedules import follow, same_schedule, state_of
from vdt3d.models.weights.files import CheckpointError, plain
from vdt3d.utils.random import rng_state, set_rng_state

PARTS = ("meta", "state_dict", "optimizer", "message_hub", "processes")


@dataclass(frozen=True)
class RunParts:
    """The parts of a run that its checkpoints contain.

    Args:
        model: without what distributes it.
        optimizer: the optimizer wrapper.
        schedulers: of the optimizer's settings.
        messages: the scalars of the log.
        loop: of the training.
    """

    model: nn.Module
    optimizer: OptimWrapper
    schedulers: Sequence[_ParamScheduler]
    messages: MessageHub
    loop: BaseLoop


def state_of_run(parts: RunParts, processes: list[dict[str, Any]], meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a checkpoint.

    Args:
        parts: of the run.
        processes: ``state_of_process`` of each.
        meta: about the run: ``epoch`` and ``iter`` (finished ones), ``validated`` (whether this state has been
            validated), ``seed``, ``experiment_name``, ``cfg``.
    """
    loader = parts.loop.dataloader
    return {
        "meta": {
            **meta,
            "epoch_length": len(loader),
            "time": time.strftime("%Y-%m-%d %H:%M:%S"),
            "versions": {
                "vdt3d": vdt3d.__version__,
                "mmengine": mmengine.__version__,
                "torch": str(torch.__version__),
            },
            "dataset_meta": plain(loader.dataset.metainfo),
        },
        "state_dict": {key: value.detach().cpu() for key, value in parts.model.state_dict().items()},
        "optimizer": _optimizer_state(parts.optimizer),
        "param_schedulers": [state_of(scheduler) for scheduler in parts.schedulers],
        "message_hub": _pack_messages(parts.messages),
        "processes": processes,
    }


def _optimizer_state(optimizer: OptimWrapper) -> dict[str, Any]:
    """Return the optimizer's state, in which NumPy numbers, such as a rate that a schedule computed, are Python's."""
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        group.update({name: value.item() for name, value in group.items() if isinstance(value, np.generic)})
    return state


def state_of_process(parts: RunParts) -> dict[str, Any]:
    """Return what differs between processes: random generators and, between two optimizer steps, gradients."""
    optimizer, state = parts.optimizer, rng_state()
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    if optimizer._inner_count % optimizer._accumulative_counts:
        parameters = parts.model.named_parameters()
        state["gradients"] = {name: p.grad.cpu() for name, p in parameters if p.grad is not None}
    return state


def require_state_of_run(checkpoint: dict[str, Any], name: str, *, averages: bool) -> None:
    """Raise CheckpointError unless a run can go on from a checkpoint.

    Args:
        checkpoint: what is in the file.
        name: the file.
        averages: whether the run averages its weights.
    """
    if absent := [part for part in PARTS if part not in checkpoint]:
        raise CheckpointError(
            f"{name}: no {', '.join(absent)} in it, so it cannot be resumed; to start from its weights, use "
            f"--cfg-options load_from={name} without --resume"
        )
    if "ema_state_dict" in checkpoint and not averages:
        raise CheckpointError(
            f"{name}: its run averaged the weights, so it goes on only with the same EMAHook or SWAHook; to "
            "start from their average, use load_from without --resume"
        )


def resume_run(
    parts: RunParts, checkpoint: dict[str, Any], name: str, *, rank: int, world_size: int
) -> dict[str, Any] | None:
    """Set the parts of a run to where a checkpoint was written.

    Args:
        parts: of the run; changed in place.
        checkpoint: the content of the file.
        name: of the file, for messages.
        rank, world_size: of this process, and number of processes.

    Returns:
        The state for ``set_generators`` right before the first step; None where generators begin anew.

    Raises:
        CheckpointError: the checkpoint belongs to another model, optimizer or schedule.
    """
    meta = checkpoint["meta"]
    _resume_model(parts.model, checkpoint["state_dict"], name)
    parts.loop.resume_at(meta["epoch"], meta["iter"], meta["epoch_length"])
    _unpack_messages(parts.messages, checkpoint["message_hub"])
    _resume_optimizer(parts, checkpoint)
    return _resume_process(parts.model, checkpoint["processes"], rank, world_size)


def _resume_model(model: nn.Module, state: dict[str, Tensor], name: str) -> None:
    """Load the weights of a run, which must have the model's names and shapes exactly.

    Raises:
        CheckpointError: they do not.
    """
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in state.items()}
    unlike = sorted(key for key in wanted.keys() | given.keys() if wanted.get(key) != given.get(key))
    if unlike:
        key = unlike[0]
        raise CheckpointError(
            f"{name}: {len(unlike)} of its tensors are not those of the model ({key}: file {given.get(key, 'none')}, "
            f"model {wanted.get(key, 'none')}), so the run cannot be resumed; to start from its weights, use load_from"
        )
    model.load_state_dict(state)


def set_generators(state: dict[str, Any]) -> None:
    """Put the random generators of this process, the GPU's too, where ``resume_run`` found them."""
    set_rng_state(state)
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def _resume_optimizer(parts: RunParts, checkpoint: dict[str, Any]) -> None:
    schedulers, saved, optimizer, loop = parts.schedulers, checkpoint["param_schedulers"], parts.optimizer, parts.loop
    same = same_schedule(schedulers, saved) and loop.iter == checkpoint["meta"]["iter"]
    values = [] if same else follow(schedulers, optimizer, loop.epoch, loop.iter, len(loop.dataloader))
    _compare_settings(parts, checkpoint["optimizer"]["param_groups"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    if same:
        for scheduler, state in zip(schedulers, saved, strict=True):
            scheduler.load_state_dict(state)
        return
    before = optimizer.param_groups[0]["lr"]
    for group, new in zip(optimizer.param_groups, values, strict=True):
        group.update(new)
    MMLogger.get_current_instance().warning(
        "The run's length or its schedule is not the checkpoint's, so the schedule was rebuilt and followed up to "
        f"here: learning rate {before:.6g} -> {optimizer.param_groups[0]['lr']:.6g}"
    )


def _compare_settings(parts: RunParts, saved: list[dict[str, Any]]) -> None:
    """Refuse the parameter groups of another optimizer, and say which settings of this one they replace."""
    moving = {"initial_lr", *(scheduler.param_name for scheduler in parts.schedulers)}
    changed = {}
    for one, other in zip(parts.optimizer.param_groups, saved, strict=False):  # it refuses more or fewer itself
        if foreign := sorted(other.keys() - one.keys()):
            raise CheckpointError(
                f"the checkpoint's run had another optimizer, with {', '.join(foreign)}: keep that one, or start "
                "from the weights, with load_from and without --resume"
            )
        kept = one.keys() & other.keys() - moving - {"params"}
        changed |= {name: (other[name], one[name]) for name in kept if other[name] != one[name]}
    for name, (old, new) in sorted(changed.items()):
        MMLogger.get_current_instance().warning(f"The checkpoint's {name} {old} replaces this config's {new}")


def _resume_process(
    model: nn.Module, states: list[dict[str, Any]], rank: int, world_size: int
) -> dict[str, Any] | None:
    if len(states) != world_size:
        MMLogger.get_current_instance().warning(
            f"The checkpoint comes from {len(states)} processes and this run has {world_size}: the data order is "
            "continued, but dropout and other draws on the model's side begin anew"
        )
        return None
    state, parameters = states[rank], dict(model.named_parameters())
    for name, gradient in state.get("gradients", {}).items():
        parameters[name].grad = gradient.to(parameters[name].device)
    return state


def _pack_messages(hub: MessageHub) -> dict[str, Any]:
    state = hub.state_dict()
    known = (str, int, float, list, tuple, dict, np.ndarray, np.generic, type(None))
    return {
        "log_scalars": {
            name: [torch.from_numpy(part) for part in buffer.data] for name, buffer in state["log_scalars"].items()
        },
        "runtime_info": {
            name: plain(value) for name, value in state["runtime_info"].items() if isinstance(value, known)
        },
        "resumed_keys": dict(state["resumed_keys"]),
    }


def _unpack_messages(hub: MessageHub, state: dict[str, Any]) -> None:
    scalars = {name: HistoryBuffer(*(part.numpy() for part in parts)) for name, parts in state["log_scalars"].items()}
    known = scalars.keys() | state["runtime_info"].keys()
    resumed = {name: flag for name, flag in state["resumed_keys"].items() if name in known}
    hub.load_state_dict({**state, "log_scalars": scalars, "resumed_keys": resumed})
