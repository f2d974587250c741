"""Rules for the intensities of the myocardium, applied to an image of it."""

from collections.abc import Callable

import numpy as np


def call(
    image: np.ndarray,
    myocardium: np.ndarray,
    rule: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Returns the mask of a rule for the myocardium's intensities, brought to 0..1."""
    values = image[myocardium].astype(np.float64)
    if not values.size or values.min() == values.max():
        return np.zeros(myocardium.shape, bool)
    low = values.min()
    return paint(rule((values - low) / (values.max() - low)), myocardium)


def paint(values: np.ndarray, mask: np.ndarray, outside: float = 0) -> np.ndarray:
    """Returns an image of the values' dtype with the (k,) values in the mask."""
    image = np.full(mask.shape, outside, values.dtype)
    image[mask] = values
    return image
