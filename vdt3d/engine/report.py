"""What a run left in its work directory, read again for a report."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vdt3d.datasets.inspection import KINDS
from vdt3d.engine.case_records import CASES, FROC
from vdt3d.engine.run_record import NAME, read_records
from vdt3d.evaluation.calibration import reliability
from vdt3d.visualization import read_scalars
from vdt3d.visualization.report import ReportRun

INSPECTIONS = (Path("inspection.json"), Path("inspection", "inspection.json"))


def read_run(folder: Path, name: str, inspection: Path | None = None) -> ReportRun:
    """All that is known of a run.

    Raises:
        FileNotFoundError: there is neither a record of a run nor of a test; or no ``inspection``.
        ValueError: a file is none of ours.
    """
    records = read_records(folder) if (folder / NAME).exists() else {}
    cases = _read(folder / CASES.with_suffix(".json"), "cases")
    if not records and cases is None:
        raise FileNotFoundError(
            f"{folder}: neither {NAME} nor {CASES.with_suffix('.json')}; give the work directory of a run (default "
            "hooks record and report write them)"
        )
    froc = folder / FROC
    curve = _read(froc, "curve")
    if curve is not None and curve["curve"]["sensitivity"][0] is None:  # there was no true box to find
        curve = None
    return ReportRun(
        name=name,
        folder=folder / CASES,
        records=records,
        cases=cases,
        losses=folder if _has_losses(folder) else None,
        pictures=max(folder.glob("pictures/*.png"), key=lambda path: path.stat().st_mtime, default=None),
        validations=read_validations(folder),
        froc=froc if curve is not None else None,
        reliability=_reliability(cases),
        inspection=_inspected(folder, inspection),
    )


def _has_losses(folder: Path) -> bool:
    files = any(folder.glob("*/vis_data/scalars.json"))
    return files and bool((read_scalars(folder)["name"] == "loss").any())


def read_validations(folder: Path) -> pd.DataFrame | None:
    """A row for each validation of a run, from its ``scores.jsonl``; None where there was none."""
    file = folder / "scores.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    # A validation without training, for a threshold before a test, says iteration 0.
    rows = [row for row in map(json.loads, lines) if row["split"] == "val" and row["iter"] > 0]
    return pd.DataFrame(rows).drop_duplicates("iter", keep="last") if rows else None


def _read(path: Path, key: str) -> dict[str, Any] | None:
    """A json of ours that holds ``key``; None where there is no file."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content[key]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: is not what a test of ours writes there ({error!r}); test again") from error
    return content


def _inspected(folder: Path, inspection: Path | None) -> list[tuple[str, str]] | None:
    """What the inspection of the data found: kind and text."""
    if inspection is not None and not inspection.is_file():
        raise FileNotFoundError(f"{inspection}: no such file; vdt3d inspect writes inspection.json")
    places = [inspection] if inspection is not None else [folder / place for place in INSPECTIONS]
    found = next((content for place in places if (content := _read(place, "findings")) is not None), None)
    if found is None:
        return None
    return [
        (KINDS.get(finding["kind"], finding["kind"]), f"{finding['text']}: {', '.join(finding['cases'][:8])}")
        for finding in found["findings"]
    ]


def _reliability(cases: dict[str, Any] | None) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The curve of what a classifier said."""
    told = [case for case in (cases or {"cases": []})["cases"] if "probabilities" in case and case["known"]]
    if not told:
        return None
    return reliability(np.array([case["probabilities"] for case in told]), np.array([case["truth"] for case in told]))
