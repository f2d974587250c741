import dataclasses

import numpy as np
import pytest

from scarseg_jax.measure.transmurality import CHORDS, chords_of, depth_percent
from scarseg_jax.measure.walls import walls_of
from tests.hearts import INNER_MM, OUTER_MM, heart, polar, quarter_turned, scar_of

SPACINGS_MM = [(10.0, 1.0, 1.0), (8.0, 1.5, 1.5), (8.0, 1.6, 1.2)]


def chords(study, scar):
    return chords_of(walls_of(study), scar)


def mean_percent(study, scar):
    found = chords(study, scar)
    return depth_percent(found.scar, np.ones(found.scar.size))


@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
@pytest.mark.parametrize("depth", [0.3, 0.5, 0.75])
def test_a_layer_is_as_deep_as_it_was_made(spacing_mm, depth):
    study = heart(1, spacing_mm)
    _, deep = mean_percent(study, scar_of(study, 0, depth=depth))
    assert deep == pytest.approx(100 * depth, abs=2)


@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
def test_chords_are_as_long_as_the_wall_is_thick(spacing_mm):
    study = heart(2, spacing_mm)
    found = chords(study, scar_of(study, 0))
    assert (np.bincount(found.slice) == CHORDS).all()
    assert found.length_mm.mean() == pytest.approx(OUTER_MM - INNER_MM, rel=0.02)
    widths_mm = np.bincount(found.slice, found.width_mm)
    np.testing.assert_allclose(widths_mm, 2 * np.pi * 25, rtol=0.02)
    assert found.length_mm.std() < 0.7 * max(spacing_mm[1:])


def test_chords_stand_at_equal_angles_of_a_circle():
    found = chords(study := heart(1), scar_of(study, 0))
    gaps = np.diff(np.sort(found.angle_deg))
    np.testing.assert_allclose(gaps, 360 / CHORDS, atol=0.8)


@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
def test_a_wedge_through_the_wall_is_on_its_share_of_chords(spacing_mm):
    study = heart(1, spacing_mm)
    scar = scar_of(study, 20, 90)
    every, scarred = mean_percent(study, scar)
    assert every == pytest.approx(25, abs=2)
    found = chords(study, scar)
    inside = (found.angle_deg > 25) & (found.angle_deg < 105)
    assert (found.scar[inside] == 1).all()
    assert scarred is not None
    assert scarred > 90


def test_no_scar_is_0_and_all_of_the_wall_is_100_percent():
    study = heart(3, (8.0, 1.6, 1.2))
    assert study.myocardium is not None
    assert mean_percent(study, np.zeros_like(study.myocardium)) == (0, None)
    assert mean_percent(study, study.myocardium) == (100, 100)


def test_without_a_drawn_cavity_chords_are_the_same():
    study = heart(1)
    scar = scar_of(study, 0, 120, depth=0.5)
    drawn = chords(study, scar)
    found = chords(dataclasses.replace(study, cavity=None), scar)
    np.testing.assert_array_equal(drawn.scar, found.scar)


def test_a_turned_picture_has_the_same_chords():
    study = heart(1, (8.0, 1.6, 1.2))
    scar = scar_of(study, 10, 100, depth=0.5)
    turned = quarter_turned(dataclasses.replace(study, scar=scar))
    assert turned.scar is not None
    before, after = mean_percent(study, scar), mean_percent(turned, turned.scar)
    assert before == pytest.approx(after, abs=1)


def test_in_an_off_centre_cavity_chords_span_the_wall_they_are_in():
    study = heart(1)
    radius, _ = polar(study.spacing_mm)
    y, x = np.indices(radius.shape) - (np.array(radius.shape)[:, None, None] - 1) / 2
    pool = np.hypot(y, x - 5) <= INNER_MM
    wall = (radius <= OUTER_MM) & ~pool
    thick = dataclasses.replace(study, myocardium=wall[None], cavity=pool[None])
    found = chords(thick, wall[None])
    right, left = (np.cos(np.radians(found.angle_deg)) * s > 0.98 for s in (1, -1))
    assert found.length_mm[right].mean() == pytest.approx(5, abs=0.7)
    assert found.length_mm[left].mean() == pytest.approx(15, abs=0.7)
    assert (found.scar == 1).all()


def test_open_and_solid_slices_have_no_chords():
    study = heart(3)
    radius, angle = polar(study.spacing_mm)
    assert study.myocardium is not None
    walls = study.myocardium.copy()
    walls[0] &= angle > 60
    walls[2] = radius < 15
    study = dataclasses.replace(study, myocardium=walls, cavity=None)
    assert set(chords(study, walls).slice) == {1}


def test_a_wall_of_one_pixel_has_no_depth():
    study = heart(1)
    radius, _ = polar(study.spacing_mm)
    thin = (radius > 20) & (radius <= 21.2)
    study = dataclasses.replace(study, myocardium=thin[None], cavity=None)
    assert chords(study, thin[None]).slice.size < CHORDS / 2
