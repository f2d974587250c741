import dataclasses
import gzip
from typing import Any

import nibabel
import numpy as np
import pytest

from scarseg_jax.errors import InputError
from scarseg_jax.readers import emidec as emidec_reader
from scarseg_jax.readers import folder, myops, nifti

OBLIQUE = np.array(
    [[1.2, 0.3, 1.0, 5], [-0.4, 1.3, 2.0, 6], [0.2, -0.5, 9.0, 7], [0, 0, 0, 1]], float
)


def write(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([1.5, 1.5, 8.0, 1.0]) if affine is None else affine
    nibabel.Nifti1Image(array, affine).to_filename(path)
    return path


@pytest.fixture
def image(rng):
    return rng.normal(100, 20, size=(12, 10, 4)).astype(np.float32)


def test_volume_is_slice_row_column_with_column_length_spacing(tmp_path, image):
    path = write(tmp_path / "a.nii.gz", image, OBLIQUE)
    volume, grid = nifti.read_volume(path)
    np.testing.assert_array_equal(volume, image.transpose(2, 1, 0))
    lengths = np.linalg.norm(OBLIQUE[:3, :3], axis=0)
    np.testing.assert_allclose(grid.spacing_zyx_mm, lengths[::-1])


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_the_thick_axis_is_the_slice_axis_and_masks_return_to_it(
    tmp_path, image, slice_axis
):
    spacing = np.full(3, 1.5)
    spacing[slice_axis] = 8.0
    affine = np.diag([*spacing, 1.0])
    stored = np.moveaxis(image, 2, slice_axis)
    path = write(tmp_path / "a.nii", stored, affine)
    volume, grid = nifti.read_volume(path)
    assert volume.shape[0] == 4
    assert grid.spacing_zyx_mm == (8.0, 1.5, 1.5)
    nifti.write_mask(tmp_path / "m.nii.gz", volume > 100, grid)
    mask: Any = nibabel.load(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), stored > 100)
    np.testing.assert_allclose(mask.affine, affine)


def test_a_mask_written_on_an_oblique_grid_reads_back_and_says_nothing(tmp_path, image):
    source = nibabel.Nifti1Image(image, OBLIQUE)
    source.header["descrip"] = b"Doe^John"
    source.to_filename(tmp_path / "a.nii")
    volume, grid = nifti.read_volume(tmp_path / "a.nii")
    nifti.write_mask(tmp_path / "m.nii", volume > 100, grid)
    labels, same = nifti.read_labels(tmp_path / "m.nii")
    np.testing.assert_array_equal(labels, volume > 100)
    np.testing.assert_allclose(same.affine, OBLIQUE, atol=1e-5)
    assert b"Doe" not in (tmp_path / "m.nii").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii", "m.nii"]


def test_a_mask_keeps_the_spacing_that_only_pixdim_carries(tmp_path, image, caplog):
    plain = write(tmp_path / "a.nii", image, np.diag([-1.0, -1.0, 1.0, 1.0]))
    plain.write_bytes(changed(plain.read_bytes(), 80, [1.4, 1.4, 13.0], "<f4"))
    volume, grid = nifti.read_volume(plain, spacing_from="pixdim")
    assert grid.spacing_zyx_mm == pytest.approx((13.0, 1.4, 1.4))
    nifti.write_mask(tmp_path / "m.nii.gz", volume > 100, grid)
    labels, same = nifti.read_labels(tmp_path / "m.nii.gz", spacing_from="pixdim")
    nifti.check_same_grid(plain, grid, tmp_path / "m.nii.gz", same)
    np.testing.assert_array_equal(labels, volume > 100)
    np.testing.assert_array_equal(same.affine, grid.affine)
    thinner = dataclasses.replace(same, spacing_mm=(1.4, 1.4, 10.0))
    with pytest.raises(InputError, match="spacing_mm differs"):
        nifti.check_same_grid(plain, grid, tmp_path / "m.nii.gz", thinner)
    assert not caplog.text
    _, taken = nifti.read_volume(plain)
    assert taken.spacing_mm == (1.0, 1.0, 1.0)
    assert "1 x 1 x 1 mm by the affine, which is taken, but 1.4 x 1.4" in caplog.text


def test_a_mask_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path, image):
    _, grid = nifti.read_volume(write(tmp_path / "a.nii", image))
    (tmp_path / "taken.nii").mkdir()
    with pytest.raises(InputError, match="taken"):
        nifti.write_mask(tmp_path / "taken.nii", image.T > 100, grid)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii", "taken.nii"]
    with pytest.raises(InputError, match="absent"):
        nifti.write_mask(tmp_path / "absent" / "m.nii", image.T > 100, grid)


def test_a_trailing_axis_of_one_is_dropped(tmp_path, image):
    volume, _ = nifti.read_volume(write(tmp_path / "a.nii", image[..., None]))
    np.testing.assert_array_equal(volume, image.T)


@pytest.mark.parametrize(("shift", "apart"), [(1e-4, False), (1e-2, True)])
def test_grids_that_are_apart_are_refused(tmp_path, image, shift, apart):
    moved = np.diag([1.5, 1.5, 8.0, 1.0])
    moved[0, 3] += shift
    paths = (
        write(tmp_path / "a.nii", image),
        write(tmp_path / "b.nii", image, moved),
    )
    (_, one), (_, other) = map(nifti.read_volume, paths)
    if apart:
        with pytest.raises(InputError, match=r"b\.nii: its affine differs"):
            nifti.check_same_grid(paths[0], one, paths[1], other)
    else:
        nifti.check_same_grid(paths[0], one, paths[1], other)


def test_an_sform_that_contradicts_the_qform_is_reported(tmp_path, image, caplog):
    source = nibabel.Nifti1Image(image, np.diag([1.5, 1.5, 8.0, 1.0]))
    source.header.set_qform(np.diag([2.0, 2.0, 8.0, 1.0]), 1)
    source.to_filename(tmp_path / "a.nii")
    _, grid = nifti.read_volume(tmp_path / "a.nii")
    assert grid.spacing_mm == (1.5, 1.5, 8.0)
    assert "sform and qform disagree" in caplog.text


def changed(plain, offset, values, kind="<i2"):
    """Returns the bytes of a NIfTI-1 file with a header field overwritten."""
    new = np.array(values, kind).tobytes()
    return plain[:offset] + new + plain[offset + len(new) :]


def broken_files(tmp_path, image):
    good = write(tmp_path / "good.nii.gz", image).read_bytes()
    plain = gzip.decompress(good)
    cases = {
        "truncated.nii.gz": good[: len(good) // 2],
        "flipped.nii.gz": changed(
            good, len(good) // 2, good[len(good) // 2] ^ 16, "u1"
        ),
        "checksum.nii.gz": changed(good, len(good) - 8, good[-8] ^ 1, "u1"),
        "empty.nii.gz": b"",
        "text.nii": b"hello",
        "text.mgz": b"hello",
        "short.nii": plain[:-200],
        "huge.nii": changed(plain, 42, [32767] * 3),
        "zero.nii": changed(plain, 42, 0),
        "negative.nii": changed(plain, 42, -12),
        "unknown_type.nii": changed(plain, 70, 77),
        "pixdim.nii": changed(plain, 80, 0.0, "<f4"),
        "endless.nii": changed(plain, 280, [1e9], "<f4"),
        "singular.nii": changed(plain, 296, [0.0] * 4, "<f4"),
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    write(tmp_path / "series.nii", np.zeros((4, 4, 4, 2), np.float32))
    write(tmp_path / "complex.nii", np.zeros((4, 4, 4), np.complex64))
    colour = np.dtype([(name, np.uint8) for name in "RGB"])
    write(tmp_path / "colour.nii", np.zeros((4, 4, 4), colour))
    return [*cases, "series.nii", "complex.nii", "colour.nii", "missing.nii"]


def test_every_broken_file_is_named_in_one_line(tmp_path, image):
    for name in broken_files(tmp_path, image):
        with pytest.raises(InputError, match=name) as caught:
            nifti.read_volume(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_labels_that_are_no_whole_numbers_are_refused(tmp_path):
    labels = np.zeros((4, 4, 2), np.float32)
    labels[0, 0, 0] = 0.9999
    write(tmp_path / "a.nii", labels)
    assert nifti.read_labels(tmp_path / "a.nii")[0].max() == 1
    labels[1, 1, 1] = 1.5
    write(tmp_path / "b.nii", labels)
    with pytest.raises(InputError, match=r"1\.5"):
        nifti.read_labels(tmp_path / "b.nii")
    labels[1, 1, 1] = 2.0**32 + 1  # would be 1 in 32 bits
    write(tmp_path / "c.nii", labels.astype(np.float64))
    with pytest.raises(InputError, match=r"4\.29497e\+09"):
        nifti.read_labels(tmp_path / "c.nii")


@pytest.fixture
def emidec_folder(tmp_path, image):
    labels = np.arange(image.size).reshape(image.shape) % 5
    for name, drawn in (("Case_P001", True), ("Case_N002", False)):
        write(tmp_path / name / "Images" / f"{name}.nii.gz", image)
        if drawn:
            path = tmp_path / name / "Contours" / f"{name}.nii.gz"
            write(path, labels.astype(np.uint8))
    return tmp_path, labels.transpose(2, 1, 0)


def test_emidec_labels_and_a_case_without_contours(emidec_folder):
    path, labels = emidec_folder
    assert emidec_reader.list_patients(path) == ("Case_N002", "Case_P001")
    study = emidec_reader.read_study(path, "Case_P001")
    np.testing.assert_array_equal(study.myocardium, labels >= 2)
    np.testing.assert_array_equal(study.scar, labels >= 3)
    bare = emidec_reader.read_study(path, "Case_N002")
    assert bare.myocardium is None
    assert bare.scar is None


def test_emidec_refuses_unknown_labels_other_grids_and_nan(emidec_folder, image):
    path, _ = emidec_folder
    contours = path / "Case_P001" / "Contours" / "Case_P001.nii.gz"
    write(contours, np.full(image.shape, 7, np.uint8))
    with pytest.raises(InputError, match="unknown labels 7"):
        emidec_reader.read_study(path, "Case_P001")
    write(contours, np.zeros((12, 10, 5), np.uint8))
    with pytest.raises(InputError, match="shape"):
        emidec_reader.read_study(path, "Case_P001")
    image[3, 3, 1] = np.nan
    write(path / "Case_N002" / "Images" / "Case_N002.nii.gz", image)
    with pytest.raises(InputError, match="1 NaN or infinite voxels in slices 1"):
        emidec_reader.read_study(path, "Case_N002")


@pytest.mark.parametrize("reader", [emidec_reader, folder, myops])
@pytest.mark.parametrize("name", ["empty", "absent"])
def test_a_folder_of_another_layout_is_refused_by_name(tmp_path, reader, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=f"{name}: no .* expected .* data.path"):
        reader.list_patients(tmp_path / name)


def test_the_files_of_a_study_are_those_listed(emidec_folder, image):
    path, _ = emidec_folder
    for patient, count in (("Case_P001", 2), ("Case_N002", 1)):
        files = emidec_reader.read_study(path, patient).files
        assert files == emidec_reader.list_files(path, patient)
        assert len(files) == count
    write(path / "p_image.nii", image)
    write(path / "p_scar.nii", (image > 100).astype(np.uint8))
    assert folder.read_study(path, "p").files == folder.list_files(path, "p")
    assert folder.read_study(path, "p").myocardium is None
    write(path / "m_LGE.nii.gz", image)
    assert myops.read_study(path, "m").files == myops.list_files(path, "m")


@pytest.mark.parametrize("nested", [True, False])
def test_myops_labels(tmp_path, image, nested):
    home = tmp_path / "case7" if nested else tmp_path
    labels = np.resize([0, 200, 500, 600, 1220, 2221], image.shape).astype(np.int16)
    write(home / "case7_LGE.nii.gz", image)
    write(home / "case7_gd.nii.gz", labels)
    assert myops.list_patients(tmp_path) == ("case7",)
    study = myops.read_study(tmp_path, "case7")
    labels = labels.transpose(2, 1, 0)
    np.testing.assert_array_equal(study.myocardium, np.isin(labels, (200, 1220, 2221)))
    np.testing.assert_array_equal(study.scar, labels == 2221)


def test_myops_refuses_one_name_for_two_patients(tmp_path, image):
    for home in ("a", "b"):
        write(tmp_path / home / "x_LGE.nii.gz", image)
    with pytest.raises(InputError, match="patient x"):
        myops.list_patients(tmp_path)


def test_folder_reads_masks_of_either_value(tmp_path, image):
    write(tmp_path / "p1_image.nii.gz", image)
    write(tmp_path / "p1_myocardium.nii", ((image > 100) * 255).astype(np.uint8))
    write(tmp_path / "p1_scar.nii.gz", (image > 120).astype(np.uint8))
    write(tmp_path / "p2_image.nii", image + 1)
    assert folder.list_patients(tmp_path) == ("p1", "p2")
    study = folder.read_study(tmp_path, "p1")
    np.testing.assert_array_equal(study.myocardium, study.image > 100)
    np.testing.assert_array_equal(study.scar, study.image > 120)
    assert folder.read_study(tmp_path, "p2").scar is None


def test_folder_refuses_doubles_and_label_maps(tmp_path, image):
    write(tmp_path / "p1_image.nii.gz", image)
    write(tmp_path / "p1_image.nii", image)
    with pytest.raises(InputError, match="keep one"):
        folder.read_study(tmp_path, "p1")
    (tmp_path / "p1_image.nii").unlink()
    write(
        tmp_path / "p1_scar.nii.gz", np.resize([0, 1, 2], image.shape).astype(np.uint8)
    )
    with pytest.raises(InputError, match="2 values beside 0"):
        folder.read_study(tmp_path, "p1")


@pytest.fixture
def several(tmp_path, image):
    """Returns what writes one of a patient's masks, and reads the patient."""

    def draw(name, least, affine=None):
        write(tmp_path / f"{name}.nii.gz", (image > least).astype(np.uint8), affine)

    for patient in ("a", "a_scar", "a_scar_b"):
        write(tmp_path / f"{patient}_image.nii.gz", image)
    return draw, lambda patient: folder.read_study(tmp_path, patient)


def test_folder_keeps_each_of_several_readers(several, image):
    draw, read = several
    draw("a_scar_dr_no", 110)
    draw("a_scar_[2]", 120)
    study = read("a")
    assert study.scar is None
    assert list(study.readers) == ["[2]", "dr_no"]
    np.testing.assert_array_equal(study.readers["dr_no"], image.T > 110)
    np.testing.assert_array_equal(study.readers["[2]"], image.T > 120)
    assert [file.name for file in study.files[1:]] == [
        f"a_scar_{reader}.nii.gz" for reader in study.readers
    ]


def test_a_file_that_fits_two_patients_is_that_of_the_longer_name(several, image):
    draw, read = several
    for name in ("a_scar_b_scar", "a_scar_b_myocardium", "a_scar_scar_x"):
        draw(name, 110)
    draw("a_scar_only", 120)
    found = {
        p: [f.name for f in read(p).files[1:]] for p in ("a", "a_scar", "a_scar_b")
    }
    assert found == {
        "a": ["a_scar_only.nii.gz"],
        "a_scar": ["a_scar_scar_x.nii.gz"],
        "a_scar_b": ["a_scar_b_myocardium.nii.gz", "a_scar_b_scar.nii.gz"],
    }
    # A single reader's is simply the scar.
    assert not read("a").readers
    np.testing.assert_array_equal(read("a").scar, image.T > 120)


def test_readers_scars_are_refused_beside_a_scar_and_on_other_grids(several):
    draw, read = several
    draw("a_scar_x", 110)
    draw("a_scar_y", 110, np.diag([1.5, 1.5, 9.0, 1.0]))
    with pytest.raises(InputError, match=r"a_scar_y\.nii\.gz: its affine differs"):
        read("a")
    draw("a_scar", 110)
    with pytest.raises(
        InputError, match=r"a_scar_x\.nii\.gz is there as well"
    ) as caught:
        read("a")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("patient", "spacing_mm", "shape"),
    [
        ("Case_P100", (13, 1.40625, 1.40625), (7, 258, 248)),
        ("Case_N006", (10, 1.4583333, 1.4583333), (9, 246, 148)),
    ],
)
def test_real_spacing_stands_in_pixdim(emidec, patient, spacing_mm, shape):
    study = emidec_reader.read_study(emidec, patient)
    np.testing.assert_allclose(study.spacing_mm, spacing_mm)
    assert study.image.shape == shape
    assert study.scar is not None
    assert study.scar.any() == (patient == "Case_P100")
