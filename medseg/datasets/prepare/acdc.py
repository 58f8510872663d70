"""ACDC: hearts at end diastole and end systole, as the folders of its patients hold them."""

import re
from pathlib import Path

from medseg.datasets.layouts import Case
from medseg.datasets.prepare.source import Source, converted, files_by_key
from medseg.datasets.published import ACDC
from vdt3d.utils.files import read_text

LOOKED_FOR = "training/patient001/patient001_frame01.nii.gz with patient001_frame01_gt.nii.gz and Info.cfg, and so on"
REFERENCE = "https://www.creatis.insa-lyon.fr/Challenge/acdc"


def find(folder: Path) -> Source | None:
    """Cases patient001_frame01 and so on: the frames that are there and those that Info.cfg calls ED and ES.

    The patients of the folder testing are the test cases; whether they have labels depends on the release. The films
    (patient001_4d.nii.gz) are left out.
    """
    images = files_by_key(folder, r"(patient\d+_frame\d+)\.nii(?:\.gz)?")
    labels = files_by_key(folder, r"(patient\d+_frame\d+)_gt\.nii(?:\.gz)?")
    frames = {name: path.parent for name, path in (labels | images).items()}
    for info in sorted(folder.rglob("Info.cfg")):
        for number in re.findall(r"^\s*E[DS]\s*:\s*(\d+)", read_text(info), re.MULTILINE):
            frames.setdefault(f"{info.parent.name}_frame{int(number):02d}", info.parent)
    if not frames:
        return None
    labelled, test = [], []
    for name, patient in sorted(frames.items()):
        image = images.get(name, patient / f"{name}.nii.gz")
        if patient.parent.name.lower().startswith("test"):
            test.append(Case(name, (image,), labels.get(name)))
        else:
            labelled.append(Case(name, (image,), labels.get(name, patient / f"{name}_gt.nii.gz")))
    return converted("ACDC", "MRI", ACDC.METAINFO["classes"], REFERENCE, labelled, test)
