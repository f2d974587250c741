from typing import Any

import numpy as np
import pytest

from scarseg_jax.errors import InputError
from scarseg_jax.prepare.clean import clean, used_window
from scarseg_jax.prepare.cut import cut
from scarseg_jax.readers import emidec as emidec_reader
from scarseg_jax.readers import phantom
from scarseg_jax.study import Geometry, Study

PHANTOMS = ("phantom_001", "phantom_002")  # magnitude, phase-sensitive


@pytest.fixture(params=PHANTOMS)
def study(request):
    return phantom.simulate_study(request.param)


def with_image(study, image):
    return Study(
        study.patient,
        np.asarray(image, np.float32),
        Geometry.upright(len(image), study.spacing_mm),
        myocardium=study.myocardium,
        scar=study.scar,
    )


def test_an_image_of_tissue_is_left_as_it_is(study):
    assert clean(study.image) is study.image


def test_of_real_patients_nothing_is_taken_for_wild(emidec):
    for name in emidec_reader.list_patients(emidec)[::12]:
        image = emidec_reader.read_study(emidec, name).image
        used = image[:, *used_window(image)]
        assert clean(used) is used


@pytest.mark.parametrize("factor", [3, 10, 1e30, -10, -1e30])
def test_a_stray_value_becomes_the_median_of_its_neighbours(study, factor):
    image = study.image.copy()
    z, y, x = np.argwhere(study.myocardium)[100]
    image[z, y, x] = factor * image.max()
    around = np.delete(study.image[z, y - 2 : y + 3, x - 2 : x + 3].ravel(), 12)
    cleaned = clean(image)
    assert cleaned[z, y, x] == np.median(around)
    cleaned[z, y, x] = study.image[z, y, x]
    np.testing.assert_array_equal(cleaned, study.image)


def test_a_bright_scar_is_no_stray_value():
    image = np.random.default_rng(0).normal(100, 10, (3, 60, 60)).astype(np.float32)
    image[1, 20:26, 20:26] = 400
    np.testing.assert_array_equal(clean(image), image)


def test_a_block_of_padding_inside_takes_what_lies_next_to_it(study):
    image = study.image.copy()
    image[:, 40:60, 50:70] = -32768
    cleaned = clean(image)
    assert cleaned.min() >= study.image.min()
    outside = np.ones(image.shape, bool)
    outside[:, 40:60, 50:70] = False
    np.testing.assert_array_equal(cleaned[outside], study.image[outside])
    edge = study.image[:, 39:61, 49:71]
    assert np.isin(cleaned[:, 40:60, 50:70], edge).all()


def test_padding_that_reaches_the_border_becomes_the_least_of_the_tissue(study):
    image = study.image.copy()
    image[:, :10, :30] = -32768
    rest = image[image > -32768]
    assert (clean(image)[:, :10, :30] == rest.min()).all()


@pytest.mark.parametrize("of_two", [True, False])
def test_a_damaged_slice_is_refused_by_its_number_and_range(study, of_two):
    image, rng = study.image.copy(), np.random.default_rng(0)
    noise = rng.uniform(-1, 1, image[2].shape)
    image[2] = 3e38 * (np.sign(noise) if of_two else noise)
    with pytest.raises(InputError, match=r"slice 2: intensities from -3e\+38"):
        clean(image)


def test_a_constant_image_and_one_with_a_single_other_value_stay():
    image = np.full((2, 20, 20), 7, np.float32)
    assert clean(image) is image
    image[0, 3, 3] = 1e20
    assert clean(image) is image


@pytest.mark.parametrize("value", [0, -2000, 500, 5000, 1e20])
def test_the_used_window_is_within_any_border_of_one_value(study, value):
    pads = ((0, 0), (3, 9), (0, 17))
    padded = np.pad(study.image, pads, constant_values=value)
    rows, columns = used_window(padded)
    height, width = study.image.shape[1:]
    assert (rows, columns) == (slice(3, 3 + height), slice(0, width))
    twice = np.pad(padded, ((0, 0), (2, 2), (2, 2)), constant_values=1)
    rows, columns = used_window(twice)
    assert (rows, columns) == (slice(5, 5 + height), slice(2, 2 + width))


def test_flat_lines_within_an_image_are_no_border():
    image = np.random.default_rng(0).normal(size=(2, 9, 9)).astype(np.float32)
    image[:, 4] = 0
    image[:, :, 5] = 1
    assert used_window(image) == (slice(0, 9), slice(0, 9))
    assert used_window(np.zeros((2, 9, 9))) == (slice(0, 9), slice(0, 9))


def test_a_border_changes_nothing_that_is_cut(study):
    plain = cut(study, protocol=1)
    for value in (0, -2000, 5000):
        pads = ((0, 0), (13, 7), (5, 31))
        masks: Any = {
            name: np.pad(mask, pads)
            for name, mask in study.masks.items()
            if mask is not None
        }
        padded = Study(
            study.patient,
            np.pad(study.image, pads, constant_values=value),
            study.geometry,
            **masks,
        )
        framed = cut(padded, protocol=1)
        np.testing.assert_allclose(framed.centre_px - [13, 5], plain.centre_px)
        for name in ("image", "crop", "myocardium", "side_mm", "contained"):
            np.testing.assert_array_equal(getattr(framed, name), getattr(plain, name))


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e8, 1e30])
def test_the_scale_of_the_intensities_changes_nothing_that_is_seen(study, scale):
    plain = cut(study, protocol=2)
    scaled = cut(with_image(study, study.image * np.float32(scale)), protocol=2)
    np.testing.assert_array_equal(scaled.centre_px, plain.centre_px)
    np.testing.assert_array_equal(scaled.side_mm, plain.side_mm)
    np.testing.assert_allclose(scaled.image, plain.image, atol=1e-4)
    assert plain.image.std() > 0.5


@pytest.mark.parametrize("where", ["myocardium", "corner"])
@pytest.mark.parametrize("factor", [10, 100])
def test_one_stray_voxel_moves_no_crop_and_no_other_pixel(study, where, factor):
    plain = cut(study, protocol=2)
    image = study.image.copy()
    place = np.argwhere(study.myocardium)[150] if where == "myocardium" else (1, 2, 2)
    image[tuple(place)] = factor * image.max()
    stray = cut(with_image(study, image), protocol=2)
    np.testing.assert_array_equal(stray.centre_px, plain.centre_px)
    np.testing.assert_array_equal(stray.side_mm, plain.side_mm)
    np.testing.assert_array_equal(stray.contained, plain.contained)
    change = np.abs(stray.image - plain.image)
    assert (change > 0.05).sum() <= 9  # the crop's pixels around it
    assert change.max() < 2
