"""Overlapping organs in one label map: every organ is a bit of the label, and a voxel of several bears their sum."""

from collections.abc import Sequence

MOST_ORGANS = 7  # with one more, the label of them all would be 255, which is IGNORED


def overlapping_classes(organs: Sequence[str]) -> tuple[str, ...]:
    """The names of all labels, in their order.

    Of ("a", "b", "c"), whose bits are 1, 2 and 4: ("background", "a", "b", "a+b", "c", "a+c", "b+c", "a+b+c").

    Raises:
        ValueError: there are none or more than seven organs, or two of one name.
    """
    _check(organs)
    return (
        "background",
        *(
            "+".join(organ for bit, organ in enumerate(organs) if label >> bit & 1)
            for label in range(1, 1 << len(organs))
        ),
    )


def overlapping_regions(organs: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The labels of which each organ is made: those that have its bit.

    Of ("a", "b", "c"): {"a": (1, 3, 5, 7), "b": (2, 3, 6, 7), "c": (4, 5, 6, 7)}.

    Raises:
        ValueError: as ``overlapping_classes``.
    """
    _check(organs)
    labels = range(1, 1 << len(organs))
    return {organ: tuple(label for label in labels if label >> bit & 1) for bit, organ in enumerate(organs)}


def _check(organs: Sequence[str]) -> None:
    if not 1 <= len(organs) <= MOST_ORGANS or len(set(organs)) < len(organs):
        raise ValueError(f"overlapping organs are one to {MOST_ORGANS} different names, got {tuple(organs)}")
