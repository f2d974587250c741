"""What the page is told: pictures once, and after every deed outlines and figures.

All figures are those that `predict` would write, as the same functions make them.
"""

import math
from typing import Any

from scarseg_jax.measure.numbers import Numbers
from scarseg_jax.measure.segments import APEX, NAMES, Segment
from scarseg_jax.run import Review
from scarseg_jax.serving.case import Case, measured, review_of, segmentation
from scarseg_jax.show.bulls_eye import SHOWN, colours, key, place
from scarseg_jax.show.pages import number, size, things
from scarseg_jax.show.patient_report import (
    outlines_of,
    said_of,
    slices_of,
    warnings_of,
)
from scarseg_jax.show.pictures import outline


def pictures(case: Case) -> dict[str, Any]:
    """Returns what stays as long as the study does."""
    found = segmentation(case)
    slices, _ = slices_of(found)
    return {
        "pictures": [str(one.picture) for one in slices],
        "outlines_key": [[style, words] for style, words, _ in outlines_of(found)],
        "pixel_mm": list(found.study.spacing_mm[1:]),
        "size_px": list(found.study.image.shape[1:]),
        "has_wall": found.myocardium is not None,
        "is_dicom": found.study.series is not None,
    }


def state(case: Case) -> dict[str, Any]:
    """Returns outlines, figures and words as they are now."""
    found = segmentation(case)
    numbers = measured(case, found)
    return {
        "threshold": case.decision.threshold,
        "min_area_mm2": case.decision.min_area_mm2,
        "min_ml": case.decision.min_ml,
        "networks_own": case.decision == case.found.decision,
        "outlines": [outline(mask) for mask in found.scar],
        "said": [said_of(found, z) for z in range(len(found.scar))],
        "figures": _figures(numbers, len(found.scar)),
        "warnings": warnings_of(found, numbers),
        "eyes": {name: _eye(numbers, name) for name in SHOWN},
        "referenced": numbers.referenced,
        "insertions": [case.anterior, case.inferior],
        "corrected": _corrected(review_of(case)),
        "can_undo": bool(case.before),
        "can_clear": bool(case.hand.any()),
        "accepted": case.accepted,
    }


def bare_eye() -> dict[str, Any]:
    """Returns the bull's-eye that the page draws: its parts, their names and the key.

    Each part is the data of an SVG path and where its words go, of a radius of 4.
    """
    return {
        "titles": {name: words for name, (_, _, words) in SHOWN.items()},
        "parts": [_part(number) for number in range(1, APEX + 1)],
        "key": key(),
    }


def _figures(numbers: Numbers, count: int) -> dict[str, str]:
    n = numbers
    return {
        "scar_mass": _amount(n.scar_mass_g, "g"),
        "scar_of_lv": _amount(n.scar_of_lv_percent, "%"),
        "lv_mass": _amount(n.lv_mass_g, "g"),
        "scar_volume": _amount(n.scar_volume_ml, "ml"),
        "slices-with": f"{len(n.slices_with_scar)} of {count}",
        "transmurality": _amount(n.transmurality_of_scar_percent, "%"),
    }


def _amount(value: float | None, unit: str) -> str:
    return size(value) if value is None else f"{size(value)} {unit}"


def _eye(numbers: Numbers, shown: str) -> dict[str, Any]:
    """Returns the fill, the ink and the text of each segment, and all in words."""
    value, bin_name, words = SHOWN[shown]
    segments = numbers.segments or [Segment(i + 1, n) for i, n in enumerate(NAMES)]
    texts = [number(getattr(segment, value), 1) for segment in segments]
    each = [
        [*colours(getattr(segment, bin_name)), text]
        for segment, text in zip(segments, texts, strict=True)
    ]
    known = [
        f"{segment.number} {segment.name} {text}"
        for segment, text in zip(segments, texts, strict=True)
        if getattr(segment, value) is not None
    ]
    return {"each": each, "words": f"{words}: {'; '.join(known) or 'not known'}"}


def _corrected(review: Review) -> str:
    if not review.by_hand:
        return "Not corrected by hand."
    slices = ", ".join(map(str, review.slices))
    return (
        f"By hand: {size(review.added_ml)} ml added, {size(review.erased_ml)} ml erased,"
        f" in {things(len(review.slices), 'slice')} {slices}."
    )


def _part(number: int) -> dict[str, Any]:
    inner, outer, start, end = place(number)
    middle = math.radians((start + end) / 2)
    radius = (inner + outer) / 2 if inner else 0
    return {
        "number": number,
        "path": _ring(inner, outer, start, end) if inner else _disc(outer),
        "x": round(radius * math.cos(middle), 3),
        "y": round(-radius * math.sin(middle), 3),
    }


def _ring(inner: float, outer: float, start: float, end: float) -> str:
    """Returns a piece of a ring, counter-clockwise from start to end, in degrees."""
    (ax, ay), (bx, by) = _at(outer, start), _at(outer, end)
    (cx, cy), (dx, dy) = _at(inner, end), _at(inner, start)
    return (
        f"M{ax} {ay}A{outer} {outer} 0 0 0 {bx} {by}"
        f"L{cx} {cy}A{inner} {inner} 0 0 1 {dx} {dy}z"
    )


def _disc(radius: float) -> str:
    half = f"A{radius} {radius} 0 0 0"
    return f"M{radius} 0{half} {-radius} 0{half} {radius} 0z"


def _at(radius: float, degrees: float) -> tuple[float, float]:
    angle = math.radians(degrees)
    return round(radius * math.cos(angle), 4), round(-radius * math.sin(angle), 4)
