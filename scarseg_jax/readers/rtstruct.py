"""Lines of DICOM's RT Structure Sets, in a patient's mm, to masks on a stack's images.

Each line is put on the image in whose plane it lies, in that image's own pixels. Lines
of one region that name the same image are parts of one: where one lies in another, it is
a hole (PS3.3 C.8.8.6.3). The first pixel's place is its centre.
"""

import collections
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from scarseg_jax.errors import InputError
from scarseg_jax.readers import dicom_files, dicom_planes, polygons
from scarseg_jax.readers.dicom import Stack
from scarseg_jax.readers.tissue_names import name_of, shown

_log = logging.getLogger(__name__)
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


def read_masks(
    path: Path, stack: Stack, *, names: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Returns the (Z, Y, X) bool masks of a Structure Set, by names of `contours`.

    Regions are known by their name; the others are listed in the log.

    Args:
      path: The file.
      stack: The images.
      names: What further names mean.

    Raises:
      InputError: If it is damaged, has no known region, or a line lies on no image.
    """
    _, rows, columns = stack.stored_shape
    with dicom_files.opened(path) as data:
        dicom_planes.check_same_space(path, data, stack)
        known = _known(path, data, names)
        masks = {name: np.zeros(stack.stored_shape, bool) for name in known.values()}
        lost: collections.Counter[str] = collections.Counter()
        furthest_mm = 0.0
        for region in data.get("ROIContourSequence") or []:
            number = int(region.get("ReferencedROINumber") or 0)
            if number not in known:
                continue
            parts: dict[tuple[int, str], list[np.ndarray]] = {}
            for image, points_mm in _lines(path, region):
                found = dicom_planes.spot(stack, points_mm)
                if not found.near:
                    lost[known[number]] += 1
                    furthest_mm = max(furthest_mm, found.off_mm)
                    continue
                parts.setdefault((found.slice, image), []).append(found.points_px)
            for (z, _), lines in parts.items():
                drawn = np.zeros((rows, columns), bool)
                for points_px in _once(lines):
                    drawn ^= polygons.mask(points_px, (rows, columns))
                masks[known[number]][z] |= drawn
    if lost:
        listed = ", ".join(f"{count} of {name}" for name, count in lost.items())
        raise InputError(
            f"--contours={path}: lines on no image of {stack.name}: {listed}, up to"
            f" {furthest_mm:.3g} mm from the nearest; expected lines of this series:"
            " choose with --series the one they were drawn on"
        )
    return {name: stack.to_zyx(mask) for name, mask in masks.items()}


def automatic(path: Path) -> set[str]:
    """Returns what of a Structure Set an algorithm called and nobody drew or corrected."""
    with dicom_files.opened(path) as data:
        return {
            name_of(str(region.get("ROIName") or ""), {})
            for region in data.get("StructureSetROISequence") or []
            if region.get("ROIGenerationAlgorithm") == "AUTOMATIC"
        }


def _known(path: Path, data: Dataset, names: Mapping[str, str]) -> dict[int, str]:
    """Returns what each known region is, by its number."""
    found, unknown = {}, []
    for region in data.get("StructureSetROISequence") or []:
        number, text = region.get("ROINumber"), str(region.get("ROIName") or "")
        name = name_of(text, names)
        if number is not None and name:
            found[int(number)] = name
            _log.info("RTSTRUCT: region %s is the %s", shown(text), name)
        else:
            unknown.append(shown(text))
    if not found:
        raise InputError(
            f"--contours={path}: of its regions ({', '.join(unknown) or 'none'}) none is"
            " known; expected endocardium and epicardium, or myocardium: name them with"
            " --contour_names"
        )
    if unknown:
        _log.warning("RTSTRUCT: regions not read: %s", ", ".join(unknown))
    return found


def _lines(path: Path, region: Dataset) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the image that each closed line names, or nothing, and its (N, 3) mm."""
    open_ones = 0
    for contour in region.get("ContourSequence") or []:
        if contour.get("ContourGeometricType") not in _CLOSED:
            open_ones += 1
            continue
        images = contour.get("ContourImageSequence") or [Dataset()]
        named = (
            images[0].get(f"Referenced{k}") for k in ("SOPInstanceUID", "FrameNumber")
        )
        try:
            values = np.array([float(v) for v in contour.get("ContourData") or []])
            points_mm = values.reshape(-1, 3)
        except (ValueError, TypeError):
            points_mm = np.full((1, 3), np.nan)
        if len(points_mm) < 3 or not np.isfinite(points_mm).all():
            raise InputError(
                f"--contours={path}: a line without three points of three numbers;"
                " expected a closed line: export it anew"
            )
        yield "/".join(str(part) for part in named), points_mm
    if open_ones:
        _log.warning("RTSTRUCT: %d points or open lines are passed over", open_ones)


def _once(lines: list[np.ndarray]) -> list[np.ndarray]:
    """Returns lines without copies, which would be holes that fill what they copy."""
    found: list[np.ndarray] = []
    for line in lines:
        if not any(np.array_equal(line, other) for other in found):
            found.append(line)
    return found
