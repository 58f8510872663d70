"""BTCV: the abdomens of "Beyond the Cranial Vault", as RawData.zip holds them."""

from pathlib import Path

from medseg.datasets.layouts import Case
from medseg.datasets.prepare.source import Source, converted, files_by_key
from medseg.datasets.published import BTCV

LOOKED_FOR = "Training/img/img0001.nii.gz with Training/label/label0001.nii.gz, and so on"
REFERENCE = "https://www.synapse.org/Synapse:syn3193805"


def find(folder: Path) -> Source | None:
    """Cases img0001 and so on; those of the folder Testing have no labels."""
    images = files_by_key(folder, r"img(\d{4})\.nii(?:\.gz)?")
    labels = files_by_key(folder, r"label(\d{4})\.nii(?:\.gz)?")
    if not (images or labels):
        return None
    labelled, test = [], []
    for number in sorted(images.keys() | labels.keys()):
        part = (images.get(number) or labels[number]).parents[1]
        image = images.get(number, part / "img" / f"img{number}.nii.gz")
        label = labels.get(number, part / "label" / f"label{number}.nii.gz")
        if number not in labels and part.name.lower().startswith("test"):
            test.append(Case(image.name.partition(".")[0], (image,)))
        else:
            labelled.append(Case(image.name.partition(".")[0], (image,), label))
    return converted("BTCV", "CT", BTCV.METAINFO["classes"], REFERENCE, labelled, test)
