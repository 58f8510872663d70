"""create_backbone: a backbone of volumes from a 2D network, in one call."""

from torch import nn

from vdt3d.models.weights.load import load_pretrained
from vdt3d.registry import MODELS

CONVERSIONS = ("i3d", "centre", "acs", "2.5d")


def create_backbone(
    model: str | dict,
    how: str = "i3d",
    *,
    pretrained: bool | str = False,
    in_channels: int = 1,
    **options: object,
) -> nn.Module:
    """Build a backbone of volumes from a 2D network and load its 2D weights.

    Args:
        model: 'timm.NAME', 'torchvision.NAME' or the config of a registered 2D backbone.
        how: 'i3d', 'centre', 'acs' or '2.5d' convert all layers to 3D (``Convert2d``); 'windows' reads windows of
            neighbouring slices (``WindowEncoder``), 'slices' every slice by itself (``SliceEncoder``).
        pretrained: True for the weights that timm or torchvision has for this name, or their source: a path, URL or
            name. False for fresh weights.
        in_channels: of the volumes.
        **options: further arguments of the class, such as ``window``, ``img_size`` or ``out_indices``.

    Raises:
        ValueError: ``how`` or the network does not exist, or ``pretrained=True`` for a config.
        CheckpointError: the weights are not those of the network.
    """
    if how in CONVERSIONS:
        kind, options = "Convert2d", {"how": how, **options}
    elif how in ("windows", "slices"):
        kind = "WindowEncoder" if how == "windows" else "SliceEncoder"
    else:
        raise ValueError(f"how={how!r} is not one of {', '.join((*CONVERSIONS, 'windows', 'slices'))}")
    if pretrained is True:
        name = model if isinstance(model, str) else str(model["type"])
        package, _, network = name.partition(".")
        if package not in ("timm", "torchvision"):
            raise ValueError(f"pretrained=True: {name!r} has no weights of its own; give the path or URL of a file")
        pretrained = f"{package}://{network}"
    MODELS.import_from_location()
    backbone = MODELS.build({"type": kind, "model": model, "in_channels": in_channels, **options})
    if pretrained:
        load_pretrained(backbone, pretrained, inflate=how if how in ("i3d", "centre") else None)
    return backbone
