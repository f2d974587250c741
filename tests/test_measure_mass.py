import numpy as np
import pytest

from scarseg_jax.measure.mass import mass_g, percent
from scarseg_jax.study import Geometry
from tests.builders import turned


def shell(spacing_mm, outer_mm, inner_mm):
    """A shell between two ellipsoids of half axes (z, y, x) about the grid's middle."""
    counts = [int(2 * r / s) + 4 for r, s in zip(outer_mm, spacing_mm, strict=True)]
    axes = [
        (np.arange(n) - (n - 1) / 2) * s
        for n, s in zip(counts, spacing_mm, strict=True)
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    outer, inner = (
        np.square(grid / np.array(half)).sum(axis=-1) <= 1
        for half in (outer_mm, inner_mm)
    )
    return outer & ~inner


def test_a_shell_of_ellipsoids_weighs_what_the_formula_says():
    outer_mm, inner_mm = (48.0, 33.0, 35.0), (37.0, 23.0, 25.0)
    spacing_mm = (4.0, 1.7, 1.3)
    mask = shell(spacing_mm, outer_mm, inner_mm)
    true_ml = 4 / 3 * np.pi * (np.prod(outer_mm) - np.prod(inner_mm)) / 1000
    found_ml = Geometry.upright(len(mask), spacing_mm).volume_ml(mask)
    assert found_ml == pytest.approx(true_ml, rel=0.01)
    assert mass_g(found_ml) == pytest.approx(1.05 * true_ml, rel=0.01)


def test_twice_the_spacing_is_eight_times_the_volume(rng):
    mask = rng.random((4, 5, 6)) < 0.5
    once, twice = (
        Geometry.upright(4, (8.0 * n, 1.5 * n, 1.2 * n)).volume_ml(mask) for n in (1, 2)
    )
    assert twice == pytest.approx(8 * once)


def test_volumes_are_the_same_however_the_stack_lies(rng):
    mask = rng.random((4, 5, 6)) < 0.5
    geometry = Geometry.upright(4, (8.0, 1.5, 1.2))
    assert turned(geometry).volume_ml(mask) == pytest.approx(geometry.volume_ml(mask))


def test_a_slice_stands_for_half_the_way_to_its_neighbours():
    affines = np.tile(np.diag([-1.0, -1.0, -8.0, 1.0]), (3, 1, 1))
    affines[:, 2, 3] = (0, -8, -28)
    geometry = Geometry(affines, (8.0, 1.0, 1.0))
    mask = np.zeros((3, 10, 10), bool)
    mask[1] = True
    assert geometry.volume_ml(mask) == pytest.approx(100 * 14 / 1000)


def test_a_single_slice_has_the_header_s_spacing():
    geometry = Geometry.upright(1, (10.0, 1.0, 1.0))
    assert geometry.volume_ml(np.ones((1, 10, 10), bool)) == pytest.approx(1)


@pytest.mark.parametrize(("part", "whole"), [(None, 1.0), (1.0, None), (0.0, 0.0)])
def test_there_is_no_share_of_nothing(part, whole):
    assert percent(part, whole) is None
    assert mass_g(None) is None


def test_a_millilitre_of_myocardium_weighs_its_density():
    assert mass_g(1.0) == 1.05
