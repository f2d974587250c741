"""Who finds the myocardium for networks that need it: those of another run, kept beside."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scarseg_jax.errors import InputError
from scarseg_jax.learn.bundle import FINDER, is_bundle
from scarseg_jax.run import Member
from scarseg_jax.segment.model import Model, load_model


def kept(workdir: Path, bundle: Path) -> Model:
    """Returns the networks that find the myocardium; the run keeps them from now on.

    Raises:
      InputError: If they are no bundle of those, or others than the run has kept.
    """
    home = workdir / FINDER
    if not home.is_dir():
        if not is_bundle(bundle):
            raise InputError(
                f"finder is {str(bundle)!r}, which is no bundle; make one of a run of"
                " Protocol 3: python -m scarseg_jax.export --workdir=RUN --output=FOLDER"
            )
        with tempfile.TemporaryDirectory(dir=workdir) as folder:
            shutil.copytree(bundle, Path(folder) / FINDER)
            shutil.move(Path(folder) / FINDER, home)
    finder = load_model(home)
    if finder.run.protocol != 3:
        raise InputError(
            f"finder is {str(bundle)!r}, of Protocol {finder.run.protocol}; expected"
            " networks of Protocol 3, which find the myocardium"
        )
    return finder


def check_folds(finder: Model, tests: Sequence[Sequence[str]]) -> None:
    """Checks that who finds the myocardium for a fold had not seen those it holds out.

    Args:
      finder: From `kept`.
      tests: Names of the patients that each fold holds out.

    Raises:
      InputError: If they had.
    """
    held_out = {fold: set(names) for fold, names in enumerate(tests)}
    theirs: dict[int, set[str]] = {}
    for trained in finder.members:
        theirs.setdefault(trained.member.fold, set()).update(trained.test_patients)
    if theirs != held_out:
        raise InputError(
            f"finder ({finder.path}) held out other patients than this run's folds:"
            " train both with the same data, data.leave_out and folds"
        )


def of_each(finder: Model | None, members: Sequence[Member]) -> list[tuple[int, ...]]:
    """Returns of each network who finds the myocardium for it: those of its fold."""
    if finder is None:
        return [()] * len(members)
    folds = [trained.member.fold for trained in finder.members]
    return [
        tuple(i for i, fold in enumerate(folds) if fold == member.fold)
        for member in members
    ]
