"""From a sample to what mmengine collates: the end of every pipeline of volumes."""

import numpy as np
import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from vdt3d.registry import TRANSFORMS
from vdt3d.structures import DetectionSample, Sample, SegmentationSample, Volume


@TRANSFORMS.register_module()
class PackVolume:
    """Sample to ``inputs``, a float32 tensor (C, D, H, W), and ``data_samples`` with the label, ``sample_name``,
    ``grid`` (shape and affine of the inputs) and, where the sample has one, ``group``.

    A sample without target gives a data sample without ``gt_label``.
    """

    def __call__(self, sample: Sample) -> dict:
        metainfo = {"sample_name": sample.name, "grid": (sample.image.shape, sample.image.affine)}
        metainfo |= {"group": sample.group} if sample.group else {}
        data_sample = DataSample(metainfo=metainfo)
        if sample.target is not None:
            data_sample.set_gt_label(sample.target)
        return {"inputs": _tensor(sample.image), "data_samples": data_sample}


@TRANSFORMS.register_module()
class PackSegmentation:
    """Sample to ``inputs``, a float32 tensor (C, D, H, W), and ``data_samples``, a ``SegmentationSample``.

    ``gt_labels`` (D, H, W) keeps the label map's integer type, to be small on its way from a worker; a sample without
    label map gives a data sample without it.

    Raises:
        ValueError: (on use) the label map has several channels.
    """

    def __call__(self, sample: Sample) -> dict:
        data_sample = SegmentationSample()
        metainfo = {
            "sample_name": sample.name,
            "group": sample.group,
            "grid": (sample.image.shape, sample.image.affine),
            "stored": sample.image.stored,
            "history": sample.history,
            "reference": sample.reference,
        }
        for name, value in metainfo.items():  # one by one, since set_metainfo would copy the reference
            data_sample.set_field(value, name, field_type="metainfo")
        if sample.label_map is not None:
            if sample.label_map.channels != 1:
                raise ValueError(
                    f"case '{sample.name}': a label map has one channel, got {sample.label_map.channels}; "
                    "store overlapping structures as labels of their own and name them as regions"
                )
            array_DHW = np.asarray(sample.label_map.array)[0]
            # torch computes little with the larger unsigned types.
            wider = {"uint16": np.int32, "uint32": np.int64, "uint64": np.int64}.get(array_DHW.dtype.name)
            data_sample.gt_labels = torch.from_numpy(np.array(array_DHW, dtype=wider, order="C"))
        return {"inputs": _tensor(sample.image), "data_samples": data_sample}


@TRANSFORMS.register_module()
class PackDetection:
    """Sample to ``inputs``, a float32 tensor (C, D, H, W), and ``data_samples``, a ``DetectionSample``.

    What of a box lies outside the image is cut off, and boxes of which less than ``least`` pixels are left in height or
    width are left out. A sample without boxes gives a data sample without them.

    Args:
        least: pixels.
    """

    def __init__(self, least: float = 1.0):
        self.least = least

    def __call__(self, sample: Sample) -> dict:
        shape, affine = sample.image.shape, sample.image.affine
        metainfo = {"sample_name": sample.name, "group": sample.group, "grid": (shape, affine)}
        data_sample = DetectionSample(metainfo={**metainfo, "reference": sample.reference})
        if sample.boxes is not None:
            boxes = sample.boxes.inside(shape, self.least)
            data_sample.gt_boxes = torch.from_numpy(boxes.corners[:, [2, 1, 5, 4]].astype(np.float32))
            data_sample.gt_labels = torch.from_numpy(boxes.labels.astype(np.int64))
        return {"inputs": _tensor(sample.image), "data_samples": data_sample}


def _tensor(image: Volume) -> Tensor:
    # A copy: the array may be a view with negative steps, or belong to a data set held in memory.
    return torch.from_numpy(np.array(image.array, dtype=np.float32, order="C"))
