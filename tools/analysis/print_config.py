"""Show a config as merged: ``python tools/analysis/print_config.py CONFIG``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, installed or not

from vdt3d.cli import main

if __name__ == "__main__":
    main(["print-config", *sys.argv[1:]])
