"""A sliding window over a scan, its network computed by ONNX Runtime against PyTorch: time, and labels that differ.

The ResNet3D-10 U-Net of configs/debug/segment.py with random weights, exported for the occasion; the same inferer,
windows and image, in turns within one process.

    python benchmarks/onnx_runtime.py --threads 1
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from mmengine.registry import DefaultScope

from vdt3d.apis.export import export
from vdt3d.engine.config import read_config
from vdt3d.engine.ensemble import loaded
from vdt3d.engine.onnx_network import OnnxNetwork
from vdt3d.inference import SlidingWindow
from vdt3d.inference.ensemble import Network
from vdt3d.models.weights.files import write_checkpoint
from vdt3d.registry import MODELS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path("configs/debug/segment.py"))
    parser.add_argument("--window", type=int, nargs=3, default=[16, 80, 96], metavar=("D", "H", "W"))
    parser.add_argument("--shape", type=int, nargs=3, default=[32, 120, 144], metavar=("D", "H", "W"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with TemporaryDirectory() as folder:
        networks = both(args.config, args.window, Path(folder))
        image = torch.randn(1, *args.shape, generator=torch.Generator().manual_seed(0))
        answers = {name: timed(network, image, args.window)[1] for name, network in networks.items()}  # and warm up
        turns = [
            {name: timed(network, image, args.window)[0] for name, network in networks.items()}
            for _ in range(args.rounds)
        ]
    seconds = {name: statistics.median(turn[name] for turn in turns) for name in networks}
    ratio = statistics.median(turn["onnx"] / turn["torch"] for turn in turns)
    differ = int((answers["torch"] != answers["onnx"]).sum())
    print(f"{args.threads} threads, {tuple(args.shape)} voxels in windows of {tuple(args.window)}")
    print(f"PyTorch {seconds['torch']:.2f} s, ONNX Runtime {seconds['onnx']:.2f} s: {ratio:.2f} of the time")
    print(f"{differ} of {answers['torch'].size} labels differ")
    print(json.dumps({"seconds": seconds, "ratio": ratio, "differ": differ}))


def both(config: Path, window: list[int], folder: Path) -> dict[str, Network]:
    """The network of a config with random weights, by PyTorch and by ONNX Runtime."""
    torch.manual_seed(0)
    read = read_config(config)
    with DefaultScope.overwrite_default_scope("vdt3d"):
        model = MODELS.build(read.model)
    weights, exported = folder / "random.pth", folder / "random.onnx"
    write_checkpoint({"state_dict": model.state_dict()}, weights)
    export(read, str(weights), exported, shape=(1, *window))
    return {"torch": loaded(read, str(weights), torch.device("cpu")), "onnx": OnnxNetwork(exported)}


def timed(network: Network, image: torch.Tensor, window: list[int]) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    labels = SlidingWindow(window)(network, image)
    return time.perf_counter() - start, labels


if __name__ == "__main__":
    main()
