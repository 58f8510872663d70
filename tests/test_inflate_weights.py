"""Checkpoints of others and of 2D networks in our models: every tensor arrives, or the refusal says what to do."""

from functools import partial
from pathlib import Path

import pytest
import tiny
import torch
import torch.nn.functional as F
import torchvision
from published import MEDICALNET, behind, filled, genesis, lidc, linear, resnet, shapes_only, stdunet
from torch import Tensor, nn

import medseg.models  # noqa: F401
from vdt3d.engine import Runner
from vdt3d.models.inflate.kernels import fit_input_channels
from vdt3d.models.weights.adapt import adapt, inflate
from vdt3d.models.weights.files import CheckpointError, read_any, state_dict_of
from vdt3d.models.weights.load import LoadReport, load_weights
from vdt3d.registry import MODELS

WIDTH = 4
LOSS = dict(loss_decode=dict(type="CrossEntropyLoss3D"))  # the usual one would take seconds to import MONAI
PICTURES = resnet(18, width=WIDTH, dims=2, in_channels=3) | linear("fc", 10, 8 * WIDTH)


def classifier(type: str = "ResNet3D", **options) -> dict:  # noqa: A002 the word of a config
    backbone = dict(type=type, **options)
    if type == "ResNet3D":
        backbone = dict(depth=18, base_channels=WIDTH) | backbone
    pool = dict(type="GlobalAveragePooling", dim=3)
    return dict(type="VolumeClassifier", backbone=backbone, neck=pool, head=dict(type="LinearClsHead", num_classes=2))


def load(model: nn.Module, state: dict[str, Tensor], how: str | None = None) -> LoadReport:
    adapted = adapt(state, model, how=how, name="a.pth")
    return load_weights(model, adapted.state, name="a.pth", hint=adapted.hint)


def bare(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A file's backbone without prefixes and heads."""
    named = {key.removeprefix("module.").removeprefix("backbone."): value for key, value in state.items()}
    return {key: value for key, value in named.items() if key.startswith(("conv1", "bn1", "gn1", "stem", "layer"))}


# ---- published files of 3D networks ----------------------------------------------------------------------------------

ONE = dict(width=WIDTH)
COLOURED = dict(width=WIDTH, in_channels=3)
CLASSIFIER = behind("module.backbone.", resnet(18, **ONE)) | linear("module.head.fc", 1000, 8 * WIDTH)
KINETICS_A = behind("module.", resnet(18, shortcut="A", **COLOURED) | linear("fc", 400, 8 * WIDTH))
FILES = {  # what is in the file; what the backbone must be given
    "VDT 18": (resnet(18, **ONE), {}),
    "VDT 50": (resnet(50, **ONE), dict(depth=50)),
    "VDT classifier": (CLASSIFIER, {}),
    "VDT with the early shortcut": (resnet(18, early=True, **ONE), dict(force_downsample=True)),
    "VDT simpledown": (resnet(18, shortcut="A", **ONE), dict(shortcut_type="A")),
    "VDT GN": (resnet(18, kind="gn", **ONE), dict(norm_cfg=dict(type="GN", num_groups=2))),
    "VDT deep stem": (resnet(18, stem="deep", **ONE), dict(deep_stem=True)),
    "medseg deep stem": (resnet(18, stem="flat", **ONE), dict(deep_stem=True)),
    "resnet-18-kinetics": (KINETICS_A, dict(shortcut_type="A")),
    "r3d18_KM_200ep": (resnet(18, **COLOURED) | linear("fc", 1039, 8 * WIDTH), {}),
    "r3d50_K_200ep": (resnet(50, **COLOURED) | linear("fc", 700, 32 * WIDTH), dict(depth=50)),
}
for depth, shortcut in MEDICALNET.items():
    shapes = behind("module.", resnet(depth, shortcut=shortcut, **ONE) | {"conv_seg.0.weight": (8, 32, 2, 2, 2)})
    FILES[f"MedicalNet {depth}"] = (shapes, dict(depth=depth, shortcut_type=shortcut))
FLAT_STEM = {"stem.0.": "stem.0.conv.", "stem.1.": "stem.0.bn.", "stem.3.": "stem.1.conv.", "stem.4.": "stem.1.bn."}
FLAT_STEM |= {"stem.6.": "stem.2.conv.", "stem.7.": "stem.2.bn."}


@pytest.mark.parametrize("name", FILES)
def test_a_published_file_fills_the_whole_backbone(name, tmp_path):
    shapes, options = FILES[name]
    state = filled(shapes)
    torch.save({"state_dict": state, "epoch": 200}, tmp_path / "a.pth")
    model = MODELS.build(classifier(**options))
    report = load(model, state_dict_of(read_any(str(tmp_path / "a.pth"))))
    assert report.matched == 1
    assert {*report.missing, *report.unlike} == {"head.fc.weight", "head.fc.bias"}
    got = model.backbone.state_dict()
    expected = bare(state)
    if name == "medseg deep stem":
        expected = {FLAT_STEM.get(key[:7], key[:7]) + key[7:]: value for key, value in expected.items()}
    if "conv1.weight" in expected:
        expected["conv1.weight"] = expected["conv1.weight"].sum(1, keepdim=True)  # colours; one channel is its own sum
    assert got.keys() == expected.keys()
    assert [key for key in got if not torch.equal(got[key], expected[key])] == []


def test_the_released_file_fills_a_backbone_of_full_width():
    state = {key: torch.tensor(2.0).expand(shape) for key, shape in resnet(18).items()}
    model = MODELS.build(dict(type="ResNet3D", depth=18))
    report = load(model, state)
    assert (len(report.used), report.missing, report.left, report.unlike) == (120, (), (), {})
    assert all((value == 2).all() for value in model.state_dict().values())


def test_whole_segmentation_networks_fill_ours():
    features = dict(depth_stride=True, unet_features=True, stem_stride=False, out_indices=(0, 1, 2, 3))
    backbone = classifier(**features)["backbone"]
    head = dict(type="FCNHead3D", num_classes=14, **LOSS)
    unet = dict(backbone=backbone | dict(stem_pool=True), neck=dict(type="UNetNeck"), decode_head=head)
    narrow = dict(type="LIDCFCNHead", num_classes=2, channels=8, hidden_channels=6, **LOSS)
    fcn = dict(backbone=backbone, decode_head=narrow)
    for parts, shapes, left in (
        (unet, stdunet(WIDTH), ()),
        (fcn, lidc(WIDTH, 8, 6), ("conv3.conv.weight", "conv3.conv.bias", "conv_seg.weight", "conv_seg.bias")),
    ):
        model, state = MODELS.build(dict(type="VolumeSegmentor", **parts)), filled(shapes)
        report = load(model, state)
        assert (report.missing, report.left) == ((), tuple(f"decode_head.{key}" for key in left))
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_models_genesis_fills_the_unet_but_for_scores_of_other_classes():
    state = filled(genesis(2, classes=1))
    backbone = dict(type="UNet3D", base_channels=2, num_classes=3)
    model = MODELS.build(dict(type="VolumeSegmentor", backbone=backbone, decode_head=dict(type="PseudoHead", **LOSS)))
    report = load(model, state)
    scores = ("out_tr.final_conv.weight", "out_tr.final_conv.bias")
    assert (report.missing, report.left) == ((), ())
    assert tuple(report.unlike) == tuple(f"backbone.{key}" for key in scores)
    got = model.backbone.state_dict()
    assert all(torch.equal(got[key], state[f"module.{key}"]) for key in got if key not in scores)


def test_shortcuts_without_parameters_keep_gradients():
    """With the last norms of layer2 to layer4 at zero, shortcuts alone lead back from the output to the stem."""
    backbone = MODELS.build(dict(type="ResNet3D", depth=18, base_channels=WIDTH, shortcut_type="A")).eval()
    load(backbone, filled(KINETICS_A))
    for stage in (backbone.layer2, backbone.layer3, backbone.layer4):
        for block in stage:
            nn.init.zeros_(block.bn2.weight)
            nn.init.zeros_(block.bn2.bias)
    backbone(torch.randn(1, 1, 4, 32, 32))[0].square().sum().backward()
    assert backbone.conv1.weight.grad.abs().sum() > 0


# ---- 2D networks -----------------------------------------------------------------------------------------------------


def loaded(folder: Path, state: dict[str, Tensor], model: dict, **settings) -> tuple[dict[str, Tensor], str]:
    """The backbone of ``model`` after a run has loaded ``state`` from a file, and the run's log."""
    torch.save({"state_dict": state}, folder / "pictures.pth")
    runner = Runner.from_cfg(tiny.config(folder, model=model, **settings))
    runner.load_checkpoint(str(folder / "pictures.pth"))
    return runner.model.backbone.state_dict(), next(folder.glob("*/*.log")).read_text()


@pytest.mark.parametrize("prefix", ["", "backbone."])
@pytest.mark.parametrize("how", ["i3d", "centre"])
def test_the_cubic_arms_hold_the_2d_weights(how, prefix, tmp_path):
    """The I3D arm of the published comparison held random numbers; here every kernel is the 2D one."""
    state = filled(PICTURES)
    given = {key if key.startswith("fc.") else prefix + key: value for key, value in state.items()}
    got, log = loaded(tmp_path, given, classifier(), inflate=how)
    assert got.keys() == bare(state).keys()
    for key, value in got.items():
        expected = state[key].sum(1, keepdim=True) if key == "conv1.weight" else state[key]
        if value.dim() < 5:
            assert torch.equal(value, expected), key  # norms, their statistics and counts
            continue
        torch.testing.assert_close(value.sum(2), expected)
        middle = value.shape[2] // 2
        if how == "centre":
            assert torch.equal(value[:, :, middle], expected)
        else:
            torch.testing.assert_close(value[:, :, 0], expected / value.shape[2])
    # 20 convolutions; the three 1x1 ones of the shortcuts stay of one slice
    assert f"17 2D kernels filled the depth of 3D ones ({how})" in log
    assert "3 2D kernels became kernels of one slice" in log
    assert "conv1.weight: 3 input channels made 1" in log
    assert (
        "recognised as: ResNet with 2D kernels (depth=18, shortcut_type='B', base_channels=4, 3 input channels)" in log
    )


@pytest.mark.parametrize("conv", ["acs", "2.5d"])
def test_flat_kernels_need_no_word(conv, tmp_path):
    state = filled(PICTURES)
    got, _ = loaded(tmp_path, state, classifier(conv=conv))
    for key, value in got.items():
        expected = state[key].sum(1, keepdim=True) if key == "conv1.weight" else state[key]
        assert torch.equal(value, expected.unsqueeze(2) if conv == "2.5d" and value.dim() == 5 else expected), key
    assert got["layer1.0.conv1.weight"].dim() == (4 if conv == "acs" else 5)


@pytest.mark.parametrize("how", ["centre", "acs"])
def test_a_converted_network_says_itself_how(how, tmp_path):
    state = filled(PICTURES)
    pictures = dict(type="mmpretrain.ResNet", depth=18, base_channels=WIDTH, stem_channels=WIDTH)
    model = classifier("Convert2d", model=pictures, how=how)
    got, _ = loaded(tmp_path, state, model)
    assert {key.removeprefix("network.") for key in got} == bare(state).keys()
    for key in ("layer1.0.conv1.weight", "layer4.1.conv2.weight"):
        kernel = got[f"network.{key}"]
        assert torch.equal(kernel if how == "acs" else kernel[:, :, 1], state[key])
    assert torch.equal(got["network.bn1.running_var"], state["bn1.running_var"])


@pytest.mark.parametrize(("rgb", "share"), [("sum", 1), ("mean", 1 / 3)])
def test_a_converted_network_says_itself_what_becomes_of_colours(rgb, share):
    state = filled(PICTURES)
    pictures = dict(type="mmpretrain.ResNet", depth=18, base_channels=WIDTH, stem_channels=WIDTH)
    model = MODELS.build(classifier("Convert2d", model=pictures, how="acs", rgb=rgb))
    load(model, state)
    expected = state["conv1.weight"].sum(1, keepdim=True) * share
    torch.testing.assert_close(model.backbone.network.conv1.weight.data, expected)


def test_without_a_word_cubic_kernels_are_refused(tmp_path):
    with pytest.raises(CheckpointError) as refusal:
        loaded(tmp_path, filled(PICTURES), classifier())
    message = str(refusal.value)
    assert "pictures.pth: not loaded. It was recognised as: ResNet with 2D kernels (depth=18" in message
    assert "conv1.weight: file (4, 3, 7, 7), model (4, 1, 7, 7, 7)" in message
    assert "say inflate='i3d' (repeated along depth) or inflate='centre'" in message


def test_testing_never_inflates(tmp_path):
    torch.save(filled(PICTURES), tmp_path / "a.pth")
    runner = Runner.from_cfg(tiny.config(tmp_path, model=classifier(), inflate="i3d"))
    with pytest.raises(CheckpointError, match="100%"):
        runner.load_checkpoint(str(tmp_path / "a.pth"), heads=True)


def test_any_2d_network_fills_its_converted_self():
    """MobileNet v3, with depthwise kernels (C, 1, 3, 3), 1x1 kernels and squeeze-and-excitation."""
    network = torchvision.models.mobilenet_v3_small(weights=None)
    model = MODELS.build(classifier("Convert2d", model="torchvision.mobilenet_v3_small", how="i3d"))
    state = filled({key: tuple(value.shape) for key, value in network.state_dict().items()})
    report = load(model, state, "i3d")
    assert report.missing == ("head.fc.weight", "head.fc.bias")
    got = model.backbone.state_dict()
    for key, value in got.items():
        expected = state[key.removeprefix("network.")]
        if key == "network.features.0.0.weight":
            expected = expected.sum(1, keepdim=True)
        torch.testing.assert_close(value.sum(2) if value.dim() == 5 else value, expected)


def test_own_checkpoints_are_left_alone():
    model = MODELS.build(classifier())
    state = model.state_dict() | {"head.fc.weight": torch.zeros(7, 8 * WIDTH)}
    adapted = adapt(state, model, how=None, name="epoch_1.pth")
    assert all(adapted.state[key] is value for key, value in state.items())
    other = nn.Sequential(nn.Conv3d(1, 2, 3), nn.Linear(2, 2))
    adapted = adapt(other.state_dict(), other, how="i3d", name="epoch_1.pth")
    assert (adapted.notes, adapted.found.layout) == ((), None)


# ---- the pure function -----------------------------------------------------------------------------------------------


def test_a_kernel_for_colours_answers_grey_as_before():
    """The sum over colours: a grey volume of equal slices is answered as the grey picture in three colours."""
    kernel, grey = torch.randn(2, 3, 3, 3), torch.randn(1, 1, 8, 8)
    as_picture = F.conv2d(grey.expand(-1, 3, -1, -1), kernel)
    for how in ("i3d", "centre"):
        fitted, notes = inflate({"a": kernel}, {"a": (2, 1, 3, 3, 3)}, how)
        answer = F.conv3d(grey.unsqueeze(2).expand(-1, -1, 5, -1, -1), fitted["a"])
        assert answer.shape == (1, 2, 3, 6, 6)  # the three interior slices
        torch.testing.assert_close(answer, as_picture.unsqueeze(2).expand_as(answer), rtol=1e-5, atol=1e-4)
        assert notes == ["a: 3 input channels made 1", f"1 2D kernels filled the depth of 3D ones ({how})"]
    mean, _ = inflate({"a": kernel}, {"a": (2, 1, 3, 3)}, None, partial(fit_input_channels, rgb="mean"))
    torch.testing.assert_close(mean["a"] * 3, kernel.sum(1, keepdim=True))


def test_what_is_passed_on_and_what_is_changed():
    state = {
        "stem": torch.ones(2, 1, 1, 1),
        "later": torch.ones(2, 1, 1, 1),
        "scale": torch.arange(3.0).view(3, 1, 1),
        "norm": torch.ones(2),
        "same": torch.ones(2, 2, 3, 3, 3),
        "other": torch.ones(5, 2, 3, 3),
        "absent": torch.ones(1),
    }
    shapes = {"stem": (2, 2, 1, 1), "later": (2, 2, 1, 1), "scale": (3, 1, 1, 1), "norm": (2,), "same": (2, 2, 3, 3, 3)}
    fitted, notes = inflate(state, shapes | {"other": (6, 2, 3, 3, 3)}, None)
    assert fitted.keys() == state.keys()
    assert torch.equal(fitted["stem"], torch.full((2, 2, 1, 1), 0.5))  # two channels, each half
    assert torch.equal(fitted["scale"], state["scale"].unsqueeze(-1))
    # "later" is not the first kernel, so its one channel is no image's; "other" has other outputs: the loader reports.
    assert all(fitted[key] is state[key] for key in ("later", "norm", "same", "other", "absent"))
    assert notes == ["stem: 1 input channels made 2"]


def test_a_kernel_of_one_slice_needs_no_word():
    kernel = torch.randn(2, 2, 3, 3)
    for how in (None, "2.5d", "i3d"):
        fitted, notes = inflate({"a": kernel}, {"a": (2, 2, 1, 3, 3)}, how)
        assert torch.equal(fitted["a"], kernel.unsqueeze(2))
        assert notes == ["1 2D kernels became kernels of one slice"]
    with pytest.raises(CheckpointError, match="'acs' does not say how to fill their depth: say inflate='i3d'"):
        inflate({"a": kernel}, {"a": (2, 2, 3, 3, 3)}, "acs")


# ---- refusals --------------------------------------------------------------------------------------------------------


MEDICALNET_34 = behind("module.", resnet(34, shortcut="A", **ONE))
VIDEO = {"stem.0.weight": (64, 3, 3, 7, 7), "layer1.0.conv1.0.weight": (64, 64, 3, 3, 3)}
VIDEO |= {"layer2.0.conv1.0.weight": (128, 64, 3, 3, 3)}
FLAT = {key: (*shape[:2], 1, *shape[3:]) if len(shape) == 5 else shape for key, shape in resnet(18, **ONE).items()}
CONVERTED = dict(model=dict(type="mmpretrain.ResNet", depth=18, base_channels=WIDTH, stem_channels=WIDTH), how="acs")
WRONG = {  # what is in the file; the backbone; what the file is; what to do
    "deeper": (
        *(MEDICALNET_34, dict(shortcut_type="A"), "MedicalNet 3D ResNet (depth=34, shortcut_type='A'"),
        "say model.backbone.depth=34, or",
    ),
    "deeper, other shortcuts": (
        *(MEDICALNET_34, {}, "MedicalNet 3D ResNet (depth=34, shortcut_type='A'"),
        "They differ in depth, shortcut_type: say model.backbone.depth=34 model.backbone.shortcut_type='A', or",
    ),
    "shortcut A into B": (KINETICS_A, {}, "3D ResNet of 3D-ResNets-PyTorch (Kinetics)", "shortcut_type='A', or"),
    "A into B, of which nine tenths match": (
        *(MEDICALNET_34, dict(depth=34), "MedicalNet", "say model.backbone.shortcut_type='A', or"),
    ),
    "shortcut B into A": (resnet(18, **ONE), dict(shortcut_type="A"), "3D ResNet backbone", "shortcut_type='B', or"),
    "early shortcut": (resnet(18, early=True, **ONE), {}, "force_downsample=True", "force_downsample=True, or"),
    "deep stem": (resnet(18, stem="deep", **ONE), {}, "deep_stem=True", "say model.backbone.deep_stem=True, or"),
    "plain stem": (resnet(18, **ONE), dict(deep_stem=True), "3D ResNet backbone", "backbone.deep_stem=False, or"),
    "GN": (resnet(18, kind="gn", **ONE), {}, "norm_cfg.type='GN'", "say model.backbone.norm_cfg.type='GN', or"),
    "wider": (resnet(18, width=8), {}, "base_channels=8", "say model.backbone.base_channels=8, or"),
    "flat kernels": (FLAT, {}, "conv='2.5d'", "say model.backbone.conv='2.5d', or"),
    "cubic kernels": (resnet(18, **ONE), dict(conv="acs"), "3D ResNet backbone", "model.backbone.conv='3d', or"),
    "Genesis": (genesis(2), {}, "Models Genesis U-Net", "model.backbone.type='UNet3D' model.backbone.base_channels=2"),
    "video": (VIDEO, {}, "torchvision r3d_18", "model.backbone.type='TorchvisionVideo' model.backbone.arch='r3d_18'"),
    "2D, deeper": (resnet(34, dims=2, **COLOURED), {}, "ResNet with 2D kernels (depth=34", "backbone.depth=34, or"),
    "2D, deeper than what is converted": (
        *(resnet(34, dims=2, **COLOURED), dict(type="Convert2d", **CONVERTED), "ResNet with 2D kernels (depth=34"),
        "say in model.backbone.model which 2D network",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_of_another_network_is_refused_with_the_remedy(name):
    shapes, options, title, remedy = WRONG[name]
    model = MODELS.build(classifier(**options))
    with pytest.raises(CheckpointError) as refusal:
        load(model, shapes_only(shapes), "i3d")
    message = str(refusal.value)
    assert message.startswith("a.pth: ")
    assert title in message.partition("It was recognised as: ")[2].partition("The model: ")[0]
    assert remedy in message


def test_too_few_matches_are_refused_with_what_the_file_is():
    model = MODELS.build(classifier())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    half = {key: value for key, value in filled(resnet(18, **ONE)).items() if "bn" not in key}
    # 20 kernels and the three norms of the shortcuts, of 120 tensors and the head's two
    with pytest.raises(CheckpointError, match=r"(?s)a.pth: .*35 of 122.*It was recognised as: 3D ResNet backbone"):
        load(model, half)
    other_norms = filled(resnet(18, kind="gn", **ONE))
    with pytest.raises(CheckpointError, match=r"differ in norm_cfg\.type: say"):
        load(model, other_norms)
    unknown = {"encoder1.conv1.weight": torch.zeros(8, 1, 3, 3, 3), "encoder1.bn1.weight": torch.zeros(8)}
    with pytest.raises(CheckpointError, match=r"of no layout known here; the nearest is .*, but it has no '"):
        load(model, unknown)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    # A lower share allows to take the kernels without the norms: 20, of 20 and 20 x 5 in the backbone.
    kernels = {key: value for key, value in other_norms.items() if "gn" not in key}
    with pytest.raises(CheckpointError, match=r"layer1\.0\.bn1\.weight"):
        load(model, kernels)
    assert len(load_weights(model, kernels, min_matched=0.1).used) == 20 + 3 * 2
