"""Methods that take the myocardium's intensities for a mixture of classes.

Their contract is in `classical`.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

from scarseg_jax.segment.thresholds import otsu_threshold
from scarseg_jax.segment.within import score

# Least variance of a component, in squares of the myocardium's range: about what
# rounding to 8 bits leaves. A component of equal pixels would have none.
_LEAST_VARIANCE = 1e-5
_FCM_ITERATIONS = 1000
_FCM_TOLERANCE = 1e-10


class Mixture(NamedTuple):
    """Two Gaussians, the darker first.

    Attributes:
      weight: (2,) float64, sum 1.
      mean: (2,) float64.
      variance: (2,) float64.
    """

    weight: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


def gaussian_mixture(
    image: np.ndarray,
    myocardium: np.ndarray,
    spacing_mm: tuple[float, float],
    *,
    iterations: int = 100,
    tolerance: float = 1e-3,
) -> np.ndarray:
    """Scores the probability of the brighter of two Gaussians.

    What is below the darker mean has that mean's: a wide brighter component would claim
    the darkest pixels too. So has what is above the brighter mean: a wide darker
    component would claim the brightest.

    Args:
      iterations: As for `fit_mixture`.
      tolerance: As for `fit_mixture`.
    """

    def rule(values: np.ndarray, _: np.ndarray) -> np.ndarray:
        mixture = fit_mixture(values, iterations, tolerance)
        dark, bright = (
            log_likelihoods(values, mixture) + np.log(mixture.weight)[:, None]
        )
        return special.expit(bright - dark)

    return score(image, myocardium, rule)


def fuzzy_c_means(
    image: np.ndarray,
    myocardium: np.ndarray,
    spacing_mm: tuple[float, float],
    *,
    classes: int = 3,
    fuzziness: float = 2.0,
) -> np.ndarray:
    """Scores the membership in the brightest class of fuzzy c-means.

    Of it and the next brighter: one half is where a pixel belongs to the brightest more
    than to any other. What is below that next class's centre has that centre's, 0.

    Args:
      classes: Their number, 2 or more.
      fuzziness: The exponent of the memberships, above 1.

    Raises:
      ValueError: If `classes` or `fuzziness` is too low.
    """
    if classes < 2 or fuzziness <= 1:
        raise ValueError(f"{classes} classes, fuzziness {fuzziness}: need >= 2, > 1")

    def rule(values: np.ndarray, _: np.ndarray) -> np.ndarray:
        centres = fuzzy_centres(values, classes, fuzziness)
        between = values.clip(*centres[-2:])
        return memberships(between, centres[-2:], fuzziness)[-1]

    return score(image, myocardium, rule)


def fit_mixture(
    values: np.ndarray, iterations: int = 100, tolerance: float = 1e-3
) -> Mixture:
    """Returns the mixture of two Gaussians that EM reaches from Otsu's split.

    By default it stops early, near that split: with few pixels the likelihood's maximum
    is often one narrow Gaussian and a wide one, not healthy and scar.

    Args:
      values: (k,) float of at least two values, with range 0..1 for the least variance
        to be right.
      iterations: At most.
      tolerance: EM stops when it gains less log-likelihood than this, in nats a pixel.
    """
    bright = values > otsu_threshold(values)
    belongs = np.stack([~bright, bright]).astype(np.float64)
    mixture, before = _moments(values, belongs), -np.inf
    for _ in range(iterations):
        joint = _log_density(values, mixture) + np.log(mixture.weight)[:, None]
        each = np.logaddexp(*joint)
        mixture, now = _moments(values, np.exp(joint - each)), each.mean()
        if now - before < tolerance:
            break
        before = now
    order = np.argsort(mixture.mean, kind="stable")
    return Mixture(*(part[order] for part in mixture))


def log_likelihoods(values: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Returns the (2, k) log-densities of values under the darker, brighter Gaussian.

    Values outside the two means count as the nearer mean: otherwise the wider Gaussian
    is likelier far out on both sides.

    Args:
      values: (k,).
      mixture: The Gaussians; weights are not used.
    """
    return _log_density(values.clip(*mixture.mean), mixture)


def memberships(values: np.ndarray, centres: np.ndarray, fuzziness: float):
    """Returns the (classes, k) memberships of values in fuzzy classes; sums are 1.

    Args:
      values: (k,).
      centres: (classes,).
      fuzziness: The exponent, above 1.
    """
    square = (values - centres[:, None]) ** 2 + np.finfo(np.float64).tiny
    nearness = (square.min(axis=0) / square) ** (1 / (fuzziness - 1))
    return nearness / nearness.sum(axis=0)


def fuzzy_centres(values: np.ndarray, classes: int, fuzziness: float) -> np.ndarray:
    """Returns the (classes,) centres of fuzzy c-means, ascending.

    Args:
      values: (k,) of at least two values, with range 0..1 for the tolerance to be right.
      classes: Their number.
      fuzziness: The exponent of the memberships, above 1.
    """
    # Quantiles of the levels, not of the values: these may coincide, and centres that
    # start at one place never part.
    at = (np.arange(classes) + 0.5) / classes
    centres = np.quantile(np.unique(values), at)
    for _ in range(_FCM_ITERATIONS):
        weight = memberships(values, centres, fuzziness) ** fuzziness
        before, centres = centres, weight @ values / weight.sum(axis=1)
        if np.abs(centres - before).max() < _FCM_TOLERANCE:
            break
    return np.sort(centres)


def _moments(values: np.ndarray, belongs: np.ndarray) -> Mixture:
    """Returns the mixture for the (2, k) shares of values in its components."""
    # A component that has lost all its pixels keeps a trace, not a division by zero.
    size = np.maximum(belongs.sum(axis=1), np.finfo(np.float64).tiny ** 0.5)
    mean = belongs @ values / size
    variance = (belongs * (values - mean[:, None]) ** 2).sum(axis=1) / size
    return Mixture(size / size.sum(), mean, np.maximum(variance, _LEAST_VARIANCE))


def _log_density(values: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Returns the (2, k) log-densities of values under each Gaussian."""
    variance = mixture.variance[:, None]
    square = (values - mixture.mean[:, None]) ** 2
    return -0.5 * (square / variance + np.log(2 * np.pi * variance))
