"""mmpretrain's image classifier over volumes."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from mmengine.registry import DefaultScope
from mmpretrain.models import ImageClassifier
from mmpretrain.models.utils.batch_augments import RandomBatchAugment
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn.functional import one_hot

import vdt3d.models.classifiers.batch_mixing  # noqa: F401  (registered where mmpretrain looks for it)
from vdt3d.models.data_preprocessor import use_pretrained_statistics
from vdt3d.registry import MODELS, TASK_UTILS


@MODELS.register_module()
class VolumeClassifier(ImageClassifier):
    """Backbone, neck and head over volumes (N, C, D, H, W); names are looked up in vdt3d first, then in mmpretrain.

    It differs from ``ImageClassifier`` in how it is built: a head without ``in_channels`` is given those that the
    backbone announces last, and the data preprocessor is ``VolumeDataPreprocessor`` unless it names another type.

    Args:
        backbone: the network, or its config.
        neck: what pools the features, for instance ``dict(type='GlobalAveragePooling', dim=3)``.
        head: what classifies them, for instance ``dict(type='LinearClsHead', num_classes=2)``.
        pretrained: a checkpoint to start the whole classifier from.
        data_preprocessor: what batches and normalises the volumes.
        init_cfg: how to initialise the whole classifier.
        train_cfg: ``augments``, one or several of ``dict(type='Mixup', alpha=0.2)`` and ``dict(type='CutMix3D',
            alpha=1.0)``, of which one is drawn for each batch; and, if not evenly, their ``probs``: what they lack to 1
            is the probability of none.
        test_cfg: ``inferer``: how a case is answered, if not by the head alone: arguments of ``CaseInferer``, such as
            ``dict(flips="W", temperature=1.5)``.

    Attributes:
        report_losses: whether 'predict' also gives each sample that has a label its ``losses``; the validation loop
            sets it.

    Raises:
        ValueError: ``test_cfg`` holds anything else.
    """

    report_losses = False

    def __init__(
        self,
        backbone: dict | nn.Module,
        neck: dict | nn.Module | None = None,
        head: dict | nn.Module | None = None,
        pretrained: str | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
    ):
        test_cfg = test_cfg or {}
        if set(test_cfg) - {"inferer"}:
            raise ValueError(f"test_cfg has {sorted(test_cfg)} and may have only 'inferer', arguments of CaseInferer")
        # Within this scope mmpretrain's parts, too, look up what they build (a head its loss) in our registry first.
        with DefaultScope.overwrite_default_scope("vdt3d"):
            if not isinstance(backbone, nn.Module):
                backbone = MODELS.build(backbone)
            if isinstance(head, dict) and hasattr(backbone, "feature_info"):
                head = {"in_channels": backbone.feature_info[-1].channels, **head}
            if not isinstance(data_preprocessor, nn.Module):
                data_preprocessor = MODELS.build({"type": "VolumeDataPreprocessor", **(data_preprocessor or {})})
            super().__init__(backbone, neck, head, pretrained, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        use_pretrained_statistics(self)
        with DefaultScope.overwrite_default_scope("mmpretrain"):
            self.mixing = RandomBatchAugment(**deepcopy(train_cfg)) if train_cfg else None  # it changes its arguments
        self.inferer = None
        if "inferer" in test_cfg:
            self.inferer = TASK_UTILS.build({"type": "CaseInferer", **test_cfg["inferer"]})

    def loss(self, inputs: Tensor, data_samples: Sequence[DataSample]) -> dict[str, Tensor]:
        """The terms of the loss; with ``train_cfg``, of a mixed batch.

        Raises:
            ValueError: the classifier has no head.
        """
        self._require_head()
        if self.mixing is not None:
            scores = one_hot(torch.cat([sample.gt_label for sample in data_samples]), self.head.num_classes)
            inputs, scores = self.mixing(inputs, scores)
            data_samples = [DataSample().set_gt_score(score) for score in scores]
        return super().loss(inputs, data_samples)

    def predict(
        self, inputs: Tensor, data_samples: Sequence[DataSample] | None = None, **kwargs
    ) -> Sequence[DataSample]:
        """The samples, each with what the head, or the inferer where there is one, says of it.

        Raises:
            ValueError: there is an inferer, but there are no samples for its answers; or the classifier has no head.
        """
        self._require_head()
        if self.report_losses and data_samples is not None and all("gt_label" in sample for sample in data_samples):
            return self._predict_with_losses(inputs, data_samples, **kwargs)
        if self.inferer is None:
            return super().predict(inputs, data_samples, **kwargs)
        if data_samples is None:
            raise ValueError("the inferer writes its answers into data_samples; mode='tensor' gives scores without")
        return self.inferer.classify(self, inputs, data_samples)

    def _require_head(self) -> None:
        if self.head is None:
            raise ValueError("model.head=None gives features only; set head=dict(type=..., num_classes=...)")

    def _predict_with_losses(self, inputs: Tensor, data_samples: Sequence[DataSample], **kwargs) -> list[DataSample]:
        """The samples of ``predict``, each with ``losses``: its loss terms, the mean over the inferer's views."""
        views: list[list[dict[str, float]]] = []

        def features_of(batch: Tensor) -> Sequence[Tensor]:
            features = self.extract_feat(batch)
            views.append([self._losses_of(features, place, sample) for place, sample in enumerate(data_samples)])
            return features

        if self.inferer is None:
            found = self.head.predict(features_of(inputs), data_samples, **kwargs)
        else:
            found = self.inferer.classify(lambda batch: self.head(features_of(batch)), inputs, data_samples)
        for sample, of_views in zip(found, zip(*views, strict=True), strict=True):
            means = {name: sum(terms[name] for terms in of_views) / len(views) for name in of_views[0]}
            sample.set_field(means, "losses", field_type="metainfo")
        return found

    def _losses_of(self, features: Sequence[Tensor], place: int, sample: DataSample) -> dict[str, float]:
        own = tuple(feature[place : place + 1] for feature in features)
        return {name: float(value) for name, value in self.head.loss(own, [sample]).items() if "loss" in name}
