"""The left ventricle as networks find it, where nobody has drawn it."""

import dataclasses

import numpy as np
from scipy import ndimage


@dataclasses.dataclass(frozen=True, eq=False)
class Ventricle:
    """Where it is.

    Attributes:
      cavity: (Z, Y, X) bool.
      myocardium: (Z, Y, X) bool, including any scar; no pixel is of both.
    """

    cavity: np.ndarray
    myocardium: np.ndarray


def find_ventricle(cavity: np.ndarray, wall: np.ndarray) -> Ventricle:
    """Returns the ventricle that probabilities tell of.

    It is the largest connected body that is more probably ventricle than not; a pixel
    of it is of the wall where that is at least as probable as the cavity.

    Args:
      cavity: (Z, Y, X) probability.
      wall: (Z, Y, X) probability of myocardium, scarred or not.
    """
    whole = cavity + wall >= 0.5
    bodies, _ = ndimage.label(whole)  # pyright: ignore[reportGeneralTypeIssues]
    sizes = np.bincount(bodies.ravel())[1:]
    if sizes.size > 1:
        whole = bodies == 1 + sizes.argmax()
    myocardium = whole & (wall >= cavity)
    return Ventricle(whole & ~myocardium, myocardium)
