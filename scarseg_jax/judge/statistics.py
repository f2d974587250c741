"""Tests, intervals and calibration; undefined figures are None.

NaN is refused everywhere: whoever calls knows which values are undefined, and why.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats


@dataclasses.dataclass(frozen=True)
class Wilcoxon:
    """The paired signed-rank test of two runs' DSC, second less first.

    Attributes:
      n: Pairs.
      n_different: Those with a difference.
      median_first: Of the first run.
      median_second: Of the second.
      median_difference: Of the differences.
      statistic: The smaller sum of ranks.
      p: Of two sides, pairs without a difference left out (Wilcoxon, 1945).
      p_pratt: The same where these are ranked with the others and dropped after
        (Pratt, 1959).
    """

    n: int
    n_different: int
    median_first: float
    median_second: float
    median_difference: float
    statistic: float = 0.0
    p: float = 1.0
    p_pratt: float = 1.0


def wilcoxon(first: np.ndarray, second: np.ndarray) -> Wilcoxon:
    """Returns the test of two runs on the same slices or patients.

    Differences are rounded to 1e-12 before they are ranked, so that equal ones tie.
    With none left, p is 1. SciPy counts p exactly for few pairs and takes the normal
    approximation for many.

    Args:
      first: (n,) float of one run, n > 0.
      second: (n,) float of the other, in the same order.

    Raises:
      ValueError: If the values are not finite or not of one shape (n,).
    """
    first, second = paired(first, second)
    difference = np.round(second - first, 12)
    different = difference[difference != 0]
    result = Wilcoxon(
        n=len(first),
        n_different=len(different),
        median_first=float(np.median(first)),
        median_second=float(np.median(second)),
        median_difference=float(np.median(difference)),
    )
    if not different.size:
        return result
    test: Any = stats.wilcoxon(different)
    pratt: Any = stats.wilcoxon(difference, zero_method="pratt")
    return dataclasses.replace(
        result,
        statistic=float(test.statistic),
        p=float(test.pvalue),
        p_pratt=float(pratt.pvalue),
    )


def holm(p_values: Sequence[float] | np.ndarray) -> list[float]:
    """Returns p-values adjusted for their number by Holm's step-down (Holm, 1979).

    Rejecting where the adjusted p is below alpha keeps the chance of any false
    rejection below alpha, whatever the dependence between the tests.

    Args:
      p_values: (m,) of one family of tests.

    Returns:
      m p-values in the order given, at most 1.

    Raises:
      ValueError: If one is not between 0 and 1.
    """
    p = np.asarray(p_values, float)
    _check_probability(p, "p-values")
    order = np.argsort(p, kind="stable")
    stepped = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return adjusted.tolist()


def bootstrap_interval(
    values: np.ndarray,
    group: Sequence[Any] | np.ndarray,
    statistic: Callable[[np.ndarray], Any] = np.mean,
    *,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Returns the percentile bootstrap interval over groups (Efron, 1979).

    Slices of one patient are not independent; therefore whole groups are drawn, with
    replacement, as many as there are, each with all of its values.

    Args:
      values: (n,) float; undefined ones are left out by the caller.
      group: (n,) what each value belongs to, such as the patient's name.
      statistic: Of (k,) values to a number; the mean is computed at once from the
        groups' sums, any other in a loop over the draws.
      draws: Number of resamples.
      seed: Of the draws; the same seed gives the same interval.
      level: Coverage, in (0, 1).

    Returns:
      (low, high); None with fewer than 2 groups.

    Raises:
      ValueError: If a value is not finite or there is not one group for each.
    """
    values, group = np.asarray(values, float), np.asarray(group)
    if values.ndim != 1 or values.shape != group.shape:
        raise ValueError(f"values {values.shape} and groups {group.shape} do not fit")
    check_finite(values)
    names, index = np.unique(group, return_inverse=True)
    if len(names) < 2:
        return None
    drawn = np.random.default_rng(seed).integers(len(names), size=(draws, len(names)))
    if statistic is np.mean:
        total, size = np.bincount(index, values), np.bincount(index)
        resampled = total[drawn].sum(axis=1) / size[drawn].sum(axis=1)
    else:
        members = [values[index == g] for g in range(len(names))]
        resampled = np.array(
            [float(statistic(np.concatenate([members[g] for g in d]))) for d in drawn]
        )
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def expected_calibration_error(
    probability: np.ndarray, truth: np.ndarray, bins: int = 10
) -> float | None:
    """Returns the expected calibration error (Naeini et al., 2015), from 0 to 1.

    The mean, weighted by count, of the distance between mean probability and rate of
    truth in bins of equal width, closed below; the last holds 1, too.

    Args:
      probability: float of any shape, within [0, 1].
      truth: bool of the same shape.
      bins: Number of bins.

    Returns:
      None of no values.

    Raises:
      ValueError: If a probability is not within [0, 1] or the shapes differ.
    """
    probability, truth = _predicted(probability, truth)
    if not probability.size:
        return None
    index = np.minimum((probability * bins).astype(int), bins - 1)
    excess = np.bincount(index, probability - truth)  # count times distance
    return float(np.abs(excess).sum() / probability.size)


def brier(probability: np.ndarray, truth: np.ndarray) -> float | None:
    """Returns the mean squared distance of probability and truth (Brier, 1950).

    Args:
      probability: float of any shape, within [0, 1].
      truth: bool of the same shape.

    Returns:
      From 0 to 1; None of no values.

    Raises:
      ValueError: If a probability is not within [0, 1] or the shapes differ.
    """
    probability, truth = _predicted(probability, truth)
    return float(np.mean((probability - truth) ** 2)) if probability.size else None


def paired(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns two (n,) float64 arrays, after a check that they are pairs.

    Raises:
      ValueError: If they are not, or a value is not finite.
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"{first.shape} and {second.shape} are not pairs")
    check_finite(first)
    check_finite(second)
    return first, second


def check_finite(values: np.ndarray) -> None:
    """Checks that no value is NaN or infinite.

    Raises:
      ValueError: If one is.
    """
    if not np.isfinite(values).all():
        raise ValueError("values must be finite; leave undefined ones out")


def _predicted(
    probability: np.ndarray, truth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    # float64, since float32 loses counts in sums over many pixels.
    probability, truth = np.asarray(probability, float), np.asarray(truth, float)
    if probability.shape != truth.shape:
        raise ValueError(f"{probability.shape} and {truth.shape} do not fit")
    _check_probability(probability, "probabilities")
    return probability.ravel(), truth.ravel()


def _check_probability(values: np.ndarray, what: str) -> None:
    if not np.all((values >= 0) & (values <= 1)):  # not so of NaN, too
        raise ValueError(f"{what} must be between 0 and 1")
