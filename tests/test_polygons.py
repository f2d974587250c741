import numpy as np
import pytest

from scarseg_jax.readers.polygons import area_px, coverage, mask

SHAPE = (120, 100)


def ellipse(y, x, down, right, count=200):
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([x + right * np.cos(angle), y + down * np.sin(angle)], axis=1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [4.5, 6.0, 12.0, 35.0])
@pytest.mark.parametrize("stretch", [1.0, 0.6])  # as pixels that are not square show it
def test_the_area_is_kept_to_a_hundredth(seed, size, stretch):
    y, x = np.random.default_rng(seed).uniform(45, 55, 2)
    points = ellipse(y, x, size, size * stretch)
    area = area_px(points)
    assert coverage(points, SHAPE).sum() == pytest.approx(area)
    drawn = mask(points, SHAPE)
    assert drawn.sum() == pytest.approx(area, abs=max(0.5, 0.01 * area))
    centre = np.argwhere(drawn).mean(axis=0)
    np.testing.assert_allclose(centre, (y, x), atol=0.35)


def test_the_share_of_each_pixel_is_that_of_many_points():
    points = np.array([(3.2, 4.1), (17.7, 6.4), (9.9, 8.2), (14.3, 15.8), (2.1, 12.6)])
    steps = (np.arange(16) + 0.5) / 16 - 0.5
    y, x = (np.add.outer(np.arange(20), steps).ravel() for _ in range(2))
    inside = np.zeros((len(y), len(x)), bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        across = (y0 > y) != (y1 > y)
        at = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
        inside ^= across[:, None] & (x[None] < at[:, None])
    share = inside.reshape(20, 16, 20, 16).mean(axis=(1, 3))
    np.testing.assert_allclose(coverage(points, (20, 20)), share, atol=0.03)


def test_where_whole_numbers_lie_is_a_parameter():
    corners = np.array([(2.0, 3.0), (6.0, 3.0), (6.0, 8.0), (2.0, 8.0)])
    drawn = mask(corners, (12, 12), centre_px=0.5)
    assert np.argwhere(drawn).min(axis=0).tolist() == [3, 2]
    assert drawn.sum() == drawn[3:8, 2:6].sum() == 20
    half = coverage(corners, (12, 12))
    assert half[3, 2] == pytest.approx(0.25)
    assert half[3, 4] == pytest.approx(0.5)
    assert half.sum() == pytest.approx(20)


def test_the_way_round_and_what_lies_outside_do_not_matter():
    points = ellipse(10, 2, 8, 8)
    np.testing.assert_array_equal(mask(points, SHAPE), mask(points[::-1], SHAPE))
    share = coverage(points, SHAPE)
    moved = coverage(points + np.array([20, 0]), SHAPE)[:, 20:]
    np.testing.assert_allclose(share[:, :80], moved, atol=1e-9)
    assert not coverage(points + np.array([0, 1e12]), SHAPE).any()
