"""Masks to NIfTI, on the grid of the image they were found in."""

from collections.abc import Mapping
from pathlib import Path

import nibabel
import numpy as np
from nibabel.nifti1 import Nifti1Extension

from scarseg_jax import files
from scarseg_jax.errors import InputError
from scarseg_jax.study import Geometry, Stored

_SAME_STEP = 1e-3  # of the slice distance: more is an uneven stack


def write_mask(
    path: Path,
    mask: np.ndarray,
    geometry: Geometry,
    names: Mapping[int, str] | None = None,
) -> None:
    """Writes a (Z, Y, X) mask or its labels as uint8, as the image's file is stored.

    The header is new, so nothing about the patient gets into it.

    Args:
      path: Named .nii or .nii.gz.
      mask: The voxels.
      geometry: Where they are.
      names: Of labels, if it has several: a line for each in the header's comment.

    Raises:
      InputError: If the folder cannot be written to, or the slices are not parallel
        and evenly spaced, which the one affine of NIfTI cannot say.
    """
    _write(path, mask.astype(np.uint8), geometry, names)


def write_values(path: Path, values: np.ndarray, geometry: Geometry) -> None:
    """Writes (Z, Y, X) numbers as float32; all else as `write_mask`."""
    _write(path, values.astype(np.float32), geometry, None)


def _write(
    path: Path,
    volume: np.ndarray,
    geometry: Geometry,
    names: Mapping[int, str] | None,
) -> None:
    stored = geometry.stored or _stored(path, geometry, volume.shape)
    image = nibabel.Nifti1Image(stored.from_zyx(volume), stored.affine)
    image.header.set_xyzt_units("mm")
    # Files whose affine lacks the spacing keep theirs where it was: in pixdim.
    image.header["pixdim"][1:4] = stored.spacing_mm
    if names:
        image.header.set_intent("label")
        text = "".join(f"{label} {name}\n" for label, name in sorted(names.items()))
        comment = Nifti1Extension("comment", text.encode())
        image.header.extensions.append(comment)
    suffix = ".nii.gz" if path.name.endswith(".gz") else ".nii"
    try:
        with files.replaced(path, suffix) as partial:
            image.to_filename(partial)
    except (
        *(FileNotFoundError, PermissionError),
        *(IsADirectoryError, NotADirectoryError),
    ) as error:
        raise InputError(
            f"{path}: cannot write ({error.strerror}); choose a folder that exists and"
            " that you may write to"
        ) from error


def check_grid(path: Path, geometry: Geometry, shape: tuple[int, ...]) -> None:
    """Checks that a mask of a (Z, Y, X) shape could be written, before it is made.

    Raises:
      InputError: As `write_mask`.
    """
    if geometry.stored is None:
        _stored(path, geometry, shape)


def _stored(path: Path, geometry: Geometry, shape: tuple[int, ...]) -> Stored:
    """Returns (x, y, z) storage of a stack that was not read from one array."""
    slices, height, width = shape
    affine = geometry.affines[0].copy()
    if slices > 1:
        step = (geometry.affines[-1] - affine)[:3, 3] / (slices - 1)
        affine[:3, 2] = step
        # A tilt shows at the corners of the slices, a shift at all of them.
        right, down = width - 1, height - 1
        corners = np.array([(0, right, 0, right), (0, 0, down, down), [0] * 4, [1] * 4])
        places = (geometry.affines @ corners)[:, :3]
        even = places[0] + np.arange(slices)[:, None, None] * step[:, None]
        odd = np.linalg.norm(places - even, axis=1).max()
        if odd >= _SAME_STEP * np.linalg.norm(step):
            raise InputError(
                f"{path}: the slices are not parallel and evenly spaced (off by"
                f" {odd:.3g} mm), which NIfTI cannot say; leave out the slices that are"
                " not, or resample the image"
            )
    # Not the header's, which need not be the distance of the slices.
    x, y, z = (float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))
    return Stored((width, height, slices), affine, (x, y, z), (2, 1, 0))
