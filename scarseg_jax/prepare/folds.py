"""Who trains, who validates, who tests, and in which order images are seen.

Patients, not slices, are split: slices of one patient never stand on two sides.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from scarseg_jax.errors import InputError

SYMMETRIES = 8  # of the square: the image itself and the paper's 7 transformations


@dataclasses.dataclass(frozen=True, eq=False)
class Fold:
    """One split of the slices, as indices into the data set.

    Attributes:
      train: (n,) int32 slices the weights are fitted to.
      validation: (n,) int32 slices that choose when scar is called, and may choose the
        epoch.
      test: (n,) int32 slices of the patients that are held out.
      once: (n,) int32 further images of those who train, each seen once an epoch, in one
        of the symmetries.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    once: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))


def make_folds(
    patient: np.ndarray, has_scar: np.ndarray, *, k: int, validation: float, seed: int
) -> tuple[Fold, ...]:
    """Returns the folds of leave-one-patient-out or k-group cross-validation.

    Groups and validation patients are drawn so that patients with and without scar
    are spread evenly.

    Args:
      patient: (N,) patient of each slice.
      has_scar: (N,) bool, whether the slice has scar.
      k: Number of patient groups; 0 leaves one patient out at a time.
      validation: Share of the training patients that is kept for such choices.
      seed: Of the draw.

    Raises:
      InputError: If there are too few patients or too few with scar.
    """
    names = np.unique(patient)
    check_split(names.tolist(), k=k, validation=validation)
    scarred = {name: bool(has_scar[patient == name].any()) for name in names}
    rng = np.random.default_rng(seed)
    order = _mixed(names, scarred, rng)
    groups = [order[i :: k or len(names)] for i in range(k or len(names))]

    def slices_of(chosen) -> np.ndarray:
        return np.flatnonzero(np.isin(patient, chosen)).astype(np.int32)

    folds = []
    for held_out in groups:
        rest = _mixed(np.setdiff1d(names, held_out), scarred, rng)
        # Evenly out of a row with the scarred first, so that some are among them.
        count = min(max(round(validation * len(rest)), 1), len(rest) - 1)
        chosen = rest[np.arange(count) * len(rest) // count]
        fold = Fold(
            train=slices_of(np.setdiff1d(rest, chosen)),
            validation=slices_of(chosen),
            test=slices_of(held_out),
        )
        if not (has_scar[fold.train].any() and has_scar[fold.validation].any()):
            raise InputError(
                f"{sum(scarred.values())} of {len(names)} patients have scar; each fold"
                " needs some to train and some to validate: add patients with scar"
                " or raise folds.k"
            )
        folds.append(fold)
    return tuple(folds)


def check_split(names: Sequence[str], *, k: int, validation: float) -> None:
    """Checks that so many patients can be split, before any of them is read.

    Raises:
      InputError: If they cannot.
    """
    if len(names) < 3:
        raise InputError(
            f"{len(names)} patient(s) with contours: {', '.join(names)}; leaving one out"
            " needs at least 3: one to test, one to validate, one to train"
        )
    if k and not 2 <= k <= len(names):
        raise InputError(
            f"folds.k is {k}; expected 0 (leave one patient out) or 2 to"
            f" {len(names)}, the number of patients"
        )
    if not 0 < validation < 1:
        raise InputError(f"folds.validation is {validation}; expected between 0 and 1")


def _mixed(names: np.ndarray, scarred: dict, rng: np.random.Generator) -> np.ndarray:
    """Returns the names shuffled, patients with scar before those without."""
    shuffled = rng.permutation(names)
    with_scar = np.array([scarred[name] for name in shuffled])
    return np.concatenate([shuffled[with_scar], shuffled[~with_scar]])


def epoch_table(
    fold: Fold, *, batch_size: int, steps: int, seed: tuple[int, ...]
) -> np.ndarray:
    """Returns one epoch's batches: every image in each of its 8 symmetries, once.

    Those of `Fold.once` in one of them, drawn anew.

    Args:
      fold: Whose.
      batch_size: Images a step; a last, incomplete batch is left out.
      steps: Rows of the table; rows beyond the epoch's end are -1.
      seed: What the shuffling depends on, such as (seed, fold, epoch).

    Returns:
      (steps, batch_size) int32 of slice * 8 + symmetry.
    """
    rng = np.random.default_rng(seed)
    codes = (fold.train[:, None] * SYMMETRIES + np.arange(SYMMETRIES)).reshape(-1)
    if fold.once.size:
        turned = fold.once * SYMMETRIES + rng.integers(SYMMETRIES, size=fold.once.size)
        codes = np.concatenate([codes, turned])
    shuffled = rng.permutation(codes.astype(np.int32))
    full = steps_per_epoch(fold, batch_size=batch_size)
    table = np.full((steps, batch_size), -1, np.int32)
    table[:full] = shuffled[: full * batch_size].reshape(full, batch_size)
    return table


def steps_per_epoch(fold: Fold, *, batch_size: int) -> int:
    """Returns the number of full batches in an epoch of all symmetries."""
    return (len(fold.train) * SYMMETRIES + len(fold.once)) // batch_size


def padded(indices: list[np.ndarray]) -> np.ndarray:
    """Returns (M, longest) int32 from M index arrays, -1 beyond each one's end."""
    table = np.full((len(indices), max(map(len, indices))), -1, np.int32)
    for row, values in zip(table, indices, strict=True):
        row[: len(values)] = values
    return table
