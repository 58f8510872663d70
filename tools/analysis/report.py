"""Put runs on one page: ``python tools/analysis/report.py work_dirs/debug``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, installed or not

from vdt3d.cli import main

if __name__ == "__main__":
    main(["report", *sys.argv[1:]])
