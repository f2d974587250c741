"""The paper's overlap metrics (section 3.2) from pixel counts."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Counts:
    """Pixel counts, one for each slice or patient; leading axes may be seeds.

    Attributes:
      tp: (..., n) int, scar called scar.
      fp: (..., n) int, background called scar.
      fn: (..., n) int, scar called background.
      tn: (..., n) int, background called background.
    """

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    tn: np.ndarray

    def pooled(self, group: np.ndarray) -> "Counts":
        """Returns the sums over equal values of (n,) `group`, in the values' order."""
        belongs = (group[:, None] == np.unique(group)).astype(int)  # (n, groups)
        return Counts(
            self.tp @ belongs, self.fp @ belongs, self.fn @ belongs, self.tn @ belongs
        )

    @property
    def true_px(self) -> np.ndarray:
        """Pixels of true scar, (..., n) int."""
        return self.tp + self.fn

    @property
    def predicted_px(self) -> np.ndarray:
        """Pixels called scar, (..., n) int."""
        return self.tp + self.fp

    @property
    def accuracy(self) -> np.ndarray:
        """Equation 1, (..., n) float; NaN where nothing was counted."""
        return _ratio(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn)

    @property
    def sensitivity(self) -> np.ndarray:
        """Equation 2, (..., n) float; NaN without true scar."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> np.ndarray:
        """Equation 3, (..., n) float; NaN without true background."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def dice(self) -> np.ndarray:
        """Equation 4, (..., n) float; NaN with neither true nor called scar."""
        return _ratio(2 * self.tp, self.fp + self.fn + 2 * self.tp)


def count(called: np.ndarray, scar: np.ndarray) -> Counts:
    """Returns the pixel counts of masks, slice by slice.

    Args:
      called: (..., n, H, W) bool prediction; leading axes may be seeds.
      scar: (n, H, W) bool truth.

    Raises:
      ValueError: If the masks are not bool or not of one shape.
    """
    if called.dtype != bool or scar.dtype != bool:
        raise ValueError(f"masks must be bool; got {called.dtype} and {scar.dtype}")
    if scar.ndim != 3 or called.shape[-3:] != scar.shape:
        raise ValueError(f"masks of shapes {called.shape} and {scar.shape} do not fit")
    over = (-2, -1)
    return Counts(
        tp=(called & scar).sum(axis=over),
        fp=(called & ~scar).sum(axis=over),
        fn=(~called & scar).sum(axis=over),
        tn=(~called & ~scar).sum(axis=over),
    )


def spread(values: np.ndarray) -> dict[str, float | int | None]:
    """Returns median, quartiles and their distance of the values that are defined.

    Returns:
      {"median", "q1", "q3", "iqr", "n"}, where n leaves out NaN; None instead of
      figures where n is 0.
    """
    defined = values[~np.isnan(values)]
    if not defined.size:
        return {"median": None, "q1": None, "q3": None, "iqr": None, "n": 0}
    q1, median, q3 = map(float, np.quantile(defined, (0.25, 0.5, 0.75)))
    return {
        "median": median,
        "q1": q1,
        "q3": q3,
        "iqr": q3 - q1,
        "n": int(defined.size),
    }


def mean_sd(values: np.ndarray) -> dict[str, float | int | None]:
    """Returns mean and sample deviation of the values that are defined.

    Returns:
      {"mean", "sd", "n"}, where n leaves out NaN; None instead of what takes more
      values.
    """
    defined = values[~np.isnan(values)]
    n = int(defined.size)
    return {
        "mean": float(defined.mean()) if n else None,
        "sd": float(defined.std(ddof=1)) if n > 1 else None,
        "n": n,
    }


def failures(counts: Counts, patient: np.ndarray) -> dict[str, dict[str, int]]:
    """Returns the slices, and their patients, that failed as in the paper's section 4.

    Args:
      counts: Of (seeds, n) slices; each seed's is counted.
      patient: (n,) names.

    Returns:
      {"missed", "false"} -> {"slices", "patients", "of_slices"}. Missed: true scar,
      none called; false: scar called, none true.
    """
    scarred, called = counts.true_px > 0, counts.predicted_px > 0

    def tally(failed: np.ndarray, of: np.ndarray) -> dict[str, int]:
        return {
            "slices": int(failed.sum()),
            "patients": len(np.unique(patient[failed.any(axis=0)])),
            "of_slices": int(of.sum()),
        }

    return {
        "missed": tally(scarred & ~called, scarred),
        "false": tally(~scarred & called, ~scarred),
    }


def patients_dice(counts: Counts) -> dict[str, float | int | None]:
    """Returns `spread`, mean and SD of the 3-D Dice of the patients with scar.

    A patient's Dice is its mean over the seeds, so that n is a number of patients.

    Args:
      counts: Of (seeds, patients).
    """
    dice = counts.dice[:, counts.true_px[0] > 0].mean(axis=0)
    return {**spread(dice), **mean_sd(dice)}


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    undefined = np.full(np.shape(denominator), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)
