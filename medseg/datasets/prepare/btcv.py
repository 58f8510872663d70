"""BTCV: the abdomens of "Beyond the Cranial Vault", as RawData.zip holds them."""

from pathlib import Path

from medseg.datasets.layouts import Case
from medseg.datasets.prepare.counts import Counts
from medseg.datasets.prepare.source import Source, converted, files_by_key
from medseg.datasets.published import BTCV

LOOKED_FOR = "Training/img/img0001.nii.gz with Training/label/label0001.nii.gz, and so on"
REFERENCE = "https://www.synapse.org/Synapse:syn3193805"
# Slices of the 12 cases that TransUNet put aside (Chen et al. 2021), and of the 18 others.
ASIDE = {1: 147, 2: 139, 3: 198, 4: 140, 8: 148, 22: 89, 25: 85, 29: 100, 32: 144, 35: 94, 36: 184, 38: 100}
OTHERS = {
    5: 117,
    6: 131,
    7: 163,
    9: 149,
    10: 148,
    21: 143,
    23: 96,
    24: 124,
    26: 131,
    27: 88,
    28: 89,
    30: 153,
    31: 93,
    33: 104,
    34: 98,
    37: 99,
    39: 90,
    40: 195,
}
COUNTS = Counts(
    source="TransSeg (Zhang et al. 2022, Table 3)",
    slices={f"img{number:04d}": slices for number, slices in sorted((ASIDE | OTHERS).items())},
    cases=tuple(f"img{number:04d}" for number in ASIDE),
    labels={
        "aorta": (441936, 827),
        "gallbladder": (118445, 131),
        "left kidney": (887310, 362),
        "right kidney": (879180, 350),
        "liver": (9762041, 631),
        "pancreas": (504539, 316),
        "spleen": (1386739, 332),
        "stomach": (2641170, 421),
    },
)


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
    return converted("BTCV", "CT", BTCV.METAINFO["classes"], REFERENCE, labelled, test)._replace(counts=COUNTS)
