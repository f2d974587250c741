import numpy as np
import pytest

from scarseg_jax.judge.distances import (
    boundary_points,
    surface_distances,
    surface_metrics,
)

NOTHING = np.empty((0, 3))


def points(mask, pixel=1.0, gap=10.0):
    """Boundary points of a mask whose slices lie on one another."""
    n = len(mask)
    return boundary_points(
        mask, np.full(n, pixel), np.zeros((n, 2)), gap * np.arange(n, dtype=float)
    )


def square(top, left, side=5, shape=(1, 20, 20)):
    mask = np.zeros(shape, bool)
    mask[:, top : top + side, left : left + side] = True
    return mask


def test_the_boundary_of_a_square_is_its_outermost_pixels():
    found = points(square(3, 4))
    expected = {
        (0, y, x)
        for y in range(3, 8)
        for x in range(4, 9)
        if y in (3, 7) or x in (4, 8)
    }
    assert {tuple(p) for p in found} == expected
    assert len(found) == 16


def test_the_boundary_equals_a_loop_over_pixels(rng):
    mask = rng.random((3, 7, 6)) < 0.8
    pixel, z = np.array([[1.5, 1.2], [0.9, 2.0], [1.0, 1.0]]), np.array([3.0, -7, -17])
    origin = rng.normal(size=(3, 2))
    expected = set()
    for n, y, x in np.argwhere(mask):
        neighbours = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        if not all(0 <= b < 7 and 0 <= a < 6 and mask[n, b, a] for b, a in neighbours):
            mm = origin[n] + (y, x) * pixel[n]
            expected.add((z[n], *mm))
    found = boundary_points(mask, pixel, origin, z)
    assert {tuple(p) for p in found} == expected
    assert len(found) == len(expected)


def test_the_images_border_bounds_and_the_next_slice_does_not():
    full = np.ones((3, 4, 4), bool)
    assert len(points(full)) == 3 * 12
    lone = np.zeros((3, 7, 7), bool)
    lone[1, 1:6, 1:6] = True
    assert len(points(lone)) == 16


def test_a_moving_crop_moves_nothing():
    whole = np.zeros((2, 20, 20), bool)
    whole[0, 5:9, 6:9], whole[1, 8:12, 9:14] = True, True
    cropped = np.stack([whole[0, 3:15, 2:14], whole[1, 6:18, 7:19]])
    moved = boundary_points(
        cropped, np.full(2, 1.5), 1.5 * np.array([[3, 2], [6, 7]]), np.array([0, 10.0])
    )
    np.testing.assert_array_equal(moved, points(whole, 1.5))


def test_squares_a_few_pixels_apart():
    # Opposite columns, 5 of each 16 points: the nearest of the other square lies at
    # 3 to 7 px across.
    truth, called = points(square(3, 2), 1.5), points(square(3, 10), 1.5)
    forth, back = surface_distances(truth, called)
    expected = 1.5 * (10 - truth[:, 2] / 1.5)
    np.testing.assert_allclose(forth, expected)
    np.testing.assert_allclose(np.sort(back), np.sort(forth))
    metrics = surface_metrics(truth, called)
    assert metrics["hd95_mm"] == pytest.approx(np.percentile(expected, 95))
    # Columns of 5, 2, 2, 2 and 5 points at 8, 7, 6, 5 and 4 px.
    mean_px = (5 * 8 + 2 * 7 + 2 * 6 + 2 * 5 + 5 * 4) / 16
    assert metrics["assd_mm"] == pytest.approx(1.5 * mean_px)
    assert metrics["surface_dice"] == 0


def test_points_at_the_tolerance_are_within_it():
    # Rows of one pixel each, moved by 2 px of 1.1 mm, which does not round to 2.2.
    truth, called = square(3, 4, 1), square(5, 4, 1)
    for pixel in (1.1, 0.7, 1.3):
        surfaces = points(truth, pixel), points(called, pixel)
        for tolerance, expected in ((2 * pixel, 1), (2 * pixel - 0.01, 0)):
            metrics = surface_metrics(*surfaces, tolerance_mm=tolerance)
            assert metrics["surface_dice"] == expected


def test_a_slice_apart_is_the_slices_distance():
    truth, called = np.zeros((2, 2, 9, 9), bool)
    truth[0, 2:6, 2:6], called[1, 2:6, 2:6] = True, True
    metrics = surface_metrics(points(truth), points(called))
    assert metrics["hd95_mm"] == metrics["assd_mm"] == 10


def test_metrics_equal_all_distances_between_pairs(rng):
    for _ in range(5):
        truth, called = rng.random((2, 3, 8, 9)) < 0.15
        pixel, z = rng.uniform(0.5, 2, (3, 2)), np.array([0.0, 8, 19])
        origin = rng.normal(size=(3, 2))
        one, other = (boundary_points(m, pixel, origin, z) for m in (truth, called))
        every = np.sqrt(((one[:, None] - other) ** 2).sum(axis=-1))
        forth, back = every.min(axis=1), every.min(axis=0)
        together = [*forth, *back]
        metrics = surface_metrics(one, other, tolerance_mm=1.7)
        assert metrics == {
            "hd95_mm": pytest.approx(max(np.percentile(d, 95) for d in (forth, back))),
            "assd_mm": pytest.approx(sum(together) / len(together)),
            "surface_dice": sum(d <= 1.7 for d in together) / len(together),
        }
        assert surface_metrics(other, one, tolerance_mm=1.7) == (pytest.approx(metrics))


def test_distances_scale_with_the_pixels_of_their_axis():
    # Moved by 2 px along y and along x, with pixels of 3 by 0.5 mm.
    pixel, origin, z = np.array([[3.0, 0.5]]), np.zeros((1, 2)), np.zeros(1)
    at, below, beside = (
        boundary_points(square(*corner, 1), pixel, origin, z)
        for corner in ((5, 5), (7, 5), (5, 7))
    )
    assert surface_metrics(at, below)["hd95_mm"] == 6
    assert surface_metrics(at, beside)["hd95_mm"] == 1


def test_millimetres_double_with_the_pixels_size(rng):
    truth, called = rng.random((2, 2, 9, 9)) < 0.2
    one = surface_metrics(points(truth), points(called))
    other = surface_metrics(points(truth, 2, 20), points(called, 2, 20), tolerance_mm=6)
    assert other["hd95_mm"] == pytest.approx(2 * one["hd95_mm"])
    assert other["assd_mm"] == pytest.approx(2 * one["assd_mm"])
    assert other["surface_dice"] == one["surface_dice"]


def test_a_surface_is_at_no_distance_from_itself(rng):
    surface = points(rng.random((2, 9, 9)) < 0.3)
    metrics = surface_metrics(surface, surface, tolerance_mm=0)
    assert (metrics["hd95_mm"], metrics["assd_mm"]) == (0, 0)
    assert metrics["surface_dice"] == 1


def test_no_distance_is_made_up_for_an_empty_surface_but_none_of_it_is_found():
    surface = points(square(3, 4))
    assert points(square(3, 4, 0)).shape == NOTHING.shape
    nothing = surface_metrics(NOTHING, NOTHING)
    assert np.isnan([*nothing.values()]).all()
    for pair in ((surface, NOTHING), (NOTHING, surface)):
        missed = surface_metrics(*pair)
        assert np.isnan([missed["hd95_mm"], missed["assd_mm"]]).all()
        assert missed["surface_dice"] == 0
        with pytest.raises(ValueError, match="without points"):
            surface_distances(*pair)


def test_what_does_not_fit_is_refused():
    mask = np.ones((2, 3, 3), bool)
    good = np.ones(2), np.zeros((2, 2)), np.arange(2)
    with pytest.raises(ValueError, match="must be bool"):
        boundary_points(mask.astype(np.uint8), *good)
    for n in range(3):
        wrong = [array[:1] if m == n else array for m, array in enumerate(good)]
        with pytest.raises(ValueError, match="do not fit 2 slices"):
            boundary_points(mask, *wrong)
