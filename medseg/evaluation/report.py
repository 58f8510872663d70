"""Scores of segmentations as files: csv for tables, json for everything."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from vdt3d.utils.files import write_aside, write_json

SUFFIXES = (".json", ".csv")


def save_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write ``report`` as .json, or of its ``cases`` (case, label, score to number) a row per case as .csv.

    The table's columns are ``case`` and ``SCORE_LABEL``. JSON knows neither nan nor inf: both become null. The counts
    tell them apart: a distance is null because both maps lack the label (``dice`` is null too) or because one does.

    Raises:
        ValueError: another suffix.
    """
    check_suffix(path)
    if path.suffix == ".json":
        write_json(path, report)
        return
    text = case_table(report["cases"]).to_csv(index=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def case_table(cases: Mapping[str, Mapping[str, Mapping[str, float]]]) -> pd.DataFrame:
    """A row per case with columns ``case`` and, score by score, ``SCORE_LABEL``."""
    rows = []
    for case, labels in cases.items():
        scores = next(iter(labels.values()))
        rows.append({"case": case} | {f"{score}_{label}": labels[label][score] for score in scores for label in labels})
    return pd.DataFrame(rows)


def check_suffix(path: Path, suffixes: tuple[str, ...] = SUFFIXES) -> None:
    """Refuse a file of another kind, before any work is done.

    Raises:
        ValueError: the suffix is none of these.
    """
    if path.suffix not in suffixes:
        raise ValueError(f"{path}: wanted a file name that ends in {' or '.join(suffixes)}, not in '{path.suffix}'")
