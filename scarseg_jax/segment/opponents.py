"""Other methods than the networks of a run, given what a network is given.

The score, the area and the volume from which scar is called are chosen for each fold on
the validation patients of the networks and by their rules, `decide.best` and
`decide.least_ml`, on the images' own grids, on which all are judged.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from scarseg_jax.judge.answers import Answers
from scarseg_jax.learn import autoencoder
from scarseg_jax.prepare.clean import clean
from scarseg_jax.prepare.dataset import DataSet
from scarseg_jax.prepare.folds import Fold
from scarseg_jax.run import Decision, Trial
from scarseg_jax.segment import classical, decide, encoded, pipeline

T = TypeVar("T")


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
    return Scores(*_on_both_grids(functools.partial(classical.score, method), data))


def _on_both_grids(
    of: Callable[[np.ndarray, np.ndarray, np.ndarray], T], data: DataSet
) -> tuple[T, dict[str, T]]:
    """Returns what a function makes of the crops, and of each patient's own grid.

    Args:
      of: Of (n, H, W) images, their myocardium and the (n, 2) pixel spacing (y, x).
      data: Patients with myocardium.
    """
    slices = data.slices
    pixel_mm = np.stack([slices.pixel_mm, slices.pixel_mm], axis=1)
    native = {
        study.patient: of(
            clean(study.image),
            np.asarray(study.myocardium),
            np.tile(study.spacing_mm[1:], (len(study.image), 1)),
        )
        for study in data.studies
    }
    return of(slices.crop, slices.myocardium, pixel_mm), native


def learn_superpixels(
    data: DataSet, folds: Sequence[Fold], *, seed: int
) -> list[Scores]:
    """Returns each fold's scores by an auto-encoder of superpixels, see `encoded`.

    It learned on the fold's training patients, on the images' own grids.

    Args:
      data: Patients with myocardium.
      folds: The splits.
      seed: Of the training.
    """
    crop, native = _on_both_grids(encoded.find_superpixels, data)
    share = [
        encoded.scar_share(native[s.patient], np.asarray(s.scar)) for s in data.studies
    ]
    whose = np.repeat([s.patient for s in data.studies], [len(own) for own in share])
    each = autoencoder.fit(
        np.concatenate([own.patches for own in native.values()]),
        np.concatenate(share) > 0.5,
        [
            np.flatnonzero(np.isin(whose, data.slices.patient[fold.train]))
            for fold in folds
        ],
        seed=seed,
    )
    return [
        Scores(
            crop=encoded.score(crop, layers),
            native={name: encoded.score(own, layers) for name, own in native.items()},
        )
        for layers in each
    ]


def choose(
    scores: Sequence[Scores],
    data: DataSet,
    folds: Sequence[Fold],
    levels: Sequence[float],
) -> list[Decision]:
    """Returns each fold's decision, chosen on its validation patients.

    Args:
      scores: Of each fold.
      data: The data set.
      folds: The splits.
      levels: The scores from which one is chosen.
    """

    @functools.cache
    def dice(own: Scores, number: int) -> np.ndarray:
        study = data.studies[number]
        return decide.slice_dice(
            own.native[study.patient],
            np.asarray(study.scar),
            np.full(len(study.image), study.geometry.pixel_mm2),
            levels,
        )

    each = [
        [dice(own, number) for number in _numbers(data, fold.validation)]
        for own, fold in zip(scores, folds, strict=True)
    ]
    return [decide.best(np.concatenate(own), levels) for own in each]


def _numbers(data: DataSet, which: np.ndarray) -> list[int]:
    """Returns the numbers of the studies that some slices are of."""
    patients = set(data.slices.patient[which].tolist())
    return [n for n, study in enumerate(data.studies) if study.patient in patients]


def tried(
    scores: Sequence[Scores],
    data: DataSet,
    folds: Sequence[Fold],
    decisions: Sequence[Decision],
) -> list[Trial]:
    """Returns what each fold's decision calls scar in its validation patients."""
    return [
        pipeline.tried(own.native[study.patient], study, decision)
        for own, fold, decision in zip(scores, folds, decisions, strict=True)
        for study in [data.studies[n] for n in _numbers(data, fold.validation)]
    ]


def answers(
    scores: Sequence[Scores],
    data: DataSet,
    folds: Sequence[Fold],
    decisions: Sequence[Decision],
    trials: Sequence[Trial] = (),
) -> Answers:
    """Returns what a method calls scar in each fold's test patients, on either grid.

    Args:
      scores: Of each fold.
      data: The data set.
      folds: The splits.
      decisions: Of each fold.
      trials: From `tried`; others' tell the least volume that is called in a patient.
    """
    slices = data.slices
    fold = np.zeros(len(slices.slice), int)
    crop = np.zeros(slices.scar.shape, bool)
    native = {}
    for number, (said, one, decision) in enumerate(
        zip(scores, folds, decisions, strict=True)
    ):
        fold[one.test] = number
        tested = slices.patient[one.test]
        for study in data.studies:
            its = one.test[tested == study.patient]
            if its.size:
                own = dataclasses.replace(
                    decision, min_ml=decide.least_ml(trials, but=study.patient)
                )
                scar = pipeline.call_scar(said.native[study.patient], study, own)
                native[study.patient] = scar[None]
                if scar.any():
                    area_mm2 = slices.pixel_mm[its] ** 2
                    crop[its] = decide.call_scar(said.crop[its], area_mm2, own)
    return Answers(fold=fold, seeds=(0,), crop=crop[None], native=native)
