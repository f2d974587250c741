"""What a network tells apart: tissues to classes, and classes back to scar."""

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.study import Tissue

_NO_REFLOW = frozenset({Tissue.NO_REFLOW})
_SCAR = _NO_REFLOW | {Tissue.SCAR}
_WALL = _SCAR | {Tissue.MYOCARDIUM}
_CAVITY = frozenset({Tissue.CAVITY})
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


def to_classes(labels: np.ndarray, name: str) -> np.ndarray:
    """Returns int8 classes of int8 `Tissue` labels, of any shape.

    Raises:
      InputError: If a class is in none of the labels: it was not drawn.
    """
    classes = np.zeros(labels.shape, np.int8)
    for number, tissues in enumerate(CLASSES[name], start=1):
        own = np.isin(labels, tissues)
        if not own.any():
            raise InputError(
                f"model.classes is {name}, but no pixel of the data set is"
                f" {' or '.join(tissue.name.lower() for tissue in tissues)}; choose"
                " classes that were drawn"
            )
        classes[own] = number
    return classes


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
