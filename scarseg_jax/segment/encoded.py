"""Superpixels of the drawn myocardium, told apart by a network of what lies around them.

SLIC's superpixels, each described by a patch around its middle, from which a stacked
sparse auto-encoder (`learn.autoencoder`) tells whether it is scar: after J. Yang et al.
(MIUA 2017, of the left atrium's wall (unverified)), whose layers are not published.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import ndimage, special

from scarseg_jax.learn.autoencoder import Layer
from scarseg_jax.segment import regions, within

SIDE = 16  # points of a patch's side
STEP_MM = 1.5  # between them
_FARTHEST_SD = 3.0  # from the myocardium's mean; what lies beyond is as far


@dataclasses.dataclass(frozen=True, eq=False)
class Superpixels:
    """Those of some slices.

    Attributes:
      number: (n, H, W) int32 of each pixel's, from 0 through all slices; -1: none.
      patches: (s, SIDE * SIDE) float32 in 0..1, around each.
    """

    number: np.ndarray
    patches: np.ndarray


def find_superpixels(
    image: np.ndarray, myocardium: np.ndarray, spacing_mm: np.ndarray
) -> Superpixels:
    """Returns the superpixels of slices; of a myocardium of one intensity there is none.

    Args:
      image: (n, H, W) float32 intensities.
      myocardium: (n, H, W) bool.
      spacing_mm: (n, 2) pixel spacing (y, x) of each slice.
    """
    number = np.full(myocardium.shape, -1, np.int32)
    patches = [np.zeros((0, SIDE * SIDE), np.float32)]
    count = 0
    for own, pixels, wall, spacing in zip(
        number, image, myocardium, np.asarray(spacing_mm, np.float64), strict=True
    ):
        y, x = spacing.tolist()
        scores = within.score(
            pixels, wall, lambda values, cut, yx=(y, x): regions.parts(values, cut, yx)
        )
        found = np.isfinite(scores)
        if found.any():
            _, labels = np.unique(scores[found], return_inverse=True)
            own[found] = labels + count
            patches.append(_patches(pixels, found, labels, spacing))
            count += len(patches[-1])
    return Superpixels(number, np.concatenate(patches))


def _patches(
    image: np.ndarray, wall: np.ndarray, labels: np.ndarray, spacing_mm: np.ndarray
) -> np.ndarray:
    """Returns the (s, SIDE * SIDE) patches around a slice's superpixels.

    Args:
      image: (H, W).
      wall: (H, W) bool, of k pixels.
      labels: (k,) int of each, 0 to s - 1.
      spacing_mm: (y, x).
    """
    size = np.bincount(labels)
    middle = [np.bincount(labels, axis) / size for axis in np.nonzero(wall)]
    offset_mm = (np.arange(SIDE) - (SIDE - 1) / 2) * STEP_MM
    rows, columns = (
        own[:, None] + offset_mm / mm
        for own, mm in zip(middle, spacing_mm, strict=True)
    )
    where = np.broadcast_arrays(rows[:, :, None], columns[:, None, :])
    mean, sd = image[wall].mean(), image[wall].std()
    z = (ndimage.map_coordinates(image, where, order=1, mode="nearest") - mean) / sd
    farthest = _FARTHEST_SD
    unit = (z.clip(-farthest, farthest) + farthest) / (2 * farthest)
    return unit.reshape(len(size), -1).astype(np.float32)


def scar_share(superpixels: Superpixels, scar: np.ndarray) -> np.ndarray:
    """Returns the (s,) share of each superpixel that is (n, H, W) bool scar."""
    inside = superpixels.number >= 0
    number, count = superpixels.number[inside], len(superpixels.patches)
    size = np.bincount(number, minlength=count)
    return np.bincount(number, scar[inside], minlength=count) / size


def score(superpixels: Superpixels, layers: Sequence[Layer]) -> np.ndarray:
    """Returns the (n, H, W) float32 probability of scar; -inf where no superpixel is."""
    said = superpixels.patches
    for kernel, bias in layers:
        said = special.expit(said @ kernel + bias)
    with_none = np.append(said[:, 0], -np.inf)  # which the number -1 takes
    return with_none[superpixels.number].astype(np.float32)
