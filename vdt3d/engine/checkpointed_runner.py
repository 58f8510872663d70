"""Checkpoints of a run: what is loaded, written and resumed, and when."""

from functools import cached_property
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import EMAHook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner as MMRunner
from mmengine.runner.base_loop import BaseLoop
from torch import nn

from vdt3d.engine.run_state import (
    RunParts,
    require_state_of_run,
    resume_run,
    set_generators,
    state_of_process,
    state_of_run,
)
from vdt3d.engine.work_dir import latest_checkpoint
from vdt3d.models.weights.files import read_any, require_plain, state_dict_of, write_checkpoint
from vdt3d.models.weights.load import load_pretrained


class CheckpointedRunner(MMRunner):
    """mmengine's runner with checkpoints that hold plain values only and resume a run exactly."""

    resumed_unvalidated = False
    _random_state: dict[str, Any] | None = None

    @property
    def bare_model(self) -> nn.Module:
        """The model itself, without what distributes it."""
        return self.model.module if is_model_wrapper(self.model) else self.model

    def load_or_resume(self) -> None:
        """Fill the model from the file the config names, or the last of the work directory, once."""
        if self._has_loaded:
            return
        self._has_loaded = True
        if self._resume and self.training:
            source = latest_checkpoint(Path(self.work_dir)) if self._resume is True else self._resume
            if source is not None:
                self.resume(str(source))
                return
            self.logger.info(f"Nothing to resume in {self.work_dir}: starting from the beginning")
            self._resume = False  # EMA asks
        if self._load_from is not None:
            self.load_checkpoint(str(self._load_from), heads=not self.training)

    @property
    def training(self) -> bool:
        """Whether ``train`` was called, and not ``val`` or ``test`` alone."""
        return isinstance(self._train_loop, BaseLoop)

    @property
    def epoch(self) -> int:
        """How many are finished; 0 where none is to be, for which mmengine would read the training data."""
        return self._train_loop.epoch if self.training else 0

    @property
    def iter(self) -> int:
        """The same of iterations."""
        return self._train_loop.iter if self.training else 0

    def load_checkpoint(self, filename: str, map_location: str = "cpu", *, heads: bool = False) -> None:
        """Fill the model by ``load_pretrained``, with the config's ``inflate`` and ``min_matched``.

        Args:
            heads: the heads must fit too (testing), and no tensor is adapted.

        Raises:
            CheckpointError: as ``load_pretrained``.
        """
        report = load_pretrained(
            self.bare_model,
            state_dict_of(read_any(filename, map_location), filename),
            inflate=self.cfg.get("inflate"),
            heads=heads,
            min_matched=None if heads else self.cfg.get("min_matched"),
            name=filename,
        )
        self.logger.info(f"Loaded weights\n{report}")
        self.call_hook("after_load_checkpoint", checkpoint={"state_dict": self.bare_model.state_dict()})

    def save_checkpoint(
        self, out_dir: str, filename: str, *, epoch: int, iteration: int, validated: bool = False
    ) -> None:
        """Write all that a run consists of, in plain containers; every process must call it.

        Args:
            epoch, iteration: how many are finished.
            validated: whether this state has been validated already.

        Raises:
            OSError: the disk is full; a file of that name that was there stays whole.
        """
        processes = all_gather_object(state_of_process(self._parts))
        if not is_main_process():
            return
        checkpoint = state_of_run(self._parts, processes, self._meta(epoch, iteration, validated))
        self.call_hook("before_save_checkpoint", checkpoint=checkpoint)
        write_checkpoint(checkpoint, Path(out_dir) / filename)

    def require_savable(self) -> None:
        """Check before the first step that the state of the run can be saved; the loops call it.

        Raises:
            CheckpointError: it contains an object that no checkpoint may contain; the message names its place.
        """
        if is_main_process():
            require_plain(state_of_run(self._parts, [], self._meta(self.epoch, self.iter, False)), "checkpoint")

    @property
    def _parts(self) -> RunParts:
        schedulers = self.param_schedulers or []
        return RunParts(self.bare_model, self.optim_wrapper, schedulers, self.message_hub, self.train_loop)

    def _meta(self, epoch: int, iteration: int, validated: bool) -> dict[str, Any]:
        about = {"seed": self.seed, "experiment_name": self.experiment_name, "cfg": self.config_text}
        return {"epoch": epoch, "iter": iteration, "validated": validated, **about}

    @cached_property
    def config_text(self) -> str:
        """The config as python."""
        return self.cfg.pretty_text  # formatted anew at every call, which takes long

    def resume(self, filename: str, **_) -> None:
        """Resume a run from a checkpoint, exactly as if it had not stopped.

        Raises:
            CheckpointError: the file holds weights only, or belongs to another model or schedule.
        """
        checkpoint = read_any(filename, "cpu")
        require_state_of_run(checkpoint, filename, averages=any(isinstance(hook, EMAHook) for hook in self.hooks))
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)  # EMA takes its part and puts ours in its place
        self._resume_seed(checkpoint["meta"]["seed"])
        self._random_state = resume_run(self._parts, checkpoint, filename, rank=self.rank, world_size=self.world_size)
        self.resumed_unvalidated = not checkpoint["meta"]["validated"]
        self.logger.info(f"Resumed {filename}: {self.epoch} epochs and {self.iter} iterations are done")

    def _resume_seed(self, seed: int) -> None:
        if seed == self.seed:
            return
        self.logger.warning(f"The checkpoint's seed {seed} replaces this config's {self.seed}")
        self._randomness_cfg["seed"] = seed
        self.set_randomness(**self._randomness_cfg)
        for loop in (self._train_loop, self._val_loop):
            if loop is not None:
                loop.dataloader.sampler.seed = seed

    def restore_random_state(self) -> None:
        """Put the random generators where the resumed checkpoint left them; the loops call it before the first step."""
        if self._random_state is not None:
            set_generators(self._random_state)
        self._random_state = None
