"""Who finds the myocardium for networks that need it: those of another run, kept beside."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from scarseg_jax import files
from scarseg_jax.errors import InputError
from scarseg_jax.learn.bundle import FINDER, is_bundle
from scarseg_jax.prepare import likeness
from scarseg_jax.run import Member
from scarseg_jax.segment.model import Model, load_model
from scarseg_jax.study import Study

Splits = Mapping[int, tuple[set[str], set[str]]]


def kept(
    workdir: Path, bundle: Path, splits: Splits, studies: Sequence[Study]
) -> Model:
    """Returns the networks that find the myocardium; the run keeps them from now on.

    Args:
      workdir: The run's folder.
      bundle: Theirs.
      splits: Of each of the folds that the run trains, who validates and who is held
        out; those who find the myocardium may have more.
      studies: The run's, by whose images the others' patients are known, whatever they
        are called there.

    Raises:
      InputError: If they are no bundle, find no myocardium, had seen those who validate
        or are held out, or are others than the run has kept.
    """
    home = workdir / FINDER
    if not is_bundle(bundle) and not home.is_dir():
        raise InputError(
            f"finder is {str(bundle)!r}, which is no bundle; make one of a run of"
            " Protocol 3: python -m scarseg_jax.export --workdir=RUN --output=FOLDER"
        )
    if not home.is_dir():
        with tempfile.TemporaryDirectory(dir=workdir) as folder:
            partial = Path(folder) / FINDER
            shutil.copytree(bundle, partial)
            _checked(load_model(partial), splits, studies)
            files.put(partial, home)
    finder = _checked(load_model(home), splits, studies)
    if is_bundle(bundle) and files.sha256(bundle / files.SUMS) != finder.sha256:
        raise InputError(
            f"finder is {str(bundle)!r}, which has changed since the run began; choose"
            " another --workdir"
        )
    return finder


def _checked(finder: Model, splits: Splits, studies: Sequence[Study]) -> Model:
    run = finder.run
    if run.protocol != 3 or run.selection == "oracle":
        raise InputError(
            f"the finder is of Protocol {run.protocol}, its epoch chosen by"
            f" {run.selection!r}; expected Protocol 3, which finds the myocardium, and no"
            " choice by those who are held out"
        )
    copies = ((s, likeness.find_copy(s.image, run.fingerprints)) for s in studies)
    ours = {copy[0]: study.patient for study, copy in copies if copy is not None}
    theirs: dict[int, tuple[set[str], set[str]]] = {}
    for trained in finder.members:
        validate, held_out = theirs.setdefault(trained.member.fold, (set(), set()))
        validate.update(ours.get(trial.patient, "") for trial in trained.trials)
        held_out.update(ours.get(patient, "") for patient in trained.test_patients)
    if any(theirs.get(fold) != split for fold, split in splits.items()):
        raise InputError(
            "the finder's folds are others than this run's: train both with the same"
            " data, data.leave_out and folds, validation too"
        )
    return finder


def of_fold(finder: Model, fold: int) -> tuple[int, ...]:
    """Returns the numbers of those who find the myocardium for a fold's networks."""
    each = enumerate(finder.members)
    return tuple(i for i, trained in each if trained.member.fold == fold)


def of_each(finder: Model | None, members: Sequence[Member]) -> list[tuple[int, ...]]:
    """Returns of each network who finds the myocardium for it: those of its fold."""
    if finder is None:
        return [()] * len(members)
    return [of_fold(finder, member.fold) for member in members]
