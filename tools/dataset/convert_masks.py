"""Convert masks between csv, NIfTI, PNG and npy: ``python tools/dataset/convert_masks.py SRC DST``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, installed or not

from vdt3d.cli import main

if __name__ == "__main__":
    main(["convert-masks", *sys.argv[1:]])
