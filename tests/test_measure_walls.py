import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from scarseg_jax.errors import InputError
from scarseg_jax.measure.walls import Shape, _filled, wall_of, walls_of
from tests.hearts import INNER_MM, OUTER_MM, heart, polar

SPACING_MM = (10.0, 1.0, 1.0)
PIXEL_MM = SPACING_MM[1:]
RADIUS, ANGLE = polar(SPACING_MM)
RING = (RADIUS > INNER_MM) & (RADIUS <= OUTER_MM)
POOL = RADIUS <= INNER_MM


def test_without_a_cavity_the_hole_is_inside():
    drawn, found = (wall_of(RING, cavity, PIXEL_MM) for cavity in (POOL, None))
    assert drawn.shape is found.shape is Shape.RING
    np.testing.assert_array_equal(found.inner, POOL)
    np.testing.assert_array_equal(drawn.inner, POOL)
    np.testing.assert_array_equal(found.outer, RING | POOL)


@pytest.mark.parametrize("cavity", [POOL, None])
@pytest.mark.parametrize("opening_deg", [40, 150])
def test_a_wall_that_is_not_closed_is_open(opening_deg, cavity):
    wall = wall_of(RING & (opening_deg < ANGLE), cavity, PIXEL_MM)
    assert wall.shape is Shape.OPEN
    assert not wall.inner.any()


@pytest.mark.parametrize("cavity", [np.zeros_like(POOL), None])
def test_myocardium_without_a_hole_is_solid(cavity):
    assert wall_of(POOL, cavity, PIXEL_MM).shape is Shape.SOLID


def test_a_pinhole_is_no_cavity():
    pricked = POOL.copy()
    pricked[34, 30] = False
    assert wall_of(pricked, None, PIXEL_MM).shape is Shape.SOLID


def test_papillaries_are_inside_and_stray_pixels_are_not_the_wall():
    drawn = RING | (np.linalg.norm(np.indices(RING.shape) - 30, axis=0) < 4)
    drawn[0, 0] = True
    wall = wall_of(drawn, None, PIXEL_MM)
    np.testing.assert_array_equal(wall.inner, POOL)
    np.testing.assert_array_equal(wall.outer, RING | POOL)


def test_nothing_has_no_centre():
    wall = wall_of(np.zeros_like(RING), None, PIXEL_MM)
    assert wall.shape is Shape.NONE
    assert np.isnan(wall.centre_px).all()


def test_angles_run_counter_clockwise_from_the_right_in_mm():
    radius, _ = polar((10.0, 1.0, 2.0))
    wall = wall_of(radius < OUTER_MM, None, (1.0, 2.0))
    y, x = wall.centre_px
    np.testing.assert_allclose(wall.angle_deg(y, x + 1), 0)
    np.testing.assert_allclose(wall.angle_deg(y - 2, x + 1), 45)
    np.testing.assert_allclose(wall.angle_deg(y - 1, x), 90)
    np.testing.assert_allclose(wall.angle_deg(y, x - 1), 180)


def test_a_study_without_myocardium_is_refused():
    with pytest.raises(InputError, match="tube: no myocardium"):
        walls_of(dataclasses.replace(heart(), myocardium=None))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
def test_holes_are_filled_as_scipy_fills_them(rng, share):
    for shape in ((1, 1), (1, 9), (40, 33)):
        mask = rng.random(shape) < share
        np.testing.assert_array_equal(_filled(mask), ndimage.binary_fill_holes(mask))
