"""Contours drawn on the images of a DICOM series, to a study's masks.

A format's reader gives a list of `Contour`; each names its image in the format's way.
"""

import dataclasses
import logging
from collections.abc import Callable, Sequence

import numpy as np

from scarseg_jax.errors import InputError, first_few
from scarseg_jax.readers import polygons
from scarseg_jax.readers.dicom import Stack
from scarseg_jax.readers.dicom_files import Image
from scarseg_jax.study import Study

_log = logging.getLogger(__name__)
ENDOCARDIUM, EPICARDIUM = "endocardium", "epicardium"
NO_REFLOW, EXCLUSION, REFERENCE = "no_reflow", "exclusion", "reference"
ENHANCEMENT = "enhancement"  # where the brightest scar was marked; not the scar
MYOCARDIUM, CAVITY, SCAR = "myocardium", "cavity", "scar"  # areas, not lines
NAMES = (
    *(ENDOCARDIUM, EPICARDIUM, MYOCARDIUM, CAVITY, SCAR),
    *(NO_REFLOW, EXCLUSION, REFERENCE, ENHANCEMENT),
)
_MOST_UNKNOWN = 5  # images that a message names


@dataclasses.dataclass(frozen=True, eq=False)
class Contour:
    """A closed line on one image.

    Attributes:
      image: Which: what `key` of `draw` returns for it.
      name: What it is round: one of this module's, or another.
      points_px: (N, 2) vertices (x column, y row) of the image as it is stored.
      centre_px: Coordinates of the first pixel's centre: see `polygons.coverage`.
    """

    image: str
    name: str
    points_px: np.ndarray
    centre_px: float = 0.0


def draw(
    stack: Stack, contours: Sequence[Contour], key: Callable[[Image], str]
) -> dict[str, np.ndarray]:
    """Returns the (Z, Y, X) bool mask of each name; contours of one name are united.

    Contours on other images are passed over, with a word in the log.

    Raises:
      InputError: If none is on the stack's images.
    """
    places = {key(image): number for number, image in enumerate(stack.images)}
    _, *plane = stack.stored_shape
    rows, columns = plane
    masks: dict[str, np.ndarray] = {}
    for contour in contours:
        if (number := places.get(contour.image)) is not None:
            name = contour.name
            drawn = masks.setdefault(name, np.zeros(stack.stored_shape, bool))
            drawn[number] |= polygons.mask(
                contour.points_px, (rows, columns), centre_px=contour.centre_px
            )
    others = sorted({contour.image for contour in contours} - places.keys())
    listed = first_few([f"..{uid[-8:]}" for uid in others], _MOST_UNKNOWN)
    if not masks:
        raise InputError(
            f"--contours: {len(contours)} contours, none on the {len(places)} images of"
            f" {stack.name} (they are on {listed or 'none'}); expected contours of this"
            " series: choose with --series the one they were drawn on, such as the"
            " magnitude images of a phase-sensitive pair"
        )
    if others:
        _log.warning(
            "contours: %d images are not in the series: %s", len(others), listed
        )
    return {name: stack.to_zyx(drawn) for name, drawn in masks.items()}


def with_contours(study: Study, masks: dict[str, np.ndarray]) -> Study:
    """Returns a study with what was drawn: myocardium, cavity, scar and no-reflow.

    The myocardium is the area drawn, or else what lies between the two lines; slices in
    which only one of these was drawn have neither. Scar or no-reflow of which no voxel
    is in such an area was left out of it, as in label maps, and is added.
    Remote myocardium is what was marked as a reference. What was excluded from the
    enhancement, and where its maximum was to be taken, is for scar by thresholds.

    Raises:
      InputError: If there is no myocardium.
    """
    wall, cavity = masks.get(MYOCARDIUM), masks.get(CAVITY)
    scar, no_reflow = masks.get(SCAR), masks.get(NO_REFLOW)
    if wall is None:
        wall, cavity = _between(study, {ENDOCARDIUM: cavity, **masks})
    else:
        for name, mask in ((SCAR, scar), (NO_REFLOW, no_reflow)):
            if mask is not None and mask.any() and not (mask & wall).any():
                wall = wall | mask
                _log.warning(
                    "contours: no voxel of the %s is myocardium; it is added to it",
                    name,
                )
    if not wall.any():
        raise InputError(
            "--contours: the myocardium has no voxel; expected some: draw it, or give"
            " names with --contour_names"
        )
    if no_reflow is not None:
        no_reflow = no_reflow & wall
    if scar is not None and no_reflow is not None:
        scar = scar | no_reflow
    return dataclasses.replace(
        study,
        myocardium=wall,
        cavity=cavity,
        scar=scar,
        no_reflow=no_reflow,
        remote=masks.get(REFERENCE),
        excluded=masks.get(EXCLUSION),
        brightest=masks.get(ENHANCEMENT),
    )


def _between(
    study: Study, masks: dict[str, np.ndarray | None]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what lies between the two lines, and inside the inner one."""
    none = np.zeros(study.image.shape, bool)
    inner, outer = (
        none if (mask := masks.get(name)) is None else mask
        for name in (ENDOCARDIUM, EPICARDIUM)
    )
    has_inner, has_outer = (
        np.any(m, axis=(1, 2), keepdims=True) for m in (inner, outer)
    )
    both = has_inner & has_outer
    if not both.any():
        raise InputError(
            f"--contours: endocardium in {int(has_inner.sum())} slices and epicardium in"
            f" {int(has_outer.sum())}, both in none; expected both lines, or the"
            " myocardium: draw them, or give names with --contour_names"
        )
    if (lone := has_inner ^ has_outer).any():
        _log.warning(
            "contours: slices %s have one of the two lines and no myocardium",
            ", ".join(str(z) for z in np.flatnonzero(lone)),
        )
    return outer & ~inner & both, inner & both
