"""What parts of the published Swin and Video Swin networks are called in torchvision's."""

from collections.abc import Sequence


def torchvision_names(depths: Sequence[int], *, video: bool) -> dict[str, str]:
    """Beginnings of keys in the authors' files, and what stands there in torchvision's.

    Of Swin (github.com/microsoft/Swin-Transformer) or of Video Swin (github.com/SwinTransformer), without 'backbone.'.
    The first beginning that a key has counts; a key that has none is the same in both.

    Args:
        depths: blocks of each stage.
        video: whether it is Video Swin.
    """
    names = {} if video else {"patch_embed.proj": "features.0.0", "patch_embed.norm": "features.0.2"}
    for stage, blocks in enumerate(depths):
        place = 2 * stage if video else 2 * stage + 1  # stages and mergings by turns, behind Swin's stem
        if stage:
            names[f"layers.{stage - 1}.downsample"] = f"features.{place - 1}"
        for block in range(blocks):
            theirs, ours = f"layers.{stage}.blocks.{block}", f"features.{place}.{block}"
            names |= {f"{theirs}.mlp.fc1": f"{ours}.mlp.0", f"{theirs}.mlp.fc2": f"{ours}.mlp.3", theirs: ours}
    return names
