"""``load_pretrained``: the one function that reads, recognises, adapts and loads weights."""

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.logging import print_log
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from vdt3d.models.weights.adapt import KERNEL_DIMS, adapt
from vdt3d.models.weights.files import CheckpointError, read_any, state_dict_of
from vdt3d.models.weights.names import Naming, find_naming, fits

MIN_MATCHED = 0.9

# Parts of files that come after the features or belong to the training alone.
_HEADS = re.compile(
    r"(neck|\w*head\w*|fc\d*|classifier|conv_seg|out_tr|last_linear|logits|aux\w*|AuxLogits|predictor|projector|projection"
    r"|decoder\w*|queue\w*|norm|fc_norm|ln_post|norm_pre_head|mask_token|pre_logits)"
)
# Tensors that a network computes itself, or that no prediction uses.
_HARMLESS = re.compile(
    r"(.*\.)?(relative_position_index|relative_coords_table|attn_mask|num_batches_tracked|mask_token|pos_embed_index)"
)
_POSITIONS = re.compile(
    r"(.*\.)?(\w*pos_embed\w*|pos_embedding|position\w*embedding\w*|positional_embedding|relative_position_bias_table"
    r"|rel_pos_[hw]|cls_token|class_token|class_embedding|reg_token|register_tokens)"
)
_STATISTICS = re.compile(r".*\.running_(mean|var)")
_STAGE = re.compile(r"((?:\w+\.)?[A-Za-z_]*)\.?(\d+)\.")


@dataclass(frozen=True)
class LoadReport:
    """Result of a load: the verdict on every key.

    Args:
        source: the file.
        used: target keys filled from the file.
        changed: target keys filled from a file key of another name, as (file key, target key).
        left: file keys of which the target has none.
        missing: target keys of which the file has none.
        unlike: target keys that the file has in another shape, with both shapes in words; they are not filled.
        part: the top-level parts of the target that the file contains, heads excluded (empty: a bare network).
        matched: share of that part's learnable numbers that were filled; with heads, of all its tensors.
        notes: what was recognised and changed.
    """

    source: str
    used: tuple[str, ...]
    changed: tuple[tuple[str, str], ...]
    left: tuple[str, ...]
    missing: tuple[str, ...]
    unlike: Mapping[str, str]
    part: tuple[str, ...]
    matched: float
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Number of the target's tensors."""
        return len(self.used) + len(self.missing) + len(self.unlike)

    def __str__(self) -> str:
        lines = [f"{self.source}: {len(self.used)} of {self.total} tensors filled"]
        if self.changed:
            lines.append(f"  {len(self.changed)} under another name, e.g. {' -> '.join(self.changed[0])}")
        unlike = tuple(f"{key} ({shapes})" for key, shapes in self.unlike.items())
        titles = {"missing in the file": self.missing, "of another shape": unlike, "left over in the file": self.left}
        lines += [f"  {len(keys)} {title}: {_shown(keys)}" for title, keys in titles.items() if keys]
        return "\n  ".join(["\n".join(lines), *self.notes])


def load_pretrained(
    model: nn.Module,
    source: str | Path | Mapping[str, Tensor],
    *,
    inflate: str | None = None,
    heads: bool = False,
    min_matched: float | None = None,
    name: str | None = None,
) -> LoadReport:
    """Fill a model with pretrained weights, 2D or 3D, or refuse them.

    The file is recognised, its names become the model's, and, unless ``heads``, 2D kernels get a depth and the first
    convolution the model's input channels (``adapt``).

    Args:
        model: filled in place.
        source: a path, ``http(s)://`` address, ``torchvision://NAME``, ``timm://NAME``, ``hf://OWNER/REPO[/FILE]`` or
            ``zoo:NAME``; or a state dict.
        inflate: 'i3d' or 'centre': how 2D kernels (O, I, H, W) fill the depth of 3D ones; by default the way of the
            model's own backbone (``Convert2d``), if it has one.
        heads: the model is to be used as it is: the file must fill all of it, and no tensor is changed.
        min_matched: least share of the learnable numbers (heads excluded) to fill, 0.9 by default. A lower share
            declares that the file is meant to fill a part: then tensors may be missing inside its blocks, too.
        name: of the source in messages, where it is a state dict.

    Returns:
        The verdict on every key.

    Raises:
        FileNotFoundError: there is no file at the path.
        CheckpointError: the file cannot be read, does not fit, or would not make the network that it was trained as;
            the model is left as it was.
    """
    name = name or (str(source) if isinstance(source, str | Path) else "the given state dict")
    content = source if isinstance(source, Mapping) else read_any(str(source))
    how = inflate or getattr(model, "how", None) or getattr(getattr(model, "backbone", None), "how", None)
    adapted = adapt(state_dict_of(content, name), model, how=how, name=name, exact=heads)
    report = load_weights(model, adapted.state, min_matched=min_matched, heads=heads, name=name, hint=adapted.hint)
    return replace(report, notes=adapted.notes)


def load_weights(
    target: nn.Module,
    state: Mapping[str, Tensor],
    *,
    min_matched: float | None = None,
    heads: bool = False,
    name: str = "the given state dict",
    hint: str = "",
) -> LoadReport:
    """Fill ``target`` from a state dict that ``adapt`` has made, and report every key.

    The part that must match is that which the file contains: for a model with children ``backbone``, ``neck`` and
    ``head``, a file of a backbone must fill the backbone.

    Args:
        min_matched, heads: as for ``load_pretrained``.
        name: of the file in messages.
        hint: what else a refusal should contain, such as what the file is.

    Raises:
        CheckpointError: as ``load_pretrained``; the target is left as it was.
    """
    least = 1.0 if heads else MIN_MATCHED if min_matched is None else min_matched
    wanted = target.state_dict()
    naming = find_naming(wanted, state)
    pairs = {new: old for old, new in naming.names.items() if fits(state, wanted, old, new)}
    unlike = {
        new: f"file {tuple(state[old].shape)}, model {tuple(wanted[new].shape)}"
        for old, new in naming.names.items()
        if new in wanted and new not in pairs
    }
    part, asked = _asked(wanted, naming.names.values(), heads)
    if not heads:  # layers that begin as the identity need no weights
        fresh = _declared(target, "fresh_weights") - pairs.keys()
        asked = [key for key in asked if key not in fresh]
    report = LoadReport(
        source=name,
        used=tuple(key for key in wanted if key in pairs),
        changed=tuple((old, new) for new, old in pairs.items() if old != new),
        left=tuple(old for old, new in naming.names.items() if new not in wanted),
        missing=tuple(key for key in wanted if key not in pairs and key not in unlike),
        unlike=unlike,
        part=part,
        matched=_share(target, asked, pairs, heads),
    )
    if not pairs or report.matched < least:
        raise CheckpointError(_too_little(report, least, heads) + (hint and f"\n  {hint}"))
    if not heads:
        _require_same_function(
            target, report, naming, asked, partly=least < MIN_MATCHED, hint=hint if report.matched < 1 else ""
        )
    target.load_state_dict({**wanted, **{new: state[old] for new, old in pairs.items()}})
    return report


def _asked(wanted: Mapping[str, Tensor], found: Iterable[str], heads: bool) -> tuple[tuple[str, ...], list[str]]:
    """Return the parts of the target that the file contains, and the keys it must fill."""
    found = set(found)
    # Predictions do not use these counts. Files of before 2018 and encoders traced by earlier versions lack them.
    keys = [key for key in wanted if key in found or not key.endswith("num_batches_tracked")]
    if heads:
        return (), keys
    keys = [key for key in keys if "head" not in key.partition(".")[0] and not key.startswith("fc.")]
    if not any(key.startswith("backbone.") for key in keys):
        return (), keys
    part = tuple(sorted({key.partition(".")[0] for key in keys if key in found}))
    return part, [key for key in keys if key.partition(".")[0] in part]


def _share(target: nn.Module, asked: Collection[str], filled: Collection[str], heads: bool) -> float:
    """Return the share of the learnable numbers (with ``heads``: of the tensors) that are filled."""
    sizes = dict.fromkeys(asked, 1) if heads else _learnable(target, asked)
    return sum(size for key, size in sizes.items() if key in filled) / max(sum(sizes.values()), 1)


def _learnable(target: nn.Module, keys: Collection[str]) -> dict[str, int]:
    parameters = dict(target.named_parameters(remove_duplicate=False))
    return {key: parameters[key].numel() for key in keys if key in parameters}


def _too_little(report: LoadReport, least: float, heads: bool) -> str:
    numbers = "tensors" if heads else "learnable numbers"
    part = f" of {', '.join(report.part)}" if report.part else ""
    remedy = (
        f" If it is meant to fill a part of the model only, set min_matched below {report.matched:.2f}"
        if not heads and least < 1 and report.matched >= 0.01
        else ""
    )
    return (
        f"{report}\n  only {report.matched:.0%} of the {numbers}{part} match, but {least:.0%} must, so nothing was "
        f"loaded. Check that the file has the model's architecture (depth, channels, norm).{remedy}"
    )


# ---- what would change the network's function ------------------------------------------------------------------------


def _require_same_function(
    target: nn.Module, report: LoadReport, naming: Naming, asked: Collection[str], *, partly: bool, hint: str
) -> None:
    """Refuse files that fill enough of a network and yet would not make it the network that they were trained as.

    Raises:
        CheckpointError: tensors are left over, or missing, inside a part that both have.
    """
    refused = f"{report.source}: nothing was loaded, though {len(report.used)} of {report.total} tensors fit: "
    hint = hint and f"\n  {hint}"
    if left := _left_inside(target, report, naming):
        raise CheckpointError(
            f"{refused}the file has {len(left)} tensors inside the part to fill that the model lacks, without which it "
            f"would compute something else ({_shown(left)}). Build the model with these layers; Convert2d, "
            f"WindowEncoder and SliceEncoder take the 2D network itself, as model='timm.NAME'{hint}"
        )
    if needed := _missing_inside(target, report, asked, partly=partly):
        shown = _shown([f"{key}: {report.unlike[key]}" if key in report.unlike else key for key in needed])
        raise CheckpointError(
            f"{refused}{len(needed)} tensors that the filled part needs are missing in the file or have another shape "
            f"({shown}). Take a file of this architecture, or build the model as the file's network is{hint}"
        )


def _left_inside(target: nn.Module, report: LoadReport, naming: Naming) -> list[str]:
    """Return the left-over keys of the file that its network used for its features."""
    unused = _declared(target, "left_out")
    parts = tuple(name for name in unused if name.endswith("."))
    names = {key: naming.names[key] for key in report.left if not naming.is_outside(key)}
    names = {key: name for key, name in names.items() if name not in unused and not name.startswith(parts)}
    return [key for key, name in names.items() if not _is_harmless(_in_network(name), report)]


def _missing_inside(target: nn.Module, report: LoadReport, asked: Collection[str], *, partly: bool) -> list[str]:
    """Return the keys without which the filled part would not be the file's network.

    These are the first kernel and the tables of positions; and unless a part is to be filled only ``partly``, whatever
    a block lacks of which other tensors are filled, and statistics of filled norms.
    """
    absent = {*report.missing, *report.unlike}
    parameters, used = _learnable(target, asked), set(report.used)
    kernels = (key for key in parameters if target.get_parameter(key).dim() in KERNEL_DIMS)
    first, blocks = next(kernels, None), {_block(key) for key in used} - {None}

    def is_needed(key: str) -> bool:
        if key == first or _POSITIONS.fullmatch(key):
            return True
        if partly:
            return False
        in_block = key in parameters and _block(key) in blocks
        return in_block or (_STATISTICS.fullmatch(key) is not None and _weight_beside(key) in used)

    return [key for key in asked if key in absent and is_needed(key)]


def _declared(target: nn.Module, attribute: str) -> set[str]:
    """Return the names that modules of ``target`` list under ``attribute``, relative to themselves.

    They are of tensors, or of parts, with a dot at the end.
    """
    return {
        f"{name}.{key}" if name else key
        for name, module in target.named_modules()
        for key in getattr(module, attribute, ())
    }


def _is_harmless(key: str, report: LoadReport) -> bool:
    """Return whether a left-over tensor of a network changes nothing: a head, an index, or a stage after the last."""
    if _HARMLESS.fullmatch(key) or _HEADS.fullmatch(key.partition(".")[0]):
        return True
    stage = _STAGE.match(key)
    if stage is None:
        return False
    here = [
        int(other[2])
        for name in (*report.used, *report.unlike)
        if (other := _STAGE.match(_in_network(name))) and other[1] == stage[1]
    ]
    return bool(here) and int(stage[2]) > max(here)


def _in_network(name: str) -> str:
    """Return a name without the parts of our models before it: backbones and their networks."""
    return re.sub(r"^(backbone\.|network\.)*", "", name)


def _block(key: str) -> str | None:
    """Return the numbered block of a network that contains a tensor, as 'layer1.0'; None outside of blocks."""
    found = re.match(r"(.*?\.\d+)\.", _in_network(key))
    return found and found[1]


def _weight_beside(statistic: str) -> str:
    return f"{statistic.rpartition('.')[0]}.weight"


def _shown(keys: Iterable[str]) -> str:
    keys = tuple(keys)
    return ", ".join(keys[:4]) + (", ..." if len(keys) > 4 else "")


@WEIGHT_INITIALIZERS.register_module(name="Pretrained", force=True)
class Pretrained:
    """``init_cfg=dict(type='Pretrained', checkpoint=...)``: fill a module by ``load_pretrained``.

    Args:
        checkpoint: the source, as for ``load_pretrained``.
        inflate, min_matched: as for ``load_pretrained``.
        prefix: read only the file's keys below this prefix.
    """

    def __init__(
        self,
        checkpoint: str,
        inflate: str | None = None,
        min_matched: float | None = None,
        prefix: str | None = None,
    ):
        self.checkpoint, self.inflate, self.min_matched, self.prefix = checkpoint, inflate, min_matched, prefix

    def __call__(self, module: nn.Module) -> None:
        state = state_dict_of(read_any(self.checkpoint), self.checkpoint)
        if self.prefix:
            start = self.prefix.rstrip(".") + "."
            state = {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}
            if not state:
                raise CheckpointError(f"{self.checkpoint}: no key begins with '{start}'")
        report = load_pretrained(
            module, state, inflate=self.inflate, min_matched=self.min_matched, name=self.checkpoint
        )
        print_log(f"Pretrained weights\n{report}", logger="current", level=logging.INFO)
