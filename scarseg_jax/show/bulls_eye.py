"""The 17 segments as a bull's-eye.

The anterior wall is up and the septum left, as seen from the apex, the basal third
outermost (Cerqueira 2002, doi:10.1161/hc0402.102975). Colours are those of five fixed
bins: no two hearts have scales of their own.
"""

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Wedge

from scarseg_jax.measure.numbers import Numbers
from scarseg_jax.measure.segments import APEX, BINS, NAMES, Segment
from scarseg_jax.show.figures import svg

# What may be shown: the segments' values, their bins, and what they are.
SHOWN = {
    "scar": ("scar_of_segment_percent", "scar_bin", "scar, % of the segment's volume"),
    "transmurality": (
        "transmurality_percent",
        "transmurality_bin",
        "mean transmurality of all chords, %",
    ),
}
# Lightness falls evenly, so that they differ without colour and in print.
_SHADES = ("#ffffff", "#fbdcc8", "#ef9f78", "#cf5636", "#7f1d1d")
_COLOURS = dict(zip(BINS, _SHADES, strict=True))
_UNKNOWN = "#c3c8ce"
_WARNING = "#b3321c"
_INK = "#1f3b57"
# Bins of numbers that are not whole.
_WORDS = {"1-25": "> 0 to 25", "26-50": "> 25 to 50"}
_WORDS |= {"51-75": "> 50 to 75", "76-100": "> 75 to 100"}
_DASH = "\N{EN DASH}"
_PNG_DPI = 160
_CENTRED: Any = {"ha": "center", "va": "center", "fontsize": 8}
_SIDES = (
    *(("anterior", 0, 4.45), ("inferior", 0, -4.45)),
    *(("septum", -4.45, 0), ("lateral", 4.45, 0)),
)


def bulls_eye(numbers: Numbers, shown: str = "scar") -> str:
    """Returns the bull's-eye as SVG; grey is what is not known.

    Args:
      numbers: Of a heart, with its segments.
      shown: A name of `SHOWN`.
    """
    return svg(_draw(numbers, shown))


def bulls_eye_png(numbers: Numbers, shown: str = "scar") -> bytes:
    """Returns the same as PNG."""
    stream = io.BytesIO()
    figure = _draw(numbers, shown)
    figure.savefig(stream, format="png", dpi=_PNG_DPI, metadata={"Software": None})
    return stream.getvalue()


def colours(bin_name: str | None) -> tuple[str, str]:
    """Returns the fill of a bin of `BINS`, None where it is not known, and of its text."""
    fill = _UNKNOWN if bin_name is None else _COLOURS[bin_name]
    return fill, "#ffffff" if fill in _SHADES[3:] else _INK


def key() -> list[tuple[str, str]]:
    """Returns the fills and what they mean."""
    known = [(fill, f"{_WORDS.get(name, name)} %") for name, fill in _COLOURS.items()]
    return [*known, (_UNKNOWN, "not known")]


def place(number: int) -> tuple[float, float, float, float]:
    """Returns a segment's inner and outer radius, of 4, and its angles in degrees.

    Angles are counter-clockwise from the right; segment 17 has all of them.
    """
    if number == APEX:
        return 0, 1, 0, 360
    ring, first, sectors = (
        (3, 1, 6) if number <= 6 else (2, 7, 6) if number <= 12 else (1, 13, 4)
    )
    width = 360 / sectors
    start = 90 - width / 2 + width * (number - first)
    return ring, ring + 1, start, start + width


def _draw(numbers: Numbers, shown: str) -> Figure:
    value, bin_name, words = SHOWN[shown]
    figure = Figure(figsize=(5.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(-4.9, 4.9), ylim=(-4.9, 4.9), aspect="equal")
    axes.set_axis_off()
    axes.set_title(words, fontsize=9, color=_INK)
    for segment in numbers.segments or [
        Segment(i + 1, name) for i, name in enumerate(NAMES)
    ]:
        name = getattr(segment, bin_name)
        _wedge(axes, segment.number, name, getattr(segment, value))
    for text, x, y in _SIDES:
        axes.text(x, y, text, rotation=90 if x else 0, color=_INK, **_CENTRED)
    axes.legend(
        [Patch(facecolor=fill, edgecolor=_INK, lw=0.6) for fill, _ in key()],
        [words for _, words in key()],
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        fontsize=8,
    )
    if not numbers.referenced:
        axes.text(
            4.9, -4.6, "not referenced", color=_WARNING, weight="bold", **_CENTRED
        )
    return figure


def _wedge(
    axes: Axes, number: int, bin_name: str | None, percentage: float | None
) -> None:
    inner, outer, start, end = place(number)
    width = outer - inner if inner else None
    colour, ink = colours(bin_name)
    patch = Wedge(
        (0, 0), outer, start, end, width=width, facecolor=colour, ec=_INK, lw=0.8
    )
    axes.add_patch(patch)
    middle = np.radians((start + end) / 2)
    radius = (inner + outer) / 2 if inner else 0
    x, y = radius * np.cos(middle), radius * np.sin(middle)
    axes.text(x, y + 0.22, str(number), color=ink, **{**_CENTRED, "fontsize": 6})
    what = _DASH if percentage is None else f"{percentage:.1f}"
    axes.text(x, y - 0.16, what, color=ink, **_CENTRED)
