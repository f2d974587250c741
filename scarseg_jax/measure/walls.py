"""A slice's wall between its two borders, and whether it is all around."""

import dataclasses
import enum

import numpy as np
from skimage.measure import label
from skimage.morphology import convex_hull_image

from scarseg_jax.errors import InputError
from scarseg_jax.study import Study

# A hole that is less of what it lies in is no cavity, but a fault of the mask.
_LEAST_CAVITY = 0.02
# Myocardium without a hole that fills less of its convex hull is an open ring.
_LEAST_SOLID = 0.75


class Shape(enum.Enum):
    """What a slice's myocardium is, in the words of messages."""

    NONE = "no myocardium"
    RING = "a ring around the cavity"
    SOLID = "without a cavity"
    OPEN = "not closed around the cavity"


@dataclasses.dataclass(frozen=True, eq=False)
class Wall:
    """The wall in one slice.

    Attributes:
      shape: What it is; of all others than a ring, `inner` is empty.
      myocardium: (Y, X) bool, as given.
      inner: (Y, X) bool, what the endocardial border encloses, papillaries included.
      outer: (Y, X) bool, what the epicardial border encloses.
      pixel_mm: Spacing (y, x).
      centre_px: (y, x), the centre of `outer`; NaN where there is nothing.
    """

    shape: Shape
    myocardium: np.ndarray
    inner: np.ndarray
    outer: np.ndarray
    pixel_mm: tuple[float, float]
    centre_px: tuple[float, float]

    def angle_deg(self, y: np.ndarray | float, x: np.ndarray | float) -> np.ndarray:
        """Returns angles about the centre, of [0, 360), from indices of rows and columns.

        Counter-clockwise from the picture's right edge, as the picture is seen.
        """
        up = (self.centre_px[0] - np.asarray(y)) * self.pixel_mm[0]
        right = (np.asarray(x) - self.centre_px[1]) * self.pixel_mm[1]
        return np.degrees(np.arctan2(up, right)) % 360


def walls_of(study: Study) -> tuple[Wall, ...]:
    """Returns the wall of each slice, base to apex.

    Where the cavity was drawn, its border is the endocardium; otherwise that of the
    greatest hole in the myocardium is.

    Raises:
      InputError: If the study has no myocardium.
    """
    if study.myocardium is None:
        raise InputError(
            f"patient {study.patient}: no myocardium; expected its mask: draw it or give"
            " the file that has it"
        )
    pixel_mm = study.spacing_mm[1:]
    cavity = study.cavity
    return tuple(
        wall_of(mask, None if cavity is None else cavity[z], pixel_mm)
        for z, mask in enumerate(study.myocardium)
    )


def wall_of(
    myocardium: np.ndarray, cavity: np.ndarray | None, pixel_mm: tuple[float, float]
) -> Wall:
    """Returns the wall of a slice.

    Args:
      myocardium: (Y, X) bool.
      cavity: (Y, X) bool; None where it was not drawn.
      pixel_mm: Spacing (y, x).
    """
    hole = _largest(_filled(myocardium) & ~myocardium)
    outer = _around(myocardium, hole)
    shape = _shape(myocardium, cavity, hole, outer)
    if shape is Shape.RING:
        inner = _filled(hole if cavity is None else _largest(cavity & outer))
    else:
        inner = np.zeros_like(outer)
    y, x = np.nonzero(outer)
    centre = (float(y.mean()), float(x.mean())) if y.size else (np.nan, np.nan)
    return Wall(shape, myocardium, inner, outer, pixel_mm, centre)


def _shape(
    myocardium: np.ndarray,
    cavity: np.ndarray | None,
    hole: np.ndarray,
    outer: np.ndarray,
) -> Shape:
    if not myocardium.any():
        return Shape.NONE
    if cavity is not None:
        if not cavity.any():
            return Shape.SOLID
        enclosed = (cavity & outer).sum() > cavity.sum() / 2
        return Shape.RING if hole.any() and enclosed else Shape.OPEN
    if hole.sum() > _LEAST_CAVITY * outer.sum():
        return Shape.RING
    filled = outer.sum() / convex_hull_image(outer).sum()
    return Shape.SOLID if filled > _LEAST_SOLID else Shape.OPEN


def _around(myocardium: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Returns the filled part of the myocardium about the hole, else its largest."""
    labels = _parts(_filled(myocardium))
    if hole.any():
        return labels == labels[hole][0]
    return _largest(labels > 0)


def _parts(mask: np.ndarray) -> np.ndarray:
    """Returns 0 outside of a mask, and inside from 1 the number of a pixel's part."""
    return np.asarray(label(mask, connectivity=2))


def _filled(mask: np.ndarray) -> np.ndarray:
    # What is not joined to the rim; SciPy's own way to fill holes takes ten times as long.
    outside = np.asarray(label(~np.pad(mask, 1), connectivity=1))
    return outside[1:-1, 1:-1] != outside[0, 0]


def _largest(mask: np.ndarray) -> np.ndarray:
    """Returns the largest part of a mask whose pixels touch."""
    labels = _parts(mask)
    sizes = np.bincount(labels.ravel())[1:]
    return labels == 1 + sizes.argmax() if sizes.size else mask
