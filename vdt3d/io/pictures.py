"""PNG and JPEG as volumes of one slice, through Pillow; arrays are (C, D, H, W) with D = 1."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from vdt3d.io.checks import AGAIN, ScanError
from vdt3d.structures import affine_from_spacing

MODES = ("1", "L", "I;16", "I;16B", "I", "F", "RGB")  # in any other, numbers are not intensities (palette, alpha)


def read_picture(path: Path, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (C, 1, y, x) as stored and the axis-aligned affine of ``spacing`` (z, y, x) in mm.

    Raises:
        ScanError: the file is damaged, or neither grey nor RGB.
    """
    try:
        content = path.read_bytes()
        with Image.open(BytesIO(content)) as picture:
            picture.verify()  # PNG's checksums, which reading alone does not look at
        with Image.open(BytesIO(content)) as picture:
            mode, array = picture.mode, np.asarray(picture)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ScanError(path, f"cannot be read as a picture ({error})", AGAIN) from error
    if mode not in MODES:
        raise ScanError(path, f"is a picture of mode {mode}", "save it as grey or RGB")
    channels = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
    return channels[:, None], affine_from_spacing(spacing)
