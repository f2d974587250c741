"""Finds the left ventricle by the circle Hough transform, from the image alone.

The paper (section 3) takes the LV's centre and diameter from a circle Hough transform
of each slice. Slice by slice that finds any round thing. Here edges vote along their
gradient for pairs of concentric circles, the blood pool's border and the wall's outer
border, and the slices of a stack vote together before each is looked at alone.
"""

import dataclasses
import functools

import numpy as np
from scipy import ndimage, sparse

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
    small = _resized(_scaled(image), factors)
    middle = _middle(small)
    reach = int(_SEARCH * CENTRE_PRIOR_MM / WORKING_PIXEL_MM)
    corner = np.rint(middle).astype(int) - reach
    edges = zip(*_edges(small), strict=True)
    circles = [_votes(*edge, corner, 2 * reach + 1) for edge in edges]
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


@functools.lru_cache(maxsize=16)
def _blur(length: int, deviation: float):
    """Returns the (length, length) float32 sparse matrix of a blur, in pixels."""
    identity = np.eye(length, dtype=np.float32)
    return sparse.csr_array(ndimage.gaussian_filter(identity, (deviation, 0)))


def _multiplied(rows, images: np.ndarray, columns) -> np.ndarray:
    """Returns rows @ image @ columns.T of each of (N, y, x) images, sparse matrices.

    Several times faster than filters. Dense products are no slower on an idle machine,
    but take ten times as long on a busy one: their threads wait for each other.
    """
    for matrix in (rows, columns):  # each turns the images, two turn them back
        count, _, width = images.shape
        flat = images.swapaxes(0, 1).reshape(-1, count * width)
        images = (matrix @ flat).reshape(-1, count, width).transpose(1, 2, 0)
    return images


def _blurred(images: np.ndarray, deviation_mm: float) -> np.ndarray:
    """Returns (N, y, x) images of the working grid blurred, float32."""
    deviation = deviation_mm / WORKING_PIXEL_MM
    rows, columns = (_blur(length, deviation) for length in images.shape[1:])
    return _multiplied(rows, images, columns)


def _scaled(image: np.ndarray) -> np.ndarray:
    """Returns the stack from 0 to between 1/2 and 1, float32.

    By a power of two, which rounds nothing; squares of very small or large intensities
    would leave float32's range. From 0, so that what is blank stays blank.
    """
    span = float(image.max()) - float(image.min())
    above = image.astype(np.float64) - float(image.min())
    return np.ldexp(above, -np.frexp(span)[1]).astype(np.float32)


def _resized(image: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Returns the stack, which is 0 where it is blank, on the working grid, float32."""
    matrices = []
    for length, factor in zip(image.shape[1:], factors, strict=True):
        count = max(round(length * factor), 1)
        at = np.clip((np.arange(count) + 0.5) / factor - 0.5, 0, length - 1)
        linear = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(length)))
        blur = _blur(length, max(0, 0.5 / factor - 0.5))
        matrices.append(sparse.csr_array(linear.astype(np.float32)) @ blur)
    rows, columns = matrices
    return _multiplied(rows, image, columns)


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


def _edges(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the gradient's direction, (Z, 2, y, x), and its weight, (Z, y, x)."""
    smooth = _blurred(stack, _EDGE_SCALE_MM)
    difference = [-0.5, 0.0, 0.5]
    gradient = [ndimage.correlate1d(smooth, difference, axis) for axis in (1, 2)]
    strength = np.hypot(*gradient)
    local = np.sqrt(_blurred(strength**2, _CONTRAST_SCALE_MM))
    least = np.finfo(np.float32).tiny
    faint = 0.05 * strength.max(axis=(1, 2), keepdims=True) + least
    direction = np.stack(gradient, axis=1) / (strength + least)[:, None]
    return direction, np.minimum(strength / (local + faint), 2)


def _votes(direction: np.ndarray, weight: np.ndarray, corner: np.ndarray, size: int):
    """Returns how well circles of each radius fit each centre, (size, size) arrays.

    The blood pool is brighter than the wall: votes for its border go up the gradient.
    What lies around the wall may be brighter (fat, right ventricle) or darker (lung).

    Takes a slice of `_edges` and the first centre, (y, x). Returns the votes for the
    inner and for the outer circle of a pair, by radius in mm.
    """
    # A negative radius goes down the gradient. float32 is faster, and exact for cells.
    radii_mm = np.array([*_INNER_MM, *(-r for r in _OUTER_MM)], np.float32)[:, None]
    radii = radii_mm / WORKING_PIXEL_MM
    place = np.argwhere(weight > 0.5).T - corner[:, None]
    reach = radii.max()
    place = place[:, ((place >= -reach) & (place < size + reach)).all(axis=0)]
    edge = tuple(place + corner[:, None])
    (dy, dx), weight = direction[:, *edge], weight[edge]
    y, x = place.astype(np.float32)
    y, x = np.rint(y + radii * dy), np.rint(x + radii * dx)
    inside = (y >= 0) & (y < size) & (x >= 0) & (x < size)
    y += size * np.arange(len(radii), dtype=np.float32)[:, None]
    cell = (y * size + x)[inside].astype(int)
    cast = np.broadcast_to(weight, inside.shape)[inside]
    votes = np.bincount(cell, cast, len(radii) * size**2)
    votes = votes.reshape(-1, size, size).astype(np.float32)
    # Between no weighting, which favours large circles, and by circumference,
    # which favours small ones.
    votes = _blurred(votes, _VOTE_BLUR_MM) / np.sqrt(np.abs(radii_mm))[:, None]
    up = dict(zip(_INNER_MM, votes, strict=False))
    down = zip(_OUTER_MM, votes[len(up) :], strict=True)
    return up, {radius: np.maximum(up[radius], vote) for radius, vote in down}
