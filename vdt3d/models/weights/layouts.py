"""The kinds of checkpoints that are known: which keys and shapes tell them, and which network of ours holds them.

Names and shapes of the published files: the VDT release (github.com/urmagicsmine/CSPR), 3D-ResNets-PyTorch
(github.com/kenshohara), MedicalNet (github.com/Tencent), Models Genesis (github.com/MrGiovanni), MP3D
(github.com/urmagicsmine/MP3D), BEiT and Swin (github.com/microsoft), DINO (github.com/facebookresearch), torchvision.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

RESNET = ("layer1.0.conv1.weight", "layer2.0.conv1.weight")
KERNEL_DIMS = {"2D": 4, "3D": 5}
# Where two networks differ in one of these, few tensors match, which the loader sees, and ``min_matched`` may allow it;
# where they differ in another, nearly all may match, and yet the result would be neither of the two.
COUNTED = frozenset({"base_channels", "norm_cfg.type"})
COMMON = {"base_channels": 64, "deep_stem": False, "avg_down": False, "norm_cfg.type": "BN", "conv": "3d"}


@dataclass(frozen=True)
class Layout:
    """How the keys of one kind of checkpoint look.

    Args:
        name: in a word, for tables.
        title: for sentences.
        kind: '2D' or '3D', which its kernels are.
        keys: that must be there; the first is one of the backbone's convolutions, the others stand beside it or at the
            top level.
        backbone: the ``type`` of the backbone that holds it; empty where any converted 2D network may.
        source: where such files come from.
        remark: what to know when using them.
        stem: the backbone's first convolution, if that is not one of ``recognition.STEMS``.
        kernels: the size (D, H, W) some of its kernels must have.
        in_channels: that its first convolution must have, if only this tells it from another layout.
        shortcuts: the shortcut each depth must have, if only this tells it from another layout.
        wrapped: whether the keys must begin with ``module.``.
        common: the options that go without saying.
        counted: those in which a difference from the model's network is left to the loader, see ``COUNTED``.
    """

    name: str
    title: str
    kind: str
    keys: tuple[str, ...]
    backbone: str
    source: str
    remark: str = ""
    stem: str = ""
    kernels: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    in_channels: int | None = None
    shortcuts: Mapping[int, str] = field(default_factory=dict)
    wrapped: bool = False
    common: Mapping[str, object] = field(default_factory=lambda: COMMON)
    counted: Collection[str] = COUNTED


_VDT = "the VDT release, and ResNet3D of this project"
_KINETICS = {
    "name": "kinetics",
    "title": "3D ResNet of 3D-ResNets-PyTorch (Kinetics)",
    "kind": "3D",
    "backbone": "ResNet3D",
    "source": "3D-ResNets-PyTorch",
    "remark": "the older files of depth 18 and 34 have shortcut A; the later ones (r3d*_200ep) B",
}
_VIDEO = {"kind": "3D", "backbone": "TorchvisionVideo", "source": "torchvision (Kinetics-400)", "stem": "stem.0.weight"}
_VIDEO_KEYS = ("layer1.0.conv1.0.weight", "layer2.0.conv1.0.weight")


def _transformers(name: str, title: str, backbone: str, source: str, *keys: str, kinds: str = "2D") -> list[Layout]:
    """A layout for each of the ``kinds`` of kernels that its stem, the first of the keys, may have."""
    return [Layout(name, title, kind, keys, backbone, source, stem=keys[0]) for kind in kinds.split()]


_STEM = "patch_embed.proj.weight"
TABLE = "attn.relative_position_bias_table"
SHARED_TABLE = "rel_pos_bias.relative_position_bias_table"

LAYOUTS = (  # the first that fits counts
    Layout(
        "p3d",
        "P3D or MP3D",
        "3D",
        ("conv1_custom.weight", "norm1.weight", *RESNET),
        "P3D",
        "the MP3D release, and P3D and MP3D of this project",
        remark="P3D and MP3D have the same names and shapes; which of the two it was trained as is not told",
        stem="conv1_custom.weight",
        common=COMMON | {"norm_cfg.type": "GN"},
        # Without its norms' statistics a network of batch norms has the names of one of group norms; and the layers of
        # the conversion may be missing, as they start from the slice in the middle.
        counted=COUNTED - {"norm_cfg.type"} | {"conversion"},
    ),
    Layout(
        "stdunet",
        "StdUNet on a 3D ResNet",
        "3D",
        (*RESNET, "neck.decoder.0.conv_block.convs.0.conv.weight", "decode_head.conv_seg.weight"),
        "ResNet3D",
        _VDT,
        remark="ResNet3D with unet_features=True, UNetNeck and FCNHead3D",
    ),
    Layout(
        "lidc",
        "LIDC segmentation network on a 3D ResNet",
        "3D",
        (*RESNET, "decode_head.seg_head.0.weight"),
        "ResNet3D",
        _VDT,
        remark="ResNet3D with unet_features=True and LIDCFCNHead; unused layers (conv3, conv_seg) are left over",
    ),
    Layout("classifier", "3D ResNet classifier", "3D", (*RESNET, "head.fc.weight"), "ResNet3D", _VDT),
    Layout(keys=(*RESNET, "fc.weight"), **_KINETICS),
    Layout(keys=RESNET, in_channels=3, **_KINETICS),
    Layout(
        "medicalnet",
        "MedicalNet 3D ResNet",
        "3D",
        RESNET,
        "ResNet3D",
        "MedicalNet (Med3D)",
        remark="trained with dilations=(1, 1, 2, 4) and strides=(1, 2, 1, 1); depth 10, 18 and 34: dilate_both=True; "
        "conv_seg is left over",
        in_channels=1,
        shortcuts={10: "B", 18: "A", 34: "A", 50: "B", 101: "B", 152: "B", 200: "B"},
        wrapped=True,
    ),
    Layout("vdt", "3D ResNet backbone", "3D", RESNET, "ResNet3D", _VDT),
    Layout(
        "resnet2d",
        "ResNet with 2D kernels",
        "2D",
        RESNET,
        "ResNet3D",
        "torchvision, timm, mmpretrain; ACS networks",
    ),
    Layout(
        name="r2plus1d_18",
        title="torchvision r2plus1d_18",
        keys=("layer1.0.conv1.0.0.weight", "layer1.0.conv1.0.3.weight", "stem.3.weight"),
        **_VIDEO,
    ),
    Layout(
        name="r3d_18",
        title="torchvision r3d_18",
        keys=_VIDEO_KEYS,
        kernels={"layer2.0.conv1.0.weight": (3, 3, 3)},
        **_VIDEO,
    ),
    Layout(
        name="mc3_18",
        title="torchvision mc3_18",
        keys=_VIDEO_KEYS,
        kernels={"layer2.0.conv1.0.weight": (1, 3, 3)},
        **_VIDEO,
    ),
    Layout(
        "genesis",
        "Models Genesis U-Net",
        "3D",
        ("down_tr64.ops.0.conv1.weight", "down_tr512.ops.1.conv1.weight"),
        "UNet3D",
        "Models Genesis, and UNet3D of this project",
        remark="its scores (out_tr.final_conv) are left over where the number of classes differs",
        stem="down_tr64.ops.0.conv1.weight",
    ),
    *_transformers("beit", "BEiT", "BEiT3D", "BEiT", _STEM, f"blocks.0.{TABLE}", kinds="2D 3D"),
    *_transformers("beit-ssl", "BEiT with one table of positions", "BEiT3D", "BEiT", _STEM, SHARED_TABLE),
    *_transformers("vit", "ViT", "ViT3D", "DINO, timm", _STEM, "pos_embed", "blocks.0.attn.qkv.bias", kinds="2D 3D"),
    *_transformers("swin", "Swin", "Swin3D", "Swin-Transformer", _STEM, f"layers.0.blocks.0.{TABLE}"),
    *_transformers(
        "video-swin",
        "Video Swin",
        "VideoSwin",
        "Video-Swin-Transformer",
        _STEM,
        f"layers.0.blocks.0.{TABLE}",
        kinds="3D",
    ),
    *_transformers(
        "torchvision-swin",
        "torchvision Swin",
        "Swin3D",
        "torchvision",
        "features.0.0.weight",
        f"features.1.0.{TABLE}",
        kinds="2D 3D",
    ),
    *_transformers(
        "torchvision-video-swin",
        "torchvision Video Swin",
        "VideoSwin",
        "torchvision (Kinetics-400)",
        _STEM,
        f"features.0.0.{TABLE}",
        kinds="3D",
    ),
)
PICTURES = Layout("2d", "network with 2D kernels", "2D", (), "", "any 2D network")
