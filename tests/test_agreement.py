import numpy as np
import pytest
from scipy import stats

from scarseg_jax import records
from scarseg_jax.judge.agreement import (
    Agreement,
    agreement,
    bland_altman,
    concordance,
    icc_2_1,
)

# Shrout and Fleiss (1979), table 2: 6 targets by 4 judges.
RATINGS = np.array(
    [
        [9, 2, 5, 8],
        [6, 1, 3, 2],
        [8, 4, 6, 8],
        [7, 1, 2, 6],
        [10, 5, 6, 9],
        [6, 2, 4, 7],
    ]
)


def test_agreement_is_of_all_three_kinds_and_json_holds_it(rng):
    truth, measured = rng.random((2, 8))
    found = agreement(truth, measured)
    assert found.bland_altman == bland_altman(truth, measured)
    assert found.ccc == concordance(truth, measured)
    assert found.icc_2_1 == icc_2_1(np.array([*zip(truth, measured, strict=True)]))
    for some in (found, agreement(truth[:1], measured[:1])):
        text = records.to_json(some)
        assert records.parse(Agreement, text, "the text", "mend it") == some


def test_measuring_in_another_unit_changes_the_limits_and_no_coefficient(rng):
    truth, measured = rng.random((2, 8))
    ml, litres = agreement(1000 * truth, 1000 * measured), agreement(truth, measured)
    assert (ml.ccc, ml.icc_2_1) == pytest.approx((litres.ccc, litres.icc_2_1))
    of_ml, of_litres = (
        np.array([a.bland_altman.bias, a.bland_altman.sd, a.bland_altman.upper], float)
        for a in (ml, litres)
    )
    np.testing.assert_allclose(of_ml, 1000 * of_litres)


def test_undefined_values_are_refused():
    holed = np.array([1.0, np.nan])
    for function in (agreement, bland_altman, concordance):
        with pytest.raises(ValueError, match="must be finite"):
            function(holed, np.ones(2))
        with pytest.raises(ValueError, match="not pairs"):
            function(np.ones(1), np.ones(2))
    with pytest.raises(ValueError, match="must be finite"):
        icc_2_1(np.stack([holed, holed]))


def test_bland_altman_in_closed_form():
    # Differences 1, 2, 3: mean 2, SD 1; t of 2 degrees of freedom is 4.302653.
    result = bland_altman(np.array([10.0, 20, 30]), np.array([11.0, 22, 33]))
    t = 4.302652730
    assert (result.n, result.bias, result.sd) == (3, 2, 1)
    assert (result.lower, result.upper) == pytest.approx((0.04, 3.96))
    half = t / np.sqrt(3)
    assert result.bias_ci == pytest.approx((2 - half, 2 + half))
    assert result.lower_ci == pytest.approx((0.04 - t, 0.04 + t))
    assert result.upper_ci == pytest.approx((3.96 - t, 3.96 + t))


def test_bland_altmans_bias_interval_is_that_of_the_t_test(rng):
    truth, measured = rng.random((2, 17))
    expected = stats.ttest_rel(measured, truth).confidence_interval(0.95)
    assert bland_altman(truth, measured).bias_ci == pytest.approx(tuple(expected))


def test_bland_altman_of_too_few_pairs_has_no_figures():
    nothing, one = np.array([]), np.array([1.0])
    nones = dict.fromkeys(("lower", "upper", "bias_ci", "lower_ci", "upper_ci"))
    expected = {"n": 0, "bias": None, "sd": None, **nones}
    assert vars(bland_altman(nothing, nothing)) == expected
    expected = {"n": 1, "bias": 2.0, "sd": None, **nones}
    assert vars(bland_altman(one, one + 2)) == expected


def test_concordance_is_pearsons_r_times_the_bias_factor(rng):
    truth = rng.normal(size=30)
    for measured in (truth + rng.normal(size=30), 3 - 2 * truth, 0.5 * truth):
        r = np.corrcoef(truth, measured)[0, 1]
        v = truth.std() / measured.std()
        u = (truth.mean() - measured.mean()) / np.sqrt(truth.std() * measured.std())
        expected = r * 2 / (v + 1 / v + u**2)
        assert concordance(truth, measured) == pytest.approx(expected)


def test_concordance_of_equal_and_of_opposite_values(rng):
    truth = rng.normal(size=9)
    assert concordance(truth, truth) == pytest.approx(1)
    assert concordance(truth, 2 * truth.mean() - truth) == pytest.approx(-1)
    assert concordance(truth, np.full(9, 0.1)) == pytest.approx(0, abs=1e-12)


def test_concordance_is_undefined_of_one_pair_and_of_one_value():
    assert concordance(np.array([1.0]), np.array([1.0])) is None
    assert concordance(np.full(3, 0.1), np.full(3, 0.1)) is None


def test_icc_of_shrout_and_fleiss_table():
    icc = icc_2_1(RATINGS)
    assert icc is not None
    assert round(icc, 2) == 0.29


def test_icc_from_sums_of_squares(rng):
    # Of the analysis of variance, from totals rather than from residuals.
    for ratings in (RATINGS, rng.normal(size=(9, 3)), rng.normal(size=(4, 5)) + 9):
        n, k = ratings.shape
        correction = ratings.sum() ** 2 / (n * k)
        total = (ratings**2).sum() - correction
        rows = (ratings.sum(1) ** 2).sum() / k - correction
        columns = (ratings.sum(0) ** 2).sum() / n - correction
        bms, jms = rows / (n - 1), columns / (k - 1)
        ems = (total - rows - columns) / ((n - 1) * (k - 1))
        expected = (bms - ems) / (bms + (k - 1) * ems + k * (jms - ems) / n)
        assert icc_2_1(ratings) == pytest.approx(expected, rel=1e-9)


def test_icc_is_one_of_raters_who_agree_and_less_of_one_with_an_offset(rng):
    subject = rng.normal(size=12)
    assert icc_2_1(np.stack([subject, subject], axis=1)) == pytest.approx(1)
    offset = icc_2_1(np.stack([subject, subject + 2], axis=1))
    assert offset is not None
    assert offset < 0.5


def test_icc_is_undefined_without_variance_or_a_second_rater():
    assert icc_2_1(np.full((3, 2), 0.1)) is None
    assert icc_2_1(np.array([[0.1, 0.2], [0.2, 0.1]])) is None
    assert icc_2_1(np.ones((3, 1))) is None
    assert icc_2_1(np.arange(3)[None]) is None
    with pytest.raises(ValueError, match=r"must be \(n, k\)"):
        icc_2_1(np.ones(3))
