"""What a network tells apart: tissues to classes, and classes back to scar."""

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.study import Tissue

_NO_REFLOW = frozenset({Tissue.NO_REFLOW})
_SCAR = _NO_REFLOW | {Tissue.SCAR}
_WALL = _SCAR | {Tissue.MYOCARDIUM}
_CAVITY = frozenset({Tissue.CAVITY})
_LEAST_WALL = 0.02  # of a pixel
# What networks learn from, where the same data gave other targets before.
KIND = "shares"
# The tissues of class 1, 2, ...; all others are class 0, the background.
CLASSES: dict[str, tuple[tuple[Tissue, ...], ...]] = {
    "scar": ((Tissue.SCAR, Tissue.NO_REFLOW),),
    "scar_no_reflow": ((Tissue.SCAR,), (Tissue.NO_REFLOW,)),
    "heart_scar": (
        (Tissue.CAVITY,),
        (Tissue.MYOCARDIUM,),
        (Tissue.SCAR, Tissue.NO_REFLOW),
    ),
}


def count(name: str) -> int:
    """Returns the number of classes, the background included."""
    return 1 + len(CLASSES[name])


def scar_classes(name: str) -> tuple[int, ...]:
    """Returns the classes that are scar."""
    return _made_of(_SCAR, name)


def tell_the_ventricle(name: str) -> bool:
    """Returns whether the classes tell the ventricle's cavity and wall apart."""
    return bool(_made_of(_CAVITY, name)) and len(_made_of(_WALL, name)) > 1


def _made_of(wanted: frozenset[Tissue], name: str) -> tuple[int, ...]:
    pairs = enumerate(CLASSES[name], start=1)
    return tuple(number for number, tissues in pairs if wanted.issuperset(tissues))


def class_shares(tissues: np.ndarray, name: str) -> np.ndarray:
    """Returns the (..., K - 1) share of each class but the background.

    Args:
      tissues: (..., 4) share of each `Tissue` but the background.
      name: Of the classes.

    Raises:
      InputError: If a class has no share anywhere: it was not drawn.
    """
    each = []
    for own in CLASSES[name]:
        share = tissues[..., [tissue - 1 for tissue in own]].sum(axis=-1)
        if not share.any():
            raise InputError(
                f"model.classes is {name}, but no pixel of the data set is"
                f" {' or '.join(tissue.name.lower() for tissue in own)}; choose"
                " classes that were drawn"
            )
        each.append(share)
    return np.stack(each, axis=-1)


def of_wall(tissues: np.ndarray) -> np.ndarray:
    """Returns the (..., 4) share that each `Tissue` has of the wall in a pixel.

    For networks that are given the wall: what lies on its other side is no concern of
    theirs, and shall not make scar at its border look as half of one. Where there is
    hardly any wall all shares are 0.

    Args:
      tissues: (..., 4) share of each `Tissue` but the background.
    """
    inside = [tissue - 1 for tissue in sorted(_WALL)]
    wall = tissues[..., inside].sum(axis=-1, keepdims=True)
    shares = np.zeros_like(tissues)
    shares[..., inside] = tissues[..., inside]
    there = wall >= _LEAST_WALL
    return np.divide(shares, wall, out=np.zeros_like(shares), where=there)


def scar_probability(probability: np.ndarray, name: str) -> np.ndarray:
    """Returns the (...) probability of scar.

    Args:
      probability: (..., K - 1) of each class but the background.
      name: Of the classes.
    """
    return _together(probability, scar_classes(name))


def no_reflow_probability(probability: np.ndarray, name: str) -> np.ndarray | None:
    """Returns the (...) probability of no-reflow; None where it is not told apart.

    Args:
      probability: (..., K - 1) of each class but the background.
      name: Of the classes.
    """
    own = _made_of(_NO_REFLOW, name)
    return _together(probability, own) if own else None


def ventricle_probabilities(
    probability: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the (...) probabilities of the cavity and of the wall, scarred or not.

    Args:
      probability: (..., K - 1) of each class but the background.
      name: Of classes that `tell_the_ventricle`.
    """
    cavity, wall = (_made_of(tissues, name) for tissues in (_CAVITY, _WALL))
    return _together(probability, cavity), _together(probability, wall)


def _together(probability: np.ndarray, classes: tuple[int, ...]) -> np.ndarray:
    first, *others = (probability[..., number - 1] for number in classes)
    return sum(others, start=first)
