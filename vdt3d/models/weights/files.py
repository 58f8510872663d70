"""Checkpoints as files: found and read without running code, written aside and renamed.

Importing this module also puts its reader behind mmengine's own loader, so that every road by which a config or a
command can name a file (``load_from``, ``--resume``, ``init_cfg=dict(type='Pretrained')``, ``pretrained=``) is safe.
"""

import json
import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path, PurePath

import numpy as np
import safetensors.torch
import torch
from mmengine.runner.checkpoint import CheckpointLoader, get_torchvision_models
from torch import Tensor

from vdt3d.models.weights.download import download
from vdt3d.models.weights.errors import CheckpointError
from vdt3d.models.weights.sources import fetch_from_hub, read_timm, rename_by_order
from vdt3d.models.weights.zoo import cache_folder, fetch, find, hash_in
from vdt3d.utils.files import write_aside

# Where a checkpoint keeps its tensors: mmengine's and most; BEiT's and Swin's; DINO's, which has a student besides.
CONTAINERS = ("state_dict", "model", "teacher")
_META = "vdt3d"  # the key of our meta, as JSON, in the text that a safetensors file may carry


def read_checkpoint(path: str | Path, map_location: str | torch.device = "cpu") -> dict:
    """The content of a checkpoint file; nothing in it is executed.

    Args:
        path: a safetensors file or anything ``torch.save`` wrote.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: the file is empty, cut short, no checkpoint, or holds objects whose loading could run code.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such checkpoint file")
    if path.suffix == ".onnx":
        raise CheckpointError(
            f"{path}: is an exported network, which answers `vdt3d predict` alone; give the checkpoint it was made of"
        )
    if path.suffix == ".safetensors":
        try:
            tensors = safetensors.torch.load_file(path, device=str(map_location))
            meta = _safetensors_meta(path)
        except (safetensors.SafetensorError, json.JSONDecodeError) as error:
            raise CheckpointError(f"{path}: not a whole safetensors file ({error}); fetch or save it again") from error
        return {"state_dict": tensors, "meta": meta} if meta else tensors
    try:
        content = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_why_unreadable(path, error)) from error
    except Exception as error:  # whatever the bytes of a broken file make the parser stumble over
        raise CheckpointError(f"{path}: not a whole checkpoint ({error}); fetch or save it again") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a dictionary of tensors")
    return dict(content)


def _why_unreadable(path: Path, error: Exception) -> str:
    head = path.read_bytes()[:512].lstrip().lower()
    if head.startswith((b"<!doctype", b"<html")):
        return f"{path}: is a web page, not a checkpoint; the download failed, fetch it again"
    unsafe = re.search(r"(?:GLOBAL|global)\s+`?([\w.]+)", str(error))
    if unsafe is None:
        # What stands before is torch's advice to load it unsafely.
        reason = str(error).rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
        return f"{path}: is no checkpoint that can be read safely ({reason}); fetch or save it again"
    return (
        f"{path}: refused, because it holds '{unsafe.group(1)}', an object whose loading can run code; only tensors "
        "and plain containers are loaded. If you trust its source, save its state_dict alone with the program that "
        "made it"
    )


def write_checkpoint(content: dict, path: str | Path) -> None:
    """Save plain containers and tensors to ``path``; the old file stays until the new one is whole.

    Raises:
        CheckpointError: the content holds an object that ``read_checkpoint`` would refuse.
        OSError: the disk is full; what stood at ``path`` before is untouched.
    """
    path = Path(path)
    require_plain(content, path.name)

    def save(aside: Path) -> None:
        # A Python file object turns a full disk into an OSError; torch's own writer would abort with less to say.
        with aside.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())

    write_aside(path, save)


def write_weights(state: Mapping[str, Tensor], path: str | Path, *, meta: Mapping) -> None:
    """Save tensors and what is to be known of them, as safetensors where ``path`` ends so, else as a checkpoint.

    ``read_checkpoint`` gives both back, as ``state_dict`` and ``meta``.

    Args:
        meta: plain values (of JSON), such as ``dataset_meta``.

    Raises:
        OSError: the disk is full; what stood at ``path`` before is untouched.
    """
    path = Path(path)
    # Clones, because tensors that share their memory cannot be told apart in a safetensors file.
    tensors = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in state.items()}
    if path.suffix == ".safetensors":
        content = safetensors.torch.save(tensors, {"format": "pt", _META: json.dumps(plain(meta))})
        write_aside(path, lambda aside: aside.write_bytes(content))
    else:
        write_checkpoint({"state_dict": tensors, "meta": plain(meta)}, path)


def _safetensors_meta(path: Path) -> dict:
    """What ``write_weights`` was told of the tensors in a safetensors file; empty if another program wrote it."""
    with safetensors.safe_open(path, framework="pt") as file:
        return json.loads((file.metadata() or {}).get(_META, "{}"))


def plain(value: object) -> object:
    """Return NumPy values, tuples, paths and the like as what a safe checkpoint may contain."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value) if isinstance(value, PurePath) else value


def require_plain(content: object, where: str) -> None:
    """Raise CheckpointError for an object that ``read_checkpoint`` would refuse; ``where`` begins its name."""
    # Exact types: safe loading refuses even a subclass of str.
    if type(content) in (dict, OrderedDict):
        for key, value in content.items():
            require_plain(key, f"a key of {where}")
            require_plain(value, f"{where}[{key!r}]")
    elif type(content) in (list, tuple):
        for index, value in enumerate(content):
            require_plain(value, f"{where}[{index}]")
    elif not isinstance(content, Tensor) and type(content) not in (str, int, float, bool, type(None)):
        kind = type(content).__name__
        raise CheckpointError(f"{where} is a {kind}; a checkpoint holds tensors and plain values only")


def state_dict_of(checkpoint: Mapping, source: str = "checkpoint") -> dict[str, Tensor]:
    """The tensors of a checkpoint, whether bare or inside one of ``CONTAINERS``.

    Raises:
        CheckpointError: there is no dictionary of tensors in it.
    """
    state = next((checkpoint[key] for key in CONTAINERS if isinstance(checkpoint.get(key), Mapping)), checkpoint)
    entries = state.items() if isinstance(state, Mapping) else ()
    tensors = {key: value for key, value in entries if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{source}: holds no tensors, neither bare nor inside one of {', '.join(CONTAINERS)}")
    return tensors


def read_any(name: str, map_location: str | torch.device | None = "cpu") -> dict:
    """Read a checkpoint by path, ``http(s)://`` address, ``zoo:NAME``, ``torchvision://NAME``, ``timm://NAME`` or
    ``hf://OWNER/REPO[/FILE]``.

    Raises:
        FileNotFoundError: no file at the path.
        CheckpointError: another scheme, a download that failed, or an unsafe or broken file.
    """
    if name.startswith("timm://"):
        return {"state_dict": read_timm(name.removeprefix("timm://"))}
    content = read_checkpoint(local_copy(name), map_location or "cpu")
    if name.startswith("zoo:") and (network := find(name.removeprefix("zoo:")).network):
        content = {"state_dict": rename_by_order(state_dict_of(content, name), network, name)}
    return content


def local_copy(name: str) -> Path:
    """Return the file that a path, address or name stands for, downloaded to a cache folder unless it is there.

    A download is checked against the hash the zoo lists, or the one a file name has as ``-<hash>``.

    Raises:
        CheckpointError: another scheme, an unknown name, or a download that failed.
    """
    scheme, divider, rest = name.partition("://")
    if not divider and not name.startswith("zoo:"):
        return Path(name)
    if scheme == "hf":
        return fetch_from_hub(name)
    if scheme in ("torchvision", "modelzoo"):
        known = get_torchvision_models()
        if rest not in known:
            raise CheckpointError(f"{name}: no weights of torchvision; give the name of one of its models")
        name, scheme = known[rest], "https"
    if divider and scheme not in ("http", "https"):
        raise CheckpointError(
            f"{name}: '{scheme}://' is not supported; give a path, http(s)://, torchvision://, timm://, hf:// or zoo:"
        )
    try:
        if not divider:
            return fetch(name.removeprefix("zoo:"))
        path = cache_folder() / name.rpartition("/")[2]
        download(name, path, sha256=hash_in(path.name))
    except (ValueError, OSError) as error:
        raise CheckpointError(str(error)) from error
    return path


for _scheme in list(CheckpointLoader._schemes):  # every one, so that no road is left to unpickle freely
    CheckpointLoader.register_scheme(_scheme, loader=read_any, force=True)
