"""Methods without training, given what a network is given.

The score, the area and the volume from which scar is called are chosen for each fold on
the validation patients of the networks and by their rules, `decide.best` and
`decide.least_ml`, on the images' own grids, on which all are judged.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from scarseg_jax.judge.summary import Answers
from scarseg_jax.prepare.clean import clean
from scarseg_jax.prepare.dataset import DataSet
from scarseg_jax.prepare.folds import Fold
from scarseg_jax.run import Decision, Trial
from scarseg_jax.segment import classical, decide, pipeline


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """What a method says of a cohort.

    Attributes:
      crop: (N, 64, 64) float32.
      native: Of each patient, (Z, Y, X) float32.
    """

    crop: np.ndarray
    native: Mapping[str, np.ndarray]


def score(method: Callable[..., np.ndarray], data: DataSet) -> Scores:
    """Returns a method's scores on either grid.

    Args:
      method: As in `classical`.
      data: Patients with myocardium.
    """
    slices = data.slices
    pixel_mm = np.stack([slices.pixel_mm, slices.pixel_mm], axis=1)
    return Scores(
        crop=classical.score(method, slices.crop, slices.myocardium, pixel_mm),
        native={
            study.patient: classical.score(
                method,
                clean(study.image),
                np.asarray(study.myocardium),
                np.tile(study.spacing_mm[1:], (len(study.image), 1)),
            )
            for study in data.studies
        },
    )


def choose(
    scores: Scores, data: DataSet, folds: Sequence[Fold], levels: Sequence[float]
) -> list[Decision]:
    """Returns each fold's decision, chosen on its validation patients."""
    dice = np.concatenate(
        [
            decide.slice_dice(
                scores.native[study.patient],
                np.asarray(study.scar),
                np.full(len(study.image), study.geometry.pixel_mm2),
                levels,
            )
            for study in data.studies
        ]
    )
    return [decide.best(dice[fold.validation], levels) for fold in folds]


def tried(
    scores: Scores, data: DataSet, folds: Sequence[Fold], decisions: Sequence[Decision]
) -> list[Trial]:
    """Returns what each fold's decision calls scar in its validation patients."""
    trials = []
    for fold, decision in zip(folds, decisions, strict=True):
        chose = set(data.slices.patient[fold.validation].tolist())
        for study in data.studies:
            if study.patient in chose:
                own = scores.native[study.patient]
                trials.append(pipeline.tried(own, study, decision))
    return trials


def answers(
    scores: Scores,
    data: DataSet,
    folds: Sequence[Fold],
    decisions: Sequence[Decision],
    trials: Sequence[Trial] = (),
) -> Answers:
    """Returns what a method calls scar in each fold's test patients, on either grid.

    Args:
      scores: The method's.
      data: The data set.
      folds: The splits.
      decisions: Of each fold.
      trials: From `tried`; others' tell the least volume that is called in a patient.
    """
    slices = data.slices
    fold = np.zeros(len(slices.slice), int)
    crop = np.zeros(slices.scar.shape, bool)
    native = {}
    for number, (one, decision) in enumerate(zip(folds, decisions, strict=True)):
        fold[one.test] = number
        tested = slices.patient[one.test]
        for study in data.studies:
            its = one.test[tested == study.patient]
            if its.size:
                own = dataclasses.replace(
                    decision, min_ml=decide.least_ml(trials, but=study.patient)
                )
                scar = pipeline.call_scar(scores.native[study.patient], study, own)
                native[study.patient] = scar[None]
                if scar.any():
                    area_mm2 = slices.pixel_mm[its] ** 2
                    crop[its] = decide.call_scar(scores.crop[its], area_mm2, own)
    return Answers(fold=fold, seeds=(0,), crop=crop[None], native=native)
