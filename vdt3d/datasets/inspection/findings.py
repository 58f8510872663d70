"""What is odd in a set of cases: unreadable, empty, unlike the others, the same twice, or where it should not be."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from vdt3d.datasets.inspection.facts import LEVELS, Facts
from vdt3d.datasets.inspection.likeness import Alike, find_alike

# The kinds of findings, the gravest first.
KINDS = {
    "leak": "What is learnt from is tested on",
    "unreadable": "Cannot be read",
    "conflict": "Copies of different classes",
    "duplicate": "Copies within a split",
    "slices": "Scans that share slices",
    "empty": "Nothing in it",
    "labels": "Labels",
    "annotators": "Annotators disagree",
    "odd": "Unlike the others",
    "spread": "Differences to reckon with",
}
ODD = 5.0  # robust z-score: distance from the median over 1.4826 median distances from it
ENOUGH = 8  # cases or more tell what is usual
USUAL = 0.9  # share of equal values beyond which another one is odd
MANY = 0.05  # share of odd cases beyond which they are a spread, and no exceptions
SHARED, SHARED_LIKENESS = 3, 0.98  # slices of two scans that must be alike, and how much: they are of one series
CONTRAST = "contrast (95th less 5th percentile)"
RARE = 0.02  # share of the cases below which a label is rare
AGREEMENT = 0.5  # Dice below which annotators do not mean the same
WILD = 10.0  # ratio of the contrasts of cases (5th and 95th percentile) beyond which one scale does not fit them


class Finding(NamedTuple):
    """One thing to look at.

    Fields:
        kind: of ``KINDS``.
        text: what it is.
        cases: places of the cases it is about, those to look at first in front.
        notes: a word on each of them.
        slices: which slice of each tells it; () where the case as a whole does.
    """

    kind: str
    text: str
    cases: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    slices: tuple[int, ...] = ()


def find_all(cases: Sequence[Facts]) -> list[Finding]:
    """All findings in these cases, the gravest kinds first."""
    good = [number for number, case in enumerate(cases) if not case.problem]
    found = [
        Finding("unreadable", case.problem, (number,), (_splits(case),))
        for number, case in enumerate(cases)
        if case.problem
    ]
    pairs = _pairs(cases, good)
    found += _copies(cases, pairs)
    found += _shared_slices(cases, good, {(pair.first, pair.second) for pair in pairs})
    for search in (_same_cases, _same_patients, _empty, _labels, _annotators, _odd, _spread):
        found += search(cases, good)
    order = list(KINDS)
    return sorted(found, key=lambda finding: order.index(finding.kind))


def _same_cases(cases: Sequence[Facts], good: list[int]) -> Iterator[Finding]:
    """Files that are themselves in several splits: a finding for each combination of splits."""
    places = defaultdict(list)
    for number in good:
        if len(set(cases[number].splits)) > 1:
            places[cases[number].splits].append(number)
    for splits, numbers in places.items():
        yield Finding("leak", f"{' and '.join(splits)} share {_cases(len(numbers))}, by name", tuple(numbers))


def _same_patients(cases: Sequence[Facts], good: list[int]) -> Iterator[Finding]:
    """Patients of whom several splits have cases of their own."""
    groups = defaultdict(list)
    for number in good:
        if cases[number].group:
            groups[cases[number].group].append(number)
    for numbers in groups.values():
        splits = Counter(split for number in numbers for split in cases[number].splits)
        if len({cases[number].splits for number in numbers}) > 1 and len(splits) > 1:
            shares = ", ".join(f"{count} in {split}" for split, count in splits.items())
            yield Finding("leak", f"cases of one patient: {shares}", *_told(cases, numbers))


def _copies(cases: Sequence[Facts], found: list[Alike]) -> Iterator[Finding]:
    """Groups of cases that are copies, whatever their type, grid, noise and direction."""
    for pairs in _groups(found):
        first = min(pair.first for pair in pairs)
        numbers = sorted({number for pair in pairs for number in (pair.first, pair.second)})
        about = {}
        for pair in sorted(pairs, key=lambda pair: (pair.first != first, -pair.likeness)):
            about.setdefault(pair.second, f"{_relation(cases, pair)} {cases[pair.first].name}")
        notes = tuple(f"{_splits(cases[number])}; {about.get(number, 'the first of them')}" for number in numbers)
        splits = {split for number in numbers for split in cases[number].splits}
        classes = {cases[number].target for number in numbers}
        across = len(splits) > 1 and len({cases[number].splits for number in numbers}) > 1
        if across:
            yield Finding("leak", f"{len(numbers)} copies in {', '.join(sorted(splits))}", tuple(numbers), notes)
        else:
            yield Finding("duplicate", f"{len(numbers)} copies", tuple(numbers), notes)
        if len(classes) > 1:
            notes = tuple(f"{cases[number].target}; {_splits(cases[number])}" for number in numbers)
            yield Finding("conflict", f"copies of the classes {', '.join(sorted(classes))}", tuple(numbers), notes)


def _pairs(cases: Sequence[Facts], good: list[int]) -> list[Alike]:
    """Cases of equal voxels, and of those that differ the ones that are alike."""
    first_of, pairs = {}, []
    for number in filter(lambda number: np.any(cases[number].whole), good):  # nothing has no copies
        first = first_of.setdefault(cases[number].digest, number)
        if first != number:
            pairs.append(Alike(first, number, None, 1.0))
    for axes in (2, 3):
        places = np.array([number for number in first_of.values() if cases[number].axes == axes], int)
        if len(places) > 1:
            alike = find_alike(np.stack([cases[place].whole for place in places]), axes)
            pairs += [pair._replace(first=int(places[pair.first]), second=int(places[pair.second])) for pair in alike]
    return pairs


def _groups(pairs: list[Alike]) -> list[list[Alike]]:
    """The pairs by what they join together."""
    head = {}

    def find(number: int) -> int:
        while head.setdefault(number, number) != number:
            number = head[number] = head[head[number]]
        return number

    for pair in pairs:
        one, other = sorted((find(pair.first), find(pair.second)))
        head[other] = one
    joined = defaultdict(list)
    for pair in pairs:
        joined[find(pair.first)].append(pair)
    return [joined[number] for number in sorted(joined)]


def _relation(cases: Sequence[Facts], pair: Alike) -> str:
    first, second = cases[pair.first], cases[pair.second]
    if pair.motion is None:
        return "the voxels of"
    moved = pair.motion.words(first.axes)
    ways = [moved] if moved else []
    if sorted(first.shape) != sorted(second.shape):
        ways.append(f"of {_size(second.shape)} instead of {_size(first.shape)} voxels")
    return "; ".join([f"likeness {pair.likeness:.4f}", *ways]) + ", to"


def _shared_slices(cases: Sequence[Facts], good: list[int], copies: set[tuple[int, int]]) -> Iterator[Finding]:
    """Scans, no copies and of no common patient, of which several slices are alike: parts of one series."""
    scans = [number for number in good if cases[number].slices is not None]
    first_of = {}
    scans = [number for number in scans if first_of.setdefault(cases[number].digest, number) == number]
    if len(scans) < 2:
        return
    owners = np.repeat(scans, [len(cases[number].slices) for number in scans])
    places = np.concatenate([np.arange(len(cases[number].slices)) for number in scans])
    shared = defaultdict(list)
    for pair in find_alike(np.concatenate([cases[number].slices for number in scans]), 2, owners):
        if pair.likeness >= SHARED_LIKENESS:
            shared[int(owners[pair.first]), int(owners[pair.second])].append(
                (pair.likeness, int(places[pair.first]), int(places[pair.second]))
            )
    for (one, other), found in sorted(shared.items()):
        kin = cases[one].group and cases[one].group == cases[other].group
        mine, theirs = ({pair[side] for pair in found} for side in (1, 2))
        count = min(len(mine), len(theirs))
        if (one, other) in copies or kin or count < SHARED:
            continue
        _, here, there = max(found)
        across = set(cases[one].splits) != set(cases[other].splits)
        told = _told(cases, [one, other])
        yield Finding("leak" if across else "slices", f"{count} slices are alike", *told, (here, there))


def _empty(cases: Sequence[Facts], good: list[int]) -> Iterator[Finding]:
    constant = [number for number in good if not np.any(cases[number].whole)]
    if constant:
        yield Finding("empty", f"{_cases(len(constant))} of one value throughout", *_told(cases, constant))
    empty = [number for number in good if cases[number].regions == {}]
    if empty:
        text = f"{_cases(len(empty))} in which nothing is labelled"
        yield Finding("empty", text, *_told(cases, empty))


def _labels(cases: Sequence[Facts], good: list[int]) -> Iterator[Finding]:
    """Labels that hardly a case has, classes that a split lacks."""
    labelled = [number for number in good if cases[number].regions is not None]
    having = defaultdict(list)
    for number in labelled:
        for label in cases[number].regions:
            having[label].append(number)
    for label, numbers in sorted(having.items()):
        if len(numbers) < RARE * len(labelled):
            text = f"{_called(label, cases[numbers[0]])} is in {len(numbers)} of {len(labelled)} cases"
            yield Finding("labels", text, *_told(cases, numbers))
    targets = defaultdict(Counter)
    for number in good:
        for split in cases[number].splits:
            targets[split][cases[number].target] += bool(cases[number].target)
    every = sorted({target for counts in targets.values() for target, count in counts.items() if count})
    for split, counts in targets.items():
        if sum(counts.values()) and (lacking := [target for target in every if not counts[target]]):
            yield Finding("labels", f"{split} has no case of {', '.join(lacking)}")


def _annotators(cases: Sequence[Facts], good: list[int]) -> Iterator[Finding]:
    several = [number for number in good if cases[number].annotators]
    apart = sorted(
        (number for number in several if min(cases[number].annotators.values()) < AGREEMENT),
        key=lambda number: min(cases[number].annotators.values()),
    )
    if apart:
        notes = tuple(
            f"Dice {value:.2f} of {pair}"
            for number in apart
            for pair, value in [min(cases[number].annotators.items(), key=lambda item: item[1])]
        )
        text = f"in {len(apart)} of {len(several)} cases two masks have a Dice below {AGREEMENT}"
        yield Finding("annotators", text, tuple(apart), notes)


def _called(label: int, case: Facts) -> str:
    """A label that the case has, by number and, where it is known, name."""
    name = case.regions[label].name
    return f"label {label} ({name})" if name else f"label {label}"


def measures(cases: Sequence[Facts], good: Sequence[int]) -> dict[str, tuple[np.ndarray, bool]]:
    """What cases are compared by: (N,) values by name, nan where a case has none, and whether ratios count."""
    chosen = [cases[number] for number in good]
    found = {}
    for axis, letter in enumerate("DHW"):
        found[f"voxels along {letter}"] = np.array([case.shape[axis] for case in chosen], float), True
    for axis, letter in enumerate("zyx"):
        found[f"spacing along {letter} (mm)"] = np.array([case.spacing[axis] for case in chosen], float), True
    places = map(LEVELS.index, (5, 50, 95))
    low, middle, high = (np.array([case.percentiles[place] for case in chosen]) for place in places)
    found["median intensity"] = middle, False
    found[CONTRAST] = high - low, True
    regions = [case.regions or {} for case in chosen]
    called = {label: _called(label, case) for case in chosen for label in case.regions or ()}
    for label in sorted(called):
        for name, field in (("volume (mm3)", "mm3"), ("parts", "components")):
            values = [float(getattr(each[label], field)) if label in each else np.nan for each in regions]
            found[f"{called[label]}: {name}"] = np.array(values), True
    return found


def _odd(cases: Sequence[Facts], good: list[int]) -> Iterator[Finding]:
    """Cases far from the others in a measure, or of another value or orientation than nearly all have."""
    for name, (values, ratios) in measures(cases, good).items():
        known = np.isfinite(values) & ((values > 0) | (not ratios))
        if known.sum() < ENOUGH:
            continue
        score = np.zeros(len(values))
        score[known] = robust_scores(np.log(values[known]) if ratios else values[known])
        far = np.flatnonzero(abs(score) > ODD)
        text = f"{name}: {{}} of {known.sum()} far from the median, {np.median(values[known]):.4g}"
        if len(far) > MANY * known.sum():
            if name == CONTRAST:  # which ``_spread`` tells of
                continue
            ends = np.percentile(values[known], (5, 50, 95))
            yield Finding("spread", f"{name}: 5th, 50th and 95th percentile are {', '.join(f'{n:.4g}' for n in ends)}")
        elif len(far):
            far = far[np.argsort(-abs(score[far]), kind="stable")]
            notes = tuple(f"{values[place]:.4g}, {_splits(cases[good[place]])}" for place in far)
            yield Finding("odd", text.format(len(far)), tuple(good[place] for place in far), notes)
    orientations = Counter(cases[number].orientation for number in good)
    usual, count = orientations.most_common(1)[0] if orientations else ("", 0)
    if len(orientations) > 1 and len(good) >= ENOUGH:
        others = [number for number in good if cases[number].orientation != usual]
        if count >= USUAL * len(good):
            notes = tuple(f"{cases[number].orientation}, {_splits(cases[number])}" for number in others)
            yield Finding("odd", f"orientation: {len(others)} of {len(good)} are not {usual}", tuple(others), notes)
        else:
            listed = ", ".join(f"{number} {name}" for name, number in orientations.most_common())
            yield Finding("spread", f"orientations of the stored axes: {listed}")


def robust_scores(values: np.ndarray) -> np.ndarray:
    """(N,) distances from the median over 1.4826 median distances from it, the standard deviation of a normal set.

    Where more than half of the values are equal this is 0: the others then score infinity if they are few (less than
    1 - ``USUAL``), and 0 if not.
    """
    distance = values - np.median(values)
    spread = 1.4826 * np.median(abs(distance))
    if spread > 1e-9 * max(1.0, abs(np.median(values))):
        return distance / spread
    differs = abs(distance) > 1e-3 * max(1.0, abs(np.median(values)))
    return np.where(differs & (differs.mean() < 1 - USUAL), np.copysign(np.inf, distance), 0.0)


def _spread(cases: Sequence[Facts], good: list[int]) -> Iterator[Finding]:
    """Scales of intensity that one pair of numbers cannot normalise."""
    contrast, _ = measures(cases, good)[CONTRAST] if good else (np.zeros(0), True)
    contrast = contrast[contrast > 0]
    if len(contrast) >= ENOUGH:
        low, high = np.percentile(contrast, (5, 95))
        if high > WILD * low:
            yield Finding(
                "spread", f"intensities of cases have scales from {low:.4g} to {high:.4g}: normalise case by case"
            )


def _told(cases: Sequence[Facts], numbers: Sequence[int]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    return tuple(numbers), tuple(_splits(cases[number]) for number in numbers)


def _splits(case: Facts) -> str:
    return ", ".join(case.splits)


def _cases(count: int) -> str:
    return "1 case" if count == 1 else f"{count} cases"


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
