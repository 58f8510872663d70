"""Settings of a run: each unknown, mistyped or contradictory one is refused in one line, before the first step."""

from pathlib import Path

import pytest
import tiny
import torch
from mmengine.registry import RUNNERS
from mmengine.runner import Runner as MMRunner

from medseg.models.losses import build_loss
from vdt3d.cli import message_of
from vdt3d.engine import Runner
from vdt3d.registry import METRICS, MODELS

EARLY_STOP = dict(type="EarlyStopHook", monitor="auc")
# Settings merged into the config of tests/tiny.py, and what the message must contain.
WRONG = [
    (dict(randomness=dict(sed=3)), ["randomness", "sed", "'seed'"]),
    (dict(randomness=dict(seed="x")), ["randomness.seed='x'"]),
    (dict(randomness=3), ["randomness=3"]),
    (dict(env_cfg=dict(cudnn_benchmak=True)), ["env_cfg", "'cudnn_benchmark'"]),
    (dict(env_cfg=dict(mp_cfg=dict(mp_start_metod="fork"))), ["env_cfg.mp_cfg", "'mp_start_method'"]),
    (dict(env_cfg=dict(dist_cfg=3)), ["env_cfg.dist_cfg=3"]),
    (dict(log_level="INF"), ["log_level='INF'", "'INFO'"]),
    (dict(default_scope="vdt"), ["default_scope='vdt'", "'vdt3d'"]),
    (dict(inflate="i2d"), ["inflate='i2d'", "'i3d'"]),
    (dict(min_matched=7), ["min_matched=7"]),
    (dict(channels_last="yes"), ["channels_last='yes'"]),
    (dict(compile=3), ["compile=3"]),
    (dict(load_from=3), ["load_from=3"]),
    (dict(load_from="nowhere.pth"), ["nowhere.pth"]),
    (dict(loadfrom="a.pth"), ["loadfrom", "'load_from'"]),
    (dict(optim_wraper=dict(clip_grad=dict(max_norm=1))), ["optim_wraper", "'optim_wrapper'"]),
    (dict(model=None), ["model=None"]),
    (dict(model=dict(type="VolumeClasifier")), ["model", "VolumeClasifier", "'VolumeClassifier'"]),
    (dict(model=dict(head=None)), ["model.head=None"]),
    (dict(model=dict(hed=dict())), ["model", "hed", "'head'"]),
    (
        dict(model=dict(backbone=dict(_delete_=True, type="ResNet3D", depth=18, depth_stride="many"))),
        ["model.backbone.depth_stride='many'"],
    ),
    (dict(model=dict(backbone=dict(_delete_=True, type="ResNet3D", depht=18))), ["model.backbone", "'depth'"]),
    (dict(model=dict(backbone=dict(nrm="BN"))), ["TinyBackbone", "nrm", "'norm'"]),
    (dict(model=dict(head=dict(in_channels=99))), ["model.head.fc", "99x2"]),
    (
        dict(model=dict(head=dict(loss=dict(type="CrossEntropyLoss", class_weight=[1.0, 2.0, 3.0])))),
        ["loss_module", "[3]"],
    ),
    (dict(model=dict(head=dict(num_classes=1))), ["2 classes", "model.head.num_classes=2"]),
    (dict(train_dataloader=dict(batch_size=0)), ["train_dataloader.batch_size=0"]),
    (dict(train_dataloader=dict(batch_size="4")), ["train_dataloader.batch_size='4'"]),
    (dict(train_dataloader=dict(num_workers=-1)), ["train_dataloader.num_workers=-1"]),
    (dict(train_dataloader=dict(batchsize=3)), ["train_dataloader", "'batch_size'"]),
    (dict(train_dataloader=dict(dataset=dict(lenth=3))), ["train_dataloader.dataset", "'length'"]),
    (dict(train_dataloader=dict(dataset=dict(pipeline=[dict(type="Resize3")]))), ["pipeline[0]", "'Resize3D'"]),
    (dict(train_dataloader=dict(sampler=dict(shufle=True))), ["train_dataloader.sampler", "'shuffle'"]),
    (dict(train_dataloader=dict(sampler=None)), ["train_dataloader.sampler=None"]),
    (dict(val_dataloader=None), ["val_cfg", "val_dataloader"]),
    (dict(val_evaluator=dict(type="ClassificationScore")), ["val_evaluator", "'ClassificationScores'"]),
    (dict(val_evaluator=dict(treshold=0.5)), ["val_evaluator", "'threshold'"]),
    (dict(val_evaluator=dict(threshold=1.5)), ["threshold", "1.5"]),
    (dict(val_evaluator=dict(threshold="choose"), model=dict(head=dict(num_classes=3))), ["threshold='choose'", "3"]),
    (dict(test_evaluator=dict(resample=3)), ["test_evaluator", "'resamples'"]),
    (dict(test_dataloader=dict(dataset=dict(type="TinyVolume"))), ["test_dataloader.dataset", "'TinyVolumes'"]),
    (dict(optim_wrapper=dict(optimizer=dict(type="Adamw"))), ["optim_wrapper.optimizer", "'AdamW'"]),
    (dict(optim_wrapper=dict(optimizer=dict(lr="fast"))), ["optim_wrapper.optimizer.lr='fast'"]),
    (dict(optim_wrapper=dict(optimizer=dict(lr=-1.0))), ["optim_wrapper.optimizer.lr=-1.0"]),
    (dict(optim_wrapper=dict(optimizer=None)), ["optim_wrapper.optimizer=None"]),
    (dict(optim_wrapper=dict(type="AMPOptimWrapper")), ["optim_wrapper", "'AmpOptimWrapper'"]),
    (dict(optim_wrapper=dict(accumulative_counts=0)), ["optim_wrapper.accumulative_counts=0"]),
    (dict(optim_wrapper=dict(clip_grad=dict(max_nrm=3))), ["optim_wrapper.clip_grad", "'max_norm'"]),
    (dict(optim_wrapper=dict(clip_grad=dict(type="nom", max_norm=3))), ["optim_wrapper.clip_grad.type='nom'"]),
    (dict(optim_wrapper=dict(paramwise_cfg=dict(norm_decay_mul=0.0))), ["paramwise_cfg", "'norm_decay_mult'"]),
    (dict(optim_wrapper=dict(paramwise_cfg=dict(layer_decay=0.7))), ["layer_decay", "LayerDecayConstructor"]),
    (dict(optim_wrapper=dict(paramwise_cfg=dict(norm_decay_mult=0.0))), ["norm_decay_mult", "weight_decay"]),
    (
        dict(optim_wrapper=dict(paramwise_cfg=dict(custom_keys=dict(bckbone=dict(lr_mult=0.1))))),
        ["bckbone", "'backbone'"],
    ),
    (dict(optim_wrapper=dict(paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mul=0.1))))), ["head", "'lr_mult'"]),
    (dict(optim_wrapper=dict(paramwise_cfg=dict(custom_keys=dict(head=0.1)))), ["custom_keys.head=0.1"]),
    (dict(param_scheduler=dict(type="CosineLR")), ["param_scheduler", "'CosineAnnealingLR'"]),
    (dict(param_scheduler=dict(type="CosineAnnealingLR", T_mx=3)), ["param_scheduler", "'T_max'"]),
    (dict(param_scheduler=dict(type="MultiStepLR")), ["param_scheduler", "milestones"]),
    (dict(param_scheduler=dict(type="ReduceOnPlateauLR", monitor="acu")), ["monitor='acu'", "'auc'"]),
    (dict(param_scheduler="cosine"), ["param_scheduler='cosine'"]),
    (dict(train_cfg=dict(max_epochs="3")), ["train_cfg.max_epochs='3'"]),
    (dict(train_cfg=dict(max_epochs=0)), ["train_cfg.max_epochs=0"]),
    (dict(train_cfg=dict(val_interval=0)), ["train_cfg.val_interval=0"]),
    (dict(train_cfg=dict(val_begin=7)), ["train_cfg.val_begin=7"]),
    (dict(train_cfg=dict(max_iters=3)), ["train_cfg", "max_iters"]),
    (dict(train_cfg=dict(by_epoch="yes")), ["train_cfg.by_epoch='yes'"]),
    (dict(val_cfg=dict(fp61=True)), ["val_cfg", "'fp16'"]),
    (dict(default_hooks=dict(checkpoint=dict(intervall=2))), ["default_hooks.checkpoint", "'interval'"]),
    (dict(default_hooks=dict(checkpoint=dict(save_best=["auc", "f1"]))), ["default_hooks.checkpoint.save_best"]),
    (dict(default_hooks=dict(checkpoint=dict(save_best="auto"))), ["save_best='auto'", "auc"]),
    (dict(default_hooks=dict(checkpoint=dict(save_best="acu"))), ["save_best='acu'", "'auc'"]),
    (dict(default_hooks=dict(checkpoint=dict(save_best="auc", rule="up"))), ["default_hooks.checkpoint.rule='up'"]),
    (dict(default_hooks=dict(chekpoint=None)), ["default_hooks.chekpoint", "'checkpoint'"]),
    (dict(default_hooks=dict(logger=dict(interval="x"))), ["default_hooks.logger.interval='x'"]),
    (dict(custom_hooks=dict(type="EMAHook")), ["custom_hooks"]),
    (dict(custom_hooks=["EMAHook"]), ["custom_hooks[0]='EMAHook'"]),
    (dict(custom_hooks=[dict(type="EMAHook", begin_epoch=10)]), ["EMAHook", "begin_epoch=10", "2 epochs"]),
    (dict(custom_hooks=[dict(type="SWAHook", begin_iter=100)]), ["SWAHook", "begin_iter=100"]),
    (dict(custom_hooks=[dict(type="EMAHook"), dict(type="SWAHook")]), ["EMAHook", "SWAHook"]),
    (dict(custom_hooks=[dict(type="EMAHook", priority="HIGHEST2")]), ["custom_hooks[0].priority", "'HIGHEST'"]),
    (dict(custom_hooks=[dict(type="EarlyStopHook")]), ["custom_hooks[0]", "monitor"]),
    (dict(custom_hooks=[EARLY_STOP | dict(monitor="acu")]), ["monitor='acu'", "'auc'"]),
    (
        dict(val_dataloader=None, val_cfg=None, val_evaluator=None, custom_hooks=[EARLY_STOP]),
        ["monitor='auc'", "val_cfg"],
    ),
    (dict(auto_scale_lr=dict(enable=True)), ["auto_scale_lr", "base_batch_size"]),
    (dict(auto_scale_lr=dict(enable=True, base_batchsize=8)), ["auto_scale_lr", "'base_batch_size'"]),
    (dict(auto_scale_lr=8), ["auto_scale_lr=8"]),
    (dict(log_processor=dict(windowsize=3)), ["log_processor", "'window_size'"]),
    (dict(visualizer=dict(type="Visualiser")), ["visualizer", "'Visualizer'"]),
    (dict(visualizer=dict(type="Visualizer", vis_backends=[dict(type="TensorBoard")])), ["vis_backends[0]"]),
]


@pytest.mark.parametrize(
    ("changes", "words"), WRONG, ids=lambda value: str(value)[:60] if isinstance(value, dict) else ""
)
def test_a_wrong_setting_is_refused_before_the_first_step(changes: dict, words: list[str], tmp_path: Path):
    config = tiny.config(tmp_path, epochs=2, length=4)
    for name in {"param_scheduler", "custom_hooks"}.intersection(changes):
        config.pop(name)  # a list, which a dict cannot be merged into
    config.merge_from_dict(changes)
    with pytest.raises(Exception) as refusal:
        Runner.from_cfg(config).train()
    message = message_of(refusal.value)
    assert message is not None, repr(refusal.value)
    assert [word for word in words if word not in message] == [], message
    assert "\n" not in message
    assert not list(tmp_path.glob("*.pth"))
    rates = tmp_path / "rates.txt"  # a line for each step that began
    assert not rates.exists() or len(rates.read_text().splitlines()) == 1
    if rates.exists():
        assert "model." in message  # only what the network itself finds out


def test_a_default_hook_that_is_none_is_left_out(tmp_path: Path):
    config = tiny.config(tmp_path)
    config.merge_from_dict(dict(default_hooks=dict(scores=None, report=None, logger=None)))
    names = {type(hook).__name__ for hook in Runner.from_cfg(config).hooks}
    assert {"CheckpointHook", "PreemptionHook"} <= names
    assert not {"ScoresHook", "ReportHook", "LoggerHook"} & names


def test_a_list_of_channels_that_the_network_lacks_names_its_first_layer(tmp_path: Path):
    runner = Runner.from_cfg(tiny.config(tmp_path))
    batch = {"inputs": [torch.zeros(4, 4, 6, 6)] * 2, "data_samples": []}
    with pytest.raises(RuntimeError) as error:
        runner.model.test_step(batch)
    message = message_of(error.value)
    assert "model.backbone.conv (Conv3d)" in message and "4 channels" in message


def test_an_error_of_our_own_code_is_no_mistake_of_the_user():
    assert message_of(RuntimeError("a fault")) is None
    assert message_of(AssertionError("a fault")) is None


@pytest.mark.parametrize("kind", ["DiceLoss", "CrossEntropyLoss"])
def test_losses_of_pictures_are_refused_for_volumes(kind: str):
    with pytest.raises(ValueError, match=f"'{kind}3D'"):
        build_loss([dict(type=kind)])
    head = dict(type="FCNHead3D", num_classes=2, loss_decode=dict(type=kind))
    with pytest.raises(ValueError, match=kind):
        MODELS.build(
            dict(type="VolumeSegmentor", backbone=dict(type="ResNet3D", depth=10, base_channels=2), decode_head=head)
        )


def test_the_registry_of_runners_builds_ours_and_mmengines_is_refused(tmp_path: Path):
    config = tiny.config(tmp_path, runner_type="vdt3d.Runner")
    assert type(RUNNERS.build(config)) is Runner
    config.experiment_name = "other"
    config.default_hooks.record = dict(type="RunRecordHook")
    with pytest.raises(ValueError, match="runner_type"):
        MMRunner.from_cfg(config).train()


def test_names_of_scores_are_known_before_any_case():
    kinds = [
        (dict(type="ClassificationScores", threshold="choose"), {"auc", "f1", "threshold"}, {"f1_at_threshold"}),
        (dict(type="ClassificationScores", threshold=0.3, resamples=9), {"f1_at_threshold", "auc_low"}, {"tp_low"}),
        (
            dict(type="SegmentationScores", labels={"left lung": 1, "both": (1, 300)}),
            {"dice_left_lung", "hd95"},
            {"dice_1"},
        ),
        (
            dict(type="SegmentationScores", labels={"a": 1}, surface=False, resamples=9),
            {"dice_low", "dice_a"},
            {"hd95"},
        ),
        (dict(type="GITractScore", labels={"stomach": 1}), {"score_stomach", "dice_slices"}, {"dice"}),
        (dict(type="DetectionScores"), {"froc", "ap50", "sensitivity_4_*"}, {"auc"}),
        (dict(type="DetectionScores", dims=3, resamples=9), {"froc_low", "sensitivity_0.5"}, {"map"}),
    ]
    for settings, among, absent in kinds:
        names = set(METRICS.build(settings).score_names(2))
        assert among <= names and not absent & names, settings
    assert "sensitivity" not in METRICS.build(dict(type="ClassificationScores")).score_names(3)


def test_the_names_are_those_of_an_evaluation():
    metric = METRICS.build(dict(type="ClassificationScores", threshold="choose", resamples=5))
    truth, scores = torch.tensor([0, 1, 1]), torch.tensor([[0.8, 0.2], [0.4, 0.6], [0.1, 0.9]])
    samples = [
        dict(gt_label=t, pred_score=s, sample_name=f"case {n}")
        for n, (t, s) in enumerate(zip(truth, scores, strict=True))
    ]
    metric.process(None, samples)
    assert list(metric.compute_metrics(metric.results)) == metric.score_names(2)
