import numpy as np
import pytest

from scarseg_jax.segment.thresholds import (
    SECTORS,
    fwhm,
    n_sd,
    otsu,
    otsu_threshold,
    remote_region,
)
from tests.builders import noisy_slice, ring_slice

SPACING = (1.5, 1.5)


@pytest.fixture
def noisy(rng):
    return noisy_slice(rng)


@pytest.fixture
def phantom(rng):
    return ring_slice(rng)


def test_n_sd_of_a_drawn_remote_region_is_its_formula(noisy, rng):
    image, myocardium = noisy
    remote = rng.random(image.shape) < 0.3
    healthy = image[remote & myocardium].astype(np.float64)
    scores = n_sd(image, myocardium, SPACING, remote=remote)
    expected = (image[myocardium] - healthy.mean()) / healthy.std()
    np.testing.assert_allclose(scores[myocardium], expected, rtol=1e-9)
    assert np.all(scores[~myocardium] == -np.inf)


def test_n_sd_needs_a_remote_region_in_the_myocardium(noisy):
    image, myocardium = noisy
    with pytest.raises(ValueError, match="no remote pixel"):
        n_sd(image, myocardium, SPACING, remote=~myocardium)


def test_the_remote_region_is_the_darkest_sector_of_the_inner_wall(phantom):
    image, myocardium, _ = phantom
    y, x = np.mgrid[:64, :64] - 31.5
    angle = np.arctan2(y, x)
    dark = (angle > np.pi / 3) & (angle < 2 * np.pi / 3)
    image = image - 5 * (myocardium & dark)
    remote = np.zeros_like(myocardium)
    remote[myocardium] = remote_region(image[myocardium], myocardium)
    # A sixth of the wall of 9 pixels, of which 7 are not its border.
    inner = myocardium & (np.hypot(y, x) >= 14.5) & (np.hypot(y, x) < 20.5)
    assert np.all(remote[inner] == dark[inner])
    assert not (remote & ~dark).any()
    assert remote.sum() == pytest.approx(7 / 9 * myocardium.sum() / SECTORS, rel=0.05)


def test_a_few_dark_pixels_apart_are_no_remote_sector():
    """Of half a ring, the sectors without wall and with its last pixel."""
    y, x = np.mgrid[:64, :64] - 31.5
    radius = np.hypot(y, x)
    wall = (radius >= 13) & (radius < 22) & (x > 0)
    wall[31, 5:8] = True
    values = np.where(np.mgrid[:64, :64][1][wall] < 10, 0.0, 1.0)
    assert not remote_region(values, wall)[values == 0].any()
    assert remote_region(values, wall).sum() > 20


def test_a_thin_wall_keeps_its_border():
    wall = np.zeros((9, 9), bool)
    wall[1:8, 1:8] = True
    wall[2:7, 2:7] = False
    assert remote_region(np.arange(wall.sum(), dtype=float), wall).any()


def test_five_sd_above_the_remote_mean_is_five(phantom):
    """The scar of the phantom is 12 SD brighter than the rest."""
    image, myocardium, scar = phantom
    scores = n_sd(image, myocardium, SPACING)
    assert scores[scar].mean() == pytest.approx(12, abs=1.5)
    assert scores[myocardium & ~scar].mean() == pytest.approx(0, abs=0.5)


def test_fwhm_is_the_way_from_the_remote_mean_to_the_maximum(phantom):
    image, myocardium, scar = phantom
    scores = fwhm(image, myocardium, SPACING)
    # Remote 0; scar 12 with an SD of 1, of which few pixels are above 14.
    assert scores[scar].mean() == pytest.approx(12 / 14, abs=0.04)
    assert scores[myocardium & ~scar].mean() == pytest.approx(0, abs=0.05)
    np.testing.assert_array_equal(scores[myocardium] > 0.5, scar[myocardium])


def test_one_wild_pixel_does_not_move_the_half_maximum(phantom):
    image, myocardium, scar = phantom
    wild = image.copy()
    wild[tuple(np.argwhere(scar)[0])] = 1000
    one, other = (fwhm(seen, myocardium, SPACING) >= 0.5 for seen in (image, wild))
    np.testing.assert_array_equal(one, other)


def test_a_remote_region_of_one_intensity_divides_nothing_by_zero():
    image = np.zeros((16, 16), np.float32)
    image[4, 4] = 1
    for method in (n_sd, fwhm):
        scores = method(image, np.ones((16, 16), bool), SPACING)
        assert np.isfinite(scores).all()
        assert scores.argmax() == 4 * 16 + 4


def test_otsu_is_the_split_with_most_variance_between_classes(noisy):
    image, myocardium = noisy
    inside = image[myocardium].astype(np.float64)

    def between(threshold):
        low, high = inside[inside <= threshold], inside[inside > threshold]
        return low.size * high.size * (low.mean() - high.mean()) ** 2

    best = max(np.unique(inside)[:-1], key=between)
    np.testing.assert_array_equal(
        otsu(image, myocardium, SPACING) >= 0.5, myocardium & (image > best)
    )


def test_otsus_threshold_is_the_greatest_value_of_the_darker_class():
    assert otsu_threshold(np.array([0.0, 1.0])) == 0
    assert otsu_threshold(np.array([0.9, 0.2, 1.0, 0.1, 0.3])) == 0.3
    # One bright pixel is split off from all that are nearly equal.
    assert otsu_threshold(np.array([0.0, 0.1, 0.2, 0.1, 5.0])) == 0.2
