"""Score predictions: ``python tools/analysis/evaluate.py PRED REF --labels liver=1 --out scores.json``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, installed or not

from vdt3d.cli import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
