"""Train, validation and test parts that keep a patient in one part, and give every part its share of every class."""

import zlib

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


def read_table(path: str, columns: set[str], **kwargs) -> pd.DataFrame:
    """A csv file as a table; ``kwargs`` go to ``pandas.read_csv``.

    Raises:
        ValueError: the file is missing, is no table, has no rows, or lacks one of ``columns``.
    """
    try:
        table = pd.read_csv(path, **kwargs)
    except FileNotFoundError:
        raise ValueError(f"there is no table {path}; data/README.md says where it comes from") from None
    except ValueError as error:  # pandas' parser errors are ValueErrors
        raise ValueError(f"{path} cannot be read as a csv table: {error}") from error
    lacking = sorted(columns - set(table.columns))
    if lacking or table.empty:
        raise ValueError(
            f"{path} has {len(table)} rows and the columns {list(table.columns)}; it must fill {sorted(columns)}"
        )
    return table
