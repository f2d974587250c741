"""Whether a study can be what it says, asked alike of what trains and what is predicted.

`cut` asks, so no image comes by. What cannot be is refused; what is odd is said.
"""

import logging
from collections.abc import Iterator

import numpy as np
from scipy.spatial import ConvexHull

from scarseg_jax.errors import InputError
from scarseg_jax.study import Slices, Study

_log = logging.getLogger(__name__)
# From what no cardiac scan goes beyond, and from what few do. Usual are pixels of 1.2 to
# 1.8 mm and slices of 5 to 13 mm with their gaps; 3-D acquisitions have thinner ones.
_PIXEL_MM, _USUAL_PIXEL_MM = (0.2, 6.0), (0.5, 3.0)
_SLICE_MM, _USUAL_SLICE_MM = (0.5, 40.0), (1.0, 20.0)
# What 60 EMIDEC patients come to, their myocardium as it is and eroded and dilated by up
# to two pixels, stands behind each.
_LEAST_SLICES = 0.25  # of the stack that have myocardium; 1.0
_MOST_OF_SLICE = 0.5  # of a slice that is myocardium; 0.01 to 0.05
_CAVITY = 0.1  # of a slice's outline that is not wall; filled ones at most 0.05
_MOST_CLOSED = 0.3  # of the myocardium in slices without that; at most 0.07
# Of the directions from the middle that meet wall, mean by area: 0.92 or more, scars'
# own masks 0.89 at most.
_AROUND = 0.9
_SECTORS = 36  # of the directions
# Thickest slice: 2.9 to 19.4 mm. The outline of a pixel's width has at most 1.5 mm.
_WALL_MM = (2.5, 30.0)
_MOST_ML = 600.0  # the largest has 200
_MOST_OUTSIDE = 0.8  # of the scar that is not in the myocardium; at most 0.70
_LARGEST_SCAR = 1.2  # of the myocardium; at most 1.11, the other way round 1.4 or more


def check_image(study: Study) -> None:
    """Checks a study's spacing and intensities; what is odd is only logged.

    Raises:
      InputError: If no scanner has such a spacing, or all voxels have one value: what
        is called scar in such an image says nothing about the patient, and it teaches
        networks nothing.
    """
    where = named(study)
    z, y, x = study.spacing_mm
    for name, spacing_mm, limits, usual in (
        ("slices", z, _SLICE_MM, _USUAL_SLICE_MM),
        ("rows", y, _PIXEL_MM, _USUAL_PIXEL_MM),
        ("columns", x, _PIXEL_MM, _USUAL_PIXEL_MM),
    ):
        if not limits[0] <= spacing_mm <= limits[1]:
            raise InputError(
                f"{where}: {name} {spacing_mm:g} mm apart; expected {limits[0]:g} to"
                f" {limits[1]:g} mm: mend the header's spacing"
            )
        if not usual[0] <= spacing_mm <= usual[1]:
            _log.warning("%s: %s %g mm apart is unusual", where, name, spacing_mm)
    lowest, highest = (end(study.image, axis=(1, 2)) for end in (np.min, np.max))
    flat = lowest == highest
    if lowest.min() == highest.max():
        raise InputError(
            f"{where}: all voxels are {study.image.flat[0]:g}; expected an image: export"
            " it anew or leave the patient out"
        )
    if flat.any():
        _log.warning("%s: all pixels have one value in %s", where, slices_listed(flat))


def check_crops(study: Study, slices: Slices) -> None:
    """Says in which of a study's slices the crop misses some of the myocardium."""
    if not slices.contained.all():
        _log.warning(
            "%s: the crop misses some of the myocardium in %s, and any scar there",
            *(named(study), slices_listed(~slices.contained)),
        )


def check_masks(study: Study, *, force: bool = False) -> None:
    """Checks that a study's myocardium is that of a left ventricle, and its scar's.

    Args:
      study: Without a myocardium there is nothing to check.
      force: Whether what is implausible is a warning and no error.

    Raises:
      InputError: If it is empty, inverted, filled, too thin or thick, drawn in few
        slices, or the scar lies elsewhere.
    """
    if study.myocardium is None:
        return
    where = study.files[1] if len(study.files) > 1 else f"patient {study.patient}"
    for odd in oddities(study, study.myocardium):
        if not force:
            raise InputError(
                f"{where}: {odd}; if it is right all the same, use --force"
                " (of a run: --config.data.force=True)"
            )
        _log.warning("%s: %s", where, odd)


def oddities(study: Study, myocardium: np.ndarray) -> Iterator[str]:
    """Yields what is odd about a (Z, Y, X) myocardium, the most telling first.

    Each is the thing, its value, what was expected and what it may be.
    """
    pixels = myocardium.sum(axis=(1, 2))
    drawn = pixels > 0
    if not drawn.any():
        yield (
            "the myocardium is empty in all"
            f" {len(pixels)} slices; give the mask that was drawn, or none"
        )
        return
    share = float(pixels[drawn].mean() / myocardium[0].size)
    if share > _MOST_OF_SLICE:
        yield (
            f"the myocardium covers {share:.0%} of its slices; expected less than"
            f" {_MOST_OF_SLICE:.0%}: is the mask inverted, with 0 inside?"
        )
    if study.scar is not None and study.scar.any():
        yield from _scar_elsewhere(study.scar, myocardium)
    if (share := float(drawn.mean())) < _LEAST_SLICES:
        yield (
            f"the myocardium is drawn in {drawn.sum()} of {len(drawn)} slices; expected"
            f" {_LEAST_SLICES:.0%} or more: draw it in the others, or leave them out"
        )
    if (ml := study.geometry.volume_ml(myocardium)) > _MOST_ML:
        yield (
            f"the myocardium has a volume of {ml:.0f} ml; expected less than"
            f" {_MOST_ML:g} ml: is it more than the left ventricle's, or are the pixel"
            " size or the slice distance wrong?"
        )
    yield from _no_ring(myocardium[drawn], study.geometry.pixel_mm2)


def _no_ring(myocardium: np.ndarray, pixel_mm2: float) -> Iterator[str]:
    """Yields what is odd about the shape of slices that all have myocardium."""
    pixels = myocardium.sum(axis=(1, 2))
    outline = np.array([_outline_px(mask) for mask in myocardium])
    hollow = 1 - pixels / outline
    closed = hollow <= _CAVITY
    if (share := pixels[closed].sum() / pixels.sum()) > _MOST_CLOSED:
        yield (
            f"the myocardium has no cavity in {closed.sum()} of its {len(closed)}"
            f" slices, which are {share:.0%} of it (half of them are less than"
            f" {np.median(hollow[closed]):.0%} hollow); expected a ring around the"
            " blood: is the ventricle filled, or is it the cavity's mask?"
        )
    around = np.average([_around(mask) for mask in myocardium], weights=pixels)
    if around < _AROUND:
        yield (
            f"the myocardium surrounds {around:.0%} of the cavity; expected"
            f" {_AROUND:.0%} or more: is it the scar's mask, or is the scar left out?"
        )
    areas_px = np.stack([outline, np.maximum(outline - pixels, 0)])
    outer, inner = np.sqrt(areas_px * pixel_mm2 / np.pi)  # radii of circles
    thick_mm = outer - inner
    # A slice at the tip may be filled; its radius is no wall's.
    wall_mm = float(np.max(thick_mm if closed.all() else thick_mm[~closed]))
    if not _WALL_MM[0] <= wall_mm <= _WALL_MM[1]:
        yield (
            f"the myocardium's wall is {wall_mm:.1f} mm thick where it is thickest;"
            f" expected {_WALL_MM[0]:g} to {_WALL_MM[1]:g} mm: is it an outline or"
            " another organ, or is the pixel size wrong?"
        )


def _scar_elsewhere(scar: np.ndarray, myocardium: np.ndarray) -> Iterator[str]:
    """Yields what is odd about where the scar lies."""
    outside = float(np.mean(~myocardium[scar]))
    size = scar.sum() / myocardium.sum()
    if outside > _MOST_OUTSIDE or size > _LARGEST_SCAR:
        yield (
            f"{outside:.0%} of the scar lies outside the myocardium, and it is"
            f" {size:.2f} times as large; expected less than {_MOST_OUTSIDE:.0%} and"
            f" {_LARGEST_SCAR}: are the masks swapped, turned, or is the scar left"
            " out of the myocardium?"
        )


def _outline_px(mask: np.ndarray) -> float:
    """Returns the area, in pixels, of the convex hull of a (Y, X) mask's pixels.

    Unlike a filled hole's it does not depend on the ring being closed.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1) - 0.5
    last = mask.shape[1] - mask[rows, ::-1].argmax(axis=1) - 0.5
    corners = [
        np.stack([rows + side, x], axis=1)
        for side in (-0.5, 0.5)
        for x in (first, last)
    ]
    return float(ConvexHull(np.concatenate(corners)).volume)  # in the plane: area


def _around(mask: np.ndarray) -> float:
    """Returns the share of directions from a (Y, X) mask's middle that meet it."""
    y, x = (at - (at.min() + at.max()) / 2 for at in np.nonzero(mask))
    turn = np.arctan2(y, x) / (2 * np.pi)
    return len(np.unique(np.floor(turn * _SECTORS) % _SECTORS)) / _SECTORS


def named(study: Study) -> str:
    """Returns what a message calls a study: its file or, without one, its patient."""
    return str(study.files[0]) if study.files else f"patient {study.patient}"


def slices_listed(which: np.ndarray) -> str:
    """Returns the slices of a (Z,) mask as text."""
    found = np.flatnonzero(which).tolist()
    several = "s" * (len(found) > 1)
    return f"slice{several} {', '.join(map(str, found))} (0 is the base)"
