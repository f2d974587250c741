"""How well the left ventricle was found, and what that costs the scar."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from scarseg_jax.judge import measures
from scarseg_jax.judge.metrics import (
    MeanSd,
    Spread,
    concatenate,
    count,
    mean_sd,
    patients_dice,
    spread,
)
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
    distances, centres = [], []
    missed = extra = 0
    for study in studies:
        drawn, masks = np.asarray(study.myocardium), found.myocardium[study.patient]
        wholes = masks | found.cavity[study.patient]
        distances.append([measures.distances_of(study, drawn, mask) for mask in masks])
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
    hd95_mm, assd_mm = (
        measures.centre(np.array([[own[name] for own in each] for each in distances]).T)
        for name in ("hd95_mm", "assd_mm")
    )
    return VentricleFigures(
        myocardium_dice=_dice_3d(studies, "myocardium", found.myocardium),
        myocardium_hd95_mm=hd95_mm,
        myocardium_assd_mm=assd_mm,
        centre_mm=spread(np.array(centres)),
        missed_slices=missed,
        extra_slices=extra,
        scar_dice_in_drawn=_dice_3d(studies, "scar", found.scar_in_drawn),
    )


def _dice_3d(
    studies: Sequence[Study], name: str, called: Mapping[str, np.ndarray]
) -> MeanSd:
    """Returns the 3-D Dice of patients with what a study calls `name`."""
    true = [np.asarray(getattr(study, name)) for study in studies]
    pairs = zip(studies, true, strict=True)
    counts = concatenate([count(called[s.patient], mask) for s, mask in pairs])
    patient = np.repeat([s.patient for s in studies], [len(mask) for mask in true])
    return mean_sd(patients_dice(counts.pooled(patient)))


def _apart_mm(one: np.ndarray, two: np.ndarray, spacing_mm: Sequence[float]) -> float:
    centres = [np.mean(np.nonzero(mask), axis=1) for mask in (one, two)]
    return float(np.linalg.norm((centres[0] - centres[1]) * spacing_mm[1:]))
