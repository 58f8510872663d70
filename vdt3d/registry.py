"""The registries: names in a config become classes, and a misspelt name is answered with its nearest neighbours.

An unscoped name is looked up in vdt3d (medseg's parts included), then in mmengine, then in mmpretrain and mmseg, whose
parts serve volumes where they are free of dimensions (losses, heads, pooling). A name with a scope
(``mmpretrain.ResNet``) is looked up there only.
"""

import difflib
import inspect
import sys
from importlib import import_module
from pathlib import Path

from mmengine import registry as root
from mmengine.registry import Registry as MMRegistry

SIBLINGS = ("mmpretrain", "mmseg")


class UnknownTypeError(KeyError):
    """A config names a ``type`` that no registry knows."""

    def __str__(self) -> str:  # KeyError would print the repr, with escaped line breaks
        return str(self.args[0])


class Registry(MMRegistry):
    """A child of one of mmengine's registries that helps whoever misspells a name."""

    def get(self, key: str) -> type:
        """The class or function registered as ``key``.

        Raises:
            UnknownTypeError: nothing of that name; the message holds the nearest names and the file each lives in.
        """
        found = super().get(key)
        if found is None and "." not in key:
            found = next(filter(None, (sibling.get(key) for sibling in self._siblings())), None)
        if found is None:
            raise UnknownTypeError(self._explain(key))
        return found

    def __contains__(self, key: str) -> bool:
        try:
            return self.get(key) is not None
        except UnknownTypeError:
            return False

    def known(self) -> dict[str, type]:
        """Every name this registry answers to, nearest scope first: vdt3d, mmengine, mmpretrain, mmseg."""
        self.import_from_location()
        names: dict[str, type] = {}
        for registry in (self, self.parent, *self._siblings()):
            registry.import_from_location()
            for name, part in registry.module_dict.items():
                names.setdefault(name, part)
        return names

    def _siblings(self) -> list[MMRegistry]:
        for scope in SIBLINGS:
            import_module(f"{scope}.registry")
        return [self.parent.children[scope] for scope in SIBLINGS if scope in self.parent.children]

    def _explain(self, key: str) -> str:
        known = self.known()
        wanted = key.rpartition(".")[2].lower()
        spelled = {name.lower(): name for name in known}
        near = [spelled[name] for name in difflib.get_close_matches(wanted, spelled, n=3, cutoff=0.6)]
        if not near:
            return f"no {self.name} is registered as '{key}'; registered here: {', '.join(sorted(self.module_dict))}"
        places = ", ".join(f"'{name}' ({where(known[name])})" for name in near)
        return f"no {self.name} is registered as '{key}'; did you mean {places}?"


def where(part: object) -> str:
    """The file and line a registered part is defined at, as ``package/module.py:line``."""
    part = inspect.unwrap(part) if callable(part) else part
    module = getattr(part, "__module__", None)
    try:
        path, line = Path(inspect.getfile(part)), inspect.getsourcelines(part)[1]
    except (TypeError, OSError):  # built-in or compiled: the module is all there is to say
        return str(module)
    top = sys.modules[module.partition(".")[0]]
    base = Path(top.__file__).parent if getattr(top, "__file__", None) else path.parent
    base = base.parent if (base / "__init__.py").exists() else base
    shown = path.relative_to(base) if path.is_relative_to(base) else path
    return f"{shown.as_posix()}:{line}"


def _child(name: str, parent: MMRegistry, *locations: str) -> Registry:
    return Registry(name, parent=parent, scope="vdt3d", locations=list(locations))


# Where each kind of part lives: named, not imported, for nothing of vdt3d may import medseg.
DATASETS = _child("dataset", root.DATASETS, "vdt3d.datasets", "medseg.datasets")
DATA_SAMPLERS = _child("data sampler", root.DATA_SAMPLERS, "vdt3d.engine")
TRANSFORMS = _child("transform", root.TRANSFORMS, "vdt3d.transforms")
MODELS = _child("model", root.MODELS, "vdt3d.models", "medseg.models")
METRICS = _child("metric", root.METRICS, "vdt3d.evaluation", "medseg.evaluation")
HOOKS = _child("hook", root.HOOKS, "vdt3d.engine")
LOOPS = _child("loop", root.LOOPS, "vdt3d.engine")
RUNNERS = _child("runner", root.RUNNERS, "vdt3d.engine")
OPTIM_WRAPPERS = _child("optimizer wrapper", root.OPTIM_WRAPPERS, "vdt3d.engine")
OPTIM_WRAPPER_CONSTRUCTORS = _child("optimizer wrapper constructor", root.OPTIM_WRAPPER_CONSTRUCTORS, "vdt3d.engine")
PARAM_SCHEDULERS = _child("parameter scheduler", root.PARAM_SCHEDULERS, "vdt3d.engine")
VISUALIZERS = _child("visualizer", root.VISUALIZERS, "vdt3d.engine")
VISBACKENDS = _child("visualizer backend", root.VISBACKENDS, "vdt3d.engine")
TASK_UTILS = _child("inferer", root.TASK_UTILS, "vdt3d.inference")

# Nothing of ours lives in these yet; without them mmengine warns at every look-up under our scope.
for _parent in (
    root.EVALUATOR,
    root.FUNCTIONS,
    root.INFERENCERS,
    root.LOG_PROCESSORS,
    root.MODEL_WRAPPERS,
    root.OPTIMIZERS,
    root.RUNNER_CONSTRUCTORS,
    root.STRATEGIES,
    root.WEIGHT_INITIALIZERS,
):
    _child(_parent.name, _parent)
