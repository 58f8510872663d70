"""Label scans: ``python tools/predict.py CONFIG CHECKPOINT INPUT... -o OUT``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

from vdt3d.cli import main

if __name__ == "__main__":
    main(["predict", *sys.argv[1:]])
