"""Train, validation and test parts that keep a patient in one part, and give every part its share of every class."""

import warnings
import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

FOLDS = 7
SPLITS = {
    "train": ("train",),
    "val": ("val",),
    "test": ("test",),
    "trainval": ("train", "val"),
    "all": ("train", "val", "test"),
}


def deal(groups: pd.Series, targets: pd.Series, folds: int) -> pd.Series:
    """Deal cases out to ``folds`` hands, all cases of a group to the same one.

    The groups of each class (the highest class among their cases) are dealt out in turn, in the order of a checksum of
    their names, so the result depends on the names: not on a seed, a library's version or the order of the rows.

    Args:
        groups: (N,) what must stay together: the patient, or the file.
        targets: (N,) class index, with the same row labels.
        folds: how many hands.

    Returns:
        (N,) fold number from 0 to ``folds`` - 1, with the same row labels.
    """
    deck = pd.DataFrame({"group": groups.astype(str), "target": targets}).groupby("group").target.max().reset_index()
    deck["order"] = [zlib.crc32(group.encode()) for group in deck.group]
    deck = deck.sort_values(["target", "order", "group"])
    return groups.astype(str).map(dict(zip(deck.group, np.arange(len(deck)) % folds, strict=True)))


def deal_parts(patients: pd.Series, targets: pd.Series, fold: int = 0) -> pd.Series:
    """Deal patients out to "test" (the seventh numbered ``fold``), "val" (the next seventh) and "train" (the others).

    Args:
        patients: (N,) whose case it is.
        targets: (N,) class index, with the same row labels.
        fold: 0 to 6.

    Returns:
        (N,) part of each case, with the same row labels.
    """
    turn = (deal(patients, targets, FOLDS) - fold) % FOLDS
    return turn.map({0: "test", 1: "val"}).fillna("train")


def stratified_group_folds(
    table: pd.DataFrame, folds: int, *, by_day: float = 0.0, seed: int = 0
) -> list[dict[str, list[str]]]:
    """Deal scans out to ``folds`` hands, each of which is held out once; all scans of a group stay together, and every
    hand gets its share of slices and of empty slices (scikit-learn's ``StratifiedGroupKFold``).

    Args:
        table: a row for each slice, with the columns ``name`` (of its scan), ``group`` (whose scan it is) and
            ``empty`` (whether nothing is labelled in it).
        folds: how many hands, two or more.
        by_day: share of the groups of several scans, chosen by a checksum of their names, whose scans may come into
            different hands: their other days are known in training, as the other cases are not.
        seed: another seed, another deal.

    Returns:
        Of each fold the names of its scans, in the order of the table, as "train" and "val", and as "by_day" the
        groups whose scans were dealt out one by one.

    Raises:
        ValueError: fewer groups than folds, or a share that is none.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # slow to import

    if not 0 <= by_day <= 1:
        raise ValueError(f"by_day={by_day} is a share of the groups, from 0 to 1")
    scans = table.groupby("group")["name"].nunique()
    several = sorted(scans.index[scans > 1], key=lambda group: (zlib.crc32(str(group).encode()), group))
    torn = sorted(several[: round(by_day * len(several))])
    units = table.name.where(table.group.isin(torn), table.group)
    if not 2 <= folds <= units.nunique():
        raise ValueError(f"folds={folds}: it takes two or more, and no more than there are groups, {units.nunique()}")
    dealer = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # fewer empty slices than folds cannot be shared out better
        hands = [set(table.name.iloc[rows]) for _, rows in dealer.split(table, table["empty"], units)]
    names = list(dict.fromkeys(table.name))
    return [
        {
            "train": [name for name in names if name not in held_out],
            "val": [name for name in names if name in held_out],
            "by_day": torn,
        }
        for held_out in hands
    ]


def check_leaks(folds: Sequence[Mapping[str, Any]], groups: Mapping[str, str], allowed: Collection[str] = ()) -> None:
    """Raise ValueError where, in one fold, a scan is in two parts, or a group that is not ``allowed`` to be.

    Args:
        folds: of each, the names of the scans in the parts "train", "val" and "test"; other keys are notes.
        groups: the group of every scan, by its name.
        allowed: groups whose scans may be in different parts, on purpose.

    Raises:
        ValueError: also a name that is no scan's.
    """
    for number, fold in enumerate(folds):
        part_of: dict[tuple[str, str], str] = {}
        for part in SPLITS["all"]:
            for name in fold.get(part, ()):
                if name not in groups:
                    raise ValueError(f"fold {number}: '{name}' in '{part}' is no scan of the data set")
                together = [("scan", name)] if groups[name] in allowed else [("scan", name), ("group", groups[name])]
                for unit in together:
                    if part_of.setdefault(unit, part) != part:
                        kind, text = unit
                        raise ValueError(
                            f"fold {number}: the {kind} '{text}' is in '{part_of[unit]}' and in '{part}'; it belongs "
                            "to one of them"
                        )


def in_split(parts: pd.Series, split: str, source: object) -> pd.Series:
    """(N,) whether each case's part ("train", "val" or "test") belongs to ``split``, a key of ``SPLITS``.

    Raises:
        ValueError: an unknown part or split; ``source`` says in the message where the parts come from.
    """
    unknown = sorted(set(parts.astype(str)) - set(SPLITS["all"]))
    if unknown:
        raise ValueError(f"{source}: the column 'split' holds {unknown}; it must hold train, val or test")
    if split not in SPLITS:
        raise ValueError(f"unknown split '{split}'; choose one of {', '.join(SPLITS)}")
    return parts.isin(SPLITS[split])


def read_table(path: str, columns: set[str], aliases: Mapping[str, str] | None = None, **kwargs) -> pd.DataFrame:
    """Read a csv file as a table.

    Args:
        path: UTF-8, with or without a byte order mark.
        columns: that it must have.
        aliases: other names of these columns, for tables that lack the names themselves.
        **kwargs: of ``pandas.read_csv``.

    Raises:
        ValueError: the file is missing, is no table, has no rows, or lacks one of ``columns``.
    """
    try:
        table = pd.read_csv(path, encoding="utf-8-sig", **kwargs)
    except FileNotFoundError:
        raise ValueError(f"there is no table {path}; data/README.md says where it comes from") from None
    except ValueError as error:  # pandas' parser errors are ValueErrors
        raise ValueError(f"{path} cannot be read as a csv table: {error}") from error
    table = table.rename(columns={other: name for other, name in (aliases or {}).items() if name not in table})
    lacking = sorted(columns - set(table.columns))
    if lacking or table.empty:
        raise ValueError(
            f"{path} has {len(table)} rows and the columns {list(table.columns)}; it must fill {sorted(columns)}"
        )
    return table
