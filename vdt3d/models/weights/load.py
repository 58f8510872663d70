"""Weights into a network: names made to fit, every key reported, and a refusal where too little matches."""

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from mmengine.logging import print_log
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from vdt3d.models.weights.files import CheckpointError, read_any, state_dict_of

MIN_MATCHED = 0.9
_WRAPPERS = ("module.", "_orig_mod.", "model.", "backbone.")  # of DDP, torch.compile, Lightning and whole models


@dataclass(frozen=True)
class LoadReport:
    """What became of every key of a load.

    Args:
        source: the file.
        used: target keys filled from the file.
        changed: target keys filled from a file key of another name, as (file key, target key).
        left: file keys of which the target has none.
        missing: target keys of which the file has none.
        unlike: target keys that the file has in another shape, with both shapes in words; they are not filled.
        part: the top-level parts of the target that the file speaks of, heads excluded (empty: a bare network).
        matched: share of that part's tensors that were filled.
    """

    source: str
    used: tuple[str, ...]
    changed: tuple[tuple[str, str], ...]
    left: tuple[str, ...]
    missing: tuple[str, ...]
    unlike: Mapping[str, str]
    part: tuple[str, ...]
    matched: float

    def __str__(self) -> str:
        total = len(self.used) + len(self.missing) + len(self.unlike)
        lines = [f"{self.source}: {len(self.used)} of {total} tensors filled"]
        if self.changed:
            lines.append(f"  {len(self.changed)} under another name, e.g. {' -> '.join(self.changed[0])}")
        unlike = tuple(f"{key} ({shapes})" for key, shapes in self.unlike.items())
        titles = {"missing in the file": self.missing, "of another shape": unlike, "left over in the file": self.left}
        for title, keys in titles.items():
            if keys:
                shown = ", ".join(keys[:4]) + (", ..." if len(keys) > 4 else "")
                lines.append(f"  {len(keys)} {title}: {shown}")
        return "\n".join(lines)


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
    unlike = {
        new: f"file {tuple(given[old].shape)}, model {tuple(wanted[new].shape)}"
        for old, new in renamed.items()
        if new in wanted and new not in pairs
    }

    part, asked = _asked(wanted, renamed.values(), heads)
    matched = sum(key in pairs for key in asked) / max(len(asked), 1)
    report = LoadReport(
        source=name,
        used=tuple(key for key in wanted if key in pairs),
        changed=tuple((old, new) for new, old in pairs.items() if old != new),
        left=tuple(old for old, new in renamed.items() if new not in wanted),
        missing=tuple(key for key in wanted if key not in pairs and key not in unlike),
        unlike=unlike,
        part=part,
        matched=matched,
    )
    if not pairs or matched < min_matched:
        hint = hint or _prefix_hint(given, wanted, len(pairs))
        raise CheckpointError(_refusal(report, min_matched) + (hint and f"\n  {hint}"))
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
    # Predictions do not use these counts. Files of before 2018 and encoders traced by earlier versions lack them.
    keys = [key for key in wanted if key in found or not key.endswith("num_batches_tracked")]
    if heads:
        return (), keys
    keys = [key for key in keys if "head" not in key.partition(".")[0] and not key.startswith("fc.")]
    if not any(key.startswith("backbone.") for key in keys):
        return (), keys
    part = tuple(sorted({key.partition(".")[0] for key in keys if key in found}))
    return part, [key for key in keys if key.partition(".")[0] in part]


def _refusal(report: LoadReport, least: float) -> str:
    part = f" of {', '.join(report.part)}" if report.part else ""
    partly = " If it is meant to fill a part only, lower min_matched" if least < 1 else ""
    return (
        f"{report}\n  only {report.matched:.0%} of the tensors{part} match and {least:.0%} are asked for, "
        f"so nothing was loaded. Is it the right file for this architecture (depth, channels, norm)?{partly}"
    )


def _prefix_hint(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], matched: int) -> str:
    """Return advice to exchange one prefix of the file's keys, where twice as many tensors would fit then, or ""."""
    prefixes = {key[: place + 1] for key in given for place, letter in enumerate(key) if letter == "."}
    best = (2 * max(matched, 1), "", "")
    for prefix in sorted(prefixes, key=len):
        part = {key.removeprefix(prefix): key for key in given if key.startswith(prefix)}
        if 3 * len(part) < len(given):  # of a file of two encoders and a queue, one encoder is a part
            continue
        for other in ("", _prefix_of_most(part, wanted)):
            fits = sum(_fits(given, wanted, old, other + new) for new, old in part.items())
            best = max(best, (fits, prefix, other), key=lambda each: each[0])
    fits, prefix, other = best
    if not prefix:
        return ""
    change = f"in place of '{prefix}' the keys began with '{other}'" if other else f"the keys began without '{prefix}'"
    return f"{fits} of {len(wanted)} tensors would fit if {change}: rename the keys"


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
