"""VDT3D: 3D medical models from 2D knowledge, by the variable dimension transform and its peers."""

from typing import Any

from vdt3d.moved import install

__version__ = "0.1.0"
install()


def __getattr__(name: str) -> Any:
    if name == "Predictor":  # late: it brings PyTorch, which takes seconds
        from vdt3d.cli.config import quiet_imports

        quiet_imports()
        from vdt3d.apis.predictor import Predictor

        return Predictor
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
