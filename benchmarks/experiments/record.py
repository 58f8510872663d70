"""How an experiment remembers: one json line a finished run; a script started again does only what is missing."""

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"


def real_data(name: str) -> Path:
    """A folder of the real data, which lies outside the project."""
    base = os.environ.get("VDT3D_REAL_DATA")
    if base is None or not (Path(base) / name).is_dir():
        raise SystemExit(f"set VDT3D_REAL_DATA to the folder that holds '{name}' (it is '{base}')")
    return Path(base).resolve() / name


def once(experiment: str, key: dict, run: Callable[[], dict]) -> None:
    """Do ``run`` unless ``docs/results/EXPERIMENT.jsonl`` has a line for ``key``, and append what it returns."""
    path = RESULTS / f"{experiment}.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    if any(all(line.get(name) == value for name, value in key.items()) for line in lines):
        print(f"done already: {key}")
        return
    start, cpu_before = time.time(), _cpu_minutes()
    result = run()
    spent = {"minutes": round((time.time() - start) / 60, 1), "cpu_minutes": round(_cpu_minutes() - cpu_before, 1)}
    line = {**key, **result, **spent, **_circumstances()}
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))


def train(
    config: str, work_dir: Path, *options: str, arguments: tuple[str, ...] = (), processes: int = 1
) -> list[dict]:
    """Train (or go on training) a config and return its scores, one dict a validation."""
    words = ("--work-dir", str(work_dir), "--resume", *arguments, *_options(options))
    if processes == 1:
        _tool("train.py", config, *words)
    else:
        _run("bash", ROOT / "tools" / "dist_train.sh", config, str(processes), *words)
    return [json.loads(line) for line in (work_dir / "scores.jsonl").read_text().splitlines()]


def test(config: str, checkpoint: Path, *options: str) -> dict:
    """The test scores of a checkpoint."""
    work_dir = checkpoint.parent / "test"
    out = work_dir / "test.json"
    work_dir.mkdir(exist_ok=True)
    _tool(
        "test.py",
        config,
        str(checkpoint),
        "--work-dir",
        str(work_dir),
        "--out",
        str(out),
        "--overwrite",
        *_options(options),
    )
    return json.loads(out.read_text())


def _options(options: tuple[str, ...]) -> list[str]:
    return ["--cfg-options", *options] if options else []


def _tool(name: str, *arguments: str) -> None:
    _run(sys.executable, ROOT / "tools" / name, *arguments)


def _run(*words: str | Path) -> None:
    subprocess.run(words, check=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})


def _cpu_minutes() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) / 60


def _circumstances() -> dict:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    machine = f"{os.cpu_count()} cores, {platform.machine()}"
    return {"date": date.today().isoformat(), "machine": machine, "commit": commit.stdout.strip()}
