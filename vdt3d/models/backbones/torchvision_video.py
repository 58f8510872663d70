"""torchvision's ResNet-18 for videos as backbones of volumes, time read as depth; shapes are (N, C, D, H, W)."""

from collections.abc import Sequence

import torchvision.models.video
from mmengine.model import BaseModule
from torch import Tensor, nn

from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.layers.safe_conv import SafeConv3d
from vdt3d.registry import MODELS

ARCHITECTURES = ("r3d_18", "mc3_18", "r2plus1d_18")
PARTS = ("stem", "layer1", "layer2", "layer3", "layer4")
STEM_STRIDE = (1, 2, 2)


@MODELS.register_module()
class TorchvisionVideo(BaseModule):
    """A residual network of Tran et al., "A closer look at spatiotemporal convolutions", CVPR 2018, without its head.

    State-dict keys are torchvision's, so ``load_from`` takes its Kinetics weights (``torchvision://r3d_18``).

    Args:
        arch: 'r3d_18' (cubic kernels), 'mc3_18' (cubic in the stem and layer1, then flat, and no stride along depth)
            or 'r2plus1d_18' (every kernel split into a flat one and one along depth).
        in_channels: of the volumes.
        out_indices: which features to return, of the stem (0) and layer1 to layer4 (1 to 4).
        init_cfg: torchvision's initialisation when left out.

    Raises:
        ValueError: there is no such architecture or feature.
    """

    def __init__(
        self,
        arch: str = "r3d_18",
        *,
        in_channels: int = 1,
        out_indices: Sequence[int] = (4,),
        init_cfg: dict | list[dict] | None = None,
    ):
        super().__init__(init_cfg)
        if arch not in ARCHITECTURES:
            raise ValueError(f"arch={arch!r} is none of {', '.join(ARCHITECTURES)}")
        if not out_indices or not set(out_indices) <= set(range(len(PARTS))):
            raise ValueError(f"out_indices={tuple(out_indices)}: say some of 0 (stem) to 4 (layer4)")
        network = getattr(torchvision.models.video, arch)(weights=None)
        self.out_indices = sorted(out_indices)
        stride, features = STEM_STRIDE, []
        for index, name in enumerate(PARTS):
            part = getattr(network, name)
            self.add_module(name, part)
            if name != "stem":
                shortcut = part[0].downsample
                step = (1, 1, 1) if shortcut is None else shortcut[0].stride
                stride = tuple(a * b for a, b in zip(stride, step, strict=True))
            if index in self.out_indices:
                channels = [module.num_features for module in part.modules() if isinstance(module, nn.BatchNorm3d)][-1]
                features.append(FeatureInfo(name, channels, stride))
        self.feature_info = tuple(features)
        if in_channels != self.stem[0].in_channels:
            self.stem[0] = _with_channels(self.stem[0], in_channels)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):  # SafeConv3d has the same parameters and no state but this
                module.__class__, module.depth_padding = SafeConv3d, "zeros"

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The features that ``feature_info`` announces, of (N, ``in_channels``, D, H, W)."""
        features = []
        for index, name in enumerate(PARTS):
            x = getattr(self, name)(x)
            if index in self.out_indices:
                features.append(x)
        return tuple(features)


def _with_channels(conv: nn.Conv3d, in_channels: int) -> nn.Conv3d:
    """A fresh convolution like ``conv``, initialised as torchvision's, of other input channels."""
    new = nn.Conv3d(in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, bias=False)
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    return new
