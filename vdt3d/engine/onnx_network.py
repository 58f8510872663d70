"""OnnxNetwork: a network that ``vdt3d export`` wrote as ONNX, computed by ONNX Runtime in place of PyTorch."""

import hashlib
import json
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from vdt3d.models.weights.files import CheckpointError

META = "vdt3d"  # the key, among the file's own, under which is told what the network is
AXES = ("batch", "channels", "depth", "height", "width")
# Of each of AXES the least and the greatest size; None where there is no greatest.
Sizes = list[tuple[int, int | None]]


class OnnxNetwork:
    """From a batch (B, C, D, H, W) to the scores that the model it was exported from gives in mode 'tensor', float32.

    Args:
        path: a file of ``vdt3d export``.
        device: where to compute: the CPU, with as many threads as torch, or a CUDA device.

    Attributes:
        meta: what ``vdt3d export`` told of it: ``model`` (its type), ``config``, ``dataset_meta``, ``sizes``, ...
        sizes: of the batches it takes.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: the file is not whole, or was not written by ``vdt3d export``.
        ValueError: ONNX Runtime is not installed, or cannot compute on the device. (On use) a batch of a size that it
            was not exported for, or that the network cannot compute.
    """

    def __init__(self, path: str | Path, device: torch.device | str = "cpu"):
        self.path, device = Path(path), torch.device(device)
        runtime = of_extra("onnxruntime")
        provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(device.type)
        if provider not in runtime.get_available_providers():
            raise ValueError(
                f"{path}: the ONNX Runtime that is installed does not compute on {device}: choose the device cpu"
                + (", or install onnxruntime-gpu in place of onnxruntime" if device.type == "cuda" else "")
            )
        if not self.path.is_file():
            raise FileNotFoundError(f"{path}: there is no such exported network")
        place = {"device_id": device.index or 0} if device.type == "cuda" else {}
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # what goes wrong is raised
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=[(provider, place)])
        except Exception as error:  # the runtime has a class of its own for each way in which a file is broken
            reason = str(error).partition("\n")[0]
            raise CheckpointError(f"{path}: not a whole ONNX file ({reason}); export it again") from error
        if self._session.get_providers()[0] != provider:  # it goes on without, where a library of CUDA's is missing
            raise ValueError(f"{path}: ONNX Runtime cannot use {device}; mend its CUDA libraries or choose the cpu")
        try:
            self.meta: dict[str, Any] = json.loads(self._session.get_modelmeta().custom_metadata_map[META])
            self.sizes: Sizes = [(low, high) for low, high in self.meta["sizes"]]
        except (KeyError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"{path}: does not tell what it wants to be fed, so vdt3d export did not write it; export the "
                "checkpoint it was made of"
            ) from error

    def __call__(self, batch: Tensor) -> Tensor:
        if self.sizes[0] == (1, 1) and len(batch) > 1:  # how many go together is the inferer's choice
            return torch.cat([self(one) for one in batch.split(1)])
        fits = len(batch.shape) == len(self.sizes) and all(
            low <= size and (high is None or size <= high)
            for size, (low, high) in zip(batch.shape, self.sizes, strict=True)
        )
        if not fits:
            raise ValueError(
                f"{self.path}: was exported for {described(self.sizes)}, and is fed {tuple(batch.shape)}; export it "
                "again with the --shape that the inferer's window or the pipeline makes"
            )
        try:
            (scores,) = self._session.run(None, {"inputs": batch.detach().float().cpu().contiguous().numpy()})
        except Exception as error:  # the runtime has no class of its own for it
            reason = str(error).partition("\n")[0]
            raise ValueError(f"{self.path}: cannot compute a batch {tuple(batch.shape)} ({reason})") from error
        return torch.from_numpy(scores).to(batch.device)

    def check_origin(self, model: nn.Module) -> None:
        """Raise CheckpointError if it was exported from another model than that of a config."""
        if self.meta.get("tensors") != digest(model):
            raise CheckpointError(
                f"{self.path}: was exported from another {self.meta.get('model')} than the {type(model).__name__} of "
                "the config: give the config it was exported with"
            )


def is_exported(path: str | Path) -> bool:
    """Whether a path or address is that of an exported network, by how it ends."""
    return str(path).endswith(".onnx")


def digest(model: nn.Module) -> str:
    """Of the names and shapes of a model's tensors: equal where the checkpoints of one fit the other."""
    shapes = sorted(f"{name} {tuple(tensor.shape)}" for name, tensor in model.state_dict().items())
    return hashlib.sha256("\n".join(shapes).encode()).hexdigest()[:16]


def described(sizes: Sizes) -> str:
    """Sizes of batches in words."""
    words = []
    for axis, (low, high) in zip(AXES, sizes, strict=True):
        size = str(low) if low == high else f"from {low}" if high is None else f"{low} to {high}"
        words.append(f"{axis} {size}")
    return ", ".join(words)


def of_extra(name: str) -> ModuleType:
    """A module that the extra ``export`` brings.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(f"{name} is not installed, which exported networks want: pip install vdt3d[export]") from error
