"""What a checkpoint holds, told from its keys and shapes alone: which network, how deep, with what shortcuts, norms."""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from vdt3d.models.backbones.p3d import ARCHITECTURES as P3D_ARCHITECTURES
from vdt3d.models.backbones.resnet3d import ARCHITECTURES
from vdt3d.models.layers.group_transform import CONVERSIONS
from vdt3d.models.layers.pseudo3d import PseudoBasic, PseudoBottleneck
from vdt3d.models.layers.residual import basic_convs, bottleneck_convs
from vdt3d.models.weights.layouts import KERNEL_DIMS, LAYOUTS, PICTURES, RESNET, SHARED_TABLE, TABLE, Layout
from vdt3d.models.weights.swin_names import torchvision_names

# the first convolution of a ResNet, and how the names of its stem change to ours
STEMS: dict[str, dict[str, str]] = {
    "conv1.weight": {},
    "stem.0.conv.weight": {},
    "stem.0.weight": {  # the deep stem as one flat sequence: medseg's and mmsegmentation's
        "stem.0": "stem.0.conv",
        "stem.1": "stem.0.{norm}",
        "stem.3": "stem.1.conv",
        "stem.4": "stem.1.{norm}",
        "stem.6": "stem.2.conv",
        "stem.7": "stem.2.{norm}",
    },
    "conv1.0.weight": {  # timm's
        "conv1.0": "stem.0.conv",
        "conv1.1": "stem.0.{norm}",
        "conv1.3": "stem.1.conv",
        "conv1.4": "stem.1.{norm}",
        "conv1.6": "stem.2.conv",
        "bn1": "stem.2.{norm}",
    },
}
# timm has a place for the average in every shortcut, ours only where the shortcut strides, which is not in layer1
AVERAGED = {"layer1.0.downsample.1": "layer1.0.downsample.0", "layer1.0.downsample.2": "layer1.0.downsample.1"}
NORMS = {"BN": "bn", "GN": "gn", "IN": "in"}
WRAPPERS = re.compile(r"((module|_orig_mod)\.)*")
HEADS = re.compile(r"(neck|(\w+_)?heads?|fc|classifier|conv_seg|out_tr)")


@dataclass(frozen=True)
class Found:
    """What a checkpoint was recognised as.

    Args:
        layout: None for a layout that is not known.
        prefix: what stands before the backbone's keys, as ``module.backbone.``.
        in_channels: of the first convolution.
        options: what the backbone in a config must be given to hold these weights: ``depth``, ``base_channels``,
            ``shortcut_type``, ``force_downsample``, ``deep_stem``, ``avg_down``, ``norm_cfg.type`` and ``conv`` of a
            ResNet, as far as the keys tell them; ``arch`` of a torchvision video network; ``conversion`` of P3D, if it
            has weights.
        heads: the top-level parts beside the backbone.
        renames: beginnings of keys, behind the prefix, that are others in our networks; the first that fits counts.
        copies: keys, behind the prefix, whose tensor stands under several names in our networks.
    """

    layout: Layout | None
    prefix: str = ""
    in_channels: int | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    heads: tuple[str, ...] = ()
    renames: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.layout is None:
            return "no layout known here"
        told = [f"{key}={value!r}" for key, value in self.unusual.items()]
        if self.in_channels is not None:
            told.append(f"{self.in_channels} input channel{'s' if self.in_channels != 1 else ''}")
        return self.layout.title + (f" ({', '.join(told)})" if told else "")

    @property
    def unusual(self) -> dict[str, object]:
        """The options that do not go without saying."""
        common = {} if self.layout is None else self.layout.common
        return {key: value for key, value in self.options.items() if common.get(key) != value}

    def ours(self, key: str) -> str:
        """The name of the file's ``key`` in our networks, behind the file's prefix."""
        for theirs, name in self.renames.items():
            if key.startswith(f"{self.prefix}{theirs}."):
                return self.prefix + name + key.removeprefix(self.prefix + theirs)
        return key

    def renamed(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The file's tensors under the names of our networks."""
        copies = {self.prefix + key: [self.prefix + name for name in names] for key, names in self.copies.items()}
        return {name: value for key, value in state.items() for name in copies.get(key, [self.ours(key)])}


def recognise(state: Mapping[str, Tensor]) -> Found:
    """Tell by its keys and shapes what a checkpoint is.

    Args:
        state: of a model or a part of it; ``module.`` and other prefixes may stand before its keys.
    """
    for layout in LAYOUTS:
        found = _read(state, layout)
        if found is not None and _why_not(state, layout, found) is None:
            return found
    dims = {value.dim() for key, value in state.items() if key.endswith("weight")}
    return Found(PICTURES if 4 in dims and 5 not in dims else None, heads=_heads(state, ""))


def nearest(state: Mapping[str, Tensor]) -> tuple[Layout, str | None]:
    """The known layout most like that of an unknown checkpoint, and why it is not that."""
    words = {word for key in state for word in key.split(".")}
    kind = "3D" if any(value.dim() == KERNEL_DIMS["3D"] for value in state.values()) else "2D"

    def likeness(layout: Layout) -> tuple[float, bool, float]:
        there = [any(key == name or key.endswith(f".{name}") for key in state) for name in layout.keys]
        wanted = {word for name in layout.keys for word in name.split(".")}
        return sum(there) / len(there), layout.kind == kind, len(wanted & words) / len(wanted)

    layout = max(reversed(LAYOUTS), key=likeness)  # of equals the last, which asks for the least
    return layout, _why_not(state, layout, _read(state, layout))


def _why_not(state: Mapping[str, Tensor], layout: Layout, found: Found | None) -> str | None:
    """Why a checkpoint is not of this layout, ``found`` being how it reads as one; None where it is."""
    if found is None:
        return f"it has no '{layout.keys[0]}'"
    first = found.prefix + layout.keys[0]
    if state[first].dim() != KERNEL_DIMS[layout.kind]:
        return f"the shape of its '{first}' is {tuple(state[first].shape)}, not that of a {layout.kind} kernel"
    for key in layout.keys[1:]:
        if found.prefix + key not in state and WRAPPERS.match(found.prefix)[0] + key not in state:
            return f"it has no '{key}'"
    for key, kernel in layout.kernels.items():
        if (given := tuple(state[found.prefix + key].shape[2:])) != kernel:
            return f"the kernel of its '{key}' is {given}, not {kernel}"
    if layout.in_channels not in (None, found.in_channels):
        return f"it takes {found.in_channels} input channels, not {layout.in_channels}"
    if layout.wrapped and not found.prefix.startswith("module."):
        return "its keys do not begin with 'module.'"
    shortcut = found.options.get("shortcut_type")
    if layout.shortcuts and layout.shortcuts.get(found.options.get("depth")) != shortcut:
        return f"its shortcuts are of type {shortcut}"
    return None


def _read(state: Mapping[str, Tensor], layout: Layout) -> Found | None:
    """The checkpoint read as one of this layout; None if it has not even its first key."""
    first = layout.keys[0]
    begins = [key.removesuffix(first) for key in state if key == first or key.endswith(f".{first}")]
    if not begins:
        return None
    prefix = min(begins, key=len)
    backbone = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    stem = next((name for name in (layout.stem, *STEMS) if name in backbone), "")
    in_channels = backbone[stem].shape[1] if stem else None
    if layout.keys[: len(RESNET)] == RESNET:
        options = _resnet_options(backbone, stem)
        renames = _resnet_renames(backbone, stem, NORMS[options.get("norm_cfg.type", "IN")])
        return Found(layout, prefix, in_channels, options, _heads(state, prefix), renames)
    heads = _heads(state, prefix)
    if layout.backbone == "P3D":
        return Found(layout, prefix, in_channels, _p3d_options(backbone), heads)
    if layout.backbone == "UNet3D":
        return Found(layout, prefix, in_channels, {"base_channels": backbone[first].shape[0]}, heads)
    if layout.backbone == "TorchvisionVideo":
        return Found(layout, prefix, in_channels, {"arch": layout.name}, heads)
    stages = _blocks_of_stages(backbone)
    depth = {"depth": sum(stages)} if len(stages) < 2 else {"depths": stages}
    options = {"embed_dims": backbone[first].shape[0], **depth}
    renames, copies = {}, {}
    if "layers.0.blocks.0.norm1.weight" in backbone:
        renames = torchvision_names(stages, video=layout.kind == "3D")
    if SHARED_TABLE in backbone:
        copies = {SHARED_TABLE: tuple(f"blocks.{number}.{TABLE}" for number in range(sum(stages)))}
    return Found(layout, prefix, in_channels, options, heads, renames, copies)


def _blocks_of_stages(backbone: Collection[str]) -> tuple[int, ...]:
    """How many blocks each stage of a transformer has."""
    stages = Counter(key.rsplit(".", 3)[0] for key in backbone if key.endswith(".norm1.weight"))
    return tuple(stages[name] for name in sorted(stages))


def _resnet_options(backbone: Mapping[str, Tensor], stem: str) -> dict[str, object]:
    """What ``ResNet3D`` must be given to have these keys and shapes; what they do not tell is left out."""
    bottleneck = "layer1.0.conv3.weight" in backbone
    options = _depth(backbone, ARCHITECTURES, bottleneck_convs if bottleneck else basic_convs)
    options["shortcut_type"] = "B" if any(".downsample." in key for key in backbone) else "A"
    if not bottleneck and any(key.startswith("layer1.0.downsample.") for key in backbone):
        options["force_downsample"] = True
    after = backbone.get("layer2.0.downsample.1.weight")
    if after is not None:
        options["avg_down"] = after.dim() > 1  # without it the norm is there
    norms = [norm for norm, name in NORMS.items() if f"layer1.0.{name}1.weight" in backbone]
    if norms:
        options["norm_cfg.type"] = norms[0]
    if stem:
        kernel = backbone[stem].shape[2:]
        options["deep_stem"] = stem != "conv1.weight"
        if len(kernel) == 3:
            options["conv"] = "2.5d" if kernel[0] == 1 < kernel[1] else "3d"
        if options["deep_stem"] or backbone[stem].shape[0] == backbone[RESNET[0]].shape[0]:
            options["base_channels"] = backbone[RESNET[0]].shape[0]
    return options


def _p3d_options(backbone: Mapping[str, Tensor]) -> dict[str, object]:
    """What ``P3D`` must be given to have these keys and shapes; what they do not tell is left out."""
    options: dict[str, object] = {}
    first = backbone.get("layer1.0.conv1.weight")
    if first is not None:
        options = _depth(backbone, P3D_ARCHITECTURES, PseudoBottleneck if first.shape[-1] == 1 else PseudoBasic)
    options["base_channels"] = backbone["conv1_custom.weight"].shape[0]
    options["norm_cfg.type"] = "BN" if "norm1.running_mean" in backbone else "GN"
    for conversion, (name, _) in CONVERSIONS.items():
        if any(key.startswith(f"{name}_") for key in backbone):
            options["conversion"] = conversion
    return options


def _depth(backbone: Collection[str], architectures: Mapping, block: object) -> dict[str, object]:
    """The ``depth`` at which ``architectures`` have these blocks in these numbers; none where several have."""
    stages: dict[str, set[str]] = {}
    for match in (re.match(r"layer(\d)\.(\d+)\.", key) for key in backbone):
        if match:
            stages.setdefault(match[1], set()).add(match[2])
    blocks = tuple(len(stages[stage]) for stage in sorted(stages))
    depths = [
        depth for depth, (kind, counts) in architectures.items() if counts[: len(blocks)] == blocks and kind is block
    ]
    return {"depth": depths[0]} if len(depths) == 1 else {}


def _resnet_renames(backbone: Collection[str], stem: str, norm: str) -> dict[str, str]:
    renames = {theirs: name.format(norm=norm) for theirs, name in STEMS.get(stem, {}).items()}
    if "layer1.0.downsample.2.weight" in backbone:
        renames |= AVERAGED
    return renames


def _heads(state: Collection[str], prefix: str) -> tuple[str, ...]:
    tops = {WRAPPERS.sub("", key.removeprefix(prefix), count=1).partition(".")[0] for key in state}
    return tuple(sorted(top for top in tops if HEADS.fullmatch(top)))
