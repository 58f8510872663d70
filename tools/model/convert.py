"""Carry 2D weights over to 3D: ``python tools/model/convert.py SRC DST --how i3d``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, installed or not

from vdt3d.cli import main

if __name__ == "__main__":
    main(["convert", *sys.argv[1:]])
