"""Tests, intervals, agreement and calibration; undefined figures are None.

NaN is refused everywhere: whoever calls knows which values are undefined, and why.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats


def wilcoxon(first: np.ndarray, second: np.ndarray) -> dict:
    """Returns the paired Wilcoxon signed-rank test of two runs' DSC.

    Differences, second less first, are rounded to 1e-12 before they are ranked, so
    that equal ones tie. Pairs without a difference are left out (Wilcoxon, 1945);
    with none left, p is 1. The test has two sides; SciPy counts p exactly for few
    pairs and takes the normal approximation for many.

    Args:
      first: (n,) float of one run, n > 0.
      second: (n,) float of the other, in the same order.

    Returns:
      {"n", "n_different", "zeros", "median_first", "median_second",
      "median_difference", "statistic", "p", "p_pratt"}; "zeros" counts the pairs
      without a difference, and "p_pratt" is p where these are ranked with the
      others and dropped after (Pratt, 1959).

    Raises:
      ValueError: If the values are not finite or not of one shape (n,).
    """
    first, second = _paired(first, second)
    difference = np.round(second - first, 12)
    different = difference[difference != 0]
    result = {
        "n": len(first),
        "n_different": len(different),
        "zeros": len(first) - len(different),
        "median_first": float(np.median(first)),
        "median_second": float(np.median(second)),
        "median_difference": float(np.median(difference)),
        "statistic": 0.0,
        "p": 1.0,
        "p_pratt": 1.0,
    }
    if different.size:
        test: Any = stats.wilcoxon(different)
        pratt: Any = stats.wilcoxon(difference, zero_method="pratt")
        result |= {
            "statistic": float(test.statistic),
            "p": float(test.pvalue),
            "p_pratt": float(pratt.pvalue),
        }
    return result


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
) -> tuple[float, float] | tuple[None, None]:
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
      (low, high); (None, None) with fewer than 2 groups.

    Raises:
      ValueError: If a value is not finite or there is not one group for each.
    """
    values, group = np.asarray(values, float), np.asarray(group)
    if values.ndim != 1 or values.shape != group.shape:
        raise ValueError(f"values {values.shape} and groups {group.shape} do not fit")
    _check_finite(values)
    names, index = np.unique(group, return_inverse=True)
    if len(names) < 2:
        return None, None
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


def bland_altman(truth: np.ndarray, measured: np.ndarray) -> dict:
    """Returns bias and limits of agreement, each with its 95 % confidence interval.

    Bias is the mean of measured less truth, the limits are 1.96 SD around it (Bland
    and Altman, 1986). Intervals are from the t distribution with n - 1 degrees of
    freedom, with their approximate standard errors: SD / sqrt(n) of the bias,
    SD * sqrt(3 / n) of a limit.

    Args:
      truth: (n,) float.
      measured: (n,) float, in the same order and unit.

    Returns:
      {"n", "bias", "sd", "lower", "upper", "bias_ci", "lower_ci", "upper_ci"} in the
      unit given; intervals are [low, high]. Without a pair all but n are None, with
      one all but n and bias.

    Raises:
      ValueError: If the values are not finite or not of one shape (n,).
    """
    truth, measured = _paired(truth, measured)
    difference = measured - truth
    n = len(difference)
    result: dict = {
        "n": n,
        "bias": float(difference.mean()) if n else None,
        **dict.fromkeys(("sd", "lower", "upper", "bias_ci", "lower_ci", "upper_ci")),
    }
    if n < 2:
        return result
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    t = float(stats.t.ppf(0.975, n - 1))
    lower, upper = bias - 1.96 * sd, bias + 1.96 * sd

    def interval(middle: float, error: float) -> list[float]:
        return [middle - t * error, middle + t * error]

    of_bias, of_limit = float(sd * np.sqrt(1 / n)), float(sd * np.sqrt(3 / n))
    return result | {
        "sd": sd,
        "lower": lower,
        "upper": upper,
        "bias_ci": interval(bias, of_bias),
        "lower_ci": interval(lower, of_limit),
        "upper_ci": interval(upper, of_limit),
    }


def concordance(truth: np.ndarray, measured: np.ndarray) -> float | None:
    """Returns the concordance correlation coefficient (Lin, 1989), 1/n moments.

    Args:
      truth: (n,) float.
      measured: (n,) float, in the same order and unit.

    Returns:
      From -1 to 1; None with fewer than 2 pairs, or where all values are the same.

    Raises:
      ValueError: If the values are not finite or not of one shape (n,).
    """
    truth, measured = _paired(truth, measured)
    # The range tells constants apart exactly; their variance may round to above 0.
    if len(truth) < 2 or np.ptp([truth, measured]) == 0:
        return None
    covariance = np.mean((truth - truth.mean()) * (measured - measured.mean()))
    shift = truth.mean() - measured.mean()
    return float(2 * covariance / (truth.var() + measured.var() + shift**2))


def icc_2_1(ratings: np.ndarray) -> float | None:
    """Returns the intraclass correlation ICC(2,1) (Shrout and Fleiss, 1979).

    Two-way random effects, absolute agreement, a single rater.

    Args:
      ratings: (n, k) float, of n subjects by k raters.

    Returns:
      At most 1, and below 0 where raters agree less than by chance; None with fewer
      than 2 subjects or raters, or without variance to divide by.

    Raises:
      ValueError: If the ratings are not finite or not of two axes.
    """
    ratings = np.asarray(ratings, float)
    if ratings.ndim != 2:
        raise ValueError(f"ratings must be (n, k); got {ratings.shape}")
    _check_finite(ratings)
    n, k = ratings.shape
    if n < 2 or k < 2 or np.ptp(ratings) == 0:
        return None
    mean = ratings.mean()
    subject, rater = ratings.mean(axis=1), ratings.mean(axis=0)
    residual = ratings - subject[:, None] - rater + mean
    between = k * np.sum((subject - mean) ** 2) / (n - 1)
    raters = n * np.sum((rater - mean) ** 2) / (k - 1)
    error = np.sum(residual**2) / ((n - 1) * (k - 1))
    denominator = between + (k - 1) * error + k * (raters - error) / n
    # Two raters who swap two subjects leave 0, up to rounding.
    if denominator <= 1e-12 * (between + raters + error):
        return None
    return float((between - error) / denominator)


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


def _paired(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"{first.shape} and {second.shape} are not pairs")
    _check_finite(first)
    _check_finite(second)
    return first, second


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


def _check_finite(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise ValueError("values must be finite; leave undefined ones out")
