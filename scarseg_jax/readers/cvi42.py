"""Contours of cvi42's workspaces in XML (.cvi42wsx).

Below each ImageStates stand SOP instance UIDs, below each the Contours by name, with
Points (whole numbers, x column and y row) and the SubpixelResolution that divides them,
each contour's own. Told by keys: their order changed in 2019.

The scar is no contour: cvi42 keeps the threshold's region (`enhancement` is where the
full width at half maximum takes its maximum), and it has to be found again.
Whether whole numbers are pixels' centres is not documented and readers differ:
`centre_px` says it.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from scarseg_jax.errors import InputError
from scarseg_jax.readers.contours import (
    ENDOCARDIUM,
    ENHANCEMENT,
    EPICARDIUM,
    EXCLUSION,
    NO_REFLOW,
    REFERENCE,
    Contour,
)
from scarseg_jax.readers.dicom_files import Image

_log = logging.getLogger(__name__)
_LARGEST = 2**29  # bytes
NAMES: Mapping[str, str] = {
    "saendocardialContour": ENDOCARDIUM,
    "saepicardialContour": EPICARDIUM,
    "saReferenceMyoContour": REFERENCE,
    "saEnhancementReferenceMyoContour": ENHANCEMENT,
    "excludeEnhancementAreaContour": EXCLUSION,
    "noReflowAreaContour": NO_REFLOW,
}


def is_workspace(path: Path) -> bool:
    """Returns whether a file is a workspace, by its name."""
    return path.suffix.lower() in (".cvi42wsx", ".xml", ".cvi42ws")


def read_contours(
    path: Path, *, names: Mapping[str, str] = NAMES, centre_px: float = 0.0
) -> list[Contour]:
    """Returns a workspace's contours; those of other names are listed in the log.

    Args:
      path: The file.
      names: Of this module's contours, by cvi42's; a suffix of four digits, which
        further ones of a kind have, is ignored.
      centre_px: See `polygons.coverage`.

    Raises:
      InputError: If it is no such file, or a contour lacks its points or resolution.
    """
    found, unknown = [], set()
    for uid, called, parts in _contours(_root(path)):
        name = names.get(called) or names.get(re.sub(r"\d{4}$", "", called))
        if name is None:
            unknown.add(called)
            continue
        points = [
            [_number(path, called, _child(point, axis)) for axis in "xy"]
            for point in parts.get("Points", ())
        ]
        per_pixel = _number(path, called, parts.get("SubpixelResolution"))
        if not per_pixel > 0:
            raise InputError(
                f"{path}: {called} has a SubpixelResolution of {per_pixel:g}; expected a"
                " positive number: export the workspace anew"
            )
        if len(points) > 2:
            found.append(Contour(uid, name, np.array(points) / per_pixel, centre_px))
    if unknown:
        _log.warning("cvi42: contours not read: %s", ", ".join(sorted(unknown)))
    if not found:
        raise InputError(
            f"{path}: none of the contours {', '.join(names)} in it; expected a"
            " workspace with some: export it anew, or name them with --contour_names"
        )
    return found


def key(image: Image) -> str:
    """Returns what names an image here."""
    return str(image.fields.get("SOPInstanceUID", ""))


def _root(path: Path) -> Any:
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path}: larger than {_LARGEST >> 20} MiB; expected less")
        return ElementTree.parse(path, forbid_dtd=True).getroot()
    except DefusedXmlException as error:
        raise InputError(
            f"{path}: declares entities or a document type; expected plain XML, as cvi42"
            " writes it"
        ) from error
    except (ElementTree.ParseError, ValueError, OSError) as error:
        raise InputError(
            f"{path}: not readable as XML; expected a workspace exported as .cvi42wsx"
            " (.cvi42ws is binary): export it anew"
        ) from error


def _contours(root: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yields the image, the name and the parts of each contour."""
    for states in root.iter():
        if _key(states) == "ImageStates":
            for image in states:
                for part in image:
                    if _key(part) == "Contours":
                        for contour in part:
                            parts = {_key(p): p for p in contour}
                            yield _key(image), _key(contour), parts


def _key(element: Any) -> str:
    """Returns the attribute key, of whatever name space."""
    return next((v for k, v in element.attrib.items() if _local(k) == "key"), "")


def _child(element: Any, name: str) -> Any:
    return next((child for child in element if _local(child.tag) == name), None)


def _local(name: str) -> str:
    return str(name).rpartition("}")[2]


def _number(path: Path, contour: str, element: Any) -> float:
    text = "" if element is None else (element.text or "")
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise InputError(
            f"{path}: {contour} lacks a number in its points or SubpixelResolution"
            f" ({text.strip()[:20]!r}); expected one: export the workspace anew"
        )
    return value
