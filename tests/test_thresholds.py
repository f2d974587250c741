import itertools

import numpy as np
import pytest

from scarseg_jax.segment.thresholds import fwhm, n_sd, otsu, otsu_threshold
from tests.builders import noisy_slice

SPACING = (1.5, 1.5)


@pytest.fixture
def noisy(rng):
    return noisy_slice(rng)


def test_n_sd_of_a_drawn_remote_region_is_its_formula(noisy, rng):
    image, myocardium = noisy
    remote = rng.random(image.shape) < 0.3
    healthy = image[remote & myocardium].astype(np.float64)
    for n in (0.5, 1, 2):
        np.testing.assert_array_equal(
            n_sd(image, myocardium, SPACING, n=n, remote=remote),
            myocardium & (image > healthy.mean() + n * healthy.std()),
        )


def test_n_sd_takes_what_is_below_otsus_threshold_as_remote(noisy):
    image, myocardium = noisy
    remote = myocardium & ~otsu(image, myocardium, SPACING)
    np.testing.assert_array_equal(
        n_sd(image, myocardium, SPACING, n=3),
        n_sd(image, myocardium, SPACING, n=3, remote=remote),
    )


def test_n_sd_needs_a_remote_region_in_the_myocardium(noisy):
    image, myocardium = noisy
    with pytest.raises(ValueError, match="no remote pixel"):
        n_sd(image, myocardium, SPACING, remote=~myocardium)


def test_fwhm_is_half_way_between_the_least_and_the_greatest(noisy):
    image, myocardium = noisy
    inside = image[myocardium].astype(np.float64)
    for fraction in (0.5, 0.25):
        limit = inside.min() + fraction * (inside.max() - inside.min())
        np.testing.assert_array_equal(
            fwhm(image, myocardium, SPACING, fraction=fraction),
            myocardium & (image > limit),
        )


def test_otsu_is_the_split_with_most_variance_between_classes(noisy):
    image, myocardium = noisy
    inside = image[myocardium].astype(np.float64)

    def between(threshold):
        low, high = inside[inside <= threshold], inside[inside > threshold]
        return low.size * high.size * (low.mean() - high.mean()) ** 2

    best = max(np.unique(inside)[:-1], key=between)
    np.testing.assert_array_equal(
        otsu(image, myocardium, SPACING), myocardium & (image > best)
    )


def test_otsus_threshold_is_the_greatest_value_of_the_darker_class():
    assert otsu_threshold(np.array([0.0, 1.0])) == 0
    assert otsu_threshold(np.array([0.9, 0.2, 1.0, 0.1, 0.3])) == 0.3
    # One bright pixel is split off from all that are nearly equal.
    assert otsu_threshold(np.array([0.0, 0.1, 0.2, 0.1, 5.0])) == 0.2


def test_n_sd_calls_less_with_every_sd(noisy):
    image, myocardium = noisy
    masks = [n_sd(image, myocardium, SPACING, n=n) for n in range(5)]
    for more, less in itertools.pairwise(masks):
        assert not (less & ~more).any()
    sizes = [mask.sum() for mask in masks]
    assert sizes[0] > sizes[-1] > 0
