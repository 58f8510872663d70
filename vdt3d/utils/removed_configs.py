"""Config files that were removed, and what replaces each, for one release."""

from collections.abc import Iterator
from pathlib import Path

_CONVERTED = ("i3d", "centre", "acs", "2.5d")
_OTHER = ("kinetics", "medicalnet")
# Folder, network, rest of the name, and the initialisations that had a file beside that of 'scratch'.
_FAMILIES = (
    ("bcv", "resnet3d-18-unet", "8xb1-poly-39k_bcv", (*_CONVERTED, *_OTHER)),
    ("lidc", "resnet3d-18", "4xb32-step-100e_lidc", (*_CONVERTED, *_OTHER)),
    ("lidc", "resnet3d-18-fcn", "8xb4-poly-13k_lidc-seg", (*_CONVERTED, *_OTHER)),
    ("lits", "resnet3d-18-unet", "8xb2-poly-3k_lits", (*_CONVERTED, *_OTHER)),
    ("medmnist", "resnet3d-18w16", "1xb32-cos-30e_adrenalmnist3d", (*_CONVERTED, "vdt")),
    ("msd", "resnet3d-18w16-unet", "1xb2-cos-4k_hippocampus", (*_CONVERTED, "vdt")),
    ("debug", "resnet3d", "15e_nodules", ("vdt",)),
)
_GENESIS = {"bcv", "lidc", "lits", "msd"}  # folders that had files of the network of Models Genesis
_GI_TRACT = "gi_tract/resnet34-unet-{}_in1k_1xb16-cos-40k_gi-tract"
_HIPPOCAMPUS = "msd/unet16-{}_scratch_1xb32-cos-4k_hippocampus"
_ACDC = "acdc/resnet3d-18-unet_{}_1xb4-poly-40k_acdc"
_TRANSSEG = {
    "2d": "window.slices=1 inflate=none",
    "2d_scratch": "window.slices=1 init=scratch",
    "scratch": "init=scratch",
    "average": "init=i3d",
    "11-slices": "window.slices=11",
    "21-slices": "window.slices=21",
    "stride-2": "window.stride=2",
    "stride-3": "window.stride=3",
    "all-slices": "window.target=all",
}
_TRANSSEG_DATA = (
    *("acdc", "msd01-brain-tumour", "msd02-heart", "msd03-liver", "msd04-hippocampus", "msd05-prostate"),
    *("msd06-lung", "msd07-pancreas", "msd08-hepatic-vessel", "msd09-spleen", "msd10-colon"),
)


def _rows() -> Iterator[tuple[str, str, str]]:
    """Yield each removed file, the one that replaces it and the options for that, without ``configs/`` and ``.py``."""
    for folder, network, rest, names in _FAMILIES:
        kept = f"{folder}/{network}_scratch_{rest}"
        for name in names:
            yield f"{folder}/{network}_{name}_{rest}", kept, f"init={name}"
        if folder in _GENESIS:
            yield f"{folder}/unet3d_genesis_{rest}", kept, "init=genesis"
    yield _ACDC.format("scratch"), _ACDC.format("vdt"), "init=scratch"
    for slices, stride in ((1, 1), (3, 1), (3, 2), (5, 1)):
        options = f"window.slices={slices} window.stride={stride}"
        yield _GI_TRACT.format(f"{slices}x{stride}"), _GI_TRACT.format("5x2"), options
    for slices in (1, 3):
        yield _HIPPOCAMPUS.format(f"{slices}x1"), _HIPPOCAMPUS.format("5x1"), f"window.slices={slices}"
    for name, options in _TRANSSEG.items():
        yield f"transseg/bcv_beit-b16_upernet_{name}", "transseg/bcv_beit-b16_upernet", options
    for data in _TRANSSEG_DATA:
        yield f"transseg/{data}_beit-b16_upernet_2d", f"transseg/{data}_beit-b16_upernet", _TRANSSEG["2d"]
    yield "transseg/bcv_beit-b16-ssl_upernet", "transseg/bcv_beit-b16_upernet", "init=ssl"
    small = "transseg/hippocampus_beit-6x128_upernet"
    yield f"{small}_2d", small, "window.slices=1"


REMOVED = {f"configs/{old}.py": (f"configs/{new}.py", options) for old, new, options in _rows()}
_BY_NAME = {Path(old).name: old for old in REMOVED}


def replacement(path: str | Path) -> str:
    """Return a sentence on what replaces a config file that was removed, or nothing for any other."""
    old = _BY_NAME.get(Path(path).name)
    if old is None:
        return ""
    new, options = REMOVED[old]
    return f"{old} was removed: use {new} --cfg-options {options}"


def replacement_of_base(error: Exception) -> str:
    """Return the same for a removed file that the message of an error names, such as a missing ``_base_``."""
    found = next((name for name in _BY_NAME if name in str(error)), None) if isinstance(error, OSError) else None
    if found is None:
        return ""
    new, options = REMOVED[_BY_NAME[found]]
    return f"; {_BY_NAME[found]} was removed: build on {new}, with the settings of --cfg-options {options}"
