"""Which case is for training, validation or test: case lists as files, or patients dealt out."""

from pathlib import Path
from typing import Any

import pandas as pd

from vdt3d.datasets.splits import deal
from vdt3d.utils.files import read_json

PARTS = ("train", "val", "test")


def assign_parts(
    names: list[str], groups: list[str], *, split_file: Path | None = None, fold: int = 0, folds: int = 5
) -> pd.Series:
    """The part of every case: "train", "val", "test", or None for a case that the file does not name.

    Args:
        names: (N,) of the cases, in the order of the data set's list.
        groups: (N,) what stays together: the patient, or the name itself.
        split_file: json, {"train": [...], "val": [...], "test": [...]} or a list of such folds (nnU-Net's
            splits_final.json), of which ``fold`` is taken. An entry is the name of a case or of a group, or a number:
            the case at this position, from 0, of a list whose length is the file's "cases". The groups in "by_day" may
            be in several parts, as ``vdt3d split --by-day`` leaves them. Other keys are notes.
        fold, folds: where no "val" is given, group ``fold`` of ``folds`` of the training cases becomes "val", dealt
            out by a checksum of the names: always the same way. Without a file all cases are training cases.

    Returns:
        (N,) indexed by ``names``.

    Raises:
        ValueError: the file is missing or of another form, names an unknown case, or tears a group or case apart.
    """
    lists, torn = {"train": list(range(len(names)))}, frozenset()
    if split_file is not None:
        lists, torn = read_split(split_file, fold, len(names))
    units = [name if group in torn else group for name, group in zip(names, groups, strict=True)]
    where: dict[str | int, list[int]] = {position: [position] for position in range(len(names))}
    for position, (name, group) in enumerate(zip(names, groups, strict=True)):
        for key in {name, group}:
            where.setdefault(key, []).append(position)
    parts: list[str | None] = [None] * len(names)
    part_of_unit: dict[str, str] = {}
    for part, entries in lists.items():
        for entry in entries:
            if entry not in where:
                raise ValueError(
                    f"{split_file}: '{entry}' in '{part}' is no case of the data set, such as '{names[0]}'"
                )
            for position in where[entry]:
                unit = units[position]
                if part_of_unit.setdefault(unit, part) != part:
                    both = f"'{part_of_unit[unit]}' and '{part}'"
                    raise ValueError(f"{split_file}: '{unit}' is in {both}; a patient belongs to one of them")
                parts[position] = part
    found = pd.Series(parts, index=names, dtype=object)
    if "val" not in lists:
        training = pd.Series(units, index=names)[found == "train"]
        found[training.index[deal(training, pd.Series(0, index=training.index), folds) == fold]] = "val"
    return found


def read_split(path: Path, fold: int, cases: int) -> tuple[dict[str, list[str | int]], frozenset[str]]:
    """The lists of a split file, by part, and the groups it splits on purpose; ``cases`` is how many the data set has.

    Raises:
        ValueError: the file is missing, of another form, lacks ``fold``, or was made for another number of cases.
    """
    try:
        content: Any = read_json(path)
    except FileNotFoundError:
        raise ValueError(
            f"there is no split file {path}: not in data_root, in the working folder or in the package; "
            "tools/dataset/split.py makes one"
        ) from None
    if isinstance(content, list):
        if fold >= len(content):
            raise ValueError(f"{path} has the folds 0 to {len(content) - 1}, not {fold}")
        content = content[fold]
    lists = {part: content[part] for part in PARTS if part in content} if isinstance(content, dict) else {}
    if "train" not in lists or not all(isinstance(entries, list) for entries in lists.values()):
        raise ValueError(f'{path} holds no lists "train", "val", "test" of case names')
    if content.get("cases", cases) != cases:
        raise ValueError(
            f"{path} counts positions in the {content['cases']} cases of the release; dataset.json here lists {cases}, "
            "where they would name other cases. If the preparation left one out (problems.json says why), put it right "
            "and prepare again; else list the cases by name in a split_file of your own"
        )
    return lists, frozenset(content.get("by_day", ()))
