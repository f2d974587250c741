import dataclasses
import re

import numpy as np
import pytest
from matplotlib.path import Path

from scarseg_jax.measure.numbers import measure
from scarseg_jax.measure.segments import from_insertions
from scarseg_jax.show.bulls_eye import SHOWN, bare, bulls_eye, place
from tests.hearts import heart, scar_of

GREY = 'fill="#c3c8ce"'


def drawn(*, referenced=True):
    study = heart()
    reference = from_insertions(study, (4, 8.0, 19.0)) if referenced else None
    return measure(study, scar_of(study, 130, 80), reference=reference)


def test_the_segments_fill_the_disc_and_do_not_overlap():
    radius, angle = np.meshgrid(np.linspace(0.01, 3.99, 50), np.linspace(1, 360, 50))
    times = np.zeros(radius.shape, int)
    for number in range(1, 18):
        inner, outer, start, end = place(number)
        ring = (radius >= inner) & (radius < outer)
        times += ring & ((angle - start) % 360 < end - start)
    assert (times == 1).all()


def test_anterior_is_up_and_the_septum_left():
    middles = {n: sum(place(n)[2:]) / 2 % 360 for n in range(1, 17)}
    assert {middles[n] for n in (1, 7, 13)} == {90}
    assert (middles[2], middles[3], middles[14]) == (150, 210, 180)
    assert (middles[5], middles[6], middles[16]) == (330, 30, 0)


@pytest.mark.parametrize("shown", SHOWN)
def test_it_is_said_whether_the_septum_is_known(shown):
    known, unknown = drawn(), drawn(referenced=False)
    assert "not referenced" not in bulls_eye(known, shown)
    assert "not referenced" in bulls_eye(unknown, shown)
    assert bulls_eye(known, shown).count(GREY) == 1  # the apex
    assert bulls_eye(unknown, shown).count(GREY) == 17


def test_the_values_stand_in_it():
    numbers = drawn()
    text = re.sub(r"<[^>]*>", "", bulls_eye(numbers))
    for segment in numbers.segments[:16]:
        assert f"{segment.scar_of_segment_percent:.1f}" in text


def test_the_same_heart_gives_the_same_picture():
    assert bulls_eye(drawn()) == bulls_eye(drawn())


def test_each_path_lies_where_its_segment_does():
    """A point in the middle of a segment is in its path alone, by even-odd crossings."""
    paths = re.findall(r'<path d="([^"]*)"', bare())
    assert len(paths) == 17
    for number in range(1, 18):
        inner, outer, start, end = place(number)
        middle = np.radians((start + end) / 2)
        radius = (inner + outer) / 2 if inner else 0.3
        point = radius * np.cos(middle), -radius * np.sin(middle)
        inside = [n for n, path in enumerate(paths, 1) if holds(path, point)]
        assert inside == [number]


def holds(path, point):
    """Whether a path of lines and circles' arcs about the origin holds a point."""
    corners, here = [], np.zeros(2)
    for letter, numbers in re.findall(r"([MLA])([^MLAz]*)", path):
        values = [float(value) for value in numbers.split()]
        there = np.array(values[-2:])
        if letter == "A":
            a, b = (np.arctan2(y, x) for x, y in (here, there))
            way = -1 if values[4] == 0 else 1  # of the sweep flag, y running down
            turn = (b - a) * way % (2 * np.pi) or 2 * np.pi
            steps = a + way * turn * np.linspace(0, 1, 200)
            corners += [values[0] * np.array([np.cos(t), np.sin(t)]) for t in steps]
        corners.append(there)
        here = there
    return Path(corners).contains_point(point)


def test_a_heart_without_myocardium_is_grey():
    empty = dataclasses.replace(heart(1), myocardium=None, cavity=None)
    numbers = measure(empty, np.zeros(empty.image.shape, bool))
    assert bulls_eye(numbers).count(GREY) == 17
