"""VolumeEncoder: a backbone of volumes as one of windows, its volumes made maps by a conversion."""

from torch import Tensor

from vdt3d.models.backbones.converting_encoder import ConvertingEncoder
from vdt3d.registry import MODELS
from vdt3d.structures import SliceWindow


@MODELS.register_module()
class VolumeEncoder(ConvertingEncoder):
    """Any backbone of volumes that keeps its slices, such as ``ResNet3D`` as VDT pre-trains it.

    State-dict keys are ``backbone.`` and those of the backbone, so ``load_from`` takes its checkpoints.

    Args:
        backbone: with no stride along depth: ``dict(type='ResNet3D', depth=18, out_indices=(0, 1, 2, 3))``.
        conversion: of ``ConvertingEncoder``.
        in_channels, window, init_cfg: of ``WindowBackbone``.

    Raises:
        ValueError: the backbone strides along depth, or an option is none.
    """

    def __init__(
        self,
        backbone: dict,
        *,
        conversion: str = "center_crop",
        in_channels: int = 1,
        window: SliceWindow | dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(conversion=conversion, in_channels=in_channels, window=window, init_cfg=init_cfg)
        self.backbone = MODELS.build({"in_channels": in_channels, **backbone})
        infos = self.backbone.feature_info
        if strided := [info.name for info in infos if info.stride[0] > 1]:
            raise ValueError(
                f"{backbone['type']} has fewer slices than its input in {', '.join(strided)}: only a backbone without "
                "stride along depth knows which slice is which (of ResNet3D, depth_stride=False)"
            )
        self.convert(infos, [self.window.slices] * len(infos), [self.window.place] * len(infos))

    def volumes(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.backbone(x)
