"""Deal a segmentation data set out to folds: ``python tools/dataset/split.py ROOT --out FILE``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, installed or not

from vdt3d.cli import main

if __name__ == "__main__":
    main(["split", *sys.argv[1:]])
