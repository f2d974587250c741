"""What a person makes of the networks' answer: another threshold, a brush, a septum.

A `Case` never changes: every deed returns another. What was painted stays, whatever
threshold and area are chosen before or after.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.measure.numbers import Numbers
from scarseg_jax.measure.segments import Reference, from_insertions
from scarseg_jax.measure.walls import Wall, walls_of
from scarseg_jax.run import Decision, Review, Segmentation
from scarseg_jax.segment.intensities import by_intensity
from scarseg_jax.segment.pipeline import call_scar, dismissed_ml, review
from scarseg_jax.writers.segmentation import numbers_of, with_walls

ADD, ERASE = 1, -1
Point = tuple[int, float, float]  # slice, row, column; a pixel's centre is whole
_WIDEST_MM = 50.0  # a brush's
_FARTHEST_PX = 10_000  # from the picture's corner, beyond which nobody draws


@dataclasses.dataclass(frozen=True)
class Stroke:
    """One stroke of a brush.

    Attributes:
      slice: From 0, the base.
      points_px: (row, column) of its corners; a pixel's centre is whole.
      width_mm: Of the brush.
      erase: Whether it erases scar instead of adding it.
      inside: Whether it adds in the myocardium alone, where there is one.
    """

    slice: int
    points_px: tuple[tuple[float, float], ...]
    width_mm: float
    erase: bool
    inside: bool


@dataclasses.dataclass(frozen=True, eq=False)
class _Before:
    """What stood in a part of the painted volume before a deed."""

    where: tuple[slice, ...]
    hand: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One study and what has been done with it.

    Attributes:
      found: The networks' answer, as they gave it.
      decision: When scar is called now.
      walls: Of the myocardium, which nobody changes; empty without any.
      hand: (Z, Y, X) int8: `ADD` and `ERASE` where a person said so, else 0.
      before: For undoing, the latest last.
      anterior: Insertion of the right ventricle; None where it was not shown.
      inferior: The same.
      reference: What they tell; the inferior one alone does not.
      accepted: Whether all this was accepted.
    """

    found: Segmentation
    decision: Decision
    walls: tuple[Wall, ...]
    hand: np.ndarray
    before: tuple[_Before, ...] = ()
    anterior: Point | None = None
    inferior: Point | None = None
    reference: Reference | None = None
    accepted: bool = False


def opened(found: Segmentation) -> Case:
    """Returns the case of an answer that nobody has touched."""
    walls = () if found.myocardium is None else walls_of(with_walls(found))
    return Case(found, found.decision, walls, np.zeros(found.scar.shape, np.int8))


def decided(case: Case, decision: Decision) -> Case:
    """Returns the case with scar called otherwise.

    Raises:
      InputError: If the threshold is no probability, the area or the volume none.
    """
    threshold, area, volume = dataclasses.astuple(decision)
    if not (0 < threshold < 1 and 0 <= area < math.inf and 0 <= volume < math.inf):
        raise InputError(
            f"threshold {threshold:g}, smallest area {area:g} mm² and smallest scar"
            f" {volume:g} ml; expected a probability between 0 and 1, and 0 or more"
        )
    return dataclasses.replace(case, decision=decision, accepted=False)


def painted(case: Case, stroke: Stroke) -> Case:
    """Returns the case with a stroke; the same case if it touches nothing.

    Raises:
      InputError: If it is in no slice, or no stroke.
    """
    study, wall = case.found.study, case.found.myocardium
    slices, height, width = study.image.shape
    points = np.array(stroke.points_px, float).reshape(-1, 2)
    if not (
        0 <= stroke.slice < slices
        and 0 < stroke.width_mm <= _WIDEST_MM
        and len(points)
        and (np.abs(points) <= _FARTHEST_PX).all()
    ):
        raise InputError(
            f"a stroke of {len(points)} points, {stroke.width_mm:g} mm wide, in slice"
            f" {stroke.slice}; expected one of the {slices} slices, and a brush of"
            f" {_WIDEST_MM:g} mm at most"
        )
    touched = swept((height, width), points, stroke.width_mm, study.spacing_mm[1:])
    if stroke.inside and not stroke.erase and wall is not None:
        touched &= wall[stroke.slice]
    if not touched.any():
        return case
    rows, columns = (np.flatnonzero(touched.any(axis=axis)) for axis in (1, 0))
    where = (
        slice(stroke.slice, stroke.slice + 1),
        slice(rows[0], rows[-1] + 1),
        slice(columns[0], columns[-1] + 1),
    )
    hand = case.hand.copy()
    hand[stroke.slice][touched] = ERASE if stroke.erase else ADD
    return _by_hand(case, where, hand)


def swept(
    shape: tuple[int, int],
    points_px: np.ndarray,
    width_mm: float,
    pixel_mm: Sequence[float],
) -> np.ndarray:
    """Returns the (H, W) bool mask of a round brush drawn along corners.

    It has the pixels whose centre is within half the width of the line, and those that
    the corners lie in, so that no brush is too fine.

    Args:
      shape: (H, W).
      points_px: (n, 2) corners (row, column).
      width_mm: Of the brush.
      pixel_mm: Pixel size (y, x).
    """
    mask = np.zeros(shape, bool)
    own = np.floor(points_px + 0.5)
    own = own[((own >= 0) & (own < shape)).all(axis=1)].astype(int)
    mask[own[:, 0], own[:, 1]] = True
    scale = np.array(pixel_mm[-2:])
    at_mm, reach = points_px * scale, width_mm / 2
    low = np.floor((at_mm - reach).min(axis=0) / scale)
    high = np.ceil((at_mm + reach).max(axis=0) / scale) + 1
    (top, left), (bottom, right) = (
        np.clip(end, 0, shape).astype(int) for end in (low, high)
    )
    rows, columns = np.arange(top, bottom), np.arange(left, right)
    y, x = np.meshgrid(rows * scale[0], columns * scale[1], indexing="ij")
    near = np.zeros(y.shape, bool)
    starts = at_mm if len(at_mm) == 1 else at_mm[:-1]
    for start, end in zip(starts, at_mm[-len(starts) :], strict=True):
        along = end - start
        length2 = along @ along
        to_y, to_x = y - start[0], x - start[1]
        if length2:
            share = np.clip((to_y * along[0] + to_x * along[1]) / length2, 0, 1)
            to_y, to_x = to_y - share * along[0], to_x - share * along[1]
        near |= to_y**2 + to_x**2 <= reach**2
    mask[top:bottom, left:right] |= near
    return mask


def undone(case: Case) -> Case:
    """Returns the case without the latest that was done by hand."""
    if not case.before:
        return case
    *before, latest = case.before
    hand = case.hand.copy()
    hand[latest.where] = latest.hand
    return dataclasses.replace(case, hand=hand, before=tuple(before), accepted=False)


def cleared(case: Case) -> Case:
    """Returns the case without anything done by hand; that can be undone, too."""
    if not case.hand.any():
        return case
    return _by_hand(case, (slice(None),) * 3, np.zeros_like(case.hand))


def referenced(case: Case, anterior: Point | None, inferior: Point | None) -> Case:
    """Returns the case with the insertions of the right ventricle, which turn segments.

    Raises:
      InputError: If a point lies in no ring of myocardium.
    """
    reference = None
    if anterior is not None:
        reference = from_insertions(with_walls(case.found), anterior, inferior)
    return dataclasses.replace(
        case,
        anterior=anterior,
        inferior=inferior,
        reference=reference,
        accepted=False,
    )


def segmentation(case: Case) -> Segmentation:
    """Returns the segmentation as it is now; a review is part of an accepted one."""
    networks_own = case.decision == case.found.decision and not case.hand.any()
    return dataclasses.replace(
        case.found,
        scar=_corrected(case, _called(case)),
        decision=case.decision,
        dismissed_ml=_dismissed_ml(case),
        between_ml=case.found.between_ml if networks_own else None,
        sure_of_scar=case.found.sure_of_scar if networks_own else None,
        review=review_of(case) if case.accepted else None,
    )


def measured(case: Case, found: Segmentation) -> Numbers:
    """Returns the figures of a segmentation of the case."""
    beside = by_intensity(found)  # no-reflow in it goes with the scar that is called
    return numbers_of(found, case.reference, case.walls, by_intensity=beside)


def review_of(case: Case) -> Review:
    """Returns what a person has made of the answer."""
    called = _called(case)
    return review(case.found, called, _corrected(case, called))


def _corrected(case: Case, called: np.ndarray) -> np.ndarray:
    return (called | (case.hand == ADD)) & (case.hand != ERASE)


def _called(case: Case) -> np.ndarray:
    return call_scar(case.found.probability, case.found.study, case.decision)


def _dismissed_ml(case: Case) -> float:
    return dismissed_ml(case.found.probability, case.found.study, case.decision)


def _by_hand(case: Case, where: tuple[slice, ...], hand: np.ndarray) -> Case:
    before = _Before(where, case.hand[where].copy())
    return dataclasses.replace(
        case, hand=hand, before=(*case.before, before), accepted=False
    )
