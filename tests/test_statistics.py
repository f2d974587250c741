import itertools

import numpy as np
import pytest
from scipy import stats

from scarseg_jax.judge.statistics import (
    bootstrap_interval,
    brier,
    expected_calibration_error,
    holm,
    mean_interval,
    sign_flips,
    wilcoxon,
)


def exact_p(difference, *, pratt=False):
    """p and the statistic, from all choices of signs; zeros have none."""
    if not pratt:
        difference = difference[difference != 0]
    rank = stats.rankdata(np.abs(difference))[difference != 0]
    signed = difference[difference != 0]
    sums = [
        sum(r for r, up in zip(rank, ups, strict=True) if up)
        for ups in itertools.product((False, True), repeat=len(rank))
    ]
    plus, minus = rank[signed > 0].sum(), rank[signed < 0].sum()
    least = min(plus, minus)
    # The null distribution is symmetric, so that both tails are the lower one twice.
    p = 2 * np.mean([s <= least + 1e-9 for s in sums])
    return min(p, 1), least


@pytest.mark.parametrize(
    "difference",
    [
        [1],
        [1, -2, 3],
        [1, 2, 3, 4, 5, 6],
        [3, -1, 4, -5, 9, 2, 6, 7],
        [-1, 1, 2, 2, 3],
        [0, 1, -2, 3, 4],
        [0, 0, 0, 1, 2, 2, -3, 5],
        [0, 0, 1],
    ],
)
def test_wilcoxon_is_that_of_all_choices_of_signs(difference):
    difference = np.array(difference) / 100
    result = wilcoxon(np.zeros(len(difference)), difference)
    p, statistic = exact_p(difference)
    assert result.statistic == statistic
    assert result.p == pytest.approx(p, rel=1e-9)
    assert result.p_pratt == pytest.approx(exact_p(difference, pratt=True)[0])
    assert result.n == len(difference)
    assert result.n_different == np.sum(difference != 0)


def test_pratt_differs_from_wilcoxon_only_with_zeros(rng):
    first, second = rng.random((2, 40))
    without = wilcoxon(first, second)
    assert without.p == without.p_pratt
    padded = wilcoxon(np.append(first, [0.5] * 9), np.append(second, [0.5] * 9))
    assert (padded.n, padded.n_different) == (49, 40)
    assert padded.p == without.p != padded.p_pratt


def test_wilcoxon_of_equal_runs_has_p_one():
    same = np.array([0.1, 0.5, 0.9])
    result = wilcoxon(same, same)
    assert (result.p, result.p_pratt, result.statistic) == (1, 1, 0)
    assert (result.n, result.n_different) == (3, 0)


def test_wilcoxon_ties_differences_that_only_rounding_tells_apart():
    first = np.array([0.1, 0.2, 0.3, 0.7])
    second = first + np.array([0.1, 0.1, 0.1, -0.1])
    assert len(np.unique(np.abs(second - first))) > 1
    assert wilcoxon(first, second).statistic == 2.5


def test_wilcoxon_gives_the_medians_of_the_runs_and_of_second_less_first():
    result = wilcoxon(np.array([0.1, 0.3, 0.8]), np.array([0.5, 0.4, 0.5]))
    assert (result.median_first, result.median_second) == (0.3, 0.5)
    assert result.median_difference == pytest.approx(0.1)  # of .4, .1 and -.3


def test_wilcoxon_of_turned_runs_turns_the_difference_alone(rng):
    first, second = rng.random((2, 30))
    one, other = wilcoxon(first, second), wilcoxon(second, first)
    assert other.median_difference == -one.median_difference != 0
    assert (other.p, other.statistic) == (one.p, one.statistic)


def test_holm_on_an_example_by_hand():
    # Sorted .005 * 4, .01 * 3, .03 * 2, .04 * 1 -> .02, .03, .06, and .06 again.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_holm_rejects_as_its_step_down_procedure_does(rng):
    def rejected(p_values, alpha):
        left, out = list(range(len(p_values))), set()
        while left:
            smallest = min(left, key=lambda i: p_values[i])
            if p_values[smallest] * len(left) > alpha:
                break
            out.add(smallest)
            left.remove(smallest)
        return out

    for _ in range(50):
        p_values = np.round(rng.random(6) ** 3, 3).tolist()
        adjusted = holm(p_values)
        for alpha in (*rng.random(10), *(a for a in adjusted if a < 1)):
            expected = {i for i, p in enumerate(adjusted) if p <= alpha}
            assert rejected(p_values, alpha) == expected
        assert all(a >= p for a, p in zip(adjusted, p_values, strict=True))


def test_holm_refuses_what_is_not_a_p_value():
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            holm([0.5, wrong])


def test_sign_flips_go_through_every_choice_of_signs_of_whole_groups():
    difference = np.array([0.3, 0.1, -0.2, 0.4, 0.4, -0.1])
    group = np.array(["a", "a", "b", "c", "d", "d"])
    totals = np.array([0.4, -0.2, 0.4, 0.3])
    sums = [
        abs(np.dot(signs, totals)) for signs in itertools.product((-1, 1), repeat=4)
    ]
    expected = np.mean([s >= abs(totals.sum()) - 1e-9 for s in sums])
    assert sign_flips(difference, group) == pytest.approx(expected)
    assert sign_flips(-difference, group) == pytest.approx(expected)


def test_random_sign_flips_come_near_to_all_of_them(rng):
    difference = rng.normal(0.3, 1, 12)
    group = np.arange(12)
    exact = sign_flips(difference, group)
    drawn = sign_flips(difference, group, draws=4000)
    assert 0.01 < exact < 0.99
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 4000))
    assert drawn != exact


def test_equal_runs_have_p_one_and_no_p_is_zero(rng):
    assert sign_flips(np.zeros(3), [0, 1, 2]) == 1
    assert sign_flips(np.ones(40), np.arange(40), draws=99) == 1 / 100


def test_slices_of_a_patient_add_no_certainty_when_signs_flip_by_patient(rng):
    """Each patient's slices differ alike: the plain test takes them for many."""
    each = rng.normal(0, 1, (200, 12))
    nested = np.repeat(each, 6, axis=1)
    group = np.repeat(np.arange(12), 6)
    flips = np.mean([sign_flips(d, group) <= 0.05 for d in nested])
    plain = np.mean([wilcoxon(np.zeros(72), d).p <= 0.05 for d in nested])
    assert flips <= 0.09  # 0.05, and 2.5 SD of 200 draws
    assert plain > 0.3


def skewed(rng, shape):
    """Dice as networks have it: mean 0.69, skewed, 6 % of the patients nearly missed."""
    dice = rng.beta(6, 2.2, shape)
    return np.where(rng.random(shape) < 0.06, dice * 0.3 * rng.random(shape), dice)


@pytest.mark.parametrize(("patients", "least"), [(6, 88), (10, 89), (20, 89), (40, 91)])
def test_the_mean_interval_covers_what_docs_statistics_says(rng, patients, least):
    """`least` is its table's figure less 3 points, 3 SD of 900 draws or so."""
    truth = skewed(rng, 400_000).mean()
    group = np.arange(patients)
    found = [mean_interval(dice, group) for dice in skewed(rng, (900, patients))]
    low, high = np.array(found, float).T
    covered = 100 * np.mean((low <= truth) & (truth <= high))
    assert least <= covered <= 97


@pytest.mark.parametrize("patients", [6, 20])
def test_the_interval_of_a_median_of_slices_covers_it(rng, patients):
    def slices(count):
        mean = np.repeat(skewed(rng, count).clip(0.02, 0.98), 6)
        return rng.beta(8 * mean, 8 * (1 - mean))

    truth = np.median(slices(60_000))
    group = np.repeat(np.arange(patients), 6)
    found = [bootstrap_interval(slices(patients), group, draws=300) for _ in range(120)]
    low, high = np.array(found, float).T
    assert 88 <= 100 * np.mean((low <= truth) & (truth <= high)) <= 100


def test_the_interval_of_a_mean_of_patients_is_students(rng):
    values = rng.random(12)
    found = mean_interval(values, np.arange(12))
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found == pytest.approx(tuple(expected))


def test_repeating_every_value_of_a_group_adds_no_certainty(rng):
    values = rng.random(9)
    once = mean_interval(values, np.arange(9))
    again = mean_interval(np.repeat(values, 5), np.repeat(np.arange(9), 5))
    assert once == pytest.approx(again)


def test_an_interval_stays_within_its_bounds():
    found = mean_interval(np.array([0.9, 1.0, 1.0]), [0, 1, 2], within=(0, 1))
    assert found is not None
    assert found[0] < 0.97
    assert found[1] == 1


def test_the_bootstrap_resamples_groups_not_values(rng):
    values, group = rng.random(60), np.repeat(np.arange(15), 4)
    interval = bootstrap_interval(values, group, draws=300)
    twice = bootstrap_interval(np.tile(values, 2), np.tile(group, 2), draws=300)
    assert interval == pytest.approx(twice, rel=1e-12)
    assert interval is not None
    low, high = interval
    assert low < np.median(values) < high


def test_the_bootstrap_takes_groups_of_unequal_size_whole():
    # Draws of two groups: a a, a b, b a, b b; each value counts as one.
    values, group = np.array([0.0, 0.0, 0.0, 1.0]), ["a", "a", "a", "b"]
    assert bootstrap_interval(values, group, np.mean) == (0, 1)
    assert bootstrap_interval(values, group, np.mean, level=0.1) == (0.25, 0.25)


def test_the_bootstraps_tails_are_those_of_a_normal_at_students_quantile(rng):
    """Of the mean they meet Student's interval, as its spread is (n - 1) / n too small."""
    values = rng.normal(size=8)
    found = bootstrap_interval(values, np.arange(8), np.mean, draws=20_000)
    expected = mean_interval(values, np.arange(8))
    assert found is not None
    assert expected is not None
    assert np.ptp(found) == pytest.approx(np.ptp(expected), rel=0.12)


def test_the_bootstrap_depends_on_its_seed_only(rng):
    values, group = rng.random(30), np.arange(30) // 2
    once = bootstrap_interval(values, group, np.mean)
    assert once == bootstrap_interval(values, group, np.mean)
    assert once != bootstrap_interval(values, group, np.mean, seed=1)
    narrow = bootstrap_interval(values, group, np.mean, level=0.5)
    wide = bootstrap_interval(values, group, np.mean, level=0.99)
    assert narrow is not None
    assert wide is not None
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_one_group_has_no_interval():
    for interval in (bootstrap_interval, mean_interval):
        assert interval(np.arange(4), ["a"] * 4) is None
        assert interval(np.array([]), []) is None


def test_undefined_values_are_refused():
    holed = np.array([1.0, np.nan])
    with pytest.raises(ValueError, match="must be finite"):
        wilcoxon(holed, np.ones(2))
    with pytest.raises(ValueError, match="must be finite"):
        wilcoxon(np.ones(2), np.array([np.inf, 1]))
    with pytest.raises(ValueError, match="not pairs"):
        wilcoxon(np.ones(1), np.ones(2))
    for function in (bootstrap_interval, mean_interval, sign_flips):
        with pytest.raises(ValueError, match="must be finite"):
            function(holed, ["a", "b"])
        with pytest.raises(ValueError, match="do not fit"):
            function(np.ones(3), ["a", "b"])


def test_calibration_error_is_zero_of_calibrated_probabilities():
    # Of 20 pixels of probability k / 20, k are scar.
    probability = np.repeat(np.arange(21) / 20, 20)
    truth = np.concatenate([np.arange(20) < k for k in range(21)])
    assert expected_calibration_error(probability, truth) == pytest.approx(0, abs=1e-12)


def test_calibration_error_by_hand():
    # Bins .1, .1: rate .5, distance .4; .95: rate 0, distance .95; 1: in the last, too.
    probability = np.array([[0.1, 0.1], [0.95, 1.0]])
    truth = np.array([[True, False], [False, True]])
    expected = 2 / 4 * 0.4 + 2 / 4 * (1.95 / 2 - 0.5)
    assert expected_calibration_error(probability, truth) == pytest.approx(expected)
    one_bin = abs(2.15 / 4 - 0.5)
    assert expected_calibration_error(probability, truth, 1) == pytest.approx(one_bin)


def test_calibration_error_equals_a_loop_over_bins(rng):
    probability, truth = rng.random(500), rng.random(500) < 0.4
    expected = 0.0
    for low in np.arange(7) / 7:
        inside = (probability >= low) & (probability < low + 1 / 7)
        gap = abs(probability[inside].mean() - truth[inside].mean())
        expected += inside.mean() * gap
    assert expected_calibration_error(probability, truth, 7) == pytest.approx(expected)


def test_brier_in_closed_form(rng):
    truth = rng.random((4, 25)) < 0.3
    assert brier(truth.astype(np.float32), truth) == 0
    assert brier((~truth).astype(float), truth) == 1
    # A constant: variance of the truth plus the squared bias.
    rate = truth.mean()
    expected = rate * (1 - rate) + (0.7 - rate) ** 2
    assert brier(np.full(truth.shape, 0.7), truth) == pytest.approx(expected)


def test_scores_of_nothing_are_undefined_and_wrong_input_is_refused():
    for score in (brier, expected_calibration_error):
        assert score(np.array([]), np.array([], bool)) is None
        with pytest.raises(ValueError, match="between 0 and 1"):
            score(np.array([1.5]), np.array([True]))
        with pytest.raises(ValueError, match="do not fit"):
            score(np.array([0.5]), np.array([True, False]))
