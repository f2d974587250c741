"""One self-contained HTML page about one patient's scar, to read or to print.

It says what was found and measured, and never whose it is.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup, escape

from scarseg_jax import files
from scarseg_jax.judge.windows import SHOWN_PERCENTILES, to_grey
from scarseg_jax.measure.mass import DENSITY_G_PER_ML, percent
from scarseg_jax.measure.numbers import Numbers
from scarseg_jax.run import INTERVAL_LEVEL, Review, Segmentation, TrainedMember
from scarseg_jax.show.bulls_eye import SHOWN, bulls_eye, legend
from scarseg_jax.show.pages import part, template, things
from scarseg_jax.show.pictures import frame_mm, picture, window
from scarseg_jax.study import Geometry, Study

_BAR_MM = 20
_WEIGHTS = {
    "last": "the last epoch",
    "validation": "the epoch best on validation patients",
    "oracle": "the epoch best on the test patients (oracle: flattering)",
}
_PHASE = {
    True: "phase-sensitive",
    False: "magnitude",
    None: "not known whether magnitude or phase-sensitive",
}
_KINDS = {
    True: "a phase-sensitive image",
    False: "a magnitude image",
    None: "an image of which it is not known whether it is phase-sensitive",
}
_ALONE = {"5sd": "Scar by 5 SD alone", "fwhm": "Scar by FWHM alone"}
# On A4 the first page's text is so wide, below the header so high, less for each
# warning and for a review; a slice's words are so high.
_WIDTH_MM, _HEIGHT_MM, _WARNING_MM, _REVIEW_MM, _WORDS_MM = 186, 200, 4.5, 9, 11
_MOST_COLUMNS = 8


@dataclasses.dataclass(frozen=True)
class Slice:
    """A slice's number from the base, 0, its picture and what is said of it."""

    number: int
    picture: Markup
    said: str


@dataclasses.dataclass(frozen=True)
class _Size:
    """A row of the table of sizes; None is what cannot be known."""

    name: str
    volume_ml: float | None
    mass_g: float | None
    of_lv_percent: float | None
    of_scar_percent: float | None


def write_patient_report(output: Path, found: Segmentation, numbers: Numbers) -> None:
    """Writes the page.

    Args:
      output: The HTML file.
      found: What is pictured.
      numbers: The same scar's, measured in the same myocardium: where the networks
        found it, that of the segmentation, which the study does not have.

    Raises:
      ValueError: If the numbers are another patient's, or another myocardium's.
    """
    if numbers.patient != found.study.patient:
        raise ValueError("numbers of another patient than the segmentation's")
    if not np.isclose(numbers.lv_volume_ml or 0, _lv_ml(found)):
        raise ValueError("numbers of another myocardium than the segmentation's")
    slices, shown = slices_of(found)
    warnings = warnings_of(found, numbers)
    page = template("patient_report.html.jinja").render(
        style=part("run_report.css") + part("patient_report.css"),
        numbers=numbers,
        warnings=warnings,
        count=len(found.scar),
        myocardium=_myocardium(found),
        seen=_seen(found),
        decision=found.decision,
        between=_between(numbers),
        review=None if found.review is None else _review(found.review),
        slices=slices,
        columns=_columns(len(found.scar), len(warnings), found.review is not None),
        outlines=[(name, words) for name, words, _ in outlines_of(found)],
        sizes=_sizes(numbers),
        density=DENSITY_G_PER_ML,
        kinds=_KINDS,
        eyes=[
            {"svg": bulls_eye(numbers, name), "words": SHOWN[name][2]}
            for name in _eyes(numbers)
        ],
        legend=legend(),
        made=_made(found, shown),
    )
    files.write_text(output, page)


def _between(numbers: Numbers) -> str:
    """Returns where the true mass is likely to lie, in words."""
    if numbers.scar_mass_between_g is None:
        return ""
    low_g, high_g = numbers.scar_mass_between_g
    return f"; {100 * INTERVAL_LEVEL:.0f} % interval {low_g:.1f} to {high_g:.1f} g"


def _lv_ml(found: Segmentation) -> float:
    mask = found.myocardium
    return 0 if mask is None else found.study.geometry.volume_ml(mask)


def warnings_of(found: Segmentation, numbers: Numbers) -> list[str]:
    """Returns what is to be known before a figure is read; sentences."""
    said = []
    if not found.unseen:
        said.append(
            f"{_count_seen(found)} of the {len(found.members)} networks were trained or"
            " chosen with this very patient: the scar says nothing about how they do on"
            " others."
        )
    if found.found_the_wall:
        said.append(
            "Nobody drew the myocardium: the networks found it, and every figure of the"
            " LV rests on it. See that its outline is right."
        )
    return [*said, *numbers.warnings]


def _count_seen(found: Segmentation) -> int:
    return sum(found.run.saw(member, str(found.patient)) for member in found.members)


def _myocardium(found: Segmentation) -> str:
    if found.myocardium is None:
        return "neither given nor found"
    return "found by the networks" if found.found_the_wall else "given"


def _seen(found: Segmentation) -> str:
    if not found.unseen:
        return f"{_count_seen(found)} of {len(found.members)} had seen this patient"
    return "had not seen this patient" + (
        "; those of the run that had were not asked" if found.left_out else ""
    )


def _review(review: Review) -> str:
    """Returns what a person did, in words."""
    asked = (
        f"{review.asked.threshold:.3g}, {review.asked.min_area_mm2:.3g} mm² and"
        f" {review.asked.min_ml:.3g} ml"
    )
    said = f"accepted by a person; the networks' own limits are {asked}"
    if not review.by_hand:
        return f"{said}; not corrected by hand"
    slices = ", ".join(map(str, review.slices))
    return (
        f"{said}; corrected by hand in {things(len(review.slices), 'slice')} {slices}:"
        f" {review.added_ml:.2g} ml added,"
        f" {review.erased_ml:.2g} ml erased"
    )


def outlines_of(found: Segmentation) -> list[tuple[str, str, np.ndarray]]:
    """Returns the style, the name and the mask of what is outlined, in this order."""
    by_hand = found.review is not None and found.review.by_hand
    each = (
        ("myocardium", "myocardium", found.myocardium),
        ("cavity", "cavity", found.cavity),
        ("called", "scar, corrected by hand" if by_hand else "called scar", found.scar),
    )
    return [(style, words, mask) for style, words, mask in each if mask is not None]


def _around_mm(found: Segmentation) -> tuple[float, ...]:
    """Returns top, left and side of the square in which every slice is shown.

    Without any heart outlined it holds what the networks saw, and else all of the image.
    """
    heart = [mask for _, _, mask in outlines_of(found)]
    if len(heart) == 1:  # scar alone
        heart.append(found.probability > 0)
    return frame_mm(np.any(heart, axis=(0, 1)), found.study.spacing_mm[1:])


def _grey(
    found: Segmentation, around_mm: Sequence[float]
) -> tuple[np.ndarray, tuple[float, float]]:
    """Returns (Z, Y, X) uint8 of what is shown, and the intensities of black and white."""
    image, pixel_mm = found.study.image, found.study.spacing_mm[1:]
    rows, columns = window(image.shape[1:], pixel_mm, around_mm)
    grey = np.zeros(image.shape, np.uint8)
    grey[:, rows, columns], black_white = to_grey(image[:, rows, columns])
    return grey, black_white


def slices_of(found: Segmentation) -> tuple[list[Slice], tuple[float, float]]:
    """Returns every slice in outlines, and the intensities of black and white."""
    around_mm = _around_mm(found)
    grey, shown = _grey(found, around_mm)
    geometry, pixel_mm = found.study.geometry, found.study.spacing_mm[1:]
    over = _marks(geometry, around_mm)
    slices = []
    for z, image in enumerate(grey):
        masks = {style: mask[z] for style, _, mask in outlines_of(found)}
        said = said_of(found, z)
        label = f"Slice {z}: {said}"
        drawn = picture(image, masks, pixel_mm, around_mm, label, over)
        slices.append(Slice(z, drawn, said))
    return slices, shown


def said_of(found: Segmentation, z: int) -> str:
    """Returns how much scar a slice has, in words."""
    scar = found.scar[z]
    if not scar.any():
        return "no scar called"
    said = f"scar {scar.sum() * found.study.geometry.pixel_mm2:.0f} mm²"
    if found.myocardium is None or not (wall := found.myocardium[z]).any():
        return said
    return f"{said}, {100 * (scar & wall).sum() / wall.sum():.0f} % of the wall"


def _marks(geometry: Geometry, around_mm: Sequence[float]) -> str:
    """Returns the letters of the edges and the scale bar, as SVG."""
    top, left, side = around_mm
    middle, edge = side / 2, side * 0.055
    places = (
        *((edge, middle), (side - edge, middle)),
        *((middle, edge), (middle, side - edge)),
    )
    marks = "".join(
        f'<text class="mark" x="{left + x:.2f}" y="{top + y:.2f}">{escape(letter)}</text>'
        for letter, (x, y) in zip(geometry.orientation_marks, places, strict=True)
    )
    x, y = left + side * 0.04, top + side * 0.96
    return (
        f'<g font-size="{side * 0.065:.2f}">{marks}'
        f'<path class="bar" d="M{x:.2f} {y:.2f}h{_BAR_MM}"/>'
        f'<text x="{x:.2f}" y="{y - side * 0.045:.2f}">{_BAR_MM} mm</text></g>'
    )


def _columns(count: int, warnings: int, reviewed: bool) -> int:
    """Returns the fewest pictures beside each other whose rows fit the first page."""
    height_mm = _HEIGHT_MM - _WARNING_MM * warnings - _REVIEW_MM * reviewed
    for columns in range(2, _MOST_COLUMNS):
        rows = -(-count // columns)
        if rows * (_WIDTH_MM / columns + _WORDS_MM) <= height_mm:
            return columns
    return _MOST_COLUMNS


def _sizes(numbers: Numbers) -> list[_Size]:
    n, zones = numbers, numbers.zones
    rows = [
        _Size(
            "LV myocardium",
            n.lv_volume_ml,
            n.lv_mass_g,
            percent(n.lv_volume_ml, n.lv_volume_ml),
            None,
        ),
        _Size(
            "Scar",
            n.scar_volume_ml,
            n.scar_mass_g,
            n.scar_of_lv_percent,
            percent(n.scar_volume_ml, n.scar_volume_ml),
        ),
        _Size(
            "of it no-reflow",
            n.no_reflow_volume_ml,
            n.no_reflow_mass_g,
            n.no_reflow_of_lv_percent,
            n.no_reflow_of_scar_percent,
        ),
    ]
    if n.no_reflow_volume_ml is None:
        rows.pop()
    if zones is not None:
        rows += [
            _zone("Infarct core", zones.core_mass_g, zones.core_of_lv_percent),
            _zone("Grey zone", zones.grey_mass_g, zones.grey_of_lv_percent),
        ]
    rows += [
        _zone(_ALONE[one.name], one.scar_mass_g, one.scar_of_lv_percent)
        for one in n.by_intensity
    ]
    return rows


def _zone(name: str, mass_g: float | None, of_lv_percent: float | None) -> _Size:
    volume_ml = None if mass_g is None else mass_g / DENSITY_G_PER_ML
    return _Size(name, volume_ml, mass_g, of_lv_percent, None)


def _eyes(numbers: Numbers) -> list[str]:
    """Returns what bull's-eyes show: without a reference one is enough, grey."""
    return list(SHOWN) if numbers.referenced else ["scar"]


def _made(found: Segmentation, shown: tuple[float, float]) -> dict[str, str]:
    """Returns what the page was made with, in words, by name."""
    run, study, decision = found.run, found.study, found.decision
    inside = "found" if found.found_the_wall else "given"
    protocol = "the whole crop"
    if run.protocol == 2:
        protocol = f"inside the {inside} myocardium"
        protocol += ", by other networks" * found.found_the_wall
    if run.context:
        protocol += ", its surroundings in view"
    if run.neighbours:
        slices = things(run.neighbours, "slice")
        protocol += f", {run.neighbours} {slices} on each side in view"
    if run.protocol != 2 and found.myocardium is not None:
        protocol += f"; scar inside the {inside} myocardium"
    symmetries = ", each the mean over 8 symmetries" if run.symmetries else ""
    network = f"variant {run.variant}, tells apart {run.classes}"
    (black, white), (low, high) = shown, SHOWN_PERCENTILES
    return {
        "Protocol": f"{run.protocol}: {protocol}",
        "Networks": f"{_networks(found.members)}{symmetries}",
        "Not asked": _networks(found.left_out) if found.left_out else "none",
        "Weights of": _WEIGHTS[run.selection],
        "Network": f"{network}; preparation {run.preparation}",
        "Threshold": f"a mean probability of {decision.threshold:.3g}",
        "Smallest area": f"{decision.min_area_mm2:.3g} mm² of connected pixels",
        "Smallest scar": f"more than {decision.min_ml:.3g} ml in all",
        "Image": f"{_grid(study)}; {_PHASE[study.phase_sensitive]}",
        "Pictures": f"black {black:.4g}, white {white:.4g} (percentiles {low}, {high})",
        "Data of the networks": f"{run.source}, hash {run.data_hash}",
        "Versions": ", ".join(f"{name} {it}" for name, it in run.versions.items()),
    }


def _grid(study: Study) -> str:
    _, y, x = study.spacing_mm
    count, extents_mm = len(study.image), study.geometry.extents_mm
    low, high = (f"{mm:.1f}" for mm in (extents_mm.min(), extents_mm.max()))
    each = low if low == high else f"{low} to {high}"
    return (
        f"{count} {things(count, 'slice')} of {each} mm; pixels of {y:.3g} x {x:.3g} mm"
    )


def _networks(members: Sequence[TrainedMember]) -> str:
    """Returns how many they are, and the seeds of each fold."""
    seeds: dict[int, list[int]] = {}
    for trained in members:
        seeds.setdefault(trained.member.fold, []).append(trained.member.seed)
    each = "; ".join(
        f"fold {fold}, {things(len(own), 'seed')} {', '.join(map(str, own))}"
        for fold, own in sorted(seeds.items())
    )
    return f"{len(members)} ({each})"
