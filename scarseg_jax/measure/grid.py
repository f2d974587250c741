"""Masks of one grid."""

import numpy as np

from scarseg_jax.errors import InputError


def on_grid(name: str, mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a mask, whatever its dtype, as a new bool array.

    Args:
      name: For the message.
      mask: Above 0, or True, is inside.
      shape: Of the image.

    Raises:
      InputError: If it has another shape.
    """
    if mask.shape != shape:
        raise InputError(
            f"{name}: a mask of shape {mask.shape}, of an image of shape {shape}; both"
            " must lie on one grid: resample the mask"
        )
    return mask > 0
