"""The count of parameters and operations: hand-worked numbers, and the shape of a sample as its pipeline makes it."""

import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import Tensor, nn

from vdt3d.cli import flops, main
from vdt3d.engine.config import read_config
from vdt3d.models.backbones.attention import Attention, TransformerBlock
from vdt3d.registry import TRANSFORMS
from vdt3d.structures import LabelMap, Sample, Volume

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.py") if "_base_" not in path.parts
)


class Whole(nn.Module):
    """A model of one part; what it answers is doubled outside of the part."""

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.backbone(x)


class Tokens(nn.Module):
    """Torch's own attention, of 8 channels in 2 heads."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


CLASSIFIER = """
model = dict(
    type="VolumeClassifier",
    backbone=dict(type="ResNet3D", depth=10, base_channels=8, num_stages=1, out_indices=(0,)),
    neck=dict(type="GlobalAveragePooling", dim=3),
    head=dict(type="LinearClsHead", num_classes=2),
)
"""
TRANSFORMER = """
window = dict(slices=3)
head = dict(type="FCNHead", channels=8, num_convs=0, concat_input=False, dropout_ratio=0)
model = dict(
    type="SliceWindowSegmentor",
    backbone=dict(type="BEiT3D", img_size=32, embed_dims=8, depth=2, num_heads=2, out_indices=(0, 1)),
    decode_head=dict(in_index=1, **head),
    auxiliary_head=dict(in_index=0, **head),
    num_classes=2,
    window=window,
)
train_dataloader = dict(
    dataset=dict(
        type="SliceWindows",
        window=window,
        pipeline=[dict(type="RandomPatch3D", size=(None, 32, 32), foreground=0), dict(type="PackSegmentation")],
    )
)
"""


def written(folder: Path, text: str) -> str:
    path = folder / "net.py"
    path.write_text(text)
    return str(path)


def printed(capsys, *words: str) -> tuple[str, dict[str, list[int]]]:
    """What the command says, and of each row the parameters and operations."""
    main(["flops", *words])
    said = capsys.readouterr().out
    rows = {line.split()[0]: [int(word) for word in line.split() if word.isdigit()] for line in said.splitlines()[2:]}
    return said, rows


def refused(capsys, *words: str) -> str:
    with pytest.raises(SystemExit) as left:
        main(["flops", *words])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


# ---- operations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "shape", "count"),
    [
        # 3 x 4 x 3 x 4 voxels come out, each of a kernel of 2 x 1 x 3 x 3
        (nn.Conv3d(2, 3, (1, 3, 3), (1, 2, 2), (0, 1, 1)), (2, 4, 6, 8), 144 * 18),
        (nn.Conv2d(4, 6, 3, padding=1, groups=2), (4, 5, 5), 6 * 25 * 2 * 9),
        # each of the 2 x 3 x 3 x 3 voxels that go in meets a kernel of 4 x 2 x 2 x 2
        (nn.ConvTranspose3d(2, 4, 2, 2), (2, 3, 3, 3), 54 * 32),
        (nn.Linear(8, 3), (5, 8), 5 * 8 * 3),
        (nn.LayerNorm(8), (5, 8), 0),
    ],
)
def test_multiply_adds_of_a_layer(layer, shape, count):
    counted = flops.multiply_adds(Whole(layer).to("meta"), shape)
    assert counted == flops.Counted({"backbone": count}, count)


# Of 5 tokens of 8 channels in 2 heads of 4
PROJECTIONS = 5 * 8 * 24 + 5 * 8 * 8
PRODUCTS = 2 * (2 * 5 * 5 * 4)  # queries with keys, scores with values
PERCEPTRON = 2 * 5 * 8 * 32
TOKENS = 5 * 8  # elements: of a norm, of the queries that are scaled, of what a layer scale scales


@pytest.mark.parametrize("fused", [True, False])
def test_attention_is_two_matrix_products_fused_or_not(fused):
    attention = Attention(8, 2)
    attention.fused = fused
    assert flops.multiply_adds(Whole(attention).to("meta"), (5, 8)).total == PROJECTIONS + PRODUCTS


def test_torchprofile_counts_norms_and_elementwise_products_too():
    block = TransformerBlock(8, Attention(8, 2), layer_scale=True)
    block.attn.fused = False
    counted = flops.as_torchprofile(Whole(block).eval(), (5, 8))
    count = 2 * (PROJECTIONS + PRODUCTS + PERCEPTRON + (2 + 1 + 2) * TOKENS)
    assert (counted.parts, counted.total) == ({"backbone": count}, count + 2 * TOKENS)  # ``Whole`` doubles them
    assert counted.unknown == ("aten::unbind",)


def test_torchprofile_sees_into_the_attention_of_torch():
    counted = flops.as_torchprofile(Whole(Tokens()).eval(), (5, 8))
    assert counted.parts == {"backbone": 2 * (PROJECTIONS + PRODUCTS + 4)}  # and four products of sizes, as it traces
    assert torch.backends.mha.get_fastpath_enabled()  # as before


def test_a_classifier_of_volumes(tmp_path, capsys):
    said, rows = printed(capsys, written(tmp_path, CLASSIFIER), "--shape", "1", "8", "16", "16")
    assert said.startswith(f"{tmp_path / 'net.py'}: one sample of 1 x 8 x 16 x 16 (C x D x H x W)\n")
    stem, block = 8 * 343, 2 * 8 * 8 * 27  # kernels; the stem halves H and W, and so does the pooling behind it
    parameters = stem + 16 + block + 2 * 16
    operations = stem * 8 * 8 * 8 + block * 8 * 4 * 4
    assert (parameters, operations) == (6248, 1_847_296)
    assert rows == {"backbone": [6248, 1_847_296], "head": [18, 16], "total": [6266, 1_847_312]}
    assert re.search(r"backbone +ResNet3D +6248 +6\.25 k +1847296 +1\.85 M", said)


def test_few_slices_are_counted_as_any(tmp_path, capsys):
    # On a CPU the stem folds three slices into channels, with fewer products.
    words = [written(tmp_path, CLASSIFIER), "--shape", "1", "3", "16", "16"]
    stem, block = 3 * 8 * 8 * 8 * 343, 2 * 3 * 4 * 4 * 8 * 8 * 27
    assert printed(capsys, *words)[1]["backbone"] == [6248, stem + block]
    norms = 3 * 8 * 8 * 8 + 2 * 3 * 4 * 4 * 8
    rows = printed(capsys, *words, "--convention", "torchprofile")[1]
    assert rows == {
        "backbone": [6248, 2 * (stem + block + norms)],
        "neck": [0, 2 * 8],  # means
        "head": [18, 2 * 16],
        "total": [6266, 2 * (stem + block + norms + 8 + 16)],
    }


def test_a_transformer_over_windows(tmp_path, capsys):
    config = written(tmp_path, TRANSFORMER)
    blocks = 2 * (PROJECTIONS + PRODUCTS + PERCEPTRON)
    patches = 4 * 8 * (3 * 16 * 16)
    said, rows = printed(capsys, config)
    assert "one sample of 1 x 3 x 32 x 32" in said
    assert rows["backbone"][1] == patches + blocks
    assert rows["decode_head"] == [18, 4 * 8 * 2]  # 8 channels to 2 scores at 4 places
    assert rows["auxiliary_head.0"] == [18, 0]  # trains the backbone, and predicts nothing
    said, rows = printed(capsys, config, "--convention", "torchprofile")
    assert rows["backbone"][1] == 2 * (patches + blocks + 2 * 5 * TOKENS)
    assert rows["between"] == [0, 2 * 4 * 2 * 32 * 32]  # four neighbours of each score that is interpolated
    assert "unknown to torchprofile, counted as 0: aten::unbind" in said


@pytest.mark.parametrize(
    ("number", "text"),
    [(999, ""), (1000, "1.00 k"), (107_429_775_360, "107.43 G"), (2 * 10**12, "2.00 T"), (5 * 10**16, "50000.00 T")],
)
def test_numbers_are_readable(number, text):
    assert flops.readable(number) == text


def test_without_the_package_it_is_asked_for(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchprofile", None)
    config = written(tmp_path, CLASSIFIER)
    said = refused(capsys, config, "--convention", "torchprofile", "--shape", "1", "3", "16", "16")
    assert "pip install vdt3d[flops]" in said


def test_a_shape_that_does_not_fit_is_named(tmp_path, capsys):
    config = written(tmp_path, CLASSIFIER)
    assert "the network cannot take 2 x 8 x 16 x 16" in refused(capsys, config, "--shape", "2", "8", "16", "16")
    assert "--shape 16 16: wanted are C D H W" in refused(capsys, config, "--shape", "16", "16")
    assert "--shape 1 0 16 16: wanted are C D H W" in refused(capsys, config, "--shape", "1", "0", "16", "16")
    transformer = written(tmp_path, TRANSFORMER)
    assert "windows of 5 slices for a model of 3" in refused(capsys, transformer, "--shape", "1", "5", "32", "32")


# ---- the shape of a sample -------------------------------------------------------------------------------------------

SHAPES = {
    "bcv/resnet3d-18-unet_vdt_8xb1-poly-39k_bcv": (1, 32, 256, 256),
    "bcv/resnet34-unet-5x1_in1k_1xb16-cos-40k_bcv": (1, 5, 320, 320),
    "debug/pretrain": (1, 3, 64, 64),
    "gi_tract/segformer-b0-5x2_scratch_1xb16-cos-40k_gi-tract": (1, 5, 320, 384),
    "imagenet_pretrain/resnet-18w16_1xb64-cos-48e_cifar10": (3, 32, 32),
    "imagenet_pretrain/resnet3d-18_vdt_8xb32-cos-100e_in1k": (1, 3, 224, 224),
    "lidc/resnet3d-18_vdt_4xb32-step-100e_lidc": (1, 48, 48, 48),
    "medmnist/resnet3d-18_scratch_1xb32-cos-30e_organmnist3d": (1, 28, 28, 28),
    "transseg/bcv_beit-b16_upernet": (1, 5, 512, 512),
    "msd/resnet3d-18-unet_scratch_1xb4-poly-40k_brain-tumour": (4, 64, 128, 128),
    "msd/unet16-5x1_scratch_1xb32-cos-4k_hippocampus": (1, 5, 64, 48),
}
COUNTED: set[str] = set()  # networks, but for their classes: the others are one of these


@pytest.mark.parametrize("path", CONFIGS)
def test_every_config_can_be_counted(path: str):
    config = read_config(ROOT / path)
    if config.model.type == "FasterRCNN3D":  # whose windows may be of any size
        with pytest.raises(ValueError, match="along H, W; say --shape C D H W"):
            flops.sample_shape(config, Path(path))
        shape = (1, config.model.window.slices, 512, 512)
    else:
        shape = flops.sample_shape(config, Path(path))
    assert shape == SHAPES.get(path.removeprefix("configs/").removesuffix(".py"), shape)
    head = config.model.get("decode_head") or config.model.get("head") or config.model
    parts = config.model.backbone, config.model.get("neck"), head.type
    if repr(parts) in COUNTED:
        return
    COUNTED.add(repr(parts))
    model = flops.network(config, "meta")
    counted = flops.multiply_adds(model, shape)
    assert counted.parts["backbone"] > 0
    assert counted.total == sum(counted.parts.values())  # what lies between them is interpolation


@pytest.mark.parametrize("slices", [5, 1])
def test_the_encoder_of_transseg_has_its_multiply_adds(slices: int):
    path = Path("configs/transseg/bcv_beit-b16_upernet.py")
    config = read_config(ROOT / path, {"window.slices": slices})
    found = flops.multiply_adds(flops.network(config, "meta"), flops.sample_shape(config, path)).parts["backbone"]
    tokens, dims = 1 + 32 * 32, 768
    block = 12 * tokens * dims**2 + 2 * tokens**2 * dims  # qkv, proj and the perceptron; the two products of attention
    assert found == 12 * block + 32 * 32 * dims * slices * 16**2
    assert found == {5: 107_429_775_360, 1: 106_624_468_992}[slices]  # as published


ANY = (1, math.inf)


@pytest.mark.parametrize(
    ("step", "sides"),
    [  # what it makes of (6 to 8, 9, any)
        (dict(type="RandomFlip3D"), [(6, 8), (9, 9), ANY]),
        (dict(type="RandomRotate90", planes=["DH"]), [(6, 9), (6, 9), ANY]),
        (dict(type="Reorient3D"), [ANY] * 3),
        (dict(type="RandomSpatial3D"), [(6, 8), (9, 9), ANY]),
        (dict(type="RandomSpatial3D", size=(4, 5, 5)), [(4, 4), (5, 5), (5, 5)]),
        (dict(type="RandomPatch3D", size=(None, 4, 5), foreground=0), [(6, 8), (4, 4), (5, 5)]),
        (dict(type="RandomPatch3D", size=16, foreground=0), [(16, 16)] * 3),
        (dict(type="RandomShiftCrop3D", size=4, shift=1), [(4, 4)] * 3),
        (dict(type="CenterCrop3D", size=(3, 4, 5)), [(3, 3), (4, 4), (5, 5)]),
        (dict(type="RandomZCrop", depth=2), [(2, 2), (9, 9), ANY]),
        (dict(type="CropForeground3D"), [(1, 8), (1, 9), ANY]),
        (dict(type="Pad3D", size=(7, 7, 16)), [(7, 8), (9, 9), (16, 16)]),
        (dict(type="Pad3D", size=(None, 7, None)), [(6, 8), (9, 9), ANY]),
        (dict(type="RandomCrop3D", size=(7, 7, 7)), [(6, 7), (7, 7), (1, 7)]),
        (dict(type="RandomCrop3D", size=(None, 7, 16)), [(6, 8), (7, 7), (1, 16)]),
        (dict(type="PadToMultiple3D", divisor=(4, 4, 5)), [(8, 8), (12, 12), (5, math.inf)]),
        (dict(type="Resize3D", size=(3, 4, 5)), [(3, 3), (4, 4), (5, 5)]),
        (dict(type="ResampleSpacing3D", spacing=(None, 2, 2)), [(6, 8), ANY, ANY]),
        (dict(type="RandomResize3D"), [(6, 8), ANY, ANY]),
        (dict(type="RandomZoom3D"), [ANY] * 3),
        (dict(type="RandomZoom3D", in_slices=True), [(6, 8), ANY, ANY]),
        (dict(type="Normalize3D", mean=0, std=1), [(6, 8), (9, 9), ANY]),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_a_size_is_followed_through_a_transform(step, sides):
    transform = TRANSFORMS.build(step)
    assert flops.sides_after(transform, [(6, 8), (9, 9), ANY]) == sides
    shape = (6, 9, 12)
    image = Volume(1 + np.arange(6 * 9 * 12, dtype=np.float32).reshape(1, *shape))
    found = transform(Sample(image, LabelMap(np.ones((1, *shape), np.uint8)), name="a")).image.shape
    assert all(low <= size <= high for size, (low, high) in zip(found, sides, strict=True)), found


def test_a_transform_of_which_nothing_is_known_leaves_no_size():
    kind = type("Bend", (TRANSFORMS.get("RandomSpatial3D").__bases__[0],), {})
    assert flops.sides_after(kind(), [(6, 6)] * 3) == [ANY] * 3


@pytest.mark.parametrize(
    ("pipeline", "shape"),
    [
        ([dict(type="mmpretrain.RandomCrop", crop_size=(32, 48))], (3, 32, 48)),
        ([dict(type="RandomResizedCrop", scale=(32, 48)), dict(type="ColorJitter")], (3, 32, 48)),
        ([dict(type="mmpretrain.CenterCrop", crop_size=(48, 32))], (3, 32, 48)),
        ([dict(type="mmcv.Resize", scale=(48, 32))], (3, 32, 48)),
        ([dict(type="RandomResizedCrop", scale=32), dict(type="ColoursToSlices")], (1, 3, 32, 32)),
        ([dict(type="mmcv.Resize", scale=(48, 32), keep_ratio=True)], "along H, W; say --shape C H W"),
        (
            [dict(type="RandomResizedCrop", scale=32), dict(type="ResizeEdge", scale=64)],
            "along H, W; say --shape C H W",
        ),
        ([dict(type="RandomZCrop", depth=4)], "along H, W; say --shape C D H W"),
        ([dict(type="Resize3D", size=8)], "nothing in its model tells the channels of a sample; say --shape C D H W"),
    ],
)
def test_the_shape_is_told_or_asked_for(pipeline, shape):
    config = Config(dict(model=dict(type="VolumeClassifier"), train_dataloader=dict(dataset=dict(pipeline=pipeline))))
    if isinstance(shape, tuple):
        assert flops.sample_shape(config, Path("net.py")) == shape
        return
    with pytest.raises(ValueError, match=f"^net.py: .*{shape}"):
        flops.sample_shape(config, Path("net.py"))


def test_channels_are_the_models_or_what_its_backbone_expects():
    def told(**model) -> int:
        pipeline = [dict(type="Resize3D", size=8)]
        config = Config(dict(model=model, train_dataloader=dict(dataset=dict(pipeline=pipeline))))
        return flops.sample_shape(config, Path("net.py"))[0]

    assert told(type="SliceWindowSegmentor", in_channels=4, backbone=dict(type="BEiT3D")) == 4
    assert told(type="VolumeSegmentor", backbone=dict(type="ResNet3D", in_channels=2)) == 2
    assert told(type="VolumeSegmentor", backbone=dict(type="ResNet3D")) == 1
