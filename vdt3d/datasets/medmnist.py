"""MedMNIST3D: the six 3D sets of MedMNIST v2, 28 or 64 voxels a side, with the official splits (CC BY 4.0)."""

import hashlib
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch.hub import download_url_to_file

from vdt3d.datasets.base import VolumeDataset
from vdt3d.registry import DATASETS
from vdt3d.structures import Sample, Volume

HOME = "https://zenodo.org/records/10519652/files"
SPLITS = ("train", "val", "test")


class Facts(NamedTuple):
    """One set: its classes and the md5 sum of its file for each size."""

    classes: tuple[str, ...]
    md5: dict[int, str]


ORGANS = (
    *("liver", "kidney-right", "kidney-left", "femur-right", "femur-left", "bladder"),
    *("heart", "lung-right", "lung-left", "spleen", "pancreas"),
)
FACTS = {
    "organmnist3d": Facts(
        ORGANS,
        {28: "a0c5a1ff56af4f155c46d46fbb45a2fe", 64: "58a2205adf14a9d0a189cb06dc78bf10"},
    ),
    "nodulemnist3d": Facts(
        ("benign", "malignant"),
        {28: "8755a7e9e05a4d9ce80a24c3e7a256f3", 64: "c47c5b7d457bf6332200d2ea6d64ecd8"},
    ),
    "adrenalmnist3d": Facts(
        ("normal", "hyperplasia"),
        {28: "bbd3c5a5576322bc4cdfea780653b1ce", 64: "17721accfe9fb005146a47d33bc54b2f"},
    ),
    "fracturemnist3d": Facts(
        ("buckle rib fracture", "nondisplaced rib fracture", "displaced rib fracture"),
        {28: "6aa7b0143a6b42da40027a9dda61302f", 64: "f01d7e6316aedf4210da0da5b7437b42"},
    ),
    "vesselmnist3d": Facts(
        ("vessel", "aneurysm"),
        {28: "b41fd4f7e7e2feedddb201585ecafa1b", 64: "6bb274a8846e1097066dcd64e2c4520f"},
    ),
    "synapsemnist3d": Facts(
        ("inhibitory synapse", "excitatory synapse"),
        {28: "1235b78a3cd6280881dd7850a78eadb6", 64: "43bd14ebf3af9d3dd072446fedc14d5e"},
    ),
}


@DATASETS.register_module()
class MedMNIST3D(VolumeDataset):
    """One set of MedMNIST3D, held in memory as uint8.

    Args:
        data_root: folder of the npz files; created when downloading.
        name: one of ``FACTS``, such as "adrenalmnist3d".
        split: "train", "val" or "test", as published.
        size: voxels along each side, 28 or 64.
        download: fetch a missing file.

    Raises:
        ValueError: unknown name, split or size; a file that is missing or is not the published one.
    """

    def __init__(
        self,
        data_root: str | Path,
        *,
        name: str,
        split: str = "train",
        size: int = 28,
        download: bool = False,
        **kwargs,
    ):
        if name not in FACTS or split not in SPLITS or size not in FACTS[name].md5:
            raise ValueError(
                f"name='{name}', split='{split}', size={size}: the name is one of {', '.join(FACTS)}; "
                f"the split one of {', '.join(SPLITS)}; the size 28 or 64"
            )
        self.name, self.split = name, split
        self.path = Path(data_root, f"{name}.npz" if size == 28 else f"{name}_{size}.npz")
        _fetch(self.path, FACTS[name].md5[size], download)
        super().__init__(data_root, metainfo={"classes": FACTS[name].classes}, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One entry per volume; the volumes themselves stay in ``self.images`` (N, D, H, W)."""
        with np.load(self.path, allow_pickle=False) as arrays:
            self.images, labels = arrays[f"{self.split}_images"], arrays[f"{self.split}_labels"]
        return [
            {"path": str(self.path), "name": f"{self.name}_{self.split}_{row}", "target": int(target), "row": row}
            for row, target in enumerate(labels[:, 0])
        ]

    def read(self, case: dict) -> Sample:
        """The volume (1, D, H, W) of a case; the voxels have no published size and count as 1 mm."""
        return Sample(image=Volume(self.images[case["row"]][None]), target=case["target"], name=case["name"])


def _fetch(path: Path, md5: str, download: bool) -> None:
    """Make sure that ``path`` is the published file; a download is checked before it takes the name."""
    url = f"{HOME}/{path.name}?download=1"
    if path.exists():
        _check(path, md5, url)
        return
    if not download:
        raise ValueError(f"there is no {path}; set download=True, or fetch {url}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as aside:
        fresh = Path(aside, path.name)
        try:
            download_url_to_file(url, str(fresh))
        except OSError as error:
            raise ValueError(f"{url} cannot be fetched ({error}); fetch it by hand and put it at {path}") from error
        _check(fresh, md5, url)
        fresh.replace(path)


def _check(path: Path, md5: str, url: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        raise ValueError(f"{path} is not the published file: md5 {found}, not {md5}; remove it and fetch {url}")
