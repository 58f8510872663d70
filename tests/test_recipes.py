"""Training recipes: scan orientation, magnification and order of steps, in every config and every documented recipe."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from mmengine.config import Config

import medseg.datasets  # noqa: F401
from vdt3d.datasets import SliceWindows, VolumeDataset
from vdt3d.datasets.base import built
from vdt3d.engine.config import resolve_config
from vdt3d.io import read_label_map, read_volume
from vdt3d.structures import LabelMap, Sample, Volume, affine_from_spacing
from vdt3d.utils.random import SampleKey, keyed

ROOT = Path(__file__).parents[1]
# The others are children that inherit all of their data.
CONFIGS = sorted(
    path
    for path in (ROOT / "configs").rglob("*.py")
    if "_base_" not in path.parts and re.search("dataset|pipeline", path.read_text(encoding="utf-8"))
)
# Prepared and made by us on the grid of radiologists' images, or without a third dimension.
ELSEWHERE = ("DeepLesion", "LesionScans", "PhantomLesions", "ImageNet", "ImageFolder", "FractalPictures")
SIDE = 64


@cache
def read(config: Path) -> Config:
    return resolve_config(Config.fromfile(config, lazy_import=False, format_python_code=False))


def dataset_of(config: Path, split: str) -> dict:
    return read(config)[f"{split}_dataloader"].dataset


@pytest.fixture(autouse=True)
def no_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """mmengine collects garbage for every data set it makes: half a second each."""
    monkeypatch.setattr("mmengine.dataset.base_dataset.gc.collect", lambda: 0)


def recipes() -> list[Path]:
    """The configs that read scans as they are, each pipeline once."""
    found: dict[str, Path] = {}
    for config in CONFIGS:
        inner = dataset_of(config, "train")
        inner = inner.get("dataset", inner)
        if inner.type not in ELSEWHERE and "prepared" not in inner:
            found.setdefault(str([dataset_of(config, split).get("pipeline") for split in ("train", "test")]), config)
    return list(found.values())


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """One patient in three orientations; the octant at the superior, anterior, right corner is bright and labelled."""
    folder = tmp_path_factory.mktemp("phantoms")
    image = np.random.default_rng(0).integers(0, 100, (SIDE,) * 3).astype(np.int16)
    label = np.zeros((SIDE,) * 3, np.uint8)
    corner = (slice(SIDE // 2 + 2, SIDE - 10),) * 3  # within the crop of 48 voxels
    image[corner], label[corner] = 900, 1
    stored = []
    for codes in ("RAS", "LPS", "PIL"):
        for name, array in (("image", image), ("label", label)):
            scan = nib.Nifti1Image(array, np.diag([1.0, 1.5, 2.0, 1.0]))
            turn = nib.orientations.ornt_transform(
                nib.io_orientation(scan.affine), nib.orientations.axcodes2ornt(codes)
            )
            nib.save(scan.as_reoriented(turn), folder / f"{name}_{codes}.nii")
        volume, truth = read_volume(folder / f"image_{codes}.nii"), read_label_map(folder / f"label_{codes}.nii")
        stored.append(Sample(volume, truth, target=0, name="phantom"))
    return stored


class InMemory(VolumeDataset):
    """One case that is handed over as it is."""

    def __init__(self, sample: Sample, **kwargs):
        self.sample = sample
        super().__init__(".", **kwargs)

    def load_data_list(self) -> list[dict]:
        return [{"path": ".", "name": self.sample.name}]

    def read(self, case: dict) -> Sample:
        return self.sample


def fed(sample: Sample, dataset: dict) -> np.ndarray:
    """The network's input of a case, or of the window about its slice 40."""
    index = 0
    if dataset["type"] == "SliceWindows":
        inner = InMemory(sample, pipeline=dataset["dataset"].get("pipeline", ()))
        index, data = 40, SliceWindows(inner, window=dataset["window"], pipeline=dataset["pipeline"])
        data.full_init()
    else:
        data = InMemory(sample, pipeline=dataset["pipeline"])
    with keyed(SampleKey(0, 0, index)):
        return data[index]["inputs"].numpy()


def check_orientation(train: dict, test: dict, phantoms: list[Sample]) -> None:
    for dataset in (train, test):
        first, *others = (fed(sample, dataset) for sample in phantoms)
        for other in others:
            np.testing.assert_allclose(other, first, atol=1e-5)
    bright = np.argwhere(first[0] > (first[0].min() + first[0].max()) / 2)
    assert (bright.mean(axis=0) > np.array(first.shape[1:]) / 2).all()  # superior, anterior and right are the far ends


def test_a_patient_is_fed_alike_whatever_the_files_orientation(phantoms):
    names = [config.stem for config in recipes()]
    assert len(names) >= 6 and {"classify", "segment", "segment_slices"} <= set(names)
    for config in recipes():
        check_orientation(dataset_of(config, "train"), dataset_of(config, "test"), phantoms)


def test_the_documented_classifier_feeds_a_patient_alike(tmp_path: Path, phantoms):
    (block,) = re.findall(
        r"```python\n(_base_.*?)```", (ROOT / "docs/own_data.md").read_text(encoding="utf-8"), re.DOTALL
    )
    (tmp_path / "my_config.py").write_text(block)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    config = read(tmp_path / "my_config.py")
    check_orientation(config.train_dataloader.dataset, config.test_dataloader.dataset, phantoms)


def own_recipes() -> Iterator[tuple[str, str]]:
    for page in sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]):
        fence = r"```python\n(.*?)```" if page.suffix == ".md" else r'"source": \[(.*?)\n   \]'
        for block in re.findall(fence, page.read_text(encoding="utf-8"), re.DOTALL):
            if re.search(r"pipeline=", block) and re.search(r"Volume(Classification|Segmentation)", block):
                yield page.name, block


def test_every_documented_recipe_reorients_or_is_prepared():
    found = list(own_recipes())
    assert {"own_data.md", "segmentation.md", "slice_windows.md"} <= {page for page, _ in found}
    assert sum(page.endswith("ipynb") for page, _ in found) == 2
    assert [page for page, block in found if "Reorient3D" not in block and "prepared=" not in block] == []


def test_every_config_reorients_or_is_prepared():
    for config in CONFIGS:
        for split in ("train", "val", "test"):
            outer = dataset_of(config, split)
            inner = outer.get("dataset", outer)
            first = next(iter((inner if outer is not inner else outer).get("pipeline", ())), {})
            known = inner.type in ELSEWHERE or inner.get("prepared") or first.get("type") == "Reorient3D"
            assert known, f"{config.relative_to(ROOT)}: {split}"


# --- magnification


def steps_of(name: str, key: str = "train_pipeline") -> list[dict]:
    return read(ROOT / "configs/_base_/datasets" / name)[key]


@pytest.mark.parametrize(("name", "shape"), [("lits.py", (34, 512, 512)), ("btcv.py", (34, 330, 420))])
def test_abdomens_are_magnified_by_the_published_ratio(name: str, shape: tuple[int, ...]):
    """0.8 to 1.2 whatever the size of the body's box and of the patch; at test time 1."""
    affine = affine_from_spacing((1.0, 0.7, 0.7))
    label = np.zeros((1, *shape), np.uint8)
    label[0, 5:30, 100:200, 100:200] = 1
    sample = Sample(Volume(np.zeros((1, *shape), np.int16), affine), LabelMap(label, affine), name="phantom")
    train = built(steps_of(name)[:-1])
    found = []
    for index in range(5):
        data = sample
        with keyed(SampleKey(0, 0, index)):
            for step in train:
                data = step(data)
        assert data.image.shape == (32, 256, 256)
        found.append(0.7 / data.image.spacing[2])
    assert 0.79 < min(found) < 0.95 and 1.05 < max(found) <= 1.21
    for step in built(steps_of(name, "test_pipeline")[:-1]):
        sample = step(sample)
    assert sample.image.shape == shape and sample.image.spacing == pytest.approx((1, 0.7, 0.7))


def test_no_recipe_fits_a_crop_into_an_absolute_size():
    for config in CONFIGS:
        for split in ("train", "val", "test"):
            types = [step["type"] for step in dataset_of(config, split).get("pipeline", ())]
            resized = [place for place, kind in enumerate(types) if kind in ("Resize3D", "RandomChoiceResize3D")]
            cropped = [place for place, kind in enumerate(types) if re.search("Crop|Patch", kind)]
            assert not resized or not cropped or max(resized) < min(cropped), f"{config.relative_to(ROOT)}: {split}"


def test_published_windows_average_hounsfield_units_before_scaling_them():
    steps = [dict(step) for step in steps_of("transseg.py", "published_train_pipeline")]
    assert [step["type"] for step in steps[:4]] == ["Pad3D", "RandomZoom3D", "RandomCrop3D", "Window"]
    steps[1]["scale"] = (0.5, 0.5)
    image = np.tile(np.array([-1000, 250], np.int16), (1, 5, 512, 256))
    image[..., 256:] = 250
    sample = Sample(Volume(image), name="window")
    for step in built(steps[:4]):
        sample = step(sample)
    # A voxel is the mean of two: -375 HU, which the window (-175 to 250 HU) turns into 0; scaled first, it would be .5.
    assert sample.image.array[0, 1, 100, 10] == 0 and sample.image.array[0, 1, 100, 200] == 1


def test_what_the_preparation_cut_away_is_air_in_published_windows():
    pad = built(steps_of("transseg.py", "published_train_pipeline")[:1])[0]
    sample = pad(Sample(Volume(np.zeros((1, 5, 400, 300), np.int16)), name="window"))
    assert sample.image.shape == (5, 512, 512) and sample.image.array[0, 0, 0, 0] == -1024
    assert np.count_nonzero(sample.image.array == 0) == 5 * 400 * 300
