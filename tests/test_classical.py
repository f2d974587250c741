import numpy as np
import pytest

from scarseg_jax.segment.classical import METHODS, score
from tests.builders import dice_of, noisy_slice, ring_slice

SPACING = (1.5, 1.5)
PUBLISHED = {
    way: (method.score, level)
    for method in METHODS.values()
    for way, level in method.published.items()
}
every_method = pytest.mark.parametrize(
    "method", [method.score for method in METHODS.values()], ids=METHODS
)


@pytest.fixture
def noisy(rng):
    return noisy_slice(rng)


@pytest.fixture
def phantom(rng):
    return ring_slice(rng)


@pytest.mark.parametrize(("method", "level"), PUBLISHED.values(), ids=PUBLISHED)
def test_a_bright_sector_is_found(method, level, phantom):
    image, myocardium, scar = phantom
    least = {2.0: 0.85}.get(level, 0.9)  # of the healthy, 2 SD take in some
    assert dice_of(method(image, myocardium, SPACING) >= level, scar) > least


@pytest.mark.parametrize(("method", "level"), PUBLISHED.values(), ids=PUBLISHED)
def test_scar_is_brighter_and_in_the_myocardium(method, level, noisy):
    image, myocardium = noisy
    scores = method(image, myocardium, SPACING)
    assert (scores.dtype, scores.shape) == (np.float64, myocardium.shape)
    assert np.all(np.isfinite(scores) == myocardium)
    scar = scores >= level
    assert scar.any()
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
def test_how_far_the_image_reaches_has_no_influence(method, phantom):
    image, myocardium, _ = phantom
    scores = method(image, myocardium, SPACING)
    wide = [np.pad(a, ((30, 0), (0, 41))) for a in (image, myocardium)]
    np.testing.assert_array_equal(method(*wide, SPACING)[30:, :-41], scores)


@every_method
def test_nothing_is_found_in_no_myocardium_and_in_one_intensity(method, rng):
    image = rng.random((16, 16), np.float32)
    square = np.zeros((16, 16), bool)
    assert np.all(method(image, square, SPACING) == -np.inf)
    square[4:9, 5:11] = True
    flat = np.where(square, np.float32(7.3), image)
    assert np.all(method(flat, square, SPACING) == -np.inf)
    square[:] = False
    square[3, 3] = True
    assert np.all(method(image, square, SPACING) == -np.inf)


@every_method
def test_any_two_intensities_and_the_smallest_myocardium_are_taken(method, rng):
    for pixels in (2, 3, 5, 40):
        flat = np.arange(256) < pixels
        myocardium = rng.permuted(flat).reshape(16, 16)
        for mask in (myocardium, flat.reshape(16, 16)):
            image = np.zeros((16, 16), np.float32)
            image[tuple(np.argwhere(mask)[0])] = 1
            scores = method(np.where(mask, image, 9), mask, SPACING)
            assert np.all(np.isfinite(scores) == mask)
            assert scores[image == 1] == scores.max()


def test_a_method_is_given_each_slice_with_its_myocardium_and_spacing(noisy):
    image, myocardium = noisy
    given = []

    def method(*slice_):
        given.append(slice_)
        return np.where(slice_[1], slice_[0] + len(given), -np.inf)

    stack, inside = np.stack([image, image + 1]), np.stack([myocardium, ~myocardium])
    found = score(method, stack, inside, np.array([[3.0, 0.5], [1.0, 2.0]]))
    for n, spacing in enumerate([(3.0, 0.5), (1.0, 2.0)]):
        np.testing.assert_array_equal(given[n][0], stack[n])
        np.testing.assert_array_equal(given[n][1], inside[n])
        assert given[n][2] == spacing
        np.testing.assert_allclose(found[n][inside[n]], stack[n][inside[n]] + n + 1)
