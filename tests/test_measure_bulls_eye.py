import dataclasses
import io
import re

import numpy as np
import pytest
from PIL import Image

from scarseg_jax.measure.numbers import measure
from scarseg_jax.measure.segments import from_insertions
from scarseg_jax.show.bulls_eye import SHOWN, bulls_eye, bulls_eye_png, place
from tests.hearts import heart, scar_of


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
    grey = "fill: #c3c8ce"
    assert bulls_eye(known, shown).count(grey) == 2  # the apex and the legend
    assert bulls_eye(unknown, shown).count(grey) == 18


def test_the_values_stand_in_it():
    numbers = drawn()
    text = re.sub(r"<[^>]*>", "", bulls_eye(numbers))
    for segment in numbers.segments[:16]:
        assert f"{segment.scar_of_segment_percent:.1f}" in text


def test_the_same_heart_gives_the_same_picture():
    assert bulls_eye(drawn()) == bulls_eye(drawn())
    assert bulls_eye_png(drawn()) == bulls_eye_png(drawn())
    assert Image.open(io.BytesIO(bulls_eye_png(drawn()))).width > 600


def test_a_heart_without_myocardium_is_grey():
    empty = dataclasses.replace(heart(1), myocardium=None, cavity=None)
    numbers = measure(empty, np.zeros(empty.image.shape, bool))
    assert bulls_eye(numbers).count("fill: #c3c8ce") == 18
