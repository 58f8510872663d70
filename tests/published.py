"""Names and shapes of the published checkpoints, from tables written here and not from our networks."""

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]
BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
BLOCKS |= {101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}
MEDICALNET = {10: "B", 18: "A", 34: "A", 50: "B", 101: "B", 152: "B", 200: "B"}


def norm(name: str, channels: int, kind: str = "bn") -> Shapes:
    parts = ("weight", "bias", *(("running_mean", "running_var") if kind == "bn" else ()))
    shapes = {f"{name}.{part}": (channels,) for part in parts}
    return shapes | ({f"{name}.num_batches_tracked": ()} if kind == "bn" else {})


def resnet(
    depth: int,
    *,
    width: int = 64,
    in_channels: int = 1,
    dims: int = 3,
    shortcut: str = "B",
    early: bool = False,
    kind: str = "bn",
    stem: str = "plain",
) -> Shapes:
    """A ResNet of 2 or 3 dimensions, without its head.

    Args:
        early: with the shortcut convolution in layer1.0 of the older VDT files.
        kind: of the norms, 'bn' or 'gn'.
        stem: 'plain', 'deep' (mmpretrain's names) or 'flat' (mmsegmentation's and medseg's).
    """

    def kernel(outputs: int, inputs: int, size: int) -> tuple[int, ...]:
        return (outputs, inputs, *[size] * dims)

    if stem == "plain":
        shapes = {"conv1.weight": kernel(width, in_channels, 7)} | norm(f"{kind}1", width, kind)
    else:
        shapes, half = {}, width // 2
        for i, (inputs, outputs) in enumerate(((in_channels, half), (half, half), (half, width))):
            conv, after = (
                (f"stem.{i}.conv", f"stem.{i}.{kind}") if stem == "deep" else (f"stem.{3 * i}", f"stem.{3 * i + 1}")
            )
            shapes |= {f"{conv}.weight": kernel(outputs, inputs, 3)} | norm(after, outputs, kind)
    channels = width
    for stage, count in enumerate(BLOCKS[depth]):
        inner = width * 2**stage
        for block in range(count):
            name = f"layer{stage + 1}.{block}"
            if depth < 50:
                convs, outputs = [(inner, channels, 3), (inner, inner, 3)], inner
            else:
                convs, outputs = [(inner, channels, 1), (inner, inner, 3), (4 * inner, inner, 1)], 4 * inner
            for number, conv in enumerate(convs, 1):
                shapes |= {f"{name}.conv{number}.weight": kernel(*conv)} | norm(f"{name}.{kind}{number}", conv[0], kind)
            if shortcut == "B" and (channels != outputs or (early and stage == block == 0)):
                shapes |= {f"{name}.downsample.0.weight": kernel(outputs, channels, 1)}
                shapes |= norm(f"{name}.downsample.1", outputs, kind)
            channels = outputs
    return shapes


# the kinds of P3D's blocks in each of its stages
KINDS: dict[int | str, str] = {"18ba": "AB CA BC AB", 63: "ABC ABCA BCABCA BCA"}


def p3d(depth: int | str, *, width: int = 64, kind: str = "gn", transforms: int = 0) -> Shapes:
    """P3D or MP3D, without FPN and heads.

    Args:
        kind: of the norms, 'gn' or 'bn'.
        transforms: slices of the group transform modules; 0 where there are none.
    """
    shapes = {"conv1_custom.weight": (width, 1, 1, 7, 7)} | norm("norm1", width, kind)
    channels = width
    for stage, kinds in enumerate(KINDS[depth].split()):
        inner = width * 2**stage
        outputs = inner if depth == "18ba" else 4 * inner
        for number, block in enumerate(kinds):
            name = f"layer{stage + 1}.{number}"
            if depth == "18ba":
                beside = channels if block == "B" else inner
                convs = [(inner, channels, 1, 3, 3), (inner, beside, 3, 1, 1)]
                convs += [(inner, inner, 1, 3, 3), (inner, inner, 3, 1, 1)]
            else:
                convs = [(inner, channels, 1, 1, 1), (inner, inner, 1, 3, 3)]
                convs += [(inner, inner, 3, 1, 1), (outputs, inner, 1, 1, 1)]
            for place, conv in enumerate(convs, 1):
                shapes |= {f"{name}.conv{place}.weight": conv} | norm(f"{name}.norm_{place}", conv[0], kind)
            if channels != outputs:
                shapes |= {f"{name}.downsample.0.weight": (outputs, channels, 1, 1, 1)}
                shapes |= norm(f"{name}.downsample.1", outputs, kind)
            channels = outputs
        if transforms:
            shapes[f"groupconv_{stage + 1}.weight"] = (outputs, transforms, 1, 1)
    return shapes


def linear(name: str, outputs: int, inputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def behind(prefix: str, shapes: Shapes) -> Shapes:
    return {prefix + key: shape for key, shape in shapes.items()}


def stdunet(width: int = 64, classes: int = 14) -> Shapes:
    """The segmentation network of BCV and LiTS."""
    shapes, skips = behind("backbone.", resnet(18, width=width)), [width, width, 2 * width, 4 * width, 8 * width]
    for i in range(4):
        name, fine, coarse = f"neck.decoder.{i}", skips[i], skips[i + 1]
        convs = [("conv_block.convs.0", 2 * fine, 3), ("conv_block.convs.1", fine, 3)]
        for part, inputs, size in (*convs, ("upsample.interp_upsample.1", coarse, 1)):
            shapes |= {f"{name}.{part}.conv.weight": (fine, inputs, *[size] * 3)} | norm(f"{name}.{part}.bn", fine)
    for j, inputs in enumerate((width, 16)):
        name = f"decode_head.convs.{j}"
        shapes |= {f"{name}.conv.weight": (16, inputs, 3, 3, 3)} | norm(f"{name}.bn", 16)
    return shapes | {"decode_head.conv_seg.weight": (classes, 16, 1, 1, 1), "decode_head.conv_seg.bias": (classes,)}


def lidc(width: int = 64, channels: int = 512, hidden: int = 128) -> Shapes:
    """The segmentation network of LIDC, with the layers its head never used (conv3, conv_seg)."""
    shapes = {
        "conv1.conv.weight": (channels, 10 * width, 1, 1, 1),  # layer2 and layer4: 2 + 8 widths
        **norm("conv1.bn", channels),
        "conv2.conv.weight": (channels, width + channels, 1, 1, 1),
        **norm("conv2.bn", channels),
        "conv3.conv.weight": (channels, channels, 3, 3, 3),
        "conv3.conv.bias": (channels,),
        "seg_head.0.weight": (hidden, channels, 3, 3, 3),
        **norm("seg_head.1", hidden),
        "seg_head.3.weight": (2, hidden, 1, 1, 1),
        "seg_head.3.bias": (2,),
        "conv_seg.weight": (2, channels, 1, 1, 1),
        "conv_seg.bias": (2,),
    }
    return behind("backbone.", resnet(18, width=width)) | behind("decode_head.", shapes)


def genesis(base: int = 32, classes: int = 1) -> Shapes:
    """The U-Net of Models Genesis."""
    shapes: Shapes = {}
    blocks = {
        "down_tr64": [(0, 1), (1, 2)],  # in units of the base; the image has 1 channel
        "down_tr128": [(2, 2), (2, 4)],
        "down_tr256": [(4, 4), (4, 8)],
        "down_tr512": [(8, 8), (8, 16)],
        "up_tr256": [(24, 8), (8, 8)],
        "up_tr128": [(12, 4), (4, 4)],
        "up_tr64": [(6, 2), (2, 2)],
    }
    for name, convs in blocks.items():
        for i, (inputs, outputs) in enumerate(convs):
            given = 1 if (name, i) == ("down_tr64", 0) else inputs * base
            shapes |= {f"{name}.ops.{i}.conv1.weight": (outputs * base, given, 3, 3, 3)}
            shapes |= {f"{name}.ops.{i}.conv1.bias": (outputs * base,)} | norm(f"{name}.ops.{i}.bn1", outputs * base)
    for name, units in (("up_tr256", 16), ("up_tr128", 8), ("up_tr64", 4)):
        shapes |= {
            f"{name}.up_conv.weight": (units * base, units * base, 2, 2, 2),
            f"{name}.up_conv.bias": (units * base,),
        }
    scores = {"out_tr.final_conv.weight": (classes, 2 * base, 1, 1, 1), "out_tr.final_conv.bias": (classes,)}
    return behind("module.", shapes | scores)


def blocks(count: int = 12, width: int = 768) -> Shapes:
    """Those of a Vision Transformer, without what BEiT and DINO have each in their own way."""
    shapes: Shapes = {}
    for number in range(count):
        block = f"blocks.{number}"
        shapes |= norm(f"{block}.norm1", width, "ln") | norm(f"{block}.norm2", width, "ln")
        shapes |= {f"{block}.attn.qkv.weight": (3 * width, width)} | linear(f"{block}.attn.proj", width, width)
        shapes |= linear(f"{block}.mlp.fc1", 4 * width, width) | linear(f"{block}.mlp.fc2", width, 4 * width)
    return shapes


def beit(*, shared: bool = False) -> Shapes:
    """BEiT-B/16 of 224 pixels, tuned with 21,841 labels, or without labels, when all blocks share a table."""
    shapes = blocks() | {"cls_token": (1, 1, 768), "patch_embed.proj.weight": (768, 3, 16, 16)}
    shapes |= {"patch_embed.proj.bias": (768,)}
    for number in range(12):
        block = f"blocks.{number}"
        shapes |= {f"{block}.{name}": (768,) for name in ("gamma_1", "gamma_2", "attn.q_bias", "attn.v_bias")}
        if not shared:
            shapes[f"{block}.attn.relative_position_bias_table"] = (732, 12)
            shapes[f"{block}.attn.relative_position_index"] = (197, 197)
    if shared:
        shapes |= norm("norm", 768, "ln") | linear("lm_head", 8192, 768) | {"mask_token": (1, 1, 768)}
        shapes["rel_pos_bias.relative_position_bias_table"] = (732, 12)
        return shapes | {"rel_pos_bias.relative_position_index": (197, 197)}
    return shapes | norm("fc_norm", 768, "ln") | linear("head", 21841, 768)


def dino() -> Shapes:
    """ViT-B/16 of 224 pixels, without its head."""
    shapes = blocks() | {"cls_token": (1, 1, 768), "pos_embed": (1, 197, 768), "patch_embed.proj.bias": (768,)}
    shapes |= {"patch_embed.proj.weight": (768, 3, 16, 16)} | norm("norm", 768, "ln")
    return shapes | {f"blocks.{number}.attn.qkv.bias": (3 * 768,) for number in range(12)}


def swin(*, video: bool = False) -> Shapes:
    """The authors' Swin-B, or Video Swin-B, which stands behind 'backbone.'; without its head."""
    table, tokens = (15 * 13 * 13, 8 * 7 * 7) if video else (13 * 13, 7 * 7)
    shapes = {"patch_embed.proj.weight": (128, 3, 2, 4, 4) if video else (128, 3, 4, 4)}
    shapes |= {"patch_embed.proj.bias": (128,)} | norm("patch_embed.norm", 128, "ln") | norm("norm", 1024, "ln")
    for stage, (blocks, heads) in enumerate(zip((2, 2, 18, 2), (4, 8, 16, 32), strict=True)):
        width = 128 * 2**stage
        for number in range(blocks):
            block = f"layers.{stage}.blocks.{number}"
            shapes |= norm(f"{block}.norm1", width, "ln") | norm(f"{block}.norm2", width, "ln")
            shapes |= linear(f"{block}.attn.qkv", 3 * width, width) | linear(f"{block}.attn.proj", width, width)
            shapes |= linear(f"{block}.mlp.fc1", 4 * width, width) | linear(f"{block}.mlp.fc2", width, 4 * width)
            shapes[f"{block}.attn.relative_position_bias_table"] = (table, heads)
            shapes[f"{block}.attn.relative_position_index"] = (tokens, tokens)
            if not video and number % 2 and stage < 3:  # in pictures of 224 pixels the last stage is one window
                shapes[f"{block}.attn_mask"] = ((56 // 2**stage // 7) ** 2, 49, 49)
        if stage < 3:
            shapes |= norm(f"layers.{stage}.downsample.norm", 4 * width, "ln")
            shapes[f"layers.{stage}.downsample.reduction.weight"] = (2 * width, 4 * width)
    return behind("backbone.", shapes) if video else shapes


def shapes_only(shapes: Shapes) -> dict[str, Tensor]:
    """Tensors that take no memory."""
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def filled(shapes: Shapes) -> dict[str, Tensor]:
    """Tensors of random numbers, no two alike; variances are positive, and 7 batches were counted."""
    generator = torch.Generator().manual_seed(0)
    state = {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    for key, value in state.items():
        if key.endswith("running_var"):
            value.abs_().add_(0.5)
        elif key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(7)
    return state
