import itertools
from typing import Any

import nibabel
import numpy as np
import pytest
from builders import draw_study, load, plain_study, write_nifti, write_study
from scipy.spatial.transform import Rotation

from scarseg_jax.errors import InputError
from scarseg_jax.readers import emidec, folder, myops
from scarseg_jax.readers.nifti import read_image, read_volume
from scarseg_jax.readers.orientation import orient
from scarseg_jax.study import Geometry
from scarseg_jax.writers.nifti import write_mask

ORDERS = list(itertools.permutations(range(3)))
SIGNS = list(itertools.product([1, -1], repeat=3))
STORED = list(itertools.product(ORDERS, SIGNS))
LEFT, BACK, FEET = -np.eye(3)


def restored(array, affine, order, signs):
    """Returns voxels, and their affine, with the axes in another order and turned."""
    ways: Any = np.zeros((3, 2))
    for axis, (old, sign) in enumerate(zip(order, signs, strict=True)):
        ways[old] = axis, sign
    image: Any = nibabel.Nifti1Image(array, affine).as_reoriented(ways)
    return np.asarray(image.dataobj), image.affine


def oblique(spacing_mm):
    """Returns a short-axis affine, from (x, y, z): 45 degrees left, 30 down."""
    turn = Rotation.from_euler("zx", (40, -30), degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = -turn * np.array(spacing_mm[::-1])
    affine[:3, 3] = 61.0, 43.0, -12.5
    return affine


def save(path, array, affine, coded):
    """Writes a file whose sform, qform or both carry the affine."""
    image = nibabel.Nifti1Image(array, affine)
    image.set_qform(affine, code=1 if "qform" in coded else 0)
    image.set_sform(affine, code=1 if "sform" in coded else 0)
    image.to_filename(path)
    return path


@pytest.mark.parametrize("coded", ["sform", "qform", "sform and qform"])
@pytest.mark.parametrize("placed", ["oblique", "upright", "made up"])
def test_however_a_patient_is_stored_it_reads_to_the_same_arrays(
    tmp_path, coded, placed
):
    study = draw_study("p", slices=3)
    x, y, z = study.spacing_mm[::-1]
    upright = np.diag([-x, -y, -z, 1.0])
    upright[:3, 3] = 90, 80, 70
    made_up = np.diag([x, y, z, 1.0])
    affines = {"oblique": oblique(study.spacing_mm), "upright": upright}
    affine = affines.get(placed, made_up)
    image, wall = study.image.T, np.asarray(study.myocardium).T.astype(np.uint8)
    if placed == "made up":  # rises to the head
        image, wall = image[..., ::-1], wall[..., ::-1]
    spacings = set()
    for order, signs in STORED:
        parts = [restored(part, affine, order, signs) for part in (image, wall)]
        paths = [
            save(tmp_path / f"{name}.nii", *part, coded)
            for name, part in zip(("image", "wall"), parts, strict=True)
        ]
        found = read_image(paths[0], myocardium=paths[1])
        np.testing.assert_array_equal(found.image, study.image)
        assert np.array_equal(
            np.asarray(found.myocardium), np.asarray(study.myocardium)
        )
        spacings.add(found.spacing_mm)
        write_mask(tmp_path / "mask.nii", np.asarray(found.myocardium), found.geometry)
        mask = load(tmp_path / "mask.nii")
        np.testing.assert_array_equal(np.asarray(mask.dataobj), parts[1][0])
        np.testing.assert_allclose(mask.affine, parts[1][1], atol=1e-4)
    assert len(spacings) == 1
    np.testing.assert_allclose(spacings.pop(), study.spacing_mm)


def test_a_mask_stored_otherwise_than_its_image_is_read_voxel_for_voxel(tmp_path):
    study = draw_study("p", slices=3)
    affine = oblique(study.spacing_mm)
    image = write_nifti(tmp_path / "image.nii", study.image.T, affine)
    for order, signs in STORED[::5]:
        wall = restored(
            np.asarray(study.myocardium).T.astype(np.uint8), affine, order, signs
        )
        path = write_nifti(tmp_path / "wall.nii", *wall)
        found = read_image(image, myocardium=path)
        assert np.array_equal(
            np.asarray(found.myocardium), np.asarray(study.myocardium)
        )


def test_places_do_not_depend_on_how_they_are_stored(tmp_path):
    study = draw_study("p", slices=3)
    affine = oblique(study.spacing_mm)
    for order, signs in STORED:
        path = write_nifti(
            tmp_path / "a.nii", *restored(study.image.T, affine, order, signs)
        )
        _, geometry = read_volume(path)
        np.testing.assert_allclose(geometry.affines[0], affine, atol=1e-4)
        assert (np.diff(geometry.positions_mm) > 0).all()


def directions(way):
    """Returns (x, y, z) as rows, as they come out of stored axes along `way`'s."""
    axes = np.array(way, float).T
    axes /= np.linalg.norm(axes, axis=0)
    thick = 2
    order, flipped = orient(axes, thick)
    z, y, x = (
        axes[:, axis] * (-1 if flip else 1)
        for axis, flip in zip(order, flipped, strict=True)
    )
    return np.array([x, y, z])


@pytest.mark.parametrize(
    ("plane", "x", "y", "z"),
    [
        ("axial", LEFT, BACK, FEET),
        ("coronal", LEFT, FEET, -BACK),
        ("sagittal", BACK, FEET, LEFT),
    ],
)
def test_planes_are_seen_as_readers_see_them(plane, x, y, z):
    del plane
    for first, second in ((x, y), (y, x)):
        for signs in SIGNS:
            way = np.array([first, second, z]) * np.array(signs)[:, None]
            np.testing.assert_array_equal(directions(way), [x, y, z])


def test_every_plane_is_seen_from_the_side_its_last_slice_is_on(rng):
    """Right-handed in the patient, so that no heart is shown mirrored."""
    for turn in Rotation.random(200, rng=rng).as_matrix():
        found = directions(turn)
        x, y, z = found
        np.testing.assert_allclose(np.cross(y, x), z, atol=1e-12)
        assert z @ (LEFT - BACK + FEET) > 0
        assert x @ LEFT >= abs(y @ LEFT)
        for order in ((0, 1, 2), (1, 0, 2)):
            for signs in SIGNS:
                same = turn[list(order)] * np.array(signs)[:, None]
                np.testing.assert_allclose(directions(same), found)


@pytest.mark.parametrize("noise", [0, 1e-7])
def test_axes_that_run_alike_are_told_apart_by_their_directions(rng, noise):
    diagonal = np.array([LEFT + BACK, LEFT - BACK, np.sqrt(2) * FEET]) / np.sqrt(2)
    steep = np.array(
        [[np.sqrt(0.5), 0.5, 0.5], [np.sqrt(0.5), -0.5, -0.5], [0, 0.7, -0.7]]
    )
    for way in (diagonal, steep):
        found = directions(way)
        for order in ((0, 1, 2), (1, 0, 2)):
            for signs in SIGNS:
                same = way[list(order)] * np.array(signs)[:, None]
                same = same + noise * rng.standard_normal((3, 3))
                np.testing.assert_allclose(directions(same), found, atol=1e-6)


@pytest.mark.parametrize("angles", [(0, 0, 0), (20, -25, 30), (-30, 10, -20)])
@pytest.mark.parametrize(("order", "signs"), STORED)
def test_marks_are_the_letters_of_nibabel(angles, order, signs):
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn[:, order] * np.array(signs)
    letters = (("L", "R"), ("P", "A"), ("F", "H"))
    right, bottom, _ = map(str, nibabel.aff2axcodes(affine, letters))
    opposite = dict(zip("RLAPHF", "LRPAFH", strict=True))
    marks = Geometry(affine[None], (1.0, 1.0, 1.0)).orientation_marks
    assert marks == (opposite[right], right, opposite[bottom], bottom)


ISOTROPIC = np.diag([-1.4, -1.4, -1.4, 1.0])


@pytest.mark.parametrize("shape", [(20, 20, 12), (1, 1, 12)])
def test_a_stack_that_does_not_show_its_slices_is_refused_until_it_is_told(
    tmp_path, rng, shape
):
    stored = rng.normal(100, 20, shape).astype(np.float32)
    path = write_nifti(tmp_path / "a.nii", stored, ISOTROPIC)
    said = (
        r"1\.4 x 1\.4 x 1\.4 mm do not show .*--slice_axis=0, 1 or 2 .*data\.slice_axis"
    )
    with pytest.raises(InputError, match=said) as caught:
        read_volume(path)
    assert "\n" not in str(caught.value)
    for axis in range(3):
        volume, geometry = read_volume(path, slice_axis=axis)
        assert volume.shape[0] == shape[axis]
        assert geometry.stored is not None
        assert geometry.stored.order[0] == axis


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_axis_of_one_voxel_is_the_slices(tmp_path, rng, axis):
    shape = np.insert([20, 24], axis, 1)
    stored = rng.normal(100, 20, shape).astype(np.float32)
    volume, _ = read_volume(write_nifti(tmp_path / "a.nii", stored, ISOTROPIC))
    assert volume.shape[0] == 1


def test_an_axis_that_was_asked_for_is_taken_and_a_contradiction_said(tmp_path, caplog):
    stored = np.ones((12, 10, 4), np.float32)
    path = write_nifti(tmp_path / "a.nii", stored)
    assert read_volume(path, slice_axis=2)[0].shape == (4, 10, 12)
    assert not caplog.text
    assert read_volume(path, slice_axis=0)[0].shape[0] == 12
    assert "along axis 0 as asked, though voxels of 1.5 x 1.5 x 8 mm" in caplog.text


@pytest.mark.parametrize("layout", ["folder", "myops", "emidec"])
def test_every_layout_takes_the_axis_that_is_asked_for(tmp_path, layout):
    study = plain_study("p", np.zeros((3, 10, 12), bool), myocardium=None)
    image = study.image.T
    reader = {"folder": folder, "myops": myops, "emidec": emidec}[layout]
    name = {
        "folder": "p_image.nii",
        "myops": "p_LGE.nii.gz",
        "emidec": "p/Images/p.nii.gz",
    }[layout]
    write_nifti(tmp_path / name, image, np.diag([-1.0, -1.0, -1.0, 1.0]))
    with pytest.raises(InputError, match="do not show which axis"):
        reader.read_study(tmp_path, "p")
    assert reader.read_study(tmp_path, "p", slice_axis=0).image.shape[0] == 12


def test_files_without_an_affine_are_taken_as_pictures(tmp_path):
    study = draw_study("p", slices=3)
    write_study(tmp_path, study)
    image = nibabel.Nifti1Image(study.image[::-1].T, None)
    image.header.set_zooms(study.spacing_mm[::-1])
    image.to_filename(tmp_path / "bare.nii")
    volume, geometry = read_volume(tmp_path / "bare.nii")
    np.testing.assert_array_equal(volume, study.image)
    assert geometry.orientation_marks == ("R", "L", "A", "P")
