"""WindowDetector: what detectors of boxes share: from windows of slices to a pyramid of maps, from answers to Boxes.

Windows are (N, C, n, H, W); boxes in the network's hands (K, 4), left, upper, right and lower end in pixels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from vdt3d.models.backbones.window_parts import build_window_backbone, to_backbone_input
from vdt3d.models.data_preprocessor import use_pretrained_statistics
from vdt3d.registry import MODELS
from vdt3d.structures import Boxes, DetectionSample, SliceWindow, SpacedWindow

Maps = dict[str, Tensor]  # of the pyramid, the finest first
Found = dict[str, Tensor]  # of one image: boxes (K, 4), labels (K,) and, of answers, scores (K,), the best first


class WindowDetector(BaseModel):
    """A backbone of windows and a feature pyramid, parts of torchvision behind which a subclass places its heads.

    Windows come resized and normalised (torchvision's own transform, which knows pictures alone, is not used), and
    those of a batch may differ in height and width: ``VolumeDataPreprocessor(pad_to=32)``. Mode 'loss' gives a dict of
    ``loss_...``; 'predict' gives each sample ``pred_boxes`` and ``pred_scores``; 'tensor' what the heads say before
    boxes are chosen, by which operations can be counted.

    Args:
        backbone: a ``WindowBackbone``, which is given ``in_channels`` and ``window``, or a 2D network to which the
            slices are channels, such as ``dict(type='WindowEncoder', model='torchvision.resnet50', out_indices=(1, 2,
            3, 4))``; its maps are the pyramid's, which has one more of twice the last stride.
        num_classes: kinds of objects, background not counted.
        in_channels: of the volumes.
        window: arguments of ``SpacedWindow``; the data set must be given the same. Boxes are of its key slice.
        fpn_channels: of every map of the pyramid.
        first_conv: of ``build_window_backbone``.
        data_preprocessor: what batches and normalises the windows; ``VolumeDataPreprocessor`` unless it names a type.
        init_cfg: how to initialise the whole detector.

    Attributes:
        heads: names of the parts behind the pyramid, which torchvision makes compute losses in training mode alone.
        report_losses: whether 'predict' also gives each sample that has boxes its ``losses``; the validation loop sets
            it.

    Raises:
        ValueError: a window that cannot be; maps whose strides are not each twice the one before.
    """

    heads: tuple[str, ...] = ()
    report_losses = False

    def __init__(
        self,
        backbone: dict,
        *,
        num_classes: int = 1,
        in_channels: int = 1,
        window: dict | SpacedWindow | None = None,
        fpn_channels: int = 256,
        first_conv: str | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
    ):
        if not isinstance(data_preprocessor, nn.Module):
            data_preprocessor = MODELS.build({"type": "VolumeDataPreprocessor", **(data_preprocessor or {})})
        super().__init__(data_preprocessor, init_cfg)
        self.window, self.num_classes, self.fpn_channels = SpacedWindow.of(window), num_classes, fpn_channels
        slices = SliceWindow(self.window.slices)  # how far apart they lie is nothing to a network
        self.backbone, infos = build_window_backbone(
            backbone, in_channels=in_channels, window=slices, first_conv=first_conv
        )
        use_pretrained_statistics(self)
        strides = [info.stride[2] for info in infos]
        if not strides or strides != [strides[0] << level for level in range(len(strides))]:
            raise ValueError(
                f"{backbone['type']} has maps of strides {strides}; a pyramid wants each twice the one before: choose "
                "the backbone's out_indices"
            )
        self.strides = (*strides, 2 * strides[-1])
        self.neck = FeaturePyramidNetwork([info.channels for info in infos], fpn_channels, LastLevelMaxPool())

    def forward(
        self, inputs: Tensor, data_samples: Sequence[DetectionSample] | None = None, mode: str = "tensor"
    ) -> dict[str, Tensor] | Sequence[DetectionSample] | tuple[Tensor, ...]:
        """What ``mode`` says, see above.

        Raises:
            ValueError: another mode, windows of another number of slices, or as ``loss`` and ``predict``.
        """
        if mode == "loss":
            return self.loss(inputs, data_samples)
        if mode == "predict":
            return self.predict(inputs, data_samples)
        if mode == "tensor":
            return self.raw(inputs)
        raise ValueError(f"mode={mode!r} is none of 'loss', 'predict', 'tensor'")

    def loss(self, inputs: Tensor, data_samples: Sequence[DetectionSample]) -> dict[str, Tensor]:
        """The terms of the loss; a window without boxes is one of background alone.

        Raises:
            ValueError: the model is not in training mode; a sample without truth, a box without extent, or a label that
                is no class.
        """
        if not self.training:
            raise ValueError("a detector tells its losses in training mode: call train() first")
        truths = self._truths(data_samples)
        return self.losses(_images(inputs, data_samples), self.extract_feat(inputs), truths)

    def predict(self, inputs: Tensor, data_samples: Sequence[DetectionSample] | None) -> Sequence[DetectionSample]:
        """The samples, each with ``pred_boxes`` and ``pred_scores``.

        Raises:
            ValueError: there are no samples to tell the grid of each window.
        """
        if data_samples is None:
            raise ValueError("boxes lie on the grid of their window, which data_samples tell; mode='tensor' needs none")
        images, maps = _images(inputs, data_samples), self.extract_feat(inputs)
        if self.report_losses:
            self._set_losses(images, maps, data_samples)
        found = self.detections(images, maps)
        for sample, answer in zip(data_samples, found, strict=True):
            sample.pred_boxes = self._on_grid(sample, answer)
            sample.pred_scores = answer["scores"].float().cpu().numpy()
        return data_samples

    def extract_feat(self, inputs: Tensor) -> Maps:
        """The maps of the pyramid."""
        maps = self.backbone(to_backbone_input(self.backbone, inputs, self.window))
        return self.neck({str(level): features for level, features in enumerate(maps)})

    def raw(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """What the heads say."""
        raise NotImplementedError

    def losses(self, images: ImageList, maps: Maps, truths: list[Found]) -> dict[str, Tensor]:
        """The terms of the loss, as ``loss_...``."""
        raise NotImplementedError

    def detections(self, images: ImageList, maps: Maps) -> list[Found]:
        """What is found in each image; labels count from 0."""
        raise NotImplementedError

    def _set_losses(self, images: ImageList, maps: Maps, data_samples: Sequence[DetectionSample]) -> None:
        """Set the ``losses`` of each sample that has boxes, by itself, so that other samples do not change them.

        Boxes to learn from are drawn with a fixed seed; the generators go on as if nothing had been drawn.
        """
        for place, sample in enumerate(data_samples):
            if "gt_boxes" not in sample:
                continue
            image = ImageList(images.tensors[place : place + 1], images.image_sizes[place : place + 1])
            own = {level: features[place : place + 1] for level, features in maps.items()}
            with _seeded(images.tensors.device), self._heads_in_training():
                terms = self.losses(image, own, self._truths([sample]))
            found = {name: float(value) for name, value in terms.items()}
            sample.set_field(found, "losses", field_type="metainfo")

    @contextmanager
    def _heads_in_training(self) -> Iterator[None]:
        """Let torchvision's heads compute losses, while their norms and dropout stay in evaluation mode."""
        heads = [getattr(self, name) for name in self.heads]
        before = [head.training for head in heads]
        for head in heads:
            head.training = True  # not train(), which would reach the layers
        try:
            yield
        finally:
            for head, training in zip(heads, before, strict=True):
                head.training = training

    def _truths(self, data_samples: Sequence[DetectionSample]) -> list[Found]:
        for sample in data_samples:
            if "gt_boxes" not in sample:
                raise ValueError(f"case '{sample.sample_name}' has no boxes to learn from, not even an empty list")
            boxes, labels = sample.gt_boxes, sample.gt_labels
            known = (labels >= 0) & (labels < self.num_classes)
            right = (boxes[:, 2:] > boxes[:, :2]).all(dim=1) & known  # one look at the device, not two
            if not right.all():
                box, label = next(zip(boxes[~right].tolist(), labels[~right].tolist(), strict=True))
                raise ValueError(
                    f"case '{sample.sample_name}': box {box} of label {label}; wanted are boxes with an extent, as "
                    f"PackDetection leaves them, and labels from 0 to {self.num_classes - 1} (num_classes)"
                )
        return [{"boxes": sample.gt_boxes, "labels": sample.gt_labels} for sample in data_samples]

    def _on_grid(self, sample: DetectionSample, answer: Found) -> Boxes:
        """Boxes of the key slice, on the grid of the sample's reference where there is one."""
        boxes, place = answer["boxes"].double().cpu().numpy(), self.window.place
        corners = np.empty((len(boxes), 6))
        corners[:, [2, 1, 5, 4]], corners[:, 0], corners[:, 3] = boxes, place, place + 1
        found = Boxes(corners, answer["labels"].cpu().numpy(), affine=sample.grid[1])
        reference = sample.get("reference")
        return found if reference is None else found.on(reference.affine)


class GridAnchors(AnchorGenerator):
    """Anchors on grids of known strides: of each ratio (height to width) and scale, in multiples of the stride.

    In torchvision's generator the strides are those that the sizes of the maps suggest, and off where these do not
    divide the image's; and anchors are as coarse as the maps' precision.

    Args:
        strides: of the maps, in pixels.
        scales: sizes of anchors, over the stride of their map.
        ratios: heights over widths.
    """

    def __init__(self, strides: Sequence[int], *, scales: Sequence[float], ratios: Sequence[float]):
        sizes = tuple(tuple(scale * stride for scale in scales) for stride in strides)
        super().__init__(sizes, (tuple(ratios),) * len(sizes))
        self.strides = tuple(strides)

    def forward(self, image_list: ImageList, feature_maps: Sequence[Tensor]) -> list[Tensor]:
        """(K, 4) for each image: all anchors, map by map; images of a batch have the same."""
        self.set_cell_anchors(torch.float32, feature_maps[0].device)
        sizes = [features.shape[-2:] for features in feature_maps]
        anchors = torch.cat(self.grid_anchors(sizes, [(stride, stride) for stride in self.strides]))
        return [anchors] * len(image_list.image_sizes)


@contextmanager
def _seeded(device: torch.device) -> Iterator[None]:
    """Within the block torch draws from seed 0; outside it goes on as if nothing had been drawn."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(0)
        if device.type == "cuda":
            torch.cuda.manual_seed(0)
        yield


def _images(inputs: Tensor, data_samples: Sequence[DetectionSample]) -> ImageList:
    """The batch, and of each image how much of it is no padding."""
    return ImageList(inputs, [tuple(sample.grid[0][1:]) for sample in data_samples])
