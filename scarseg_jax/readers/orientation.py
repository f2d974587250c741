"""Which stored axes become z, y and x, so that all patients lie alike.

Told by where the voxels lie in the patient alone: however a file keeps a patient, it
gives the same arrays. Slices run from base to apex and are seen from the apex, as
readers see them: columns run to the patient's left, rows to the back or the feet.
"""

import math
from pathlib import Path

import numpy as np

from scarseg_jax.errors import InputError

FIND = -1  # the slice axis, from spacing and shape

# NIfTI's axes of space run to the right, to the front, to the head.
_LEFT, _BACK, _FEET = np.diag([-1.0, -1.0, -1.0])
# Of the left ventricle, from base to apex: leftwards, forwards and down.
_APEX = (_LEFT - _BACK + _FEET) / math.sqrt(3)
_CLEARLY = 1.5  # times as thick as the next is a slice's axis
_SMALL = 1e-3  # of a direction: what rounding leaves of none
# Arrays written without any geometry get an affine without rotation that begins at the
# origin; no scanner's does. Their axes are a picture's: to the left, the back, the head.
_MADE_UP = np.diag([-1.0, -1.0, 1.0, 1.0])
_AT_ORIGIN = 0.05  # voxels


def in_patient(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns an affine as it is, or, if it was made up, of a picture's axes."""
    columns = affine[:3, :3]
    steps = np.abs(columns).max(axis=0)
    parallel = (np.abs(columns) > _SMALL * steps).sum(axis=0).max() == 1
    first = corners(affine, shape).min(axis=0)
    if parallel and np.abs(first).max() < _AT_ORIGIN * steps.min():
        return _MADE_UP @ affine
    return affine


def corners(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the (8, 3) places in mm of the voxels at a stack's corners."""
    ends = np.indices((2, 2, 2)).reshape(3, 8).T * (np.array(shape) - 1)
    return ends @ affine[:3, :3].T + affine[:3, 3]


def find_slice_axis(
    path: Path,
    shape: tuple[int, ...],
    spacing_mm: tuple[float, ...],
    asked: int = FIND,
) -> tuple[int, bool]:
    """Returns the stored axis along which slices follow, and whether the file shows it.

    It is the only axis of one voxel, or the one that is clearly the thickest.

    Args:
      path: The file, for messages.
      shape: Of the stored array.
      spacing_mm: Along its axes.
      asked: The axis to take whatever the file shows, or `FIND`.

    Raises:
      InputError: If it is not clear and was not asked for.
    """
    single = [axis for axis in range(3) if shape[axis] == 1]
    *_, second, thickest = sorted(range(3), key=lambda axis: spacing_mm[axis])
    shown = None
    if len(single) == 1:
        shown = single[0]
    elif spacing_mm[thickest] >= _CLEARLY * spacing_mm[second]:
        shown = thickest
    if asked != FIND:
        return asked, shown in (None, asked)
    if shown is None:
        raise InputError(
            f"{path}: voxels of {listed(spacing_mm)} mm do not show which axis the"
            f" slices of {listed(shape)} voxels follow; say it with --slice_axis=0, 1 or"
            " 2 (predict) or --config.data.slice_axis"
        )
    return shown, True


def listed(lengths: tuple[float, ...]) -> str:
    """Returns lengths as text, such as 1.5 x 1.5 x 8."""
    return " x ".join(f"{length:g}" for length in lengths)


def orient(
    directions: np.ndarray, slice_axis: int
) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Returns the axes that become (z, y, x), and whether each is turned round.

    Of the axes of a slice, x is the one that runs more to the left or right, or of two
    that do alike the one that runs more to the front or back.

    Args:
      directions: (3, 3), a column for each stored axis, in NIfTI's axes of space.
      slice_axis: The axis that becomes z.
    """
    unit = directions / np.linalg.norm(directions, axis=0)
    in_plane = [axis for axis in range(3) if axis != slice_axis]
    y_axis, x_axis = sorted(in_plane, key=lambda axis: _leftness(unit[:, axis]))
    x = _turned(unit[:, x_axis], _LEFT, _BACK, _FEET)
    z = _turned(unit[:, slice_axis], _APEX, _FEET, -_BACK, _LEFT)
    y = unit[:, y_axis]
    if np.linalg.det([x, y, z]) > 0:  # seen from the base
        y = -y
    order = (slice_axis, y_axis, x_axis)
    pairs = zip((z, y, x), order, strict=True)
    back_z, back_y, back_x = (bool(way @ unit[:, axis] < 0) for way, axis in pairs)
    return order, (back_z, back_y, back_x)


def _turned(direction: np.ndarray, *wanted: np.ndarray) -> np.ndarray:
    """Returns a direction or its opposite: what runs along the first wanted it can."""
    parts = [float(direction @ way) for way in wanted]
    part = next(part for part in parts if abs(part) > _SMALL)
    return direction if part > 0 else -direction


def _leftness(direction: np.ndarray) -> tuple[float, ...]:
    """Returns what sorts directions by how far they run to the left or right."""
    towards = _turned(direction, _LEFT, _BACK, _FEET)
    left, back, feet = (float(towards @ way) for way in (_LEFT, _BACK, _FEET))
    # Two that share all lengths differ in their signs.
    return tuple(round(part, 3) for part in (left, abs(back), back, feet))
