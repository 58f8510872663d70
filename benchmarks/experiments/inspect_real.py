"""What ``vdt3d inspect`` finds in three real data sets; the pages, which show patients, stay in the folder given.

VDT3D_REAL_DATA=... python benchmarks/experiments/inspect_real.py work_dirs/inspection
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from record import ROOT, once, real_data

SETS = {"msd_task04_hippocampus": ".", "sjtu_m3dv_nodules": "nodules64", "cifar10_images_subset": "."}


def look(folder: Path, out: Path) -> dict:
    """The number of cases, of findings by kind, and the words of those that name no case."""
    subprocess.run([sys.executable, ROOT / "tools/dataset/examine.py", folder, "--out", out, "--overwrite"], check=True)
    report = json.loads((out / "inspection.json").read_text(encoding="utf-8"))
    kinds = Counter(finding["kind"] for finding in report["findings"])
    spread = [finding["text"] for finding in report["findings"] if finding["kind"] == "spread"]
    return {"cases": len(report["cases"]), "findings": kinds, "spread": spread}


if __name__ == "__main__":
    for name, part in SETS.items():
        source, out = real_data(name) / part, Path(sys.argv[1]).resolve() / name
        once("inspection", {"data": name}, lambda source=source, out=out: look(source, out))
