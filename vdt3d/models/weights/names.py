"""Names of a checkpoint's tensors in a model: prefixes of wrappers, and other spellings of the same networks."""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Naming:
    """The names of a file's tensors in a model.

    Args:
        names: the model's name for each key of the file; it need not exist in the model.
        removed: prefix of the file that the model's names do not have.
        added: prefix of the model's names that the file does not have.
    """

    names: Mapping[str, str]
    removed: str = ""
    added: str = ""

    def is_outside(self, key: str) -> bool:
        """Return whether the file has ``key`` beside the part that has the removed prefix."""
        return not key.startswith(self.removed)


# Other spellings of networks: a key by which each is known, and the substitutions that give the authors' names.
_SPELLINGS = {
    # nn.Sequential of the children of torchvision's ResNets, as RadImageNet has them
    r"(.*\.)?4\.0\.conv1\.weight": {
        r"0\.weight": "conv1.weight",
        r"1\.(\w+)": r"bn1.\1",
        **{rf"{number}\.(\d.*)": rf"layer{number - 3}.\1" for number in range(4, 8)},
    },
    # transformers of mmpretrain and mmsegmentation
    r"(.*\.)?layers\.0\.ffn\.layers\.0\.0\.weight": {
        r"patch_embed\.projection\.(.*)": r"patch_embed.proj.\1",
        r"layers\.(\d+)\.ln(\d)\.(.*)": r"blocks.\1.norm\2.\3",
        r"layers\.(\d+)\.ffn\.layers\.0\.0\.(.*)": r"blocks.\1.mlp.fc1.\2",
        r"layers\.(\d+)\.ffn\.layers\.1\.(.*)": r"blocks.\1.mlp.fc2.\2",
        r"layers\.(\d+)\.(attn|gamma)(.*)": r"blocks.\1.\2\3",
        r"ln1\.(.*)": r"norm.\1",
    },
    # timm's Swin, which merges before a stage, and not behind the one before
    r"(.*\.)?layers\.3\.downsample\.reduction\.weight": {
        rf"layers\.{stage}\.downsample\.(.*)": rf"layers.{stage - 1}.downsample.\1" for stage in range(1, 4)
    },
}


def canonical(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a file under the names that the network's authors use, where the spelling is known."""
    names = {key: key for key in state}
    for mark, patterns in _SPELLINGS.items():
        found = next(filter(None, (re.fullmatch(mark, key) for key in state)), None)
        if found is not None:
            prefix = found[1] or ""
            names = {key: _respelled(name, prefix, patterns) for key, name in names.items()}
    return {names[key]: value for key, value in state.items()}


def _respelled(name: str, prefix: str, patterns: Mapping[str, str]) -> str:
    rest = name.removeprefix(prefix)
    for pattern, replacement in patterns.items():
        if name.startswith(prefix) and re.fullmatch(pattern, rest):
            return prefix + re.sub(pattern, replacement, rest)
    return name


def find_naming(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Naming:
    """Find the prefixes with which most names (and, where these are equal, most shapes) of a file are a model's.

    Every prefix under which a third of the file's keys or half as many as the model's stand may be a wrapper:
    ``module.`` of DDP, ``model.`` of Lightning, ``backbone.``, ``module.encoder_q.`` of MoCo, ``encoder.`` of
    segmentation_models_pytorch, ``net.``.

    Args:
        wanted: the model's state dict.
        given: the file's.
    """
    candidates = [Naming({key: key for key in given}), *_without_wrappers(wanted, given)]
    for naming in list(candidates):
        inside = {name for key, name in naming.names.items() if not naming.is_outside(key)}
        if added := _prefix_of_most(inside, wanted):
            names = {key: name if naming.is_outside(key) else added + name for key, name in naming.names.items()}
            candidates.append(Naming(names, naming.removed, added))
    # Two keys of the file must not have one name.
    candidates = [naming for naming in candidates if len(set(naming.names.values())) == len(naming.names)]
    return max(
        candidates,
        key=lambda naming: (
            sum(name in wanted for name in naming.names.values()),
            sum(fits(given, wanted, *pair) for pair in naming.names.items()),
        ),
    )


def fits(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], key: str, name: str) -> bool:
    """Return whether the model has a tensor ``name`` with the shape of the file's ``key``."""
    return name in wanted and wanted[name].shape == given[key].shape


def _without_wrappers(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[Naming]:
    counts = Counter(key[: place + 1] for key in given for place, letter in enumerate(key) if letter == ".")
    least = min(len(given) / 3, len(wanted) / 2)
    return [
        Naming({key: key.removeprefix(prefix) for key in given}, removed=prefix)
        for prefix, count in sorted(counts.items(), key=lambda item: len(item[0]))
        if count >= least
    ]


def _prefix_of_most(names: Collection[str], wanted: Mapping[str, Tensor]) -> str:
    counts: Counter[str] = Counter()
    for key in wanted:
        start = 0
        while start := key.find(".", start) + 1:
            if key[start:] in names:
                counts[key[:start]] += 1
    return counts.most_common(1)[0][0] if counts else ""
