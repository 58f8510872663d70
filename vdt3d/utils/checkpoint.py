"""Checkpoints: read without running code, written aside and renamed, and loaded with a report that can refuse.

Importing this module also puts these rules behind mmengine's own loader, so that every road by which a config or a
command can name a file (``load_from``, ``--resume``, ``init_cfg=dict(type='Pretrained')``, ``pretrained=``) is safe.
"""

import json
import logging
import os
import pickle
import re
from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from mmengine.logging import print_log
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner.checkpoint import CheckpointLoader, get_torchvision_models
from torch import Tensor, nn

from vdt3d.utils.download import download
from vdt3d.utils.files import write_aside
from vdt3d.utils.zoo import cache_folder, fetch, hash_in

MIN_MATCHED = 0.9
# Where a checkpoint keeps its tensors: mmengine's and most; BEiT's and Swin's; DINO's, which has a student besides.
CONTAINERS = ("state_dict", "model", "teacher")
_META = "vdt3d"  # the key of our meta, as JSON, in the text that a safetensors file may carry
_WRAPPERS = ("module.", "_orig_mod.", "model.", "backbone.")  # of DDP, torch.compile, Lightning and whole models


class CheckpointError(ValueError):
    """A checkpoint cannot be read, or does not fit what it is loaded into."""


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
    _require_plain(content, path.name)

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
    """NumPy values, tuples and the like as what a safe checkpoint may hold."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value


def _require_plain(content: object, where: str) -> None:
    # Exact types: safe loading refuses even a subclass of str.
    if type(content) in (dict, OrderedDict):
        for key, value in content.items():
            _require_plain(key, f"a key of {where}")
            _require_plain(value, f"{where}[{key!r}]")
    elif type(content) in (list, tuple):
        for index, value in enumerate(content):
            _require_plain(value, f"{where}[{index}]")
    elif not isinstance(content, Tensor) and type(content) not in (str, int, float, bool, type(None)):
        kind = type(content).__name__
        raise CheckpointError(f"{where} is a {kind}; a checkpoint holds tensors and plain values only")


@dataclass(frozen=True)
class LoadReport:
    """What became of every key of a load.

    Args:
        source: the file.
        used: target keys filled from the file.
        changed: target keys filled from a file key of another name, as (file key, target key).
        left: file keys nothing was done with (no such target, or another shape).
        missing: target keys the file did not fill.
        part: the top-level parts of the target that the file speaks of, heads excluded (empty: a bare network).
        matched: share of that part's tensors that were filled.
    """

    source: str
    used: tuple[str, ...]
    changed: tuple[tuple[str, str], ...]
    left: tuple[str, ...]
    missing: tuple[str, ...]
    part: tuple[str, ...]
    matched: float

    def __str__(self) -> str:
        total = len(self.used) + len(self.missing)
        lines = [f"{self.source}: {len(self.used)} of {total} tensors filled"]
        if self.changed:
            lines.append(f"  {len(self.changed)} under another name, e.g. {' -> '.join(self.changed[0])}")
        for title, keys in (("missing in the file", self.missing), ("left over in the file", self.left)):
            if keys:
                shown = ", ".join(keys[:4]) + (", ..." if len(keys) > 4 else "")
                lines.append(f"  {len(keys)} {title}: {shown}")
        return "\n".join(lines)


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


def load_weights(
    target: nn.Module,
    source: str | Path | Mapping[str, Tensor],
    *,
    min_matched: float = MIN_MATCHED,
    heads: bool = False,
    name: str | None = None,
    hint: str = "",
) -> LoadReport:
    """Fill ``target`` from a file or a state dict and report every key.

    Prefixes are stripped or added as fits best (``names_in``). The part that must match is what the file speaks of: of
    a model with children ``backbone``, ``neck`` and ``head``, a backbone file is asked for the backbone.

    Args:
        min_matched: least share of that part's tensors that must be filled.
        heads: whether heads must match as well (testing, resuming) or may differ (fine-tuning).
        hint: what else a refusal should say, such as what the file is.

    Raises:
        CheckpointError: fewer match; the target is left as it was.
    """
    name = name or (str(source) if isinstance(source, str | Path) else "the given state dict")
    if not isinstance(source, Mapping):
        source = read_any(str(source))
    given, wanted = state_dict_of(source, name), target.state_dict()
    renamed = names_in(wanted, given)
    pairs = {new: old for old, new in renamed.items() if _fits(given, wanted, old, new)}

    part, asked = _asked(wanted, renamed.values(), heads)
    matched = sum(key in pairs for key in asked) / max(len(asked), 1)
    report = LoadReport(
        source=name,
        used=tuple(key for key in wanted if key in pairs),
        changed=tuple((old, new) for new, old in pairs.items() if old != new),
        left=tuple(old for old in given if old not in set(pairs.values())),
        missing=tuple(key for key in wanted if key not in pairs),
        part=part,
        matched=matched,
    )
    if not pairs or matched < min_matched:
        raise CheckpointError(_refusal(report, given, wanted, renamed, min_matched) + (hint and f"\n  {hint}"))
    target.load_state_dict({**wanted, **{new: given[old] for new, old in pairs.items()}})
    return report


def _fits(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], old: str, new: str) -> bool:
    return new in wanted and wanted[new].shape == given[old].shape


def names_in(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, str]:
    """The name of each key of a file in a model, read as most keys (and, where that is equal, most shapes) fit.

    Considered are the keys as they are, with wrappers (``module.``, ``_orig_mod.``, ``model.``, ``backbone.``) stripped
    one by one, and each of these behind the prefix under which most stand in the model (``backbone.network.``).

    Args:
        wanted: the model's state dict.
        given: the file's.
    """
    return max(
        _renamings(given, wanted),
        key=lambda names: (
            sum(new in wanted for new in names.values()),
            sum(_fits(given, wanted, *pair) for pair in names.items()),
        ),
    )


def _renamings(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[dict[str, str]]:
    renamings = [{key: key for key in given}]
    while any(key.startswith(_WRAPPERS) for key in renamings[-1].values()):
        last = renamings[-1]
        renamings.append({old: _unwrapped(new) for old, new in last.items()})
    for names in list(renamings):
        if prefix := _prefix_of_most(names.values(), wanted):
            renamings.append({old: prefix + new for old, new in names.items()})
    # Two file keys must not fall on one target key.
    return [names for names in renamings if len(set(names.values())) == len(names)]


def _unwrapped(key: str) -> str:
    """``key`` without the first of its wrappers."""
    return key.partition(".")[2] if key.startswith(_WRAPPERS) else key


def _prefix_of_most(names: Collection[str], wanted: Mapping[str, Tensor]) -> str:
    names, counts = set(names), Counter()
    for key in wanted:
        start = 0
        while start := key.find(".", start) + 1:
            if key[start:] in names:
                counts[key[:start]] += 1
    return counts.most_common(1)[0][0] if counts else ""


def _asked(wanted: Mapping[str, Tensor], found: object, heads: bool) -> tuple[tuple[str, ...], list[str]]:
    """The parts of the target that the file speaks of, and the keys it must fill."""
    found = set(found)
    counts = any(key.endswith("num_batches_tracked") for key in found)  # files of before 2018 hold none of these
    keys = [key for key in wanted if counts or not key.endswith("num_batches_tracked")]
    if heads:
        return (), keys
    keys = [key for key in keys if "head" not in key.partition(".")[0] and not key.startswith("fc.")]
    if not any(key.startswith("backbone.") for key in keys):
        return (), keys
    part = tuple(sorted({key.partition(".")[0] for key in keys if key in found}))
    return part, [key for key in keys if key.partition(".")[0] in part]


def _refusal(report: LoadReport, given: Mapping, wanted: Mapping, renamed: Mapping, least: float) -> str:
    shapes = [
        f"{new}: file {tuple(given[old].shape)}, model {tuple(wanted[new].shape)}"
        for old, new in renamed.items()
        if new in wanted and given[old].shape != wanted[new].shape
    ]
    why = f"\n  other shapes: {'; '.join(shapes[:3])}" if shapes else ""
    part = f" of {', '.join(report.part)}" if report.part else ""
    return (
        f"{report}{why}\n  only {report.matched:.0%} of the tensors{part} match and {least:.0%} are asked for, so "
        "nothing was loaded. Is it the right file for this architecture (depth, channels, norm)? If it is meant to "
        "fill a part only, lower min_matched"
    )


# ---- mmengine's roads ------------------------------------------------------------------------------------------------


def read_any(name: str, map_location: str | torch.device | None = "cpu") -> dict:
    """Read a checkpoint by path, ``http(s)://`` address, ``zoo:`` or ``torchvision://`` name.

    Raises:
        FileNotFoundError: no file at the path.
        CheckpointError: another scheme, a download that failed, or an unsafe or broken file.
    """
    return read_checkpoint(local_copy(name), map_location or "cpu")


def local_copy(name: str) -> Path:
    """The file that a path, address or name stands for, downloaded to torch's cache folder unless it is there.

    A download is checked against the hash the zoo lists, or the one a file name has as ``-<hash>``.

    Raises:
        CheckpointError: another scheme, an unknown name, or a download that failed.
    """
    scheme, divider, rest = name.partition("://")
    if not divider and not name.startswith("zoo:"):
        return Path(name)
    if scheme in ("torchvision", "modelzoo"):
        known = get_torchvision_models()
        if rest not in known:
            raise CheckpointError(f"{name}: no weights of torchvision; give the name of one of its models")
        name, scheme = known[rest], "https"
    if divider and scheme not in ("http", "https"):
        raise CheckpointError(
            f"{name}: '{scheme}://' is not supported; give a path, http(s)://, torchvision:// or zoo:"
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


@WEIGHT_INITIALIZERS.register_module(name="Pretrained", force=True)
class Pretrained:
    """``init_cfg=dict(type='Pretrained', checkpoint=...)``: fill a module from a file, or refuse.

    Args:
        checkpoint: path, address or name, as in ``read_any``.
        min_matched: least share of the module's tensors (heads excluded) that the file must fill.
        prefix: read only the file's keys below this prefix.
    """

    def __init__(self, checkpoint: str, min_matched: float = MIN_MATCHED, prefix: str | None = None):
        self.checkpoint, self.min_matched, self.prefix = checkpoint, min_matched, prefix

    def __call__(self, module: nn.Module) -> None:
        state = state_dict_of(read_any(self.checkpoint), self.checkpoint)
        if self.prefix:
            start = self.prefix.rstrip(".") + "."
            state = {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}
            if not state:
                raise CheckpointError(f"{self.checkpoint}: no key begins with '{start}'")
        report = load_weights(module, state, min_matched=self.min_matched, name=self.checkpoint)
        print_log(f"Pretrained weights\n{report}", logger="current", level=logging.INFO)
