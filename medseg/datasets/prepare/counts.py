"""Whether a release is the one that numbers were published of: its slices and voxels against what was counted there."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Counts(NamedTuple):
    """What is known of a release.

    Fields:
        source: who counted.
        slices: how many each case has, by its name.
        cases: those whose labels were counted, together.
        labels: by the name of the class, its voxels in these cases and how many slices they lie in.
    """

    source: str
    slices: Mapping[str, int]
    cases: tuple[str, ...]
    labels: Mapping[str, tuple[int, int]]


def compared(known: Counts, records: Mapping[str, Mapping[str, Any]], classes: tuple[str, ...]) -> str:
    """A line that says that all is as ``known``, or else every difference.

    Args:
        known: what was counted.
        records: what the cache remembers of each case (``vdt3d.io.read_record``), at its own spacing.
        classes: the names of the labels.
    """
    found = []
    if missing := sorted(known.slices.keys() - records.keys()):
        found.append(f"{len(missing)} of {len(known.slices)} cases are not there ({', '.join(missing)})")
    for name, slices in known.slices.items():
        depth = records[name]["extra"]["scan"]["shape"][0] if name in records else slices
        if depth != slices:
            found.append(f"{name} has {depth} slices, not {slices}")
    if records.keys() >= set(known.cases):  # without one of them all would differ
        for text, counted in known.labels.items():
            label = str(classes.index(text))
            voxels, slices = (
                sum(records[case][what].get(label, 0) for case in known.cases) for what in ("voxels", "slices")
            )
            if (voxels, slices) != counted:
                found.append(f"{text} has {voxels} voxels in {slices} slices, not {counted[0]} in {counted[1]}")
    if found:
        return f"This is not the release that {known.source} counted: {'; '.join(found)}"
    return (
        f"This is the release that {known.source} counted: the slices of {len(known.slices)} cases and the voxels of "
        f"{len(known.labels)} labels agree"
    )
