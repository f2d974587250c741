"""NIfTI files to (Z, Y, X) arrays, trusting nothing in them."""

import enum
import gzip
import logging
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError

from scarseg_jax.errors import InputError
from scarseg_jax.study import Geometry, Stored, Study

_log = logging.getLogger(__name__)
# No clinical short-axis stack comes near; a header that claims more is refused before
# anything is allocated.
_MAX_VOXELS = 2**28
_MAX_EXTENT_MM = 5000.0  # longer than any patient
_SAME_GRID_TOLERANCE = 1e-3  # mm, on the affine and the spacing
_QFORM_TOLERANCE = 1e-2  # mm; quaternions are stored in single precision
_LARGEST_LABEL = 2**31 - 1
_CHUNK = 2**24


def read_volume(
    path: Path, *, spacing_from: str = "affine"
) -> tuple[np.ndarray, Geometry]:
    """Returns an image as a (Z, Y, X) float32 array, and where its voxels are.

    Args:
      path: A .nii or .nii.gz file.
      spacing_from: "affine", whose column lengths are the spacing, or "pixdim" for
        files whose affine does not carry it.

    Raises:
      InputError: If the file is missing, damaged or no 3-D image of real numbers.
    """
    array, stored = _read(path, spacing_from)
    with np.errstate(over="ignore"):  # `Study` refuses what became infinite
        return stored.to_zyx(np.asarray(array, np.float32)), _geometry(stored)


def read_labels(
    path: Path, *, spacing_from: str = "affine"
) -> tuple[np.ndarray, Geometry]:
    """Returns a label map as a (Z, Y, X) int32 array, and where its voxels are.

    Raises:
      InputError: As `read_volume`, and if values are not whole numbers.
    """
    array, stored = _read(path, spacing_from)
    with np.errstate(invalid="ignore"):  # infinity minus itself
        labels = np.rint(array.astype(np.float64))
        whole = (np.abs(array - labels) < 1e-3) & (np.abs(labels) <= _LARGEST_LABEL)
    odd = np.unique(array[~whole])
    if odd.size:
        raise InputError(
            f"{path}: labels {_listed(odd)} are not whole numbers; expected a label"
            " map: was it interpolated or is it the image?"
        )
    return stored.to_zyx(labels.astype(np.int32)), _geometry(stored)


def read_study(
    patient: str,
    files: tuple[Path, ...],
    *,
    known: type[enum.IntEnum],
    masks: Mapping[str, Sequence[int]],
    spacing_from: str = "affine",
) -> Study:
    """Returns the study of an image and, where there is one, its label map.

    Args:
      patient: Its name.
      files: The image's, and the label map's if there is one.
      known: The layout's labels.
      masks: The labels that make each of the study's masks, by its name.
      spacing_from: As in `read_volume`.

    Raises:
      InputError: If a file is missing, damaged, or its labels are unknown.
    """
    image_path, *contours = files
    image, geometry = read_volume(image_path, spacing_from=spacing_from)
    if not contours:
        return Study(patient, image, geometry, files=files)
    labels_path = contours[0]
    labels, labels_geometry = read_labels(labels_path, spacing_from=spacing_from)
    check_same_grid(image_path, geometry, labels_path, labels_geometry)
    check_labels(labels_path, labels, known)
    drawn: Any = {name: np.isin(labels, values) for name, values in masks.items()}
    return Study(patient, image, geometry, files=files, **drawn)


def read_image(
    path: Path | str,
    *,
    myocardium: Path | str | None = None,
    spacing_from: str = "affine",
) -> Study:
    """Returns the study of one image and, where it is given, its myocardium.

    Args:
      path: The image, .nii or .nii.gz.
      myocardium: The mask's file.
      spacing_from: As in `read_volume`.

    Raises:
      InputError: If a file is missing, damaged, or on another grid.
    """
    path = Path(path)
    image, geometry = read_volume(path, spacing_from=spacing_from)
    files, mask = (path,), None
    if myocardium is not None:
        mask_path = Path(myocardium)
        mask = read_mask(mask_path, path, geometry, spacing_from=spacing_from)
        files = (path, mask_path)
    return Study(path.name, image, geometry, myocardium=mask, files=files)


def read_mask(
    path: Path, image_path: Path, geometry: Geometry, *, spacing_from: str = "affine"
) -> np.ndarray:
    """Returns a (Z, Y, X) bool mask on the image's grid.

    Args:
      path: The mask's file.
      image_path: The image's, for messages.
      geometry: The image's.
      spacing_from: As in `read_volume`.

    Raises:
      InputError: If it lies on another grid or has more than one value beside 0.
    """
    labels, labels_geometry = read_labels(path, spacing_from=spacing_from)
    check_same_grid(image_path, geometry, path, labels_geometry)
    values = np.setdiff1d(labels, 0)
    if len(values) > 1:
        raise InputError(
            f"{path}: {len(values)} values beside 0; expected a mask of one: split the"
            " labels into one file each"
        )
    return labels != 0


def check_same_grid(
    path: Path, geometry: Geometry, other_path: Path, other: Geometry
) -> None:
    """Checks that two files lie on one grid.

    Raises:
      InputError: If shapes, affines or spacings differ.
    """
    ours, theirs = geometry.stored, other.stored
    assert ours is not None  # both were read here
    assert theirs is not None
    if ours.shape != theirs.shape:
        raise InputError(
            f"{other_path}: shape {theirs.shape}, but {path} has {ours.shape}; resample"
            " the mask onto the image's grid"
        )
    for name in ("affine", "spacing_mm"):
        pair = getattr(ours, name), getattr(theirs, name)
        if not np.allclose(*pair, rtol=0, atol=_SAME_GRID_TOLERANCE):
            raise InputError(
                f"{other_path}: its {name} differs from that of {path}; resample the"
                " mask onto the image's grid"
            )


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


def _read(path: Path, spacing_from: str) -> tuple[np.ndarray, Stored]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"{path}: not named as NIfTI; expected .nii or .nii.gz")
    try:
        _check_gzip(path)
        # A singular affine is named below, values that overflow by `Study`.
        with np.errstate(invalid="ignore", over="ignore"):
            image: Any = nibabel.load(path)
            _check_header(path, image)
            _check_geometry(path, image)
            array = np.asarray(image.dataobj)
    except InputError:
        raise
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: not a readable NIfTI file ({reason}); copy or export it anew"
        ) from error
    array = array.reshape(array.shape[:3])
    return array, _stored(path, image, spacing_from)


def _check_gzip(path: Path) -> None:
    """Reads to the end: nibabel stops before the checksum and misses damage."""
    if not path.name.endswith(".gz"):
        return
    limit = _MAX_VOXELS * 8
    read = 0
    try:
        with gzip.open(path) as stream:
            while chunk := stream.read(_CHUNK):
                read += len(chunk)
                if read > limit:
                    raise InputError(
                        f"{path}: unpacks to more than {limit >> 30} GiB; expected a"
                        " short-axis stack"
                    )
    except zlib.error as error:
        raise OSError(f"damaged: {error}") from error


def _check_header(path: Path, image) -> None:
    shape, dtype = image.shape, image.get_data_dtype()
    if len(shape) == 4 and shape[3] == 1:
        shape = shape[:3]
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(
            f"{path}: an array of shape {image.shape}; expected a 3-D stack: split a"
            " series into one file a stack"
        )
    if math.prod(shape) > _MAX_VOXELS:
        raise InputError(
            f"{path}: the header claims {shape} voxels; expected a short-axis stack:"
            " the header is damaged"
        )
    if dtype.kind not in "iuf":
        raise InputError(
            f"{path}: voxels of type {dtype}; expected real numbers: export the"
            " magnitude image"
        )


def _check_geometry(path: Path, image) -> None:
    sizes = _stored_header(path, image)["pixdim"][1:4]
    if not (np.isfinite(sizes) & (sizes != 0)).all():
        raise InputError(
            f"{path}: voxel sizes {tuple(map(float, sizes))} mm in the header; expected"
            " positive ones: mend pixdim"
        )
    if not np.isfinite(image.affine).all() or (
        abs(np.linalg.det(image.affine[:3, :3])) < 1e-9
    ):
        raise InputError(
            f"{path}: the affine is singular; expected three independent axes: mend"
            " sform and qform"
        )
    sform, qform = (f(coded=True)[0] for f in (image.get_sform, image.get_qform))
    if sform is None or qform is None:
        return
    if not np.allclose(sform, qform, rtol=0, atol=_QFORM_TOLERANCE):
        _log.warning("%s: sform and qform disagree; the sform is taken", path)


def _stored_header(path: Path, image) -> Any:
    """Returns the header as it is in the file: nibabel mends a pixdim of 0 to 1 mm."""
    with ImageOpener(str(path)) as stream:
        return type(image.header).from_fileobj(stream, check=False)


def _stored(path: Path, image, spacing_from: str) -> Stored:
    lengths = image.header.get_zooms()[:3]
    if spacing_from == "affine":
        pixdim = lengths
        lengths = [math.hypot(*column) for column in image.affine[:3, :3].T]
        if not np.allclose(lengths, pixdim, rtol=0.01):
            _log.warning(
                "%s: voxels are %s mm by the affine, which is taken, but %s mm by"
                " pixdim; if that is right, mend the affine (or predict with"
                " --spacing=pixdim)",
                path,
                " x ".join(f"{length:g}" for length in lengths),
                " x ".join(f"{length:g}" for length in pixdim),
            )
    i, j, k = (float(length) for length in lengths)
    spacing_mm = (i, j, k)
    extent_mm = max(n * s for n, s in zip(image.shape, spacing_mm, strict=False))
    if extent_mm > _MAX_EXTENT_MM:
        raise InputError(
            f"{path}: the stack is {extent_mm:g} mm long by its {spacing_from}; expected"
            " less than a patient: mend the header"
        )
    # A short-axis stack has thick slices; without a clear thickest axis, the last.
    thickest = int(np.argmax(spacing_mm))
    others = sorted(spacing_mm)[1]
    slice_axis = thickest if spacing_mm[thickest] >= 1.5 * others else 2
    first, second, third = image.shape[:3]
    x_axis, y_axis = (axis for axis in range(3) if axis != slice_axis)
    order = (slice_axis, y_axis, x_axis)  # x comes before y in NIfTI
    return Stored((first, second, third), image.affine, spacing_mm, order)


def _geometry(stored: Stored) -> Geometry:
    """Returns where the slices of a stored array are."""
    columns = stored.affine[:3, :3]
    steps = columns / np.linalg.norm(columns, axis=0) * stored.spacing_mm
    z, y, x = stored.order
    affine = stored.affine.astype(np.float64)
    affine[:3, :3] = steps[:, (x, y, z)]
    affines = np.tile(affine, (stored.shape[z], 1, 1))
    affines[:, :3, 3] += np.arange(len(affines))[:, None] * affine[:3, 2]
    spacing_mm = stored.spacing_mm
    return Geometry(affines, (spacing_mm[z], spacing_mm[y], spacing_mm[x]), stored)


def _listed(values: np.ndarray) -> str:
    more = f" and {len(values) - 5} more" if len(values) > 5 else ""
    return ", ".join(f"{value:g}" for value in values[:5]) + more
