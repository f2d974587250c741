"""What a NIfTI file's header says, checked against the file before anything is allocated.

The lengths and codes are those of nifti1.h and nifti2.h.
"""

import gzip
import math
from pathlib import Path
from typing import Any

import nibabel
from nibabel.spatialimages import HeaderDataError

from scarseg_jax.errors import InputError

# By the header's length in bytes, which is its first field.
_IMAGES = {348: nibabel.Nifti1Image, 540: nibabel.Nifti2Image}
_FIRST_VOXEL = {348: 352, 540: 544}  # after the header and its four bytes of extension
_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # not said, metre, millimetre, micron
_SPATIAL = 0x07  # the part of xyzt_units that is of space
# No clinical short-axis stack comes near; a header that claims more is refused.
_MAX_VOXELS = 2**28
_CHUNK = 2**24


def open_checked(path: Path) -> tuple[Any, Any]:
    """Returns nibabel's image, of which no voxel is read yet, and the file's header.

    The header is as it is in the file; nibabel mends its own, such as a pixdim of 0.

    Raises:
      InputError: If the file is missing, damaged, longer or shorter than its header
        says, or no 3-D image of real numbers.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"{path}: not named as NIfTI; expected .nii or .nii.gz")
    kind, header = _read(path)
    claimed = _first_voxel(path, header) + _bytes_of_voxels(path, header)
    _check_length(path, claimed)
    mm_per_unit(path, header)
    return kind.from_filename(path), header


def stack_shape(header) -> tuple[int, ...]:
    """Returns the shape without trailing axes of one beyond the third."""
    shape = header.get_data_shape()
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def mm_per_unit(path: Path, header) -> float:
    """Returns the length in mm of the unit of spacing and affine; unsaid, it is mm.

    Raises:
      InputError: If NIfTI has no such unit.
    """
    code = int(header["xyzt_units"]) & _SPATIAL
    if code not in _MM:
        raise InputError(
            f"{path}: xyzt_units has the unknown unit of length {code}; expected"
            " 1 (metre), 2 (mm) or 3 (micron): mend the header"
        )
    return _MM[code]


def _read(path: Path) -> tuple[Any, Any]:
    """Returns nibabel's kind of image, and the header."""
    with _opened(path) as stream:
        start = stream.read(max(_IMAGES))
    for order in ("little", "big"):
        size = int.from_bytes(start[:4], order)
        if size in _IMAGES and len(start) >= size:
            kind: Any = _IMAGES[size]
            header = kind.header_class(start[:size], order, check=False)
            if header["magic"].item()[:3] in (b"n+1", b"n+2"):
                return kind, header
    raise InputError(
        f"{path}: it does not begin as a NIfTI file of header and voxels does; export"
        " it anew"
    )


def _first_voxel(path: Path, header) -> int:
    """Returns the place of the first voxel in the file, in bytes."""
    offset = float(header["vox_offset"])
    least = _FIRST_VOXEL[header.sizeof_hdr]
    if not (offset >= least and offset.is_integer()):  # infinity is no integer
        raise InputError(
            f"{path}: its voxels begin at byte {offset:g} by vox_offset; expected"
            f" {least} or more: export it anew"
        )
    return int(offset)


def _bytes_of_voxels(path: Path, header) -> int:
    """Returns how many bytes the voxels take, after a check of what they are."""
    axes = int(header["dim"][0])
    stored = [int(length) for length in header["dim"][1 : axes + 1]]
    if not (1 <= axes <= 7 and min(stored) >= 1):
        raise InputError(
            f"{path}: axes of {stored} voxels in the header; expected positive lengths:"
            " the header is damaged"
        )
    shape = stack_shape(header)
    if len(shape) < 3:
        raise InputError(
            f"{path}: a {len(shape)}-D image of {_times(shape)} voxels; expected a 3-D"
            " stack: export its slices together, or one slice with a third axis of 1"
        )
    if len(shape) > 3:
        raise InputError(
            f"{path}: a {len(shape)}-D image of {_times(shape)} voxels; expected a 3-D"
            " stack: split a series into one file a stack"
        )
    if math.prod(shape) > _MAX_VOXELS:
        raise InputError(
            f"{path}: the header claims {_times(shape)} voxels; expected a short-axis"
            " stack: the header is damaged"
        )
    try:
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError):
        raise InputError(
            f"{path}: voxels of the unknown type {int(header['datatype'])}; export it"
            " anew"
        ) from None
    if dtype.kind not in "iuf":
        raise InputError(
            f"{path}: voxels of type {dtype}; expected real numbers: export the"
            " magnitude image"
        )
    return math.prod(shape) * dtype.itemsize


def _check_length(path: Path, claimed: int) -> None:
    """Checks that a file holds the bytes its header claims, no fewer and no more.

    A damaged length of an axis shows here. Of .gz all is unpacked, piece by piece:
    nibabel stops before the checksum and misses damage.
    """
    length = 0
    if path.name.endswith(".gz"):
        with _opened(path) as stream:
            while length <= claimed and (chunk := stream.read(_CHUNK)):
                length += len(chunk)
    else:
        length = path.stat().st_size
    if length != claimed:
        found = "more" if length > claimed else f"{length:,}"
        raise InputError(
            f"{path}: the header claims {claimed:,} bytes, the file holds {found}; it"
            " is damaged or incomplete: copy or export it anew"
        )


def _opened(path: Path) -> Any:
    return gzip.open(path) if path.name.endswith(".gz") else path.open("rb")


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
