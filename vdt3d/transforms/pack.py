"""From a sample to what mmengine collates: the end of every pipeline of volumes."""

import numpy as np
import torch
from mmpretrain.structures import DataSample

from vdt3d.registry import TRANSFORMS
from vdt3d.structures import Sample


@TRANSFORMS.register_module()
class PackVolume:
    """Sample to ``inputs``, a float32 tensor (C, D, H, W), and ``data_samples`` with the label, ``sample_name``
    and, where the sample has one, ``group``.

    A sample without target gives a data sample without ``gt_label``.
    """

    def __call__(self, sample: Sample) -> dict:
        # A copy: the array may be a view with negative steps, or belong to a data set held in memory.
        inputs = torch.from_numpy(np.array(sample.image.array, dtype=np.float32, order="C"))
        metainfo = {"sample_name": sample.name} | ({"group": sample.group} if sample.group else {})
        data_sample = DataSample(metainfo=metainfo)
        if sample.target is not None:
            data_sample.set_gt_label(sample.target)
        return {"inputs": inputs, "data_samples": data_sample}
