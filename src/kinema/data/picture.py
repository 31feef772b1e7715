"""The one way pictures are brought to the policy's size, in training as on the robot."""

from __future__ import annotations

import numpy as np
from PIL import Image


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 (..., H, W, 3) to (..., size, size, 3), antialiased; the aspect ratio is not kept.

    Pictures that have the size already come back as they are.
    """
    if images.shape[-3:-1] == (size, size):
        return images
    flat = images.reshape(-1, *images.shape[-3:])
    small = [np.asarray(Image.fromarray(i).resize((size, size), Image.Resampling.BILINEAR)) for i in flat]
    return np.stack(small).reshape(*images.shape[:-3], size, size, 3)
