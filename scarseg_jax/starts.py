"""What networks begin as: others, which learned on simulated patients alone.

Those belong to nobody, so nothing of who is held out is in them, and no licence.
"""

from pathlib import Path
from typing import Any

from scarseg_jax import files
from scarseg_jax.errors import InputError
from scarseg_jax.learn import bundle
from scarseg_jax.segment.look import View, view_of


def read(path: Path, *, view: View, variant: str) -> tuple[Any, str]:
    """Returns a bundle's variables, a leading axis of its networks, and its SHA-256.

    Args:
      path: The bundle.
      view: What the networks that begin so see and tell apart.
      variant: Which network they are.

    Raises:
      InputError: If it is no bundle, of other networks, or had seen real patients.
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
    theirs, own = (
        _shape(*pair) for pair in ((view_of(run), run.variant), (view, variant))
    )
    if theirs != own:
        raise InputError(
            f"start is {str(path)!r}, whose networks are {theirs}; these are {own}: begin"
            " as networks of the same protocol, context, neighbours, classes and variant"
        )
    return variables, files.sha256(path / files.SUMS)


def _shape(view: View, variant: str) -> str:
    """Returns in words what decides the shapes of a network's variables."""
    return (
        f"{variant}, Protocol {view.protocol}, context={view.context},"
        f" neighbours={view.neighbours}, classes={view.classes}"
    )
