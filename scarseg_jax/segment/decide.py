"""Probabilities to masks: from which value, area and volume scar is called."""

import itertools
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from scarseg_jax.run import Decision, Trial

# Of the areas from which `best` takes one, in a slice.
AREAS_MM2 = (0.0, 25.0, 50.0, 75.0, 100.0, 150.0)
_AS_GOOD = 0.02  # of mean Dice: less is no difference on a few patients
_LEAST_GAIN = 2  # patients, for which a volume is let go of
_TOUCHING = np.ones((3, 3), bool)  # pixels at a corner belong together


def call_scar(
    probability: np.ndarray, pixel_mm2: np.ndarray, decision: Decision
) -> np.ndarray:
    """Returns the (n, H, W) bool mask of slices, each by itself.

    Args:
      probability: (n, H, W).
      pixel_mm2: (n,) area of each slice's pixels.
      decision: When scar is called; its volume is a patient's, see `pipeline.call_scar`.
    """
    called = probability >= decision.threshold
    return without_small(called, decision.min_area_mm2 / np.asarray(pixel_mm2))


def without_small(mask: np.ndarray, least_px: Sequence[float] | np.ndarray):
    """Returns the (n, H, W) mask without its small parts.

    Args:
      mask: (n, H, W) bool.
      least_px: (n,) the least size of connected pixels (8 neighbours) that stay.
    """
    kept = mask.copy()
    for slice_, least in zip(kept, least_px, strict=True):
        if least > 1 and slice_.any():
            part = slice_[_box(slice_)]
            labels = np.zeros(part.shape, np.int32)
            ndimage.label(part, _TOUCHING, output=labels)
            size = np.bincount(labels.ravel())
            part &= size[labels] >= least
    return kept


def best(dice: np.ndarray, thresholds: Sequence[float]) -> Decision:
    """Returns the decision that serves all slices, with scar and without.

    The mean Dice of slices, one without scar counting 1 if nothing is called in it and
    else 0: a false scar costs as much as a missed one. On a few patients the very top of
    a flat optimum is where chance puts it. So among all decisions within two points of
    the best, the smallest area wins, and with it the mean of its thresholds. Without any
    slice the threshold in the middle is taken, and no area.

    Args:
      dice: (n, areas, thresholds) of validation slices, from `slice_dice`.
      thresholds: Ascending.
    """
    if not len(dice):
        return Decision(thresholds[len(thresholds) // 2])
    means = dice.mean(axis=0)
    good = means >= means.max() - _AS_GOOD
    smallest = np.flatnonzero(good.any(axis=1))[0]
    threshold = np.mean(np.array(thresholds)[good[smallest]])
    return Decision(round(float(threshold), 3), AREAS_MM2[smallest])


def least_ml(trials: Sequence[Trial], *, but: str | None = None) -> float:
    """Returns the volume above which a patient has scar: less is called in healthy ones.

    Of all limits it is the lowest that tells most of the trials' patients rightly apart,
    those with scar and those without: 0, or what is called in one of the latter. It must
    tell two more than none does, as one is chance; and the largest true scar stays, so
    without any there is no limit.

    Args:
      trials: Before any such limit; each patient counts once, with the mean.
      but: A patient whose own trial does not count.
    """
    said: dict[tuple[str, bool], list[float]] = {}
    for trial in trials:
        if trial.patient != but:
            own = said.setdefault((trial.patient, trial.true_ml > 0), [])
            own.append(trial.said_ml)
    called = sorted(
        (float(np.mean(own)), scarred) for (_, scarred), own in said.items()
    )
    called = [(ml, scarred) for ml, scarred in called if ml > 0]
    while called and not called[-1][1]:
        called.pop()
    # How many patients more are told rightly by a limit above the first n volumes.
    gained = np.cumsum([0, *(-1 if scarred else 1 for _, scarred in called[:-1])])
    for n, (this, (after, _)) in enumerate(itertools.pairwise(called), start=1):
        if this[0] == after:  # nothing lies between
            gained[n] = -len(called)
    above = int(gained.argmax())
    return called[above - 1][0] if gained[above] >= _LEAST_GAIN else 0.0


def slice_dice(
    probability: np.ndarray,
    scar: np.ndarray,
    pixel_mm2: np.ndarray,
    thresholds: Sequence[float],
) -> np.ndarray:
    """Returns the Dice of slices, (n, areas, thresholds) float64, by decision.

    1 where there is no scar and none is called.

    Args:
      probability: (n, H, W), or scores.
      scar: (n, H, W) bool truth.
      pixel_mm2: (n,) area of each slice's pixels.
      thresholds: Ascending.
    """
    dice = np.ones((len(scar), len(AREAS_MM2), len(thresholds)))
    for n in np.flatnonzero((scar | (probability >= thresholds[0])).any(axis=(1, 2))):
        box = _box(scar[n] | (probability[n] >= thresholds[0]))
        true, said = scar[n][box], probability[n][box]
        for t, threshold in enumerate(thresholds):
            called = said >= threshold
            for a, area in enumerate(AREAS_MM2):
                kept = without_small(called[None], [area / pixel_mm2[n]])[0]
                if all_ := kept.sum() + true.sum():
                    dice[n, a, t] = 2 * (kept & true).sum() / all_
    return dice


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    """Returns where a mask's pixels are, which saves looking at all others."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def mean(decisions: Sequence[Decision]) -> Decision:
    """Returns the mean of several networks' decisions, for their mean probability."""
    return Decision(
        float(np.mean([d.threshold for d in decisions])),
        float(np.mean([d.min_area_mm2 for d in decisions])),
    )
