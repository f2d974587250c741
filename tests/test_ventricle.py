"""The ventricle that networks find, and how it is judged."""

import dataclasses

import numpy as np
import pytest
from builders import draw_study

from scarseg_jax.judge.ventricle import FoundVentricles, judge_ventricles
from scarseg_jax.segment.confidence import expected_dice
from scarseg_jax.segment.ventricle import (
    CAVITY_ODDS,
    MARGIN_MM,
    find_ventricle,
    with_scar,
)


def ring(shape=(3, 40, 40), centre=(20, 20), inner=6, outer=10):
    _, y, x = np.indices(shape)
    far = np.hypot(y - centre[0], x - centre[1])
    return far < inner, (far >= inner) & (far < outer)


def test_what_may_be_cavity_or_wall_is_wall_until_the_odds_are_against_it():
    odds = np.array([[[0.5, 1, 0.99 * CAVITY_ODDS, 1.01 * CAVITY_ODDS]]])
    found = find_ventricle(0.9 * odds / (1 + odds), 0.9 / (1 + odds))
    assert found.myocardium.tolist() == [[[True, True, True, False]]]
    np.testing.assert_array_equal(found.cavity, ~found.myocardium)


def test_the_larger_body_is_the_ventricle_and_the_likelier_part_its_wall():
    cavity, wall = ring()
    other, its_wall = ring(centre=(34, 34), inner=1, outer=4)
    found = find_ventricle(0.6 * cavity + 0.3 * wall, 0.4 * wall + 0.7 * its_wall)
    np.testing.assert_array_equal(found.myocardium, wall)
    np.testing.assert_array_equal(found.cavity, cavity)
    assert not (found.myocardium & (other | its_wall)).any()


def test_where_nothing_is_likely_nothing_is_found():
    found = find_ventricle(np.full((2, 5, 5), 0.2), np.full((2, 5, 5), 0.2))
    assert not found.myocardium.any()
    assert not found.cavity.any()
    assert found.sure is None


def test_how_sure_a_wall_is_is_the_dice_that_its_probabilities_promise():
    """Drawn as often as they say, truths have that Dice with what is called."""
    rng = np.random.default_rng(0)
    cavity, wall = ring(shape=(2, 40, 40))
    probability = 0.8 * wall + rng.uniform(0, 0.1, wall.shape)
    found = find_ventricle(0.9 * cavity, probability * ~cavity)
    np.testing.assert_array_equal(found.myocardium, wall)
    drawn = rng.uniform(size=(200, *wall.shape)) < probability * ~cavity
    dice = [2 * (wall & one).sum() / (wall.sum() + one.sum()) for one in drawn]
    assert found.sure == pytest.approx(np.mean(dice), abs=0.005)
    assert with_scar(found, np.zeros(wall.shape), (1.0, 1.0)).sure == found.sure
    assert expected_dice(wall, wall) == 1


@pytest.mark.parametrize("pixel_mm", [(1.0, 1.0), (2.0, 0.5)])
def test_scar_beside_the_wall_is_wall_and_scar_elsewhere_is_not(pixel_mm):
    cavity, wall = ring()
    found = find_ventricle(0.9 * cavity, 0.9 * wall)
    scar = np.full(wall.shape, 0.4)  # not likelier than not: nothing changes
    same = with_scar(found, scar, pixel_mm)
    np.testing.assert_array_equal(same.myocardium, wall)
    scar[1] = 0.9
    more = with_scar(found, scar, pixel_mm)
    np.testing.assert_array_equal(more.myocardium[::2], wall[::2])
    rows, columns = np.nonzero(wall[1])
    y, x = np.indices(wall[1].shape)[..., None]
    away_mm = np.hypot((y - rows) * pixel_mm[0], (x - columns) * pixel_mm[1]).min(-1)
    np.testing.assert_array_equal(more.myocardium[1], away_mm <= MARGIN_MM)
    np.testing.assert_array_equal(more.cavity[1], cavity[1] & (away_mm > MARGIN_MM))
    assert not with_scar(
        find_ventricle(0 * cavity, 0 * wall), scar, pixel_mm
    ).cavity.any()


@pytest.fixture
def study():
    cavity, wall = ring()
    base = draw_study("a", slices=3)
    scar = wall & (np.indices(wall.shape)[1] < 15)
    return dataclasses.replace(
        base,
        image=np.zeros(wall.shape, np.float32),
        myocardium=wall,
        cavity=cavity,
        scar=scar,
        no_reflow=None,
    )


def found_as(cavity, wall, scar):
    own = [{"a": mask[None]} for mask in (cavity, wall, scar)]
    return FoundVentricles(own[0], own[1], own[2])


def test_the_drawn_ventricle_itself_is_without_fault(study):
    own = judge_ventricles(
        [study], found_as(study.cavity, study.myocardium, study.scar)
    )
    assert own is not None
    assert own.myocardium_dice.mean == 1
    assert own.scar_dice_in_drawn.mean == 1
    assert own.myocardium_hd95_mm.median == 0
    assert own.centre_mm.median == 0
    assert (own.missed_slices, own.extra_slices) == (0, 0)


def test_a_shifted_ventricle_is_off_by_the_shift(study):
    shifted = [np.roll(m, 3, axis=2) for m in (study.cavity, study.myocardium)]
    shifted[1][2] = False
    shifted[0][2] = False
    own = judge_ventricles([study], found_as(shifted[0], shifted[1], study.scar))
    assert own is not None
    assert own.centre_mm.median == pytest.approx(3 * study.spacing_mm[2])
    assert own.centre_mm.n == 2
    assert own.missed_slices == 1
    both = (shifted[1] & study.myocardium).sum()
    total = shifted[1].sum() + study.myocardium.sum()
    assert own.myocardium_dice.mean == pytest.approx(2 * both / total)


def test_without_a_drawn_myocardium_nothing_is_said(study):
    bare = dataclasses.replace(study, myocardium=None)
    own = found_as(study.cavity, study.myocardium, study.scar)
    assert judge_ventricles([bare], own) is None
