"""Where a user saw the right ventricle join the left, to a study's grid.

A point is given as a viewer shows it on the very file: (slice, row, column) of the image
as it is stored, from 0. So voxel (i, j, k) of a NIfTI file whose slices follow its last
axis is (k, j, i). Viewers of DICOM count images by their instance number, or by the frame
of an enhanced file, from 1: that is the slice's number there.
"""

from collections.abc import Sequence

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.readers.dicom import Stack
from scarseg_jax.study import Point, Stored

FLAGS = ("rv_insertion", "rv_inferior_insertion")  # anterior, inferior


def on_nifti(given: Sequence[Sequence[float]], stored: Stored) -> tuple[Point, ...]:
    """Returns points of a NIfTI file, where the study has them.

    Args:
      given: The anterior insertion and, if any, the inferior one, as above.
      stored: The file's array.

    Raises:
      InputError: If a point is none, or lies outside.
    """
    slice_axis = stored.order[0]
    column_axis, row_axis = (axis for axis in range(3) if axis != slice_axis)
    axes = (slice_axis, row_axis, column_axis)
    numbers = range(stored.shape[slice_axis])
    return _points(given, numbers, axes, stored.shape, stored.order, stored.flipped)


def on_dicom(given: Sequence[Sequence[float]], stack: Stack) -> tuple[Point, ...]:
    """Returns points of a DICOM series, where the study has them.

    Args:
      given: The anterior insertion and, if any, the inferior one, as above.
      stack: The series.

    Raises:
      InputError: If a point is none, or lies outside, or the images' numbers do not
        tell them apart.
    """
    if not given:
        return ()
    numbers = [
        image.fields.get("InstanceNumber") if image.frame is None else image.frame + 1
        for image in stack.images
    ]
    if len(set(numbers)) < len(numbers) or None in numbers:
        raise InputError(
            f"--{FLAGS[0]}: the {len(numbers)} images of {stack.name} have instance"
            " numbers that are lacking or alike, so that none tells a slice; expected"
            " different ones: export the series anew"
        )
    known = [int(number) for number in numbers if number is not None]
    return _points(
        given, known, (0, 1, 2), stack.stored_shape, stack.order, stack.flipped
    )


def _points(
    given: Sequence[Sequence[float]],
    numbers: Sequence[int],
    axes: tuple[int, int, int],
    shape: tuple[int, int, int],
    order: tuple[int, int, int],
    flipped: tuple[bool, bool, bool],
) -> tuple[Point, ...]:
    """Returns the points.

    Args:
      given: As above.
      numbers: Of the stored slices.
      axes: The stored axes of slices, rows and columns.
      shape: Of the stored array.
      order: The stored axes that become (z, y, x).
      flipped: Whether each of (z, y, x) runs against its stored axis.
    """
    points = []
    for flag, point in zip(FLAGS, given, strict=False):
        text = ",".join(f"{value:g}" for value in point)
        if len(point) != 3:
            raise InputError(
                f"--{flag}={text}: {len(point)} numbers; expected SLICE,ROW,COLUMN"
            )
        number, row, column = point
        rows, columns = shape[axes[1]], shape[axes[2]]
        inside = 0 <= row <= rows - 1 and 0 <= column <= columns - 1
        if number not in numbers or not inside:
            raise InputError(
                f"--{flag}={text}: not in the image; expected SLICE of {_range(numbers)},"
                f" ROW of 0 to {rows - 1} and COLUMN of 0 to {columns - 1}, as the file"
                " is stored"
            )
        at = np.zeros(3)
        at[list(axes)] = numbers.index(int(number)), row, column
        z, y, x = (
            shape[axis] - 1 - at[axis] if back else at[axis]
            for axis, back in zip(order, flipped, strict=True)
        )
        said = f"slice {number:g}, row {row:g}, column {column:g} of the file"
        points.append(Point(int(z), float(y), float(x), said))
    return tuple(points)


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    whole = high - low + 1 == len(numbers)
    return f"{low} to {high}" if whole else ", ".join(map(str, sorted(numbers)))
