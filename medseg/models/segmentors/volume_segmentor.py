"""mmsegmentation's segmentor over volumes: patches in training, whole scans on their own grid in prediction."""

from collections.abc import Sequence

from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor, nn

from medseg.models.layers import to_size
from vdt3d.registry import MODELS, TASK_UTILS
from vdt3d.structures import SegmentationSample


@MODELS.register_module()
class VolumeSegmentor(BaseSegmentor):
    """Backbone, neck and head over volumes (N, C, D, H, W).

    Each part is built from what the one before it announces (``feature_info``). Mode 'tensor' gives the scores
    (N, K, D, H, W) before softmax or sigmoid, at the size of the input; 'loss' a dict of ``loss_...``; 'predict' gives
    each sample ``pred_labels``, a ``LabelMap`` on the scan's own grid.

    Args:
        backbone: the network, or its config.
        decode_head: what gives scores and losses, for instance ``dict(type='FCNHead3D', num_classes=14)``.
        neck: what joins the features, for instance ``dict(type='UNetNeck')``.
        data_preprocessor: what batches and normalises the volumes; ``VolumeDataPreprocessor`` unless it names a type.
        test_cfg: ``dict(inferer=...)``: what leads the network over a scan, for instance
            ``dict(type='SlidingWindow', window=(96, 96, 96))``.
        init_cfg: how to initialise the whole segmentor.

    Raises:
        ValueError: ``test_cfg`` holds anything else.
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
        if not isinstance(data_preprocessor, nn.Module):
            data_preprocessor = MODELS.build({"type": "VolumeDataPreprocessor", **(data_preprocessor or {})})
        super().__init__(data_preprocessor, init_cfg)
        if set(test_cfg or {}) - {"inferer"}:
            raise ValueError(f"test_cfg has {sorted(test_cfg)} and may have only 'inferer', such as a SlidingWindow")
        self.backbone = _built(backbone)
        self.neck = None if neck is None else _built(neck, self.backbone)
        self.decode_head = _built(decode_head, self.neck or self.backbone)
        self.inferer = TASK_UTILS.build(test_cfg["inferer"]) if test_cfg else None

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """The features the head reads."""
        features = self.backbone(inputs)
        return features if self.neck is None else self.neck(features)

    def encode_decode(self, inputs: Tensor, batch_data_samples: Sequence[SegmentationSample] | None = None) -> Tensor:
        """The scores (N, K, D, H, W) at the size of ``inputs`` (N, C, D, H, W)."""
        return to_size(self.decode_head(self.extract_feat(inputs)), inputs.shape[2:])

    def _forward(self, inputs: Tensor, data_samples: Sequence[SegmentationSample] | None = None) -> Tensor:
        return self.encode_decode(inputs)

    def loss(self, inputs: Tensor, data_samples: Sequence[SegmentationSample]) -> dict[str, Tensor]:
        """The terms of the loss, to be summed."""
        return self.decode_head.loss(self.extract_feat(inputs), data_samples, inputs.shape[2:])

    def predict(
        self, inputs: Tensor, data_samples: Sequence[SegmentationSample] | None = None
    ) -> Sequence[SegmentationSample]:
        """The samples, each with ``pred_labels``.

        Raises:
            ValueError: there is no inferer, or there are no samples to tell the grid of each scan.
        """
        if self.inferer is None:
            raise ValueError(
                "the model has no inferer to label whole scans; give test_cfg=dict(inferer=dict(type='SlidingWindow', "
                "window=(D, H, W))) with the patch size of training"
            )
        if data_samples is None:
            raise ValueError("labels go to the scan's own grid, which data_samples tell; mode='tensor' gives scores")
        scheme = self.decode_head.labels
        decide = scheme.paint if scheme.regions else None  # without regions the largest score wins
        for image, sample in zip(inputs, data_samples, strict=True):
            sample.pred_labels = self.inferer.segment(self.encode_decode, image, sample, decide=decide)
        return data_samples


def _built(part: dict | nn.Module, before: nn.Module | None = None) -> nn.Module:
    """The part, built from its config and what the part before it announces."""
    if isinstance(part, nn.Module):
        return part
    announced = {} if before is None else {"feature_info": before.feature_info}
    return MODELS.build({**announced, **part})
