"""Slices as SVG: the image's own pixels under the outlines of masks, in mm."""

import base64
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup, escape
from PIL import Image

# A thumbnail shows what is outlined, and so much around it; at least so wide.
_MARGIN_MM = 12.0
_LEAST_SIDE_MM = 70.0


def grey_png(image: np.ndarray) -> str:
    """Returns a (H, W) uint8 image as the address of a PNG that stands in the page."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def outline(mask: np.ndarray) -> str:
    """Returns the border of a mask's pixels as the data of an SVG path.

    Pixel (row, column) covers one unit right and down of (column, row). Each closed
    line has the mask on its right; pixels that touch at a corner alone are apart.

    Args:
      mask: (H, W) bool.
    """
    steps = _border(mask)
    lines = []
    while steps:
        start = next(iter(steps))
        lines.append(_path(start, _walk(steps, start)))
    return "".join(lines)


def _border(mask: np.ndarray) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Returns the unit steps (x, y) that leave each corner along the border."""
    inside = np.pad(mask, 1)  # so that rolling meets nothing at the other end
    steps = defaultdict(list)
    # A pixel's edge, its first corner seen from the pixel, and the step along it.
    for to_x, to_y, (x, y), step in (
        (0, -1, (0, 0), (1, 0)),
        (1, 0, (1, 0), (0, 1)),
        (0, 1, (1, 1), (-1, 0)),
        (-1, 0, (0, 1), (0, -1)),
    ):
        edge = inside & ~np.roll(inside, (-to_y, -to_x), axis=(0, 1))
        for row, column in np.argwhere(edge).tolist():
            steps[column - 1 + x, row - 1 + y].append(step)
    return steps


def _walk(steps: dict, start: tuple[int, int]) -> list[tuple[int, int]]:
    """Returns the steps of one closed line, and takes them away."""
    line: list[tuple[int, int]] = []
    at = start
    while not line or at != start:
        leaving = steps[at]
        step = leaving[0]
        if line:  # where two lines meet, turn right: around the same pixel
            x, y = line[-1]
            step = (-y, x) if (-y, x) in leaving else step
        leaving.remove(step)
        if not leaving:
            del steps[at]
        line.append(step)
        at = at[0] + step[0], at[1] + step[1]
    return line


def _path(start: tuple[int, int], line: Sequence[tuple[int, int]]) -> str:
    """Returns a closed line as path data, equal steps as one."""
    moves: list[list[int]] = []
    for x, y in line:
        if moves and (x == 0) == (moves[-1][0] == 0):
            moves[-1][0] += x
            moves[-1][1] += y
        else:
            moves.append([x, y])
    # The last move is what closing the line draws.
    parts = [f"h{x}" if x else f"v{y}" for x, y in moves[:-1]]
    return f"M{start[0]} {start[1]}{''.join(parts)}z"


def thumbnail(
    image: np.ndarray,
    masks: Mapping[str, np.ndarray],
    pixel_mm: Sequence[float],
    label: str,
) -> Markup:
    """Returns a square picture of what is outlined on a slice.

    Args:
      image: (H, W) uint8.
      masks: (H, W) bool by the name of their outline's style, drawn in this order.
      pixel_mm: Pixel size (y, x).
      label: What it shows, for who cannot see it.
    """
    around = frame_mm(np.any(list(masks.values()), axis=0), pixel_mm)
    return picture(image, masks, pixel_mm, around, label)


def frame_mm(shown: np.ndarray, pixel_mm: Sequence[float]) -> tuple[float, ...]:
    """Returns the top, left and side of a square around a mask, or around all of it.

    Args:
      shown: (H, W) bool.
      pixel_mm: Pixel size (y, x).
    """
    corners_mm = []
    for axis in (0, 1):
        at = np.flatnonzero(shown.any(axis=1 - axis))
        ends = (at[0], at[-1] + 1) if at.size else (0, shown.shape[axis])
        corners_mm.append(np.array(ends) * pixel_mm[axis])
    side = max(*(b - a + 2 * _MARGIN_MM for a, b in corners_mm), _LEAST_SIDE_MM)
    top, left = ((a + b) / 2 - side / 2 for a, b in corners_mm)
    return float(top), float(left), float(side)


def window(
    shape: Sequence[int], pixel_mm: Sequence[float], around_mm: Sequence[float]
) -> tuple[slice, slice]:
    """Returns the rows and columns of an image that a square shows.

    Args:
      shape: Of the image, (H, W).
      pixel_mm: Pixel size (y, x).
      around_mm: Top, left and side, as of `frame_mm`.
    """
    *begin_mm, side = around_mm
    place = []
    for length, mm, begin in zip(shape, pixel_mm, begin_mm, strict=True):
        last = int(np.ceil((begin + side) / mm))
        place.append(slice(max(0, int(begin / mm)), min(last, length)))
    return place[0], place[1]


def picture(
    image: np.ndarray,
    masks: Mapping[str, np.ndarray],
    pixel_mm: Sequence[float],
    around_mm: Sequence[float],
    label: str,
    over: str = "",
) -> Markup:
    """Returns a square of a slice under the outlines of masks.

    Args:
      image: (H, W) uint8.
      masks: (H, W) bool by the name of their outline's style, drawn in this order.
      pixel_mm: Pixel size (y, x).
      around_mm: Top, left and side, as of `frame_mm`.
      label: What it shows, for who cannot see it.
      over: SVG in mm, drawn last.
    """
    rows, columns = window(image.shape, pixel_mm, around_mm)
    (top, left, side), (y, x) = around_mm, pixel_mm
    part = image[rows, columns]
    lines = "".join(
        f'<path class="{name}" d="{outline(mask)}"/>' for name, mask in masks.items()
    )
    return Markup(
        f'<svg role="img" aria-label="{escape(label)}"'
        f' viewBox="{left:.2f} {top:.2f} {side:.2f} {side:.2f}">'
        f'<g transform="scale({x:.6g} {y:.6g})">'
        f'<image x="{columns.start}" y="{rows.start}" width="{part.shape[1]}"'
        f' height="{part.shape[0]}" preserveAspectRatio="none"'
        f' href="{grey_png(part)}"/>{lines}</g>{over}</svg>'
    )
