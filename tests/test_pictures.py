import re
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from scarseg_jax.show.pictures import outline, thumbnail


def mask_of(*rows):
    return np.array([[c == "#" for c in row] for row in rows])


def loops(path):
    """The corners (x, y) of each closed line of a path."""
    found = []
    for part in re.findall(r"M(\d+) (\d+)([^z]*)z", path):
        x, y = int(part[0]), int(part[1])
        corners = [(x, y)]
        for step, length in re.findall(r"([hv])(-?\d+)", part[2]):
            x, y = (x + int(length), y) if step == "h" else (x, y + int(length))
            corners.append((x, y))
        found.append(np.array(corners))
    return found


def area(corners):
    """The shoelace formula, positive with the inside on the right (y is down)."""
    x, y = corners.T
    return (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


@pytest.mark.parametrize(
    ("rows", "path"),
    [
        (("...", ".#.", "..."), "M1 1h1v1h-1z"),
        (("##", "##"), "M0 0h2v2h-2z"),
        (("###", "#.#", "###"), "M0 0h3v3h-3zM1 2h1v-1h-1z"),
        (("#.", ".#"), "M0 0h1v1h-1zM1 1h1v1h-1z"),
        (("..", ".."), ""),
    ],
)
def test_the_border_of_pixels_is_closed_lines(rows, path):
    assert outline(mask_of(*rows)) == path


def test_lines_enclose_the_masks_area_one_a_part_and_hole():
    rng = np.random.default_rng(0)
    mask = ndimage.gaussian_filter(rng.normal(size=(40, 50)), 1) > -0.03
    found = loops(outline(mask))
    areas = np.array([area(corners) for corners in found])
    assert areas.sum() == mask.sum()
    label: Any = ndimage.label
    _, parts = label(mask)  # that touch at a corner alone are apart
    _, holes = label(np.pad(~mask, 1, constant_values=True), np.ones((3, 3)))
    assert parts > 1
    assert holes > 2
    assert (areas > 0).sum() == parts
    assert (areas < 0).sum() == holes - 1  # but the surroundings
    for corners in found:
        moves = np.diff(np.vstack([corners, corners[:1]]), axis=0)
        assert ((moves == 0).sum(axis=1) == 1).all()  # never aslant


def test_a_thumbnail_is_square_in_mm_around_what_is_outlined():
    mask = np.zeros((100, 100), bool)
    mask[40:60, 40:50] = True  # 40 mm high and 10 mm wide
    image = np.zeros((100, 100), np.uint8)
    svg = thumbnail(image, {"truth": mask, "called": ~mask & mask}, (2.0, 1.0), "a")
    view = re.search(r'viewBox="([^"]*)"', svg)
    assert view is not None
    left, top, width, height = map(float, view[1].split())
    assert width == height == 70
    assert (left + width / 2, top + height / 2) == (45, 100)
    assert 'scale(1 2)"' in svg
    assert f'class="truth" d="{outline(mask)}"' in svg
    # No more of the image than is seen: 35 of 100 rows of 2 mm, 70 columns of 1.
    assert 'x="10" y="32" width="70" height="36"' in svg


def test_a_thumbnails_name_is_text_never_markup():
    image = np.zeros((9, 9), np.uint8)
    svg = thumbnail(image, {"truth": image > 0}, (1.0, 1.0), '"><script>')
    assert "<script>" not in svg
    assert 'aria-label="&#34;&gt;&lt;script&gt;"' in svg
