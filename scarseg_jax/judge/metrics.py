"""The paper's overlap metrics (section 3.2) from pixel counts."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Counts:
    """Pixel counts, one for each slice or patient; leading axes may be seeds.

    Attributes:
      tp: (..., n) int, scar called scar; float where pixels were weighted.
      fp: (..., n) int, background called scar.
      fn: (..., n) int, scar called background.
      tn: (..., n) int, background called background.
    """

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    tn: np.ndarray

    def pooled(self, group: np.ndarray, weight: np.ndarray | None = None) -> "Counts":
        """Returns the sums over equal values of (n,) `group`, in the values' order.

        Args:
          group: Such as the patient of each slice.
          weight: (n,) of the pixels of each slice, such as their area; None counts all
            pixels alike.
        """
        belongs = (group[:, None] == np.unique(group)).astype(int)  # (n, groups)
        if weight is not None:
            belongs = belongs * weight[:, None]
        return Counts(
            self.tp @ belongs, self.fp @ belongs, self.fn @ belongs, self.tn @ belongs
        )

    def of_seed(self, index: int) -> "Counts":
        """Returns one seed's counts, with a leading axis of one."""
        own = {name: c[index : index + 1] for name, c in vars(self).items()}
        return Counts(**own)

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


@dataclasses.dataclass(frozen=True)
class Spread:
    """Median, quartiles and their distance; None where n, the number of values, is 0."""

    median: float | None
    q1: float | None
    q3: float | None
    iqr: float | None
    n: int


@dataclasses.dataclass(frozen=True)
class MeanSd:
    """Mean and sample deviation of n values; None of what takes more of them."""

    mean: float | None
    sd: float | None
    n: int


@dataclasses.dataclass(frozen=True)
class Tally:
    """Slices that failed, of how many, and the patients they are of."""

    slices: int
    patients: int
    of_slices: int


@dataclasses.dataclass(frozen=True)
class Failures:
    """As in the paper's section 4.

    Attributes:
      missed: True scar, none called.
      false: Scar called, none true.
    """

    missed: Tally
    false: Tally


def count(
    called: np.ndarray, scar: np.ndarray, region: np.ndarray | None = None
) -> Counts:
    """Returns the pixel counts of masks, slice by slice.

    Args:
      called: (..., n, H, W) bool prediction; leading axes may be seeds.
      scar: (n, H, W) bool truth.
      region: (n, H, W) bool, the pixels that count; None counts all.

    Raises:
      ValueError: If the masks are not bool or not of one shape.
    """
    if called.dtype != bool or scar.dtype != bool:
        raise ValueError(f"masks must be bool; got {called.dtype} and {scar.dtype}")
    if scar.ndim != 3 or called.shape[-3:] != scar.shape:
        raise ValueError(f"masks of shapes {called.shape} and {scar.shape} do not fit")
    over = (-2, -1)
    region = np.ones_like(scar) if region is None else region
    return Counts(
        tp=(called & scar & region).sum(axis=over),
        fp=(called & ~scar & region).sum(axis=over),
        fn=(~called & scar & region).sum(axis=over),
        tn=(~called & ~scar & region).sum(axis=over),
    )


def concatenate(parts: list[Counts]) -> Counts:
    """Returns the counts of several, one after the other along the last axis."""
    names = [field.name for field in dataclasses.fields(Counts)]
    return Counts(
        **{n: np.concatenate([getattr(p, n) for p in parts], axis=-1) for n in names}
    )


def spread(values: np.ndarray) -> Spread:
    """Returns the spread of the values that are not NaN."""
    defined = values[~np.isnan(values)]
    if not defined.size:
        return Spread(None, None, None, None, 0)
    q1, median, q3 = map(float, np.quantile(defined, (0.25, 0.5, 0.75)))
    return Spread(median, q1, q3, q3 - q1, int(defined.size))


def mean_sd(values: np.ndarray) -> MeanSd:
    """Returns mean and deviation of the values that are not NaN."""
    defined = values[~np.isnan(values)]
    n = int(defined.size)
    return MeanSd(
        mean=float(defined.mean()) if n else None,
        sd=float(defined.std(ddof=1)) if n > 1 else None,
        n=n,
    )


def failures(counts: Counts, patient: np.ndarray) -> Failures:
    """Returns the slices, and their patients, that failed.

    Args:
      counts: Of (seeds, n) slices; each seed's is counted.
      patient: (n,) names.
    """
    scarred, called = counts.true_px > 0, counts.predicted_px > 0

    def tally(failed: np.ndarray, of: np.ndarray) -> Tally:
        return Tally(
            slices=int(failed.sum()),
            patients=len(np.unique(patient[failed.any(axis=0)])),
            of_slices=int(of.sum()),
        )

    return Failures(
        missed=tally(scarred & ~called, scarred),
        false=tally(~scarred & called, ~scarred),
    )


def patients_dice(counts: Counts) -> np.ndarray:
    """Returns the 3-D Dice of the patients with scar, the mean over the seeds, (n,).

    Args:
      counts: Of (seeds, patients).
    """
    return counts.dice[:, counts.true_px[0] > 0].mean(axis=0)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    undefined = np.full(np.shape(denominator), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)
