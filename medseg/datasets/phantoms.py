"""Phantoms that make themselves, to try segmentation without a download: CT abdomens, MR slices of the bowels."""

import json
from pathlib import Path

from medseg.datasets.base import VolumeSegmentation
from medseg.datasets.gi_slices import write_gi_like
from medseg.datasets.gi_tract import GITract
from vdt3d.datasets.synthetic import write_organs
from vdt3d.datasets.synthetic.phantoms import ORGANS
from vdt3d.registry import DATASETS
from vdt3d.utils.files import write_aside


def write_organs_msd(folder: str | Path, **make) -> Path:
    """``write_organs``, with the ``dataset.json`` that makes its folder one of MSD's layout; ``make`` goes to it.

    Raises:
        ValueError: ``folder`` holds something else.
    """
    folder = write_organs(folder, **make)
    names = sorted(path.name for path in (folder / "images").glob("*.nii.gz"))
    content = {
        "name": "Phantom organs",
        "modality": {"0": "CT"},
        "labels": {str(label): name for label, name in enumerate(("background", *ORGANS))},
        "training": [{"image": f"images/{name}", "label": f"labels/{name}"} for name in names],
        "test": [],
    }
    write_aside(folder / "dataset.json", lambda aside: aside.write_text(json.dumps(content, indent=1), "utf-8"))
    return folder


@DATASETS.register_module()
class PhantomOrgans(VolumeSegmentation):
    """Phantom abdomens that make themselves: see ``write_organs``.

    Args:
        data_root: folder to make them in, unless they are there.
        make: other arguments of ``write_organs``.
        **kwargs: as ``VolumeSegmentation``.
    """

    def __init__(self, data_root: str | Path, *, make: dict | None = None, **kwargs):
        super().__init__(write_organs_msd(data_root, **(make or {})), **kwargs)


@DATASETS.register_module()
class PhantomGITract(GITract):
    """A likeness of the UW-Madison GI Tract challenge that makes itself: see ``write_gi_like``.

    Args:
        data_root: folder to make it in, unless it is there.
        make: other arguments of ``write_gi_like``.
        **kwargs: as ``GITract``.
    """

    def __init__(self, data_root: str | Path, *, make: dict | None = None, **kwargs):
        super().__init__(write_gi_like(data_root, **(make or {})), **kwargs)
