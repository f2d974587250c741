import numpy as np
import pytest

from scarseg_jax.prepare import crop
from scarseg_jax.prepare.crop import CropBox
from scarseg_jax.prepare.hough import LeftVentricle


def disc(shape, centre, radius, spacing=(1.0, 1.0)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.hypot((y - centre[0]) * spacing[0], (x - centre[1]) * spacing[1]) < radius


def test_boxes_around_a_mask_are_as_wide_and_in_its_middle_closed_form():
    mask = np.zeros((4, 100, 100), bool)
    mask[1, 20:60, 30:80] = True  # of 1.5 x 2 mm pixels: 60 x 100 mm
    mask[2, 30:41, 40:51] = True
    boxes = crop.boxes_around(mask, (8.0, 1.5, 2.0))
    assert boxes is not None
    assert {box.side_mm for box in boxes} == {crop.AROUND * 100}
    centres = [box.centre_px for box in boxes]
    assert centres == [(39.5, 54.5), (39.5, 54.5), (35, 45), (35, 45)]
    assert all(crop.contains(*pair) for pair in zip(boxes, mask, strict=True))
    for part, pixel_mm, side_mm in (
        (mask[2:], 1.0, crop.MIN_AROUND_MM),
        (mask, 9.0, crop.MAX_SIDE_MM),
    ):
        boxes = crop.boxes_around(part, (8.0, pixel_mm, pixel_mm))
        assert boxes is not None
        assert boxes[0].side_mm == side_mm
    assert crop.boxes_around(mask[:1], (8.0, 1.5, 2.0)) is None


def test_boxes_from_afar_are_in_the_images_middle():
    boxes = crop.boxes_from_afar((2, 101, 200), (8.0, 1.5, 2.0))
    assert boxes == (CropBox((50.0, 99.5), crop.FAR_MM, (1.5, 2.0)),) * 2


def test_channels_of_neighbours_know_the_slices_own():
    assert crop.own_channels(3, neighbours=1).tolist() == [1, 1, 1]
    assert crop.own_channels(9, neighbours=1).tolist() == [3, 4, 5] * 3
    assert crop.own_channels(2, neighbours=0).tolist() == [0, 1]
    cut_out = crop.cut_out_channels(protocol=2, context=True, neighbours=1)
    assert cut_out.tolist() == [True, False, True] * 3


@pytest.fixture
def box():
    return CropBox(centre_px=(70.3, 50.6), side_mm=110.0, spacing_mm=(1.4, 1.1))


def test_to_crop_inverts_to_native(box):
    for axis in (0, 1):
        at = crop.to_native(box, 64, axis)
        # The map is linear: apply it at whole pixels and interpolate exactly.
        back = np.interp(at, np.arange(200), crop.to_crop(box, 200, 64, axis))
        np.testing.assert_allclose(back, np.arange(64), atol=1e-9)


def test_a_box_of_the_slices_own_pixels_returns_them(rng):
    image = rng.normal(size=(40, 50)).astype(np.float32)
    box = CropBox((15.5, 23.5), 16.0, (1.0, 1.0))
    np.testing.assert_allclose(
        crop.crop_image(image, box, 16), image[8:24, 16:32], atol=1e-6
    )
    mask = image > 0
    np.testing.assert_array_equal(crop.crop_mask(mask, box, 16), mask[8:24, 16:32])
    native = crop.uncrop_probability(image[8:24, 16:32], box, image.shape)
    np.testing.assert_allclose(native[8:24, 16:32], image[8:24, 16:32], atol=1e-6)
    native[8:24, 16:32] = 0
    assert not native.any()


def test_a_linear_ramp_is_kept(box):
    y, x = np.mgrid[:160, :120]
    ramp = (2.0 * y - 3.0 * x + 7).astype(np.float32)
    rows, columns = crop.to_native(box, 128, 0), crop.to_native(box, 128, 1)
    expected = 2 * rows[:, None] - 3 * columns + 7
    np.testing.assert_allclose(crop.crop_image(ramp, box, 128), expected, atol=1e-3)


def test_beyond_the_border_stands_the_minimum():
    image = np.full((20, 20), 5.0, np.float32)
    image[0, 0] = 2
    box = CropBox((0, 0), 60.0, (1.0, 1.0))
    cropped = crop.crop_image(image, box, 30)
    assert cropped[0, 0] == cropped[29, 0] == cropped[0, 29] == 2
    assert cropped[20, 20] == 5


def test_a_discs_area_survives_both_ways(box):
    mask = disc((160, 120), (70, 50), 30, box.spacing_mm)
    cropped = crop.crop_mask(mask, box)
    area = cropped.sum() * (box.side_mm / 64) ** 2
    assert area == pytest.approx(np.pi * 30**2, rel=0.02)
    native = crop.uncrop_probability(cropped.astype(float), box, mask.shape) >= 0.5
    assert 2 * (native & mask).sum() / (native.sum() + mask.sum()) > 0.97


def test_contains_says_whether_every_pixel_is_inside():
    mask = np.zeros((50, 50), bool)
    mask[10:31, 12:33] = True
    assert crop.contains(CropBox((20, 22), 20.0, (1.0, 1.0)), mask)
    assert not crop.contains(CropBox((20, 22), 19.9, (1.0, 1.0)), mask)
    assert not crop.contains(CropBox((21, 22), 20.0, (1.0, 1.0)), mask)
    assert crop.contains(CropBox((0, 0), 5.0, (1.0, 1.0)), np.zeros((5, 5), bool))


def test_the_side_is_twice_the_diameter_within_bounds():
    found = LeftVentricle(np.zeros((3, 2)), np.array([70.0, 20.0, 300.0]))
    sides = [box.side_mm for box in crop.boxes(found, (8.0, 1.0, 1.0))]
    assert sides == [140.0, crop.MIN_SIDE_MM, crop.MAX_SIDE_MM]


def test_z_score_has_mean_0_and_deviation_1_and_survives_a_constant(rng):
    scored = crop.z_score(rng.normal(1e4, 3, size=(64, 64)).astype(np.float32))
    assert scored.mean() == pytest.approx(0, abs=1e-5)
    assert scored.std() == pytest.approx(1, abs=1e-5)
    assert not crop.z_score(np.full((8, 8), 7.0, np.float32)).any()


def test_protocol_2_sees_nothing_outside_the_myocardium(rng):
    image = rng.normal(size=(64, 64)).astype(np.float32)
    inside = disc((64, 64), (30, 30), 10)
    changed = np.where(inside, image, 99)
    two = crop.network_input(image, inside, protocol=2)
    np.testing.assert_array_equal(two, crop.network_input(changed, inside, protocol=2))
    one = crop.network_input(image, None, protocol=1)
    assert not np.allclose(one, crop.network_input(changed, None, protocol=1))


def test_protocol_2_does_not_see_the_scanners_offset_or_scale(rng):
    image = rng.normal(size=(64, 64)).astype(np.float32)
    inside = disc((64, 64), (30, 30), 10)
    moved = crop.network_input(30 * image + 2048, inside, protocol=2)
    plain = crop.network_input(image, inside, protocol=2)
    np.testing.assert_allclose(moved, plain, atol=1e-3)


def test_an_empty_myocardium_gives_an_empty_input(rng):
    image = rng.normal(size=(64, 64)).astype(np.float32)
    nothing = np.zeros((64, 64), bool)
    assert not crop.network_input(image, nothing, protocol=2).any()
