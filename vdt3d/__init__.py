"""VDT3D: 3D medical models from 2D knowledge, by the variable dimension transform and its peers."""

import importlib
from typing import Any

from vdt3d.moved import install

__version__ = "0.1.0"
install()


EXPORTED = {
    "Predictor": "vdt3d.apis.predictor",
    "create_backbone": "vdt3d.models.create",
    "load_pretrained": "vdt3d.models.weights.load",
    "to_3d": "vdt3d.models.inflate",
}


def __getattr__(name: str) -> Any:
    if name in EXPORTED:  # late: they bring PyTorch, which takes seconds
        from vdt3d.cli.config import quiet_imports

        quiet_imports()
        return getattr(importlib.import_module(EXPORTED[name]), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
