"""mmpretrain's data sets of pictures, which name the file that cannot be read: ImageNet, and any class folders."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from mmpretrain import datasets as mmpretrain
from PIL import Image

from vdt3d.datasets.base import built, never_none, require_folder
from vdt3d.datasets.splits import deal
from vdt3d.io.checks import AGAIN, ScanError
from vdt3d.registry import DATASETS

MAY_BE_DEEP = (".png", ".tif", ".tiff")


class Pictures(mmpretrain.CustomDataset):
    """mmpretrain's ``CustomDataset``, whose transforms are looked up here first.

    Raises:
        ValueError: no such folder, no picture in it, or another number of class folders than classes. (On use) the
            pipeline returned None.
        ScanError: (on use) a file that holds no whole picture, or a grey one of more than 8 bits.
    """

    def __init__(self, *args, pipeline: Sequence[dict | Callable] = (), **kwargs):
        super().__init__(*args, pipeline=built(pipeline), **kwargs)

    def load_data_list(self) -> list[dict]:
        """The pictures by class and name."""
        if not self.ann_file:
            require_folder(self.img_prefix)
            self._require_classes()
        try:
            return super().load_data_list()
        except RuntimeError as error:  # mmpretrain found none
            raise ValueError(
                f"{self.img_prefix}: no picture in its class folders (CLASS/*.jpg); supported are "
                f"{', '.join(sorted(self.extensions))}"
            ) from error

    def _require_classes(self) -> None:
        """Raise ValueError unless there is a folder for each class, since folders are numbered in their order."""
        if not self.with_label or self.CLASSES is None:
            return
        found = sum(path.is_dir() for path in Path(self.img_prefix).iterdir())
        if found != len(self.CLASSES):
            raise ValueError(
                f"{self.img_prefix}: {found} class folders found, but {type(self).__name__} has {len(self.CLASSES)} "
                f"classes; for a subset use type='ImageFolder' and model.head.num_classes={found}, as "
                "configs/imagenet_pretrain/resnet3d-18_vdt_1xb16-cos-20e_image-folder.py does"
            )

    def prepare_data(self, idx: int) -> Any:
        """Send picture ``idx`` through the pipeline, which may not drop it."""
        picture = self.get_data_info(idx)
        path = picture["img_path"]
        try:
            _require_8_bits(path)
            return never_none(self.pipeline(picture), path, self.pipeline)
        except (cv2.error, AssertionError, OSError) as error:
            if "img" in picture:  # it was read: the fault lies elsewhere
                raise
            raise ScanError(path, f"cannot be read as a picture ({str(error).strip()})", AGAIN) from error


@DATASETS.register_module()
class ImageNet(Pictures, mmpretrain.ImageNet):
    """ImageNet-1k: ``data_root``/train/WNID/*.JPEG and ``data_root``/val/WNID/*.JPEG, or val flat with meta/val.txt."""


@DATASETS.register_module()
class ImageFolder(Pictures):
    """Pictures as ``data_root``/CLASS/*.jpg.

    Args:
        data_root: the folder of class folders.
        part: "all"; "val", one picture in ``one_in`` of each class, chosen by a checksum of the names; or "train", the
            others.
        one_in: the held-out share, as 10 for a tenth.
        pipeline: transforms, or their configs, as mmpretrain's.
        **kwargs: what mmpretrain's ``CustomDataset`` knows besides, such as ``extensions``.

    Raises:
        ValueError: no such folder or part, no picture in it, or a pipeline that returned None.
        ScanError: (on use) a file that holds no whole picture, or a grey one of more than 8 bits.
    """

    def __init__(self, data_root: str | Path, *, part: str = "all", one_in: int = 10, **kwargs):
        if part not in ("all", "train", "val") or one_in < 2:
            raise ValueError(f"part='{part}', one_in={one_in}: part is 'all', 'train' or 'val', one_in 2 or more")
        self.part, self.one_in = part, one_in
        super().__init__(data_root=str(data_root), **kwargs)

    def load_data_list(self) -> list[dict]:
        """The pictures of the part, by class and name."""
        pictures = super().load_data_list()
        if self.part == "all":
            return pictures
        table = pd.DataFrame(pictures)
        names = table.img_path.str.removeprefix(self.img_prefix).str.lstrip("/")  # not where the folder lies
        held_out = deal(names, table.gt_label, self.one_in) == 0
        chosen = [picture for picture, held in zip(pictures, held_out, strict=True) if held == (self.part == "val")]
        if not chosen:
            raise ValueError(
                f"{self.img_prefix}: of {len(pictures)} pictures none is in the part '{self.part}'; add more"
            )
        return chosen

    def targets(self) -> np.ndarray:
        """(N,) class index of every picture, in order; reads none."""
        return np.array(self.get_gt_labels())


def _require_8_bits(path: str) -> None:
    """Raise ScanError for a grey picture of more bits: mmpretrain's decoder keeps the upper 8, which may be empty."""
    if path.lower().endswith(MAY_BE_DEEP):
        with Image.open(path) as picture:
            if picture.mode.startswith(("I", "F")):
                raise ScanError(
                    path, f"has more than 8 bits a pixel (mode {picture.mode})", "write it with 8, scaled to 0..255"
                )
