"""mmsegmentation's segmentor over volumes: patches in training, whole scans on their own grid in prediction."""

from collections.abc import Sequence

from torch import Tensor, nn

from medseg.models.layers import to_size
from medseg.models.segmentors.scan_segmentor import ScanSegmentor
from medseg.models.targets import LabelScheme
from vdt3d.registry import MODELS
from vdt3d.structures import SegmentationSample


@MODELS.register_module()
class VolumeSegmentor(ScanSegmentor):
    """Backbone, neck and head over volumes (N, C, D, H, W).

    Each part is built from what the one before it announces (``feature_info``). Mode 'tensor' gives the scores
    (N, K, D, H, W) before softmax or sigmoid, at the size of the input; 'loss' a dict of ``loss_...``; 'predict' gives
    each sample ``pred_labels``, a ``LabelMap`` on the scan's own grid.

    Args:
        backbone: the network, or its config.
        decode_head: what gives scores and losses, for instance ``dict(type='FCNHead3D', num_classes=14)``.
        neck: what joins the features, for instance ``dict(type='UNetNeck')``.
        data_preprocessor: what batches and normalises the volumes; ``VolumeDataPreprocessor`` unless it names a type.
        test_cfg: ``inferer``: what leads the network over a scan, for instance
            ``dict(type='SlidingWindow', window=(96, 96, 96))``; ``thresholds``: where the head has regions, the
            probability above which a voxel belongs to one, a number or a dict by their names (default: 0.5).
        init_cfg: how to initialise the whole segmentor.

    Raises:
        ValueError: ``test_cfg`` holds anything else, or thresholds that do not fit the regions.
    """

    def __init__(
        self,
        backbone: dict | nn.Module,
        decode_head: dict | nn.Module,
        neck: dict | nn.Module | None = None,
        *,
        data_preprocessor: dict | nn.Module | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ):
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = _built(backbone)
        self.neck = None if neck is None else _built(neck, self.backbone)
        self.decode_head = _built(decode_head, self.neck or self.backbone)
        self.settle(test_cfg)

    @property
    def labels(self) -> LabelScheme:
        """What the labels mean to the network."""
        return self.decode_head.labels

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """The features the head reads."""
        features = self.backbone(inputs)
        return features if self.neck is None else self.neck(features)

    def encode_decode(self, inputs: Tensor, batch_data_samples: Sequence[SegmentationSample] | None = None) -> Tensor:
        """The scores (N, K, D, H, W) at the size of ``inputs`` (N, C, D, H, W)."""
        return to_size(self.decode_head(self.extract_feat(inputs)), inputs.shape[2:])

    def loss(self, inputs: Tensor, data_samples: Sequence[SegmentationSample]) -> dict[str, Tensor]:
        """The terms of the loss, to be summed."""
        return self.decode_head.loss(self.extract_feat(inputs), data_samples, inputs.shape[2:])

    def score_losses(
        self, logits: Tensor, data_samples: Sequence[SegmentationSample], size: Sequence[int]
    ) -> dict[str, Tensor]:
        return self.decode_head.loss_decode.parts(logits, self.labels.targets(data_samples, size))


def _built(part: dict | nn.Module, before: nn.Module | None = None) -> nn.Module:
    """The part, built from its config and what the part before it announces."""
    if isinstance(part, nn.Module):
        return part
    announced = {} if before is None else {"feature_info": before.feature_info}
    return MODELS.build({**announced, **part})
