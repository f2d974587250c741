import itertools

import numpy as np
import pytest
from scipy.stats import norm

from scarseg_jax.segment import baselines
from scarseg_jax.segment.baselines import METHODS, find_scar

SPACING = (1.5, 1.5)
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.fixture
def phantom(rng):
    """Image, myocardium (a ring) and scar, a quarter of it 12 SD brighter.

    Outside the ring are both brighter and darker pixels. Intensities are multiples of
    1/64, so that they can be scaled and moved without rounding.
    """
    y, x = np.mgrid[:64, :64] - 31.5
    radius = np.hypot(y, x)
    myocardium = (radius >= 13) & (radius < 22)
    scar = myocardium & (np.abs(np.arctan2(y, x)) < np.pi / 4)
    image = rng.normal(12.0 * scar, 1)
    image = np.where(radius < 13, 30, np.where(radius >= 22, -25, image))
    return (np.rint(image * 64) / 64).astype(np.float32), myocardium, scar


@pytest.fixture
def noisy(rng):
    """Image of overlapping intensities and a ragged myocardium, of many parts."""
    myocardium = rng.random((24, 24)) < 0.5
    image = rng.gamma(2.0, 1.0, (24, 24))
    return (np.rint(image * 64) / 64).astype(np.float32), myocardium


@every_method
def test_a_bright_sector_is_found(method, phantom):
    image, myocardium, scar = phantom
    assert dice(method(image, myocardium, SPACING), scar) > 0.9


@every_method
def test_the_result_lies_in_the_myocardium_and_has_scar_brighter(method, noisy):
    image, myocardium = noisy
    scar = method(image, myocardium, SPACING)
    assert (scar.dtype, scar.shape) == (bool, myocardium.shape)
    assert not (scar & ~myocardium).any()
    if scar.any():
        assert image[scar].mean() > image[myocardium & ~scar].mean()


@every_method
@pytest.mark.parametrize(("scale", "offset"), [(3, -100), (0.25, 0), (1, 1000)])
def test_scale_and_offset_have_no_influence(method, phantom, noisy, scale, offset):
    for image, myocardium in (phantom[:2], noisy):
        moved = (scale * image + offset).astype(np.float32)
        np.testing.assert_array_equal(
            method(moved, myocardium, SPACING), method(image, myocardium, SPACING)
        )


@every_method
def test_intensities_outside_the_myocardium_have_no_influence(method, noisy, rng):
    image, myocardium = noisy
    other = np.where(myocardium, image, rng.normal(50, 50, image.shape))
    np.testing.assert_array_equal(
        method(other.astype(np.float32), myocardium, SPACING),
        method(image, myocardium, SPACING),
    )


@every_method
def test_nothing_is_found_in_no_myocardium_and_in_one_intensity(method, rng):
    image = rng.random((16, 16), np.float32)
    square = np.zeros((16, 16), bool)
    assert not method(image, square, SPACING).any()
    square[4:9, 5:11] = True
    assert not method(np.where(square, np.float32(7.3), image), square, SPACING).any()
    square[:] = False
    square[3, 3] = True
    assert not method(image, square, SPACING).any()


@every_method
def test_any_two_intensities_and_the_smallest_myocardium_are_taken(method, rng):
    for pixels in (2, 3, 5, 40):
        flat = np.arange(256) < pixels
        myocardium = rng.permuted(flat).reshape(16, 16)
        image = np.zeros((16, 16), np.float32)
        image[tuple(np.argwhere(myocardium)[0])] = 1
        for mask in (myocardium, flat.reshape(16, 16)):
            scar = method(np.where(mask, image, 9), mask, SPACING)
            assert scar.dtype == bool
            assert not (scar & ~mask).any()


def test_n_sd_of_a_drawn_remote_region_is_its_formula(noisy, rng):
    image, myocardium = noisy
    remote = rng.random(image.shape) < 0.3
    healthy = image[remote & myocardium].astype(np.float64)
    for n in (0.5, 1, 2):
        np.testing.assert_array_equal(
            baselines.n_sd(image, myocardium, SPACING, n=n, remote=remote),
            myocardium & (image > healthy.mean() + n * healthy.std()),
        )


def test_n_sd_takes_what_is_below_otsus_threshold_as_remote(noisy):
    image, myocardium = noisy
    remote = myocardium & ~baselines.otsu(image, myocardium, SPACING)
    np.testing.assert_array_equal(
        baselines.n_sd(image, myocardium, SPACING, n=3),
        baselines.n_sd(image, myocardium, SPACING, n=3, remote=remote),
    )


def test_n_sd_needs_a_remote_region_in_the_myocardium(noisy):
    image, myocardium = noisy
    with pytest.raises(ValueError, match="no remote pixel"):
        baselines.n_sd(image, myocardium, SPACING, remote=~myocardium)


def test_fwhm_is_half_way_between_the_least_and_the_greatest(noisy):
    image, myocardium = noisy
    inside = image[myocardium].astype(np.float64)
    for fraction in (0.5, 0.25):
        limit = inside.min() + fraction * (inside.max() - inside.min())
        np.testing.assert_array_equal(
            baselines.fwhm(image, myocardium, SPACING, fraction=fraction),
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
        baselines.otsu(image, myocardium, SPACING), myocardium & (image > best)
    )


def test_the_mixture_is_split_at_the_midpoint_of_two_equal_gaussians(rng):
    means, sd, everywhere = (10.0, 14.0), 1.0, np.ones((200, 200), bool)
    truth = rng.random(everywhere.shape) < 0.5
    image = rng.normal(np.where(truth, *means[::-1]), sd).astype(np.float32)
    scar = baselines.gaussian_mixture(image, everywhere, SPACING)
    assert image[scar].min() == pytest.approx(image[~scar].max(), abs=1e-2)
    assert image[scar].min() == pytest.approx(sum(means) / 2, abs=0.05)


def test_em_run_to_its_end_finds_the_parameters_of_a_mixture(rng):
    share = rng.random(100_000) < 0.3
    values = np.where(
        share, rng.normal(0.7, 0.1, share.size), rng.normal(0.3, 0.05, share.size)
    )
    mixture = baselines.fit_mixture(values, 1000, 1e-12)
    np.testing.assert_allclose(mixture.weight, [0.7, 0.3], atol=0.01)
    np.testing.assert_allclose(mixture.mean, [0.3, 0.7], atol=0.005)
    np.testing.assert_allclose(np.sqrt(mixture.variance), [0.05, 0.1], atol=0.003)


def test_em_never_loses_likelihood(noisy):
    image, myocardium = noisy
    values = image[myocardium].astype(np.float64)
    values = (values - values.min()) / np.ptp(values)
    likelihoods = []
    for iterations in range(1, 60):
        weight, mean, variance = baselines.fit_mixture(values, iterations, -np.inf)
        density = norm.pdf(values[:, None], mean, np.sqrt(variance))
        likelihoods.append(np.log(density @ weight).sum())
    assert np.diff(likelihoods).min() > -1e-9


def test_a_wide_bright_gaussian_does_not_claim_the_darkest(rng):
    """Nor a wide dark one the brightest."""
    narrow, wide = rng.normal(0, 0.05, 300), rng.normal(1, 1.5, 300)
    image = np.concatenate([narrow, wide]).reshape(20, 30).astype(np.float32)
    for seen in (image, -image):
        scar = baselines.gaussian_mixture(seen, np.ones((20, 30), bool), SPACING)
        assert scar.any()
        assert not scar.all()
        assert seen[scar].min() > seen[~scar].max()


@pytest.mark.parametrize(("classes", "fuzziness"), [(2, 2.0), (3, 2.0), (4, 1.5)])
def test_fuzzy_centres_and_memberships_depend_on_each_other(rng, classes, fuzziness):
    values = rng.random(300)
    centres = baselines.fuzzy_centres(values, classes, fuzziness)
    distance = np.abs(values - centres[:, None])
    ratio = distance[:, None] / distance[None]
    member = 1 / (ratio ** (2 / (fuzziness - 1))).sum(axis=1)
    np.testing.assert_allclose(
        baselines.memberships(values, centres, fuzziness), member, atol=1e-12
    )
    weight = member**fuzziness
    again = (weight * values).sum(axis=1) / weight.sum(axis=1)
    np.testing.assert_allclose(again, centres, atol=1e-7)
    assert (np.diff(centres) > 0.05).all()


@pytest.mark.parametrize("settings", [{"classes": 1}, {"fuzziness": 1.0}])
def test_fuzzy_c_means_needs_classes_and_fuzziness(noisy, settings):
    with pytest.raises(ValueError, match="need"):
        baselines.fuzzy_c_means(noisy[0], noisy[1], SPACING, **settings)


def test_superpixels_of_one_pixel_are_otsus_pixels(phantom):
    """And a superpixel is scar as a whole: larger ones leave fewer single pixels."""
    image, myocardium, _ = phantom
    tiny = baselines.superpixels(image, myocardium, SPACING, segment_mm2=1e-3)
    assert dice(tiny, baselines.otsu(image, myocardium, SPACING)) > 0.98


def test_neighbours_are_all_pairs_at_distance_one(noisy):
    _, myocardium = noisy
    place = np.argwhere(myocardium)
    distance = np.abs(place[:, None] - place[None]).sum(axis=2)
    expected = {(i, j) for i, j in np.argwhere(distance == 1) if i < j}
    pairs = baselines.neighbours(myocardium)
    assert set(map(tuple, np.sort(pairs, axis=0).T)) == expected
    assert pairs.shape[1] == len(expected)


def energy(labels, cost, pairs, weight):
    """The sum of the pixels' costs and the weights of borders between labels."""
    borders = labels[pairs[0]] != labels[pairs[1]]
    return np.where(labels, cost[1], cost[0]).sum() + weight[borders].sum()


def test_the_least_energy_is_that_of_all_labellings(rng):
    mask = np.ones((3, 4), bool)
    mask[1, 1:3] = False
    pairs, k = baselines.neighbours(mask), mask.sum()
    all_labels = [np.array(t) for t in itertools.product((False, True), repeat=k)]
    mixed = 0
    for smoothness in (0.0, 0.3, 1.0, 3.0):
        for _ in range(3):
            cost, weight = rng.normal(size=(2, k)), rng.random(pairs.shape[1])
            weight *= smoothness
            best = min(all_labels, key=lambda t: energy(t, cost, pairs, weight))
            found = baselines.least_energy(cost, pairs, weight)
            np.testing.assert_array_equal(found, best)
            mixed += 0 < found.sum() < k
    assert mixed >= 6


def test_graph_cut_has_the_least_energy_of_its_formula(rng):
    """On few pixels, by trying all labellings of the energy in the docstring."""
    myocardium = np.zeros((5, 6), bool)
    myocardium[1:4, 1:5] = True
    image = np.where(np.arange(6) < 3, 0.0, 2.0) + rng.normal(0, 0.9, (5, 6))
    scar = baselines.graph_cut(image, myocardium, SPACING, smoothness=0.7)
    values = image[myocardium]
    values = (values - values.min()) / np.ptp(values)
    _, mean, variance = baselines.fit_mixture(values)
    cost = -norm.logpdf(values.clip(*mean)[:, None], mean, np.sqrt(variance))
    grid = values.reshape(3, 4)
    down, across = np.diff(grid, axis=0), np.diff(grid, axis=1)
    scale = np.mean(np.concatenate([down.ravel(), across.ravel()]) ** 2)

    def energy(labels):
        shape = labels.reshape(3, 4).astype(int)
        borders = sum(
            (np.abs(np.diff(shape, axis=axis)) * np.exp(-(d**2) / (2 * scale))).sum()
            for axis, d in enumerate((down, across))
        )
        return cost[np.arange(12), labels.astype(int)].sum() + 0.7 * borders

    tried = map(np.array, itertools.product((False, True), repeat=12))
    np.testing.assert_array_equal(scar[myocardium], min(tried, key=energy))


def test_graph_cut_without_smoothness_takes_the_likelier_gaussian(noisy):
    image, myocardium = noisy
    values = image[myocardium].astype(np.float64)
    values = (values - values.min()) / np.ptp(values)
    _, mean, variance = baselines.fit_mixture(values)
    dark, bright = norm.logpdf(
        values.clip(*mean), mean[:, None], variance[:, None] ** 0.5
    )
    scar = baselines.graph_cut(image, myocardium, SPACING, smoothness=0)
    np.testing.assert_array_equal(scar[myocardium], bright > dark)


def test_smoothness_shortens_the_borders_of_the_graph_cut(noisy):
    image, myocardium = noisy
    pairs = baselines.neighbours(myocardium)
    lengths = []
    for smoothness in (0.0, 0.5, 2.0, 8.0):
        scar = baselines.graph_cut(image, myocardium, SPACING, smoothness=smoothness)
        one, other = scar[myocardium][pairs]
        lengths.append((one != other).sum())
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > lengths[-1]


def test_the_level_set_of_no_iterations_is_otsus_mask(noisy):
    image, myocardium = noisy
    np.testing.assert_array_equal(
        baselines.level_set(image, myocardium, SPACING, iterations=0),
        baselines.otsu(image, myocardium, SPACING),
    )


def test_a_stack_is_searched_slice_by_slice_and_loses_small_parts(phantom):
    image, myocardium, scar = phantom
    image = image.copy()
    image[31, 11], image[31, 14] = 12, 12  # single bright pixels, far from the scar
    stack = np.stack([image, -image, image])
    inside = np.stack([myocardium, myocardium, np.zeros_like(myocardium)])
    pixel_mm = np.array([1.5, 2.0, 1.5], np.float32)
    found = find_scar("Otsu", stack, inside, pixel_mm)
    for n in range(3):
        np.testing.assert_array_equal(
            found[n], baselines.otsu(stack[n], inside[n], SPACING)
        )
    assert found[0, 31, 11]
    cleaned = find_scar(METHODS["Otsu"], stack, inside, pixel_mm, min_area_mm2=5)
    assert not cleaned[0, 31, 11]
    np.testing.assert_array_equal(cleaned[0], scar)
    # One pixel of 2.25 mm2 is enough for that area, of the first slice.
    kept = find_scar("Otsu", stack, inside, pixel_mm, min_area_mm2=2.25)
    np.testing.assert_array_equal(kept[0], found[0])


def test_an_unknown_method_is_an_error(phantom):
    image, myocardium, _ = phantom
    with pytest.raises(KeyError, match="7-SD"):
        find_scar("7-SD", image[None], myocardium[None], np.ones(1))
