"""Find the learning rate: ``python tools/analysis/lr_find.py CONFIG``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, installed or not

from vdt3d.cli import main

if __name__ == "__main__":
    main(["lr-find", *sys.argv[1:]])
