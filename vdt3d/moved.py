"""Old import paths of modules that moved; they work for one release, with a DeprecationWarning."""

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

MOVED = {
    "medseg.models.backbones": "vdt3d.models.backbones",
    "medseg.models.backbones.unet3d": "vdt3d.models.backbones.unet3d",
    "vdt3d.datasets.synthetic.gi_slices": "medseg.datasets.gi_slices",
    "vdt3d.engine.calibration": "vdt3d.experiments.calibration",
    "vdt3d.engine.comparison": "vdt3d.experiments.comparison",
    "vdt3d.engine.explanations": "vdt3d.apis.explanations",
    "vdt3d.engine.export": "vdt3d.apis.export",
    "vdt3d.engine.folds": "vdt3d.experiments.folds",
    "vdt3d.engine.lr_finder": "vdt3d.experiments.lr_finder",
    "vdt3d.engine.overfit": "vdt3d.experiments.overfit",
    "vdt3d.engine.prediction_files": "vdt3d.apis.prediction_files",
    "vdt3d.engine.predictor": "vdt3d.apis.predictor",
    "vdt3d.engine.tuning": "vdt3d.experiments.tuning",
    "vdt3d.io.masks": "medseg.io.masks",
    "vdt3d.io.rle": "medseg.io.rle",
    "vdt3d.models.backbones.picture_encoder": "vdt3d.models.backbones.window_encoder",
    "vdt3d.models.inflate.layouts": "vdt3d.models.weights.layouts",
    "vdt3d.models.inflate.recognition": "vdt3d.models.weights.recognition",
    "vdt3d.models.inflate.weights": "vdt3d.models.weights.adapt",
    "vdt3d.models.layers.attention": "vdt3d.models.backbones.attention",
    "vdt3d.utils.checkpoint": "vdt3d.models.weights.files",
    "vdt3d.utils.download": "vdt3d.models.weights.download",
    "vdt3d.utils.loading": "vdt3d.models.weights.load",
    "vdt3d.utils.zoo": "vdt3d.models.weights.zoo",
}


class MovedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import hook that returns the module at its new path for an old one of ``MOVED``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname in MOVED else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        new = MOVED[spec.name]
        warnings.warn(f"{spec.name} is now {new}; the old name will be removed", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(new)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has written the old name's


def install() -> None:
    """Add the import hook, once, before all others: a moved package would find its modules under the old name anew."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.insert(0, MovedModules())
