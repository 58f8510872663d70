"""How long a random training patch and its labels take: from our cache, from nnU-Net's, and from the scan's .nii.gz.

The arms take turns within one process, on the same patches of the same CT scan, each ending with a float32 image and
its labels in memory; medians. All files are in the page cache. The scan is a phantom of organs in noise, or with
``--image`` and ``--label`` a real one, repeated along z to the depth asked for.

Ours goes the way of training, ``read_case`` and ``cut``, from voxels in Hounsfield units. nnU-Net's is its own code:
normalised to float32 with labels in int16, as its preprocessing leaves them, ``comp_blosc2_params`` for this very
patch, ``save_case``, and per patch ``load_case`` and slices. It is measured where ``import nnunetv2`` succeeds; put it
into a folder of its own, since it needs neither its network nor its other requirements here:

    pip install --no-deps --target PEER nnunetv2 batchgenerators
    PYTHONPATH=PEER python benchmarks/patch_reading.py --shape 200 512 512 --patch 32 256 256
"""

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vdt3d.datasets.synthetic.phantoms import draw_organs
from vdt3d.io import read_case, read_label_map, read_volume, write_case, write_nifti
from vdt3d.structures import LabelMap, Sample, Volume
from vdt3d.transforms.grid import cut

Triple = tuple[int, int, int]
Read = Callable[[Triple, Triple], tuple[np.ndarray, np.ndarray]]  # corner and size to image and labels
SCAN, OURS, PEER = "nii.gz", "ours", "nnU-Net"


def main() -> None:
    args = parse_args()
    shape, size = tuple(args.shape), tuple(args.patch)
    sample = phantom(shape) if args.image is None else real(args.image, args.label, shape)
    rng = np.random.default_rng(0)
    corners = [tuple(rng.integers(np.subtract(shape, size), endpoint=True).tolist()) for _ in range(args.patches)]
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        arms = {SCAN: from_scan(Path(folder), sample), OURS: from_cache(Path(folder), sample)}
        if importlib.util.find_spec("nnunetv2"):
            arms[PEER] = from_nnunet(Path(folder), sample, size)
        files = {path.name: path.stat().st_size / 2**20 for path in Path(folder).iterdir()}
        check(arms, corners[0], size)
        seconds = measure(arms, corners, size, args.scans)
    print(", ".join(f"{name} {mebibytes:.1f} MiB" for name, mebibytes in sorted(files.items())))
    for arm, median in seconds.items():
        print(f"{arm:8} {1000 * median:9.2f} ms a patch   {median / seconds[OURS]:7.2f} x ours")
        print(json.dumps({"arm": arm, "seconds": median, "shape": shape, "patch": size}))
    if PEER not in arms:
        print("nnU-Net is not measured: import nnunetv2 fails here (see above)")


def phantom(shape: Triple) -> Sample:
    """Organs drawn at a quarter of the size, every voxel repeated, with noise of 20 HU of its own."""
    coarse = tuple(-(-side // 4) for side in shape)
    rng = np.random.default_rng(0)
    hu, labels = (repeated(part, shape) for part in draw_organs(rng, coarse))
    hu = np.rint(hu + rng.normal(0, 20, shape).astype(np.float32))
    return Sample(image=Volume(hu[None]), label_map=LabelMap(labels[None]))


def repeated(array: np.ndarray, shape: Triple) -> np.ndarray:
    for axis, side in enumerate(shape):
        array = np.repeat(array, 4, axis).take(range(side), axis)
    return array


def real(image: Path, label: Path, shape: Triple) -> Sample:
    """A scan repeated along each axis as far as is asked for."""
    volume, label_map = read_volume(image), read_label_map(label)
    times = [1, *(-(-want // have) for want, have in zip(shape, volume.shape, strict=True))]
    whole = (slice(None), *map(slice, shape))
    return Sample(
        image=Volume(np.tile(volume.array, times)[whole], volume.affine),
        label_map=LabelMap(np.tile(label_map.array, times)[whole], volume.affine),
    )


def from_scan(folder: Path, sample: Sample) -> Read:
    image, labels = folder / "image.nii.gz", folder / "labels.nii.gz"
    write_nifti(sample.image, image)
    write_nifti(sample.label_map, labels)

    def read(corner: Triple, size: Triple) -> tuple[np.ndarray, np.ndarray]:
        parts = (cut(volume, corner, size) for volume in (read_volume(image), read_label_map(labels)))
        return tuple(part.array for part in parts)

    return read


def from_cache(folder: Path, sample: Sample) -> Read:
    write_case(folder, "case", sample, extra={})

    def read(corner: Triple, size: Triple) -> tuple[np.ndarray, np.ndarray]:
        case = read_case(folder, "case")
        image, labels = (cut(volume, corner, size).array for volume in (case.image, case.label_map))
        return image.astype(np.float32, copy=False), labels

    return read


def from_nnunet(folder: Path, sample: Sample, size: Triple) -> Read:
    from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2

    data = np.clip(sample.image.array, *np.percentile(sample.image.array, [0.5, 99.5]))
    data = ((data - data.mean()) / data.std()).astype(np.float32)
    labels = sample.label_map.array.astype(np.int16)
    blocks, chunks = comp_blosc2_params(data.shape, size, data.itemsize)
    blocks_seg, chunks_seg = comp_blosc2_params(labels.shape, size, labels.itemsize)
    nnUNetDatasetBlosc2.save_case(
        data,
        labels,
        {},
        str(folder / "peer"),
        chunks=chunks,
        blocks=blocks,
        chunks_seg=chunks_seg,
        blocks_seg=blocks_seg,
    )
    cases = nnUNetDatasetBlosc2(str(folder), ["peer"])

    def read(corner: Triple, size: Triple) -> tuple[np.ndarray, np.ndarray]:
        image, labels, *_ = cases.load_case("peer")
        box = (slice(None), *(slice(start, start + side) for start, side in zip(corner, size, strict=True)))
        return image[box], labels[box]

    return read


def check(arms: dict[str, Read], corner: Triple, size: Triple) -> None:
    """All arms must give the same labels, ours and the scan the same image."""
    parts = {arm: read(corner, size) for arm, read in arms.items()}
    assert all((labels == parts[SCAN][1]).all() for _, labels in parts.values())
    assert (parts[OURS][0] == parts[SCAN][0]).all()


def measure(arms: dict[str, Read], corners: list[Triple], size: Triple, scans: int) -> dict[str, float]:
    """Median seconds of each arm; the scan is read for the first ``scans`` patches only."""
    times = {arm: [] for arm in arms}
    for number, corner in enumerate(corners):
        for arm, read in arms.items():
            if arm != SCAN or number < scans:
                start = time.perf_counter()
                read(corner, size)
                times[arm].append(time.perf_counter() - start)
    return {arm: statistics.median(values) for arm, values in times.items()}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=(200, 512, 512), help="voxels of the scan (D, H, W)")
    parser.add_argument("--patch", type=int, nargs=3, default=(32, 256, 256))
    parser.add_argument("--patches", type=int, default=50)
    parser.add_argument("--scans", type=int, default=3, help="how often the .nii.gz is read")
    parser.add_argument("--image", type=Path, help="a CT scan to use in the phantom's place")
    parser.add_argument("--label", type=Path, help="its labels")
    parser.add_argument("--folder", help="where to put the files meanwhile; default: the system's temporary folder")
    args = parser.parse_args()
    if (args.image is None) != (args.label is None):
        parser.error("--image and --label go together")
    if any(side > whole for side, whole in zip(args.patch, args.shape, strict=True)):
        parser.error(f"the patch {args.patch} is larger than the scan {args.shape}")
    return args


if __name__ == "__main__":
    main()
