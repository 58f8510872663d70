"""The decoder of UNETR over a window and the maps of a transformer's blocks; shapes are (N, C, H, W)."""

from collections.abc import Sequence

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from vdt3d.registry import MODELS

STRIDE = 16  # of the blocks' maps, which four doublings bring to full size


@MODELS.register_module()
class UNETRHead(BaseDecodeHead):
    """A U-Net whose skips are the window itself and three blocks' maps, upsampled, and whose bottom is a fourth's.

    UNETR (Hatamizadeh et al. 2022, figure 1) in 2D, in MONAI's blocks and with MONAI's names: convolutions with
    shortcuts, instance norms without parameters, leaky ReLU. Scores are at full size; maps of a window that the patches
    do not fill reach beyond it at the end and are cut to it.

    It reads what ``BEiT3D(with_image=True, out_indices=(3, 6, 9, 11))`` returns, or another encoder's like.

    Args:
        in_channels: of the five maps: of the window, which is C * n, and of the blocks, first to last.
        channels: at full size (UNETR's feature size); twice as many at each halving.
        num_classes: scores per pixel.
        out_channels, threshold: as ``BaseDecodeHead``'s.
        dropout_ratio: chance of a whole channel to be dropped before the scores; UNETR has none.
        in_index: which of the encoder's maps to read: the window, then the blocks' in order. A config names it, for
            a segmentor tells the channels of the maps that are named.
        init_cfg: how to initialise it; as PyTorch does when left out.

    Raises:
        ValueError: it is given another number of maps than five. (On use) they are not a window and maps of stride 16.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 16,
        *,
        num_classes: int,
        out_channels: int | None = None,
        threshold: float | None = None,
        dropout_ratio: float = 0,
        in_index: Sequence[int] = (0, 1, 2, 3, 4),
        init_cfg: dict | list[dict] | None = None,
    ):
        # Not at the head of the file: MONAI takes seconds to import, and every command comes by here.
        from monai.networks.blocks import UnetrBasicBlock, UnetrPrUpBlock, UnetrUpBlock

        if isinstance(in_channels, int) or isinstance(in_index, int) or not len(in_channels) == len(in_index) == 5:
            raise ValueError(
                f"in_index={in_index}, in_channels={in_channels}: a UNETRHead reads five maps, the window itself and "
                "those of four blocks; give it in_index=(0, 1, 2, 3, 4) and the encoder with_image=True and four "
                "out_indices"
            )
        super().__init__(
            in_channels,
            channels,
            num_classes=num_classes,
            out_channels=out_channels,
            threshold=threshold,
            dropout_ratio=dropout_ratio,
            in_index=in_index,
            input_transform="multiple_select",
            init_cfg=init_cfg,
        )
        image, *maps, bottom = in_channels
        shared = {"spatial_dims": 2, "kernel_size": 3, "norm_name": "instance", "res_block": True}
        doubling = {"upsample_kernel_size": 2, **shared}
        self.encoder1 = UnetrBasicBlock(in_channels=image, out_channels=channels, stride=1, **shared)
        for level, width in enumerate(maps, start=1):  # 1 is at half size
            block = UnetrPrUpBlock(
                in_channels=width,
                out_channels=channels * 2**level,
                num_layer=3 - level,
                stride=1,
                conv_block=True,
                **doubling,
            )
            self.add_module(f"encoder{level + 1}", block)
        for level in (3, 2, 1, 0):
            below = bottom if level == 3 else channels * 2 ** (level + 1)
            block = UnetrUpBlock(in_channels=below, out_channels=channels * 2**level, **doubling)
            self.add_module(f"decoder{level + 2}", block)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Scores (N, K, H, W) of a window (N, C * n, H, W) and maps (N, c, ceil(H / 16), ceil(W / 16)) of it."""
        image, *maps, bottom = self._transform_inputs(inputs)
        size = tuple(image.shape[2:])
        wanted = tuple(-(-side // STRIDE) for side in size)
        sizes = [tuple(each.shape[2:]) for each in (*maps, bottom)]
        if set(sizes) != {wanted}:
            raise ValueError(
                f"the first map a UNETRHead reads is the window, here {size}, and the others are of stride {STRIDE}, "
                f"{wanted}; got {sizes}: give the encoder with_image=True and patch_size={STRIDE}"
            )
        x = self.decoder5(bottom, self.encoder4(maps[2]))
        x = self.decoder4(x, self.encoder3(maps[1]))
        x = self.decoder3(x, self.encoder2(maps[0]))
        return self.cls_seg(_cut_and_joined(self.decoder2, x, self.encoder1(image)))


def _cut_and_joined(block: nn.Module, x: Tensor, skip: Tensor) -> Tensor:
    """What ``block`` (UnetrUpBlock) makes of ``x`` and a skip that may be smaller than twice ``x``."""
    height, width = skip.shape[2:]
    up = block.transp_conv(x)[..., :height, :width]
    return block.conv_block(torch.cat([up, skip], dim=1))
