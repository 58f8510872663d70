"""WindowEncoder: what backbones share that read windows of slices as they are, and answer with maps of one slice."""

from mmengine.model import BaseModule

from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.inflate.kernels import grey_kernel
from vdt3d.structures import SliceWindow


class WindowEncoder(BaseModule):
    """A backbone from windows (N, C, n, H, W) of n slices to maps (N, c, h, w) of the slice they are about.

    A subclass defines ``forward`` and tells of its maps in ``feature_info``, with strides (1, s, s).

    Args:
        in_channels: of the volumes.
        window: a ``SliceWindow`` or its arguments; a ``SliceWindowSegmentor`` gives its own.
        init_cfg: how to initialise it.

    Attributes:
        fit_input: of checkpoints, when they are loaded: see ``grey_kernel``.

    Raises:
        ValueError: a window that cannot be.
    """

    fit_input = staticmethod(grey_kernel)
    feature_info: tuple[FeatureInfo, ...]

    def __init__(self, *, in_channels: int = 1, window: SliceWindow | dict | None = None, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.in_channels, self.window = in_channels, SliceWindow.of(window)
