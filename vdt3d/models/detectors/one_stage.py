"""RetinaNet3D and FCOS3D: torchvision's detectors without proposals over windows of slices."""

from collections.abc import Sequence
from types import SimpleNamespace

from torch import Tensor
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet

from vdt3d.models.detectors.window_detector import Found, GridAnchors, Maps, WindowDetector
from vdt3d.registry import MODELS

HEAD = {"score_thresh": 0.0, "nms_thresh": 0.5, "detections_per_img": 100}
TERMS = {"classification": "loss_cls", "bbox_regression": "loss_bbox", "bbox_ctrness": "loss_centerness"}


class _OneStage(WindowDetector):
    """What the two share: heads that say of every place of every map what is there."""

    heads = ("bbox_head",)

    def raw(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Scores and deltas, and of FCOS centeredness, of every anchor."""
        return tuple(self.bbox_head.head(list(self.extract_feat(inputs).values())).values())

    def losses(self, images: ImageList, maps: Maps, truths: list[Found]) -> dict[str, Tensor]:
        return {TERMS[name]: value for name, value in self.bbox_head(images, maps, truths).items()}

    def detections(self, images: ImageList, maps: Maps) -> list[Found]:
        return [_with_extent(answer) for answer in self.bbox_head(images, maps)]


@MODELS.register_module()
class RetinaNet3D(_OneStage):
    """RetinaNet (Lin et al. 2017) on the pyramid of ``FasterRCNN3D``, whose first map is finer than the published one:
    lesions are small. Anchors have three sizes each.

    Args:
        backbone: as ``WindowDetector``'s.
        anchor_scale: size of the smallest anchors over the stride of their map.
        anchor_ratios: heights of anchors over widths.
        head: of torchvision's ``RetinaNet``, as far as it differs from it and from ``HEAD``.
        **kwargs: as ``WindowDetector``'s.

    Raises:
        ValueError: as ``WindowDetector``.
    """

    def __init__(
        self,
        backbone: dict,
        *,
        anchor_scale: float = 4,
        anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        head: dict | None = None,
        **kwargs,
    ):
        super().__init__(backbone, **kwargs)
        scales = [anchor_scale * 2 ** (third / 3) for third in range(3)]
        anchors = GridAnchors(self.strides, scales=scales, ratios=anchor_ratios)
        self.bbox_head = _RetinaNet(self.fpn_channels, self.num_classes, anchors, **(HEAD | (head or {})))


@MODELS.register_module()
class FCOS3D(_OneStage):
    """FCOS (Tian et al. 2019) on the pyramid of ``FasterRCNN3D``; it has points for anchors.

    Args:
        backbone: as ``WindowDetector``'s.
        head: of torchvision's ``FCOS``, as far as it differs from it and from ``HEAD``.
        **kwargs: as ``WindowDetector``'s; ``fpn_channels`` divide by 32, the groups of the head's norms.

    Raises:
        ValueError: as ``WindowDetector``.
    """

    def __init__(self, backbone: dict, *, head: dict | None = None, **kwargs):
        super().__init__(backbone, **kwargs)
        points = GridAnchors(self.strides, scales=(1,), ratios=(1.0,))
        self.bbox_head = _FCOS(self.fpn_channels, self.num_classes, points, **(HEAD | (head or {})))


class _Heads:
    """Before a detector of torchvision: it without backbone and transform, told maps and answering in single precision.

    Half of it moves boxes by pixels.
    """

    def __init__(self, channels: int, num_classes: int, anchors: GridAnchors, **options):
        super().__init__(SimpleNamespace(out_channels=channels), num_classes, anchor_generator=anchors, **options)
        del self.backbone, self.transform

    def forward(
        self, images: ImageList, maps: Maps, targets: list[Found] | None = None
    ) -> dict[str, Tensor] | list[Found]:
        """What is found in each image; in training mode the losses."""
        levels = list(maps.values())
        said = {name: values.float() for name, values in self.head(levels).items()}
        anchors = self.anchor_generator(images, levels)
        of_place = self.anchor_generator.num_anchors_per_location()
        counts = [level.shape[2:].numel() * each for level, each in zip(levels, of_place, strict=True)]
        if self.training:
            return self.judged(targets, said, anchors, counts)
        by_level = {name: list(values.split(counts, dim=1)) for name, values in said.items()}
        return self.postprocess_detections(by_level, [list(each.split(counts)) for each in anchors], images.image_sizes)


class _RetinaNet(_Heads, RetinaNet):
    def judged(self, targets: list[Found], said: Maps, anchors: list[Tensor], counts: list[int]) -> dict[str, Tensor]:
        """The terms of the loss."""
        return self.compute_loss(targets, said, anchors)


class _FCOS(_Heads, FCOS):
    def judged(self, targets: list[Found], said: Maps, anchors: list[Tensor], counts: list[int]) -> dict[str, Tensor]:
        """The terms of the loss."""
        return self.compute_loss(targets, said, anchors, counts)


def _with_extent(answer: Found) -> Found:
    """Without the boxes of which nothing lies within the image."""
    boxes = answer["boxes"]
    kept = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    return {name: values[kept] for name, values in answer.items()}
