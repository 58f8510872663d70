"""Turn errors of mmengine and torch that a config caused into one line that names the part concerned."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

import mmengine
import torch
from torch import nn

from vdt3d.utils.signatures import nearest, parameters

_MMENGINE, _TORCH = (module.__path__[0] for module in (mmengine, torch))


@contextmanager
def config_errors() -> Iterator[None]:
    """Raise ValueError for an error that the config caused while a run was built, or in the model's own code.

    Raises:
        ValueError: ``explain`` has a message for the error, which is its cause.
    """
    try:
        yield
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        raise ValueError(message) from error


def explain(error: Exception) -> str | None:
    """Return one line on an error that the config caused; None for what is likely an error of this project."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    building = [frame for frame in frames if frame.f_code.co_name == "build_from_cfg"]
    text = " ".join(str(error.args[0] if error.args else error).split())
    if building and isinstance(error, TypeError | AttributeError):  # an unknown or missing argument, or a wrong type
        kind, cls = (building[-1].f_locals.get(name) for name in ("obj_type", "obj_cls"))
        unknown = re.search(r"unexpected keyword argument '(\w+)'", text)
        hint = nearest(unknown[1], parameters(cls)[0]) if unknown and cls else ""
        place = f"where type={getattr(kind, '__name__', kind)!r} is built from the config"
        return f"{text}, {place}{hint} (--debug shows more)"
    if building and isinstance(error, KeyError) and frames[-1] is building[-1]:  # there is no type to build
        return text
    if isinstance(error, AssertionError) and text and frames and frames[-1].f_code.co_filename.startswith(_MMENGINE):
        return text
    if isinstance(error, RuntimeError | IndexError) and not isinstance(error, torch.OutOfMemoryError):
        return _in_model(text, frames)
    return None


def _in_model(text: str, frames: list) -> str | None:
    """Return the message of an error of torch's with the name of the module that raised it, if a module did."""
    modules = [frame.f_locals.get("self") for frame in frames if frame.f_code.co_name != "__init__"]
    modules = [module for module in modules if isinstance(module, nn.Module)]
    if not modules:
        return None
    root, inner = modules[0], modules[-1]
    name = next((name for name, module in root.named_modules() if module is inner), "")
    if not name and not frames[-1].f_code.co_filename.startswith(_TORCH):
        return None
    place = f"model.{name} ({type(inner).__name__})" if name else f"model ({type(inner).__name__})"
    return f"{place}: {text}; channels, sizes and classes of data and model must agree (--debug shows more)"
