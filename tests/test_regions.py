import itertools

import numpy as np
import pytest
from scipy.stats import norm

from scarseg_jax.segment.mixtures import fit_mixture
from scarseg_jax.segment.regions import (
    graph_cut,
    least_energy,
    level_set,
    neighbours,
    superpixels,
)
from scarseg_jax.segment.thresholds import otsu
from tests.builders import dice_of, noisy_slice, ring_slice

SPACING = (1.5, 1.5)


@pytest.fixture
def noisy(rng):
    return noisy_slice(rng)


@pytest.fixture
def phantom(rng):
    return ring_slice(rng)


def test_superpixels_of_one_pixel_are_otsus_pixels(phantom):
    image, myocardium, _ = phantom
    tiny = superpixels(image, myocardium, SPACING, segment_mm2=1e-3)
    assert dice_of(tiny >= 0.5, otsu(image, myocardium, SPACING) >= 0.5) > 0.98


def test_a_superpixel_is_scar_as_a_whole_and_leaves_fewer_borders(noisy):
    image = noisy[0]
    everywhere = np.ones(image.shape, bool)
    one, other = neighbours(everywhere)
    borders = []
    for segment_mm2 in (1e-3, 10, 40):
        scores = superpixels(image, everywhere, SPACING, segment_mm2=segment_mm2)
        scar = scores >= 0.5
        assert 0 < scar.sum() < scar.size
        borders.append((scar[everywhere][one] != scar[everywhere][other]).sum())
    assert borders[0] > borders[1] > borders[2]


def test_neighbours_are_all_pairs_at_distance_one(noisy):
    _, myocardium = noisy
    place = np.argwhere(myocardium)
    distance = np.abs(place[:, None] - place[None]).sum(axis=2)
    expected = {(i, j) for i, j in np.argwhere(distance == 1) if i < j}
    pairs = neighbours(myocardium)
    assert set(map(tuple, np.sort(pairs, axis=0).T)) == expected
    assert pairs.shape[1] == len(expected)


def energy(labels, cost, pairs, weight):
    """The sum of the pixels' costs and the weights of borders between labels."""
    borders = labels[pairs[0]] != labels[pairs[1]]
    return np.where(labels, cost[1], cost[0]).sum() + weight[borders].sum()


def test_the_least_energy_is_that_of_all_labellings(rng):
    mask = np.ones((3, 4), bool)
    mask[1, 1:3] = False
    pairs, k = neighbours(mask), mask.sum()
    all_labels = [np.array(t) for t in itertools.product((False, True), repeat=k)]
    mixed = 0
    for smoothness in (0.0, 0.3, 1.0, 3.0):
        for _ in range(3):
            cost, weight = rng.normal(size=(2, k)), rng.random(pairs.shape[1])
            weight *= smoothness
            best = min(all_labels, key=lambda t: energy(t, cost, pairs, weight))
            found = least_energy(cost, pairs, weight)
            np.testing.assert_array_equal(found, best)
            mixed += 0 < found.sum() < k
    assert mixed >= 6


def test_graph_cut_has_the_least_energy_of_its_formula(rng):
    """On few pixels, by trying all labellings of the energy in the docstring."""
    myocardium = np.zeros((5, 6), bool)
    myocardium[1:4, 1:5] = True
    image = np.where(np.arange(6) < 3, 0.0, 2.0) + rng.normal(0, 0.9, (5, 6))
    scores = graph_cut(image, myocardium, SPACING, smoothness=0.7)
    values = image[myocardium]
    values = (values - values.min()) / np.ptp(values)
    _, mean, variance = fit_mixture(values)
    cost = -norm.logpdf(values.clip(*mean)[:, None], mean, np.sqrt(variance))
    grid = values.reshape(3, 4)
    down, across = np.diff(grid, axis=0), np.diff(grid, axis=1)
    scale = np.mean(np.concatenate([down.ravel(), across.ravel()]) ** 2)

    def energy(labels, level):
        shape = labels.reshape(3, 4).astype(int)
        borders = sum(
            (np.abs(np.diff(shape, axis=axis)) * np.exp(-(d**2) / (2 * scale))).sum()
            for axis, d in enumerate((down, across))
        )
        odds = np.log(level / (1 - level)) * labels.sum()
        return cost[np.arange(12), labels.astype(int)].sum() + odds + 0.7 * borders

    tried = [*map(np.array, itertools.product((False, True), repeat=12))]
    for level in (0.2, 0.5, 0.8):
        best = min(tried, key=lambda labels: energy(labels, level))
        np.testing.assert_array_equal(scores[myocardium] >= level, best)


def test_graph_cut_without_smoothness_takes_the_likelier_gaussian(noisy):
    image, myocardium = noisy
    values = image[myocardium].astype(np.float64)
    values = (values - values.min()) / np.ptp(values)
    _, mean, variance = fit_mixture(values)
    dark, bright = norm.logpdf(
        values.clip(*mean), mean[:, None], variance[:, None] ** 0.5
    )
    scores = graph_cut(image, myocardium, SPACING, smoothness=0)
    for level in (0.3, 0.5, 0.9):
        likelier = bright > dark + np.log(level / (1 - level))
        np.testing.assert_array_equal(scores[myocardium] >= level, likelier)


def test_smoothness_shortens_the_borders_of_the_graph_cut(noisy):
    image, myocardium = noisy
    pairs = neighbours(myocardium)
    lengths = []
    for smoothness in (0.0, 0.5, 2.0, 8.0):
        scar = graph_cut(image, myocardium, SPACING, smoothness=smoothness) >= 0.5
        one, other = scar[myocardium][pairs]
        lengths.append((one != other).sum())
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > lengths[-1]


def test_the_level_set_of_no_iterations_is_otsus_mask(noisy):
    image, myocardium = noisy
    np.testing.assert_array_equal(
        level_set(image, myocardium, SPACING, iterations=0) >= 0.5,
        otsu(image, myocardium, SPACING) >= 0.5,
    )


@pytest.mark.parametrize("method", [level_set, graph_cut])
def test_a_higher_level_calls_less(noisy, method):
    image, myocardium = noisy
    scores = method(image, myocardium, SPACING)
    called = [(scores >= level).sum() for level in (0.1, 0.5, 0.9)]
    assert called[0] > called[1] > called[2]
