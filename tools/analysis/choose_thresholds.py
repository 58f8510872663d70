"""Choose thresholds of regions: ``python tools/analysis/choose_thresholds.py CONFIG CHECKPOINT --out FILE.json``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, installed or not

from vdt3d.cli import main

if __name__ == "__main__":
    main(["choose-thresholds", *sys.argv[1:]])
