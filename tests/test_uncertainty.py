"""How sure an answer is: entropies by hand, draws of dropout, maps on the scan's own grid, ensembles as commands."""

import json
import re
import shlex
import shutil
from math import log
from pathlib import Path

import numpy as np
import overlapping
import pandas as pd
import pytest
import reference_metrics as slow
import tiny
import torch
from levels import AFFINE, weights, write_scan
from mmpretrain.structures import DataSample
from test_calibration import noisy_labels
from torch import nn

from vdt3d.apis.predictor import Predictor
from vdt3d.cli import main
from vdt3d.inference import CaseInferer, Ensemble, SlidingWindow, WholeVolume, dropout_passes, entropy, mirrored
from vdt3d.io import read_label_map, read_volume
from vdt3d.structures import LabelMap, Sample, SegmentationSample, Volume, affine_from_spacing
from vdt3d.transforms import CropForeground3D, PackSegmentation, RandomFlip3D, ResampleSpacing3D

VOXEL = torch.zeros(1, 1, 1, 1, 1)


def fixed(*logits):
    """A network that answers one vector of logits everywhere."""
    return lambda batch: torch.tensor(logits).view(1, -1, 1, 1, 1).expand(len(batch), -1, *batch.shape[2:])


def test_entropies_by_hand():
    # Of 3/4 and 1/4: -(3/4 log2 3/4 + 1/4 log2 1/4) = 0.8113 bits; of three classes, two of them likely: log 2 / log 3.
    assert entropy(torch.tensor([[log(3), 0.0]])).item() == pytest.approx(0.811278, rel=1e-5)
    assert entropy(torch.tensor([[0.0, 0.0, -99.0]])).item() == pytest.approx(log(2) / log(3))
    assert entropy(torch.zeros(1, 5)).item() == pytest.approx(1)
    assert entropy(torch.tensor([[500.0, -500.0]])).item() == 0
    # Of two regions, one of them open and one sure, the mean; a single score is a region.
    assert entropy(torch.tensor([[0.0, 90.0]]), regions=True).item() == pytest.approx(0.5)
    assert entropy(torch.tensor([[log(3)]])).item() == pytest.approx(slow.entropy([0.75, 0.25]))


@pytest.mark.parametrize("inferer", [WholeVolume(), SlidingWindow((1, 1, 1))])
@pytest.mark.parametrize(
    ("logits", "uncertainty", "disagreement"),
    [
        ([(40.0, 0.0), (0.0, 40.0)], 1, 1),  # each is sure of its own
        ([(0.0, 0.0), (0.0, 0.0)], 1, 0),  # neither knows
        ([(40.0, 0.0), (40.0, 0.0)], 0, 0),
        ([(40.0, 0.0), (0.0, 0.0)], slow.entropy([0.75, 0.25]), slow.entropy([0.75, 0.25]) - 0.5),
    ],
)
def test_doubt_and_contradiction_are_told_apart(inferer, logits, uncertainty, disagreement):
    sample = SegmentationSample(metainfo={"sample_name": "a", "grid": ((1, 1, 1), np.eye(4)), "history": ()})
    told = inferer.assess(Ensemble([fixed(*row) for row in logits]), VOXEL[0], sample)
    assert told.uncertainty.array.item() == pytest.approx(uncertainty, abs=1e-6)
    assert told.disagreement.array.item() == pytest.approx(disagreement, abs=1e-6)


def test_temperature_is_that_of_the_answer():
    # Odds of 9 : 1 at temperature 2 are odds of 3 : 1; the disagreement is that of the views, whatever the temperature.
    sample = SegmentationSample(metainfo={"sample_name": "a", "grid": ((1, 1, 1), np.eye(4)), "history": ()})
    told = WholeVolume(temperature=2).assess(fixed(log(9), 0.0), VOXEL[0], sample)
    assert told.uncertainty.array.item() == pytest.approx(slow.entropy([0.75, 0.25])) and told.disagreement is None
    ours, hot = (
        WholeVolume(temperature=t).assess(Ensemble([fixed(4.0, 0.0), fixed(0.0, 0.0)]), VOXEL[0], sample)
        for t in (1, 5)
    )
    assert hot.disagreement.array.item() == ours.disagreement.array.item()
    # A region is on above odds of 2 : 1, which a score of log 9 exceeds, and log 9 / 4 does not.
    decide = lambda scores: (scores > log(2)).any(dim=0).byte()  # noqa: E731
    for temperature, on in ((1, 1), (4, 0)):
        inferer = WholeVolume(temperature=temperature)
        assert inferer.segment(fixed(log(9)), VOXEL[0], sample, decide=decide).array.item() == on
    with pytest.raises(ValueError, match="must be positive"):
        WholeVolume(temperature=0)


def case() -> dict:
    """A scan with a bright box, on its way to the network flipped, cropped and resampled."""
    array = np.zeros((1, 10, 18, 22), np.float32)
    array[0, 3:7, 4:12, 5:17] = 1 + np.random.default_rng(0).random((4, 8, 12))
    scan = Volume(array, affine_from_spacing((2.0, 1.0, 1.0)))
    sample = Sample(image=scan, reference=LabelMap((array > 1.5).astype(np.uint8), scan.affine), name="a")
    for transform in (RandomFlip3D("W", prob=1), CropForeground3D(margin=1), ResampleSpacing3D(spacing=(1, 1, 1))):
        sample = transform(sample)
    return PackSegmentation()(sample) | {"scan": scan}


@pytest.mark.parametrize("inferer", [WholeVolume(flips="DW"), SlidingWindow((4, 6, 6), flips="W")])
def test_maps_lie_on_the_scans_own_grid_and_labels_stay(inferer):
    data = case()
    networks = [lambda batch: torch.cat([1.4 - batch, batch - 1.4], 1), lambda batch: torch.cat([1 - batch, batch], 1)]
    told = inferer.assess(Ensemble(networks), data["inputs"], data["data_samples"])
    labels = inferer.segment(Ensemble(networks), data["inputs"], data["data_samples"])
    assert np.array_equal(told.labels.array, labels.array) and labels.array.any()
    for found in told:
        assert found.same_grid(data["scan"])
    assert told.uncertainty.array.dtype == np.float32 and told.uncertainty.array.min() >= 0
    assert told.disagreement.array.max() <= told.uncertainty.array.max() <= 1
    assert not told.uncertainty.array[0, 0].any()  # outside the crop
    assert inferer.assess(networks[0], data["inputs"], data["data_samples"]).disagreement is not None  # of mirrorings


def test_scores_are_drawn_with_their_places():
    data = case()
    sample, brightness = data["data_samples"], lambda batch: torch.cat([batch, -batch], 1)
    (places, scores), (again, _), (other, _) = (
        WholeVolume().draw_scores(brightness, data["inputs"], sample, share=0.3, seed=seed) for seed in (1, 1, 2)
    )
    assert np.array_equal(places.array, again.array) and not np.array_equal(places.array, other.array)
    drawn = places.array > 0
    assert sorted(places.array[drawn]) == list(
        range(1, len(scores) + 1)
    )  # each once: 0.3 of the 6 x 10 x 14 of the crop
    assert 150 < len(scores) < 400
    # Depth went through half its spacing and back: within the box, away from its ends, that is a blur along z alone.
    inside = np.zeros_like(drawn)
    inside[0, 4:6, 5:11, 6:16] = True
    found = scores[places.array[drawn & inside] - 1, 0].numpy()
    blurred = data["scan"].array
    blurred = 0.75 * blurred + 0.125 * (np.roll(blurred, 1, 1) + np.roll(blurred, -1, 1))
    assert np.corrcoef(found, blurred[drawn & inside])[0, 1] > 0.95


# ---- dropout ---------------------------------------------------------------------------------------------------------


class Dropped(nn.Module):
    """Two classes of a volume: the mean of what dropout and a norm leave, and its negative."""

    def __init__(self, p: float = 0.5):
        super().__init__()
        self.layers = nn.Sequential(nn.BatchNorm3d(1), nn.Dropout(p))

    def forward(self, batch):
        mean = self.layers(batch).mean(dim=(1, 2, 3, 4))
        return torch.stack([mean, -mean], dim=1)


def test_passes_differ_from_each_other_and_not_from_themselves():
    model = Dropped().eval()
    batch, state = torch.ones(2, 1, 3, 4, 5), torch.get_rng_state()
    passes = dropout_passes(model, 4)
    answers = [one(batch) for one in passes]
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(layer.training for layer in model.modules())
    assert len({answer[0, 0].item() for answer in answers}) > 1
    assert all(torch.equal(one(batch), answer) for one, answer in zip(passes, answers, strict=True))
    assert model.layers[0].num_batches_tracked == 0  # the norm stayed in evaluation


def test_what_has_no_dropout_is_refused():
    with pytest.raises(ValueError, match="Dropped has no dropout"):
        dropout_passes(Dropped(p=0.0), 4)
    with pytest.raises(ValueError, match="1 passes"):
        dropout_passes(Dropped(), 1)


# ---- classification --------------------------------------------------------------------------------------------------


def classified(network, **options) -> DataSample:
    (sample,) = CaseInferer(**options).classify(network, torch.arange(2.0).view(1, 1, 1, 1, 2), [DataSample()])
    return sample


def test_a_case_by_hand():
    # The first voxel is 0 and, mirrored, 1: odds of 1 : 1 and of 1 : 3, probabilities of 1/2 and 1/4 in the mean 3/8.
    network = lambda batch: torch.stack([-log(3) * batch[:, 0, 0, 0, 0], torch.zeros(len(batch))], dim=1)  # noqa: E731
    one, both = classified(network), classified(network, flips="W")
    assert one.pred_score.tolist() == [0.5, 0.5] and "uncertainty" not in one
    assert both.pred_score.tolist() == pytest.approx([3 / 8, 5 / 8]) and both.pred_label.item() == 1
    total = slow.entropy([3 / 8, 5 / 8])
    assert both.uncertainty == pytest.approx(total, rel=1e-5)
    assert both.disagreement == pytest.approx(total - (1 + slow.entropy([0.25, 0.75])) / 2, abs=1e-6)
    # Odds of 1 : 9 at temperature 2 are 1 : 3.
    assert classified(lambda _: torch.tensor([[0.0, log(9)]]), temperature=2).pred_score[0].item() == pytest.approx(
        1 / 4
    )


def test_mirrored_volumes_have_answers_that_are_not():
    seen = []
    views = mirrored(lambda batch: seen.append(batch.flatten().tolist()) or torch.zeros(1, 2), "W", undo=False)
    assert [view(torch.arange(2.0).view(1, 1, 1, 1, 2)).shape for view in views] == [(1, 2), (1, 2)]
    assert seen == [[0, 1], [1, 0]]


@pytest.fixture(scope="module")
def folds(tmp_path_factory) -> list[str]:
    """Two checkpoints of one network, trained with other seeds."""
    folder = tmp_path_factory.mktemp("folds")
    for seed in (0, 1):
        tiny.train(tiny.config(folder / str(seed), epochs=1, randomness=dict(seed=seed)))
    return [str(folder / str(seed) / "epoch_1.pth") for seed in (0, 1)]


def answered(folder: Path, *words: str) -> pd.DataFrame:
    """What a test says of the cases."""
    folder.mkdir()
    evaluator = dict(type="ClassificationScores", out=str(folder / "cases.csv"))
    tiny.config(folder / "run", test_evaluator=evaluator, custom_imports=None).dump(folder / "config.py")
    main(["test", str(folder / "config.py"), *words])
    return pd.read_csv(folder / "cases.csv", index_col="name")


def test_several_checkpoints_answer_with_their_mean(tmp_path, folds):
    one, other = (answered(tmp_path / str(number), path) for number, path in enumerate(folds))
    both = answered(tmp_path / "both", *folds)
    np.testing.assert_allclose(both[["p0", "p1"]], (one[["p0", "p1"]] + other[["p0", "p1"]]) / 2, atol=1e-6)
    assert "uncertainty" not in one and not np.allclose(one.p1, other.p1)
    for name, row in both.iterrows():
        total = slow.entropy([row.p0, row.p1])
        of_each = [slow.entropy([1 - said.p1[name], said.p1[name]]) for said in (one, other)]
        assert row.uncertainty == pytest.approx(total, abs=1e-5)
        assert row.disagreement == pytest.approx(total - sum(of_each) / 2, abs=1e-5)


def test_draws_of_dropout_and_mirrorings_are_views_too(tmp_path, folds):
    plain = answered(tmp_path / "plain", folds[0])
    dropped = answered(tmp_path / "dropped", folds[0], "--mc-dropout", "8")
    flipped = answered(tmp_path / "flipped", folds[0], "--cfg-options", "model.test_cfg.inferer.flips=DW")
    for views in (dropped, flipped):
        assert (views.disagreement > 0).all() and not np.allclose(views.p1, plain.p1)
    pd.testing.assert_frame_equal(dropped, answered(tmp_path / "again", folds[0], "--mc-dropout", "8"))


# ---- segmentation ----------------------------------------------------------------------------------------------------


def test_several_segmentors_answer_with_their_mean(tmp_path):
    # The scores times 1 and times -1 are probabilities p and 1 - p: of the mean, 1/2 everywhere, no region is on; times
    # 1 and 3 they agree on the sign.
    paths = {}
    for scale in (1.0, 3.0, -1.0):
        paths[scale] = tmp_path / f"{scale}.pth"
        torch.save({"state_dict": {"backbone.weight": torch.tensor([scale])}}, paths[scale])
    dataset = dict(test_dataloader=overlapping.loader(), test_evaluator=dict(type="SegmentationScores", surface=False))
    overlapping.config(tmp_path / "run", **dataset).dump(tmp_path / "config.py")
    dice = {}
    for scale in (3.0, -1.0):
        out = tmp_path / f"{scale}.json"
        main(["test", str(tmp_path / "config.py"), str(paths[1.0]), str(paths[scale]), "--out", str(out)])
        dice[scale] = json.loads(out.read_text())["dice_pooled"]
    out = tmp_path / "one.json"
    main(["test", str(tmp_path / "config.py"), str(paths[1.0]), "--out", str(out)])
    assert dice[3.0] == json.loads(out.read_text())["dice_pooled"] > 0.5 > dice[-1.0]


@pytest.fixture
def config(tmp_path: Path) -> str:
    """Of levels's segmentor, without a change of grid, and with mirrorings that change nothing."""
    path = tmp_path / "config.py"
    path.write_text("""
model = dict(type="LevelSegmentor", inferer=dict(type="WholeVolume"))
test_dataloader = dict(dataset=dict(type="VolumeSegmentation", pipeline=[
    dict(type="Normalize3D", mean=0.0, std=100.0), dict(type="PackSegmentation")]))
""")
    return str(path)


def test_predict_writes_maps_beside_the_labels(tmp_path, config):
    # Inside the box, 1, levels of 0.5 and 0.9 lead by 2 * 0.5 and 2 * 0.1; outside, 0, by -2 * 0.5 and -2 * 0.9.
    scan = write_scan(tmp_path / "in/a.nii.gz")
    one, other = weights(tmp_path, 0.5), weights(tmp_path, 0.9)
    out = tmp_path / "out"
    command = ["predict", config, one, str(tmp_path / "in"), "-o", str(out), "--uncertainty"]
    main(command)
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.gz")) == [
        "a.nii.gz",
        "uncertainty/a.nii.gz",
    ]
    main([*command, "--ensemble", other, "--overwrite"])
    maps = {kind: read_volume(out / kind / "a.nii.gz") for kind in ("uncertainty", "disagreement")}
    labels = read_label_map(out / "a.nii.gz")
    assert np.array_equal(labels.array, scan.array / 100)
    for place, leads in (((0, 5, 8, 11), (1.0, 0.2)), ((0, 0, 0, 0), (-1.0, -1.8))):
        said = [1 / (1 + np.exp(-lead)) for lead in leads]
        mean = sum(said) / 2
        total = slow.entropy([mean, 1 - mean])
        contradiction = total - sum(slow.entropy([p, 1 - p]) for p in said) / 2
        assert maps["uncertainty"].array[place] == pytest.approx(total, abs=1e-5)
        assert maps["disagreement"].array[place] == pytest.approx(contradiction, abs=1e-5)
    assert all(found.same_grid(scan) for found in maps.values()) and np.allclose(scan.affine, AFFINE)


def test_what_was_labelled_without_maps_is_done_again_for_them(tmp_path, config):
    write_scan(tmp_path / "in/a.nii.gz")
    command = ["predict", config, weights(tmp_path, 0.5), str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    main(command)
    main([*command, "--uncertainty"])
    written = (tmp_path / "out/uncertainty/a.nii.gz").stat().st_mtime_ns
    main([*command, "--uncertainty"])
    assert (tmp_path / "out/uncertainty/a.nii.gz").stat().st_mtime_ns == written


def test_what_cannot_be_asked_is_refused(tmp_path, config, capsys):
    scan = write_scan(tmp_path / "in/a.nii.gz")
    with pytest.raises(ValueError, match="uncertainty=True"):
        Predictor(config, weights(tmp_path, 0.5), device="cpu").assess(scan)
    command = ["predict", config, weights(tmp_path, 0.5), str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    with pytest.raises(SystemExit):
        main([*command, "--mc-dropout", "5"])
    assert "LevelSegmentor has no dropout" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command[:1], "configs/debug/detect.py", *command[2:], "--uncertainty"])
    assert "findings have their scores" in capsys.readouterr().err


def test_the_page_does_what_it_says(tmp_path, config, folds, monkeypatch):
    page = (Path(__file__).parents[1] / "docs/uncertainty.md").read_text()
    for folder in ("configs/debug", "work_dirs/classify", "work_dirs/classify-1", "work_dirs/segment"):
        (tmp_path / folder).mkdir(parents=True)
    noisy_labels(tmp_path / "run", norm="BN").dump(tmp_path / "configs/debug/classify.py")
    shutil.copy(config, tmp_path / "configs/debug/segment.py")
    for path, name in zip(folds, ("classify", "classify-1"), strict=True):
        shutil.copy(path, tmp_path / f"work_dirs/{name}/epoch_15.pth")
    shutil.copy(weights(tmp_path, 0.5), tmp_path / "work_dirs/segment/best_dice.pth")
    write_scan(tmp_path / "scans/case0.nii.gz")
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    for line in block.splitlines():
        _, script, *words = shlex.split(line)
        main([Path(script).stem, *words])
    assert (tmp_path / "answers/uncertainty/case0.nii.gz").is_file()
    assert list(tmp_path.rglob("temperature.json")) and list(tmp_path.rglob("reliability.png"))
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    assert names["uncertainty"].same_grid(names["scan"]) and names["disagreement"] is None
