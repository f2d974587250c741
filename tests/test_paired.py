import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from scarseg_jax.errors import InputError
from scarseg_jax.judge import paired
from scarseg_jax.judge.paired import Run
from scarseg_jax.judge.statistics import holm, sign_flips
from scarseg_jax.judge.summary import judge
from scarseg_jax.judge.tables import row_floats
from tests.builders import TRUE_PX, about, answers_of, scored_run, two_patients

FIRST, SECOND = Path("first"), Path("second")


def compare(first, second, true_px=None):
    """Returns the comparison of two runs of one-slice patients, or as `true_px` says."""
    if true_px is None:
        true_px = {(f"{n:03}", 0): 1 for n in range(len(first))}
    (found,) = paired.compare(
        scored_run(FIRST, first, true_px), [scored_run(SECOND, second, true_px)]
    )
    return found


def exact_p(difference):
    """Two-sided p by going through every choice of signs; equal ranks are shared."""
    size = np.abs(difference)
    ranks = [(size < s).sum() + ((size == s).sum() + 1) / 2 for s in size]
    signs = np.array(list(itertools.product((0, 1), repeat=len(ranks))))
    sums = signs @ ranks
    observed = np.dot(ranks, difference > 0)
    tails = (sums <= observed).mean(), (sums >= observed).mean()
    return min(1, 2 * min(tails)), min(observed, sum(ranks) - observed)


@pytest.mark.parametrize(
    "difference",
    [
        [1],
        [1, -2, 3],
        [1, 2, 3, 4, 5, 6],
        [-1, 1, 2, 2, 3],
        [3, -1, 4, 1, -5, 9, 2, 6, -5],
        [6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75],
    ],
)
def test_p_is_that_of_all_choices_of_signs(difference):
    difference = np.array(difference) / 100
    found = compare(np.zeros(len(difference)), difference)
    p, statistic = exact_p(difference)
    for test in (found.slices, found.patients):  # each slice is a patient here
        assert test.p == pytest.approx(p, rel=1e-9)
        assert test.statistic == statistic


def test_six_better_slices_are_the_fewest_that_are_significant():
    # All signs alike: p = 2 / 2**n.
    for n in (5, 6):
        found = compare(np.zeros(n), np.arange(1, n + 1) / 10)
        assert found.slices.p == found.patients.p == 2 / 2**n
    assert 2 / 2**6 < paired.ALPHA < 2 / 2**5


def test_pairs_without_a_difference_change_nothing_but_n():
    first, second = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.3, 0.1, 0.7, 0.9])
    alone = compare(first, second).slices
    padded = compare(np.append(first, [0.5, 0]), np.append(second, [0.5, 0])).slices
    assert (padded.n, padded.n_different) == (6, 4)
    assert (alone.p, alone.statistic) == (padded.p, padded.statistic)


def test_equal_runs_have_p_one():
    same = np.array([0.1, 0.5, 0.9])
    found = compare(same, same)
    for test in (found.slices, found.patients):
        assert (test.p, test.statistic, test.n, test.n_different) == (1, 0, 3, 0)
    assert (found.slices_p_holm, found.patients_p_holm) == (1, 1)
    assert (found.slices_p_flips, found.slices_p_flips_holm) == (1, 1)


def test_differences_that_only_rounding_tells_apart_tie():
    first = np.array([0.1, 0.2, 0.3, 0.7])
    second = first + np.array([0.1, 0.1, 0.1, -0.1])
    assert len(np.unique(np.abs(second - first))) > 1
    assert compare(first, second).slices.statistic == 2.5


def test_swapping_the_runs_keeps_p_and_turns_the_difference(rng):
    for n in (4, 12, 30, 200):
        first, second = np.round(rng.random((2, n)), 2)
        one, other = compare(first, second).slices, compare(second, first).slices
        assert one.p == pytest.approx(other.p, rel=1e-12)
        assert one.statistic == other.statistic
        assert one.median_difference == -other.median_difference
        assert (one.median_first, one.median_second) == (
            other.median_second,
            other.median_first,
        )


def test_only_units_with_scar_are_tested():
    found = compare(np.arange(8) / 10, np.arange(8) / 10 + 0.05, TRUE_PX)
    assert (found.slices.n, found.patients.n) == (5, 3)
    assert found.slices.median_first == 0.2
    assert found.slices.median_difference == pytest.approx(0.05)


def test_the_order_of_the_rows_does_not_matter(rng):
    first, second = (scored_run(FIRST, rng.random(8), TRUE_PX) for _ in range(2))
    found = second.results
    turned = dataclasses.replace(
        found, slices=found.slices[::-1], patients=found.patients[::-1]
    )
    (before,) = paired.compare(first, [second])
    assert before.slices.n_different == 5
    assert paired.compare(first, [Run(SECOND, turned)]) == [before]


def test_seeds_count_as_their_mean_and_may_differ_in_number(rng):
    dice = rng.random((3, 8))
    three = scored_run(FIRST, dice, TRUE_PX, seeds=3)
    mean = scored_run(SECOND, dice.mean(axis=0), TRUE_PX)
    (found,) = paired.compare(three, [mean])
    assert (found.slices.n, found.slices.n_different) == (5, 0)
    assert (found.patients.n, found.patients.n_different) == (3, 0)
    assert found.slices.median_first == pytest.approx(np.median(dice.mean(axis=0)[:5]))


def test_runs_on_other_slices_are_refused_with_an_example():
    fewer = {unit: px for unit, px in TRUE_PX.items() if unit != ("b", 1)}
    runs = [scored_run(FIRST, 0, TRUE_PX), scored_run(SECOND, 0, fewer)]
    for first, second in (runs, runs[::-1]):
        with pytest.raises(InputError, match="in common, such as b, slice 1;"):
            paired.compare(first, [second])


def test_slices_with_another_scar_are_other_slices():
    first = scored_run(FIRST, 0, TRUE_PX)
    second = scored_run(SECOND, 0, {**TRUE_PX, ("c", 0): 4})
    with pytest.raises(InputError, match="1 slices not in common, such as c, slice 0"):
        paired.compare(first, [second])


def test_runs_without_scar_are_refused():
    with pytest.raises(InputError, match="no slices with scar"):
        compare(0, 0, dict.fromkeys(TRUE_PX, 0))


def test_several_runs_are_corrected_together(rng):
    first, *others = (scored_run(Path(n), rng.random(8), TRUE_PX) for n in "1234")
    found = paired.compare(first, others)
    alone = [paired.compare(first, [other])[0] for other in others]
    assert [(c.slices, c.patients) for c in found] == [
        (c.slices, c.patients) for c in alone
    ]
    for unit in ("slices", "patients"):
        p = [getattr(c, unit).p for c in found]
        corrected = [getattr(c, f"{unit}_p_holm") for c in found]
        assert corrected == holm(p)
        assert min(corrected) >= min(p)
        assert [getattr(c, f"{unit}_p_holm") for c in alone] == p


def test_slices_are_flipped_by_patient_and_corrected(rng):
    first, *others = (scored_run(Path(n), rng.random(8), TRUE_PX) for n in "123")
    found = paired.compare(first, others)
    # Slices with scar: two of a, two of b, one of c.
    for comparison, other in zip(found, others, strict=True):
        one, two = (
            row_floats(r.results.slices[:5], "native", "dsc") for r in (first, other)
        )
        p = sign_flips(two - one, list("aabbc"))
        assert comparison.slices_p_flips == pytest.approx(p)
    assert [c.slices_p_flips_holm for c in found] == holm(
        [c.slices_p_flips for c in found]
    )


def test_two_runs_that_were_judged_are_compared_on_the_images_own_grids():
    truth, probability = two_patients()
    worse = answers_of(truth, probability, fold=(0, 0, 1, 1))
    scar = {study.patient: np.asarray(study.scar)[None] for study in truth.studies}
    better = dataclasses.replace(worse, native=scar)  # the crops are the same
    first, second = (
        Run(FIRST, judge(truth, answers, about())) for answers in (worse, better)
    )
    (found,) = paired.compare(first, [second])
    assert (found.slices.n, found.patients.n) == (2, 1)
    assert found.slices.median_difference == 0.75
    assert found.patients.median_difference == 0.75
