"""Checkpoints made to fit: 2D kernels into 3D networks, colours into one channel, names of others into ours."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from vdt3d.models.inflate.kernels import COLOURS, FILLINGS, fit_input_channels, inflate_kernel
from vdt3d.models.weights.files import CheckpointError
from vdt3d.models.weights.names import canonical, find_naming
from vdt3d.models.weights.recognition import Found, nearest, recognise

Fit = Callable[[Tensor, int], Tensor]
KERNEL_DIMS = (4, 5)  # of pictures and of volumes


@dataclass(frozen=True)
class Adapted:
    """A checkpoint made ready for ``load_weights``.

    Args:
        state: its tensors, under the file's own names but for layers that have another name in our networks.
        found: what it was recognised as.
        notes: what was recognised and changed, for the log.
        hint: what a refusal should say: what the file is, what the model is, what would hold the file.
    """

    state: dict[str, Tensor]
    found: Found
    notes: tuple[str, ...]
    hint: str


def adapt(
    state: Mapping[str, Tensor], target: nn.Module, *, how: str | None, name: str, exact: bool = False
) -> Adapted:
    """Make a checkpoint fit a model, as far as that can be done without loss.

    Its layout is recognised, its names become ours, 2D kernels get a depth (``inflate``), and the first convolution
    the model's input channels: by ``fit_input`` of the model or of its backbone where they have a way of their own,
    else by ``fit_input_channels``. Tensors that already have the model's shape stay as they are.

    Args:
        state: of the file.
        target: the model, which is not changed.
        how: 'i3d' or 'centre', where the file's kernels are 2D and the model's have a depth.
        name: of the file, for messages.
        exact: change names alone, no tensor.

    Raises:
        CheckpointError: the file is of another network than the model's (depth, shortcuts, stem, ...), or 2D kernels
            meet kernels with a depth and ``how`` does not say how to fill these; the message says what the file is
            and what to say in the config.
    """
    spelled = canonical(state)
    wanted, found = target.state_dict(), recognise(spelled)
    theirs = recognise(wanted)
    differences = _differences(found, theirs)
    hint = _hint(spelled, found, theirs, differences)
    if differences and not set(differences) <= set(found.layout.counted):
        raise CheckpointError(f"{name}: not loaded, it is of another network. {hint}")

    versions = [state, spelled]  # the model may have either spelling
    if found.renames or found.copies:
        versions.append(found.renamed(spelled))
    namings = [find_naming(wanted, version).names for version in versions]
    best = max(range(len(versions)), key=lambda index: sum(new in wanted for new in namings[index].values()))
    state, given = versions[best], {new: old for old, new in namings[best].items()}
    if not exact:
        _require_convertible(state, wanted, given, name)
    if exact:
        return Adapted(dict(state), found, (), hint)
    shapes = {given[key]: value.shape for key, value in wanted.items() if key in given}  # in the model's order
    try:
        fitted, notes = inflate(state, shapes, how, _fit_of(target), _own_fits(target, given))
    except ValueError as error:
        raise CheckpointError(f"{name}: not loaded. It was recognised as: {found}. {error}") from None
    if found.layout is not None:
        notes = [f"recognised as: {found}", *filter(None, [found.layout.remark]), *notes]
    return Adapted(fitted, found, tuple(notes), hint)


def inflate(
    state: Mapping[str, Tensor],
    shapes: Mapping[str, Sequence[int]],
    how: str | None,
    fit: Fit = fit_input_channels,
    own_fits: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
) -> tuple[dict[str, Tensor], list[str]]:
    """The state dict of a 2D network for a 3D one: a pure function of tensors.

    A kernel (O, I, H, W) becomes (O, I, D, H, W) where the target's has a depth (``inflate_kernel``); one for colours,
    or the first of the network, takes the target's input channels (``fit_input_channels``), whether 2D or 3D; a scale
    (C, 1, 1) becomes (C, 1, 1, 1). All else, norms and their statistics included, is passed on, and so is what cannot
    be made to fit, for the loader to report.

    Args:
        state: of the 2D network.
        shapes: of the target's tensors by the names in ``state``, in the order of the target.
        how: 'i3d' or 'centre', for kernels that get more than one slice.
        fit: from a kernel and a number of input channels to a kernel for them.
        own_fits: by key, of tensors that are made to fit in a way of their own.

    Returns:
        The new state dict, and what was changed, in sentences for a log.

    Raises:
        CheckpointError: a kernel must get more than one slice and ``how`` is neither 'i3d' nor 'centre'.
    """
    first = next((key for key, shape in shapes.items() if len(shape) in KERNEL_DIMS), None)
    fitted, deepened, flat, resized, notes = {}, 0, 0, Counter(), []
    for key, tensor in state.items():
        shape = tuple(shapes.get(key, tensor.shape))
        fitted[key] = tensor
        if shape == tensor.shape:
            continue
        if own_fits and key in own_fits:
            fitted[key] = own_fits[key](tensor)
            if fitted[key].shape != tensor.shape:
                resized[key.rpartition(".")[2], tuple(tensor.shape), tuple(fitted[key].shape)] += 1
        elif shape == (*tensor.shape, 1) and tensor.dim() == 3:
            fitted[key] = tensor.unsqueeze(-1)
        elif _fillable(tensor, shape, key == first):
            channels, depth = shape[1], shape[2] if len(shape) > tensor.dim() else 1
            if depth > 1 and how not in FILLINGS:
                raise CheckpointError(_say_how(key, tensor, shape, how))
            if tensor.shape[1] != channels:
                notes.append(f"{key}: {tensor.shape[1]} input channels made {channels}")
                tensor = fit(tensor, channels)
            if len(shape) > tensor.dim():
                tensor = inflate_kernel(tensor, depth, how if depth > 1 else FILLINGS[0])
                deepened, flat = deepened + (depth > 1), flat + (depth == 1)
            fitted[key] = tensor
    if deepened:
        notes.append(f"{deepened} 2D kernels filled the depth of 3D ones ({how})")
    if flat:
        notes.append(f"{flat} 2D kernels became kernels of one slice")
    notes += [f"{count} {name}: {old} resized to {new}" for (name, old, new), count in resized.items()]
    return fitted, notes


def _require_convertible(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], given: Mapping[str, str], name: str
) -> None:
    """Refuse a network that was converted as a whole (ACS) where only the model's backbone has such kernels.

    Raises:
        CheckpointError: some of the 2D kernels stay 2D in the model, and others would need a depth.
    """
    kernels = [key for key, value in wanted.items() if key in given and state[given[key]].dim() == KERNEL_DIMS[0]]
    wide = [key for key in kernels if max(state[given[key]].shape[2:]) > 1]
    deep = [key for key in wide if wanted[key].dim() == KERNEL_DIMS[1] and wanted[key].shape[2] > 1]
    if deep and len(deep) < len(wide):
        raise CheckpointError(
            f"{name}: not loaded: all of the file's network has ACS kernels (2D), but in the model {deep[0]} and "
            f"{len(deep) - 1} others are 3D, so it would compute something else. Load the file's backbone alone: "
            "init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone') in model.backbone"
        )


def _fit_of(target: nn.Module) -> Fit:
    parts = (target, getattr(target, "backbone", None))
    return next((part.fit_input for part in parts if hasattr(part, "fit_input")), fit_input_channels)


def _own_fits(target: nn.Module, given: Mapping[str, str]) -> dict[str, Callable[[Tensor], Tensor]]:
    """By the file's key, how modules of ``target`` make parameters of another shape fit: what they have as ``fits``."""
    return {
        given[key]: way
        for name, module in target.named_modules()
        for parameter, way in getattr(module, "fits", {}).items()
        if (key := f"{name}.{parameter}" if name else parameter) in given
    }


def _fillable(tensor: Tensor, shape: tuple[int, ...], first: bool) -> bool:
    """Whether ``tensor`` is a kernel that differs from one of ``shape`` only in depth or in the image's channels."""
    if tensor.dim() not in KERNEL_DIMS or len(shape) not in KERNEL_DIMS or tensor.dim() > len(shape):
        return False
    extent = shape[-2:] if tensor.dim() < len(shape) else shape[2:]
    of_image = tensor.shape[1] == COLOURS or first
    return (
        tensor.shape[0] == shape[0] and tuple(tensor.shape[2:]) == extent and (tensor.shape[1] == shape[1] or of_image)
    )


def _say_how(key: str, tensor: Tensor, shape: tuple[int, ...], how: str | None) -> str:
    told = "nothing says how to fill their depth" if how is None else f"{how!r} does not say how to fill their depth"
    return (
        f"Its kernels are 2D and the model's are 3D ({key}: file {tuple(tensor.shape)}, model {shape}), and {told}: "
        "say inflate='i3d' (repeated along depth) or inflate='centre' (in the middle slice) at the top of the config, "
        "or build the model with 2D kernels (model.backbone.conv='acs' or '2.5d')"
    )


# ---- one network or two ----------------------------------------------------------------------------------------------


def _differences(found: Found, theirs: Found) -> list[str]:
    """The options in which the file's network is not the model's; none where either is not known."""
    if found.layout is None or theirs.layout is None or not (found.layout.backbone and theirs.layout.backbone):
        return []
    if found.layout.backbone != theirs.layout.backbone:
        return ["type"]
    options = dict(found.options)
    if found.layout.kind == "2D":
        options.pop("conv", None)  # 2D kernels go into any
    told = {"force_downsample": False, **theirs.options}  # that is told only where it is True
    if theirs.layout.kind == "2D":
        told["conv"] = "acs"
    return [key for key, value in options.items() if told.get(key, value) != value]


def _remedy(found: Found, theirs: Found, differences: list[str]) -> str:
    if theirs.prefix.endswith("network.") and found.layout.kind == "2D":
        return "say in model.backbone.model which 2D network the file is of, or take a file of the model's network"
    if differences == ["type"]:
        said = _settings(_to_hold(found))
    else:
        wrapped = theirs.prefix.endswith("backbone.backbone.")  # in a VolumeEncoder
        where = "model.backbone.backbone" if wrapped else "model.backbone"
        said = _settings({key: found.options[key] for key in differences}, where)
    return f"say {said}, or take a file of the model's network"


def _to_hold(found: Found) -> dict[str, object]:
    """What the backbone of a config must say to be the file's network."""
    return {"type": found.layout.backbone, **found.unusual}


def _settings(options: Mapping[str, object], where: str = "model.backbone") -> str:
    return " ".join(f"{where}.{key}={value!r}" for key, value in options.items())


def _hint(state: Mapping[str, Tensor], found: Found, theirs: Found, differences: list[str]) -> str:
    if found.layout is None:
        layout, reason = nearest(state)
        return f"It is of no layout known here; the nearest is {layout.title}, but {reason}"
    networks = f"It was recognised as: {found}. The model: {theirs}. "
    if differences:
        return f"{networks}They differ in {', '.join(differences)}: {_remedy(found, theirs, differences)}"
    if not found.layout.backbone:
        return f"{networks}To hold the file, convert that network with Convert2d"
    if theirs.layout is not None and theirs.layout.backbone == found.layout.backbone:
        return networks.rstrip()
    return f"{networks}To hold the file, say {_settings(_to_hold(found))}"
