"""Where the voxels of a NIfTI file lie in the patient."""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.readers import header, orientation
from scarseg_jax.study import Geometry, Stored

_log = logging.getLogger(__name__)
_MAX_EXTENT_MM = 5000.0  # longer than any patient
_SAME_GRID = 0.05  # of the smallest spacing, at the corners; other tools round
_DIGITS = 8  # of a spacing: what a file in single precision can mean


def find(
    path: Path, image: Any, kept: Any, *, spacing_from: str, slice_axis: int
) -> Geometry:
    """Returns where a file's slices are, and how it keeps them.

    Args:
      path: The file, for messages.
      image: Of nibabel.
      kept: The file's header, from `header.open_checked`.
      spacing_from: As in `nifti.read_volume`.
      slice_axis: As in `nifti.read_volume`.

    Raises:
      InputError: If the affine or the spacing are not those of a stack, or the slice
        axis is not clear.
    """
    shape = header.stack_shape(kept)
    unit_mm = header.mm_per_unit(path, kept)
    affine = _affine(path, image, shape, unit_mm)
    spacing_mm = _spacing_mm(path, kept, affine, spacing_from, unit_mm)
    _check_extent(path, shape, spacing_mm, spacing_from)
    axis, shown = orientation.find_slice_axis(path, shape, spacing_mm, slice_axis)
    if not shown:
        _log.warning(
            "%s: slices along axis %d as asked, though voxels of %s mm show another",
            *(path, axis, orientation.listed(spacing_mm)),
        )
    coded = kept["sform_code"] > 0 or kept["qform_code"] > 0
    said = affine if coded else np.diag([*spacing_mm, 1.0])
    said = orientation.in_patient(said, shape)
    columns = said[:3, :3]
    order, flipped = orientation.orient(columns, axis)
    first, second, third = shape
    stored = Stored((first, second, third), affine, spacing_mm, order, flipped)
    steps = columns / np.linalg.norm(columns, axis=0) * spacing_mm
    return _geometry(stored, said[:3, 3], steps)


def check_same_grid(
    path: Path | str,
    geometry: Geometry,
    other_path: Path,
    other: Geometry,
    *,
    plane: tuple[int, int] | None = None,
) -> None:
    """Checks that two files' voxels lie in the same places, however they are stored.

    Args:
      path: The first file, or what it is called, for messages.
      geometry: Its.
      other_path: The second file.
      other: Its.
      plane: (Y, X) of the first's slices, where it is not stored as one array.

    Raises:
      InputError: If their numbers differ, or the corners of the stacks lie apart by
        more than a twentieth of a voxel.
    """
    ours, theirs = _shape(geometry, plane), _shape(other)
    if ours != theirs:
        raise InputError(
            f"{other_path}: {_stack(theirs)}, but {path} has {_stack(ours)}; resample"
            " the mask onto the image's grid"
        )
    apart_mm = _apart(_corners(geometry, ours), _corners(other, theirs))
    allowed_mm = _SAME_GRID * min(geometry.spacing_mm)
    if apart_mm > allowed_mm:
        raise InputError(
            f"{other_path}: its grid lies up to {apart_mm:.3g} mm from that of {path};"
            f" expected {allowed_mm:.2g} mm at most: resample the mask onto the image's"
            " grid"
        )


def _affine(path: Path, image, shape: tuple[int, ...], unit_mm: float) -> np.ndarray:
    """Returns the (4, 4) float64 affine to mm."""
    sform, qform = (f(coded=True)[0] for f in (image.get_sform, image.get_qform))
    affine = np.array(image.affine, np.float64)
    affine[:3] *= unit_mm
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputError(
            f"{path}: the affine is singular; expected three independent axes: mend"
            " sform and qform"
        )
    if sform is not None and qform is not None:
        ours, theirs = (
            orientation.corners(one, shape) * unit_mm for one in (sform, qform)
        )
        allowed_mm = _SAME_GRID * np.linalg.norm(affine[:3, :3], axis=0).min()
        if not _apart(ours, theirs) <= allowed_mm:
            _log.warning("%s: sform and qform disagree; the sform is taken", path)
    return affine


def _spacing_mm(
    path: Path, kept, affine: np.ndarray, spacing_from: str, unit_mm: float
) -> tuple[float, float, float]:
    """Returns the spacing along the stored axes."""
    sizes = kept["pixdim"][1:4]
    if not (np.isfinite(sizes) & (sizes != 0)).all():
        raise InputError(
            f"{path}: voxel sizes {tuple(map(float, sizes))} mm in the header; expected"
            " positive ones: mend pixdim"
        )
    pixdim = [abs(float(size)) * unit_mm for size in sizes]
    lengths = pixdim
    if spacing_from == "affine":
        lengths = [math.hypot(*column) for column in affine[:3, :3].T]
        if not np.allclose(lengths, pixdim, rtol=0.01):
            _log.warning(
                "%s: voxels are %s mm by the affine, which is taken, but %s mm by"
                " pixdim; if that is right, mend the affine (or predict with"
                " --spacing=pixdim)",
                path,
                orientation.listed(tuple(lengths)),
                orientation.listed(tuple(pixdim)),
            )
    i, j, k = (float(f"{length:.{_DIGITS}g}") for length in lengths)
    return i, j, k


def _check_extent(
    path: Path,
    shape: tuple[int, ...],
    spacing_mm: tuple[float, ...],
    spacing_from: str,
) -> None:
    extent_mm = max(n * s for n, s in zip(shape, spacing_mm, strict=True))
    if extent_mm > _MAX_EXTENT_MM:
        raise InputError(
            f"{path}: the stack is {extent_mm:g} mm long by its {spacing_from}; expected"
            " less than a patient: mend the header"
        )


def _geometry(stored: Stored, corner: np.ndarray, steps: np.ndarray) -> Geometry:
    """Returns where the slices of a stored array are.

    Args:
      stored: The array.
      corner: (3,) the place of its first voxel.
      steps: (3, 3) a column for the way along each stored axis.
    """
    z, y, x = stored.order
    for axis, flipped in zip(stored.order, stored.flipped, strict=True):
        if flipped:
            corner = corner + (stored.shape[axis] - 1) * steps[:, axis]
            steps = np.where(np.arange(3) == axis, -steps, steps)
    affines = np.tile(np.eye(4), (stored.shape[z], 1, 1))
    affines[:, :3, :3] = steps[:, (x, y, z)]
    affines[:, :3, 3] = corner + np.arange(len(affines))[:, None] * steps[:, z]
    spacing_mm = stored.spacing_mm
    return Geometry(affines, (spacing_mm[z], spacing_mm[y], spacing_mm[x]), stored)


def _shape(geometry: Geometry, plane: tuple[int, int] | None = None) -> tuple[int, ...]:
    """Returns (Z, Y, X) of a stack."""
    if geometry.stored is None:
        assert plane is not None
        return (len(geometry.affines), *plane)
    return tuple(geometry.stored.shape[axis] for axis in geometry.stored.order)


def _stack(shape: tuple[int, ...]) -> str:
    slices, rows, columns = shape
    return f"{slices} slices of {rows} x {columns} pixels"


def _apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.linalg.norm(ours - theirs, axis=1).max())


def _corners(geometry: Geometry, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the (4 Z, 3) places in mm of the voxels at the slices' corners."""
    flat = (*shape[:0:-1], 1)
    return np.concatenate([orientation.corners(a, flat)[::2] for a in geometry.affines])
