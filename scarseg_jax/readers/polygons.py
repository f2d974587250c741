"""Polygons with vertices between pixels to masks that keep their area."""

import numpy as np


def area_px(points: np.ndarray) -> float:
    """Returns the area of a polygon of (N, 2) vertices: the shoelace formula."""
    x, y = np.asarray(points, np.float64).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def coverage(
    points: np.ndarray, shape: tuple[int, int], *, centre_px: float = 0.0
) -> np.ndarray:
    """Returns the (Y, X) float64 share of each pixel that lies inside a polygon.

    Exact: each edge is cut at the borders of pixels, and what it adds to the area at
    its right is summed along the rows. So the sum is the shoelace area, but for what
    lies outside the image. A part that the polygon goes round twice counts once.

    Args:
      points: (N, 2) vertices (x column, y row); the last is joined to the first.
      shape: (Y, X) of the image.
      centre_px: Where the first pixel's centre has its coordinates: 0 where whole
        numbers are centres, 0.5 where they are pixels' corners.
    """
    rows, columns = shape
    # From here on whole numbers are the pixels' borders.
    starts = np.asarray(points, np.float64) - centre_px + 0.5
    added = np.zeros((rows, columns + 2))
    for start, end in zip(starts, np.roll(starts, -1, axis=0), strict=True):
        t = np.unique([0.0, 1.0, *_cuts(start, end, np.array([columns, rows]))])
        x, y = (start + np.outer(t, end - start)).T
        middle_x, middle_y = ((ends[1:] + ends[:-1]) / 2 for ends in (x, y))
        seen = (middle_y > 0) & (middle_y < rows) & (middle_x < columns)
        # What is left of the image has all of each row at its right.
        middle_x, down = np.maximum(middle_x, 0)[seen], np.diff(y)[seen]
        column, row = middle_x.astype(int), middle_y[seen].astype(int)
        share = middle_x - column
        np.add.at(added, (row, column), down * (1 - share))
        np.add.at(added, (row, column + 1), down * share)
    inside = np.abs(added.cumsum(axis=1))[:, :columns]
    return np.minimum(inside, 1.0)


def mask(
    points: np.ndarray, shape: tuple[int, int], *, centre_px: float = 0.0
) -> np.ndarray:
    """Returns the (Y, X) bool pixels that a polygon covers most, as many as its area.

    The area is that of the polygon to half a pixel, whatever its size and the pixels'
    shape: to paint the pixels that it touches adds half its outline.
    """
    share = coverage(points, shape, centre_px=centre_px)
    count = round(float(share.sum()))
    most = np.argsort(-share, axis=None, kind="stable")[:count]
    drawn = np.zeros(share.size, bool)
    drawn[most] = True
    return drawn.reshape(shape)


def _cuts(start: np.ndarray, end: np.ndarray, sides: np.ndarray) -> list[float]:
    """Returns where an edge, from 0 to 1, crosses the borders of the image's pixels."""
    found: list[float] = []
    for low, high, side in zip(start, end, sides, strict=True):
        if low != high:
            first = max(0, np.ceil(min(low, high)))
            last = min(side, np.floor(max(low, high)))
            found += ((np.arange(first, last + 1) - low) / (high - low)).tolist()
    return [cut for cut in found if 0 < cut < 1]
