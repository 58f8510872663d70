"""WindowBackbone: base class of backbones that read windows of neighbouring slices."""

from mmengine.model import BaseModule

from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.inflate.kernels import grey_kernel
from vdt3d.structures import SliceWindow


class WindowBackbone(BaseModule):
    """A backbone from windows (N, C, n, H, W) of n slices to maps (N, c, h, w) of the slice they are about.

    A subclass defines ``forward`` and describes its maps in ``feature_info``, with strides (1, s, s).

    Args:
        in_channels: channels of the volumes.
        window: a ``SliceWindow`` or its arguments; a ``SliceWindowSegmentor`` gives its own.
        init_cfg: how to initialise it.

    Attributes:
        fit_input: function that fits first convolutions of checkpoints to ``in_channels``: see ``grey_kernel``.

    Raises:
        ValueError: the window is not valid.
    """

    fit_input = staticmethod(grey_kernel)
    feature_info: tuple[FeatureInfo, ...]

    def __init__(self, *, in_channels: int = 1, window: SliceWindow | dict | None = None, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.in_channels, self.window = in_channels, SliceWindow.of(window)
