"""What is watched while a network learns: numbers from within it, pictures, and what is not finite."""

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from overlapping import config as organs
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from vdt3d.engine import PicturesHook, Runner, WatchHook
from vdt3d.registry import HOOKS
from vdt3d.structures import Boxes, DetectionSample, LabelMap, Volume, affine_from_spacing
from vdt3d.visualization import boxes_page, labels_page, read_scalars
from vdt3d.visualization.grid import PALETTE
from vdt3d.visualization.sheets import rgb

ROOT = Path(__file__).resolve().parents[1]
BOARD = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")])


# ---- WatchHook -------------------------------------------------------------------------------------------------------


def looked_at(model: nn.Module, inputs: torch.Tensor, *, steps: int = 1, iteration: int = 49) -> dict[int, dict]:
    """What the hook tells, by iteration, of one that learns the sum of its outputs by SGD at a rate of 0.1."""
    told, optimizer = {}, torch.optim.SGD(model.parameters(), lr=0.1)
    visualizer = SimpleNamespace(add_scalars=lambda scalars, step: told.update({step: scalars}))
    wrapper = SimpleNamespace(optimizer=optimizer)
    hook = WatchHook()
    for number in range(iteration, iteration + steps):
        run = SimpleNamespace(bare_model=model, iter=number, optim_wrapper=wrapper, visualizer=visualizer)
        hook.before_train_iter(run, number)
        model(inputs).sum().backward()
        if number == iteration + steps - 1:  # gradients are accumulated before
            optimizer.step()
            optimizer.zero_grad()
        hook.after_train_iter(run, number)
    assert not model[0]._forward_hooks and not optimizer._optimizer_step_pre_hooks
    return told


def dense() -> nn.Sequential:
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data = torch.eye(2)
    return nn.Sequential(layer)


def test_what_is_told_of_a_layer():
    told = looked_at(dense(), torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
    # Outputs are the inputs 1, 0, 3, 0. Both rows of the weight have the gradient (1 + 3, 0), whose norm is
    # sqrt(32); the step is 0.1 of it, and the weight's norm is sqrt(2).
    assert told == {
        50: {
            "watch/mean/0": pytest.approx(1.0),
            "watch/variance/0": pytest.approx((0 + 1 + 4 + 1) / 3),
            "watch/dead/0": pytest.approx(0.5),  # the second input is always 0
            "watch/gradient/0": pytest.approx(math.sqrt(32)),
            "watch/gradient_norm": pytest.approx(math.sqrt(32)),
            "watch/update/0": pytest.approx(0.1 * 4),
        }
    }


def test_gradients_of_an_accumulation_come_with_its_step():
    told = looked_at(dense(), torch.tensor([[1.0, 0.0]]), steps=2)
    assert [sorted(name.split("/")[1] for name in told[step]) for step in (50, 51)] == [
        ["dead", "mean", "variance"],
        ["gradient", "gradient_norm", "update"],
    ]
    assert told[51]["watch/gradient_norm"] == pytest.approx(2 * math.sqrt(2))  # twice the gradient of one


def test_channels_of_volumes_that_never_fire():
    model = nn.Sequential(nn.Conv3d(4, 2, 1))
    inputs = torch.zeros(2, 4, 3, 3, 3)
    inputs[1, 0, 2, 2, 2], inputs[:, 1] = 1.0, 1.0
    assert looked_at(model, inputs)[50]["watch/dead/0"] == pytest.approx(0.5)


def test_between_the_looks_nothing_is_told():
    assert looked_at(dense(), torch.ones(1, 2), iteration=48) == {}


def test_a_run_is_the_same_with_and_without(tmp_path: Path):
    tiny.train(tiny.config(tmp_path / "without", epochs=2))
    hook = dict(type="WatchHook", interval=3)
    tiny.train(tiny.config(tmp_path / "with", epochs=2, hooks=(hook,), visualizer=BOARD))
    assert tiny.same_run(tmp_path / "without/epoch_2.pth", tmp_path / "with/epoch_2.pth") == []
    table = read_scalars(tmp_path / "with")
    watched = table[table["name"].str.startswith("watch/")]
    assert sorted(watched["step"].unique()) == [3, 6]
    assert {name.split("/", 2)[2] for name in watched["name"] if name.count("/") > 1} == {
        "backbone.conv",
        "backbone.norm",
        "head.fc",
    }
    (events,) = (tmp_path / "with").rglob("events.out.tfevents.*")
    board = EventAccumulator(str(events)).Reload()
    assert [event.step for event in board.Scalars("watch/update/head.fc")] == [3, 6]


# ---- NonFiniteHook ---------------------------------------------------------------------------------------------------


@HOOKS.register_module()
class PoisonHook(Hook):
    """Makes something not finite in the fourth iteration: ``what`` the network is fed, its weights, or what it does."""

    def __init__(self, what: str):
        self.what = what

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        if runner.iter == 3 and self.what == "input":
            data_batch["inputs"][1][0, 2, 3, 4] = math.nan
        elif runner.iter == 3 and self.what == "layer":
            runner.model.head.fc.weight.data.fill_(3e38)  # finite, but not times a sum of features

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if runner.iter == 2 and self.what == "weights":
            runner.model.backbone.norm.weight.data[3] = math.inf


def poisoned(folder: Path, what: str, **settings) -> tuple[str, dict]:
    """The error a run ends with, and the batch it kept."""
    hooks = (dict(type="NonFiniteHook"), dict(type="PoisonHook", what=what))
    with pytest.raises(FloatingPointError) as stopped:
        tiny.train(tiny.config(folder, hooks=hooks, **settings))
    return str(stopped.value), tiny.saved(folder / "non_finite_batch.pth")


def test_a_scan_with_nan_is_named(tmp_path: Path):
    error, batch = poisoned(tmp_path, "input")
    assert f"what the network is fed is not finite in {batch['cases'][1]}. The cases" in error
    assert ", ".join(batch["cases"]) in error and error.startswith("iteration 4 is not finite (loss nan)")
    assert batch["inputs"].shape == (2, 1, 4, 6, 6)
    assert batch["inputs"].isnan().nonzero().tolist() == [[1, 0, 2, 3, 4]]
    assert [target["gt_label"].tolist() for target in batch["targets"]] == [
        [int(name.split()[1]) % 2] for name in batch["cases"]
    ]


def test_the_layer_it_begins_in_is_named(tmp_path: Path):
    error, batch = poisoned(tmp_path, "layer")
    assert "it begins in head.fc (Linear), whose inputs and weights are" in error
    assert batch["inputs"].isfinite().all() and batch["iter"] == 3


def test_weights_are_blamed_on_the_batch_before(tmp_path: Path):
    error, batch = poisoned(tmp_path, "weights")
    assert "the weights of backbone.norm (BatchNorm3d) are not finite since the last step" in error
    order = tiny.config(tmp_path / "order", epochs=1)
    runner = Runner.from_cfg(order)
    third = list(runner.train_dataloader)[2]["data_samples"]
    assert batch["cases"] == [sample.sample_name for sample in third]


def test_weights_are_looked_at_before_they_are_saved(tmp_path: Path):
    error, _ = poisoned(tmp_path, "weights", iterations=8)  # a checkpoint every three
    assert "backbone.norm (BatchNorm3d) are not finite since the last step" in error
    assert "(weights)" in error
    assert list(tmp_path.glob("iter_*.pth")) == []


def test_what_is_finite_is_left_alone(tmp_path: Path):
    tiny.train(tiny.config(tmp_path / "without", epochs=1))
    tiny.train(tiny.config(tmp_path / "with", epochs=1, hooks=(dict(type="NonFiniteHook"),)))
    assert tiny.same_run(tmp_path / "without/epoch_1.pth", tmp_path / "with/epoch_1.pth") == []


# ---- pictures --------------------------------------------------------------------------------------------------------


def test_a_page_at_each_validation(tmp_path: Path):
    hook = dict(type="PicturesHook", cases=3)
    tiny.train(tiny.config(tmp_path, epochs=2, hooks=(hook,), visualizer=BOARD))
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["epoch_1.png", "epoch_2.png"]
    (events,) = tmp_path.rglob("events.out.tfevents.*")
    board = EventAccumulator(str(events)).Reload()
    assert [event.step for event in board.Images("pictures")] == [1, 2]
    assert list(tmp_path.rglob("vis_image/*")) == []
    with Image.open(tmp_path / "pictures/epoch_1.png") as picture:
        assert picture.height > 3 * 100  # three rows


def test_a_page_of_labels(tmp_path: Path):
    Runner.from_cfg(organs(tmp_path, custom_hooks=[dict(type="PicturesHook", cases=2)])).val()
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["epoch_0.png"]
    scores = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert len(scores) == 1


def test_truth_is_filled_and_the_prediction_outlined():
    labels, said = np.zeros((2, 1, 4, 5, 5), np.uint8)
    labels[0, 1], said[0, 2, 1:4, 1:4] = 1, 1
    volume = Volume(np.zeros((1, 4, 5, 5), np.float32))
    figure = labels_page([volume], [LabelMap(labels)], [LabelMap(said)], {"organ": 1}, names=["a"], slices=2)
    second, third = (axes.images[0].get_array() for axes in figure.axes)  # the first and the last are empty
    colour = np.array(rgb(PALETTE[0]))
    assert np.allclose(second, 0.4 * colour)
    assert np.allclose(third[1, 1:4], colour) and np.allclose(third[2, 2], 0) and np.allclose(third[0], 0)
    with pytest.raises(ValueError, match=r"a: labels \(4, 5, 5\) do not lie"):
        labels_page([Volume(np.zeros((1, 4, 5, 6)))], [None], [LabelMap(said)], {"organ": 1}, names=["a"])


def test_true_boxes_and_the_surest_found_are_framed():
    affine = affine_from_spacing((2.0, 1.0, 1.0))
    volume = Volume(np.zeros((1, 5, 20, 20), np.float32), affine)
    truth = Boxes([[1, 2, 3, 2, 8, 9]], affine=affine)
    # On a grid of half the step in height and width; the fourth is not among the surest three.
    fine = affine_from_spacing((2.0, 0.5, 0.5))
    found = Boxes([[1, 20, 20, 2, 30, 30], [3, 0, 0, 4, 6, 6], [1, 0, 0, 2, 6, 6], [1, 30, 30, 2, 38, 38]], affine=fine)
    figure = boxes_page([volume], [truth], [found], [np.array([0.9, 0.8, 0.7, 0.6])], names=["a"])
    plain, framed = (axes.images[0].get_array() for axes in figure.axes)
    assert not plain.any()
    green, orange = rgb(PALETTE[2]), rgb(PALETTE[0])
    assert np.allclose(framed[2, 3:9], green) and np.allclose(framed[2:8, 8], green) and not framed[4, 5].any()
    for corner, colour in {(7, 3): green, (1, 3): (0, 0, 0), (0, 0): orange, (2, 2): orange}.items():
        assert np.allclose(framed[corner], colour), corner
    assert not framed[15:].any()


def test_a_page_of_windows_in_which_nothing_is_found(tmp_path: Path):
    grid = ((3, 8, 8), affine_from_spacing((1.0, 1.0, 1.0)))
    sample = DetectionSample(metainfo=dict(sample_name="a", group="a", grid=grid, reference=None))
    sample.pred_boxes, sample.pred_scores = Boxes(np.zeros((0, 6))), np.zeros(0)
    hook, shown = PicturesHook(cases=3), []
    for _ in range(2):  # two batches of two
        hook.after_val_iter(None, 0, {"inputs": [torch.zeros(1, 3, 8, 8)] * 2}, [sample] * 2)
    assert len(hook._kept) == 3
    backend = SimpleNamespace(add_image=lambda name, image, step: shown.append((name, image.ndim, step)))
    loader = SimpleNamespace(dataset=SimpleNamespace(metainfo={}))
    board = SimpleNamespace(_vis_backends={"board": backend})
    run = SimpleNamespace(by_iterations=True, iter=40, work_dir=tmp_path, val_dataloader=loader, visualizer=board)
    hook.after_val_epoch(run)
    assert shown == [("pictures", 3, 40)] and (tmp_path / "pictures/iter_40.png").is_file()


def test_another_answer_is_refused(tmp_path: Path):
    class Answer(dict):
        pass

    hook = PicturesHook()
    hook._kept = [(torch.zeros(1, 2, 2, 2), Answer(points=1))]
    loader = SimpleNamespace(dataset=SimpleNamespace(metainfo={}))
    run = SimpleNamespace(by_iterations=False, epoch=1, work_dir=tmp_path, val_dataloader=loader)
    with pytest.raises(ValueError, match=r"the model answered \['points'\]"):
        hook.after_val_epoch(run)


def test_the_config_of_the_guide_holds(tmp_path: Path):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    block = re.search(r"```python\n(.*?)```", (ROOT / "docs/training.md").read_text(), re.DOTALL).group(1)
    (tmp_path / "my_watched.py").write_text(block)
    watched = Config.fromfile(tmp_path / "my_watched.py", lazy_import=False)
    hooks = [HOOKS.build(hook) for hook in watched.custom_hooks]
    assert [type(hook) for hook in hooks] == [WatchHook, PicturesHook]
    assert watched.model.type == "VolumeClassifier"
