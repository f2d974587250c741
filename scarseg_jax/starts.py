"""What networks begin as: others, which learned on simulated patients alone.

Those belong to nobody, so nothing of who is held out is in them, and no licence.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scarseg_jax import files
from scarseg_jax.errors import InputError
from scarseg_jax.learn import bundle
from scarseg_jax.prepare.cut import PREPARATION
from scarseg_jax.prepare.likeness import find_copy
from scarseg_jax.segment.look import View, view_of
from scarseg_jax.study import Study


def read(
    path: Path, studies: Sequence[Study], *, view: View, variant: str
) -> tuple[Any, str]:
    """Returns a bundle's variables, a leading axis of its networks, and its SHA-256.

    Args:
      path: The bundle.
      studies: Of the run, some of whom will be held out.
      view: What the networks that begin so see and tell apart.
      variant: Which network they are.

    Raises:
      InputError: If it is no bundle, of other networks, or had seen real patients or
        one of the run's.
    """
    if not bundle.is_bundle(path):
        raise InputError(
            f"start is {str(path)!r}, which is no bundle; make one of a run on simulated"
            " patients: python -m scarseg_jax.export --workdir=RUN --output=FOLDER"
        )
    variables, run = bundle.load(path)
    if run.source != "phantom":
        raise InputError(
            f"start is {str(path)!r}, whose networks learned on {run.source} data;"
            " expected simulated patients alone (phantom), of whom nobody is held out"
        )
    if run.preparation != PREPARATION:
        raise InputError(
            f"start is {str(path)!r}, of preparation {run.preparation}; this version makes"
            f" {PREPARATION}: train it again"
        )
    theirs, own = (
        _shape(*pair) for pair in ((view_of(run), run.variant), (view, variant))
    )
    if theirs != own:
        raise InputError(
            f"start is {str(path)!r}, whose networks are {theirs}; these are {own}: set"
            " start to '', or to networks of the same"
        )
    if known := [s.patient for s in studies if find_copy(s.image, run.fingerprints)]:
        raise InputError(
            f"start is {str(path)!r}, whose networks learned on {len(known)} of this"
            f" run's patients, such as {known[0]}: set start to ''"
        )
    return variables, files.sha256(path / files.SUMS)


def _shape(view: View, variant: str) -> str:
    """Returns in words what decides the shapes of a network's variables."""
    return (
        f"{variant}, Protocol {view.protocol}, context={view.context},"
        f" neighbours={view.neighbours}, classes={view.classes}"
    )
