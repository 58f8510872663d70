"""Show what a checkpoint holds: ``python tools/model/examine.py FILE``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, installed or not

from vdt3d.cli import main

if __name__ == "__main__":
    main(["examine", *sys.argv[1:]])
