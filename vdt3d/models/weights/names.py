"""Names of a checkpoint's tensors in a model: the prefixes of wrappers are removed, added or exchanged."""

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
