"""Probabilities to masks: from which value, and from which area, scar is called."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

# What `choose` chooses from.
THRESHOLDS = tuple(percent / 100 for percent in range(5, 100, 5))
AREAS_MM2 = (0.0, 25.0, 50.0, 75.0, 100.0, 150.0)
_TOUCHING = np.ones((3, 3), bool)  # pixels at a corner belong together


@dataclasses.dataclass(frozen=True)
class Decision:
    """When scar is called.

    Attributes:
      threshold: The probability from which a pixel is.
      min_area_mm2: The area, in a slice, from which connected pixels are.
    """

    threshold: float
    min_area_mm2: float = 0.0


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
    """Returns the decision with the highest mean Dice of the slices with scar.

    That is the paper's own measure. It does not see slices without scar; so of equals
    the largest area wins, then the lowest threshold. Without any scar, nothing is
    chosen: one half and no area.

    Args:
      probability: (n, H, W) of validation slices.
      scar: (n, H, W) bool truth.
      pixel_mm2: (n,) area of each slice's pixels.
    """
    some = scar.any((1, 2))
    probability, scar, pixel_mm2 = probability[some], scar[some], pixel_mm2[some]
    best, best_dice = Decision(0.5), 0.0
    for area in reversed(AREAS_MM2):
        for threshold in THRESHOLDS:
            decision = Decision(threshold, area)
            called = call_scar(probability, pixel_mm2, decision)
            both = (called & scar).sum((1, 2))
            total = called.sum((1, 2)) + scar.sum((1, 2))
            dice = float(np.sum(2 * both / total))
            if dice > best_dice:
                best, best_dice = decision, dice
    return best


def mean(decisions: Sequence[Decision]) -> Decision:
    """Returns the mean of several networks' decisions, for their mean probability."""
    return Decision(
        float(np.mean([d.threshold for d in decisions])),
        float(np.mean([d.min_area_mm2 for d in decisions])),
    )
