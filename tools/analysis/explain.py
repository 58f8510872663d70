"""Explain an answer: ``python tools/analysis/explain.py CONFIG CKPT SCAN --method gradcam --target 1``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, installed or not

from vdt3d.cli import main

if __name__ == "__main__":
    main(["explain", *sys.argv[1:]])
