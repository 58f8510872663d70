"""Checkpoints told by their keys and shapes: every published layout at its full width, and what is none of them."""

from typing import NamedTuple

import pytest
import torch
import torchvision
from published import (
    MEDICALNET,
    Shapes,
    behind,
    beit,
    dino,
    genesis,
    lidc,
    linear,
    p3d,
    resnet,
    shapes_only,
    stdunet,
    swin,
)

from vdt3d.models.weights.layouts import LAYOUTS
from vdt3d.models.weights.recognition import nearest, recognise
from vdt3d.registry import MODELS


def test_the_tables_of_these_tests_are_the_published_ones():
    """Rows and counts of the release: 20 convolutions and 20 norms of 5 tensors; 21 and 21 in the older files."""
    eighteen = resnet(18)
    assert len(eighteen) == 20 + 20 * 5
    assert len(resnet(18, early=True)) == 21 + 21 * 5
    assert eighteen["conv1.weight"] == (64, 1, 7, 7, 7)
    assert eighteen["layer2.0.conv1.weight"] == (128, 64, 3, 3, 3)
    assert eighteen["layer4.0.downsample.0.weight"] == (512, 256, 1, 1, 1)
    assert "layer1.0.downsample.0.weight" not in eighteen
    assert resnet(18, early=True)["layer1.0.downsample.0.weight"] == (64, 64, 1, 1, 1)
    assert resnet(18, stem="deep")["stem.2.conv.weight"] == (64, 32, 3, 3, 3)
    assert resnet(50)["layer1.0.downsample.0.weight"] == (256, 64, 1, 1, 1)
    assert lidc()["decode_head.conv1.conv.weight"] == (512, 640, 1, 1, 1)
    assert genesis()["module.up_tr64.ops.0.conv1.weight"] == (64, 192, 3, 3, 3)
    with torch.device("meta"):
        theirs = torchvision.models.resnet50().state_dict()
    assert {key: tuple(value.shape) for key, value in theirs.items()} == resnet(50, dims=2, in_channels=3) | linear(
        "fc", 1000, 2048
    )


PLAIN = {"depth": 18, "shortcut_type": "B", "avg_down": False, "norm_cfg.type": "BN", "deep_stem": False, "conv": "3d"}
PLAIN |= {"base_channels": 64}
NO_SHORTCUT = {key: value for key, value in PLAIN.items() if key != "avg_down"} | {"shortcut_type": "A"}
OF_PICTURES = {key: value for key, value in PLAIN.items() if key != "conv"}
KINETICS_A = behind("module.", resnet(18, in_channels=3, shortcut="A") | linear("fc", 400, 512))
KM = resnet(18, in_channels=3) | linear("fc", 1039, 512)


class File(NamedTuple):
    """What is in a published file, and what it must be recognised as."""

    shapes: Shapes
    layout: str
    options: dict
    prefix: str = ""
    in_channels: int = 1
    heads: tuple[str, ...] = ()


def backbone(options: dict, **changes) -> File:
    """A bare VDT backbone of ResNet-18 or ``changes["depth"]``."""
    return File(resnet(**{"depth": 18, **changes}), "vdt", PLAIN | options)


CLASSIFIER = behind("module.backbone.", resnet(18)) | linear("module.head.fc", 1000, 512)
MMPRETRAIN = behind("backbone.", resnet(34, dims=2, in_channels=3)) | linear("head.fc", 1000, 512)
FILES = {
    "VDT 73.07": backbone({}),
    "VDT 50": backbone({"depth": 50}, depth=50),
    "VDT 101": backbone({"depth": 101}, depth=101),
    "VDT with the early shortcut": backbone({"force_downsample": True}, early=True),
    "VDT GN": backbone({"norm_cfg.type": "GN"}, kind="gn"),
    "VDT deep stem": backbone({"deep_stem": True}, stem="deep"),
    "medseg deep stem": backbone({"deep_stem": True}, stem="flat"),
    "VDT simpledown": File(resnet(18, shortcut="A"), "vdt", NO_SHORTCUT),
    "VDT saved by DDP": File(behind("module.", resnet(18)), "vdt", PLAIN, "module."),
    "VDT classifier": File(CLASSIFIER, "classifier", PLAIN, "module.backbone.", heads=("head",)),
    "StdUNet": File(stdunet(), "stdunet", PLAIN, "backbone.", heads=("decode_head", "neck")),
    "LIDC-FCN": File(lidc(), "lidc", PLAIN, "backbone.", heads=("decode_head",)),
    "resnet-18-kinetics": File(KINETICS_A, "kinetics", NO_SHORTCUT, "module.", 3, ("fc",)),
    "r3d18_KM_200ep": File(KM, "kinetics", PLAIN, "", 3, ("fc",)),
    "r3d18_KM_200ep_med1channel": File(KM | {"conv1.weight": (64, 1, 7, 7, 7)}, "kinetics", PLAIN, "", 1, ("fc",)),
    "r3d50 without its head": File(resnet(50, in_channels=3), "kinetics", PLAIN | {"depth": 50}, "", 3),
    "Genesis_Chest_CT": File(genesis(), "genesis", {"base_channels": 32}, "module.", heads=("out_tr",)),
    "mmpretrain": File(MMPRETRAIN, "resnet2d", OF_PICTURES | {"depth": 34}, "backbone.", 3, ("head",)),
    "mmsegmentation resnet50_v1c": File(
        resnet(50, dims=2, in_channels=3, stem="flat"),
        "resnet2d",
        OF_PICTURES | {"depth": 50, "deep_stem": True},
        in_channels=3,
    ),
}
BASE, SWIN_B = {"embed_dims": 768, "depth": 12}, {"embed_dims": 128, "depths": (2, 2, 18, 2)}
FILES |= {
    "beit_base_patch16_224_pt22k_ft22k": File(beit(), "beit", BASE, "", 3, ("head",)),
    "beit_base_patch16_224_pt22k": File(beit(shared=True), "beit-ssl", BASE, "", 3, ("lm_head",)),
    "dino_vitbase16_pretrain": File(dino(), "vit", BASE, "", 3),
    "swin_base_patch4_window7_224_22k": File(swin(), "swin", SWIN_B, "", 3),
    "swin_base_patch244_window877_kinetics600_22k": File(swin(video=True), "video-swin", SWIN_B, "backbone.", 3),
}
P3D = {"depth": 63, "base_channels": 64, "norm_cfg.type": "GN"}
DETECTOR = behind("backbone.", p3d(63)) | {"neck.lateral_convs.0.conv.weight": (256, 256, 1, 1)}
GROUPED = behind("backbone.", p3d("18ba", transforms=9)) | linear("roi_head.bbox_head.fc_cls", 2, 1024)
FILES |= {
    "mp3d63": File(DETECTOR, "p3d", P3D, "backbone.", heads=("neck",)),
    "mp3d_groupconv": File(
        GROUPED, "p3d", P3D | {"depth": "18ba", "conversion": "groupconv"}, "backbone.", heads=("roi_head",)
    ),
    "P3D classifier of batch norms": File(
        behind("backbone.", p3d("18ba", width=16, kind="bn")) | linear("head.fc", 10, 128),
        "p3d",
        {"depth": "18ba", "base_channels": 16, "norm_cfg.type": "BN"},
        "backbone.",
        heads=("head",),
    ),
}
for depth in (18, 34, 50, 101, 152):
    shapes = resnet(depth, dims=2, in_channels=3) | linear("fc", 1000, 512 if depth < 50 else 2048)
    FILES[f"torchvision {depth}"] = File(shapes, "resnet2d", OF_PICTURES | {"depth": depth}, "", 3, ("fc",))
for depth, shortcut in MEDICALNET.items():
    shapes = behind("module.", resnet(depth, shortcut=shortcut) | {"conv_seg.0.weight": (512, 32, 2, 2, 2)})
    options = (PLAIN if shortcut == "B" else NO_SHORTCUT) | {"depth": depth}
    FILES[f"MedicalNet {depth}"] = File(shapes, "medicalnet", options, "module.", heads=("conv_seg",))


@pytest.mark.parametrize("name", FILES)
def test_a_published_file_is_recognised(name):
    file = FILES[name]
    found = recognise(shapes_only(file.shapes))
    assert (found.layout.name, found.options) == (file.layout, file.options)
    assert (found.prefix, found.in_channels, found.heads) == (file.prefix, file.in_channels, file.heads)
    assert found.layout.source


@pytest.mark.parametrize("arch", ["r3d_18", "mc3_18", "r2plus1d_18"])
def test_torchvisions_video_networks_are_told_apart(arch):
    with torch.device("meta"):
        state = getattr(torchvision.models.video, arch)(weights=None).state_dict()
    found = recognise({f"module.{key}": value for key, value in state.items()})
    assert (found.layout.name, found.prefix, found.in_channels) == (arch, "module.", 3)
    assert (found.options, found.heads) == ({"arch": arch}, ("fc",))


@pytest.mark.parametrize(
    ("network", "layout", "options"),
    [
        (torchvision.models.swin_t, "torchvision-swin", {"embed_dims": 96, "depths": (2, 2, 6, 2)}),
        (torchvision.models.video.swin3d_t, "torchvision-video-swin", {"embed_dims": 96, "depths": (2, 2, 6, 2)}),
    ],
)
def test_torchvisions_swin_transformers_are_told_apart(network, layout, options):
    with torch.device("meta"):
        found = recognise(network().state_dict())
    assert (found.layout.name, found.options, found.in_channels, found.heads) == (layout, options, 3, ("head",))


@pytest.mark.parametrize("kind", ["BEiT3D", "ViT3D", "Swin3D", "VideoSwin"])
def test_a_transformer_of_ours_is_recognised_as_itself(kind):
    sizes = {"BEiT3D": {"depth": 6}, "ViT3D": {"depth": 6}}.get(kind, {"depths": (1, 2, 1)})
    heads = {} if "depth" in sizes else {"num_heads": (1, 1, 2), "out_indices": (0, 2)}
    out = {"out_indices": (5,), "num_heads": 2} if "depth" in sizes else {}
    with torch.device("meta"):
        network = MODELS.build({"type": kind, "embed_dims": 16, **sizes, **heads, **out})
    found = recognise({f"backbone.{key}": value for key, value in network.state_dict().items()})
    assert (found.layout.backbone, found.layout.kind, found.prefix) == (kind, "3D", "backbone.")
    assert (found.options, found.in_channels) == ({"embed_dims": 16, **sizes}, 1)


def test_every_layout_was_found():
    tested = {file.layout for file in FILES.values()} | {"r3d_18", "mc3_18", "r2plus1d_18"}
    tested |= {"torchvision-swin", "torchvision-video-swin"}
    assert tested == {layout.name for layout in LAYOUTS}


def test_what_is_found_is_said_in_a_line():
    found = recognise(shapes_only(FILES["MedicalNet 34"].shapes))
    assert str(found) == "MedicalNet 3D ResNet (depth=34, shortcut_type='A', 1 input channel)"
    # Batch norms go without saying of a ResNet, group norms of P3D.
    assert str(recognise(shapes_only(DETECTOR))) == "P3D or MP3D (depth=63, 1 input channel)"
    found = recognise(shapes_only(p3d("18ba", kind="bn")))
    assert str(found) == "P3D or MP3D (depth='18ba', norm_cfg.type='BN', 1 input channel)"


def test_fewer_stages_tell_the_depth_where_they_can():
    """Two stages of (3, 4) blocks: basic ones are of ResNet-34, bottlenecks of 50 as well as 101."""
    for depth, told in ((34, 34), (50, None)):
        two = {key: shape for key, shape in resnet(depth).items() if not key.startswith(("layer3", "layer4"))}
        assert recognise(shapes_only(two)).options.get("depth") == told


def test_flat_and_average_kernels_are_seen():
    flat = {key: (*shape[:2], 1, *shape[3:]) if len(shape) == 5 else shape for key, shape in resnet(18).items()}
    assert recognise(shapes_only(flat)).options["conv"] == "2.5d"
    shapes = {}
    for key, shape in resnet(18).items():
        name = key.replace("downsample.1.", "downsample.2.").replace("downsample.0.", "downsample.1.")
        shapes[name] = shape
    assert recognise(shapes_only(shapes)).options["avg_down"] is True


def test_names_of_flat_stems_become_ours():
    found = recognise(shapes_only(behind("backbone.", resnet(18, stem="flat", kind="gn"))))
    for theirs, ours in (
        ("backbone.stem.0.weight", "backbone.stem.0.conv.weight"),
        ("backbone.stem.4.bias", "backbone.stem.1.gn.bias"),
        ("backbone.stem.6.weight", "backbone.stem.2.conv.weight"),
        ("backbone.layer1.0.conv1.weight", "backbone.layer1.0.conv1.weight"),
        ("decode_head.conv_seg.weight", "decode_head.conv_seg.weight"),
    ):
        assert found.ours(theirs) == ours


def test_names_of_timms_deep_stems_and_shortcuts_become_ours():
    found = recognise(
        shapes_only(
            {
                "conv1.0.weight": (32, 3, 3, 3),
                "bn1.weight": (64,),
                "layer1.0.conv1.weight": (64, 64, 1, 1),
                "layer1.0.bn1.weight": (64,),
                "layer1.0.conv3.weight": (256, 64, 1, 1),
                "layer1.0.downsample.1.weight": (256, 64, 1, 1),
                "layer1.0.downsample.2.weight": (256,),
                "layer2.0.conv1.weight": (128, 256, 1, 1),
                "layer2.0.downsample.1.weight": (512, 256, 1, 1),
            }
        )
    )
    assert found.ours("conv1.3.weight") == "stem.1.conv.weight"
    assert found.ours("bn1.weight") == "stem.2.bn.weight"
    assert found.ours("layer1.0.downsample.1.weight") == "layer1.0.downsample.0.weight"
    assert found.ours("layer2.0.downsample.1.weight") == "layer2.0.downsample.1.weight"


def test_other_networks_of_pictures_and_of_volumes():
    picture = {"features.0.weight": (8, 3, 3, 3), "features.1.weight": (8,), "classifier.1.weight": (10, 8)}
    found = recognise(shapes_only(picture))
    assert (found.layout.name, found.layout.kind, found.heads) == ("2d", "2D", ("classifier",))
    volume = {"encoder1.conv1.weight": (8, 1, 3, 3, 3), "encoder1.bn1.weight": (8,)}
    assert recognise(shapes_only(volume)).layout is None
    assert recognise({"0.weight": torch.zeros(3, 4)}).layout is None


NEAR = {
    "3D ResNet backbone": (
        {key: shape for key, shape in resnet(18).items() if not key.startswith("layer2")},
        "it has no 'layer2.0.conv1.weight'",
    ),
    "torchvision mc3_18": (
        {"stem.0.weight": (64, 3, 3, 7, 7), "layer1.0.conv1.0.weight": (64, 64, 3, 3, 3)}
        | {"layer2.0.conv1.0.weight": (128, 64, 3, 1, 1)},
        "the kernel of its 'layer2.0.conv1.0.weight' is (3, 1, 1), not (1, 3, 3)",
    ),
    "Models Genesis U-Net": (
        {"down_tr64.ops.0.conv1.weight": (32, 1, 3, 3, 3)},
        "it has no 'down_tr512.ops.1.conv1.weight'",
    ),
}


@pytest.mark.parametrize("title", NEAR)
def test_the_nearest_is_named_with_the_reason_against_it(title):
    shapes, reason = NEAR[title]
    state = shapes_only(shapes)
    assert recognise(state).layout is None
    layout, why = nearest(state)
    assert (layout.title, why) == (title, reason)
