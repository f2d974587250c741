import dataclasses
import itertools

import numpy as np
import pytest
from builders import draw_study, plain_study, turned
from scipy.spatial.transform import Rotation

from scarseg_jax.errors import InputError
from scarseg_jax.prepare.cut import cut
from scarseg_jax.study import Geometry, Slices, Stored, Study

ORDERS = list(itertools.permutations(range(3)))
FLIPS = list(itertools.product([False, True], repeat=3))


@pytest.mark.parametrize("flipped", FLIPS)
@pytest.mark.parametrize("order", ORDERS)
def test_stored_axes_become_z_y_x_and_return(rng, order, flipped):
    array = rng.normal(size=(2, 3, 4))
    stored = Stored((2, 3, 4), np.eye(4), (1.0, 1.0, 1.0), order, flipped)
    volume = stored.to_zyx(array)
    for at in np.ndindex(volume.shape):
        index = [0, 0, 0]
        for axis, i, n, flip in zip(order, at, volume.shape, flipped, strict=True):
            index[axis] = n - 1 - i if flip else i
        assert volume[at] == array[tuple(index)]
    assert volume.shape == tuple(array.shape[axis] for axis in order)
    np.testing.assert_array_equal(stored.from_zyx(volume), array)


def test_an_upright_stack_runs_from_the_origin_to_the_left_the_back_and_the_feet():
    geometry = Geometry.upright(3, (8.0, 1.5, 1.25))
    for z, affine in enumerate(geometry.affines):
        np.testing.assert_array_equal(affine[:, 0], [-1.25, 0, 0, 0])  # a column on
        np.testing.assert_array_equal(affine[:, 1], [0, -1.5, 0, 0])  # a row down
        np.testing.assert_array_equal(affine[:, 3], [0, 0, -8 * z, 1])
    np.testing.assert_array_equal(geometry.positions_mm, [0, 8, 16])
    np.testing.assert_array_equal(geometry.extents_mm, [8, 8, 8])
    assert geometry.affines.dtype == geometry.extents_mm.dtype == np.float64
    assert geometry.stored is None
    assert geometry.pixel_mm2 == 1.875
    np.testing.assert_allclose(geometry.voxels_ml, 0.015)


def uneven() -> Geometry:
    """Returns slices 0, 8, 20 and 26 mm from the base, whose header says 8 mm."""
    geometry = Geometry.upright(4, (8.0, 2.0, 1.5))
    geometry.affines[:, 2, 3] = 0, -8, -20, -26  # the feet are below
    return geometry


def test_uneven_slices_stand_for_half_the_way_to_both_neighbours():
    geometry = uneven()
    np.testing.assert_allclose(geometry.positions_mm, [0, 8, 20, 26])
    np.testing.assert_allclose(geometry.extents_mm, [8, 10, 9, 6])
    np.testing.assert_allclose(geometry.voxels_ml, [0.024, 0.03, 0.027, 0.018])
    # From half a gap below the first slice to half a gap above the last.
    assert geometry.extents_mm.sum() == pytest.approx(26 + 8 / 2 + 6 / 2)


def test_where_a_stack_lies_and_how_it_is_turned_does_not_change_its_extents():
    plain = uneven()
    moved = turned(plain)
    shift = moved.positions_mm - plain.positions_mm
    np.testing.assert_allclose(shift, shift[0])
    np.testing.assert_allclose(moved.extents_mm, plain.extents_mm)


def test_a_stack_read_from_its_other_end_has_the_same_extents():
    plain = uneven()
    other = Geometry(plain.affines[::-1], plain.spacing_mm)
    np.testing.assert_allclose(other.extents_mm, plain.extents_mm[::-1])
    # Turned over, so that the normal of the first slice runs down the stack.
    over = np.diag([1.0, -1.0, -1.0, 1.0])
    below = Geometry(plain.affines @ over, plain.spacing_mm)
    np.testing.assert_allclose(below.positions_mm, -plain.positions_mm)
    np.testing.assert_allclose(below.extents_mm, plain.extents_mm)


def test_a_slice_shifted_in_its_plane_stays_where_it_is_along_the_normal():
    plain, moved = uneven(), uneven()
    moved.affines[1, :2, 3] = 4, -3
    moved = turned(moved)
    shift = moved.positions_mm - plain.positions_mm
    np.testing.assert_allclose(shift, shift[0])
    np.testing.assert_allclose(moved.extents_mm, plain.extents_mm)


def test_a_tilted_slice_lies_where_its_corner_does_on_the_firsts_normal():
    geometry = uneven()
    tilt = np.eye(4)
    tilt[:3, :3] = Rotation.from_euler("x", 10, degrees=True).as_matrix()
    # About a point 50 mm along y, as a breath-hold turns the heart.
    about = np.eye(4)
    about[1, 3] = -50
    geometry.affines[2] = about @ tilt @ np.linalg.inv(about) @ geometry.affines[2]
    z = 20 * np.cos(np.radians(10)) - 50 * np.sin(np.radians(10))
    np.testing.assert_allclose(geometry.positions_mm, [0, 8, z, 26])
    np.testing.assert_allclose(geometry.extents_mm.sum(), 26 + 8 / 2 + (26 - z) / 2)


def test_the_first_slices_tilt_gives_the_normal():
    geometry = uneven()
    angle = np.radians(10)
    tilt = np.eye(4)
    tilt[:3, :3] = Rotation.from_euler("y", angle).as_matrix()
    geometry.affines[0] = tilt @ geometry.affines[0]
    np.testing.assert_allclose(
        geometry.positions_mm, np.array([0, 8, 20, 26]) * np.cos(angle)
    )


def test_a_single_slice_has_the_headers_thickness():
    geometry = turned(Geometry.upright(1, (7.0, 2.0, 1.5)))
    np.testing.assert_array_equal(geometry.extents_mm, [7])
    np.testing.assert_allclose(geometry.voxels_ml, [0.021])


def test_a_study_that_does_not_hold_together_is_refused():
    study = plain_study("p", np.zeros((2, 4, 5), bool))
    with pytest.raises(InputError, match=r"patient p: .*\(4, 5\).* three non-empty"):
        dataclasses.replace(study, image=study.image[0])
    with pytest.raises(InputError, match="three non-empty axes"):
        dataclasses.replace(study, image=study.image[:, :0])
    image = study.image.copy()
    image[1, 2, 3:] = np.nan, np.inf
    with pytest.raises(
        InputError, match=r"2 NaN or infinite voxels in slices 1 \(0 is"
    ):
        dataclasses.replace(study, image=image)
    for bad in (0.0, -1.0, np.nan, np.inf):
        geometry = Geometry(study.geometry.affines, (8.0, bad, 1.0))
        with pytest.raises(InputError, match="expected three positive lengths"):
            dataclasses.replace(study, geometry=geometry)


@pytest.mark.parametrize(
    "name", ["cavity", "myocardium", "scar", "no_reflow", "reader x"]
)
def test_every_mask_must_lie_on_the_images_grid(name):
    study = plain_study("p", np.zeros((2, 4, 5), bool))
    other = np.zeros((2, 5, 4), bool)
    masks = {"readers": {"x": other}} if name == "reader x" else {name: other}
    said = rf"the {name.removeprefix('reader ')} mask has shape \(2, 5, 4\)"
    with pytest.raises(InputError, match=said):
        dataclasses.replace(study, **masks)


def test_what_was_not_drawn_is_none():
    image = np.ones((2, 4, 5), np.float32)
    study = Study("p", image, Geometry.upright(2, (8.0, 1.5, 1.5)))
    assert study.masks == dict.fromkeys(("cavity", "myocardium", "scar", "no_reflow"))
    assert study.spacing_mm == (8.0, 1.5, 1.5)


def test_slices_are_taken_apart_and_put_together():
    parts = [cut(draw_study(p, seed=i), protocol=1) for i, p in enumerate("ab")]
    whole = Slices.concatenate(parts)
    assert whole.patient.tolist() == ["a", "a", "b", "b"]
    assert whole.slice.tolist() == [0, 1, 0, 1]
    for part in parts:
        taken = whole.take(whole.patient == part.patient[0])
        for name, column in vars(part).items():
            np.testing.assert_array_equal(getattr(taken, name), column)
    some = whole.take(np.array([3, 0]))
    assert some.patient.tolist() == ["b", "a"]
    np.testing.assert_array_equal(some.crop, [parts[1].crop[1], parts[0].crop[0]])
