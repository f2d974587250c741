"""How well the left ventricle was found, and what that costs the scar."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from scarseg_jax.judge import measures
from scarseg_jax.judge.distances import boundary_points, surface_metrics
from scarseg_jax.judge.metrics import MeanSd, Spread, mean_sd, spread
from scarseg_jax.study import Study


@dataclasses.dataclass(frozen=True, eq=False)
class FoundVentricles:
    """Of each patient, by name, (seeds, Z, Y, X) bool.

    Attributes:
      cavity: As found.
      myocardium: As found.
      scar_in_drawn: What the same networks call scar inside the drawn myocardium.
    """

    cavity: Mapping[str, np.ndarray]
    myocardium: Mapping[str, np.ndarray]
    scar_in_drawn: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class VentricleFigures:
    """How the ventricle that was found stands against the drawn one.

    Attributes:
      myocardium_dice: 3-D, of patients.
      myocardium_hd95_mm: 95th percentile of the surfaces' distance, of patients.
      myocardium_assd_mm: Their mean distance.
      centre_mm: From the drawn ventricle's centre to the found one's, of slices that
        have both.
      missed_slices: With myocardium drawn and none found.
      extra_slices: With myocardium found and none drawn.
      scar_dice_in_drawn: 3-D Dice of the scar, the drawn myocardium put in: what is
        missing to it is lost by finding the ventricle, the rest by telling scar.
    """

    myocardium_dice: MeanSd
    myocardium_hd95_mm: measures.Centre
    myocardium_assd_mm: measures.Centre
    centre_mm: Spread
    missed_slices: int
    extra_slices: int
    scar_dice_in_drawn: MeanSd


def judge_ventricles(
    studies: Sequence[Study], found: FoundVentricles
) -> VentricleFigures | None:
    """Returns the figures; None where a patient's myocardium was not drawn."""
    if any(study.myocardium is None for study in studies):
        return None
    dice, scar_dice, hd95, assd, centres = [], [], [], [], []
    missed = extra = 0
    for study in studies:
        name, drawn = study.patient, np.asarray(study.myocardium)
        scar, masks = np.asarray(study.scar), found.myocardium[name]
        wholes = masks | found.cavity[name]
        dice.append([_dice(mask, drawn) for mask in masks])
        if scar.any():
            scar_dice.append([_dice(mask, scar) for mask in found.scar_in_drawn[name]])
        surfaces = [_distances(study, drawn, mask) for mask in masks]
        hd95.append([own["hd95_mm"] for own in surfaces])
        assd.append([own["assd_mm"] for own in surfaces])
        there, seen = drawn.any(axis=(1, 2)), masks.any(axis=(2, 3))
        missed += int((there & ~seen).sum())
        extra += int((~there & seen).sum())
        whole = drawn if study.cavity is None else drawn | study.cavity
        for z in np.flatnonzero(there):
            centres += [
                _apart_mm(whole[z], mine[z], study.spacing_mm)
                for mine in wholes
                if mine[z].any()
            ]
    return VentricleFigures(
        myocardium_dice=mean_sd(np.mean(dice, axis=1)),
        myocardium_hd95_mm=measures.centre(np.array(hd95).T),
        myocardium_assd_mm=measures.centre(np.array(assd).T),
        centre_mm=spread(np.array(centres)),
        missed_slices=missed,
        extra_slices=extra,
        scar_dice_in_drawn=mean_sd(np.array([np.mean(own) for own in scar_dice])),
    )


def _dice(one: np.ndarray, two: np.ndarray) -> float:
    both = int(one.sum()) + int(two.sum())
    return 2 * int((one & two).sum()) / both if both else np.nan


def _distances(study: Study, drawn: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    geometry = study.geometry
    surfaces = (
        boundary_points(
            own,
            np.tile(study.spacing_mm[1:], (len(own), 1)),
            np.zeros((len(own), 2)),
            geometry.positions_mm,
        )
        for own in (drawn, mask)
    )
    return surface_metrics(*surfaces, tolerance_mm=measures.TOLERANCE_MM)


def _apart_mm(one: np.ndarray, two: np.ndarray, spacing_mm: Sequence[float]) -> float:
    centres = [np.mean(np.nonzero(mask), axis=1) for mask in (one, two)]
    return float(np.linalg.norm((centres[0] - centres[1]) * spacing_mm[1:]))
