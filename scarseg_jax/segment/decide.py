"""Probabilities to masks: from which value, and from which area, scar is called."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from scarseg_jax.run import THRESHOLDS, Decision

# Of the areas `choose` chooses from, in a slice.
AREAS_MM2 = (0.0, 25.0, 50.0, 75.0, 100.0, 150.0)
_AS_GOOD = 0.02  # of mean Dice: less is no difference on a few patients
_TOUCHING = np.ones((3, 3), bool)  # pixels at a corner belong together


def call_scar(
    probability: np.ndarray, pixel_mm2: np.ndarray, decision: Decision
) -> np.ndarray:
    """Returns the (n, H, W) bool mask of slices.

    Args:
      probability: (n, H, W).
      pixel_mm2: (n,) area of each slice's pixels.
      decision: When scar is called.
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
            labels = np.zeros(slice_.shape, np.int32)
            ndimage.label(slice_, _TOUCHING, output=labels)
            size = np.bincount(labels.ravel())
            slice_ &= size[labels] >= least
    return kept


def choose(probability: np.ndarray, scar: np.ndarray, pixel_mm2: np.ndarray):
    """Returns the decision that serves the slices with scar, and calls little else.

    The mean Dice of the slices with scar, the paper's own measure, does not see scar
    called in slices without. So among all decisions within two points of the best, the
    largest area wins, and with it the mean of its thresholds: the middle of a flat
    optimum, whose very top is where a few patients happen to put it. Without any scar
    nothing is chosen: one half and no area.

    Args:
      probability: (n, H, W) of validation slices.
      scar: (n, H, W) bool truth.
      pixel_mm2: (n,) area of each slice's pixels.
    """
    some = scar.any((1, 2))
    if not some.any():
        return Decision(0.5)
    probability, scar, pixel_mm2 = probability[some], scar[some], pixel_mm2[some]
    true_px = scar.sum((1, 2))

    def mean_dice(threshold, area):
        called = call_scar(probability, pixel_mm2, Decision(threshold, area))
        both = (called & scar).sum((1, 2))
        return np.mean(2 * both / (called.sum((1, 2)) + true_px))

    dice = np.array([[mean_dice(t, area) for t in THRESHOLDS] for area in AREAS_MM2])
    good = dice >= dice.max() - _AS_GOOD
    largest = np.flatnonzero(good.any(axis=1))[-1]
    threshold = np.mean(np.array(THRESHOLDS)[good[largest]])
    return Decision(round(float(threshold), 3), AREAS_MM2[largest])


def mean(decisions: Sequence[Decision]) -> Decision:
    """Returns the mean of several networks' decisions, for their mean probability."""
    return Decision(
        float(np.mean([d.threshold for d in decisions])),
        float(np.mean([d.min_area_mm2 for d in decisions])),
    )
