"""Export: a trained network as a file of ONNX or of torch.export, compared with PyTorch before it gets its name."""

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import torch
from mmcv.cnn import ConvModule
from mmengine.config import Config
from mmseg.models.utils import Upsample
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

import vdt3d
from vdt3d.apis.predictor import Predictor, answer_of
from vdt3d.engine.ensemble import let_answer, loaded
from vdt3d.engine.onnx_network import AXES, META, OnnxNetwork, Sizes, digest, is_exported, of_extra
from vdt3d.inference.ensemble import Network
from vdt3d.models.layers.folded_conv import FoldedConv3d
from vdt3d.models.layers.safe_conv import SafeConv3d
from vdt3d.models.weights.files import plain, read_any
from vdt3d.utils.files import write_aside

TOLERANCE = 1e-4  # of the greatest score
STEPS = (5, 16, 32)  # voxels by which sides that are free are tried longer: the first that PyTorch takes
CPU = torch.device("cpu")


class Difference(NamedTuple):
    """How far scores are from PyTorch's: at most, and that as a share of the greatest of PyTorch's."""

    largest: float
    share: float


class Exported(NamedTuple):
    """What was written.

    Fields:
        path: the file.
        sizes: of the batches it takes.
        random: its difference on random patches.
        scan: its difference on all that a scan made the network be fed; None where none was given.
    """

    path: Path
    sizes: Sizes
    random: Difference
    scan: Difference | None


def export(
    config: Config, checkpoint: str, path: str | Path, *, shape: Sequence[int], scan: str | Path | None = None
) -> Exported:
    """Write the network of a config, with the weights of a checkpoint, to ``path``.

    It maps ``inputs`` (B, C, D, H, W), preprocessed as the config says, to ``scores``, those of the model's mode
    'tensor', before softmax or sigmoid. What else is to be known (``OnnxNetwork.meta``) stands in the file as JSON:
    in ``metadata_props`` of ONNX under "vdt3d", in torch.export's among its extra files as "vdt3d.json". The file is
    read back and compared with PyTorch, and only kept where both agree.

    Args:
        path: ends in ``.onnx``, or in ``.pt2`` for torch.export.
        shape: (C, D, H, W) of a patch.
        scan: one that is predicted both ways, whatever of it the network is fed.

    Raises:
        ValueError: another ending; a detector; a network that PyTorch cannot follow, or does not take the patch; scores
            that differ by more than ``TOLERANCE`` of the greatest; the extra ``export`` is not installed.
        CheckpointError, OSError: the checkpoint does not fill the model; a file cannot be read or written.
    """
    refuse_detectors(config)
    path = Path(path)
    write = _WRITERS.get(path.suffix)
    if write is None:
        raise ValueError(f"{path}: ends neither in .onnx nor in .pt2 (torch.export)")
    if len(shape) != 4 or min(shape) < 1:
        raise ValueError(f"shape {tuple(shape)}: wanted is that of a patch, (C, D, H, W)")
    if is_exported(checkpoint):
        raise ValueError(f"{checkpoint}: is exported already; give the checkpoint it was made of")
    if path.suffix == ".onnx":
        for name in ("onnxscript", "onnxruntime"):  # or it would be missed after the work
            of_extra(name)
    content = read_any(checkpoint)
    model = loaded(config, checkpoint, CPU, content)
    program, sizes = follow(model, shape)
    meta = {
        "vdt3d": vdt3d.__version__,
        "model": type(model).__name__,
        "tensors": digest(model),
        "shape": list(shape),
        "sizes": sizes,
        "config": config.pretty_text,
        "dataset_meta": content.get("meta", {}).get("dataset_meta", {}),
    }
    found = []

    def fill(aside: Path) -> None:
        with _said_shortly(model):
            exported = write(program, aside, json.dumps(plain(meta)))
        found.append(on_random_patches(model, exported, shape, sizes))
        if scan is not None:
            found.append(on_scan(config, checkpoint, exported, scan))

    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, fill)
    return Exported(path, sizes, found[0], found[1] if scan is not None else None)


def refuse_detectors(config: Config) -> None:
    """Raise ValueError for the config of a detector."""
    if answer_of(config) == "findings":
        raise ValueError("a detector cannot be exported: what it finds is no array of a size that is known before")


# ---- the network -----------------------------------------------------------------------------------------------------


def follow(model: nn.Module, shape: Sequence[int]) -> tuple[ExportedProgram, Sizes]:
    """What a model does with patches of ``shape``, and with all others that it treats alike, whose sizes come with it.

    Raises:
        ValueError: it does not take such patches, or cannot be followed.
    """
    with _said_shortly(model):
        model(torch.zeros(1, *shape))  # what is wrong with the patch is said in numbers here, in letters below
        likeness, free = _followable(model), (0, 2, 3, 4)
        while True:
            patches = torch.zeros(2 if 0 in free else 1, *shape)  # a batch of 1 would be taken for granted
            program = torch.export.export(likeness, (patches,), dynamic_shapes=(dict.fromkeys(free, Dim.AUTO),))
            sizes = _sizes(program)
            if _free(sizes) == free:
                return program, sizes
            free = _free(sizes)  # once more, without the axes that the network turned out to be tied to


def _free(sizes: Sizes) -> tuple[int, ...]:
    return tuple(axis for axis, (low, high) in enumerate(sizes) if low != high)


def _followable(model: nn.Module) -> nn.Module:
    """A copy of a model that does the same by layers whose code does not depend on the size of their input."""
    model = deepcopy(model).to(memory_format=torch.contiguous_format)
    for module in list(model.modules()):
        if isinstance(module, FoldedConv3d):  # of few slices it would be another computation than of many
            module.__class__ = SafeConv3d
        if isinstance(module, ConvModule) and module.with_norm and module.norm_name == "in":  # no name in written code
            module.norm_name = "in_"
            module.add_module("in_", module._modules.pop("in"))
        for name, child in list(module.named_children()):
            scale = child.scale_factor if isinstance(child, Upsample) else None
            if isinstance(scale, float) and scale.is_integer():  # it rounds sizes that are whole, and so fixes them
                setattr(module, name, nn.Upsample(None, scale, child.mode, child.align_corners))
    return model


def _sizes(program: ExportedProgram) -> Sizes:
    """The sizes of batches that a program is right for; where only multiples of something are, the one it was shown."""
    ranges = {str(symbol): bounds for symbol, bounds in program.range_constraints.items()}
    (patches,) = (node.meta["val"] for node in program.graph.find_nodes(op="placeholder") if node.name == "inputs")
    found = []
    for axis, size in enumerate(patches.shape):
        if str(size) not in ranges:
            found.append((int(size), int(size)))
            continue
        bounds = ranges[str(size)]
        low = 1 if axis == 0 else int(bounds.lower)  # where 2 is right, so is 1, which is tried below
        found.append((low, int(bounds.upper) if bounds.upper.is_Integer else None))
    return found


# ---- the file --------------------------------------------------------------------------------------------------------


def _write_onnx(program: ExportedProgram, path: Path, meta: str) -> Network:
    """Write the file, and read what it holds."""
    written = torch.onnx.export(
        program,
        input_names=["inputs"],
        output_names=["scores"],
        dynamic_shapes=({axis: AXES[axis] for axis in _free(json.loads(meta)["sizes"])},),
        external_data=False,
        verbose=False,
    )
    written.model.metadata_props[META] = meta
    path.write_bytes(written.model_proto.SerializeToString())
    return OnnxNetwork(path)


def _write_program(program: ExportedProgram, path: Path, meta: str) -> Network:
    """Write the file, and read what it holds."""
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={f"{META}.json": meta})
    with path.open("rb") as file:
        return torch.export.load(file).module()


_WRITERS: dict[str, Callable[[ExportedProgram, Path, str], Network]] = {".onnx": _write_onnx, ".pt2": _write_program}


@contextmanager
def _said_shortly(model: nn.Module) -> Iterator[None]:
    """What PyTorch has to say of a model that it cannot export, in one line, and no advice on others."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (OSError, ValueError):
            raise
        except Exception as error:
            cause = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            reason = (str(cause).strip() or type(cause).__name__).partition("\n")[0]
            raise ValueError(f"{type(model).__name__} cannot be exported: {reason}") from error


# ---- the comparison --------------------------------------------------------------------------------------------------


@torch.no_grad()
def on_random_patches(model: nn.Module, exported: Network, shape: Sequence[int], sizes: Sizes) -> Difference:
    """The largest difference on patches of ``shape``, one and, if they go together, two, and of another size, if free.

    Raises:
        ValueError: it is too large.
    """
    shapes = [(1, *shape), *([] if sizes[0] == (1, 1) else [(2, *shape)])]
    larger = (
        tuple(
            side if low == high else side + step if high is None else min(side + step, high)
            for side, (low, high) in zip((1, *shape), [(1, 1), *sizes[1:]], strict=True)
        )
        for step in STEPS
    )
    shapes += [next((other for other in larger if _takes(model, other)), shapes[0])]
    chance = torch.Generator().manual_seed(0)
    compared = _Compared(model, exported)
    for wanted in dict.fromkeys(shapes):
        compared(torch.randn(wanted, generator=chance))
    return compared.difference()


def _takes(model: nn.Module, shape: Sequence[int]) -> bool:
    """Whether a model takes a batch of a shape, which need not be a multiple of its strides."""
    try:
        model(torch.zeros(shape))
    except (AssertionError, RuntimeError, ValueError):
        return False
    return True


def on_scan(config: Config, checkpoint: str, exported: Network, scan: str | Path) -> Difference:
    """The largest difference on all that the network is fed while a scan is predicted.

    Raises:
        ValueError: it is too large; the scan cannot be predicted.
    """
    predictor = Predictor(config, checkpoint, device="cpu")
    predictor.half = False
    compared = _Compared(predictor.model, exported)
    let_answer(predictor.model, compared)
    predictor(scan)
    return compared.difference()


class _Compared:
    """A network that another is compared with wherever it answers."""

    def __init__(self, network: Network, other: Network):
        self.network, self.other = network, other
        self.largest = self.greatest = torch.zeros(())

    def __call__(self, batch: Tensor) -> Tensor:
        scores = self.network(batch)
        # torch's maximum is nan where one of the two is, unlike Python's.
        self.largest = torch.maximum(self.largest, (self.other(batch) - scores).abs().max())
        self.greatest = torch.maximum(self.greatest, scores.abs().max())
        return scores

    def difference(self) -> Difference:
        """What was found.

        Raises:
            ValueError: it is too large.
        """
        share = self.largest / self.greatest.clamp(min=torch.finfo(torch.float32).tiny)
        if not share <= TOLERANCE:
            raise ValueError(
                f"the exported network's scores are up to {self.largest:.2g} from PyTorch's, {share:.1e} of the "
                f"greatest, where {TOLERANCE:g} may be: it was not kept"
            )
        return Difference(float(self.largest), float(share))
