"""Finds the left ventricle by the circle Hough transform, from the image alone.

The paper (section 3) takes the LV's centre and diameter from a circle Hough transform
of each slice. Slice by slice that finds any round thing. Here edges vote along their
gradient for pairs of concentric circles, the blood pool's border and the wall's outer
border, and the slices of a stack vote together before each is looked at alone.
"""

import dataclasses
import functools

import numpy as np
from scipy import ndimage

WORKING_PIXEL_MM = 2.0
# Radii of the blood pool and thicknesses of the wall that are looked for.
ENDOCARDIAL_RADII_MM = tuple(range(16, 37, 2))
WALLS_MM = tuple(range(6, 17, 2))
# A heart is scanned near the middle of the image: how far from it, one deviation.
CENTRE_PRIOR_MM = 25.0
# How far a slice's centre lies from the stack's (the long axis is a little oblique).
SLICE_PRIOR_MM = 6.0
_LEAST = np.finfo(np.float64).tiny ** 0.5  # a vote
_SEARCH = 2.5  # deviations of the centre prior
_EDGE_SCALE_MM = 2.0
_CONTRAST_SCALE_MM = 12.0  # edges count by how they stand out within this distance
_VOTE_BLUR_MM = 3.0  # hearts are not quite round
_PAIRS = tuple((r, r + wall) for r in ENDOCARDIAL_RADII_MM for wall in WALLS_MM)
_INNER_MM = sorted({r for pair in _PAIRS for r in pair})
_OUTER_MM = sorted({r for _, r in _PAIRS})


@dataclasses.dataclass(frozen=True, eq=False)
class LeftVentricle:
    """Where the left ventricle is in each slice.

    Attributes:
      centre_px: (Z, 2) float64, (y, x) in pixels of the slice.
      diameter_mm: (Z,) float64, of the wall's outer border; where that is faint, it
        can be the inner one's.
    """

    centre_px: np.ndarray
    diameter_mm: np.ndarray


def find_left_ventricle(
    image: np.ndarray, spacing_mm: tuple[float, float, float]
) -> LeftVentricle:
    """Returns the left ventricle's circle in each slice of a stack.

    Args:
      image: (Z, Y, X) intensities of any scale and offset.
      spacing_mm: Voxel spacing (z, y, x).
    """
    factors = np.array(spacing_mm[1:]) / WORKING_PIXEL_MM
    small = np.stack([_resized(slice_, factors) for slice_ in image])
    middle = _middle(small)
    reach = int(_SEARCH * CENTRE_PRIOR_MM / WORKING_PIXEL_MM)
    corner = np.rint(middle).astype(int) - reach
    circles = [_votes(s, corner, 2 * reach + 1) for s in small]
    # The least vote counts more than this; where there is none, the prior decides.
    votes = np.stack([_best_pair(*c) for c in circles]) + _LEAST
    grid = np.mgrid[: 2 * reach + 1, : 2 * reach + 1]

    together = votes.sum(axis=0) * _near(grid, middle - corner, CENTRE_PRIOR_MM)
    common = np.unravel_index(together.argmax(), together.shape)
    alone = votes * _near(grid, np.array(common), SLICE_PRIOR_MM)
    centres = np.array([np.unravel_index(v.argmax(), v.shape) for v in alone])
    radii_mm = [
        max(_PAIRS, key=lambda pair: inner[pair[0]][y, x] + outer[pair[1]][y, x])[1]
        for (inner, outer), (y, x) in zip(circles, centres, strict=True)
    ]
    return LeftVentricle(
        centre_px=(centres + corner + 0.5) / factors - 0.5,
        diameter_mm=2.0 * np.array(radii_mm),
    )


def _near(grid: np.ndarray, centre: np.ndarray, deviation_mm: float) -> np.ndarray:
    """Returns a Gaussian of the distance from the centre."""
    distance = (grid - centre[:, None, None]) * WORKING_PIXEL_MM / deviation_mm
    return np.exp(-0.5 * (distance**2).sum(axis=0))


def _resized(slice_: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Returns the slice on the working grid."""
    shape = np.maximum(np.rint(np.array(slice_.shape) * factors), 1).astype(int)
    blur = np.maximum(0, 0.5 / factors - 0.5)
    smooth = ndimage.gaussian_filter(slice_.astype(np.float32), blur)
    at = [(np.arange(n) + 0.5) / f - 0.5 for n, f in zip(shape, factors, strict=True)]
    grid = np.meshgrid(*at, indexing="ij")
    return ndimage.map_coordinates(smooth, grid, order=1, mode="nearest")


def _middle(stack: np.ndarray) -> np.ndarray:
    """Returns the middle of the part of a stack that is not blank border, (y, x)."""
    used = (stack > stack.min()).any(axis=0)
    spans = [np.flatnonzero(used.any(axis=1 - axis)) for axis in (0, 1)]
    if not used.any():
        spans = [np.arange(n) for n in used.shape]
    return np.array([(span[0] + span[-1]) / 2 for span in spans])


def _best_pair(inner: dict[int, np.ndarray], outer: dict[int, np.ndarray]):
    """Returns the votes for the pair of circles that fits each centre best."""
    pairs = (
        inner[radius]
        + functools.reduce(np.maximum, (outer[radius + wall] for wall in WALLS_MM))
        for radius in ENDOCARDIAL_RADII_MM
    )
    return functools.reduce(np.maximum, pairs)


def _votes(slice_: np.ndarray, corner: np.ndarray, size: int):
    """Returns how well circles of each radius fit each centre, (size, size) arrays.

    The blood pool is brighter than the wall: votes for its border go up the gradient.
    What lies around the wall may be brighter (fat, right ventricle) or darker (lung).

    Returns:
      The votes for the inner and for the outer circle of a pair, by radius in mm.
    """
    sigma = _EDGE_SCALE_MM / WORKING_PIXEL_MM
    smooth = ndimage.gaussian_filter(slice_, sigma)
    difference = [-0.5, 0.0, 0.5]
    gradient = np.stack(
        [ndimage.correlate1d(smooth, difference, axis) for axis in (0, 1)]
    )
    strength = np.hypot(*gradient)
    scale = _CONTRAST_SCALE_MM / WORKING_PIXEL_MM
    local = np.sqrt(ndimage.gaussian_filter(strength**2, scale))
    weight = strength / (local + 0.05 * strength.max() + np.finfo(np.float32).tiny)
    edge = np.nonzero(weight > 0.5)
    place = np.stack(edge) - corner[:, None]
    direction = gradient[:, *edge] / strength[edge]
    weight = np.minimum(weight[edge], 2)

    def circles(radii_mm: list[int], sign: int) -> dict[int, np.ndarray]:
        radii = np.array(radii_mm)[:, None, None]
        at = np.rint(place + sign * radii / WORKING_PIXEL_MM * direction).astype(int)
        inside = ((at >= 0) & (at < size)).all(axis=1)
        cell = np.arange(len(radii))[:, None] * size + at[:, 0]
        flat = (cell * size + at[:, 1])[inside]
        cast = np.broadcast_to(weight, inside.shape)[inside]
        votes = np.bincount(flat, cast, len(radii) * size**2)
        votes = votes.reshape(len(radii), size, size)
        blur = _VOTE_BLUR_MM / WORKING_PIXEL_MM
        blurred = ndimage.gaussian_filter(votes, (0, blur, blur))
        # Between no weighting, which favours large circles, and by circumference,
        # which favours small ones.
        return dict(zip(radii_mm, blurred / np.sqrt(radii), strict=True))

    up, down = circles(_INNER_MM, 1), circles(_OUTER_MM, -1)
    return up, {radius: np.maximum(up[radius], down[radius]) for radius in down}
