"""Methods that take a threshold of the myocardium's intensities.

Their contract is in `classical`.
"""

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

from scarseg_jax.segment.within import score

SECTORS = 6  # of the wall; as many as AHA's middle ring has segments
# Least SD of the remote myocardium, as a share of the myocardium's range: about what
# rounding to 8 bits leaves.
LEAST_SD = 0.003
# The maximum is that of all but the brightest hundredth: one wild pixel moves nothing.
MAXIMUM = 0.99


def n_sd(
    image: np.ndarray,
    myocardium: np.ndarray,
    spacing_mm: tuple[float, float],
    *,
    remote: np.ndarray | None = None,
) -> np.ndarray:
    """Scores how many SD of the remote myocardium a pixel is above its mean.

    Args:
      remote: (H, W) bool, healthy myocardium, of which what lies in `myocardium`
        counts. Usually drawn by hand; None takes `remote_region`.

    Raises:
      ValueError: If no remote pixel lies in a myocardium that is not of one intensity.
    """

    def rule(values: np.ndarray, wall: np.ndarray) -> np.ndarray:
        inside = remote_region(values, wall) if remote is None else remote[myocardium]
        healthy = values[inside]
        if not healthy.size:
            raise ValueError("no remote pixel lies in the myocardium")
        return (values - healthy.mean()) / sd_of(healthy, values)

    return score(image, myocardium, rule)


def fwhm(
    image: np.ndarray, myocardium: np.ndarray, spacing_mm: tuple[float, float]
) -> np.ndarray:
    """Scores how far a pixel is on the way from the remote mean to the maximum.

    One half is the full width at half maximum (Amado et al. 2004), above the remote
    myocardium rather than above 0, as images carry an offset.
    """

    def rule(values: np.ndarray, wall: np.ndarray) -> np.ndarray:
        mean = values[remote_region(values, wall)].mean()
        return (values - mean) / way_to_maximum(mean, values)

    return score(image, myocardium, rule)


def sd_of(healthy: np.ndarray, values: np.ndarray) -> float:
    """Returns the SD of remote pixels, above 0 whatever they are.

    Args:
      healthy: (n,) float64 intensities of the remote myocardium.
      values: (k,) float64 of all the myocardium.
    """
    return max(float(healthy.std()), _least(values))


def way_to_maximum(mean: float, values: np.ndarray) -> float:
    """Returns how far the maximum is above the remote mean, above 0 whatever they are.

    Args:
      mean: Of the remote myocardium.
      values: (k,) float64 of all the myocardium.
    """
    return max(float(np.quantile(values, MAXIMUM)) - mean, _least(values))


def _least(values: np.ndarray) -> float:
    return LEAST_SD * (float(np.ptp(values)) or 1.0)  # of one intensity none is scar


def otsu(
    image: np.ndarray, myocardium: np.ndarray, spacing_mm: tuple[float, float]
) -> np.ndarray:
    """Scores how far a pixel is on the way between the means of Otsu's (1979) classes.

    Above one half is what is above Otsu's threshold: the split of least variance within
    its classes leaves every value with the nearer mean.
    """
    return score(image, myocardium, lambda values, _: between_means(values, values))


def between_means(some: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns where some values are between the means of Otsu's classes, 0 to 1.

    Args:
      some: (n,) float.
      values: (k,) float of at least two values, which are split.
    """
    bright = values > otsu_threshold(values)
    dark_mean, bright_mean = values[~bright].mean(), values[bright].mean()
    return (some - dark_mean) / (bright_mean - dark_mean)


def otsu_threshold(values: np.ndarray) -> float:
    """Returns the value above which the brighter class lies (Otsu 1979).

    Of all splits of the values the one with the greatest variance between classes; not
    of a histogram's bins, which for a myocardium's few pixels would be coarse.

    Args:
      values: (k,) float of at least two values.
    """
    levels, counts = np.unique(values, return_counts=True)
    return float(threshold_otsu(hist=(counts, levels)))


def remote_region(values: np.ndarray, wall: np.ndarray) -> np.ndarray:
    """Returns the (k,) bool pixels of the wall's darkest sector, for healthy ones.

    Sectors are equal angles about the wall's centre. Its border pixels, which hold some
    blood or fat, are left out where enough others remain; sectors of which little is
    there, as of a wall that is not a ring, are not looked at.

    Args:
      values: (k,) intensities of the wall's pixels.
      wall: (H, W) bool.
    """
    inner = np.asarray(ndimage.binary_erosion(wall), bool)[wall]
    if inner.sum() < 2 * SECTORS:
        inner = np.ones_like(inner)
    y, x = np.nonzero(wall)
    angle = np.arctan2(y - y.mean(), x - x.mean())
    turn = (angle / (2 * np.pi) + 0.5) % 1
    sector = (turn * SECTORS).astype(int) % SECTORS
    size = np.bincount(sector[inner], minlength=SECTORS)
    total = np.bincount(sector[inner], values[inner], minlength=SECTORS)
    mean = total / np.maximum(size, 1)
    mean[size < inner.sum() / (2 * SECTORS)] = np.inf
    return inner & (sector == mean.argmin())
