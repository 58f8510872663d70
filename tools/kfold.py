"""Train every fold: ``python tools/kfold.py CONFIG --folds 5``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

from vdt3d.cli import main

if __name__ == "__main__":
    main(["kfold", *sys.argv[1:]])
