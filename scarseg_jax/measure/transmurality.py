"""How deep the scar reaches, by the centre-line method.

Chords stand on the line midway between the endocardial and the epicardial border, at
equal distances along it, and perpendicular to it (Sheehan et al. 1986,
doi:10.1161/01.CIR.74.2.293, unverified, for two contours of the endocardium; here the
two borders of the wall). A chord's transmurality is the share of its length that is
scar, no-reflow included. That is a share of lines: of areas it is another, as the outer
half of a wall is larger than the inner.
"""

import dataclasses
import weakref
from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from skimage.measure import find_contours

from scarseg_jax.measure.mass import percent
from scarseg_jax.measure.walls import Shape, Wall

CHORDS = 100  # a slice
_STEP_PX = 0.25  # along a chord
_LEAST_PX = 2.0  # a shorter chord tells nothing of depth
_FINE = 8  # points of the midline for each chord
_SMOOTH_PX = 2.0  # SD along the midline, which follows pixels


@dataclasses.dataclass(frozen=True, eq=False)
class Chords:
    """Chords of one slice or more, n in all.

    Attributes:
      slice: (n,) int.
      angle_deg: (n,) float64 of their midpoints, `Wall.angle_deg`.
      length_mm: (n,) float64, of the wall.
      width_mm: (n,) float64, the piece of the midline that each stands for.
      scar: (n,) float64, the share of the length that is scar.
    """

    slice: np.ndarray
    angle_deg: np.ndarray
    length_mm: np.ndarray
    width_mm: np.ndarray
    scar: np.ndarray


def chords_of(walls: Sequence[Wall], scar: np.ndarray) -> Chords:
    """Returns the chords of all slices whose wall is a ring.

    `CHORDS` a slice, but for those shorter than 2 pixels and those that leave the wall
    at no border.

    Args:
      walls: Of each slice.
      scar: (Z, Y, X) bool, no-reflow included; outside the walls it does not count.
    """
    none = np.zeros((0, 5))
    rings = [z for z, wall in enumerate(walls) if wall.shape is Shape.RING]
    rows = [np.insert(_chords(walls[z], scar[z]), 0, z, axis=1) for z in rings]
    table = np.concatenate([none, *rows])
    return Chords(table[:, 0].astype(int), *table[:, 1:].T)


def depth_percent(
    scar: np.ndarray, weight: np.ndarray
) -> tuple[float | None, float | None]:
    """Returns the mean transmurality of all chords, and of those with scar.

    Args:
      scar: (n,) float64 shares.
      weight: (n,) float64, how much of the heart each chord stands for.
    """
    deep, scarred = (float((weight * of).sum()) for of in (scar, scar > 0))
    return percent(deep, float(weight.sum())), percent(deep, scarred)


def _chords(wall: Wall, scar: np.ndarray) -> np.ndarray:
    """Returns a ring's chords, (n, 4): angle, length, width, share of scar."""
    if (lines := _LINES.get(wall)) is None:
        lines = _LINES[wall] = _lines(wall)
    share = np.zeros(len(lines.chords))
    if share.size:
        scarred = np.pad(scar[lines.cut], 3) * lines.tissue
        # Half of the wall, and not of the pixel, which reaches across the borders.
        reached = _at(scarred, lines.at, np.array(wall.pixel_mm)) > lines.half
        share = reached.mean(axis=1)
    return np.column_stack([lines.chords, share])


@dataclasses.dataclass(frozen=True, eq=False)
class _Lines:
    """What a ring's chords are, whatever is scar.

    Attributes:
      chords: (n, 3): angle, length, width.
      cut: The ring's place in the slice; `tissue` has 3 pixels around it.
      tissue: 1 in the wall, else 0.
      at: (n, parts, 2) places along the chords, mm from the corner of `tissue`.
      half: (n, parts) half of the tissue there.
    """

    chords: np.ndarray
    cut: tuple[slice, slice]
    tissue: np.ndarray
    at: np.ndarray
    half: np.ndarray


# Of walls as long as they are there: one wall may be asked about many scars.
_LINES: weakref.WeakKeyDictionary[Wall, _Lines] = weakref.WeakKeyDictionary()


def _lines(wall: Wall) -> _Lines:
    pixel = np.array(wall.pixel_mm)
    rows, columns = (np.flatnonzero(wall.outer.any(axis=axis)) for axis in (1, 0))
    corner = np.array([rows[0], columns[0]])
    cut = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    inner, outer = (np.pad(m[cut], 3).astype(float) for m in (wall.inner, wall.outer))
    inner_mm, outer_mm = (
        np.asarray(ndimage.distance_transform_edt(mask, sampling=wall.pixel_mm))
        for mask in (inner == 0, outer)
    )
    points, normals, width = _midline(inner_mm - outer_mm, pixel)
    step = _STEP_PX * pixel.min()
    reach = np.arange(0, 2 * (inner_mm * outer).max() + 2 * step, step)
    to_inner = _crossing(inner, points, -normals, reach, pixel)
    to_outer = _crossing(1 - outer, points, normals, reach, pixel)
    length = to_inner + to_outer
    kept = length >= _LEAST_PX * np.sqrt(pixel.prod())  # of NaN, not
    points, normals = points[kept], normals[kept]
    to_inner, length = to_inner[kept], length[kept]
    parts = int(np.ceil(length.max() / step)) if kept.any() else 0
    depth = (np.arange(parts) + 0.5) / parts * length[:, None] - to_inner[:, None]
    at = points[:, None] + depth[..., None] * normals[:, None]
    tissue = outer * (1 - inner)
    y, x = (points / pixel).T + corner[:, None] - 3
    chords = [wall.angle_deg(y, x), length, np.full(length.shape, width)]
    half = _at(tissue, at, pixel) / 2
    return _Lines(np.stack(chords, axis=1), cut, tissue, at, half)


def _midline(
    between_mm: np.ndarray, pixel: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns points, mm, on the longest line where this is 0, normals, and their step.

    Args:
      between_mm: (Y, X), negative inside.
      pixel: (y, x) spacing.
    """
    line = max(find_contours(between_mm, 0), key=len) * pixel
    lengths = np.hypot(*np.diff(line, axis=0).T)
    along = np.append(0, np.cumsum(lengths))
    even = np.linspace(0, along[-1], _FINE * CHORDS, endpoint=False)
    fine = np.stack([np.interp(even, along, line[:, axis]) for axis in (0, 1)], axis=1)
    width = _SMOOTH_PX * pixel.max() / even[1]
    smooth = np.asarray(ndimage.gaussian_filter1d(fine, width, axis=0, mode="wrap"))
    tangent = np.roll(smooth, -1, axis=0) - np.roll(smooth, 1, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    step = float(np.hypot(*(np.roll(smooth, -1, axis=0) - smooth).T).sum() / CHORDS)
    y, x = (smooth - smooth.mean(axis=0)).T
    clockwise = np.sum(y * np.roll(x, -1) - x * np.roll(y, -1)) > 0
    outwards = normal if not clockwise else -normal
    return smooth[::_FINE], outwards[::_FINE], step


def _crossing(
    mask: np.ndarray,
    points: np.ndarray,
    ways: np.ndarray,
    reach: np.ndarray,
    pixel: np.ndarray,
) -> np.ndarray:
    """Returns (n,) mm from points to where a mask is first one half; NaN where never."""
    value = _at(mask, points[:, None] + reach[:, None] * ways[:, None], pixel)
    index = (value >= 0.5).argmax(axis=1)
    row = np.arange(len(points))
    after, before = value[row, index], value[row, np.maximum(index - 1, 0)]
    rise = np.where(after > before, after - before, 1)
    crossing = reach[index] - (reach[1] * (after - 0.5) / rise) * (index > 0)
    return np.where(after >= 0.5, crossing, np.nan)


def _at(mask: np.ndarray, points: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    """Returns a mask's values, linearly interpolated, at (..., 2) places in mm."""
    places = np.moveaxis(points / pixel, -1, 0)
    return np.asarray(ndimage.map_coordinates(mask, places, order=1, mode="nearest"))
