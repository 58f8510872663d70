"""Write docs/timm_families.md: for the smallest pretrained network of each timm family, which ways to 3D it takes.

    python docs/make_timm_families.py [FAMILY ...]

With families, the rows are printed and no page is written. Nothing is downloaded: the weights are random.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import timm
import torch
from timm.models import FeatureInfo, get_pretrained_cfg
from torch import Tensor, nn

from vdt3d import load_pretrained
from vdt3d.models import Convert2d, SliceEncoder, WindowEncoder
from vdt3d.models.inflate.modules import exchanged

PAGE = Path(__file__).with_name("timm_families.md")
LIMIT = 140_000_000  # parameters; VGG has the most of those that convert
TOLERANCE = 1e-4  # relative, float32
BIG = ("large", "huge", "giant", "gigantic", "_xl", "xxl", "so400m", "_l.", "_h.", "_g.", "_7b", "_2b")
SIDES = (64, 96)  # of convolutional networks; the first that is not too small
SLICES = 33

INTRODUCTION = """# timm networks in 3D

Look here before you choose a 2D network for volumes. timm groups its networks in families (its modules). For the
smallest pretrained network of each family, the table lists three ways to use it:

* converted: `Convert2d("timm.NAME")`, all layers become 3D;
* windows: `WindowEncoder(model="timm.NAME")`, neighbouring slices enter the 2D network together;
* slices: `SliceEncoder(model="timm.NAME")`, the 2D network reads each slice.

"equal" means: with random weights in float32, all features of a stack of equal slices are those of the 2D network for
the slice, to a relative difference of 1e-4 (`depth_padding="replicate"` where layers are converted). Everything else is
an error when the encoder is built; its reason is in the table. Larger networks of a family may have layers that the
smallest lacks, attention in later stages above all.

The page is written by `python docs/make_timm_families.py`.

| family | network | converted | windows | slices |
|---|---|---|---|---|
"""


def main() -> None:
    """Print the rows of the families on the command line, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="modules of timm.models; all when left out")
    wanted = parser.parse_args().families
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    rows = []
    for family, names in families().items():
        if not wanted or family in wanted:
            rows.append(row(family, names))
            print(rows[-1], flush=True)
    if not wanted:
        PAGE.write_text(INTRODUCTION + "".join(f"{each}\n" for each in rows))


def families() -> dict[str, list[str]]:
    """Return the architectures with pretrained weights of each family, without the big ones where it has others."""
    found: dict[str, set[str]] = {}
    for name in timm.list_models(pretrained=True):
        architecture = name.partition(".")[0]
        found.setdefault(timm.models._registry._model_to_module[architecture], set()).add(name)
    small = {family: [n for n in names if not any(word in n for word in BIG)] for family, names in found.items()}
    return {family: sorted({n.partition(".")[0] for n in small[family] or found[family]}) for family in sorted(found)}


def row(family: str, names: list[str]) -> str:
    """Return the table row of the smallest of the networks ``names``."""
    sizes = {name: size for name in names if (size := parameters(name))}
    if not sizes:
        return f"| {family} | {names[0]} | | | cannot be built without more packages |"
    name = min(sizes, key=sizes.get)
    if sizes[name] > LIMIT:
        return f"| {family} | {name} | not tried: {sizes[name] / 1e6:.0f} million parameters | | |"
    return f"| {family} | {name} | " + " | ".join(verdict(way, name) for way in WAYS.values()) + " |"


def parameters(name: str) -> int:
    """Return how many parameters a network has; 0 if it cannot be built."""
    try:
        with torch.device("meta"):
            return sum(each.numel() for each in timm.create_model(name, pretrained=False).parameters())
    except Exception:
        return 0


def verdict(way: Callable[[str], Iterator[tuple[Tensor, Tensor]]], name: str) -> str:
    """Return "equal", "refused: ..." for a ValueError, or what else happened."""
    try:
        with torch.no_grad():
            off = max(difference(found, expected) for found, expected in way(name))
    except ValueError as error:
        return f"refused: {str(error).partition('. ')[0].replace('|', '/')}"
    except Exception as error:
        return f"FAILS: {type(error).__name__}: {str(error).splitlines()[0][:80]}"
    return "equal" if off < TOLERANCE else f"WRONG: {off:.0e}"


def difference(found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference as a share of that of ``expected``; inf where the shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    return float((found - expected).norm() / expected.norm())


def random_network(name: str, side: int | None = None, **options: object) -> nn.Module:
    """Return a 2D network in which no layer is hidden by its initial weights, in evaluation mode."""
    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False, **options).eval()
    for each in network.parameters():
        if each.dim() == 1:
            each.uniform_(0.5, 1.5)
    norms = [each for each in network.modules() if getattr(each, "running_var", None) is not None]
    for norm in norms:
        norm.momentum = 0.5  # of few values a variance may be next to nothing
        norm.train()
    if norms:
        run = network if isinstance(network.feature_info, FeatureInfo) else network.forward_features
        run(torch.cat([image(name, side), 1 - image(name, side)]))
    return network.eval()


def image(name: str, side: int | None = None) -> Tensor:
    """Return a random image (1, 3, H, W), of the side that the network was trained with when left out."""
    side = side or get_pretrained_cfg(name).input_size[-1]
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))


def converted(name: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each map of the converted network, and that of the 2D network in every slice of it."""
    encoder = Convert2d(f"timm.{name}", in_channels=3, depth_padding="replicate").eval()
    side = next(side for side in SIDES if _takes(name, side))
    flat = random_network(name, side, **({"features_only": True} if "hrnet" in name else {}))
    state = exchanged(flat, "i3d", depth_padding="replicate").state_dict()
    encoder.network.load_state_dict({key: state[key] for key in encoder.network.state_dict()})
    slices = max(SLICES, side * (side > SIDES[0]))
    maps = encoder(image(name, side).unsqueeze(2).expand(-1, -1, slices, -1, -1))
    for found, expected in zip(maps, announced_maps(flat, image(name, side)), strict=True):
        if expected.shape[1] != found.shape[1]:  # channels at the end
            expected = expected.movedim(-1, 1)
        yield found, expected.unsqueeze(2).expand_as(found)


def _takes(name: str, side: int) -> bool:
    try:
        timm.create_model(name, pretrained=False).eval().forward_features(image(name, side))
    except Exception:
        return False
    return True


def announced_maps(flat: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the maps that timm announces, by hooks, from the whole network."""
    if isinstance(flat.feature_info, FeatureInfo):
        return flat(x)
    names = [info["module"] for info in flat.feature_info if info["module"]]
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable:
        return lambda *words: found.__setitem__(name, _copy(words[-1]))

    for name in names:
        flat.get_submodule(name).register_forward_hook(keep(name))
    flat.forward_features(x)
    return [found[name] for name in names]


def _copy(output: Tensor | list[Tensor]) -> Tensor:
    return (output[0] if isinstance(output, list) else output).clone()


def windows(name: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each map of a window encoder for three equal slices, and the 2D network's for the one slice."""
    flat, grey = random_network(name), image(name)[:, :1]
    encoder = WindowEncoder(f"timm.{name}", window={"slices": 3}, resize=False).eval()
    load_pretrained(encoder, flat.state_dict(), name=name)
    expected = flat.forward_intermediates(grey.expand(-1, 3, -1, -1), output_fmt="NCHW", intermediates_only=True)
    maps = encoder(grey.unsqueeze(2).expand(-1, -1, 3, -1, -1))
    for found, info in zip(maps, encoder.feature_info, strict=True):
        yield found, expected[int(info.name.removeprefix("feature"))]


def slices(name: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the vector that a slice encoder returns for each of two slices, and the 2D network's."""
    flat, volume = random_network(name), image(name)[:, :2].unsqueeze(1)
    encoder = SliceEncoder(f"timm.{name}").eval()
    load_pretrained(encoder, flat.state_dict(), name=name)
    for found, grey in zip(encoder(volume)[0], volume[0, 0], strict=True):
        yield found, flat.forward_head(flat.forward_features(grey.expand(1, 3, -1, -1)), pre_logits=True)[0]


WAYS = {"converted": converted, "windows": windows, "slices": slices}

if __name__ == "__main__":
    main()
