"""Learn a few cases by heart: ``python tools/analysis/overfit.py CONFIG --cases 2``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, installed or not

from vdt3d.cli import main

if __name__ == "__main__":
    main(["overfit", *sys.argv[1:]])
