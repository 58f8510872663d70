"""Weights & Biases: a resumed run continues the run that it began there, whose id is kept in the work directory."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.visualization import Visualizer, WandbVisBackend

from vdt3d.engine.work_dir import WANDB_RUN
from vdt3d.utils.files import write_aside


def continue_wandb_run(visualizer: Mapping[str, Any], work_dir: Path) -> dict[str, Any]:
    """Return the config of a visualizer whose Weights & Biases backends continue the run of ``work_dir``, if any.

    A backend whose ``init_kwargs`` name an ``id`` keeps it.
    """
    visualizer, file = copy.deepcopy(dict(visualizer)), work_dir / WANDB_RUN
    if file.is_file():
        # Some settings of a resumed run may differ, such as its length; W&B would refuse them.
        known = dict(id=file.read_text(encoding="utf-8").strip(), resume="allow", allow_val_change=True)
        for backend in visualizer.get("vis_backends") or ():
            if str(backend.get("type")).endswith("WandbVisBackend"):
                backend["init_kwargs"] = known | dict(backend.get("init_kwargs") or {})
    return visualizer


def keep_wandb_run(visualizer: Visualizer, work_dir: Path) -> None:
    """Write the id of a run at Weights & Biases into its work directory."""
    for backend in visualizer._vis_backends.values():
        if isinstance(backend, WandbVisBackend):
            run = backend.experiment.run.id
            write_aside(work_dir / WANDB_RUN, lambda aside, text=run: aside.write_text(text, encoding="utf-8"))
