"""What the page is told: pictures once, and after every deed outlines and figures.

All figures are those that `predict` would write, as the same functions make them.
"""

from typing import Any

from scarseg_jax.measure.numbers import Numbers
from scarseg_jax.run import Review
from scarseg_jax.serving.case import Case, measured, review_of, segmentation
from scarseg_jax.show.bulls_eye import SHOWN, in_words, segments_shown
from scarseg_jax.show.pages import size, things
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
        "eyes": {
            name: {
                "each": segments_shown(numbers, name),
                "words": in_words(numbers, name),
            }
            for name in SHOWN
        },
        "referenced": numbers.referenced,
        "turned_by": numbers.reference.source if numbers.reference else "",
        "insertions": [case.anterior, case.inferior],
        "corrected": _corrected(review_of(case)),
        "can_undo": bool(case.before),
        "can_clear": bool(case.hand.any()),
        "accepted": case.accepted,
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


def _corrected(review: Review) -> str:
    if not review.by_hand:
        return "Not corrected by hand."
    slices = ", ".join(map(str, review.slices))
    return (
        f"By hand: {size(review.added_ml)} ml added, {size(review.erased_ml)} ml erased,"
        f" in {things(len(review.slices), 'slice')} {slices}."
    )
