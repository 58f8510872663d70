"""EnsembleHook: tests several networks as one."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.hooks import Hook

from vdt3d.engine.ensemble import join, loaded
from vdt3d.engine.runner import Runner
from vdt3d.registry import HOOKS


@HOOKS.register_module()
class EnsembleHook(Hook):
    """Tests with further checkpoints beside the one the runner loads, with draws of dropout, or both.

    Args:
        checkpoints: paths, http(s):// addresses or torchvision:// names.
        mc_dropout: as ``join``'s.
    """

    def __init__(self, checkpoints: Sequence[str | Path] = (), mc_dropout: int = 0):
        self.checkpoints, self.mc_dropout = [str(path) for path in checkpoints], mc_dropout

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        model = runner.bare_model
        device = next(model.parameters()).device
        others = [loaded(runner.cfg, path, device) for path in self.checkpoints]
        join([model, *others], mc_dropout=self.mc_dropout)
