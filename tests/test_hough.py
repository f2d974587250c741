import numpy as np
import pytest
from scipy import ndimage

from scarseg_jax.prepare import crop
from scarseg_jax.prepare.hough import WORKING_PIXEL_MM, find_left_ventricle
from scarseg_jax.readers import emidec as emidec_reader

SPACING = (10.0, 1.5, 1.5)


def heart(centre=(100, 120), shape=(200, 220), inner=22.0, outer=33.0, slices=4):
    """A bright blood pool in a dark wall, with rounder decoys at the side."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.full(shape, 120.0)
    for cy, cx, radius, value in ((20, 30, 40, 220), (170, 190, 25, 30)):
        image[np.hypot(y - cy, x - cx) * 1.5 < radius] = value
    radius = np.hypot(y - centre[0], x - centre[1]) * 1.5
    image[radius < outer] = 60
    image[radius < inner] = 200
    noise = np.random.default_rng(0).normal(0, 12, (slices, *shape))
    return (ndimage.gaussian_filter(image, 0.7) + noise).astype(np.float32)


def test_finds_the_centre_and_a_border_of_a_ring():
    found = find_left_ventricle(heart(), SPACING)
    assert np.abs(found.centre_px - (100, 120)).max() < 2
    # One of the wall's borders, within the width of a step.
    assert ((found.diameter_mm > 40) & (found.diameter_mm < 70)).all()


def test_a_shifted_heart_is_found_shifted():
    one = find_left_ventricle(heart((96, 116)), SPACING)
    other = find_left_ventricle(heart((108, 124)), SPACING)
    shift = other.centre_px - one.centre_px
    assert np.abs(shift - (12, 8)).max() < 2


def test_scale_offset_and_blank_borders_do_not_matter():
    image = heart()
    plain = find_left_ventricle(image, SPACING)
    scaled = find_left_ventricle(image * 7 + 2048, SPACING)
    np.testing.assert_array_equal(plain.centre_px, scaled.centre_px)
    bordered = np.pad(image, ((0, 0), (60, 0), (0, 40)), constant_values=image.min())
    found = find_left_ventricle(bordered, SPACING)
    assert np.abs(found.centre_px - (160, 120)).max() < 3


@pytest.mark.parametrize("spacing", [(8.0, 2.0, 2.0), (8.0, 2.5, 1.0)])
def test_pixels_larger_than_the_working_grids(spacing):
    zoom = np.divide(SPACING[1:], spacing[1:])
    zoomed = ndimage.zoom(heart(), (1, *zoom), order=1, grid_mode=True, mode="nearest")
    found = find_left_ventricle(np.asarray(zoomed), spacing)
    expected = (np.array([100, 120]) + 0.5) * zoom - 0.5
    assert (np.abs(found.centre_px - expected) * spacing[1:]).max() < 3


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 30, 200), (1, 3, 3), (3, 1, 1)])
@pytest.mark.parametrize("value", [0.0, 500.0])
def test_images_without_a_heart_still_give_a_circle(shape, value):
    found = find_left_ventricle(np.full(shape, value, np.float32), SPACING)
    assert found.centre_px.shape == (shape[0], 2)
    # Nothing votes, so the prior decides: the middle.
    middle = (np.array(shape[1:]) - 1) / 2
    assert np.abs(found.centre_px - middle).max() <= WORKING_PIXEL_MM / SPACING[1]
    assert (found.diameter_mm > 0).all()


def test_real_crops_hold_the_whole_myocardium(emidec):
    kept = []
    for patient in ("Case_P100", "Case_N006", "Case_P015"):
        study = emidec_reader.read_study(emidec, patient)
        found = find_left_ventricle(study.image, study.spacing_mm)
        boxes = crop.boxes(found, study.spacing_mm)
        assert study.myocardium is not None
        kept += [crop.contains(*p) for p in zip(boxes, study.myocardium, strict=True)]
    assert all(kept)
