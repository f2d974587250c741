"""How a data set is split into folds, as a run's settings ask."""

from collections.abc import Sequence

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.prepare.dataset import DataSet
from scarseg_jax.prepare.folds import Fold, make_folds
from scarseg_jax.settings import Folds


def make_split(data: DataSet, split: Folds) -> tuple[Fold, ...]:
    """Returns all folds of the patients with contours.

    Raises:
      InputError: If the patients cannot be split so, or folds are asked for that are none.
    """
    folds = make_folds(
        data.slices.patient,
        np.any(data.slices.scar, axis=(1, 2)),
        k=split.k,
        validation=split.validation,
        seed=split.seed,
    )
    if max(split.only, default=0) >= len(folds):
        raise InputError(
            f"folds.only is {split.only}; expected numbers of folds, 0 to"
            f" {len(folds) - 1}"
        )
    return folds


def chosen_folds(folds: Sequence[Fold], split: Folds) -> Sequence[int]:
    """Returns the numbers of the folds that are trained and judged."""
    return split.only or range(len(folds))


def judged_slices(folds: Sequence[Fold], split: Folds) -> np.ndarray:
    """Returns the slices that are judged: of the patients whom these folds hold out."""
    tests = [folds[number].test for number in chosen_folds(folds, split)]
    return np.sort(np.concatenate(tests))


def patients_of(data: DataSet, indices: np.ndarray) -> tuple[str, ...]:
    """Returns whose the slices of these numbers are, sorted."""
    return tuple(np.unique(data.slices.patient[indices]).tolist())
