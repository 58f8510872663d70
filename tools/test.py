"""Test a trained model: ``python tools/test.py CONFIG CHECKPOINT``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

from vdt3d.cli import main

if __name__ == "__main__":
    main(["test", *sys.argv[1:]])
