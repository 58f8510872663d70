"""SliceWindowSegmentor: any 2D segmentation network over windows of neighbouring slices, which become its channels."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from mmseg.models.decode_heads.cascade_decode_head import BaseCascadeDecodeHead
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn
from torch.nn import functional

from medseg.models.losses import build_loss
from medseg.models.segmentors.scan_segmentor import ScanSegmentor
from medseg.models.targets import LabelScheme
from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.backbones.feature_probe import maps_like, probe_features_behind
from vdt3d.models.backbones.window_parts import (
    build_image_part,
    build_window_backbone,
    check_channels,
    check_supported,
    to_backbone_input,
)
from vdt3d.models.probing import probe_output
from vdt3d.registry import MODELS
from vdt3d.structures import SegmentationSample, SliceWindow
from vdt3d.utils.signatures import nearest

HEAD_SIDE = 1024  # of the image for whose maps a head is tried: LRASPPHead pools over 49 x 49 places
AUXILIARY_WEIGHT = 0.4  # of an auxiliary head in the loss, as in mmsegmentation's configs
TEXT = "networks with a text encoder (SAN) are not supported; choose the config of an EncoderDecoder"
REMEDIES = {  # for settings of mmsegmentation's segmentors that are not supported
    "pretrained": "set load_from in the config instead",
    "train_cfg": "leave it out, training has no further settings",
    "text_encoder": TEXT,
    "image_encoder": TEXT,
}


class HeadCascade(nn.ModuleList):
    """Heads of which each but the first reads the logits of the head before it too (OCRNet).

    State-dict keys are those of mmsegmentation's ``CascadeEncoderDecoder``.
    """

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return the logits (N, K, h, w) of the last head."""
        return _all_logits(self, features)[-1]


def _all_logits(head: nn.Module, features: Sequence[Tensor]) -> list[Tensor]:
    """Return the logits of each head of a cascade, in its order, or those of a single head."""
    if not isinstance(head, HeadCascade):
        return [head(features)]
    first, *others = head
    logits = [first(features)]
    for each in others:
        logits.append(each(features, logits[-1]))
    return logits


@MODELS.register_module()
class SliceWindowSegmentor(ScanSegmentor):
    """The parts of an ``EncoderDecoder`` of mmsegmentation, fed with windows (N, C, n, H, W) of n slices: 2.5D.

    Channels and slices together become the C * n channels of a picture, channel by channel, unless the backbone reads
    windows as they are (``BEiT3D`` or another ``WindowBackbone``); the scores (N, K, t, H, W) are those of the t slices
    that the window answers. So the config of an ``EncoderDecoder`` serves with another
    ``type``: convolutions for colours take the slices instead, heads give as many scores as are asked for, and the
    channels that a neck or a head does not name (``in_channels``) are those of the features it reads.

    Args:
        backbone: of mmsegmentation or mmpretrain, ``dict(type='WindowEncoder', model='timm.convnext_tiny')``, or
            another ``WindowBackbone``; these are given ``in_channels`` and ``window``.
        decode_head: of mmsegmentation; its scores are judged by ``loss_decode`` below. A list is a cascade, see
            ``HeadCascade``: the heads before the last are supervised as auxiliary heads are.
        neck: of mmsegmentation, or ``dict(type='PictureUNetNeck')``.
        auxiliary_head: one or several heads that are supervised too, each with its ``loss_weight``, 0.4 if not given.
        num_classes: labels to tell apart, background included.
        label_map, regions: of ``LabelScheme``; with regions each is told by itself (sigmoid).
        loss_decode: a loss of ``medseg.models.losses``, or a list of them. By default Dice and cross-entropy over the
            whole batch (``DiceCELoss3D(batch=True)``): asked of each slice, Dice is 1 wherever a class is absent, which
            drowns what can be learnt.
        in_channels: of the volumes.
        window: arguments of ``SliceWindow``; the data set must be given the same.
        scale: how each window is scaled by itself: "max" divides by its greatest value, "percentile" moves its
            percentiles 0.5 and 99.5 to 0 and 1 and clips, "zscore" gives it mean 0 and standard deviation 1. Without,
            values are as the pipeline made them.
        first_conv: how kernels for colours spread over the slices when 2D weights are loaded, 'average' when left out:
            see ``spread_over_slices``. Three slices take the colours' kernels as they are.
        presence_weight: of a further loss, by which the coarsest feature is asked what a slice holds: of the classes
            but the background, or of the regions; 0 for none.
        test_cfg: as ``VolumeSegmentor``'s; a ``SliceWindowInferer`` is told the window.
        data_preprocessor, init_cfg: as ``VolumeSegmentor``'s.
        num_stages: number of heads in ``decode_head``, as the config of a ``CascadeEncoderDecoder`` has it.
        unsupported: settings of other segmentors, which are refused.

    Raises:
        ValueError: a part or a setting is missing, not supported, or does not fit the others; ``edge="zero"`` with a
            preprocessor that moves zero.
    """

    def __init__(
        self,
        backbone: dict | None = None,
        decode_head: dict | Sequence[dict] | None = None,
        neck: dict | None = None,
        auxiliary_head: dict | Sequence[dict] | None = None,
        *,
        num_classes: int,
        label_map: Mapping[int, int] | None = None,
        regions: Mapping[str, Sequence[int]] | None = None,
        loss_decode: dict | list[dict] | None = None,
        in_channels: int = 1,
        window: dict | SliceWindow | None = None,
        scale: Literal["max", "percentile", "zscore"] | None = None,
        first_conv: Literal["average", "repeat", "centre"] | None = None,
        presence_weight: float = 0.0,
        test_cfg: dict | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
        num_stages: int | None = None,
        **unsupported: object,
    ):
        stages = [decode_head] if isinstance(decode_head, dict) else [dict(head) for head in decode_head or ()]
        _check_settings(backbone, stages, num_stages, unsupported)
        super().__init__(data_preprocessor, init_cfg)
        self.window = SliceWindow.of(window)
        if self.window.edge == "zero" and not _keeps_zero(self.data_preprocessor):
            raise ValueError("edge='zero' and a data_preprocessor that moves zero: normalise in the pipeline instead")
        if scale is not None and scale not in SCALINGS:
            raise ValueError(f"scale={scale!r} is none of {', '.join(SCALINGS)}")
        if scale is not None and getattr(self.data_preprocessor, "input_statistics", None):
            raise ValueError(f"scale={scale!r} undoes data_preprocessor.input_statistics: give one of both")
        self.scale = scale
        self._labels = LabelScheme(num_classes, label_map=label_map, regions=regions)
        self.loss_decode = build_loss(loss_decode or {"type": "DiceCELoss3D", "batch": True})

        self.backbone, found = build_window_backbone(
            backbone, in_channels=in_channels, window=self.window, first_conv=first_conv
        )
        self.neck, infos = None, found
        if neck is not None:
            channels = [info.channels for info in infos]
            check_channels(neck, channels)
            told = {"embed_dim": channels[0]} if neck["type"] == "Feature2Pyramid" else {"in_channels": channels}
            self.neck = build_image_part({**told, **neck})
            infos = probe_features_behind(self.neck, infos)
        others = [auxiliary_head] if isinstance(auxiliary_head, dict) else auxiliary_head or ()
        others = [dict(head) for head in others]
        self.auxiliary_weights = [head.pop("loss_weight", AUXILIARY_WEIGHT) for head in [*stages[:-1], *others]]
        self.decode_head = self._head(decode_head if isinstance(decode_head, dict) else stages, infos)
        self.auxiliary_head = nn.ModuleList(self._head(head, infos) for head in others)

        self.presence_weight = presence_weight
        self.coarsest = max(range(len(found)), key=lambda index: found[index].stride)
        self.presence = nn.Linear(found[self.coarsest].channels, self._things) if presence_weight else None
        self.settle(test_cfg, window=self.window)

    @property
    def labels(self) -> LabelScheme:
        return self._labels

    @property
    def _things(self) -> int:
        """How many scores there are but the background's."""
        return len(self.labels.regions) or self.labels.num_classes - 1

    def extract_feat(self, inputs: Tensor) -> Sequence[Tensor]:
        """The features the heads read, of windows (N, C, n, H, W)."""
        return self._joined(self.backbone(self._read(inputs)))

    def encode_decode(self, inputs: Tensor, batch_data_samples: Sequence[SegmentationSample] | None = None) -> Tensor:
        """The scores (N, K, t, H, W) of windows (N, C, n, H, W)."""
        return self._scores(self.decode_head(self.extract_feat(inputs)), inputs.shape[3:])

    def loss(self, inputs: Tensor, data_samples: Sequence[SegmentationSample]) -> dict[str, Tensor]:
        """The terms of the loss as ``loss_<term>``, those of the further heads as ``loss_aux<k>_<term>``.

        The further heads are those before the last of a cascade, then the auxiliary heads.

        Raises:
            ValueError: the windows are not those of the model.
        """
        self._check_windows(data_samples)
        features = self.backbone(self._read(inputs))
        targets = self._targets(data_samples, inputs.shape[2:])
        losses = {}
        if self.presence is not None:
            said = self.presence(features[self.coarsest].mean(dim=(2, 3)))
            losses["loss_presence"] = self.presence_weight * functional.binary_cross_entropy_with_logits(
                said.float(), self._present(targets)
            )
        features = self._joined(features)
        *earlier, last = _all_logits(self.decode_head, features)
        further = [*earlier, *(head(features) for head in self.auxiliary_head)]
        for index, logits in enumerate([last, *further]):
            name, weight = (f"aux{index - 1}_", self.auxiliary_weights[index - 1]) if index else ("", 1)
            parts = self.loss_decode.parts(self._scores(logits, inputs.shape[3:]), targets)
            losses |= {f"loss_{name}{term}": weight * value for term, value in parts.items()}
        return losses

    def score_losses(
        self, logits: Tensor, data_samples: Sequence[SegmentationSample], size: Sequence[int]
    ) -> dict[str, Tensor]:
        return self.loss_decode.parts(logits, self._targets(data_samples, size))

    def _targets(self, data_samples: Sequence[SegmentationSample], size: Sequence[int]) -> Tensor:
        """Return the truth of the answered slices, of windows of ``size``."""
        return self.labels.targets(data_samples, size)[..., list(self.window.answered), :, :]

    def _read(self, inputs: Tensor) -> Tensor:
        """Windows as the backbone reads them, scaled: as they are, or (N, C * n, H, W).

        Raises:
            ValueError: they have another number of slices than the model's.
        """
        if self.scale is not None:
            inputs = SCALINGS[self.scale](inputs)
        return to_backbone_input(self.backbone, inputs, self.window)

    def _joined(self, features: Sequence[Tensor]) -> Sequence[Tensor]:
        return features if self.neck is None else self.neck(features)

    def _scores(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        """Return a head's logits (N, K * t, h, w) as (N, K, t, H, W) of ``size`` (H, W)."""
        scores = functional.interpolate(logits, tuple(size), mode="bilinear", align_corners=False)
        return scores.unflatten(1, (self.labels.channels, -1))

    def _present(self, targets: Tensor) -> Tensor:
        """(N, things) 1 for what the answered slices hold, of targets (N, t, H, W) or (N, R, t, H, W)."""
        if self.labels.regions:
            return (targets == 1).flatten(2).any(2).float()
        return torch.stack([(targets == label).flatten(1).any(1) for label in range(1, self._things + 1)], 1).float()

    def _check_windows(self, data_samples: Sequence[SegmentationSample]) -> None:
        for sample in data_samples:
            for step, _ in sample.get("history", ()):
                window = getattr(step, "window", self.window)
                if window != self.window:
                    raise ValueError(
                        f"case '{sample.sample_name}' comes with {window}, the model has {self.window}: give data set "
                        "and model the same window"
                    )

    def _head(self, config: dict | Sequence[dict], infos: Sequence[FeatureInfo]) -> nn.Module:
        """Build the head of a dict, or the cascade of a list of them, and check that it returns one map of logits."""
        if isinstance(config, dict):
            head = self._built(config, infos, cascaded=False)
        else:
            first, *others = config
            head = HeadCascade(
                [self._head(first, infos), *(self._built(each, infos, cascaded=True) for each in others)]
            )
        answer = probe_output(head, maps_like(infos, HEAD_SIDE, "meta"))
        if not isinstance(answer, Tensor):
            remedy = "use_se_loss=False" if getattr(head, "use_se_loss", False) else "another head"
            raise ValueError(
                f"{type(head).__name__} returns a {type(answer).__name__}, but one map is expected: {remedy}"
            )
        return head

    def _built(self, config: dict, infos: Sequence[FeatureInfo], *, cascaded: bool) -> BaseDecodeHead:
        """Build a head with as many scores as there are labels and answered slices."""
        if "loss_decode" in config:
            raise ValueError(f"{config['type']}: scores are judged by the segmentor's loss_decode, not by the head's")
        index = config.get("in_index", -1)
        channels = infos[index].channels if isinstance(index, int) else [infos[each].channels for each in index]
        check_channels(config, channels)
        scores = self.labels.channels * len(self.window.answered)
        # A threshold, which nobody asks for, keeps mmsegmentation from advice about single scores.
        told = {"num_classes": scores, "out_channels": scores, "threshold": 0.5}
        # Its own default, scores that begin near 0, keeps AdamW and Dice from learning anything for hundreds of steps.
        head = build_image_part({"in_channels": channels, "init_cfg": None, **config, **told})
        if not isinstance(head, BaseDecodeHead):
            raise ValueError(f"{config['type']} answers no map of scores for features alone; choose another head")
        if isinstance(head, BaseCascadeDecodeHead) != cascaded:
            place = "cannot follow another head" if cascaded else "needs the logits of a head before it"
            raise ValueError(f"{config['type']} {place}: give decode_head as in mmsegmentation, or choose another head")
        return head


def _check_settings(
    backbone: dict | None, stages: Sequence[dict], num_stages: int | None, unsupported: Mapping[str, object]
) -> None:
    """Raise ValueError if a setting or part is missing or not supported, before anything is built."""
    for name in sorted(unsupported, key=lambda name: name not in REMEDIES):
        known = [*inspect.signature(SliceWindowSegmentor).parameters][:-1]
        remedy = f": {REMEDIES[name]}" if name in REMEDIES else nearest(name, known)
        raise ValueError(f"SliceWindowSegmentor has no setting '{name}'{remedy}")
    for part in filter(None, (backbone, *stages)):
        check_supported(part)
    if not backbone or not stages:
        raise ValueError("SliceWindowSegmentor needs a backbone and a decode_head, as an EncoderDecoder does")
    if num_stages not in (None, len(stages)):
        raise ValueError(f"num_stages={num_stages}, but decode_head has {len(stages)} heads: leave num_stages out")


def _keeps_zero(data_preprocessor: nn.Module) -> bool:
    moved = getattr(data_preprocessor, "input_statistics", None) or data_preprocessor.mean.any()
    return not moved and bool((data_preprocessor.std == 1).all())


def _by_maximum(windows: Tensor) -> Tensor:
    greatest = windows.amax(dim=(1, 2, 3, 4), keepdim=True)
    return windows / torch.where(greatest > 0, greatest, 1)


def _by_percentiles(windows: Tensor) -> Tensor:
    ends = torch.tensor([0.005, 0.995], device=windows.device)
    low, high = windows.flatten(1).float().quantile(ends, dim=1).view(2, -1, 1, 1, 1, 1)
    return ((windows - low) / torch.where(high > low, high - low, 1)).clamp(0, 1)


def _by_zscore(windows: Tensor) -> Tensor:
    axes = (1, 2, 3, 4)
    spread = windows.std(dim=axes, keepdim=True, unbiased=False)
    return (windows - windows.mean(dim=axes, keepdim=True)) / torch.where(spread > 0, spread, 1)


SCALINGS = {"max": _by_maximum, "percentile": _by_percentiles, "zscore": _by_zscore}
