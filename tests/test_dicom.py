"""DICOM to studies: a simulated patient, what is refused, and a real folder."""

import dataclasses
import json
import logging
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import load, write_nifti
from dicom_studies import (
    DATE,
    IDENTITY,
    KINDS,
    NAME,
    ROOT,
    circle,
    enhanced,
    images,
    short_axis,
    sop_uid,
    workspace,
    write,
)
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import JPEG2000Lossless, RLELossless

from scarseg_jax import prediction
from scarseg_jax.errors import InputError
from scarseg_jax.measure.numbers import measure
from scarseg_jax.prepare.unlike import not_late
from scarseg_jax.readers.patient import read_patient
from scarseg_jax.study import Study

SUNNYBROOK = Path(__file__).parents[2] / "shared" / "data" / "sunnybrook_sc_hf_i_1"


def zipped(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder.with_name("study")), "zip", folder))


def one_file(folder: Path, patient: Study) -> Path:
    path = folder.with_name("enhanced.dcm")
    enhanced(images(patient)).save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("kept", ["folder", "zip", "enhanced"])
@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.5, -4096.0)])
def test_the_same_patient_is_the_same_study_as_nifti_and_as_dicom(
    patient, as_nifti, tmp_path, turned, kept, slope, offset
):
    form = {"turned": turned, "slope": slope, "offset": offset}
    path = write(tmp_path / "d", images(patient, **form))
    (path / "notes.txt").write_text("not an image")
    if kept == "zip":
        path = zipped(path)
    if kept == "enhanced":
        path = tmp_path / "e.dcm"
        enhanced(images(patient, **form)).save_as(path, enforce_file_format=True)
    found, wanted = read_patient(path), read_patient(as_nifti)
    np.testing.assert_array_equal(found.image, wanted.image)
    np.testing.assert_allclose(found.spacing_mm, wanted.spacing_mm, atol=1e-4)
    np.testing.assert_allclose(
        found.geometry.affines, wanted.geometry.affines, atol=1e-4
    )
    np.testing.assert_allclose(
        found.geometry.extents_mm, wanted.geometry.extents_mm, atol=1e-4
    )
    assert found.geometry.orientation_marks == wanted.geometry.orientation_marks
    assert found.files == ()
    assert found.phase_sensitive is True


def test_of_a_pair_the_phase_sensitive_images_are_taken_or_those_asked_for(
    patient, tmp_path
):
    darker = dataclasses.replace(patient, image=patient.image // 2)
    files = [
        *images(patient, number=7),
        *images(darker, number=6, kind="magnitude"),
        *images(darker, number=8, kind="phase"),
    ]
    home = write(tmp_path / "d", files)
    assert read_patient(home).phase_sensitive is True
    for asked in ("6", "00000006", "0006"):
        found = read_patient(home, series=[asked])
        assert found.phase_sensitive is False
        np.testing.assert_array_equal(found.image, darker.image)


def test_a_stack_with_a_series_for_each_slice_is_put_together(patient, tmp_path):
    files = images(patient)
    for z, file in enumerate(files):
        file.SeriesNumber, file.SeriesInstanceUID = 20 + z, f"{ROOT}.20{z:08d}"
    home = write(tmp_path / "d", files)
    with pytest.raises(InputError, match="5 of 5 series can be"):
        read_patient(home)
    found = read_patient(home, series=[str(20 + z) for z in range(5)])
    np.testing.assert_array_equal(found.image, patient.image)


def test_uneven_slices_keep_their_places_and_one_that_lacks_is_said(
    patient, tmp_path, caplog
):
    z = patient.spacing_mm[0]
    at_mm = [0, z, 2 * z, 4 * z, 5 * z]
    geometry = short_axis(5, patient.spacing_mm, at_mm)
    uneven = dataclasses.replace(patient, geometry=geometry)
    found = read_patient(write(tmp_path / "d", images(uneven)))
    np.testing.assert_allclose(np.diff(found.geometry.positions_mm), np.diff(at_mm))
    assert found.spacing_mm[0] == pytest.approx(z)
    assert "one slice may be missing after 2" in caplog.text
    said = measure(found, np.zeros(found.image.shape, bool)).warnings
    assert said[0].startswith("There is no myocardium")
    assert said[1].startswith("Slices 2 and 3 ")
    wall = dataclasses.replace(found, myocardium=patient.myocardium)
    said = measure(wall, np.zeros(found.image.shape, bool)).warnings
    assert f"Slices 2 and 3 (0 is the base) are {2 * z:.3g} mm apart" in said[0]


@pytest.mark.parametrize("kept", ["single", "enhanced"])
def test_of_many_times_at_a_place_one_can_be_asked_for(patient, tmp_path, kept):
    files = []
    for time in range(3):
        later = dataclasses.replace(patient, image=patient.image + time)
        own = images(later, TriggerTime=str(300 - 100 * time))
        for z, file in enumerate(own):
            file.SOPInstanceUID = sop_uid(7, z + 50 * time)
        files += own
    home = write(tmp_path / "d", [enhanced(files)] if kept == "enhanced" else files)
    with pytest.raises(InputError, match=r"--series.*5 slices x 3 images"):
        read_patient(home)
    with pytest.raises(InputError, match=r"a place has 3 images.*--time=1 to 3"):
        read_patient(home, series=["7"])
    first = read_patient(home, time=1)
    np.testing.assert_array_equal(first.image, patient.image + 2)
    last = read_patient(home, series=["7"], time=-1)
    np.testing.assert_array_equal(last.image, patient.image)


def test_an_image_that_is_there_twice_counts_once(patient, tmp_path, caplog):
    home = write(tmp_path / "d", images(patient))
    write(home / "again", images(patient)[:2], seed=1)
    assert len(read_patient(home).image) == 5
    assert "2 images are there twice" in caplog.text


def test_unsigned_and_inverted_values(patient, tmp_path):
    files = images(patient, PhotometricInterpretation="MONOCHROME1")
    for file in files:
        file.PixelRepresentation = 0
    found = read_patient(write(tmp_path / "d", files))
    np.testing.assert_array_equal(found.image, -patient.image)


def test_a_single_slice_is_a_stack_of_its_thickness(patient, tmp_path):
    (file, *_) = images(patient)
    path = tmp_path / "one"
    file.save_as(path, enforce_file_format=True)
    found = read_patient(path)
    np.testing.assert_array_equal(found.image, patient.image[:1])
    assert found.spacing_mm[0] == 8


def tilted(files):
    for file in files[3:]:
        ways = np.array(file.ImageOrientationPatient, float).reshape(2, 3)
        normal, angle = np.cross(ways[0], ways[1]), np.radians(4)
        ways[1] = np.cos(angle) * ways[1] + np.sin(angle) * normal
        file.ImageOrientationPatient = [f"{v:.10f}" for v in ways.ravel()]
    return files


def edited(**values):
    def edit(files):
        for key, value in values.items():
            setattr(files[1], key, value)
        return files

    return edit


def all_edited(**values):
    def edit(files):
        for file in files:
            for key, value in values.items():
                setattr(file, key, value)
        return files

    return edit


def skewed(files):
    files[2].ImageOrientationPatient = [1, 0, 0, 0.5, 0.8, 0]
    return files


def truncated(files):
    files[1].PixelData = files[1].PixelData[:100]
    return files


def jpeg(files):
    for file in files:
        file.file_meta.TransferSyntaxUID = JPEG2000Lossless
    return files


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (tilted, "slice 3 is turned by 4.0 degrees against slice 1; expected 1"),
        (skewed, "0 of 1 series .* 5 images without a place"),
        (edited(PixelSpacing=[1.0, 1.0]), "its slices differ .* pixels of 1 x 1 mm"),
        (edited(RescaleSlope=0), "rescale slope 0 and intercept 0; expected numbers"),
        (truncated, "cannot be decoded .*expected whole images"),
        (all_edited(Modality="CT"), "0 of 1 series can be the LGE"),
        (edited(PixelSpacing=None), "0 of 1 series .* 5 images without a place"),
        (all_edited(SamplesPerPixel=3), "no DICOM image in it .5 in colour."),
        (all_edited(ImagePositionPatient=[0, 0, 0]), "1 slices x 5 images"),
        (all_edited(SeriesInstanceUID=f"{ROOT}.3", Rows=9999), "of more than 4096"),
    ],
)
def test_what_is_no_stack_is_refused_in_a_line(patient, tmp_path, edit, message):
    home = write(tmp_path / "d", edit(images(patient)))
    with pytest.raises(InputError, match=message) as refused:
        read_patient(home)
    check_neutral(str(refused.value))


def test_pixels_that_nothing_decodes_are_one_line(patient, tmp_path):
    files = images(patient)
    for file in files:
        file.compress(RLELossless)
    np.testing.assert_array_equal(
        read_patient(write(tmp_path / "rle", files)).image, patient.image
    )
    for file in files:
        file.PixelData = encapsulate([b"\xff\x4f\xff\x51" + b"\0" * 60])
    with pytest.raises(
        InputError, match=r"JPEG 2000.* cannot be decoded .*uncompressed"
    ):
        read_patient(write(tmp_path / "j2k", jpeg(files)))


def test_what_holds_no_image_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        read_patient(tmp_path / "empty")
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    with pytest.raises(InputError, match=r"no DICOM image in it .1 "):
        read_patient(broken)


@pytest.mark.parametrize("fault", ["bomb", "locked", "damaged"])
def test_zips_that_cannot_be_a_study_are_refused(tmp_path, monkeypatch, fault):
    path = tmp_path / "s.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../a.dcm", b"\0" * 10**6)
    plain = path.read_bytes()
    if fault == "bomb":
        monkeypatch.setattr("scarseg_jax.readers.dicom_files._LARGEST_ZIP", 10**5)
    elif fault == "locked":
        at = plain.index(b"PK\x01\x02") + 8
        path.write_bytes(plain[:at] + b"\x01" + plain[at + 1 :])
    else:
        path.write_bytes(plain[:-30])
    words = {"bomb": "unpack to", "locked": "password", "damaged": "no DICOM image"}
    with pytest.raises(InputError, match=words[fault]):
        read_patient(path)
    assert [p.name for p in tmp_path.iterdir()] == ["s.zip"]


def check_neutral(text: str) -> None:
    """Checks that a text does not say who it is."""
    for planted in (NAME, "Planted", IDENTITY, DATE, ROOT, "55555555.", "870605"):
        assert planted not in text


def test_predict_says_the_same_of_dicom_and_names_nobody(
    patient, as_nifti, tmp_path, command
):
    home = write(tmp_path / "d", images(patient, turned=True))
    wall = write_nifti(
        tmp_path / "wall.nii",
        np.asarray(patient.myocardium).astype(np.uint8).T,
        patient.geometry.affines[0],
    )
    masks = []
    for n, (image, more) in enumerate(
        [
            (home, {}),
            (as_nifti, {}),
            (home, {"myocardium": wall}),
            (as_nifti, {"myocardium": wall}),
        ]
    ):
        output = tmp_path / f"out{n}" / "scar.nii.gz"
        output.parent.mkdir()
        code, said = command(input=image, output=output, **more)
        assert code == 0, said
        report = json.loads(output.with_name("scar.json").read_text())
        masks.append((read_patient(output).image, report["scar_volume_ml"]))
        if image is home:
            check_neutral(said)
            check_neutral((output.parent / "scar.json").read_text())
            check_neutral(output.read_bytes().decode("latin-1"))
            assert "files" not in report
            assert report["phase_sensitive"] is True
    for one, other in ((0, 1), (2, 3)):
        assert masks[one][0].any()
        np.testing.assert_array_equal(masks[one][0], masks[other][0])
        assert masks[one][1] == pytest.approx(masks[other][1], rel=1e-4)


@pytest.mark.parametrize(
    "odd",
    [
        {"PixelSpacing": "1.5"},
        {"PixelSpacing": "1.5\\"},
        {"PixelSpacing": "0\\1.5"},
        {"PixelSpacing": "1.5\\x"},
        {"ImagePositionPatient": "1\\\\2"},
        {"ImageOrientationPatient": "1\\0\\0\\\\1\\0"},
        {"SeriesNumber": "3\\4"},
        {"SeriesNumber": ""},
    ],
)
def test_an_odd_series_beside_the_stack_is_passed_over(patient, tmp_path, odd, caplog):
    caplog.set_level(logging.INFO)
    home = write(tmp_path / "d", images(patient))
    beside = images(patient, number=9)[:1]
    for image in beside:
        image.Modality = "OT"
        for keyword, value in odd.items():
            text = (value + " " * (len(value) % 2)).encode()
            tag = Tag(tag_for_keyword(keyword) or 0)
            raw = tag, dictionary_VR(tag), len(text), text, 0, False, True
            image[keyword] = RawDataElement(*raw)
    write(home / "odd", beside)
    np.testing.assert_array_equal(read_patient(home).image, patient.image)
    assert "not taken: series" in caplog.text


def test_what_nifti_cannot_hold_is_refused_before_computing(
    patient, tmp_path, command, monkeypatch
):
    geometry = short_axis(5, patient.spacing_mm, [0, 8, 16, 32, 40])
    uneven = dataclasses.replace(patient, geometry=geometry)
    home = write(tmp_path / "d", images(uneven))
    monkeypatch.setattr(prediction, "find_scar", None)
    code, said = command(input=home, output=tmp_path / "o.nii.gz")
    assert code == 2
    assert "not parallel and evenly spaced" in said
    code, said = command(input=home, output=home / "o.nii.gz")
    assert code == 2
    assert "is in the folder of an input" in said


def cvi42_of(patient, **options):
    """Returns a workspace with the LV's two lines in each slice but the last."""
    lines, (y, x) = [], (0, 0)
    for z in range(4):
        y, x = np.argwhere(patient.cavity[z]).mean(axis=0)
        lines += [
            (sop_uid(7, z), "saendocardialContour", circle(y, x, 8)),
            (sop_uid(7, z), "saepicardialContour", circle(y, x, 12)),
        ]
    lines += [
        (sop_uid(7, 0), "noReflowAreaContour0001", circle(y, x + 10, 1.5)),
        (sop_uid(7, 0), "saUnheardOfContour", circle(y, x, 3)),
        (sop_uid(7, 1), "excludeEnhancementAreaContour", circle(y, x + 10, 2)),
        (sop_uid(7, 2), "saEnhancementReferenceMyoContour", circle(y, x - 10, 2)),
    ]
    return workspace(lines, **options)


def test_contours_of_cvi42_are_the_myocardium(patient, tmp_path, command, caplog):
    home = write(tmp_path / "d", images(patient))
    path = tmp_path / "w.cvi42wsx"
    path.write_text(cvi42_of(patient))
    found = read_patient(home, contours=path)
    areas = np.asarray(found.cavity).sum(axis=(1, 2))
    np.testing.assert_allclose(areas[:4], np.pi * 64, rtol=0.01)
    both = np.asarray(found.cavity) | np.asarray(found.myocardium)
    np.testing.assert_allclose(both.sum(axis=(1, 2))[:4], np.pi * 144, rtol=0.01)
    assert not both[4].any()
    y, x = np.argwhere(patient.cavity[1]).mean(axis=0)
    centre = np.argwhere(np.asarray(found.cavity)[1]).mean(axis=0)
    np.testing.assert_allclose(centre, (y, x), atol=0.3)
    assert found.no_reflow is not None
    assert found.no_reflow.sum() == pytest.approx(7, abs=3)
    for z, name in ((1, "excluded"), (2, "brightest")):
        mask = getattr(found, name)
        assert mask[z].sum() == mask.sum() == pytest.approx(4 * np.pi, abs=4)
    assert "not read: saUnheardOfContour" in caplog.text
    code, said = command(input=home, contours=path, output=tmp_path / "scar.nii")
    assert code == 0, said
    check_neutral(said)


def test_contours_follow_their_images_however_these_are_stored(patient, tmp_path):
    path = tmp_path / "w.cvi42wsx"
    y, x = np.argwhere(patient.cavity[2]).mean(axis=0)
    rows, columns = patient.image.shape[1:]
    for turned, (row, column) in (
        (False, (y, x)),
        (True, (columns - 1 - x, rows - 1 - y)),
    ):
        lines = [
            (sop_uid(7, 2), name, circle(row, column, radius))
            for name, radius in (
                ("saendocardialContour", 8),
                ("saepicardialContour", 12),
            )
        ]
        path.write_text(workspace(lines))
        home = write(tmp_path / f"d{turned}", images(patient, turned=turned))
        found = read_patient(home, contours=path)
        centre = np.argwhere(np.asarray(found.cavity)).mean(axis=0)
        np.testing.assert_allclose(centre, (2, y, x), atol=0.3)


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, "declares entities"),
        ("PK binary", "not readable as XML"),
        ("<a/>", "none of the contours saendocardialContour"),
        (
            workspace([("1.2.3", "saepicardialContour", circle(9, 9, 4))]),
            "none on the 5",
        ),
        (
            workspace(
                [(sop_uid(7, 0), "saepicardialContour", circle(9, 9, 4))],
                per_pixel=None,
            ),
            "lacks a number in its points or SubpixelResolution",
        ),
        (
            workspace([(sop_uid(7, 0), "saepicardialContour", circle(9, 9, 4))]),
            "endocardium in 0 slices and epicardium in 1, both in none",
        ),
    ],
)
def test_workspaces_that_cannot_be_used_are_refused(
    patient, tmp_path, content, message
):
    home = write(tmp_path / "d", images(patient))
    path = tmp_path / "w.cvi42wsx"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as refused:
        read_patient(home, contours=path)
    check_neutral(str(refused.value))


def test_a_mask_of_another_grid_is_refused(patient, tmp_path):
    home = write(tmp_path / "d", images(patient))
    affine = patient.geometry.affines[0].copy()
    affine[:3, 3] += 2
    wall = np.asarray(patient.myocardium).astype(np.uint8).T
    path = write_nifti(tmp_path / "m.nii", wall, affine)
    with pytest.raises(InputError, match=r"3\.46 mm from that of series"):
        read_patient(home, myocardium=path)


def test_a_challenges_label_map_is_taken_as_it_is(patient, as_nifti, tmp_path):
    labels = np.where(patient.cavity, 1, 0) + np.where(patient.myocardium, 2, 0)
    labels = np.where(np.asarray(patient.scar) & patient.myocardium, 3, labels)
    affine = patient.geometry.affines[0]
    path = write_nifti(tmp_path / "l.nii", labels.astype(np.uint8).T, affine)
    home = write(tmp_path / "d", images(patient))
    for image in (home, as_nifti):
        found = read_patient(image, contours=path, labels="emidec")
        np.testing.assert_array_equal(found.myocardium, patient.myocardium)
        assert (found.files == ()) is (image is home)
        with pytest.raises(InputError, match="unknown labels 1, 2, 3"):
            read_patient(image, contours=path, labels="myops")
        own = read_patient(image, contours=path, labels="scar=3, myocardium=2,cavity=1")
        for name in ("myocardium", "scar", "cavity"):
            np.testing.assert_array_equal(getattr(own, name), getattr(found, name))
        assert own.no_reflow is None
        with pytest.raises(InputError, match="unknown labels 1, 3"):
            read_patient(image, contours=path, labels="myocardium=2")
        for odd in (
            None,
            "theirs",
            "wall=2",
            "scar=0",
            "scar=3,scar=4",
            "cavity=1",
            "",
        ):
            with pytest.raises(InputError, match="expected whose labels the map has"):
                read_patient(image, contours=path, labels=odd)
        wrong: tuple[tuple[dict[str, Any], str], ...] = (
            ({"labels": "emidec"}, "--labels=emidec: of no label map"),
            (
                {"contour_names": {"a": "scar"}},
                "--contour_names=a=scar: of no contours",
            ),
            ({"centre_px": 0.5}, "--contour_centre_px=0.5: of no contours"),
            ({"contours": path, "labels": "emidec", "centre_px": 0.5}, "a label map"),
        )
        for given, words in wrong:
            with pytest.raises(InputError, match=words):
                read_patient(image, **given)


def test_a_scar_that_was_drawn_is_measured_and_reported(
    patient, as_nifti, tmp_path, command
):
    labels = np.where(patient.cavity, 1, 0) + np.where(patient.myocardium, 2, 0)
    labels = np.where(np.asarray(patient.scar) & patient.myocardium, 3, labels)
    affine = patient.geometry.affines[0]
    path = write_nifti(tmp_path / "l.nii", labels.astype(np.uint8).T, affine)
    output = tmp_path / "out" / "scar.nii"
    output.parent.mkdir()
    given: Any = {"input": as_nifti, "output": output}
    code, said = command(**given, contours=path, labels="emidec", drawn=True)
    assert code == 0, said
    assert "by hand:" in said
    np.testing.assert_array_equal(load(output).dataobj, (labels == 3).T)
    report = json.loads(output.with_suffix(".json").read_text())
    drawn_ml = patient.geometry.volume_ml(labels == 3)
    assert report["numbers"]["scar_mass_g"] == pytest.approx(1.05 * drawn_ml)
    assert report["numbers"]["scar_mass_between_g"] is None
    assert report["review"]["corrected_by_hand"] is True
    page = output.with_suffix(".html").read_text()
    assert "corrected by hand" in page
    tissues = output.with_name("scar_tissues.nii")  # and back again
    np.testing.assert_array_equal(np.asarray(load(tissues).dataobj).T, labels)
    again: Any = {"contours": tissues, "labels": "emidec", "drawn": True}
    code, said = command(**given, **again)
    assert code == 2
    assert "scar_tissues.nii, which is an input too" in said
    other = tmp_path / "again.nii"
    assert command(input=as_nifti, output=other, **again)[0] == 0
    np.testing.assert_array_equal(load(other).dataobj, load(output).dataobj)
    code, said = command(**given, drawn=True)
    assert code == 2
    assert "--drawn=True is of a scar that --contours has" in said
    labels = np.where(labels == 3, 0, labels)
    wall = write_nifti(tmp_path / "w.nii", labels.astype(np.uint8).T, affine)
    code, said = command(input=as_nifti, myocardium=wall, output=other, drawn=True)
    assert (code, "expected them too" in said) == (2, True)
    code, said = command(**given, **again, threshold=0.5)
    assert (code, "--threshold=0.5 is the networks'" in said) == (2, True)


def test_a_real_oblique_cine_with_its_contours():
    """The experts' areas; RV at the left, since slices are seen from the apex."""
    if not SUNNYBROOK.is_dir():
        pytest.skip("the Sunnybrook patient is not there")
    study = read_patient(SUNNYBROOK, contours=SUNNYBROOK / "contours")
    assert study.image.shape == (9, 256, 256)
    np.testing.assert_allclose(study.spacing_mm, (10, 1.367188, 1.367188), atol=1e-3)
    np.testing.assert_allclose(study.geometry.extents_mm, 10, atol=1e-2)
    assert study.geometry.orientation_marks == ("R", "L", "H", "F")
    cavity, wall = np.asarray(study.cavity), np.asarray(study.myocardium)
    assert cavity.sum(axis=(1, 2)).tolist()[::8] == [1046, 421]
    outer = (cavity | wall).sum(axis=(1, 2))[::8]
    np.testing.assert_allclose(outer, [1702.875, 687.625], atol=1.5)
    assert study.image[cavity].mean() > 2 * study.image[wall].mean()
    assert "may be cine" in not_late(study)[0]


@pytest.mark.parametrize("kept", ["single", "enhanced"])
def test_a_stack_that_does_not_say_it_is_late_is_suspect(patient, tmp_path, kept):
    def odd(name, files):
        files = [enhanced(files)] if kept == "enhanced" else files
        return not_late(read_patient(write(tmp_path / name, files)))

    plain: Any = {"kind": "magnitude", "SeriesDescription": "sax stack"}
    assert odd("late", images(patient, **plain)) == not_late(patient) == []
    endless = images(patient, **plain)
    none = images(patient, **plain)
    for file in (*endless, *none):
        del file.InversionTime
        file.ScanningSequence = "GR"
    for file in endless:  # as some scanners write what has no inversion
        file.InversionTime = "1.8e308" if kept == "single" else "99999"
    (said,) = odd("none", none)
    assert "may be cine" in said
    if kept == "single":
        assert odd("endless", endless) == [said]


def test_series_whose_uids_end_alike_are_told_apart_by_more_of_them(patient, tmp_path):
    files = [*images(patient, number=3), *images(patient, number=4)]
    for file in files:
        file.SeriesInstanceUID = f"{ROOT}.3.{file.SeriesNumber}.98.0.0.0"
    home = write(tmp_path / "d", files)
    with pytest.raises(InputError, match=r"2 of 2 .*\.\.3\.98\.0\.0\.0.*\.\.4\.98\.0"):
        read_patient(home)
    with pytest.raises(InputError, match=r"--series=98\.0\.0\.0: 2 series fit"):
        read_patient(home, series=["98.0.0.0"])
    read_patient(home, series=["4.98.0.0.0"])


def test_kinds_are_told_by_the_image_type(patient, tmp_path):
    for kind in KINDS:
        home = write(tmp_path / kind, images(patient, kind=kind))
        if kind == "phase":
            with pytest.raises(InputError, match="0 of 1 series"):
                read_patient(home)
        else:
            sensitive = read_patient(home).phase_sensitive
            assert sensitive is (kind == "phase-sensitive")
