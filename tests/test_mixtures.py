import numpy as np
import pytest
from scipy.stats import norm

from scarseg_jax.segment.mixtures import (
    Mixture,
    fit_mixture,
    fuzzy_c_means,
    fuzzy_centres,
    gaussian_mixture,
    log_likelihoods,
    memberships,
)
from tests.builders import noisy_slice

SPACING = (1.5, 1.5)


@pytest.fixture
def noisy(rng):
    return noisy_slice(rng)


def test_the_mixture_is_split_at_the_midpoint_of_two_equal_gaussians(rng):
    means, sd, everywhere = (10.0, 14.0), 1.0, np.ones((200, 200), bool)
    truth = rng.random(everywhere.shape) < 0.5
    image = rng.normal(np.where(truth, *means[::-1]), sd).astype(np.float32)
    scar = gaussian_mixture(image, everywhere, SPACING) >= 0.5
    assert image[scar].min() == pytest.approx(image[~scar].max(), abs=1e-2)
    assert image[scar].min() == pytest.approx(sum(means) / 2, abs=0.05)


def test_em_run_to_its_end_finds_the_parameters_of_a_mixture(rng):
    share = rng.random(100_000) < 0.3
    values = np.where(
        share, rng.normal(0.7, 0.1, share.size), rng.normal(0.3, 0.05, share.size)
    )
    mixture = fit_mixture(values, 1000, 1e-12)
    np.testing.assert_allclose(mixture.weight, [0.7, 0.3], atol=0.01)
    np.testing.assert_allclose(mixture.mean, [0.3, 0.7], atol=0.005)
    np.testing.assert_allclose(np.sqrt(mixture.variance), [0.05, 0.1], atol=0.003)


def test_em_never_loses_likelihood(noisy):
    image, myocardium = noisy
    values = image[myocardium].astype(np.float64)
    values = (values - values.min()) / np.ptp(values)
    likelihoods = []
    for iterations in range(1, 60):
        weight, mean, variance = fit_mixture(values, iterations, -np.inf)
        density = norm.pdf(values[:, None], mean, np.sqrt(variance))
        likelihoods.append(np.log(density @ weight).sum())
    assert np.diff(likelihoods).min() > -1e-9


def test_a_wide_bright_gaussian_does_not_claim_the_darkest(rng):
    """Nor a wide dark one the brightest."""
    narrow, wide = rng.normal(0, 0.05, 300), rng.normal(1, 1.5, 300)
    image = np.concatenate([narrow, wide]).reshape(20, 30).astype(np.float32)
    for seen in (image, -image):
        scar = gaussian_mixture(seen, np.ones((20, 30), bool), SPACING) >= 0.5
        assert scar.any()
        assert not scar.all()
        assert seen[scar].min() > seen[~scar].max()


@pytest.mark.parametrize(("classes", "fuzziness"), [(2, 2.0), (3, 2.0), (4, 1.5)])
def test_fuzzy_centres_and_memberships_depend_on_each_other(rng, classes, fuzziness):
    values = rng.random(300)
    centres = fuzzy_centres(values, classes, fuzziness)
    distance = np.abs(values - centres[:, None])
    ratio = distance[:, None] / distance[None]
    member = 1 / (ratio ** (2 / (fuzziness - 1))).sum(axis=1)
    np.testing.assert_allclose(
        memberships(values, centres, fuzziness), member, atol=1e-12
    )
    weight = member**fuzziness
    again = (weight * values).sum(axis=1) / weight.sum(axis=1)
    np.testing.assert_allclose(again, centres, atol=1e-7)
    assert (np.diff(centres) > 0.05).all()


@pytest.mark.parametrize("settings", [{"classes": 1}, {"fuzziness": 1.0}])
def test_fuzzy_c_means_needs_classes_and_fuzziness(noisy, settings):
    with pytest.raises(ValueError, match="need"):
        fuzzy_c_means(noisy[0], noisy[1], SPACING, **settings)


def test_likelihoods_stay_as_they_are_at_the_means_beyond_them():
    mixture = Mixture(np.array([0.9, 0.1]), np.array([0.2, 0.6]), np.array([0.01, 0.2]))
    values = np.array([-3.0, 0.2, 0.35, 0.6, 9.0])
    expected = norm.logpdf(
        [0.2, 0.2, 0.35, 0.6, 0.6],
        mixture.mean[:, None],
        mixture.variance[:, None] ** 0.5,
    )
    np.testing.assert_allclose(log_likelihoods(values, mixture), expected)


def test_memberships_are_shares_and_a_value_at_a_centre_belongs_to_it(rng):
    centres = np.array([0.1, 0.5, 0.8])
    for fuzziness in (1.2, 2.0, 3.0):
        of_values = memberships(rng.random(50), centres, fuzziness)
        np.testing.assert_allclose(of_values.sum(axis=0), 1)
        np.testing.assert_allclose(
            memberships(centres, centres, fuzziness), np.eye(3), atol=1e-12
        )


def test_fuzzy_c_means_calls_the_brightest_of_its_classes(rng):
    levels = rng.integers(3, size=(20, 20))
    image = (levels + rng.normal(0, 0.02, levels.shape)).astype(np.float32)
    everywhere = np.ones(levels.shape, bool)
    scores = fuzzy_c_means(image, everywhere, SPACING, classes=3)
    np.testing.assert_array_equal(scores >= 0.5, levels == 2)
    two = fuzzy_c_means(image, levels < 2, SPACING, classes=2)
    np.testing.assert_array_equal(two >= 0.5, levels == 1)


def test_one_half_is_where_the_brightest_class_has_the_highest_membership(noisy):
    image, myocardium = noisy
    values = image[myocardium].astype(np.float64)
    values = (values - values.min()) / np.ptp(values)
    centres = fuzzy_centres(values, 3, 2.0)
    brightest = memberships(values, centres, 2.0).argmax(axis=0) == 2
    scores = fuzzy_c_means(image, myocardium, SPACING)[myocardium]
    np.testing.assert_array_equal(scores > 0.5, brightest)
    assert np.all(np.diff(scores[np.argsort(values)]) >= 0)


def test_the_mixtures_score_is_the_posterior_between_the_means(noisy):
    image, myocardium = noisy
    values = image[myocardium].astype(np.float64)
    values = (values - values.min()) / np.ptp(values)
    weight, mean, variance = fit_mixture(values)
    each = weight[:, None] * norm.pdf(
        values.clip(*mean), mean[:, None], variance[:, None] ** 0.5
    )
    scores = gaussian_mixture(image, myocardium, SPACING)[myocardium]
    np.testing.assert_allclose(scores, each[1] / each.sum(axis=0), rtol=1e-9)
