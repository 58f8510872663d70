"""The page of a report: what is on it, in which order, and how large it may become."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from vdt3d.visualization.grid import PALETTE
from vdt3d.visualization.html import NOTE, picture_uri, png, write_page
from vdt3d.visualization.predictions import FOUND, TRUE
from vdt3d.visualization.report.cases import cell_of, columns_of, failures_of, in_words
from vdt3d.visualization.report.charts import charts
from vdt3d.visualization.report.stills import still

HERE = Path(__file__).parent
EMBEDDED = 25_000_000  # bytes of pictures on the page
LISTED = 2000  # cases of a run in the table
FAILURES = 40  # of a run that are named


class Table(NamedTuple):
    """A table of the page."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class ReportRun:
    """What a report is told of a run.

    Args:
        name: how the page calls it.
        folder: of the pictures of its cases.
        records: as ``record.json`` has them, of "train", "test" or both.
        cases: what its test left of every case: see ``docs/report.md``.
        losses: work directory whose training losses are drawn, and what was watched of its layers.
        pictures: a page of cases, of the last validation that was drawn.
        validations: a row for each, with ``iter`` and scores.
        froc: json of a FROC curve.
        reliability: confidence, accuracy and count, as ``reliability_diagram`` wants them.
        inspection: kind and text of what was found when the data was looked over.
    """

    name: str
    folder: Path
    records: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cases: Mapping[str, Any] | None = None
    losses: Path | None = None
    pictures: Path | None = None
    validations: pd.DataFrame | None = None
    froc: Path | None = None
    reliability: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    inspection: Sequence[tuple[str, str]] | None = None


def write_report(
    path: Path, runs: Sequence[ReportRun], *, tables: Sequence[Table] = (), embedded: int = EMBEDDED
) -> None:
    """One self-contained page; written aside, then renamed.

    Args:
        path: of the page.
        runs: side by side, in this order; their names differ.
        tables: shown with the records of the runs.
        embedded: bytes of cases' pictures, at most; of each run the worst, the best and the middle one come first.

    Raises:
        ValueError: there are no runs, or two have one name.
    """
    names = [run.name for run in runs]
    if not runs or len(set(names)) < len(names):
        raise ValueError(f"a report is of one run or more, each with a name of its own; got {names}")
    shown, left = [], embedded
    for place, run in enumerate(runs):
        shown.append(_Shown(run, left // (len(runs) - place)))
        left -= shown[-1].size
    source, style, script = (
        (HERE / name).read_text(encoding="utf-8") for name in ("report.html.j2", "report.css", "viewer.js")
    )
    write_page(
        path,
        source,
        title="Report: " + ", ".join(names),
        note=NOTE,
        style=style,
        script=script,
        data=_json({"runs": [one.viewed for one in shown], "true": TRUE, "found": FOUND}),
        runs=shown,
        kinds={one.kind for one in shown},
        facts=[facts for run in runs for facts in _facts(run)],
        scores=list(_scores(runs)),
        charts=[(chart, _png(chart.figure)) for chart in charts(runs)],
        tables=tables,
    )


class _Shown:
    """A run as the template and the viewer want it, with as many pictures as fit.

    Attributes:
        run: itself.
        size: bytes of pictures.
        viewed: for the viewer.
        columns, rows: of the table of cases; each row has the ``name``, the ``cells`` and the place in the viewer.
        stills: ``title``, ``name``, ``text``, ``picture`` and ``place`` of a few cases.
        failures, more_failures: what went wrong, name and text, and how many are not listed.
        notes: on what is not shown.
    """

    def __init__(self, run: ReportRun, allowed: int):
        self.run, self.size = run, 0
        told = run.cases or {"kind": "", "cases": [], "classes": []}
        self.kind = told["kind"]
        cases = sorted(told["cases"], key=lambda case: (case["score"] is None, case["score"] or 0.0, case["name"]))
        places, viewed = {}, []
        pictured = [place for place, case in enumerate(cases) if case["pictures"]]
        for place in _in_turn(pictured):
            files = {name: (run.folder / file) for name, file in cases[place]["pictures"]["files"].items()}
            size = sum(4 * math.ceil(file.stat().st_size / 3) for file in files.values())
            if self.size + size > allowed:
                continue
            self.size += size
            places[place] = files
        for number, place in enumerate(sorted(places)):
            case = cases[place]
            facts = {key: value for key, value in case["pictures"].items() if key != "files"}
            pictures = {name: picture_uri(file.read_bytes(), file.suffix[1:]) for name, file in places[place].items()}
            viewed.append({"name": case["name"], "text": in_words(case, told), **facts, "pictures": pictures})
            places[place] = number
        regions = viewed[0]["regions"] if viewed else {}
        self.viewed = {
            "name": run.name,
            "kind": self.kind,
            "regions": [{"name": name, "colour": PALETTE[place % len(PALETTE)]} for place, name in enumerate(regions)],
            "cases": viewed,
        }
        self.columns, cells = columns_of(told)
        self.rows = [
            {"name": case["name"], "cells": list(map(cell_of, cells(case))), "place": places.get(place)}
            for place, case in enumerate(cases[:LISTED])
        ]
        self.stills = list(self._stills(cases, places, told))
        failures = [(case["name"], text) for case in cases for text in failures_of(case, told)]
        self.failures, self.more_failures = failures[:FAILURES], len(failures[FAILURES:])
        self.notes = list(self._notes(cases, pictured))

    def _stills(self, cases: Sequence[Mapping], places: Mapping[int, int], told: Mapping) -> Iterator[dict[str, Any]]:
        """The worst two, the middle one and the best of those with pictures."""
        scored = [place for place in sorted(places) if cases[place]["score"] is not None] or sorted(places)
        last = len(scored) - 1
        wanted = {0: "worst"} if scored else {}
        for title, position in (("best", last), ("median", last // 2), ("second worst", 1)):
            if 0 < position <= last:
                wanted.setdefault(position, title)
        for position, title in sorted(wanted.items()):
            case, place = cases[scored[position]], places[scored[position]]
            files = {name: self.run.folder / file for name, file in case["pictures"]["files"].items()}
            yield {
                "title": title if case["score"] is not None else "a case",
                "name": case["name"],
                "text": in_words(case, told),
                "picture": picture_uri(still(case["pictures"], files), "jpeg"),
                "place": place,
            }

    def _notes(self, cases: Sequence[Mapping], pictured: Sequence[int]) -> Iterator[str]:
        shown = len(self.viewed["cases"])
        if shown < len(cases):
            why = "" if shown == len(pictured) else f" ({len(pictured) - shown} more would make the page too large)"
            yield f"{shown} of {len(cases)} cases have pictures{why}: the worst, the best, and some between."
        if len(cases) > LISTED:
            yield f"The table holds the {LISTED} worst of {len(cases)} cases."
        unknown = sum(not case["known"] for case in cases)
        if unknown:
            yield f"{unknown} of {len(cases)} cases have no truth: nothing of them is scored."
        shared = self.run.records.get("test", {}).get("results", {}).get("test", {}).get("validation_cases")
        if shared:
            yield (
                f"{shared} test cases are validation cases too: scores are too high where validation chose the "
                "checkpoint, the threshold or the length of training."
            )


# ---- what is said of runs --------------------------------------------------------------------------------------------


def _scores(runs: Sequence[ReportRun]) -> Iterator[Table]:
    """Tests and last validations, a column for each run."""
    for title, kind, when in (("Test", "test", "test"), ("Last validation", "train", "last")):
        told = [run.records.get(kind, {}).get("results", {}).get(when, {}) for run in runs]
        names = [
            name
            for name in dict.fromkeys(name for scores in told for name in scores)
            if not name.endswith(("_low", "_high"))
        ]
        if names:
            yield Table(
                title,
                ["score", *(run.name for run in runs)],
                [[name, *(_told(of, name) for of in told)] for name in names],
            )


def _told(scores: Mapping[str, Any], name: str) -> str:
    """A score with its interval."""
    value = scores.get(name)
    if value is None:
        return "no value" if name in scores else ""
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    ends = [scores.get(f"{name}_{end}") for end in ("low", "high")]
    return shown if None in ends else f"{shown} ({ends[0]:.4g} to {ends[1]:.4g})"


def _facts(run: ReportRun) -> list[tuple[str, dict[str, str], dict[str, str]]]:
    """Of each record of a run a title, what is short, and what is folded away."""
    home, told = str(Path.home()), []
    for kind, record in run.records.items():
        git = record["git"] or {}
        changed = ", with changes that are not committed" if git.get("diff") or git.get("untracked") else ""
        short = {
            "command": record["command"],
            "config": record["config_file"] or "",
            "seed": str(record["seed"]),
            "code": f"vdt3d {record['vdt3d']}" + (f", commit {git['commit'][:12]}{changed}" if git else ""),
            "began": f"{record['started'][:16].replace('T', ' ')}, took {record['seconds']:.0f} s"
            + ("" if record["finished"] else ", not finished"),
            "data": "; ".join(
                f"{split}: {found['cases']} cases of {found['type']}" for split, found in record["data"].items()
            ),
            "machine": ", ".join(f"{key} {value}" for key, value in record["environment"].items() if value),
        }
        config = record["config"] if home == "/" else record["config"].replace(home, "~")
        packages = "\n".join(f"{name} {version}" for name, version in record["packages"].items())
        told.append((f"{run.name}: {kind}", short, {"config": config, "packages": packages}))
    return told


def _in_turn(places: Sequence[int]) -> list[int]:
    """First, last, middle one, and so on inwards: what is shown first when not all fits."""
    order = [*places[:2], *places[-1:], *places[len(places) // 2 :][:1]]
    ends = [place for pair in zip(places, reversed(places), strict=True) for place in pair]
    return list(dict.fromkeys([*order, *ends]))


# ---- files -----------------------------------------------------------------------------------------------------------


def _json(content: Mapping[str, Any]) -> Markup:
    """JSON that may stand within a script element: nothing in it can end the element."""
    return Markup(json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"))


def _png(figure: Figure | Path) -> tuple[str, int]:
    """The figure, or a picture's file, and how many pixels of a page it is wide."""
    if isinstance(figure, Path):
        with Image.open(figure) as picture:
            return picture_uri(figure.read_bytes(), "png"), picture.width
    return picture_uri(png(figure, dpi=150), "png"), round(96 * figure.get_figwidth())
