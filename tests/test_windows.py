import dataclasses

import numpy as np
import pytest

from scarseg_jax.judge.windows import native_pictures
from scarseg_jax.prepare.cut import cut
from scarseg_jax.study import Geometry, Slices
from tests.builders import SPACING_MM, draw_study, plain_study, truth_of


def windows(studies, called=None):
    """The native pictures of studies that were prepared; all of `called` is scar."""
    slices = Slices.concatenate([cut(study, protocol=1) for study in studies])
    nothing = {s.patient: np.zeros((1, *s.image.shape), bool) for s in studies}
    return native_pictures(studies, slices, called or nothing), slices


def placed(pictures, index, name, shape):
    """A picture put back on a slice of this shape."""
    (top, left), (height, width) = pictures.top_left_px[index], pictures.size_px[index]
    own = getattr(pictures, name)[index]
    plane = np.zeros(shape, own.dtype)
    assert not own[height:].any()
    assert not own[:, width:].any()
    plane[top : top + height, left : left + width] = own[:height, :width]
    return plane


def test_masks_put_back_in_their_place_are_those_of_the_image():
    studies = [draw_study("a"), draw_study("b", seed=1, slices=3)]
    called = {s.patient: np.asarray(s.scar)[None] for s in studies}
    pictures, slices = windows(studies, called)
    np.testing.assert_array_equal(pictures.patient, ["a", "a", "b", "b", "b"])
    np.testing.assert_array_equal(pictures.slice, slices.slice)
    np.testing.assert_array_equal(pictures.pixel_mm, [SPACING_MM[1:]] * 5)
    for i in range(5):
        study, z = studies[int(i > 1)], slices.slice[i]
        for name in ("scar", "myocardium"):
            mask = getattr(study, name)
            assert mask is not None
            back = placed(pictures, i, name, study.image.shape[1:])
            np.testing.assert_array_equal(back, mask[z])
        np.testing.assert_array_equal(pictures.called[i], pictures.scar[i])


def test_a_window_holds_the_crops_and_all_of_a_patients_are_one():
    study = draw_study("a", slices=3)
    pictures, slices = windows([study])
    assert len(np.unique(pictures.top_left_px, axis=0)) == 1
    assert len(np.unique(pictures.size_px, axis=0)) == 1
    for axis in (0, 1):
        half = slices.side_mm / 2 / SPACING_MM[1 + axis]
        first = np.maximum(slices.centre_px[:, axis] - half, -0.5)
        last = slices.centre_px[:, axis] + half
        last = np.minimum(last, study.image.shape[1 + axis] - 0.5)
        begin = pictures.top_left_px[0, axis]
        assert begin - 0.5 <= first.min()
        assert begin + pictures.size_px[0, axis] - 0.5 >= last.max()


def test_what_was_drawn_beyond_the_crop_is_in_the_window():
    study = draw_study("a")
    scar = np.array(study.scar)
    scar[1, 70, 1] = True
    pictures, _ = windows([dataclasses.replace(study, scar=scar)])
    back = placed(pictures, 1, "scar", study.image.shape[1:])
    assert back[70, 1]
    assert back.sum() == scar[1].sum()


def test_smaller_windows_are_filled_up_below_and_to_the_right():
    small = draw_study("a")
    large = dataclasses.replace(
        small,
        patient="b",
        geometry=Geometry.upright(2, (10.0, 1.25, 1.25)),
        **{
            name: np.repeat(np.repeat(getattr(small, name), 2, axis=1), 2, axis=2)
            for name in ("image", "myocardium", "scar", "cavity")
        },
    )
    pictures, _ = windows([small, large])
    assert pictures.image.shape[1:] == tuple(pictures.size_px[2])
    assert (pictures.size_px[0] < pictures.size_px[2]).all()
    height, width = pictures.size_px[0]
    assert not pictures.image[0, height:].any()
    assert not pictures.image[0, :, width:].any()


def test_grey_levels_lie_between_the_intensities_that_are_shown():
    study = draw_study("a")
    pictures, _ = windows([study])
    low, high = pictures.shown[0]
    share = (study.image.astype(np.float64) - low) / (high - low)
    wanted = np.rint(255 * np.clip(share, 0, 1))
    for z in range(2):
        back = placed(pictures, z, "image", study.image.shape[1:])
        assert study.myocardium is not None
        wall = study.myocardium[z]
        np.testing.assert_array_equal(back[wall], wanted[z][wall])


@pytest.mark.parametrize("wild", [1e5, -1e5, 3e38])
def test_a_few_wild_voxels_change_the_grey_levels_little(wild):
    study = draw_study("a")
    slices = cut(study, protocol=1)
    odd = study.image.copy()
    odd[0, 36, 41] = wild
    nothing = {"a": np.zeros((1, *odd.shape), bool)}
    one, other = (
        native_pictures([s], slices, nothing)
        for s in (study, dataclasses.replace(study, image=odd))
    )
    different = np.abs(one.image.astype(int) - other.image)
    assert (different > 3).sum() <= 1
    assert one.image.std() > 30


def test_a_constant_image_is_black():
    study = plain_study("a", np.zeros((2, 64, 64), bool))
    truth = truth_of([study])
    study = dataclasses.replace(study, image=np.full_like(study.image, 7))
    called = {"a": np.zeros((1, 2, 64, 64), bool)}
    assert not native_pictures([study], truth.slices, called).image.any()


def test_scar_is_called_by_more_than_half_of_the_seeds_or_by_any():
    scar = np.zeros((1, 64, 64), bool)
    truth = truth_of([plain_study("a", scar)])
    called = np.zeros((4, 1, 64, 64), bool)
    for votes in range(1, 5):
        called[:votes, 0, 0, votes] = True
    pictures = native_pictures(truth.studies, truth.slices, {"a": called})
    np.testing.assert_array_equal(np.flatnonzero(pictures.called[0, 0]), [3, 4])
    np.testing.assert_array_equal(
        np.flatnonzero(pictures.called_by_any[0, 0]), [1, 2, 3, 4]
    )


def test_without_a_myocardium_there_is_none_and_sides_are_marked_where_known():
    study = plain_study("a", np.zeros((2, 64, 64), bool))
    truth = truth_of([study])
    called = {"a": np.zeros((1, 2, 64, 64), bool)}
    without = [dataclasses.replace(study, myocardium=None)]
    pictures = native_pictures(without, truth.slices, called)
    assert not pictures.myocardium.any()
    np.testing.assert_array_equal(pictures.marks, [("R", "L", "A", "P")] * 2)
