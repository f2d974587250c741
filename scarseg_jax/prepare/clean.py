"""What no tissue gives is taken out of an image before anything is measured on it.

A spike, a block of padding or a damaged slice would set the scale of all the rest.
"""

from typing import Any

import numpy as np
from scipy import ndimage

from scarseg_jax.errors import InputError

# Percentiles that bound what most of the tissue of a slice gives.
_BOUNDS = (3, 97)
# How far beyond, in ranges between them, a value is wild. In 60 patients' images the
# brightest fat reaches 1.0. Scar that fills more than a speck may reach further where
# all else is nulled, so up to the second only specks are wild.
_REACH = 2.0
_FAR = 20.0
_SPECK_PX = 4
_DAMAGED_SHARE = 0.05  # of a slice with different wild values: that is no padding
_FLAT_SHARE = 0.05  # of a slice with one value: padding
_TOUCHING = np.ones((3, 3), bool)


def used_window(image: np.ndarray) -> tuple[slice, slice]:
    """Returns the rows and columns inside all borders, lines of one value each.

    Args:
      image: (Z, Y, X).
    """
    top, left = 0, 0
    bottom, right = image.shape[1:]
    while True:
        part = image[:, top:bottom, left:right]
        rows, columns = (
            np.flatnonzero(part.min(axis=axes) != part.max(axis=axes))
            for axes in ((0, 2), (0, 1))
        )
        window = slice(top, bottom), slice(left, right)
        if not rows.size or (len(rows), len(columns)) == part.shape[1:]:
            return window
        ends = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
        if ends == (0, 0, *part.shape[1:]):  # what is flat lies within
            return window
        top, bottom = top + int(rows[0]), top + int(rows[-1]) + 1
        left, right = left + int(columns[0]), left + int(columns[-1]) + 1


def clean(image: np.ndarray) -> np.ndarray:
    """Returns the image with tame values for wild ones; without any, the image itself.

    A wild speck becomes the median of what is tame around it, a block what lies next
    to it, and one that reaches the border the least there is: it is padding.

    Args:
      image: (Z, Y, X) float32, finite, without borders (`used_window`).

    Returns:
      (Z, Y, X) float32.

    Raises:
      InputError: If a slice is full of wild values: it is damaged.
    """
    low, high = np.median([_bounds(one) for one in image], axis=0)
    reach = high - low
    bright, dark = image > high + _REACH * reach, image < low - _REACH * reach
    wild = dark | (image > high + _FAR * reach)
    for z in np.flatnonzero(bright.any(axis=(1, 2))):
        wild[z] |= _parts(bright[z], _SPECK_PX)
    if not reach or not wild.any():
        return image
    for z in np.flatnonzero(wild.any(axis=(1, 2))):
        values, counts = np.unique(image[z][wild[z]], return_counts=True)
        if counts.sum() - counts.max() > _DAMAGED_SHARE * image[z].size:
            raise InputError(
                f"slice {z}: intensities from {values[0]:.3g} to {values[-1]:.3g}, where"
                f" tissue has {low:.3g} to {high:.3g}; leave the slice out or mend the"
                " file"
            )
    tamed = image.copy()
    for z in np.flatnonzero(wild.any(axis=(1, 2))):
        _mend(tamed[z], wild[z], least=image[~wild].min())
    return tamed


def _mend(image: np.ndarray, wild: np.ndarray, least: np.float32) -> None:
    """Puts tame values into a (Y, X) slice for its wild ones."""
    # One beyond the slice, so that all that touches its frame is one part.
    labels = np.zeros(np.array(wild.shape) + 2, np.int32)
    ndimage.label(np.pad(wild, 1, constant_values=True), _TOUCHING, output=labels)
    labels = labels[1:-1, 1:-1]
    border = wild & (labels == 1)  # the frame's label: it comes first
    tame = ~wild
    if tame.any():
        nearest: Any = ndimage.distance_transform_edt(
            wild, return_distances=False, return_indices=True
        )
        image[wild] = image[*nearest][wild]
    large = np.bincount(labels.ravel())[labels] > _SPECK_PX
    image[border & large] = least
    for y, x in np.argwhere(wild & ~large):
        around = slice(max(y - 2, 0), y + 3), slice(max(x - 2, 0), x + 3)
        near = image[around][tame[around]]
        if near.size:
            image[y, x] = np.median(near)


def _bounds(image: np.ndarray) -> np.ndarray:
    """Returns what bounds a (Y, X) slice's tissue, float64."""
    levels, counts = np.unique(image, return_counts=True)
    values = image.ravel().astype(np.float64)
    if _FLAT_SHARE * values.size < counts.max() < values.size:
        values = values[values != levels[counts.argmax()]]
    return np.percentile(values, _BOUNDS)


def _parts(mask: np.ndarray, most_px: int) -> np.ndarray:
    """Returns the parts of a (Y, X) mask of at most so many touching pixels."""
    labels = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, _TOUCHING, output=labels)
    return mask & (np.bincount(labels.ravel())[labels] <= most_px)
