"""The 17 segments as a bull's-eye.

The anterior wall is up and the septum left, as seen from the apex, the basal third
outermost (Cerqueira 2002, doi:10.1161/hc0402.102975). Colours are those of five fixed
bins: no two hearts have scales of their own.
"""

import math
from typing import NamedTuple

from markupsafe import Markup

from scarseg_jax.measure.numbers import Numbers
from scarseg_jax.measure.segments import APEX, BINS, NAMES, Segment
from scarseg_jax.show.pages import number as in_figures

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
_INK, _WARNING = "#1f3b57", "#b3321c"
# Bins of numbers that are not whole.
_WORDS = {"1-25": "> 0 to 25", "26-50": "> 25 to 50"}
_WORDS |= {"51-75": "> 50 to 75", "76-100": "> 75 to 100"}
_SIDES = (  # where the heart's walls are, and how far their names are turned
    *(("anterior", 0, -4.5, 0), ("inferior", 0, 4.5, 0)),
    *(("septum", -4.5, 0, -90), ("lateral", 4.5, 0, 90)),
)


class Shown(NamedTuple):
    """How a segment is shown.

    Attributes:
      fill: Its colour.
      ink: That of its text.
      text: Its value.
    """

    fill: str
    ink: str
    text: str


def bulls_eye(numbers: Numbers, shown: str = "scar") -> Markup:
    """Returns the bull's-eye as SVG; grey is what is not known.

    Args:
      numbers: Of a heart, with its segments.
      shown: A name of `SHOWN`.
    """
    drawn = _parts(segments_shown(numbers, shown)) + _sides()
    if not numbers.referenced:
        drawn += Markup(
            '<text font-size=".4" font-weight="bold" text-anchor="end" x="4.9" y="4.7"'
            ' fill="{}">not referenced</text>'
        ).format(_WARNING)
    return _svg(drawn, in_words(numbers, shown))


def bare() -> Markup:
    """Returns a bull's-eye that has yet to be filled: 17 paths, each with two texts."""
    return _svg(_parts([Shown("", "", "")] * APEX) + _sides(), "")


def segments_shown(numbers: Numbers, shown: str) -> list[Shown]:
    """Returns how each of the 17 segments is shown."""
    value, bin_name, _ = SHOWN[shown]
    return [
        Shown(*colours(getattr(one, bin_name)), in_figures(getattr(one, value), 1))
        for one in _segments(numbers)
    ]


def in_words(numbers: Numbers, shown: str) -> str:
    """Returns what a bull's-eye shows, for those who do not see it."""
    value, _, words = SHOWN[shown]
    known = [
        f"{one.number} {one.name} {in_figures(getattr(one, value), 1)}"
        for one in _segments(numbers)
        if getattr(one, value) is not None
    ]
    return f"{words}: {'; '.join(known) or 'not known'}"


def colours(bin_name: str | None) -> tuple[str, str]:
    """Returns the fill of a bin of `BINS`, None where it is not known, and of its text."""
    fill = _UNKNOWN if bin_name is None else _COLOURS[bin_name]
    return fill, "#ffffff" if fill in _SHADES[3:] else _INK


def legend() -> Markup:
    """Returns the fills and what they mean, as a list in HTML."""
    known = [(fill, f"{_WORDS.get(name, name)} %") for name, fill in _COLOURS.items()]
    item = Markup(
        '<li><svg viewBox="0 0 10 10" aria-hidden="true"><rect width="10" height="10"'
        ' fill="{}"/></svg>{}</li>\n'
    )
    each = (item.format(*one) for one in (*known, (_UNKNOWN, "not known")))
    return Markup('<ul class="bins soft" aria-label="Colours">\n{}</ul>').format(
        Markup().join(each)
    )


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


def _segments(numbers: Numbers) -> list[Segment]:
    return [*numbers.segments] or [Segment(i + 1, n) for i, n in enumerate(NAMES)]


def _svg(drawn: Markup, words: str) -> Markup:
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" class="eye" role="img"'
        ' viewBox="-5 -5 10 10" aria-label="{}"><g font-family="sans-serif"'
        ' font-size=".38" text-anchor="middle" dominant-baseline="central">{}</g></svg>'
    ).format(words, drawn)


def _parts(each: list[Shown]) -> Markup:
    """Returns the segments: a path, their number and their value."""
    drawn = Markup()
    for number, (fill, ink, text) in enumerate(each, start=1):
        inner, outer, start, end = place(number)
        middle = math.radians((start + end) / 2)
        radius = (inner + outer) / 2 if inner else 0
        x, y = radius * math.cos(middle), -radius * math.sin(middle)
        path = _ring(inner, outer, start, end) if inner else _disc(outer)
        drawn += Markup(
            '<path d="{}" fill="{}" stroke="{}" stroke-width=".05"/>'
            '<text font-size=".3" x="{:.3f}" y="{:.3f}" fill="{}">{}</text>'
            '<text x="{:.3f}" y="{:.3f}" fill="{}">{}</text>'
        ).format(path, fill, _INK, x, y - 0.32, ink, number, x, y + 0.14, ink, text)
    return drawn


def _sides() -> Markup:
    text = Markup(
        '<text font-size=".4" fill="{}" transform="translate({} {}) rotate({})">{}</text>'
    )
    each = (text.format(_INK, x, y, turn, name) for name, x, y, turn in _SIDES)
    return Markup().join(each)


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
