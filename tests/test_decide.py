import numpy as np
import pytest

from scarseg_jax.run import THRESHOLDS, Decision, Trial
from scarseg_jax.segment.decide import (
    AREAS_MM2,
    best,
    call_scar,
    least_ml,
    mean,
    slice_dice,
    without_small,
)

PIXEL_MM2 = np.array([4.0])


def blobs():
    """One slice with parts of 9, 2 (at a corner) and 1 pixels."""
    mask = np.zeros((1, 16, 16), bool)
    mask[0, 1:4, 1:4] = True
    mask[0, 8, 8] = mask[0, 9, 9] = True
    mask[0, 14, 2] = True
    return mask


def test_a_probability_at_the_threshold_is_called_scar():
    at = np.full((1, 4, 4), 0.3, np.float32)
    decision = Decision(float(np.float32(0.3)))
    assert call_scar(at, PIXEL_MM2, decision).all()
    below = np.nextafter(at, np.float32(0))
    assert not call_scar(below, PIXEL_MM2, decision).any()


@pytest.mark.parametrize(
    ("least", "left"), [(0, 12), (1, 12), (2, 11), (3, 9), (9, 9), (9.1, 0)]
)
def test_parts_touch_at_corners_and_the_least_size_stays(least, left):
    assert without_small(blobs(), [least]).sum() == left


def test_areas_are_those_of_each_slices_pixels():
    two = np.concatenate([blobs(), blobs()])
    called = call_scar(two * 1.0, np.array([4.0, 1.0]), Decision(0.5, 8.0))
    assert called.sum(axis=(1, 2)).tolist() == [11, 9]


def test_the_input_stays_as_it_was():
    mask = blobs()
    without_small(mask, [5])
    np.testing.assert_array_equal(mask, blobs())


def choose(probability, scar, pixel_mm2):
    return best(slice_dice(probability, scar, pixel_mm2, THRESHOLDS), THRESHOLDS)


def test_choosing_finds_the_threshold_and_the_area_that_separate():
    scar = np.zeros((2, 16, 16), bool)
    scar[0, 2:10, 2:10] = True
    probability = np.where(scar, 0.35, 0.1)
    probability[0, 12:14, 12:14] = 0.9  # four pixels, 16 mm2
    probability[1, 5:7, 5:7] = 0.9  # and in a slice without scar
    chosen = choose(probability, scar, np.array([4.0, 4.0]))
    # The other has 16 mm2; all thresholds above 0.1 and up to 0.35 are as good.
    assert chosen == Decision(0.25, 25.0)
    called = call_scar(probability, np.array([4.0, 4.0]), chosen)
    np.testing.assert_array_equal(called, scar)


def test_a_small_scar_keeps_the_area_small_and_no_scar_chooses_nothing():
    scar = np.zeros((2, 16, 16), bool)
    scar[0, 2:10, 2:10] = True
    scar[1, 4:6, 4:8] = True  # 32 mm2: counts as much as the large one
    area = np.array([4.0, 4.0])
    assert choose(scar * 0.6, scar, area) == Decision(0.325, 0.0)
    # Without scar all that calls none is as good, and for that no area is needed.
    assert choose(scar * 0.6, np.zeros_like(scar), area) == Decision(0.8, 0.0)
    assert choose(scar[:0] * 0.6, scar[:0], area[:0]) == Decision(0.5)


def test_a_false_scar_costs_as_much_as_a_missed_one():
    scar = np.zeros((4, 16, 16), bool)
    scar[:2, 2:10, 2:10] = True
    probability = np.zeros(scar.shape)
    probability[0, 2:10, 2:10] = 0.9
    probability[1, 2:10, 2:10] = 0.2  # missed from 0.25 on
    probability[2:, 2:10, 2:10] = [[[0.3]], [[0.3]]]  # false up to there
    area = np.full(4, 4.0)
    chosen = choose(
        probability, scar, area
    )  # two false ones are worse than a missed one
    assert 0.3 < chosen.threshold < 0.9
    chosen = choose(probability[:3], scar[:3], area[:3])  # one is as bad: between both
    assert chosen.threshold == pytest.approx(
        np.mean([*np.arange(5, 21, 5), *np.arange(35, 91, 5)]) / 100, abs=1e-3
    )


def test_the_dice_of_slices_is_that_of_what_each_decision_calls(rng):
    score = rng.normal(0, 1, (3, 12, 14))
    scar = rng.random(score.shape) < 0.3
    scar[1] = False
    score[:, :4], scar[:, :4] = -np.inf, False  # outside the myocardium
    pixel_mm2, levels = np.array([4.0, 1.0, 9.0]), (-1.0, 0.0, 2.5)
    found = slice_dice(score, scar, pixel_mm2, levels)
    for a, area in enumerate(AREAS_MM2):
        for t, level in enumerate(levels):
            called = call_scar(score, pixel_mm2, Decision(level, area))
            assert (found[1, a, t] == 1) == (not called[1].any())
            for n in (0, 2):
                both = 2 * (called[n] & scar[n]).sum()
                expected = both / (called[n].sum() + scar[n].sum())
                assert found[n, a, t] == pytest.approx(expected)


def test_scores_of_any_unit_are_chosen_from_as_probabilities_are():
    scar = np.zeros((1, 16, 16), bool)
    scar[0, 2:10, 2:10] = True
    levels = (1.0, 2.0, 3.0, 4.0, 5.0)
    dice = slice_dice(np.where(scar, 4.5, 1.5), scar, PIXEL_MM2, levels)
    assert best(dice, levels) == Decision(3.0)
    assert best(dice[:0], levels) == Decision(3.0)


def test_several_networks_decide_by_their_mean():
    assert mean([Decision(0.25, 0.0), Decision(0.75, 50.0)]) == Decision(0.5, 25.0)


def tried(healthy, scarred):
    """Returns trials in which so many ml were called in patients without and with scar."""
    return [
        *(Trial(f"n{i}", 0.0, ml) for i, ml in enumerate(healthy)),
        *(Trial(f"p{i}", 9.0, ml) for i, ml in enumerate(scarred)),
    ]


@pytest.mark.parametrize(
    ("healthy", "scarred", "least"),
    [
        ([0, 0.5, 2], [3, 8, 12], 2),  # between those with scar and those without
        ([0, 0, 0], [0, 8], 0),  # nothing to gain
        ([0, 0, 2], [3, 8], 0),  # one may be chance
        ([1, 2, 6], [4, 8], 2),  # up to 6 one is lost for one
        ([1, 2, 5, 6], [4, 8], 6),  # one is lost for two
        ([1, 2, 5], [4, 8], 2),  # one is lost for one: the lower
        ([1, 2, 9], [8], 2),  # the largest scar stays
        ([1, 2], [], 0),
        ([1, 1], [1, 1, 9], 0),  # no limit lies between equals
        ([1, 1, 1], [1, 9], 1),
        ([], [], 0),
    ],
)
def test_the_least_volume_is_the_lowest_that_tells_most_patients_rightly(
    healthy, scarred, least
):
    trials = tried(healthy, scarred)
    assert least_ml(trials) == least
    right = {
        limit: sum((t.said_ml > limit) == (t.true_ml > 0) for t in trials)
        for limit in (*np.arange(0, max(scarred, default=0), 0.25), least)
    }
    if least:
        assert right[least] == max(right.values())
        assert right[least] >= right[0] + 2
    else:
        assert max(right.values()) < right[0] + 2


def test_a_patient_counts_once_and_not_for_himself():
    trials = tried([0.5, 0.75, 2], [3, 8])
    assert least_ml(trials, but="n2") == 0.75
    assert least_ml(trials, but="p0") == 2
    assert least_ml([*trials, *[Trial("n2", 0.0, 1.0)] * 3]) == 1.25  # the mean of his
