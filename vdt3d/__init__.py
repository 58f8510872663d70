"""VDT3D: 3D medical models from 2D knowledge, by the variable dimension transform and its peers."""

from typing import Any

from vdt3d.moved import install

__version__ = "0.1.0"
install()


# Imported on first use, since they bring PyTorch, which takes seconds.
_LAZY = {
    "Predictor": "vdt3d.apis.predictor",
    "create_backbone": "vdt3d.models.create",
    "load_pretrained": "vdt3d.models.weights.load",
    "to_3d": "vdt3d.models.inflate.modules",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from importlib import import_module

    from vdt3d.cli.config import quiet_imports

    quiet_imports()
    return getattr(import_module(_LAZY[name]), name)
