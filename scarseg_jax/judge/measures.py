"""What a reader of images asks of the masks: millilitres, millimetres, was it found.

All on the image's own grid. Of several seeds, each counts in what is a rate, and a
patient's size is their mean.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from scarseg_jax.judge.distances import boundary_points, surface_metrics
from scarseg_jax.judge.metrics import Counts, mean_sd
from scarseg_jax.study import Study

TOLERANCE_MM = 3.0  # of surface Dice: two pixels of most scanners
DISTANCE_RULE = (
    "HD95 and ASSD over patients with true scar in whom some was called; beside it over"
    " all patients with true scar, a missed one counting the diagonal of the crop."
    f" Surface Dice (within {TOLERANCE_MM:g} mm) over all patients with true scar, a"
    " missed one counting 0. Scar called where there is none enters none of them and is"
    " counted."
)


@dataclasses.dataclass(frozen=True, eq=False)
class Measures:
    """Of each patient, (seeds, patients) float64, patients in the order of their names.

    NaN where the myocardium is not known, and of distances where nothing is scar or
    nothing called so.

    Attributes:
      true_ml: Volume of the true scar.
      called_ml: Volume of what is called scar.
      true_percent_lv: Of the myocardium's volume.
      called_percent_lv: Of the myocardium's volume, the found one's in Protocol 3.
      hd95_mm: 95th percentile of the surfaces' distance.
      assd_mm: Their mean distance.
      surface_dice: Share of them within `TOLERANCE_MM`; 0 of a missed or false scar,
        NaN where there is neither.
      penalty_mm: What a missed scar's distances count where these are penalised.
    """

    true_ml: np.ndarray
    called_ml: np.ndarray
    true_percent_lv: np.ndarray
    called_percent_lv: np.ndarray
    hd95_mm: np.ndarray
    assd_mm: np.ndarray
    surface_dice: np.ndarray
    penalty_mm: np.ndarray

    def of_seed(self, index: int) -> "Measures":
        """Returns one seed's, with a leading axis of one."""
        own = {name: m[index : index + 1] for name, m in vars(self).items()}
        return Measures(**own)


@dataclasses.dataclass(frozen=True)
class Centre:
    """Mean, median and deviation over n patients; None of what takes more of them."""

    mean: float | None
    median: float | None
    sd: float | None
    n: int


@dataclasses.dataclass(frozen=True)
class EmptyMasks:
    """The mean Dice under four rules for empty masks.

    Attributes:
      scar_only: Only where there is true scar. The others add what has none, at 0
        where scar is called, and where none is:
      empty_is_1: at 1,
      both_empty_excluded: not at all,
      empty_is_0: at 0.
    """

    scar_only: float | None
    empty_is_1: float | None
    both_empty_excluded: float | None
    empty_is_0: float | None


@dataclasses.dataclass(frozen=True)
class Detection:
    """Any pixel called is scar noticed.

    Attributes:
      sensitivity: How often it is noticed where it is.
      specificity: How often none is called where there is none.
    """

    sensitivity: float | None
    specificity: float | None


def measure_patients(
    studies: Sequence[Study],
    called: Mapping[str, np.ndarray],
    side_mm: Mapping[str, float],
    myocardium: Mapping[str, np.ndarray] | None = None,
) -> Measures:
    """Returns each patient's volumes and surface distances.

    Args:
      studies: The patients that were tested, in the order of their names.
      called: Of each, (seeds, Z, Y, X) bool.
      side_mm: Of each, the longest side of its crops.
      myocardium: Of each, (seeds, Z, Y, X) bool as found, of which called scar is a
        share; None: the drawn one.
    """
    names = [field.name for field in dataclasses.fields(Measures)]
    walls = myocardium or {
        s.patient: [s.myocardium] * len(called[s.patient]) for s in studies
    }
    table = np.array(
        [
            [
                _measure(s, *masks, side_mm[s.patient])
                for masks in zip(called[s.patient], walls[s.patient], strict=True)
            ]
            for s in studies
        ]
    )
    return Measures(**{name: table[..., i].T for i, name in enumerate(names)})


def _measure(
    study: Study, called: np.ndarray, wall: np.ndarray | None, side_mm: float
) -> tuple[float, ...]:
    """Returns one patient's measures of one mask, in the order of `Measures`."""
    geometry, scar = study.geometry, np.asarray(study.scar)

    true_ml, called_ml, true_lv_ml, called_lv_ml = (
        np.nan if mask is None else geometry.volume_ml(mask)
        for mask in (scar, called, study.myocardium, wall)
    )
    distances = distances_of(study, scar, called)
    return (
        *(true_ml, called_ml),
        100 * true_ml / true_lv_ml if true_lv_ml else np.nan,
        # Where no wall was found, no scar was either.
        100 * called_ml / called_lv_ml if called_lv_ml else 0 if true_lv_ml else np.nan,
        *(distances["hd95_mm"], distances["assd_mm"], distances["surface_dice"]),
        np.sqrt(2) * side_mm,
    )


def distances_of(
    study: Study, true: np.ndarray, called: np.ndarray
) -> dict[str, float]:
    """Returns `surface_metrics` of two (Z, Y, X) masks on a study's grid."""
    surfaces = (
        boundary_points(
            mask,
            np.tile(study.spacing_mm[1:], (len(mask), 1)),
            np.zeros((len(mask), 2)),
            study.geometry.positions_mm,
        )
        for mask in (true, called)
    )
    return surface_metrics(*surfaces, tolerance_mm=TOLERANCE_MM)


def centre(values: np.ndarray) -> Centre:
    """Returns the centre over patients of (seeds, patients) values.

    A patient's is the mean over the seeds for which it is defined.
    """
    defined = np.nanmean(values[:, ~np.isnan(values).all(axis=0)], axis=0)
    median = float(np.median(defined)) if defined.size else None
    figures = mean_sd(defined)
    return Centre(figures.mean, median, figures.sd, figures.n)


def empty_masks(counts: Counts) -> EmptyMasks:
    """Returns the mean Dice under the four rules.

    Args:
      counts: Of (seeds, n) slices or patients.
    """
    dice, scarred = counts.dice, counts.true_px > 0

    def mean(values: np.ndarray) -> float | None:
        return float(values.mean()) if values.size else None

    return EmptyMasks(
        scar_only=mean(dice[scarred]),
        empty_is_1=mean(np.nan_to_num(dice, nan=1.0)),
        both_empty_excluded=mean(dice[~np.isnan(dice)]),
        empty_is_0=mean(np.nan_to_num(dice, nan=0.0)),
    )


def detection(counts: Counts) -> Detection:
    """Returns how often scar is noticed, and how often none is called.

    Args:
      counts: Of (seeds, n) slices or patients.
    """
    scarred, called = counts.true_px > 0, counts.predicted_px > 0
    return Detection(
        sensitivity=float(called[scarred].mean()) if scarred.any() else None,
        specificity=float((~called[~scarred]).mean()) if (~scarred).any() else None,
    )
