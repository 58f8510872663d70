"""Every shipped config is found, built at full size, shrunk, trained for a step, validated and tested."""

import re
from copy import deepcopy
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import published
import pytest
import tiny
import torch
import torchvision
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.utils.data import Dataset

from medseg.datasets.base import placed
from medseg.datasets.msd import TASKS
from vdt3d.datasets import VolumeDataset
from vdt3d.datasets.base import built
from vdt3d.datasets.synthetic.phantoms import ORGANS
from vdt3d.engine import Runner
from vdt3d.engine.config import init_names, read_config
from vdt3d.models import UNet3D
from vdt3d.models.weights import zoo
from vdt3d.models.weights.adapt import adapt
from vdt3d.models.weights.load import MIN_MATCHED, load_weights
from vdt3d.registry import DATASETS, HOOKS, MODELS
from vdt3d.structures import LabelMap, Sample, Volume
from vdt3d.utils.removed_configs import REMOVED

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.py") if "_base_" not in path.parts
)
PICTURE_SETS = ("ImageFolder", "ImageNet", "FractalPictures")
SEGMENTORS = ("VolumeSegmentor", "SliceWindowSegmentor")
DETECTORS = ("FasterRCNN3D",)
PATCH = (16, 32, 32)  # the least that leaves a network of stride 16 several voxels to normalise


@DATASETS.register_module()
class TinyCases(Dataset):
    """Four made-up cases behind the pipeline of a config: JPEG files or volumes, as its data set hands them over."""

    def __init__(self, kind: str, pipeline: list[dict], folder: str):
        self.pictures, self.pipeline, self.folder = kind in PICTURE_SETS, built(pipeline), Path(folder)
        self.side = 28 if kind == "MedMNIST3D" else 64

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict:
        data, target = self._picture(index) if self.pictures else self._volume(index), index % 2
        if self.pictures:
            data["gt_label"] = target
        else:
            data = data.replace(target=target)
        for transform in self.pipeline:
            data = transform(data)
        return data

    def targets(self) -> list[int]:
        return [0, 1, 0, 1]

    def _picture(self, index: int) -> dict:
        path = self.folder / f"{index}.jpg"
        size = 32 if any("RandomCrop" in str(t) or len(self.pipeline) < 4 for t in self.pipeline) else 256
        cv2.imwrite(str(path), np.random.default_rng(index).integers(0, 256, (size, size, 3), dtype=np.uint8))
        return {"img_path": str(path)}

    def _volume(self, index: int) -> Sample:
        array = np.random.default_rng(index).integers(0, 256, (1, *[self.side] * 3)).astype(np.float32)
        return Sample(Volume(array), name=f"case{index}")


@DATASETS.register_module()
class TinyScans(Dataset):
    """Two made-up scans, a little deeper than ``PATCH``, with every label of a config's data set in stripes."""

    def __init__(self, dataset: dict, pipeline: list[dict]):
        self.pipeline, self.whole_scans = built(pipeline), dataset.get("whole_scans", False)
        self.metainfo = metainfo(dataset)

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict:
        data = self.scan(index)
        for transform in self.pipeline:
            data = transform(data)
        return data

    def scan(self, index: int) -> Sample:
        classes, channels = (len(self.metainfo[name]) for name in ("classes", "modality"))
        depth, *plane = PATCH
        stripes = np.arange(plane[1]) * classes // plane[1]
        labels = np.broadcast_to(stripes, (1, depth + 2, *plane)).astype(np.uint8)
        noise = np.random.default_rng(index).normal(0, 10, (channels, *labels.shape[1:]))
        measured = {"set_percentile_00_5": -100, "set_percentile_99_5": 500, "set_mean": 100, "set_std": 100}
        return Sample(
            Volume((50 * labels + noise).astype(np.float32)),
            statistics={name: (float(value),) * channels for name, value in measured.items()},
            name=f"case{index}",
            **placed(LabelMap(labels), self.whole_scans),
        )


@DATASETS.register_module()
class TinyWindowed(VolumeDataset):
    """The scans of ``TinyScans`` as the volume data set within a ``SliceWindows``."""

    def __init__(self, dataset: dict):
        self.scans = TinyScans(dataset, [])
        super().__init__(".", metainfo=self.scans.metainfo)

    def load_data_list(self) -> list[dict]:
        return [{"path": ".", "name": f"case{index}", "index": index} for index in range(len(self.scans))]

    def read(self, case: dict) -> Sample:
        return self.scans.scan(case["index"])


def metainfo(dataset: dict) -> dict[str, tuple[str, ...]]:
    """Names of classes and channels of a config's segmentation data set, without its files."""
    if dataset["type"] == "SliceWindows":
        return metainfo(dataset["dataset"])
    if dataset["type"] == "MSD":
        task = TASKS[dataset["task"]]
        return {"classes": task.classes, "modality": task.modality}
    if dataset["type"] == "PhantomOrgans":
        return {"classes": ("background", *ORGANS), "modality": ("CT",)}
    return {"modality": ("one",)} | DATASETS.get(dataset["type"]).METAINFO


# Small transformers over windows, and the published files they start from.
_SMALL = dict(img_size=PATCH[1:], num_heads=2)
_SMALL_SWIN = dict(depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2))
TRANSFORMERS = {"BEiT3D": _SMALL, "ViT3D": _SMALL, "Swin3D": _SMALL_SWIN, "VideoSwin": _SMALL_SWIN}
PUBLISHED = {
    "zoo:beit-base-in22k": published.beit(),
    "zoo:beit-base-in22k-ssl": published.beit(shared=True),
    "zoo:dino-vit-base": published.dino(),
    "zoo:swin-base-in22k": published.swin(),
    "zoo:video-swin-base-k600": published.swin(video=True),
}
POSITIONS = ("relative_position_bias_table", "pos_embed")


@HOOKS.register_module()
class StopAfterAnEpoch(Hook):
    def after_train_epoch(self, runner: Runner) -> None:
        runner.train_loop.stop_training = True


def shrink(config: Config, folder: Path) -> Config:
    """The same model, narrow, on a few cases, for two steps."""
    segments, detects = config.model.type in SEGMENTORS, config.model.type in DETECTORS
    if config.model.backbone.type == "PictureEncoder":
        config.model.backbone.model = "torchvision.shufflenet_v2_x0_5"
    elif config.model.backbone.type == "MixVisionTransformer":
        config.model.backbone.embed_dims = 8
    elif config.model.backbone.type in TRANSFORMERS:
        config.model.backbone.update(embed_dims=16, **TRANSFORMERS[config.model.backbone.type])
    elif config.model.backbone.type in ("P3D", "MP3D"):
        config.model.backbone.update(base_channels=8, norm_cfg=dict(type="GN", num_groups=4))
    else:
        config.model.backbone.base_channels = 4 if segments else 8
    if config.model.type == "ImageClassifier":
        config.model.backbone.stem_channels = 8
        config.model.head.in_channels = 64
    for split in ("train", "val", "test"):
        loader = config[f"{split}_dataloader"]
        pipeline = loader.dataset.pipeline
        if segments:
            shrink_pipeline(pipeline)
            tiny = dict(type="TinyScans", dataset=loader.dataset, pipeline=pipeline)
            if loader.dataset.type == "SliceWindows":
                inner = dict(type="TinyWindowed", dataset=loader.dataset.dataset)
                tiny = dict(type="SliceWindows", dataset=inner, window=loader.dataset.window, pipeline=pipeline)
        elif detects:
            shrink_pipeline(pipeline)
            tiny = dict(type="PhantomLesions", split=split, window=loader.dataset.window, pipeline=pipeline)
            tiny.update(cases=4, size=64, pixel=1.0)
        else:
            tiny = dict(type="TinyCases", kind=loader.dataset.type, pipeline=pipeline, folder=str(folder))
        size = 1 if segments and loader.batch_size == 1 and split != "train" else 2
        config[f"{split}_dataloader"] = dict(batch_size=size, num_workers=0, sampler=loader.sampler, dataset=tiny)
    config.work_dir, config.load_from = str(folder), None
    config.pop("inflate", None)
    if segments:
        shrink_segmentor(config.model)
    elif detects:
        config.model.update(fpn_channels=8, head_channels=8)
    if not config.train_cfg.get("by_epoch", True):
        config.train_cfg.update(max_iters=2, val_interval=2)
        if "warmup" in config.param_scheduler:
            config.param_scheduler.warmup = 1
    else:
        config.train_cfg.val_interval = 1
        config.custom_hooks = [*config.get("custom_hooks", []), dict(type="StopAfterAnEpoch")]
    config.visualizer = None
    return config


def shrink_pipeline(pipeline: list[dict]) -> None:
    """Patches of ``PATCH`` from scans that are hardly larger."""
    small = {
        "RandomPatch3D": dict(size=PATCH),
        "RandomZCrop": dict(depth=PATCH[0]),
        "RandomChoiceResize3D": dict(sizes=(64, 96)),
        "RandomShiftCrop3D": dict(size=PATCH[0], shift=1),
        "CenterCrop3D": dict(size=PATCH[0]),
    }
    windows = ("Resize3D", "Pad3D", "RandomCrop3D")  # which name all their slices, or None
    for transform in pipeline:
        if transform.type in windows or (transform.type == "RandomPatch3D" and transform.size[0] is None):
            transform.size = (transform.size[0], *PATCH[1:])
        else:
            transform.update(small.get(transform.type, {}))


def shrink_segmentor(model: dict) -> None:
    """Windows of ``PATCH``, few of them, and a network whose stride that allows."""
    if model.backbone.type == "ResNet3D":
        model.backbone.stem_stride = False
    inferer = model.test_cfg.inferer
    if "stride" in inferer:
        sides = zip(inferer.stride, inferer.window, PATCH, strict=True)
        inferer.stride = [stride * small // window for stride, window, small in sides]
    if "window" in inferer:
        inferer.window = PATCH
    if "flips" in inferer:
        inferer.flips = inferer.flips[-1]  # two passes, not eight
    if model.type == "SliceWindowSegmentor":
        model.decode_head.channels = 8
    if model.decode_head.type == "LIDCFCNHead":
        model.decode_head.update(channels=16, hidden_channels=8)


@cache
def released(name: str) -> dict[str, Tensor]:
    """Names and shapes of a file that configs start from; the tensors have no content."""
    scheme, _, rest = name.partition(":")
    if scheme == "zoo":
        assert zoo.find(rest).name == rest
    if name in PUBLISHED:
        state = published.shapes_only(PUBLISHED[name])
        # Positions are made to fit, which takes numbers.
        return state | {key: torch.zeros(value.shape) for key, value in state.items() if key.endswith(POSITIONS)}
    with torch.device("meta"):
        if scheme == "torchvision":
            return torchvision.models.get_model(rest.removeprefix("//")).state_dict()
        if name == "zoo:kinetics-r3d-18-km":
            head = {"fc.weight": torch.empty(1039, 512), "fc.bias": torch.empty(1039)}
            return MODELS.build(dict(type="ResNet3D", depth=18, in_channels=3)).state_dict() | head
        if name == "zoo:medicalnet-resnet-18":
            state = MODELS.build(dict(type="ResNet3D", depth=18, shortcut_type="A")).state_dict()
            return {f"module.{key}": value for key, value in state.items()}
        if name == "zoo:genesis-chest-ct":
            return {f"module.{key}": value for key, value in UNet3D(num_classes=1).state_dict().items()}
    trained_by = {
        "zoo:vdt-resnet3d-18": "imagenet_pretrain/resnet3d-18_vdt_8xb32-step-100e_in1k",
        "work_dirs/pretrain/epoch_10.pth": "debug/pretrain",  # as the README has it
    }
    run = trained_by.get(name) or f"imagenet_pretrain/{Path(name).parent.name}"  # work_dirs/CONFIG/epoch_48.pth
    config = read_config(ROOT / f"configs/{run}.py")
    state = MODELS.build(config.model.backbone).state_dict()
    return {f"backbone.{key}": value.to("meta") for key, value in state.items()}


def check_at_full_size(config: Config) -> None:
    """Build the model of a config, without content where it is large, and fill it from the file it starts from."""
    # These are small, and read numbers off tensors.
    small = config.model.type == "ImageClassifier" or config.model.backbone.type == "MixVisionTransformer"
    with torch.device("cpu" if small else "meta"), DefaultScope.overwrite_default_scope("vdt3d"):
        model = MODELS.build({**config.model, "data_preprocessor": nn.Identity()})  # so does a real one
    if source := config.get("load_from"):
        state = adapt(released(source), model, how=config.get("inflate"), name=source).state
        state = {key: value.to(next(model.parameters()).device) for key, value in state.items()}
        share = config.get("min_matched", MIN_MATCHED)
        report = load_weights(model, state, min_matched=share, name=source)  # raises where they do not fit
        missing = [key for key in report.missing if key.startswith("backbone.")]
        # What has a class for each label, and Swin's norms of its maps, are nobody's.
        assert [key for key in missing if not re.match(r"backbone\.(out_tr|norm\d)\.", key)] == []
    if config.model.type in SEGMENTORS:
        found = metainfo(config.train_dataloader.dataset)
        windows = config.model.type == "SliceWindowSegmentor"
        says, network = (config.model, config.model) if windows else (config.model.decode_head, config.model.backbone)
        assert says.get("label_map") or model.labels.num_classes == len(found["classes"])
        assert network.get("in_channels", 1) == len(found["modality"])
    if window := config.train_dataloader.dataset.get("window"):
        assert window == config.model.window
    if config.model.type in DETECTORS:
        for split in ("train", "val", "test"):
            assert config[f"{split}_dataloader"].dataset.window == window
        assert model.num_classes == len(DATASETS.get(config.train_dataloader.dataset.type).METAINFO["classes"])


def test_the_configs_are_found():
    assert len(CONFIGS) == 94, CONFIGS


STEPPED: dict[str, str] = {}  # shrunk configs: arms that differ in their weights alone are one when these are gone


@pytest.mark.parametrize("path", CONFIGS)
def test_config_builds_and_takes_a_step(path: str, tmp_path: Path):
    config = read_config(ROOT / path)
    check_at_full_size(config)
    take_a_step(config, tmp_path, path)


def take_a_step(config: Config, tmp_path: Path, path: str) -> None:
    """Train the shrunk config, unless one that is the same has been trained, and test it."""
    # To lay out the config's text, which a run does several times, would take longer than the run.
    config = Config(config.to_dict(), filename=config.filename, format_python_code=False)
    config.pop("init_name", None)
    steps = not config.train_cfg.by_epoch
    small = shrink(config, tmp_path)
    text = repr(small.to_dict()).replace(str(tmp_path), "")
    if STEPPED.setdefault(text, path) != path:
        return
    runner = Runner.from_cfg(small)
    runner.train()
    assert runner.iter == (2 if steps else len(runner.train_dataloader))
    assert np.isfinite(runner.message_hub.get_scalar("train/loss").data[0]).all()
    scores = runner.test()
    score = next(name for name in ("froc", "dice", "accuracy", "accuracy/top1") if name in scores)
    assert 0 <= scores[score] <= (100 if score.startswith("accuracy") else 1)
    if steps:
        assert (tmp_path / "iter_2.pth").exists()
    else:
        assert (tmp_path / "epoch_1.pth").exists() or config.default_hooks.checkpoint.interval > 1


@pytest.mark.parametrize("name", ["pretrain", "classify", "segment", "segment_slices", "detect"])
def test_a_debug_run_may_be_lengthened(name: str, tmp_path: Path):
    """One epoch, and then up to two, is the same as two at once: the schedule does not ask how long the run is."""

    def train(folder: Path, epochs: int, *, resume: bool = False) -> Path:
        folder.mkdir(exist_ok=True)
        config = shrink(read_config(ROOT / f"configs/debug/{name}.py"), folder)
        config.merge_from_dict({"custom_hooks": [], "train_cfg.max_epochs": epochs, "resume": resume})
        Runner.from_cfg(config).train()
        return folder / f"epoch_{epochs}.pth"

    whole = train(tmp_path / "whole", 2)
    first = train(tmp_path / "parts", 1)
    assert {"backbone"} <= {key.partition(".")[0] for key in tiny.saved(first)["state_dict"]}
    assert tiny.same_run(whole, train(tmp_path / "parts", 2, resume=True)) == []


@pytest.mark.parametrize("path", CONFIGS)
def test_the_first_line_says_what_it_is(path: str):
    assert (ROOT / path).read_text().startswith("# ")


# ---- the published recipes of segmentation ---------------------------------------------------------------------------

SGD = dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=5e-4)
SLIDE = dict(window=(32, 256, 256), stride=(12, 128, 128), weights="uniform")
# optimiser; steps, from cases x passes / (samples of a step); samples of a process; loss; inference
RECIPES = {
    "bcv/resnet3d-18-unet_vdt_8xb1-poly-39k_bcv": (
        *(SGD, 24 * 13000 // 8, 1, dict(type="DiceCELoss3D", lambda_ce=0.3), SLIDE),
    ),
    "lidc/resnet3d-18-fcn_vdt_8xb4-poly-13k_lidc-seg": (
        *(dict(type="Adam", lr=1e-3, weight_decay=1e-4), 2142 * 200 // 32, 4, dict(type="CombineLoss"), {}),
    ),
    "lidc/resnet3d-18-fcn_scratch_8xb4-poly-13k_lidc-seg init=genesis": (
        *(dict(type="Adam", lr=1e-4, weight_decay=1e-4), 2142 * 200 // 32, 4, dict(type="CombineLoss"), {}),
    ),
    "lits/resnet3d-18-unet_vdt_8xb2-poly-3k_lits": (
        *(dict(type="Adam", lr=1e-4, weight_decay=1e-4), 105 * 500 // 16, 2, dict(type="ComboLoss"), SLIDE),
    ),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_published_recipe_has_its_numbers(name: str):
    path, _, init = name.partition(" init=")
    config = read_config(ROOT / f"configs/{path}.py", {"init": init} if init else None)
    optimizer, steps, batch_size, loss, inferer = RECIPES[name]
    assert config.optim_wrapper.optimizer == optimizer
    assert config.train_cfg.max_iters == steps
    assert config.param_scheduler == dict(type="PolyLR", power=0.9, eta_min=1e-6, by_epoch=False)
    assert (config.train_dataloader.batch_size, config.auto_scale_lr.base_batch_size) == (batch_size, 8 * batch_size)
    assert config.model.decode_head.loss_decode == loss
    found = config.model.test_cfg.inferer
    assert found.type == ("SlidingWindow" if inferer else "WholeVolume")
    assert {key: found[key] for key in inferer} == inferer
    norms = {part.norm_cfg.type for part in (config.model.backbone, config.model.decode_head) if "norm_cfg" in part}
    assert norms == {"SyncBN"}


@pytest.mark.parametrize(
    ("name", "backbone", "sizes"),
    [
        ("p3d", dict(type="P3D", depth=63), (384, 448, 512, 576, 640)),
        ("mp3d_groupconv", dict(type="MP3D", depth=63, conversion="groupconv"), (448, 512, 576)),
        ("p3d18ba", dict(type="P3D", depth="18ba"), (384, 448, 512, 576, 640)),
        ("r50-2d_3-slices", dict(type="ResNet", depth=50, norm_eval=True), (384, 448, 512, 576, 640)),
    ],
)
def test_the_published_recipe_of_lesion_detection_has_its_numbers(name: str, backbone: dict, sizes: tuple[int, ...]):
    """The model's own are held by test_detector.py: the config leaves them as they are."""
    config = read_config(ROOT / f"configs/deeplesion/{name}.py")
    preprocessor, window = dict(pad_to=32), dict(slices=3 if "2d" in name else 9, spacing=2.5)
    assert config.model == dict(type="FasterRCNN3D", data_preprocessor=preprocessor, backbone=backbone, window=window)
    assert config.optim_wrapper.optimizer == dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=1e-4)
    assert config.optim_wrapper.clip_grad == dict(max_norm=35)
    warmup, steps = config.param_scheduler
    assert (warmup.type, warmup.start_factor, warmup.end, warmup.by_epoch) == ("LinearLR", 1 / 3, 500, False)
    assert (steps.milestones, steps.gamma, config.train_cfg.max_epochs) == ([16, 22], 0.1, 24)
    assert (config.train_dataloader.batch_size, config.auto_scale_lr.base_batch_size) == (2, 16)
    normalize, resize, flip, _ = config.train_dataloader.dataset.pipeline
    greys = built([normalize])[0].apply(Volume(np.array([-2000.0, -1024, 1050, 3000]).reshape(1, 1, 1, 4))).array
    assert greys.ravel() == pytest.approx([-123.675 / 58.395] * 2 + [(255 - 123.675) / 58.395] * 2, rel=1e-5)
    assert tuple(resize.sizes) == sizes and (flip.axes, flip.get("prob", 0.5)) == ("DW", 0.5)
    for split in ("val", "test"):
        pipeline = config[f"{split}_dataloader"].dataset.pipeline
        assert [step.type for step in pipeline] == ["ClipNormalize3D", "RandomChoiceResize3D", "PackDetection"]
        assert tuple(pipeline[1].sizes) == (512,)


# ---- initialisations -------------------------------------------------------------------------------------------------

NARROW = ("scratch", "vdt", "i3d", "centre", "acs", "2.5d")
WIDE = (*NARROW, "kinetics", "medicalnet")
# The initialisations of every table, at a config that has it.
TABLES = {
    "acdc/resnet3d-18-unet_vdt_1xb4-poly-40k_acdc": WIDE,
    "bcv/resnet3d-18-unet_scratch_8xb1-poly-39k_bcv": (*WIDE, "genesis"),
    "debug/resnet3d_scratch_15e_nodules": ("scratch", "vdt"),
    "lidc/resnet3d-18-fcn_scratch_8xb4-poly-13k_lidc-seg": (*WIDE, "genesis"),
    "lidc/resnet3d-18_scratch_4xb32-step-100e_lidc": (*WIDE, "genesis"),
    "lits/resnet3d-18-unet_scratch_8xb2-poly-3k_lits": (*WIDE, "genesis"),
    "lits/resnet3d-18-unet_vdt_8xb2-poly-3k_lits-tumour": (*WIDE, "genesis"),
    "medmnist/resnet3d-18w16_scratch_1xb32-cos-30e_adrenalmnist3d": NARROW,
    "msd/resnet3d-18-unet_vdt_1xb4-poly-40k_liver": WIDE,
    "msd/resnet3d-18w16-unet_scratch_1xb2-cos-4k_hippocampus": (*NARROW, "genesis"),
    "transseg/acdc_beit-b16_upernet": ("scratch", "centre", "i3d", "ssl"),
    "transseg/bcv_dino-b16_upernet": ("scratch", "centre", "i3d"),
    "transseg/bcv_swin-b_upernet": ("scratch", "centre", "i3d"),
    "transseg/bcv_video-swin-b_upernet": ("scratch", "kinetics"),
}
# Settings that a row has beside ``load_from``.
ROWS = {
    "i3d": {"inflate": "i3d"},
    "centre": {"inflate": "centre"},
    "ssl": {"inflate": "centre"},
    "acs": {"conv": "acs"},
    "2.5d": {"conv": "2.5d"},
    "medicalnet": {"shortcut_type": "A"},
}
# Initialisations that change the network take a step of their own, in one config for each table; others equal scratch.
STEPPED_TOO = [
    (path, name)
    for path, names in TABLES.items()
    for name in names
    if name == "genesis" or (name in ("acs", "2.5d", "medicalnet") and "scratch" in path)
]


@pytest.mark.parametrize("path", TABLES)
def test_every_initialisation_builds_at_full_size_and_differs_in_its_weights_only(path: str):
    file = ROOT / f"configs/{path}.py"
    assert tuple(init_names(file)) == TABLES[path]
    scratch = read_config(file, {"init": "scratch"}).to_dict()
    assert (scratch.pop("init_name"), scratch.pop("load_from"), scratch.get("inflate")) == ("scratch", None, None)
    for name in TABLES[path][1:]:
        config = read_config(file, {"init": name})
        check_at_full_size(config)
        config, expected = config.to_dict(), deepcopy(scratch)
        assert config.pop("load_from") is not None and config.pop("init_name") == name
        found = {"inflate": config.pop("inflate")} if "inflate" in config else {}
        if name == "genesis":  # its own network, and for LIDC its own learning rate, as published
            for one in (config, expected):
                network = one["model"]
                network["decode_head"] = (network.get("decode_head") or {}).get("loss_decode")
                del network["backbone"], one["optim_wrapper"]["optimizer"]["lr"]
                network.pop("neck", None)
        else:
            backbone = config["model"]["backbone"]
            found |= {key: backbone.pop(key) for key in ("conv", "shortcut_type") if key in backbone}
        assert found == ROWS.get(name, {}), name
        assert config == expected, name


def test_every_table_is_checked():
    checked = {table for path in TABLES for table in tables_of(f"configs/{path}.py")}
    assert {table for path in CONFIGS for table in tables_of(path)} - checked == set()


def tables_of(path: str) -> set[str]:
    """Return the names of the tables that a config file adds: of ``_base_/inits``, or the file itself."""
    text = (ROOT / path).read_text()
    return {*re.findall(r"_base_/inits/([\w-]+)", text), *([path] if "\ninits = dict(" in text else [])}


@pytest.mark.parametrize(("path", "name"), STEPPED_TOO)
def test_an_initialisation_with_a_network_of_its_own_takes_a_step(path: str, name: str, tmp_path: Path):
    take_a_step(read_config(ROOT / f"configs/{path}.py", {"init": name}), tmp_path, f"{path} {name}")


# ---- configs that were removed ---------------------------------------------------------------------------------------


def test_a_removed_config_has_a_replacement():
    assert len(REMOVED) == 69
    for old, (new, options) in REMOVED.items():
        assert not (ROOT / old).exists() and new in CONFIGS, old
        with pytest.raises(FileNotFoundError, match=re.escape(f"use {new} --cfg-options {options}")):
            read_config(old)


def test_a_child_of_a_removed_config_is_told_what_to_build_on(tmp_path: Path):
    (tmp_path / "mine.py").write_text('_base_ = "resnet3d-18_acs_4xb32-step-100e_lidc.py"\n')
    with pytest.raises(ValueError, match=r"mine.py.*resnet3d-18_scratch_4xb32-step-100e_lidc.py.*init=acs"):
        read_config(tmp_path / "mine.py")
