"""NIfTI files to (Z, Y, X) arrays, trusting nothing in them."""

import enum
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from scarseg_jax.errors import InputError
from scarseg_jax.readers import header, places
from scarseg_jax.readers.orientation import FIND
from scarseg_jax.study import Geometry, Stored, Study

_LARGEST_LABEL = 2**31 - 1


def read_volume(
    path: Path, *, spacing_from: str = "affine", slice_axis: int = FIND
) -> tuple[np.ndarray, Geometry]:
    """Returns an image as a (Z, Y, X) float32 array, and where its voxels are.

    Args:
      path: A .nii or .nii.gz file.
      spacing_from: "affine", whose column lengths are the spacing, or "pixdim" for
        files whose affine does not carry it.
      slice_axis: The stored axis that slices follow; -1 finds it.

    Raises:
      InputError: If the file is missing, damaged, no 3-D image of real numbers, or
        does not show its slice axis.
    """
    array, geometry, stored = _read(path, spacing_from, slice_axis)
    with np.errstate(over="ignore"):  # `Study` refuses what became infinite
        return stored.to_zyx(np.asarray(array, np.float32)), geometry


def read_labels(
    path: Path, *, spacing_from: str = "affine", slice_axis: int = FIND
) -> tuple[np.ndarray, Geometry]:
    """Returns a label map as a (Z, Y, X) int32 array, and where its voxels are.

    Raises:
      InputError: As `read_volume`, and if values are not whole numbers.
    """
    array, geometry, stored = _read(path, spacing_from, slice_axis)
    with np.errstate(invalid="ignore"):  # infinity minus itself
        labels = np.rint(array.astype(np.float64))
        whole = (np.abs(array - labels) < 1e-3) & (np.abs(labels) <= _LARGEST_LABEL)
    odd = np.unique(array[~whole])
    if odd.size:
        raise InputError(
            f"{path}: labels {_listed(odd)} are not whole numbers; expected a label"
            " map: was it interpolated or is it the image?"
        )
    return stored.to_zyx(labels.astype(np.int32)), geometry


def read_study(
    patient: str,
    files: tuple[Path, ...],
    *,
    known: type[enum.IntEnum],
    masks: Mapping[str, Sequence[int]],
    spacing_from: str = "affine",
    slice_axis: int = FIND,
) -> Study:
    """Returns the study of an image and, where there is one, its label map.

    Args:
      patient: Its name.
      files: The image's, and the label map's if there is one.
      known: The layout's labels.
      masks: The labels that make each of the study's masks, by its name.
      spacing_from: As in `read_volume`.
      slice_axis: As in `read_volume`.

    Raises:
      InputError: If a file is missing, damaged, or its labels are unknown.
    """
    image_path, *contours = files
    image, geometry = read_volume(
        image_path, spacing_from=spacing_from, slice_axis=slice_axis
    )
    if not contours:
        return Study(patient, image, geometry, files=files)
    labels_path = contours[0]
    labels, labels_geometry = read_labels(
        labels_path, spacing_from=spacing_from, slice_axis=slice_axis
    )
    places.check_same_grid(image_path, geometry, labels_path, labels_geometry)
    drawn: Any = masks_of(labels_path, labels, known, masks)
    return Study(patient, image, geometry, files=files, **drawn)


def masks_of(
    path: Path,
    labels: np.ndarray,
    known: type[enum.IntEnum],
    masks: Mapping[str, Sequence[int]],
) -> dict[str, np.ndarray]:
    """Returns the bool masks of a label map, by name; arguments as of `read_study`.

    Raises:
      InputError: If a label is unknown.
    """
    check_labels(path, labels, known)
    return {name: np.isin(labels, values) for name, values in masks.items()}


def read_image(
    path: Path | str,
    *,
    myocardium: Path | str | None = None,
    spacing_from: str = "affine",
    slice_axis: int = FIND,
) -> Study:
    """Returns the study of one image and, where it is given, its myocardium.

    Args:
      path: The image, .nii or .nii.gz.
      myocardium: The mask's file.
      spacing_from: As in `read_volume`.
      slice_axis: As in `read_volume`.

    Raises:
      InputError: If a file is missing, damaged, or on another grid.
    """
    path = Path(path)
    image, geometry = read_volume(
        path, spacing_from=spacing_from, slice_axis=slice_axis
    )
    files, mask = (path,), None
    if myocardium is not None:
        mask_path = Path(myocardium)
        mask = read_mask(
            mask_path,
            path,
            geometry,
            spacing_from=spacing_from,
            slice_axis=slice_axis,
        )
        files = (path, mask_path)
    return Study(path.name, image, geometry, myocardium=mask, files=files)


def read_mask(
    path: Path,
    image_path: Path | str,
    geometry: Geometry,
    *,
    plane: tuple[int, int] | None = None,
    spacing_from: str = "affine",
    slice_axis: int = FIND,
) -> np.ndarray:
    """Returns a (Z, Y, X) bool mask on the image's grid.

    Args:
      path: The mask's file.
      image_path: The image's, or what it is called, for messages.
      geometry: The image's.
      plane: (Y, X) of the image's slices, where it is not stored as one array.
      spacing_from: As in `read_volume`.
      slice_axis: As in `read_volume`.

    Raises:
      InputError: If it lies on another grid or has more than one value beside 0.
    """
    labels, labels_geometry = read_labels(
        path, spacing_from=spacing_from, slice_axis=slice_axis
    )
    places.check_same_grid(image_path, geometry, path, labels_geometry, plane=plane)
    values = np.setdiff1d(labels, 0)
    if len(values) > 1:
        raise InputError(
            f"{path}: {len(values)} values beside 0; expected a mask of one: split the"
            " labels into one file each"
        )
    return labels != 0


def check_labels(path: Path, labels: np.ndarray, known: type[enum.IntEnum]) -> None:
    """Checks that a label map holds nothing but a layout's labels.

    Raises:
      InputError: If there are others.
    """
    unknown = np.setdiff1d(labels, list(known))
    if unknown.size:
        raise InputError(
            f"{path}: unknown labels {_listed(unknown)}; expected"
            f" {', '.join(f'{l.value} ({l.name.lower()})' for l in known)}"
        )


def _read(
    path: Path, spacing_from: str, slice_axis: int
) -> tuple[np.ndarray, Geometry, Stored]:
    """Returns the voxels as they are stored, where they lie, and how they are kept."""
    try:
        # A singular affine is named by `places`, values that overflow by `Study`.
        with np.errstate(invalid="ignore", over="ignore"):
            image, kept = header.open_checked(path)
            geometry = places.find(
                path, image, kept, spacing_from=spacing_from, slice_axis=slice_axis
            )
            stored = geometry.stored
            assert stored is not None
            array = np.asarray(image.dataobj).reshape(stored.shape)
    except InputError:
        raise
    except (
        *(ImageFileError, HeaderDataError, OSError, EOFError),
        *(ValueError, OverflowError, zlib.error),
    ) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: not a readable NIfTI file ({reason}); copy or export it anew"
        ) from error
    return array, geometry, stored


def _listed(values: np.ndarray) -> str:
    more = f" and {len(values) - 5} more" if len(values) > 5 else ""
    return ", ".join(f"{value:g}" for value in values[:5]) + more
