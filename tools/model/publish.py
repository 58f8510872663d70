"""Make weights ready to pass on: ``python tools/model/publish.py SRC OUT_DIR --name NAME --config CONFIG``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, installed or not

from vdt3d.cli import main

if __name__ == "__main__":
    main(["publish", *sys.argv[1:]])
