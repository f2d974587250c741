import numpy as np
import pytest

from scarseg_jax.segment.classical import METHODS, find_scar
from scarseg_jax.segment.thresholds import otsu
from tests.builders import dice_of, noisy_slice, ring_slice

SPACING = (1.5, 1.5)
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@pytest.fixture
def noisy(rng):
    return noisy_slice(rng)


@pytest.fixture
def phantom(rng):
    return ring_slice(rng)


@every_method
def test_a_bright_sector_is_found(method, phantom):
    image, myocardium, scar = phantom
    assert dice_of(method(image, myocardium, SPACING), scar) > 0.9


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


def test_a_stack_is_searched_slice_by_slice_and_loses_small_parts(phantom):
    image, myocardium, scar = phantom
    image = image.copy()
    image[31, 11], image[31, 14] = 12, 12  # single bright pixels, far from the scar
    stack = np.stack([image, -image, image])
    inside = np.stack([myocardium, myocardium, np.zeros_like(myocardium)])
    pixel_mm = np.array([[1.5, 1.5], [2.0, 2.0], [1.5, 1.5]], np.float32)
    found = find_scar("Otsu", stack, inside, pixel_mm)
    for n in range(3):
        np.testing.assert_array_equal(found[n], otsu(stack[n], inside[n], SPACING))
    assert found[0, 31, 11]
    cleaned = find_scar(METHODS["Otsu"], stack, inside, pixel_mm, min_area_mm2=5)
    assert not cleaned[0, 31, 11]
    np.testing.assert_array_equal(cleaned[0], scar)
    # One pixel of 2.25 mm2 is enough for that area, of the first slice.
    kept = find_scar("Otsu", stack, inside, pixel_mm, min_area_mm2=2.25)
    np.testing.assert_array_equal(kept[0], found[0])


def test_areas_are_those_of_each_slices_own_oblong_pixels():
    scar = np.zeros((3, 8, 8), bool)
    scar[:, 2, 2:5] = True  # 3 pixels
    myocardium = np.ones_like(scar)
    image = scar.astype(np.float32)
    spacing_mm = np.array([[1.0, 3.0], [3.0, 1.0], [1.0, 1.0]])  # of 9, 9 and 3 mm2
    for area, left in ((9, [3, 3, 0]), (3, [3, 3, 3]), (9.1, [0, 0, 0])):
        found = find_scar("FWHM", image, myocardium, spacing_mm, min_area_mm2=area)
        assert found.sum(axis=(1, 2)).tolist() == left


def test_a_method_is_given_each_slice_with_its_myocardium_and_spacing(noisy):
    image, myocardium = noisy
    given = []

    def method(*slice_):
        given.append(slice_)
        return slice_[1] & (slice_[0] > len(given))

    stack, inside = np.stack([image, image + 1]), np.stack([myocardium, ~myocardium])
    found = find_scar(method, stack, inside, np.array([[3.0, 0.5], [1.0, 2.0]]))
    for n, spacing in enumerate([(3.0, 0.5), (1.0, 2.0)]):
        np.testing.assert_array_equal(given[n][0], stack[n])
        np.testing.assert_array_equal(given[n][1], inside[n])
        assert given[n][2] == spacing
        np.testing.assert_array_equal(found[n], inside[n] & (stack[n] > n + 1))


def test_an_unknown_method_is_an_error(phantom):
    image, myocardium, _ = phantom
    with pytest.raises(KeyError, match="7-SD"):
        find_scar("7-SD", image[None], myocardium[None], np.ones((1, 2)))
