"""Regularisers by config: what each does to a network, by hand, and that a stop and a resume change none of it."""

import logging
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from vdt3d.engine import (
    DefaultOptimWrapperConstructor,
    EarlyStopHook,
    LayerDecayConstructor,
    PenaltyHook,
    UnfreezeHook,
)
from vdt3d.engine.config import read_config
from vdt3d.evaluation import ClassificationScores
from vdt3d.models.backbones.layer_order import layer_order, part_of
from vdt3d.models.classifiers.batch_mixing import CutMix3D
from vdt3d.models.layers import GaussianNoise, SpatialDropout, insert_layers
from vdt3d.registry import HOOKS, MODELS

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "configs/regularisers").glob("*.py"))
RESNET = dict(type="ResNet3D", depth=10, base_channels=4)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Dense(BaseModel):
    """One layer of known weights, whose loss is the sum of what it gives."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.layer.weight.data = torch.tensor([[1.0, -2.0], [3.0, 0.0]])
        self.layer.bias.data = torch.tensor([5.0, 5.0])

    def forward(self, inputs: Tensor, data_samples=None, mode: str = "loss") -> dict[str, Tensor]:
        return {"loss": self.layer(inputs).sum()}


def a_run(model: nn.Module, **facts) -> SimpleNamespace:
    """What hooks ask a runner for."""
    hub = SimpleNamespace(runtime_info={})
    hub.update_info = hub.runtime_info.__setitem__
    evaluator = SimpleNamespace(metrics=[ClassificationScores()])
    common = dict(model=model, bare_model=model, by_iterations=False, training=True, cfg={}, message_hub=hub)
    common["val_loop"] = SimpleNamespace(evaluator=evaluator)
    return SimpleNamespace(**common, logger=logging.getLogger("test"), **facts)


# ---- layers within a model -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 64, 3, 3, 3), (2, 64, 3, 3), (2, 64, 1)])
def test_spatial_dropout_takes_whole_channels(shape: tuple[int, ...]):
    torch.manual_seed(0)
    layer, ones = SpatialDropout(0.5), torch.ones(shape)
    dropped = layer(ones).flatten(2)
    assert (dropped == dropped[..., :1]).all()
    assert set(dropped.unique().tolist()) == {0.0, 2.0}  # what is kept is scaled by 1 / (1 - 0.5)
    assert 30 < (dropped[..., 0] > 0).sum() < 98  # of 128, six standard deviations about 64
    assert torch.equal(layer.eval()(ones), ones)


def test_noise_has_the_deviation_it_says():
    torch.manual_seed(0)
    layer, zeros = GaussianNoise(0.3), torch.zeros(40000)
    noise = layer(zeros)
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)  # its own deviation is 0.35 %
    assert abs(noise.mean().item()) < 0.01
    assert torch.equal(layer.eval()(zeros), zeros)
    with pytest.raises(ValueError, match="std=-1"):
        GaussianNoise(-1)


def test_layers_are_put_before_and_after_modules():
    torch.manual_seed(0)
    model = MODELS.build(RESNET)
    keys, image = list(model.state_dict()), torch.rand(2, 1, 3, 16, 16)
    plain = model.eval()(image)[0]
    layers = [
        dict(after="layer4", type="SpatialDropout", drop_prob=0.5),
        dict(before="conv*", type="GaussianNoise", std=0.0),
    ]
    insert_layers(model, layers)
    assert torch.equal(model(image)[0], plain)
    model.inserted.train()
    means = model(image)[0].flatten(2).mean(2)
    assert 0 < (means == 0).sum() < means.numel()
    torch.testing.assert_close(means[means > 0], 2 * plain.flatten(2).mean(2)[means > 0])
    assert list(model.state_dict()) == keys
    assert [type(layer) for layer in model.inserted] == [SpatialDropout, GaussianNoise]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (dict(after="layr4", type="Dropout"), "no module is called 'layr4'; near are layer4"),
        (dict(type="Dropout"), "either before or after"),
        (dict(after="layer4", before="layer4", type="Dropout"), "either before or after"),
        (dict(after="layer4", type="BN3d", num_features=4), "BN3d has weights"),
    ],
)
def test_a_layer_that_cannot_be_put_there(layer: dict, message: str):
    with pytest.raises(ValueError, match=message):
        insert_layers(MODELS.build(RESNET), [layer])


def test_layers_behind_what_gives_several_maps():
    model = nn.ModuleDict({"backbone": MODELS.build(RESNET | dict(out_indices=(2, 3)))})
    insert_layers(model, [dict(after="backbone", type="Dropout", drop_prob=1.0)])
    assert [maps.abs().max().item() for maps in model["backbone"](torch.rand(2, 1, 3, 16, 16))] == [0, 0]


# ---- penalties -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("norm", "penalty"), [(1, 6.0), (2, 14.0)])  # 1 + 2 + 3 + 0; 1 + 4 + 9 + 0
def test_weights_are_penalised_and_biases_are_not(norm: int, penalty: float):
    model, hook = Dense(), PenaltyHook(norm, 0.1, weights="layer.*")
    hook.before_train(a_run(model))
    losses = model(torch.zeros(3, 2))
    assert losses[f"loss_l{norm}_weights"].item() == pytest.approx(0.1 * penalty)
    total, _ = model.parse_losses(losses)
    assert total.item() == pytest.approx(30 + 0.1 * penalty)  # three times both biases
    losses[f"loss_l{norm}_weights"].backward()
    slope = model.layer.weight.sign() if norm == 1 else 2 * model.layer.weight
    assert torch.allclose(model.layer.weight.grad, 0.1 * slope)
    assert list(model.eval()(torch.zeros(3, 2))) == ["loss"]
    hook.after_train(None)
    assert list(model.train()(torch.zeros(3, 2))) == ["loss"]


def test_activations_are_penalised_by_their_mean():
    model, hook = Dense(), PenaltyHook(2, 0.5, activations="layer")
    hook.before_train(a_run(model))
    # (1, 1) gives 1 - 2 + 5 = 4 and 3 + 0 + 5 = 8: the mean of 16 and 64 is 40.
    assert model(torch.ones(1, 2))["loss_l2_activations"].item() == pytest.approx(0.5 * 40)
    assert model(torch.ones(1, 2))["loss_l2_activations"].item() == pytest.approx(0.5 * 40)  # nothing piles up


def test_penalties_that_cannot_be():
    with pytest.raises(ValueError, match="either of weights or"):
        PenaltyHook(1, 0.1)
    with pytest.raises(ValueError, match="norm=3"):
        PenaltyHook(3, 0.1, weights="*")
    with pytest.raises(ValueError, match=r"no weight is called 'head.\*'; near are layer.weight"):
        PenaltyHook(1, 0.1, weights="head.*").before_train(a_run(Dense()))


# ---- what learns, and how fast ---------------------------------------------------------------------------------------


def learning(model: nn.Module) -> set[str]:
    """The children of the backbone with a gradient, and the head where it has one."""
    names = [name.split(".") for name, parameter in model.named_parameters() if parameter.requires_grad]
    return {parts[1] if parts[0] == "backbone" else parts[0] for parts in names}


def classifier(**backbone) -> nn.Module:
    head = dict(type="LinearClsHead", num_classes=2)
    neck = dict(type="GlobalAveragePooling", dim=3)
    return MODELS.build(dict(type="VolumeClassifier", backbone=RESNET | backbone, neck=neck, head=head))


def test_a_backbone_joins_from_its_end():
    model, hook = classifier(frozen_stages=1), UnfreezeHook(every=2)
    run = a_run(model, epoch=0)
    hook.before_train(run)
    seen = []
    for run.epoch in range(12):
        model.train()
        hook.before_train_iter(run, 0)
        seen.append(learning(model))
        assert model.backbone.layer4[0].bn2.training == (run.epoch >= 2)
    head, stages = {"head"}, ["layer4", "layer3", "layer2"]
    expected = [head, *(head | set(stages[:count]) for count in (1, 2, 3, 3, 3))]  # the config froze stem and layer1
    assert seen == [parts for parts in expected for _ in range(2)]


def test_a_backbone_may_stay_as_it_is_and_is_free_afterwards():
    model, hook = classifier(), UnfreezeHook(every=None)
    run = a_run(model, epoch=1000)
    hook.before_train(run)
    hook.before_train_iter(run, 0)
    assert learning(model) == {"head"}
    hook.after_train(run)
    assert learning(model) == {"head", "conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}


def test_rates_shrink_towards_the_input():
    settings = dict(optimizer=dict(type="SGD", lr=8.0, weight_decay=0.5))
    wrapper = LayerDecayConstructor(settings, dict(layer_decay=0.5, norm_decay_mult=0.0))(model := classifier())
    groups = {id(group["params"][0]): group for group in wrapper.optimizer.param_groups}
    parts = {name: groups[id(parameter)] for name, parameter in model.named_parameters()}
    # Five parts: the stem has 8 x 0.5^5.
    expected = {"head.fc": 8, "layer4": 4, "layer3": 2, "layer2": 1, "layer1": 0.5, "conv1": 0.25, "bn1": 0.25}
    for name, group in parts.items():
        (wanted,) = [rate for key, rate in expected.items() if key in name.replace("backbone.", "").split(".0.")[0]]
        assert group["lr"] == wanted, name
    assert parts["backbone.conv1.weight"]["weight_decay"] == 0.5
    assert parts["backbone.bn1.weight"]["weight_decay"] == 0.0


def test_custom_keys_replace_only_the_rules_they_set():
    optimizer = dict(optimizer=dict(type="SGD", lr=8.0, weight_decay=0.5))
    keys = {
        "backbone": dict(lr_mult=0.25),
        "backbone.layer1": dict(decay_mult=4.0),
        "fc": dict(lr_mult=2, momentum=0.5),
    }
    rules = dict(norm_decay_mult=0.0, bias_lr_mult=3.0, bias_decay_mult=0.1, custom_keys=keys)
    model = classifier()
    groups = DefaultOptimWrapperConstructor(optimizer, rules)(model).optimizer.param_groups
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {names[group["params"][0]]: (group["lr"], group["weight_decay"]) for group in groups}
    assert found["backbone.conv1.weight"] == (2.0, 0.5)
    assert found["backbone.bn1.weight"] == (2.0, 0.0)  # the key has no decay: that of norms stays
    assert found["backbone.layer1.0.conv1.weight"] == (8.0, 2.0)
    assert found["backbone.layer1.0.bn1.weight"] == (8.0, 2.0)  # the key has a decay
    assert found["head.fc.weight"] == (16.0, 0.5)
    assert found["head.fc.bias"] == (16.0, pytest.approx(0.05))
    assert {group["momentum"] for group in groups if "fc" in names[group["params"][0]]} == {0.5}


def test_keys_without_a_parameter_are_refused():
    for constructor, more in ((DefaultOptimWrapperConstructor, {}), (LayerDecayConstructor, dict(layer_decay=0.5))):
        settings = dict(optimizer=dict(type="SGD", lr=1.0, weight_decay=0.5))
        with pytest.raises(ValueError, match=r"'backbon_'.*'backbone'"):
            constructor(settings, dict(custom_keys={"backbon_": dict(lr_mult=0.1)}, **more))(classifier())
        with pytest.raises(ValueError, match="dwconv_decay_mult"):
            constructor(settings, dict(dwconv_decay_mult=0.0, **more))(classifier())
    with pytest.raises(ValueError, match=r"optimizer\.lr"):
        LayerDecayConstructor(dict(optimizer=dict(type="AdamW")), dict(layer_decay=0.5))


@pytest.mark.parametrize(
    ("backbone", "parts", "last"),
    [
        (dict(type="P3D", depth="18ba", base_channels=32), 5, "layer4"),
        (dict(type="ViT3D", img_size=32, embed_dims=8, depth=3, num_heads=2, out_indices=(2,)), 4, "blocks.2"),
        (dict(type="Swin3D", embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1)), 8, "features.7"),
        (dict(type="VideoSwin", embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1)), 8, "features.6"),
    ],
)
def test_backbones_tell_the_order_of_their_layers(backbone: dict, parts: int, last: str):
    model = nn.ModuleDict({"backbone": MODELS.build(backbone)})
    order = layer_order(model)
    assert (len(order), order[-1]) == (parts, (f"backbone.{last}",))
    places = [part_of(name, order) for name, _ in model.named_parameters()]
    assert set(range(parts)) <= set(places)  # none is empty, and torch registers them in this order
    assert [place for place in places if place < parts] == sorted(place for place in places if place < parts)


def test_a_backbone_that_does_not_tell_is_named():
    with pytest.raises(ValueError, match="TinyBackbone does not tell the order"):
        UnfreezeHook(1).before_train(a_run(nn.ModuleDict({"backbone": MODELS.build(dict(type="TinyBackbone"))})))
    with pytest.raises(ValueError, match="layer_decay=None"):
        LayerDecayConstructor(dict(optimizer=dict(type="SGD", lr=1.0)))


# ---- mixed batches ---------------------------------------------------------------------------------------------------


def test_cutmix_labels_are_the_shares_of_volume():
    np.random.seed(0)
    torch.manual_seed(0)
    # Every voxel of volume i is i: what a volume holds of each tells its label.
    volumes = torch.arange(4.0).view(4, 1, 1, 1, 1).expand(4, 1, 6, 7, 8)
    shares = []
    for _ in range(30):
        mixed, labels = CutMix3D(1.0)(volumes, torch.eye(4))
        found = torch.stack([(mixed == value).flatten(1).float().mean(1) for value in range(4)], dim=1)
        torch.testing.assert_close(labels.float(), found)
        cut = (mixed[:, 0] != volumes[:, 0]).any(0).nonzero()
        if len(cut):  # a box
            assert len(cut) == (cut.max(0).values - cut.min(0).values + 1).prod()
        shares.append(len(cut) / (6 * 7 * 8))
    assert 0.05 < np.mean(shares) < 0.6 and max(shares) > 0.3
    assert (volumes.flatten(1) == torch.arange(4.0)[:, None]).all()  # what came in is as it was


def test_a_mixed_batch_has_mixed_labels(monkeypatch: pytest.MonkeyPatch):
    model = classifier()
    augments = dict(augments=dict(type="Mixup", alpha=1.0), probs=[1.0])
    mixing = classifier().__class__(model.backbone, model.neck, model.head, train_cfg=augments)
    assert augments["probs"] == [1.0]  # the config is as it was
    monkeypatch.setattr(np.random, "beta", lambda *_: 0.25)
    monkeypatch.setattr(torch, "randperm", lambda count: torch.arange(count).flip(0))
    seen = {}
    monkeypatch.setattr(mixing.head, "loss", lambda feats, samples: seen.update(samples=samples) or {})
    features = []
    monkeypatch.setattr(mixing, "extract_feat", features.append)
    samples = [DataSample().set_gt_label(label) for label in (0, 1)]
    mixing.loss(torch.tensor([0.0, 8.0]).view(2, 1, 1, 1, 1), samples)
    assert features[0].flatten().tolist() == [6.0, 2.0]  # 0.25 x 0 + 0.75 x 8, and the other way round
    assert [sample.gt_score.tolist() for sample in seen["samples"]] == [[0.25, 0.75], [0.75, 0.25]]
    assert [list(sample.keys()) for sample in samples] == [["gt_label"], ["gt_label"]]


# ---- when to stop, and what to keep ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("monitor", "settings", "scores", "after"),
    [
        ("auc", {}, (0.5, 0.6, 0.6, 0.6, 0.9), 4),  # equal is not better
        ("auc", dict(min_delta=0.2), (0.5, 0.6, 0.69, 0.9), 3),  # 0.6 and 0.69 are too little more than 0.5
        ("auc", {}, (0.5, math.nan, 0.6, math.nan, math.nan), 5),
        ("log_loss", {}, (0.5, 0.4, 0.45, 0.41, 0.1), 4),  # less is better
        ("cost", dict(rule="less"), (5.0, 4.0, 3.0, 2.0, 1.0), None),
    ],
)
def test_a_run_stops_after_two_validations_in_vain(monitor: str, settings: dict, scores: tuple, after: int | None):
    run = a_run(None, train_loop=SimpleNamespace(stop_training=False))
    stopped = None
    for number, score in enumerate(scores, start=1):
        EarlyStopHook(monitor, patience=2, **settings).after_val_epoch(run, {monitor: score})  # resumed every time
        if run.train_loop.stop_training and stopped is None:
            stopped = number
    assert stopped == after


def test_an_unknown_score_cannot_stop_a_run():
    with pytest.raises(ValueError, match=r"monitor='dice' .* auc"):
        EarlyStopHook("dice").after_val_epoch(a_run(None), {"auc": 0.5})


def test_a_stopped_run_stays_stopped(tmp_path: Path):
    hook = dict(type="EarlyStopHook", monitor="accuracy", patience=1, min_delta=2.0)  # no accuracy is that much better
    assert tiny.train(tiny.config(tmp_path, hooks=(hook,))).epoch == 2
    assert tiny.train(tiny.config(tmp_path, hooks=(hook,)), resume=True).epoch == 2
    assert tiny.train(tiny.config(tmp_path, hooks=(dict(hook, patience=2),)), resume=True).epoch == 3


@HOOKS.register_module()
class KeepWeights(Hook):
    """Remembers the weights of the head behind every iteration."""

    kept: list[Tensor] = []

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self.kept.append(runner.model.head.fc.weight.detach().clone())


def quiet(folder: Path, **changes) -> Config:
    """A tiny run without noise in its volumes."""
    settings = tiny.config(folder, **changes)
    settings.train_dataloader.dataset.noise = 0.0
    return settings


def test_swa_keeps_the_mean_of_the_last_weights_and_statistics_of_its_own(tmp_path: Path):
    KeepWeights.kept.clear()
    hooks = (dict(type="SWAHook", begin_epoch=3), dict(type="KeepWeights"))
    runner = tiny.train(quiet(tmp_path, hooks=hooks))
    saved = tiny.saved(tmp_path / "epoch_4.pth")
    mean = torch.stack(KeepWeights.kept[8:]).mean(0)  # epochs 3 and 4 of four iterations
    torch.testing.assert_close(saved["state_dict"]["head.fc.weight"], mean, rtol=1e-4, atol=1e-6)
    assert torch.equal(saved["ema_state_dict"]["module.head.fc.weight"], KeepWeights.kept[-1])
    # The mean over equal batches is the mean over all volumes.
    averaged = runner.bare_model.__class__(**{k: v for k, v in runner.cfg.model.items() if k != "type"})
    averaged.load_state_dict(saved["state_dict"])
    volumes = torch.stack([runner.train_dataloader.dataset.dataset[index]["inputs"] for index in range(8)])
    seen = averaged.backbone.conv(volumes).mean((0, 2, 3, 4))
    torch.testing.assert_close(averaged.backbone.norm.running_mean, seen, rtol=1e-4, atol=1e-5)
    moved = saved["ema_state_dict"]["module.backbone.norm.running_mean"]
    assert (moved - averaged.backbone.norm.running_mean).abs().max() > 1e-3  # those of the weights that moved


RESUMED = {
    "swa": dict(hooks=(dict(type="SWAHook", begin_epoch=2),)),
    "layers": dict(
        hooks=(
            dict(
                type="InsertHook",
                layers=[
                    dict(after="neck", type="Dropout", drop_prob=0.5),
                    dict(before="backbone", type="GaussianNoise", std=0.1),
                ],
            ),
            dict(type="PenaltyHook", norm=1, scale=1e-3, weights="*"),
            dict(type="PenaltyHook", norm=2, scale=1e-3, activations="backbone"),
        )
    ),
}


@pytest.mark.parametrize("name", RESUMED)
def test_a_stop_changes_nothing(name: str, tmp_path: Path):
    tiny.train(tiny.config(tmp_path / "whole", **RESUMED[name]))
    tiny.train(tiny.config(tmp_path / "parts", epochs=3, **RESUMED[name]))
    tiny.train(tiny.config(tmp_path / "parts", **RESUMED[name]), resume=True)
    assert tiny.same_run(tmp_path / "whole/epoch_4.pth", tmp_path / "parts/epoch_4.pth") == []


def test_a_stop_changes_nothing_where_parts_join_and_batches_are_mixed(tmp_path: Path):
    hook = dict(type="UnfreezeHook", every=1)

    def settings(folder: Path, epochs: int) -> Config:
        made = tiny.config(folder, epochs=epochs, hooks=(hook,))
        made.model.backbone = RESNET
        made.model.head.in_channels = 32
        made.model.train_cfg = dict(augments=[dict(type="Mixup", alpha=0.4), dict(type="CutMix3D", alpha=1.0)])
        return made

    tiny.train(settings(tmp_path / "whole", 4))
    tiny.train(settings(tmp_path / "parts", 2))
    tiny.train(settings(tmp_path / "parts", 4), resume=True)
    assert tiny.same_run(tmp_path / "whole/epoch_4.pth", tmp_path / "parts/epoch_4.pth") == []
    first, last = (tiny.saved(tmp_path / f"whole/epoch_{n}.pth")["state_dict"] for n in (1, 4))
    changed = {key.split(".")[1] for key in first if not torch.equal(first[key], last[key])} - {"fc"}
    assert changed == {"layer2", "layer3", "layer4"}  # in epoch 4 three parts have joined


# ---- configs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.stem.startswith("classify")], ids=lambda p: p.stem)
def test_a_config_trains_with_its_regulariser(path: Path, tmp_path: Path):
    config = read_config(path)
    plain = tiny.config(tmp_path)
    for name in ("train_dataloader", "val_dataloader", "val_evaluator", "test_evaluator", "default_hooks", "work_dir"):
        config[name] = plain[name]
    config.train_cfg, config.load_from, config.visualizer = dict(by_epoch=True, max_epochs=1), None, None
    for hook in config.get("custom_hooks", []):
        if "begin_epoch" in hook:
            hook.begin_epoch = 1
    config.model.backbone.update(base_channels=4)
    config = Config(config.to_dict(), format_python_code=False)
    runner = tiny.train(config)
    assert runner.iter == 4
    assert all(np.isfinite(runner.message_hub.get_scalar("train/loss").data[0]))


def test_every_config_stands_in_the_guide():
    guide = (ROOT / "docs/training.md").read_text()
    assert len(CONFIGS) == 17
    assert [path.stem for path in CONFIGS if f"`{path.stem}`" not in guide] == []
