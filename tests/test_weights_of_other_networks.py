"""Files of networks that resemble ours: they make the same network, or are refused by name."""

from collections.abc import Callable

import pytest
import timm
import torch
from timm.models.beit import Beit
from timm.models.convnext import ConvNeXt
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva
from timm.models.hiera import Hiera
from timm.models.resnet import BasicBlock, ResNet
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_relpos import VisionTransformerRelPos
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import Tensor, nn

from vdt3d.models.weights.files import CheckpointError
from vdt3d.models.weights.load import load_pretrained
from vdt3d.registry import MODELS

SMALL = dict(img_size=64, embed_dim=16, depth=2, num_heads=2, num_classes=0)
VIT3D = dict(
    type="ViT3D",
    img_size=64,
    patch_size=16,
    embed_dims=16,
    depth=2,
    num_heads=2,
    out_indices=(1,),
    window=dict(slices=5),
)
RESNET3D = dict(type="ResNet3D", depth=18, depth_stride=False, out_indices=(3,))


def vit(**options: object) -> nn.Module:
    return VisionTransformer(**{**SMALL, "patch_size": 16, **options})


def resnet(**options: object) -> nn.Module:
    return ResNet(BasicBlock, (2, 2, 2, 2), **{"num_classes": 0, **options})


def randomise(network: nn.Module) -> nn.Module:
    """Give every parameter a value that shows: no gamma near 0, no norm of ones."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in network.named_parameters():
            value.copy_(torch.randn(value.shape, generator=generator) * 0.2 + (value.dim() == 1 and "weight" in name))
    return network.eval()


def saved(network: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    return {prefix + key: value for key, value in network.state_dict().items()}


RESEMBLING: dict[str, Callable[[], nn.Module]] = {
    "LayerScale (DINOv2, DeiT-3)": lambda: vit(init_values=1e-5),
    "register tokens": lambda: vit(reg_tokens=4),
    "no class token (SigLIP)": lambda: vit(class_token=False, global_pool="avg"),
    "attention pooling (SigLIP)": lambda: vit(class_token=False, global_pool="map"),
    "norm before the blocks (CLIP)": lambda: vit(pre_norm=True),
    "no bias of query, key, value": lambda: vit(qkv_bias=False),
    "norms of query and key": lambda: vit(qk_norm=True),
    "no positions": lambda: vit(pos_embed="none"),
    "patch 14": lambda: vit(img_size=56, patch_size=14),
    "patch 32": lambda: vit(img_size=64, patch_size=32),
    "distilled": lambda: VisionTransformerDistilled(patch_size=16, **SMALL),
    "relative positions": lambda: VisionTransformerRelPos(patch_size=16, **SMALL),
    "EVA-02": lambda: Eva(patch_size=16, use_rot_pos_emb=True, swiglu_mlp=True, **SMALL),
    "BEiT": lambda: Beit(patch_size=16, use_abs_pos_emb=False, use_rel_pos_bias=True, init_values=0.1, **SMALL),
    "BEiT with one table": lambda: Beit(patch_size=16, use_shared_rel_pos_bias=True, init_values=0.1, **SMALL),
    "SAM": lambda: VisionTransformerSAM(patch_size=16, use_rel_pos=True, **SMALL),
    "Hiera": lambda: Hiera(img_size=(64, 64), embed_dim=16, num_heads=1, stages=(1, 1, 1, 1), num_classes=0),
}


@pytest.mark.parametrize("name", RESEMBLING)
def test_a_transformer_that_resembles_ours_is_refused(name: str):
    model = MODELS.build(VIT3D)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        load_pretrained(model, saved(randomise(RESEMBLING[name]())), inflate="centre", name="a.pth")
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_timms_plain_transformer_is_ours():
    flat, model = randomise(vit()), MODELS.build(VIT3D).eval()
    load_pretrained(model, saved(flat), inflate="centre")
    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = flat.forward_intermediates(image.repeat(1, 3, 1, 1), indices=1, norm=True, intermediates_only=True)
        found = model(image.unsqueeze(2).repeat(1, 1, 5, 1, 1))
    torch.testing.assert_close(found[-1], expected[-1], rtol=1e-4, atol=1e-4)


RESNETS: dict[str, Callable[[], nn.Module]] = {
    "squeeze and excitation": lambda: resnet(block_args=dict(attn_layer="se")),
    "efficient channel attention": lambda: resnet(block_args=dict(attn_layer="eca")),
    "deep stem": lambda: resnet(stem_width=32, stem_type="deep"),
    "deep stem of another width": lambda: resnet(stem_width=24, stem_type="deep_tiered"),
    "averaging shortcuts": lambda: resnet(avg_down=True),
    "ResNet-RS": lambda: resnet(
        stem_width=32, stem_type="deep", replace_stem_pool=True, avg_down=True, block_args=dict(attn_layer="se")
    ),
    "another width": lambda: resnet(channels=(32, 64, 128, 256)),
    "ConvNeXt-V2": lambda: ConvNeXt(depths=(1, 1, 1, 1), dims=(8, 8, 8, 8), use_grn=True, num_classes=0),
}


@pytest.mark.parametrize("name", RESNETS)
def test_a_residual_network_that_resembles_ours_is_refused(name: str):
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        load_pretrained(MODELS.build(RESNET3D), saved(randomise(RESNETS[name]())), inflate="i3d", name="a.pth")


@pytest.mark.parametrize("prefix", ["encoder.", "module.encoder.", "model.encoder.", "module.encoder_q.", "net."])
def test_timms_plain_resnet_fills_ours_behind_any_prefix(prefix: str):
    state = saved(resnet(), prefix) | {"module.predictor.0.weight": torch.zeros(4, 4)}
    assert load_pretrained(MODELS.build(RESNET3D), state, inflate="i3d").matched == 1


def test_timms_plain_resnet_is_ours():
    flat, model = resnet(), MODELS.build(RESNET3D).eval()
    flat.train()(torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(2)))  # statistics that show
    load_pretrained(model, saved(flat.eval()), inflate="centre")
    image = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = flat.forward_features(image.repeat(1, 3, 1, 1))
        found = model(image.unsqueeze(2).repeat(1, 1, 3, 1, 1))[-1][:, :, 1]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_an_inflated_network_of_other_depths_is_refused():
    """Merlin's kernels are 3D, of depth 3 in the stem and 1 in the first convolution of a block."""
    state = {
        key: value.unsqueeze(2).repeat(1, 1, 3 if key == "conv1.weight" else 1, 1, 1) if value.dim() == 4 else value
        for key, value in resnet().state_dict().items()
    }
    with pytest.raises(CheckpointError, match=r"conv1\.weight.*3, 7, 7"):
        load_pretrained(MODELS.build(RESNET3D), {f"i3_resnet.{key}": value for key, value in state.items()})


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224"])
def test_timms_swin_is_ours(name: str):
    flat = timm.create_model(name, embed_dim=16, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), num_classes=0)
    randomise(flat)
    model = MODELS.build(
        dict(type="Swin3D", embed_dims=16, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), window=dict(slices=3))
    )
    assert load_pretrained(model, saved(flat), inflate="centre").matched >= 0.9
