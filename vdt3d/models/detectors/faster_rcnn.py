"""FasterRCNN3D: torchvision's region proposals and box heads over windows of slices, with the recipe of MP3D."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign, roi_align
from torchvision.ops.poolers import LevelMapper

from vdt3d.models.detectors.window_detector import Found, GridAnchors, Maps, WindowDetector
from vdt3d.registry import MODELS

RPN = {
    "fg_iou_thresh": 0.7,
    "bg_iou_thresh": 0.3,
    "batch_size_per_image": 256,
    "positive_fraction": 0.5,
    "pre_nms_top_n": {"training": 2000, "testing": 1000},
    "post_nms_top_n": {"training": 1000, "testing": 1000},
    "nms_thresh": 0.7,
}
POOLING = {"output_size": 7, "sampling_ratio": 0, "canonical_scale": 224, "canonical_level": 4}
ROI = {
    "fg_iou_thresh": 0.5,
    "bg_iou_thresh": 0.5,
    "batch_size_per_image": 512,
    "positive_fraction": 0.25,
    "bbox_reg_weights": (10.0, 10.0, 5.0, 5.0),
    "score_thresh": 0.0,
    "nms_thresh": 0.5,
    "detections_per_img": 100,
    "beta": 1.0,
}


@MODELS.register_module()
class FasterRCNN3D(WindowDetector):
    """Faster R-CNN (Ren et al. 2015) with a feature pyramid (Lin et al. 2017); the defaults are the recipe of MP3D.

    That is Zhang et al., "Revisiting 3D context modeling with supervised pre-training for universal lesion detection in
    CT slices", MICCAI 2020. What torchvision does otherwise stays: every true box has the anchor that fits it best,
    however badly (the recipe asks for an overlap of 0.3), corners of anchors are rounded to whole pixels, and RoIAlign
    has no half-pixel shift.

    Args:
        backbone: as ``WindowDetector``'s.
        anchor_scale: size of anchors over the stride of their map.
        anchor_ratios: heights of anchors over widths.
        rpn: of torchvision's ``RegionProposalNetwork``, as far as it differs from ``RPN``.
        pooling: of torchvision's ``MultiScaleRoIAlign``, as far as it differs from ``POOLING``; a ``sampling_ratio`` of
            0 samples as densely as the box is large.
        roi: of torchvision's ``RoIHeads``, as far as it differs from ``ROI``; ``beta`` is where the loss of boxes turns
            from squares to absolute values.
        head_channels: of the two layers that read what was pooled.
        **kwargs: as ``WindowDetector``'s.

    Raises:
        ValueError: as ``WindowDetector``.
    """

    heads = ("rpn", "roi_heads")

    def __init__(
        self,
        backbone: dict,
        *,
        anchor_scale: float = 4,
        anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        rpn: dict | None = None,
        pooling: dict | None = None,
        roi: dict | None = None,
        head_channels: int = 1024,
        **kwargs,
    ):
        super().__init__(backbone, **kwargs)
        anchors = GridAnchors(self.strides, scales=(anchor_scale,), ratios=anchor_ratios)
        head = SingleRPNHead(self.fpn_channels, len(anchor_ratios))
        rpn = RPN | (rpn or {})
        self.rpn, self.most_proposals = RegionProposalNetwork(anchors, head, **rpn), rpn["post_nms_top_n"]["testing"]
        strides = self.strides[:-1]  # the last map serves proposals alone
        pool = MultiScaleRoIAlign([str(level) for level in range(len(strides))], **(POOLING | (pooling or {})))
        # Left to itself it takes what the padding of the first batch suggests for all batches to come.
        finest = strides[0].bit_length() - 1
        pool.scales = [1 / stride for stride in strides]
        pool.map_levels = LevelMapper(finest, finest + len(strides) - 1, pool.canonical_scale, pool.canonical_level)
        self.roi_heads = BoxHeads(
            pool,
            TwoMLPHead(self.fpn_channels * prod(pool.output_size), head_channels),
            FastRCNNPredictor(head_channels, 1 + self.num_classes),
            **(ROI | (roi or {})),
        )

    def raw(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Objectness and deltas of every map, then scores and deltas of as many boxes as there may be proposals.

        These are the first anchors, pooled from the finest map: proposals would be chosen by what the tensors hold.
        """
        maps = self.extract_feat(inputs)
        images = ImageList(inputs, [tuple(inputs.shape[3:])] * len(inputs))
        boxes = self.rpn.anchor_generator(images, list(maps.values()))
        boxes, pool = [each[: self.most_proposals] for each in boxes], self.roi_heads.box_roi_pool
        pooled = roi_align(maps["0"], boxes, pool.output_size, pool.scales[0], pool.sampling_ratio)
        objectness, deltas = self.rpn.head(list(maps.values()))
        return (*objectness, *deltas, *self.roi_heads.said(pooled))

    def losses(self, images: ImageList, maps: Maps, truths: list[Found]) -> dict[str, Tensor]:
        truths = [truth | {"labels": truth["labels"] + 1} for truth in truths]  # 0 is the background
        proposals, of_rpn = self.rpn(images, maps, truths)
        _, of_heads = self.roi_heads(maps, proposals, images.image_sizes, truths)
        return {
            "loss_rpn_cls": of_rpn["loss_objectness"],
            "loss_rpn_bbox": of_rpn["loss_rpn_box_reg"],
            "loss_cls": of_heads["loss_classifier"],
            "loss_bbox": of_heads["loss_box_reg"],
        }

    def detections(self, images: ImageList, maps: Maps) -> list[Found]:
        proposals, _ = self.rpn(images, maps)
        found, _ = self.roi_heads(maps, proposals, images.image_sizes)
        return [answer | {"labels": answer["labels"] - 1} for answer in found]


class SingleRPNHead(RPNHead):
    """torchvision's, answering in single precision whatever autocast computes in: half of it moves boxes by pixels."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness and deltas of each map."""
        objectness, deltas = super().forward(x)
        return [each.float() for each in objectness], [each.float() for each in deltas]


class BoxHeads(RoIHeads):
    """torchvision's, for boxes alone, with a ``beta`` for the loss of boxes, which there is 1 / 9.

    Args:
        *args, **kwargs: as ``RoIHeads``'s.
        beta: of the smooth L1 loss.
    """

    def __init__(self, *args, beta: float, **kwargs):
        super().__init__(*args, **kwargs)
        self.beta = beta

    def said(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """(K, 1 + classes) logits and (K, 4 * (1 + classes)) deltas of what was pooled, in single precision."""
        logits, deltas = self.box_predictor(self.box_head(pooled))
        return logits.float(), deltas.float()

    def forward(
        self,
        features: Maps,
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[Found] | None = None,
    ) -> tuple[list[Found], dict[str, Tensor]]:
        """What is found and no losses; in training mode nothing and the losses."""
        if self.training:
            proposals, _, labels, wanted = self.select_training_samples(proposals, targets)
        logits, deltas = self.said(self.box_roi_pool(features, proposals, image_shapes))
        if self.training:
            names = ("loss_classifier", "loss_box_reg")
            judged = box_losses(logits, deltas, torch.cat(labels), torch.cat(wanted), beta=self.beta)
            return [], dict(zip(names, judged, strict=True))
        found = self.postprocess_detections(logits, deltas, proposals, image_shapes)
        names = ("boxes", "scores", "labels")
        return [dict(zip(names, answer, strict=True)) for answer in zip(*found, strict=True)], {}


def box_losses(logits: Tensor, deltas: Tensor, labels: Tensor, wanted: Tensor, *, beta: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy of classes, and smooth L1 of the deltas of objects over the number of all boxes.

    Girshick, "Fast R-CNN", ICCV 2015, equations 1 to 3; there ``beta`` is 1.

    Args:
        logits: (K, 1 + classes).
        deltas: (K, 4 * (1 + classes)), four for each class.
        labels: (K,), 0 for the background.
        wanted: (K, 4) the deltas from each box to its object.
        beta: where squares become absolute values.
    """
    objects = torch.where(labels > 0)[0]
    of_class = deltas.unflatten(1, (-1, 4))[objects, labels[objects]]
    off = functional.smooth_l1_loss(of_class, wanted[objects], beta=beta, reduction="sum")
    return functional.cross_entropy(logits, labels), off / len(labels)
