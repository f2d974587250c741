"""Tests, intervals and calibration; undefined figures are None.

NaN is refused everywhere: whoever calls knows which values are undefined, and why.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats

INTERVAL_RULE = (
    "95 % intervals by patient: of means from Student's t, of medians by bootstrap of"
    " whole patients with percentiles widened for their number."
)


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


def sign_flips(
    difference: np.ndarray,
    group: Sequence[Any] | np.ndarray,
    *,
    draws: int = 99_999,
    seed: int = 0,
) -> float:
    """Returns the p-value of paired differences that are nested in groups.

    A permutation test (Fisher, 1935): were two runs alike, all differences of a patient
    together could as well have had the other sign, whatever their dependence. p is the
    share of sign flips by group whose sum is as far from 0, of two sides: of all flips
    where they are no more than the draws, else of the draws and the one observed.

    Args:
      difference: (n,) float, n > 0, such as second less first of each slice.
      group: (n,) what each belongs to, such as the patient's name.
      draws: Of random flips.
      seed: Of the draws.

    Raises:
      ValueError: If a difference is not finite or there is not one group for each.
    """
    difference, index, count = _grouped(difference, group)
    total = np.bincount(index, difference)
    if 2**count <= draws + 1:
        flips = np.arange(2**count)[:, None] >> np.arange(count) & 1
    else:
        flips = np.random.default_rng(seed).integers(
            2, size=(draws + 1, count), dtype=np.int8
        )
        flips[0] = 0
    sums = np.abs((1 - 2 * flips) @ total)
    # Equal sums tie, however they round.
    as_far = sums >= abs(total.sum()) - 1e-12 * np.abs(total).sum()
    return float(as_far.mean())


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


def mean_interval(
    values: np.ndarray,
    group: Sequence[Any] | np.ndarray,
    *,
    within: tuple[float, float] = (-np.inf, np.inf),
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Returns the interval of a mean of values that are nested in groups.

    From Student's t with one degree less than there are groups, and the standard error
    of a mean of groups of unequal size (linearised; Cochran, 1977, section 6.3). Of
    values with a group each it is the usual interval. The percentile bootstrap covers
    less with few groups (docs/statistics.md).

    Args:
      values: (n,) float; undefined ones are left out by the caller.
      group: (n,) what each value belongs to, such as the patient's name.
      within: What the values cannot leave, nor the interval.
      level: Coverage, in (0, 1).

    Returns:
      (low, high); None with fewer than 2 groups.

    Raises:
      ValueError: If a value is not finite or there is not one group for each.
    """
    values, index, count = _grouped(values, group)
    if count < 2:
        return None
    mean = values.mean()
    off = np.bincount(index, values - mean)
    error = np.sqrt(count / (count - 1) * np.sum(off**2)) / len(values)
    reach = stats.t.ppf((1 + level) / 2, count - 1) * error
    low, high = np.clip([mean - reach, mean + reach], *within).tolist()
    return low, high


def bootstrap_interval(
    values: np.ndarray,
    group: Sequence[Any] | np.ndarray,
    statistic: Callable[[np.ndarray], Any] = np.median,
    *,
    draws: int = 4000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Returns the expanded percentile bootstrap interval over groups.

    Slices of one patient are not independent; therefore whole groups are drawn, with
    replacement, as many as there are, each with all of its values (Efron, 1979). Of
    few groups the plain percentile interval is too narrow: it is as if the normal's
    quantiles stood for Student's and n for n - 1. Its tails are therefore cut where a
    normal reaches as far as Student's t times sqrt(n / (n - 1)) (Hesterberg, 2015).

    Args:
      values: (n,) float; undefined ones are left out by the caller.
      group: (n,) what each value belongs to, such as the patient's name.
      statistic: Of (k,) values to a number.
      draws: Number of resamples.
      seed: Of the draws; the same seed gives the same interval.
      level: Coverage, in (0, 1).

    Returns:
      (low, high); None with fewer than 2 groups.

    Raises:
      ValueError: If a value is not finite or there is not one group for each.
    """
    values, index, count = _grouped(values, group)
    if count < 2:
        return None
    drawn = np.random.default_rng(seed).integers(count, size=(draws, count))
    members = [values[index == g] for g in range(count)]
    resampled = np.array(
        [float(statistic(np.concatenate([members[g] for g in d]))) for d in drawn]
    )
    reach = np.sqrt(count / (count - 1)) * stats.t.ppf((1 - level) / 2, count - 1)
    tail = float(stats.norm.cdf(reach))
    low, high = np.quantile(resampled, [tail, 1 - tail])
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


def _grouped(values, group) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns (n,) float64 values, the number of each one's group, and of groups."""
    values, group = np.asarray(values, float), np.asarray(group)
    if values.ndim != 1 or values.shape != group.shape:
        raise ValueError(f"values {values.shape} and groups {group.shape} do not fit")
    check_finite(values)
    names, index = np.unique(group, return_inverse=True)
    return values, index, len(names)


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
