"""``vdt3d.Predictor``: a path, an array or a volume in; labels or class probabilities out, as the test would say."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from dicoms import TRACES, write_ct
from levels import BOX, weights, write_config, write_scan
from mmengine.config import Config
from torch import nn

import vdt3d
from vdt3d.cli import main
from vdt3d.io import list_series, write_nifti
from vdt3d.models import FeatureInfo
from vdt3d.models.weights.files import write_checkpoint
from vdt3d.registry import MODELS
from vdt3d.structures import Volume, affine_from_spacing

SPACING = (2.0, 1.0, 1.0)


@pytest.fixture
def predictor(tmp_path: Path):
    checkpoint = weights(tmp_path, 0.5, dataset_meta={"classes": ["background", "box"]})
    return vdt3d.Predictor(write_config(tmp_path), checkpoint, device="cpu")


def test_a_device_or_config_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="the device 'moon' is not to be had here"):
        vdt3d.Predictor(write_config(tmp_path), weights(tmp_path, 0.5), device="moon")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.py: no such config"):
        vdt3d.Predictor("nowhere.py", weights(tmp_path, 0.5))


def test_third_party_packages_say_nothing_when_they_are_loaded_for_it():
    words = [sys.executable, "-c", "from vdt3d import Predictor; import medseg.models"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_path_an_array_and_a_volume_are_answered_alike(tmp_path, predictor):
    scan = write_scan(tmp_path / "a.nii.gz")
    expected = np.zeros((10, 18, 22))
    expected[BOX] = 1
    for given in (tmp_path / "a.nii.gz", str(tmp_path / "a.nii.gz"), scan):
        labels = predictor(given)
        assert np.array_equal(labels.array[0], expected) and labels.same_grid(scan)
    for array in (scan.array, scan.array[0], scan.array[0].astype(np.int16), torch.from_numpy(scan.array[0])):
        labels = predictor(array, spacing=SPACING)
        assert np.array_equal(labels.array[0], expected)
        assert labels.same_grid(Volume(labels.array, affine_from_spacing(SPACING)))
    assert predictor(scan.array[0]).spacing == (1, 1, 1)


def test_a_series_and_an_array_in_a_file_are_read_as_they_are_told_to(tmp_path, predictor):
    for series, bright in (("1", 2), ("2", 5)):
        array = np.zeros((8, 8, 12), int)
        array[bright] = 100
        write_ct(tmp_path / "ct", array, series=series)
    (uid,) = (uid for uid in list_series(tmp_path / "ct") if uid.endswith("2"))
    labels = predictor(tmp_path / "ct", series=uid)
    assert np.flatnonzero(labels.array.any(axis=(0, 2, 3))).tolist() == [5]
    np.save(tmp_path / "a.npy", array)
    assert predictor(tmp_path / "a.npy", spacing=SPACING).spacing == SPACING


@pytest.mark.parametrize(
    ("scan", "options", "message"),
    [
        (np.zeros((4, 4)), {}, r"numbers \(D, H, W\) or \(C, D, H, W\), got float64 of shape \(4, 4\)"),
        (np.array(["a"] * 8).reshape(2, 2, 2), {}, r"got <U1 of shape"),
        (np.full((4, 4, 4), np.nan), {}, "holds NaN or infinite voxels"),
        (np.zeros((2, 4, 4, 4)), {}, "has 2 channels, and the model was trained with 1"),
        (Volume(np.zeros((3, 4, 4, 4))), {}, "has 3 channels"),
        (np.zeros((4, 4, 4)), {"spacing": (1, 0, 1)}, "three positive numbers"),
        (np.zeros((4, 4, 4)), {"series": "1.2"}, "no folder was given"),
        (Volume(np.zeros((1, 4, 4, 4))), {"spacing": SPACING}, "a Volume has its own"),
        ("none.nii.gz", {}, "does not exist"),
    ],
)
def test_what_cannot_be_a_scan_is_refused(scan, options, message, predictor):
    with pytest.raises(ValueError, match=message):
        predictor(scan, **options)


def test_a_message_calls_a_scan_as_its_file(tmp_path, predictor):
    write_scan(tmp_path / "dark.nii.gz", value=0)
    with pytest.raises(ValueError, match="case 'dark': no voxel lies above"):
        predictor(tmp_path / "dark.nii.gz")
    with pytest.raises(ValueError, match="case 'mine': no voxel lies above"):
        predictor(tmp_path / "dark.nii.gz", name="mine")


def test_the_package_imports_without_pytorch():
    code = "import sys, vdt3d; print(vdt3d.__version__, 'torch' in sys.modules or 'numpy' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == [vdt3d.__version__, "False"]
    with pytest.raises(AttributeError, match="has no attribute 'Predicter'"):
        _ = vdt3d.Predicter


# ---- classifiers -----------------------------------------------------------------------------------------------------


@MODELS.register_module()
class MeanBackbone(nn.Module):
    """The mean of a volume as its one feature."""

    feature_info = (FeatureInfo("mean", 1, (1, 1, 1)),)

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.scale * x.mean(dim=(2, 3, 4)),)


@pytest.fixture
def classifier(tmp_path: Path) -> str:
    """Its logits are those of ``linear`` below, of the mean of the foreground in hundreds."""
    path = tmp_path / "classify.py"
    path.write_text("""
head = dict(type="LinearClsHead", num_classes=2)
model = dict(type="VolumeClassifier", backbone=dict(type="MeanBackbone"), head=head)
test_dataloader = dict(dataset=dict(type="LIDCClassification", pipeline=[
    dict(type="CropForeground3D", margin=0), dict(type="Normalize3D", mean=0.0, std=100.0), dict(type="PackVolume")]))
""")
    return str(path)


def linear(folder: Path, slope: float, classes: list[str] | None = None) -> str:
    """A checkpoint whose logits are (0, slope times the mean)."""
    state = {
        "backbone.scale": torch.ones(1),
        "head.fc.weight": torch.tensor([[0.0], [slope]]),
        "head.fc.bias": torch.zeros(2),
    }
    path = folder / f"linear_{slope}.pth"
    write_checkpoint({"state_dict": state, "meta": {"dataset_meta": {"classes": classes or []}}}, path)
    return str(path)


# The foreground of write_scan is its box, in which the mean is 1: of a slope of ln 3 the probabilities are 1/4 and 3/4.
LN3 = float(np.log(3))


def test_a_classifier_gives_the_probability_of_every_class(tmp_path, classifier):
    scan = write_scan(tmp_path / "a.nii.gz")
    said = vdt3d.Predictor(classifier, linear(tmp_path, LN3, ["benign", "malignant"]), device="cpu")(scan)
    assert said.classes == ("benign", "malignant") and said.label == "malignant"
    assert said.probabilities == pytest.approx([0.25, 0.75])
    # Entropy in bits, whose maximum is 1 for two classes: -(1/4 log2 1/4 + 3/4 log2 3/4) = 0.811.
    assert said.uncertainty == pytest.approx(0.8113, abs=1e-4) and said.disagreement is None
    nameless = vdt3d.Predictor(classifier, linear(tmp_path, -LN3, ["one"]), device="cpu")(scan)
    assert nameless.classes == ("0", "1") and nameless.label == "0"


def test_options_for_the_files_of_a_data_set_are_not_asked_of_other_formats(tmp_path, classifier):
    scan = write_scan(tmp_path / "a.nii.gz")
    np.savez(tmp_path / "a.npz", voxel=scan.array[0], mask=np.ones((2, 2, 2)))
    config = Config.fromfile(classifier, lazy_import=False)
    config.test_dataloader.dataset.reader = dict(key="voxel", spacing=(1.0, 1.0, 1.0), nan="zero")
    predictor = vdt3d.Predictor(config, linear(tmp_path, LN3), device="cpu")
    assert np.array_equal(predictor.read(tmp_path / "a.npz").array, scan.array)
    assert predictor.read(tmp_path / "a.nii.gz").same_grid(scan)  # by its own spacing


def test_several_classifiers_answer_by_their_mean_and_tell_how_far_they_differ(tmp_path, classifier):
    scan = write_scan(tmp_path / "a.nii.gz")
    both = [linear(tmp_path, LN3), linear(tmp_path, -LN3)]
    said = vdt3d.Predictor(classifier, both, device="cpu")(scan)
    assert said.probabilities == pytest.approx([0.5, 0.5])
    # The mean's entropy is 1, each one's 0.811: they differ by the rest.
    assert said.uncertainty == pytest.approx(1) and said.disagreement == pytest.approx(1 - 0.8113, abs=1e-4)


def test_the_command_writes_classes_as_json_and_csv_and_names_nobody(tmp_path, classifier, capsys):
    write_scan(tmp_path / "in/a.nii.gz")
    write_ct(tmp_path / "in2/ct", np.full((4, 6, 8), 100))
    inputs = [str(tmp_path / "in"), str(tmp_path / "in2")]
    checkpoint = linear(tmp_path, LN3, ["benign", "malignant"])
    for _ in range(2):  # once, and once again: nothing is left to do
        main(["predict", classifier, checkpoint, *inputs, "-o", str(tmp_path / "out")])
    said = capsys.readouterr()
    assert "predictions of 2 scans were written" in said.out and "2 of 2 scans are in" in said.out
    with (tmp_path / "out/predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["scan"], row["class"], row["disagreement"]) for row in rows] == [
        ("a", "malignant", ""),
        ("ct", "malignant", ""),
    ]
    assert float(rows[0]["p_benign"]) == pytest.approx(0.25) and float(rows[0]["p_malignant"]) == pytest.approx(0.75)
    report = json.loads((tmp_path / "out/ct.prediction.json").read_text())
    assert report["probabilities"] == pytest.approx({"benign": 0.25, "malignant": 0.75})
    assert "not a medical device" in report["note"]
    written = "".join(path.read_text() for path in (tmp_path / "out").iterdir()) + said.out + said.err
    assert not [trace for trace in TRACES if trace in written]


@pytest.mark.parametrize("word", ["--sheets", "--dicom-seg"])
def test_a_classifier_labels_no_voxels(word, tmp_path, classifier, capsys):
    with pytest.raises(SystemExit) as left:
        main(["predict", classifier, linear(tmp_path, LN3), "a.nii.gz", "-o", str(tmp_path / "out"), word])
    assert left.value.code == 2 and "are for models that label voxels" in capsys.readouterr().err


def test_a_pipeline_that_classifies_nothing_is_refused(tmp_path, classifier):
    config = Config.fromfile(classifier, lazy_import=False)
    config.test_dataloader.dataset.pipeline[-1] = dict(type="PackSegmentation")
    write_nifti(Volume(np.ones((1, 4, 4, 4), np.float32)), tmp_path / "a.nii.gz")
    with pytest.raises(ValueError, match="does not end in PackVolume"):
        vdt3d.Predictor(config, linear(tmp_path, LN3), device="cpu")(tmp_path / "a.nii.gz")
