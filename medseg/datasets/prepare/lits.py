"""LiTS: livers with tumours, as the training batches 1 and 2 and the test data hold them, at any depth."""

from pathlib import Path

from medseg.datasets.layouts import Case
from medseg.datasets.prepare.source import Source, converted, files_by_key
from medseg.datasets.published import LiTS

LOOKED_FOR = "volume-0.nii with segmentation-0.nii beside it, and so on"
REFERENCE = "https://competitions.codalab.org/competitions/17094"


def find(folder: Path) -> Source | None:
    """Cases volume-0 and so on, and test-volume-0 and so on, which have no labels."""
    images = files_by_key(folder, r"volume-(\d+)\.nii(?:\.gz)?")
    labels = files_by_key(folder, r"segmentation-(\d+)\.nii(?:\.gz)?")
    tests = files_by_key(folder, r"test-volume-(\d+)\.nii(?:\.gz)?")
    if not (images or labels or tests):
        return None
    labelled = []
    for number in sorted(images.keys() | labels.keys(), key=int):
        there = images.get(number) or labels[number]
        suffix = there.name.partition(".")[2]
        image = images.get(number, there.with_name(f"volume-{number}.{suffix}"))
        label = labels.get(number, there.with_name(f"segmentation-{number}.{suffix}"))
        labelled.append(Case(f"volume-{number}", (image,), label))
    test = [Case(f"test-volume-{number}", (tests[number],)) for number in sorted(tests, key=int)]
    return converted("LiTS", "CT", LiTS.METAINFO["classes"], REFERENCE, labelled, test)
