"""ScanSegmentor: what models that label scans share: preprocessing, prediction on the scan's own grid, decisions."""

from collections.abc import Sequence

from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor, nn

from medseg.models.targets import LabelScheme
from vdt3d.models.data_preprocessor import use_pretrained_statistics
from vdt3d.registry import MODELS, TASK_UTILS
from vdt3d.structures import SegmentationSample


class ScanSegmentor(BaseSegmentor):
    """A segmentor whose scores (N, K, D, H, W) an inferer turns into labels of whole scans.

    Mode 'tensor' gives the scores before softmax or sigmoid; 'loss' a dict of ``loss_...``; 'predict' gives each sample
    ``pred_labels``, a ``LabelMap`` on the scan's own grid. A subclass builds its parts, calls ``settle`` and defines
    ``labels``, ``extract_feat``, ``encode_decode``, ``loss`` and ``score_losses``.

    Attributes:
        report_losses: whether 'predict' also gives each sample that has a ``reference`` its ``losses``, the mean loss
            terms of its windows; the validation loop sets it.

    Args:
        data_preprocessor: what batches and normalises the volumes; ``VolumeDataPreprocessor`` unless it names a type.
        init_cfg: how to initialise the whole segmentor.
    """

    report_losses = False

    def __init__(self, data_preprocessor: dict | nn.Module | None, init_cfg: dict | list[dict] | None):
        if not isinstance(data_preprocessor, nn.Module):
            data_preprocessor = MODELS.build({"type": "VolumeDataPreprocessor", **(data_preprocessor or {})})
        super().__init__(data_preprocessor, init_cfg)

    def settle(self, test_cfg: dict | None, **announced) -> None:
        """Build what ``test_cfg`` asks for, once the parts are there; ``announced`` goes to the inferer.

        Raises:
            ValueError: it holds something unknown, or thresholds that do not fit the regions.
        """
        use_pretrained_statistics(self)
        test_cfg = test_cfg or {}
        if set(test_cfg) - {"inferer", "thresholds"}:
            raise ValueError(
                f"test_cfg has {sorted(test_cfg)} and may have only 'inferer' (a SlidingWindow, say) and 'thresholds'"
            )
        self.inferer = TASK_UTILS.build({**announced, **test_cfg["inferer"]}) if "inferer" in test_cfg else None
        self.decide = self.labels.decision(test_cfg.get("thresholds"))

    @property
    def labels(self) -> LabelScheme:
        """What the labels mean to the network."""
        raise NotImplementedError

    def score_losses(
        self, logits: Tensor, data_samples: Sequence[SegmentationSample], size: Sequence[int]
    ) -> dict[str, Tensor]:
        """Return the loss terms of ``encode_decode``'s logits for inputs of ``size``, without those of further heads.

        Args:
            logits: (N, K, D, H, W).
            data_samples: each with ``gt_labels`` of ``size`` (D, H, W).
        """
        raise NotImplementedError

    def _forward(self, inputs: Tensor, data_samples: Sequence[SegmentationSample] | None = None) -> Tensor:
        return self.encode_decode(inputs)

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
        for image, sample in zip(inputs, data_samples, strict=True):
            if self.report_losses and sample.get("reference") is not None:
                self._segment_with_losses(image, sample)
            else:
                sample.pred_labels = self.inferer.segment(self.encode_decode, image, sample, decide=self.decide)
        return data_samples

    def _segment_with_losses(self, image: Tensor, sample: SegmentationSample) -> None:
        """Set ``pred_labels`` and ``losses`` of a sample."""
        name = {"sample_name": sample.sample_name}

        def criterion(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
            samples = [SegmentationSample(gt_labels=each, metainfo=name) for each in labels]
            terms = self.score_losses(logits, samples, labels.shape[1:])
            return {f"loss_{term}": value for term, value in terms.items()}

        found = self.inferer.segment_with_losses(self.encode_decode, image, sample, criterion, decide=self.decide)
        sample.pred_labels = found[0]
        sample.set_field(found[1], "losses", field_type="metainfo")
