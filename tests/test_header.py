import gzip
import tracemalloc

import nibabel
import numpy as np
import pytest
from builders import changed, stored_voxels, write_nifti
from nibabel.nifti1 import Nifti1Extension

from scarseg_jax.errors import InputError
from scarseg_jax.readers.nifti import read_labels, read_volume
from scarseg_jax.readers.places import check_same_grid
from scarseg_jax.writers.nifti import write_mask


@pytest.fixture
def image():
    return stored_voxels()


def broken_files(tmp_path, image):
    good = write_nifti(tmp_path / "good.nii.gz", image).read_bytes()
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
        "long.nii": plain + b"\0",
        "long.nii.gz": gzip.compress(plain + b"\0"),
        "fewer.nii": changed(plain, 42, 8),
        "pair.nii": changed(plain, 344, [b"ni1"], "S4"),
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
    write_nifti(tmp_path / "series.nii", np.zeros((4, 4, 4, 2), np.float32))
    write_nifti(tmp_path / "complex.nii", np.zeros((4, 4, 4), np.complex64))
    colour = np.dtype([(name, np.uint8) for name in "RGB"])
    write_nifti(tmp_path / "colour.nii", np.zeros((4, 4, 4), colour))
    return [*cases, "series.nii", "complex.nii", "colour.nii", "missing.nii"]


def test_every_broken_file_is_named_in_one_line(tmp_path, image):
    for name in broken_files(tmp_path, image):
        with pytest.raises(InputError, match=name) as caught:
            read_volume(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_small_file_that_claims_gigabytes_is_refused_before_they_are_taken(
    tmp_path, image, ending
):
    plain = write_nifti(tmp_path / "good.nii", image[:5, :5, :4]).read_bytes()
    claimed = changed(plain, 42, [512, 512, 512])
    content = gzip.compress(claimed) if ending == ".nii.gz" else claimed
    (tmp_path / f"a{ending}").write_bytes(content)
    tracemalloc.start()
    said = "claims 536,871,264 bytes, the file holds 752; it is damaged"
    with pytest.raises(InputError, match=said):
        read_volume(tmp_path / f"a{ending}")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**26


def test_a_bomb_is_unpacked_no_further_than_its_header_claims(tmp_path, image):
    plain = write_nifti(tmp_path / "good.nii", image).read_bytes()
    bomb = gzip.compress(plain) + 4 * gzip.compress(bytes(2**24))
    (tmp_path / "bomb.nii.gz").write_bytes(bomb[:-20])  # its end is never read
    with pytest.raises(InputError, match="2,272 bytes, the file holds more"):
        read_volume(tmp_path / "bomb.nii.gz")


@pytest.mark.parametrize(
    ("offset", "said"),
    [
        (0, "byte 0 by"),
        (-352, "byte -352 by"),
        (348, "byte 348 by"),
        (352.5, "byte 352.5 by"),
        (np.inf, "byte inf by"),
        (np.nan, "byte nan by"),
        (2.0**63, "claims 9,223,372,036,854,777,728 bytes"),
        (3e38, "claims 3"),
        (368, "claims 2,288 bytes, the file holds 2,272"),
    ],
)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_voxels_that_begin_outside_the_file_or_in_the_header_are_refused(
    tmp_path, image, ending, offset, said
):
    path = write_nifti(tmp_path / "good.nii", image)
    content = changed(path.read_bytes(), 108, [offset], "<f4")
    bad = tmp_path / f"bad{ending}"
    bad.write_bytes(gzip.compress(content) if ending == ".nii.gz" else content)
    with pytest.raises(InputError, match=rf"bad{ending}: .*{said}") as caught:
        read_volume(bad)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("offset", [0, 543, -1, 2**62])
def test_the_same_holds_for_nifti_2(tmp_path, image, offset):
    path = tmp_path / "a.nii"
    nibabel.Nifti2Image(image, np.diag([-1.5, -1.5, -8.0, 1.0])).to_filename(path)
    np.testing.assert_array_equal(read_volume(path)[0], image.T)
    path.write_bytes(changed(path.read_bytes(), 168, [offset], "<i8"))
    with pytest.raises(InputError, match=r"vox_offset|header claims"):
        read_volume(path)


def test_bytes_between_header_and_voxels_are_passed_over(tmp_path, image):
    stored = nibabel.Nifti1Image(image, np.diag([-1.5, -1.5, -8.0, 1.0]))
    extension = Nifti1Extension("comment", b"a note")
    stored.header.extensions.append(extension)
    stored.to_filename(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz")[0], image.T)


def test_a_big_endian_file_is_read(tmp_path, image):
    header = nibabel.Nifti1Header(endianness=">")
    affine = np.diag([-1.5, -1.5, -8.0, 1.0])
    nibabel.Nifti1Image(image, affine, header).to_filename(tmp_path / "a.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii")[0], image.T)


@pytest.mark.parametrize(
    ("code", "mm"), [(0, 1.0), (1, 1000.0), (2, 1.0), (3, 0.001), (2 + 8, 1.0)]
)
@pytest.mark.parametrize("spacing_from", ["affine", "pixdim"])
def test_lengths_in_metres_and_microns_are_converted(
    tmp_path, image, code, mm, spacing_from, caplog
):
    affine = np.diag([-1.5, -1.25, -8.0, 1.0])
    affine[:3, 3] = 40, 50, 60
    affine[:3] /= mm
    path = write_nifti(tmp_path / "a.nii", image, affine)
    path.write_bytes(changed(path.read_bytes(), 123, [code], "u1"))
    _, geometry = read_volume(path, spacing_from=spacing_from)
    assert geometry.spacing_mm == pytest.approx((8.0, 1.25, 1.5), rel=1e-7)
    np.testing.assert_allclose(geometry.affines[0, :3, 3], [40, 50, 60], rtol=1e-6)
    np.testing.assert_allclose(geometry.voxels_ml, 0.015)
    assert not caplog.text
    write_mask(tmp_path / "m.nii", image.T > 100, geometry)
    labels, same = read_labels(tmp_path / "m.nii")
    check_same_grid(path, geometry, tmp_path / "m.nii", same)
    np.testing.assert_array_equal(labels, image.T > 100)


@pytest.mark.parametrize("code", [4, 7, 5 + 8])
def test_an_unknown_unit_of_length_is_refused(tmp_path, image, code):
    path = write_nifti(tmp_path / "a.nii", image)
    path.write_bytes(changed(path.read_bytes(), 123, [code], "u1"))
    with pytest.raises(InputError, match=rf"unknown unit of length {code % 8}; expect"):
        read_volume(path)


@pytest.mark.parametrize("shape", [(64,), (64, 64)])
def test_an_image_that_is_no_stack_is_called_what_it_is(tmp_path, shape):
    path = write_nifti(tmp_path / "a.nii", np.ones(shape, np.float32))
    said = rf"a {len(shape)}-D image of {' x '.join(map(str, shape))} voxels; expected"
    with pytest.raises(InputError, match=said):
        read_volume(path)


def test_a_series_is_called_what_it_is(tmp_path):
    path = write_nifti(tmp_path / "a.nii", np.ones((6, 6, 3, 1, 2, 1), np.float32))
    with pytest.raises(InputError, match="a 5-D image of 6 x 6 x 3 x 1 x 2 voxels;"):
        read_volume(path)
