"""The loss of validation: hand-worked values on windows, boxes and classes, and that computing it changes nothing."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from mmpretrain.structures import DataSample
from test_detector import detector, sampled, windows
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from medseg.models.segmentors.scan_segmentor import ScanSegmentor
from medseg.models.targets import LabelScheme
from vdt3d.evaluation import ValidationLoss
from vdt3d.models import VolumeClassifier
from vdt3d.registry import MODELS
from vdt3d.structures import LabelMap, Sample, SegmentationSample, SliceWindow, Volume, affine_from_spacing
from vdt3d.transforms import Normalize3D, PackSegmentation, Pad3D, Reorient3D, ResampleSpacing3D


class Echo(ScanSegmentor):
    """The logit of class 1 over class 0 is the voxel; of a window of slices it is that of the middle one."""

    def __init__(self, inferer: dict, window: SliceWindow | None = None, loss: str = "CrossEntropyLoss3D"):
        super().__init__(None, None)
        self.loss_decode, self.window, self.seen = MODELS.build({"type": loss}), window, []
        self._labels = LabelScheme(2)
        self.settle({"inferer": inferer}, **({} if window is None else {"window": window}))

    @property
    def labels(self) -> LabelScheme:
        return self._labels

    def encode_decode(self, inputs: Tensor, batch_data_samples=None) -> Tensor:
        assert inputs.shape[1] == 1  # the truth is not shown to the network
        self.seen.append(tuple(inputs.shape))
        if self.window is not None:
            inputs = inputs[:, :, list(self.window.answered)]
        return torch.cat([torch.zeros_like(inputs), inputs], dim=1)

    def extract_feat(self, inputs: Tensor) -> Tensor:
        return inputs

    def loss(self, inputs: Tensor, data_samples) -> dict[str, Tensor]:
        raise NotImplementedError

    def score_losses(self, logits: Tensor, data_samples, size) -> dict[str, Tensor]:
        targets = self.labels.targets(data_samples, size)
        if self.window is not None:
            targets = targets[..., list(self.window.answered), :, :]
        return self.loss_decode.parts(logits, targets)


def packed(image: np.ndarray, label: np.ndarray | None, *steps, affine: np.ndarray | None = None) -> dict:
    affine = np.eye(4) if affine is None else affine
    reference = None if label is None else LabelMap(label.astype(np.uint8)[None], affine)
    sample = Sample(Volume(image.astype(np.float32)[None], affine), reference=reference, name="case")
    for step in [*steps, PackSegmentation()]:
        sample = step(sample)
    return sample


def predicted(model: ScanSegmentor, data: dict, *, report: bool = True) -> SegmentationSample:
    model.report_losses = report
    with torch.no_grad():
        (sample,) = model.predict(data["inputs"][None], [data["data_samples"]])
    return sample


def entropies(logits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Cross-entropy of each voxel."""
    return binary_cross_entropy_with_logits(
        torch.tensor(logits, dtype=torch.float64), torch.tensor(truth, dtype=torch.float64), reduction="none"
    ).numpy()


def test_the_loss_is_the_mean_over_windows():
    logits, truth = np.array([2.0, -1, 0.5, 3, -2, 1]), np.array([1, 1, 0, 1, 0, 0])
    model = Echo({"type": "SlidingWindow", "window": (1, 1, 4), "stride": (1, 1, 2)})
    sample = predicted(model, packed(logits.reshape(1, 1, 6), truth.reshape(1, 1, 6)))
    of_voxel = entropies(logits, truth)
    # Windows 0 to 3 and 2 to 5: those of the overlap count twice.
    assert sample.losses == {"loss_ce": pytest.approx((of_voxel[:4].mean() + of_voxel[2:].mean()) / 2, abs=1e-6)}
    assert model.seen == [(1, 1, 1, 1, 4)] * 2  # no window went through the network twice
    mirrored = Echo({"type": "WholeVolume", "flips": "W"})
    sample = predicted(mirrored, packed(logits.reshape(1, 1, 6), truth.reshape(1, 1, 6)))
    assert sample.losses["loss_ce"] == pytest.approx(of_voxel.mean(), abs=1e-6)  # mirrored alike


def test_the_truth_takes_the_way_of_the_image():
    """Turned, resampled, normalised and padded, a network that sees the truth itself has no loss but at borders."""
    truth = np.zeros((6, 8, 10), bool)
    truth[1:4, 2:5, 3:9] = True
    affine = affine_from_spacing((2.0, 1.0, 1.0)) @ np.diag([-1.0, 1, -1, 1])
    steps = (Reorient3D(), ResampleSpacing3D((1.0, 1.0, None)), Normalize3D(mean=0.5, std=0.01), Pad3D((14, 8, 12)))
    data = packed(truth, truth, *steps, affine=affine)
    loss = predicted(Echo({"type": "WholeVolume"}), data).losses["loss_ce"]
    # Padding is 0, which decides nothing: log 2 each; all other voxels but those at borders between slices are sure.
    unsure = 1 - 12 * 8 * 10 / (14 * 8 * 12)
    assert unsure * math.log(2) < loss + 1e-6 < unsure * math.log(2) + 0.02 * 50
    elsewhere = data["data_samples"].reference
    moved = LabelMap(np.roll(elsewhere.array, 2, axis=3), elsewhere.affine)
    data["data_samples"].set_field(moved, "reference", field_type="metainfo")
    assert predicted(Echo({"type": "WholeVolume"}), data).losses["loss_ce"] > 5 * loss


@pytest.mark.parametrize("edge", ["repeat", "zero"])
def test_the_loss_of_slice_windows_is_that_of_the_answered_slice(edge: str):
    logits, truth = np.random.default_rng(0).normal(size=(5, 4, 4)), np.zeros((5, 4, 4))
    truth[2:, 1:] = 1
    window = SliceWindow(slices=3, edge=edge)
    model = Echo({"type": "SliceWindowInferer", "divisor": 4, "batch": 2}, window)
    sample = predicted(model, packed(logits, truth))
    assert sample.losses["loss_ce"] == pytest.approx(entropies(logits, truth).mean(), abs=1e-6)
    answers_all = SliceWindow(slices=3, edge=edge, target="all")
    model = Echo({"type": "SliceWindowInferer", "divisor": 4, "batch": 5}, answers_all)
    sample = predicted(model, packed(logits, truth))
    of_slice = entropies(logits, truth).mean(axis=(1, 2))
    # Each is in three windows. Beyond the ends, slices of zeros have no label; or the outer ones are there again.
    times = [2, 3, 3, 3, 2] if edge == "zero" else [3, 3, 3, 3, 3]
    expected = (of_slice * times).sum() / sum(times)
    assert sample.losses["loss_ce"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("inferer", [dict(type="SlidingWindow", window=(4, 4, 4)), dict(type="WholeVolume")])
def test_labels_are_the_same_with_and_without_the_loss(inferer: dict):
    rng = np.random.default_rng(1)
    data = packed(rng.normal(size=(6, 7, 8)), rng.integers(0, 2, (6, 7, 8)))
    with_loss, without = (predicted(Echo(inferer), data, report=report).pred_labels for report in (True, False))
    np.testing.assert_array_equal(with_loss.array, without.array)


def test_a_case_without_truth_has_no_loss():
    data = packed(np.zeros((2, 4, 4)), None)
    assert "losses" not in predicted(Echo({"type": "WholeVolume"}), data)


def test_cases_count_once_and_their_order_does_not_matter():
    metric = ValidationLoss()
    cases = [{"losses": {"loss_ce": 0.1, "loss_dice": 0.5}}, {"losses": {"loss_ce": 0.7, "loss_dice": 0.9}}, {}]
    metric.process({}, cases)
    found = metric.compute_metrics(metric.results)
    assert found == {
        "val_loss_ce": pytest.approx(0.4),
        "val_loss_dice": pytest.approx(0.7),
        "val_loss": pytest.approx(1.1),
    }
    assert metric.compute_metrics(metric.results[::-1]) == found
    assert metric.compute_metrics([{}]) == {}


@pytest.mark.parametrize("kind", ["FasterRCNN3D", "RetinaNet3D", "FCOS3D"])
def test_a_detectors_loss_is_that_of_training_and_draws_nothing(kind: str):
    model, box = detector(kind), (8.0, 8, 30, 30)
    inputs, samples = torch.cat([windows(box), windows()]), [sampled([box]), sampled([])]
    found = []
    for place, sample in enumerate(samples):
        torch.manual_seed(0)
        with torch.no_grad():
            terms = model.train().loss(inputs[place : place + 1], [sample])
        found.append({name: value.item() for name, value in terms.items()})
    model.eval().report_losses = True
    before = torch.get_rng_state()
    with torch.no_grad():
        answers = model.predict(inputs, samples)
    assert torch.equal(torch.get_rng_state(), before)
    for answer, terms in zip(answers, found, strict=True):
        assert answer.losses == pytest.approx(terms, abs=1e-5)
    assert not any(part.training for part in model.modules())
    scores = [answer.pred_scores for answer in answers]
    model.report_losses = False
    with torch.no_grad():
        for answer, score in zip(model.predict(inputs, samples), scores, strict=True):
            np.testing.assert_array_equal(answer.pred_scores, score)


@pytest.mark.parametrize("inferer", [None, {"temperature": 2.0}, {"flips": "W"}])
def test_a_classifiers_loss_is_that_of_its_head(inferer: dict | None):
    config = dict(tiny.config(Path("unused")).model)
    test_cfg = None if inferer is None else {"inferer": inferer}
    model = MODELS.build(config | {"test_cfg": test_cfg}).eval()
    inputs = torch.randn(3, 1, 4, 6, 6)
    samples = [DataSample().set_gt_label(label) for label in (0, 1, 1)]
    with torch.no_grad():
        views = [inputs, inputs.flip(4)] if inferer == {"flips": "W"} else [inputs]
        logs = torch.stack([model(view).log_softmax(1) for view in views]).mean(0)
        model.report_losses = True
        found = model.predict(inputs, samples)
    for sample, log, label in zip(found, logs, (0, 1, 1), strict=True):
        assert sample.losses == {"loss": pytest.approx(-log[label].item(), abs=1e-6)}


def test_a_run_logs_its_validation_loss_and_may_follow_it(tmp_path: Path):
    follow = dict(
        param_scheduler=[dict(type="ReduceOnPlateauLR", monitor="val_loss", rule="less", patience=1)],
        default_hooks=tiny.config(tmp_path).default_hooks
        | {"checkpoint": dict(type="CheckpointHook", save_best="val_loss", rule="less")},
    )
    stop = (dict(type="EarlyStopHook", monitor="val_loss", patience=5, rule="less"),)
    tiny.train(tiny.config(tmp_path / "run", epochs=2, hooks=stop, **follow))
    lines = [json.loads(line) for line in (tmp_path / "run/scores.jsonl").read_text().splitlines()]
    assert [line["val_loss"] for line in lines] == pytest.approx([line["log_loss"] for line in lines], abs=1e-6)
    assert (tmp_path / "run/best_val_loss.pth").is_file()

    log = next((tmp_path / "run").glob("*/*.log")).read_text()  # it has each validation's own loss
    assert re.findall(r" val_loss: ([0-9.]+)", log) == [f"{line['val_loss']:.4f}" for line in lines]


def test_a_run_is_the_same_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tiny.train(tiny.config(tmp_path / "with", epochs=2))
    monkeypatch.setattr(VolumeClassifier, "report_losses", property(lambda _: False, lambda _, value: None))
    tiny.train(tiny.config(tmp_path / "without", epochs=2))
    assert tiny.same_run(tmp_path / "with/epoch_2.pth", tmp_path / "without/epoch_2.pth") == []
    scores = [json.loads((tmp_path / run / "scores.jsonl").read_text().splitlines()[-1]) for run in ("with", "without")]
    assert scores[0].pop("val_loss") > 0 and scores[0] == scores[1]
