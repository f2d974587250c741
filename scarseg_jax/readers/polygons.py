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
    # From here on whole numbers are borders; left of the image counts, right does not.
    start = np.clip(
        np.asarray(points, np.float64) - centre_px + 0.5, 0, [columns, rows]
    )
    added = np.zeros((rows + 1, columns + 2))
    for (x0, y0), (x1, y1) in zip(start, np.roll(start, -1, axis=0), strict=True):
        ends = np.array([x0, x1]), np.array([y0, y1])
        cuts = [0.0, 1.0]
        for low, high in ends:
            if low != high:
                between = np.arange(
                    np.ceil(min(low, high)), np.floor(max(low, high)) + 1
                )
                cuts += ((between - low) / (high - low)).tolist()
        t = np.unique(np.clip(cuts, 0, 1))
        x, y = (low + t * (high - low) for low, high in ends)
        middle_x, middle_y = ((v[1:] + v[:-1]) / 2 for v in (x, y))
        column, row = (np.floor(v).astype(int) for v in (middle_x, middle_y))
        down = np.diff(y)
        share = middle_x - column
        np.add.at(added, (row, column), down * (1 - share))
        np.add.at(added, (row, column + 1), down * share)
    inside = np.abs(added.cumsum(axis=1))[:rows, :columns]
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
