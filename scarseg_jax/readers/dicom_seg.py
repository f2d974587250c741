"""DICOM Segmentations of a stack's images to masks.

Every frame is put where it says that it lies, whatever image it names: what was drawn on
the magnitude images of a pair fits the phase-sensitive ones. Rows and columns may run
otherwise than the image's, but pixels must fall on pixels.
"""

import collections
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from scarseg_jax.errors import InputError
from scarseg_jax.readers import dicom_files, dicom_planes
from scarseg_jax.readers.dicom import Stack
from scarseg_jax.readers.dicom_files import Image, Item
from scarseg_jax.readers.tissue_names import name_of, shown

_log = logging.getLogger(__name__)
_MOST_VOXELS = 2**31
_ON_PIXELS = 0.05  # of a pixel, at the frame's corners
_HALF = 0.5  # of a fraction's maximum: from here on a pixel is inside


def read_masks(
    path: Path, stack: Stack, *, names: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Returns the (Z, Y, X) bool masks of a Segmentation, by names of `contours`.

    Segments are known by their code or label; the others are listed in the log.

    Args:
      path: The file.
      stack: The images.
      names: What further labels mean.

    Raises:
      InputError: If it is damaged, has no known segment, or a pixel of one lies on no
        image of the stack.
    """
    with dicom_files.opened(path) as data:
        dicom_planes.check_same_space(path, data, stack)
        segments = _segments(path, data, names)
        pixels = _pixels(path, data)
        places = _places(path, data, len(pixels))
        masks = {name: np.zeros(stack.stored_shape, bool) for name in segments.values()}
        lost: collections.Counter[str] = collections.Counter()
        furthest_mm = 0.0
        for place, image in zip(places, pixels, strict=True):
            for number, inside in _frame(data, place, image):
                if number in segments and inside.any():
                    mask = masks[segments[number]]
                    why, off_mm = _put(mask, stack, place, inside)
                    if why:
                        lost[f"of the {segments[number]} {why}"] += 1
                        furthest_mm = max(furthest_mm, off_mm)
        if lost:
            listed = "; ".join(f"{count} {why}" for why, count in lost.most_common(3))
            raise InputError(
                f"--contours={path}: of its frames with pixels, {listed}, up to"
                f" {furthest_mm:.3g} mm from the nearest image; expected every"
                f" one on an image of {stack.name}: choose with --series the one it was"
                " drawn on, or resample the segmentation to it"
            )
    return {name: stack.to_zyx(mask) for name, mask in masks.items()}


def automatic(path: Path) -> set[str]:
    """Returns what of a Segmentation an algorithm called and nobody drew or corrected."""
    with dicom_files.opened(path) as data:
        return {
            name_of(str(segment.get("SegmentLabel") or ""), {}, _code(segment)) or ""
            for segment in data.get("SegmentSequence") or []
            if segment.get("SegmentAlgorithmType") == "AUTOMATIC"
        }


def _segments(path: Path, data: Dataset, names: Mapping[str, str]) -> dict[int, str]:
    """Returns what each known segment is, by its number."""
    found, unknown = {}, []
    for segment in data.get("SegmentSequence") or []:
        number, label = segment.get("SegmentNumber"), segment.get("SegmentLabel")
        name = name_of(str(label or ""), names, _code(segment))
        if number is not None and name:
            found[int(number)] = name
            _log.info("SEG: segment %s is the %s", shown(str(label or "")), name)
            if segment.get("SegmentAlgorithmType") == "AUTOMATIC":
                _log.warning(
                    "SEG: the %s is an algorithm's (AUTOMATIC), and taken for drawn",
                    name,
                )
        elif number:  # 0 is a label map's background
            unknown.append(shown(str(label or "")))
    if not found:
        raise InputError(
            f"--contours={path}: of its segments ({', '.join(unknown) or 'none'}) none"
            " is known; expected myocardium, cavity or scar: name them with"
            " --contour_names"
        )
    if unknown:
        _log.warning("SEG: segments not read: %s", ", ".join(unknown))
    return found


def _code(segment: Dataset) -> Code | None:
    items = segment.get("SegmentedPropertyTypeCodeSequence") or [Dataset()]
    value, scheme = (items[0].get(k) for k in ("CodeValue", "CodingSchemeDesignator"))
    return Code(str(value), str(scheme), "") if value and scheme else None


def _pixels(path: Path, data: Dataset) -> np.ndarray:
    """Returns the (frames, rows, columns) stored values."""
    sides = (data.get(k) for k in ("NumberOfFrames", "Rows", "Columns"))
    frames, rows, columns = (int(side or 0) for side in sides)
    if not 0 < frames * rows * columns <= _MOST_VOXELS:
        raise InputError(
            f"--contours={path}: {frames} frames of {rows} x {columns} pixels; expected"
            f" some, and at most {_MOST_VOXELS} in all: export it anew"
        )
    try:
        return np.reshape(data.pixel_array, (frames, rows, columns))
    except Exception as error:  # decoders raise anything
        raise InputError(
            f"--contours={path}: its pixels cannot be decoded; expected them whole:"
            " export it uncompressed"
        ) from error


def _places(path: Path, data: Dataset, count: int) -> list[Image]:
    """Returns what each frame says of itself, as an image's."""
    groups = data.get("PerFrameFunctionalGroupsSequence") or []
    shared = data.get("SharedFunctionalGroupsSequence") or [Dataset()]
    if len(groups) != count:
        raise InputError(
            f"--contours={path}: {count} frames and {len(groups)} places; expected a"
            " place for each: export it anew"
        )
    own = dicom_files.flat(shared[0])
    sides = {"Rows": data.Rows, "Columns": data.Columns}
    nowhere = Item(lambda: path.open("rb"), 0)
    return [
        Image(nowhere, frame, {**own, **dicom_files.flat(group), **sides})
        for frame, group in enumerate(groups)
    ]


def _frame(data: Dataset, place: Image, image: np.ndarray) -> Any:
    """Yields the segments of a frame and their (rows, columns) bool pixels."""
    kind = str(data.get("SegmentationType"))
    if kind == "LABELMAP":
        for number in np.unique(image):
            yield int(number), image == number
        return
    number = place.fields.get("ReferencedSegmentNumber")
    most = int(data.get("MaximumFractionalValue") or 1) if kind == "FRACTIONAL" else 1
    yield int(number or 0), image >= _HALF * most


def _put(
    mask: np.ndarray, stack: Stack, place: Image, inside: np.ndarray
) -> tuple[str, float]:
    """Puts a frame's pixels into a stored mask.

    Returns:
      Why they do not fit, or nothing; and how far from the nearest image they lie.
    """
    needed = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    if any(keyword not in place.fields for keyword in needed):
        return "say not where they lie", 0.0
    rows, columns = inside.shape
    corners = np.array([(0, 0), (columns - 1, 0), (0, rows - 1)], np.float64)
    if min(rows, columns) == 1:
        return "have a side of one pixel", 0.0
    found = dicom_planes.spot(stack, dicom_planes.points_mm(place, corners))
    if not found.near:
        return "lie on no image", found.off_mm
    # Where the corners are, all pixels are: the map is linear.
    origin, right, down = found.points_px
    steps = np.array([(right - origin) / (columns - 1), (down - origin) / (rows - 1)])
    turned, start = np.rint(steps).astype(int), np.rint(origin).astype(int)
    off = np.abs(start + corners @ turned - found.points_px).max()
    if off > _ON_PIXELS or not _is_turn(turned):
        return "have pixels that do not fall on the image's", found.off_mm
    row, column = np.nonzero(inside)
    x, y = (start + np.stack([column, row], axis=1) @ turned).T
    _, height, width = mask.shape
    if x.min() < 0 or y.min() < 0 or x.max() >= width or y.max() >= height:
        return "reach over the image's edge", found.off_mm
    mask[found.slice, y, x] = True
    return "", found.off_mm


def _is_turn(steps: np.ndarray) -> bool:
    """Returns whether pixels are turned by quarters or mirrored, and nothing else."""
    return bool((np.abs(steps).sum(axis=0) == 1).all()) and bool(
        (np.abs(steps).sum(axis=1) == 1).all()
    )
