"""Methods that take a threshold of the myocardium's intensities.

Their contract, and what their masks have in common, is in `classical`.
"""

import numpy as np
from skimage.filters import threshold_otsu

from scarseg_jax.segment.within import call


def n_sd(
    image: np.ndarray,
    myocardium: np.ndarray,
    spacing_mm: tuple[float, float],
    *,
    n: float = 5.0,
    remote: np.ndarray | None = None,
) -> np.ndarray:
    """Calls scar what is n SD brighter than the mean of the remote myocardium.

    Args:
      n: How many (population) standard deviations.
      remote: (H, W) bool, healthy myocardium, of which what lies in `myocardium`
        counts. Usually drawn by hand; None takes the myocardium that is not above
        Otsu's threshold of the slice. That cuts the upper tail of the healthy
        intensities off when there is little scar, and so lowers the SD.

    Raises:
      ValueError: If no remote pixel lies in a myocardium that is not of one intensity.
    """

    def rule(values: np.ndarray) -> np.ndarray:
        if remote is None:
            healthy = values[values <= otsu_threshold(values)]
        else:
            healthy = values[remote[myocardium]]
        if not healthy.size:
            raise ValueError("no remote pixel lies in the myocardium")
        return values > healthy.mean() + n * healthy.std()

    return call(image, myocardium, rule)


def fwhm(
    image: np.ndarray,
    myocardium: np.ndarray,
    spacing_mm: tuple[float, float],
    *,
    fraction: float = 0.5,
) -> np.ndarray:
    """Calls scar what is brighter than half the maximum (Amado et al. 2004).

    Half the way from the minimum to the maximum in the myocardium, as images carry an
    offset. Both are single pixels of the slice, so noise raises or lowers the half.

    Args:
      fraction: Of the way from the minimum to the maximum.
    """
    return call(image, myocardium, lambda values: values > fraction)


def otsu(
    image: np.ndarray, myocardium: np.ndarray, spacing_mm: tuple[float, float]
) -> np.ndarray:
    """Calls scar what is above Otsu's (1979) threshold of the myocardium."""
    return call(image, myocardium, lambda values: values > otsu_threshold(values))


def otsu_threshold(values: np.ndarray) -> float:
    """Returns the value above which the brighter class lies (Otsu 1979).

    Of all splits of the values the one with the greatest variance between classes; not
    of a histogram's bins, which for a myocardium's few pixels would be coarse.

    Args:
      values: (k,) float of at least two values.
    """
    levels, counts = np.unique(values, return_counts=True)
    return float(threshold_otsu(hist=(counts, levels)))
