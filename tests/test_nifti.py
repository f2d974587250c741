import nibabel
import numpy as np
import pytest
from builders import changed, load, stored_voxels, turned, write_nifti
from nibabel.affines import apply_affine

from scarseg_jax.errors import InputError
from scarseg_jax.readers import phantom
from scarseg_jax.readers.nifti import read_image, read_labels, read_volume
from scarseg_jax.readers.places import check_same_grid
from scarseg_jax.study import Geometry, Stored
from scarseg_jax.writers.nifti import write_mask

# Columns run leftwards, rows backwards, slices towards the feet.
OBLIQUE = np.array(
    [
        [-1.2, -0.3, -1.0, 5],
        [0.4, -1.3, 2.0, 6],
        [0.2, -0.5, -9.0, 7],
        [0, 0, 0, 1],
    ],
    float,
)


@pytest.fixture
def image():
    return stored_voxels()


def stored_in(geometry: Geometry) -> Stored:
    assert geometry.stored is not None
    return geometry.stored


def test_volume_is_slice_row_column_with_column_length_spacing(tmp_path, image):
    path = write_nifti(tmp_path / "a.nii.gz", image, OBLIQUE)
    volume, grid = read_volume(path)
    np.testing.assert_array_equal(volume, image.transpose(2, 1, 0))
    lengths = np.linalg.norm(OBLIQUE[:3, :3], axis=0)
    np.testing.assert_allclose(grid.spacing_mm, lengths[::-1], rtol=1e-6)


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_the_thick_axis_is_the_slice_axis_and_masks_return_to_it(
    tmp_path, image, slice_axis
):
    spacing = np.full(3, -1.5)
    spacing[slice_axis] = -8.0
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = 40.0
    stored = np.moveaxis(image, 2, slice_axis)
    path = write_nifti(tmp_path / "a.nii", stored, affine)
    volume, grid = read_volume(path)
    assert volume.shape[0] == 4
    assert grid.spacing_mm == (8.0, 1.5, 1.5)
    write_mask(tmp_path / "m.nii.gz", volume > 100, grid)
    mask = load(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), stored > 100)
    np.testing.assert_allclose(mask.affine, affine)


def test_a_mask_written_on_an_oblique_grid_reads_back_and_says_nothing(tmp_path, image):
    source = nibabel.Nifti1Image(image, OBLIQUE)
    source.header["descrip"] = b"Doe^John"
    source.to_filename(tmp_path / "a.nii")
    volume, grid = read_volume(tmp_path / "a.nii")
    write_mask(tmp_path / "m.nii", volume > 100, grid)
    labels, same = read_labels(tmp_path / "m.nii")
    np.testing.assert_array_equal(labels, volume > 100)
    np.testing.assert_allclose(stored_in(same).affine, OBLIQUE, atol=1e-5)
    assert b"Doe" not in (tmp_path / "m.nii").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii", "m.nii"]


def test_a_mask_keeps_the_spacing_that_only_pixdim_carries(tmp_path, image, caplog):
    plain = write_nifti(tmp_path / "a.nii", image, np.diag([-1.0, -1.0, 1.0, 1.0]))
    plain.write_bytes(changed(plain.read_bytes(), 80, [1.4, 1.4, 13.0], "<f4"))
    volume, grid = read_volume(plain, spacing_from="pixdim")
    assert grid.spacing_mm == pytest.approx((13.0, 1.4, 1.4))
    write_mask(tmp_path / "m.nii.gz", volume > 100, grid)
    labels, same = read_labels(tmp_path / "m.nii.gz", spacing_from="pixdim")
    check_same_grid(plain, grid, tmp_path / "m.nii.gz", same)
    np.testing.assert_array_equal(labels, volume > 100)
    np.testing.assert_array_equal(stored_in(same).affine, stored_in(grid).affine)
    plain.write_bytes(changed(plain.read_bytes(), 80, [1.4, 1.4, 10.0], "<f4"))
    _, thinner = read_volume(plain, spacing_from="pixdim")
    with pytest.raises(InputError, match=r"m\.nii\.gz: its grid lies up to 9 mm from"):
        check_same_grid(plain, thinner, tmp_path / "m.nii.gz", same)
    assert not caplog.text
    _, taken = read_volume(plain, slice_axis=2)
    assert stored_in(taken).spacing_mm == (1.0, 1.0, 1.0)
    assert "1 x 1 x 1 mm by the affine, which is taken, but 1.4 x 1.4" in caplog.text


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_every_voxel_is_where_the_files_affine_says(tmp_path, slice_axis):
    # Each voxel's value is its number in the file.
    shape = np.insert([6, 5], slice_axis, 3)
    number = np.arange(90, dtype=np.float32).reshape(shape)
    columns = np.insert(
        [[1.2, 0.3], [-0.4, 1.3], [0.2, -0.5]], slice_axis, [1, 2, 9], 1
    )
    affine = np.eye(4)
    affine[:3] = np.column_stack([columns, [5.0, 6.0, 7.0]])
    path = write_nifti(tmp_path / "a.nii", number, affine)
    volume, geometry = read_volume(path)
    theirs = apply_affine(affine, np.argwhere(number >= 0))[volume.astype(int)]
    z, y, x = np.indices(volume.shape)
    place = np.stack([x, y, 0 * z, 1 + 0 * z], axis=-1)
    ours = np.einsum("zij,zyxj->zyxi", geometry.affines, place)[..., :3]
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_the_spacing_of_pixdim_places_the_slices(tmp_path, image):
    path = write_nifti(tmp_path / "a.nii", image, np.diag([-1.0, -1.0, 1.0, 1.0]))
    path.write_bytes(changed(path.read_bytes(), 80, [1.5, 1.25, 13.0], "<f4"))
    _, geometry = read_volume(path, spacing_from="pixdim")
    assert geometry.spacing_mm == (13.0, 1.25, 1.5)
    # Stored upwards, so that the last stored slice is the base.
    np.testing.assert_allclose(geometry.affines[:, 2, 3], [39, 26, 13, 0])
    np.testing.assert_allclose(geometry.affines[2, :3, 0], [-1.5, 0, 0])
    np.testing.assert_allclose(geometry.extents_mm, 13)
    np.testing.assert_allclose(geometry.voxels_ml, 1.5 * 1.25 * 13 / 1000)


def write_and_read(path, mask, geometry):
    """Returns the mask and the geometry that come back, stored as (x, y, z)."""
    write_mask(path, mask, geometry)
    labels, again = read_labels(path)
    assert stored_in(again).order == (2, 1, 0)
    np.testing.assert_array_equal(labels, mask)
    return again


@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize("slices", [1, 3])
def test_a_stack_that_no_file_kept_is_written_where_it_lies(
    tmp_path, rng, oblique, slices, caplog
):
    geometry = Geometry.upright(slices, (8.0, 1.5, 1.25))
    geometry = turned(geometry) if oblique else geometry
    mask = rng.random((slices, 20, 30)) < 0.3
    again = write_and_read(tmp_path / "m.nii.gz", mask, geometry)
    np.testing.assert_allclose(again.affines, geometry.affines, atol=1e-5)
    np.testing.assert_allclose(again.spacing_mm, geometry.spacing_mm, atol=1e-6)
    assert not caplog.text


def test_a_phantoms_scar_is_written_and_read_back(tmp_path):
    study = phantom.simulate_study("phantom_001")
    assert study.geometry.stored is None
    again = write_and_read(tmp_path / "scar.nii", study.scar, study.geometry)
    np.testing.assert_allclose(again.affines, study.geometry.affines, atol=1e-4)


def test_a_header_that_contradicts_the_places_of_slices_is_not_written(
    tmp_path, caplog
):
    geometry = Geometry.upright(3, (8.0, 1.5, 1.5))
    geometry.affines[:, 2, 3] = 0, -10, -20  # as with a gap of 2 mm
    mask = np.ones((3, 4, 5), bool)
    again = write_and_read(tmp_path / "m.nii", mask, geometry)
    assert again.spacing_mm == (10.0, 1.5, 1.5)
    np.testing.assert_allclose(again.positions_mm, [0, 10, 20])
    assert not caplog.text


def flawed(flaw, slices):
    """Returns an upright stack of 60 x 40 pixels, its slices out of place."""
    geometry = Geometry.upright(slices, (8.0, 1.5, 1.5))
    affines, angle = geometry.affines, np.zeros(slices)
    if flaw == "uneven":
        affines[-1, 2, 3] += 0.1
    elif flaw == "shifted":
        affines[-1, 0, 3] += 0.1
    elif flaw == "on one another":
        affines[:, 2, 3] = 0
    elif flaw == "tilted":
        angle[-1] = 0.002  # 0.2 mm at the far side
    else:
        angle = 0.002 * np.arange(slices)
    affines[:, 0, 0], affines[:, 2, 0] = -1.5 * np.cos(angle), 1.5 * np.sin(angle)
    return geometry


@pytest.mark.parametrize(
    ("flaw", "slices"),
    [
        ("uneven", 3),
        ("shifted", 3),
        ("on one another", 2),
        ("tilted", 2),
        ("tilted", 3),
        ("fanned out", 3),
    ],
)
def test_slices_that_one_affine_cannot_place_are_refused(tmp_path, flaw, slices):
    mask = np.zeros((slices, 40, 60), bool)
    with pytest.raises(InputError, match=r"m\.nii: the slices are not") as caught:
        write_mask(tmp_path / "m.nii", mask, flawed(flaw, slices))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flaw", ["uneven", "shifted"])
def test_any_two_parallel_slices_are_a_stack(tmp_path, flaw):
    geometry = flawed(flaw, 2)
    again = write_and_read(tmp_path / "m.nii", np.ones((2, 40, 60), bool), geometry)
    places = geometry.affines[:, :3, (0, 1, 3)]
    np.testing.assert_allclose(again.affines[:, :3, (0, 1, 3)], places, atol=1e-5)


def test_slices_off_by_a_thousandth_of_their_distance_are_still_a_stack(tmp_path):
    geometry = Geometry.upright(4, (8.0, 1.5, 1.5))
    geometry.affines[1, 2, 3] += 0.006
    again = write_and_read(tmp_path / "m.nii", np.ones((4, 5, 6), bool), geometry)
    np.testing.assert_allclose(again.positions_mm, [0, 8, 16, 24], atol=1e-5)


def test_one_image_and_its_myocardium_are_a_study(tmp_path, image):
    path = write_nifti(tmp_path / "a.nii", image)
    wall = write_nifti(tmp_path / "wall.nii", (image > 100).astype(np.uint8))
    bare = read_image(path)
    assert (bare.patient, bare.files, bare.myocardium) == ("a.nii", (path,), None)
    study = read_image(str(path), myocardium=str(wall))
    assert study.files == (path, wall)
    np.testing.assert_array_equal(study.image, image.T)
    np.testing.assert_array_equal(study.myocardium, image.T > 100)
    write_nifti(wall, (image > 100).astype(np.uint8), np.diag([-1.5, -1.5, -9.0, 1.0]))
    with pytest.raises(InputError, match=r"wall\.nii: its grid lies up to 3 mm from"):
        read_image(path, myocardium=wall)


def test_a_mask_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path, image):
    _, grid = read_volume(write_nifti(tmp_path / "a.nii", image))
    (tmp_path / "taken.nii").mkdir()
    with pytest.raises(InputError, match="taken"):
        write_mask(tmp_path / "taken.nii", image.T > 100, grid)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii", "taken.nii"]
    with pytest.raises(InputError, match="absent"):
        write_mask(tmp_path / "absent" / "m.nii", image.T > 100, grid)


def test_labels_are_named_in_the_header(tmp_path, image):
    _, grid = read_volume(write_nifti(tmp_path / "a.nii", image))
    labels = (image.T > 100) + 2 * (image.T > 110)
    path = tmp_path / "t.nii.gz"
    write_mask(path, labels, grid, {1: "cavity", 3: "scar"})
    kept = load(path)
    (comment,) = kept.header.extensions
    assert comment.get_content() == b"1 cavity\n3 scar\n"
    assert kept.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(read_labels(path)[0], labels)


@pytest.mark.parametrize("more", [1, 2, 4])
def test_trailing_axes_of_one_are_dropped(tmp_path, image, more):
    stored = image.reshape(*image.shape, *[1] * more)
    path = write_nifti(tmp_path / "a.nii", stored)
    volume, grid = read_volume(path)
    np.testing.assert_array_equal(volume, image.T)
    assert stored_in(grid).shape == image.shape


def moved(shift=0.0, turn_deg=0.0, stretch=1.0):
    """Returns an affine that differs from that of other files."""
    affine = np.diag([-1.5 * stretch, -1.5, -8.0, 1.0])
    angle = np.radians(turn_deg)
    turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:2, :2] = turn @ affine[:2, :2]
    affine[0, 3] += shift
    return affine


# A voxel is 1.5 mm; the far corner lies 16.5 and 13.5 mm away.
@pytest.mark.parametrize(
    ("affine", "apart"),
    [
        (moved(shift=0.002), None),
        (moved(shift=0.07), None),
        (moved(shift=0.08), "0.08"),
        (moved(turn_deg=0.2), None),
        (moved(turn_deg=0.3), "0.112"),
        (moved(stretch=1.004), None),
        (moved(stretch=1.005), "0.0825"),
    ],
)
def test_grids_a_twentieth_of_a_voxel_apart_at_a_corner_are_refused(
    tmp_path, image, affine, apart
):
    paths = (
        write_nifti(tmp_path / "a.nii", image),
        write_nifti(tmp_path / "b.nii", image, affine),
    )
    (_, one), (_, other) = map(read_volume, paths)
    if apart is None:
        check_same_grid(paths[0], one, paths[1], other)
        return
    said = rf"b\.nii: its grid lies up to {apart} mm from .*a\.nii; expected 0\.075 mm"
    with pytest.raises(InputError, match=said):
        check_same_grid(paths[0], one, paths[1], other)


def test_stacks_of_other_numbers_of_voxels_are_refused(tmp_path, image):
    paths = (
        write_nifti(tmp_path / "a.nii", image),
        write_nifti(tmp_path / "b.nii", image[:, :9]),
    )
    (_, one), (_, other) = map(read_volume, paths)
    with pytest.raises(InputError, match=r"b\.nii: 4 slices of 9 x 12 pixels, but"):
        check_same_grid(paths[0], one, paths[1], other)


def test_an_sform_that_contradicts_the_qform_is_reported(tmp_path, image, caplog):
    source = nibabel.Nifti1Image(image, np.diag([-1.5, -1.5, -8.0, 1.0]))
    source.header.set_qform(np.diag([-2.0, -2.0, -8.0, 1.0]), 1)
    source.to_filename(tmp_path / "a.nii")
    _, grid = read_volume(tmp_path / "a.nii")
    assert stored_in(grid).spacing_mm == (1.5, 1.5, 8.0)
    assert "sform and qform disagree" in caplog.text


def test_labels_that_are_no_whole_numbers_are_refused(tmp_path):
    labels = np.zeros((4, 4, 2), np.float32)
    labels[0, 0, 0] = 0.9999
    write_nifti(tmp_path / "a.nii", labels)
    assert read_labels(tmp_path / "a.nii")[0].max() == 1
    labels[1, 1, 1] = 1.5
    write_nifti(tmp_path / "b.nii", labels)
    with pytest.raises(InputError, match=r"1\.5"):
        read_labels(tmp_path / "b.nii")
    labels[1, 1, 1] = 2.0**32 + 1  # would be 1 in 32 bits
    write_nifti(tmp_path / "c.nii", labels.astype(np.float64))
    with pytest.raises(InputError, match=r"4\.29497e\+09"):
        read_labels(tmp_path / "c.nii")
