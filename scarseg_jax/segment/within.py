"""Rules for the intensities of the myocardium, applied to an image of it."""

from collections.abc import Callable

import numpy as np

_MARGIN_PX = 2  # of background around the myocardium that a rule is shown


def score(
    image: np.ndarray,
    myocardium: np.ndarray,
    rule: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Returns the (H, W) float64 scores of a rule, -inf where scar is out of question.

    Args:
      image: (H, W) intensities.
      myocardium: (H, W) bool.
      rule: Of the myocardium's (k,) intensities, brought to 0..1, and its mask, cut to
        a narrow margin: how far the image reaches has no influence, nor takes time.
        Returns (k,) scores.
    """
    scores = np.full(myocardium.shape, -np.inf)
    values = image[myocardium].astype(np.float64)
    if values.size and values.min() < values.max():
        low = values.min()
        values = (values - low) / (values.max() - low)
        scores[myocardium] = rule(values, _cut(myocardium))
    return scores


def paint(values: np.ndarray, mask: np.ndarray, outside: float = 0) -> np.ndarray:
    """Returns an image of the values' dtype with the (k,) values in the mask."""
    image = np.full(mask.shape, outside, values.dtype)
    image[mask] = values
    return image


def _cut(mask: np.ndarray) -> np.ndarray:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    cut = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.pad(cut, _MARGIN_PX)
