"""How measured sizes agree with true ones; undefined figures are None.

NaN is refused: whoever calls knows which values are undefined, and why.
"""

import dataclasses

import numpy as np
from scipy import stats

from scarseg_jax.judge.statistics import check_finite, paired


@dataclasses.dataclass(frozen=True)
class BlandAltman:
    """Bias and limits of agreement, with 95 % confidence intervals, in the unit given.

    Attributes:
      n: Pairs; without any all others are None, with one all but the bias.
      bias: Mean of measured less truth.
      sd: Of the differences.
      lower: The bias less 1.96 SD.
      upper: The bias and 1.96 SD.
      bias_ci: Of the bias.
      lower_ci: Of the lower limit.
      upper_ci: Of the upper limit.
    """

    n: int
    bias: float | None = None
    sd: float | None = None
    lower: float | None = None
    upper: float | None = None
    bias_ci: tuple[float, float] | None = None
    lower_ci: tuple[float, float] | None = None
    upper_ci: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Of measured with true sizes.

    Attributes:
      bland_altman: Bias and limits.
      ccc: Lin's concordance.
      icc_2_1: Intraclass correlation.
    """

    bland_altman: BlandAltman
    ccc: float | None
    icc_2_1: float | None


def agreement(truth: np.ndarray, measured: np.ndarray) -> Agreement:
    """Returns all of it.

    Args:
      truth: (n,) float.
      measured: (n,) float, in the same order and unit.

    Raises:
      ValueError: If the values are not finite or not of one shape (n,).
    """
    return Agreement(
        bland_altman=bland_altman(truth, measured),
        ccc=concordance(truth, measured),
        icc_2_1=icc_2_1(np.stack([truth, measured], axis=1)),
    )


def bland_altman(truth: np.ndarray, measured: np.ndarray) -> BlandAltman:
    """Returns bias and limits of agreement (Bland and Altman, 1986).

    Intervals are from the t distribution with n - 1 degrees of freedom, with their
    approximate standard errors: SD / sqrt(n) of the bias, SD * sqrt(3 / n) of a limit.

    Args:
      truth: (n,) float.
      measured: (n,) float, in the same order and unit.

    Raises:
      ValueError: If the values are not finite or not of one shape (n,).
    """
    truth, measured = paired(truth, measured)
    difference = measured - truth
    n = len(difference)
    if not n:
        return BlandAltman(0)
    bias = float(difference.mean())
    if n < 2:
        return BlandAltman(n, bias)
    sd = float(difference.std(ddof=1))
    t = float(stats.t.ppf(0.975, n - 1))

    def interval(middle: float, error: float) -> tuple[float, float]:
        return middle - t * error, middle + t * error

    lower, upper = bias - 1.96 * sd, bias + 1.96 * sd
    of_limit = float(sd * np.sqrt(3 / n))
    return BlandAltman(
        n=n,
        bias=bias,
        sd=sd,
        lower=lower,
        upper=upper,
        bias_ci=interval(bias, float(sd * np.sqrt(1 / n))),
        lower_ci=interval(lower, of_limit),
        upper_ci=interval(upper, of_limit),
    )


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
    truth, measured = paired(truth, measured)
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
    check_finite(ratings)
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
