"""Write a trained network as ONNX or torch.export: ``python tools/model/export.py CONFIG CHECKPOINT -o model.onnx``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, installed or not

from vdt3d.cli import main

if __name__ == "__main__":
    main(["export", *sys.argv[1:]])
