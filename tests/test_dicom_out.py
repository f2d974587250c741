"""DICOM out: masks and measures beside the images, by readers that are not ours."""

import dataclasses
import json
import logging
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from builders import run_record
from dicom_studies import (
    IDENTITY,
    NAME,
    ROOT,
    breathing,
    enhanced,
    images,
    short_axis,
    write,
)
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from test_dicom import SUNNYBROOK, check_neutral

from scarseg_jax.codes import WALL_SEGMENTS
from scarseg_jax.errors import InputError
from scarseg_jax.measure.segments import NAMES as SEGMENTS
from scarseg_jax.measure.segments import Reference, Segment, by_patients_axes
from scarseg_jax.readers.patient import read_patient
from scarseg_jax.run import Decision, Segmentation
from scarseg_jax.segment.pipeline import as_drawn, review
from scarseg_jax.study import Study
from scarseg_jax.writers.dicom import check_dicom, write_dicom
from scarseg_jax.writers.segmentation import numbers_of, with_walls

NAMES = ("myocardium", "cavity", "scar")
_LPS = np.diag([-1.0, -1.0, 1.0])


def found_in(study: Study, drawn: Study) -> Segmentation:
    """Returns a study with another's masks as what networks found in it."""
    record = run_record()
    scar = np.asarray(drawn.scar) & drawn.myocardium
    return Segmentation(
        study=study,
        probability=scar.astype(np.float32),
        scar=scar,
        decision=Decision(0.4, 5.0),
        members=record.members,
        run=record,
        myocardium=drawn.myocardium,
        cavity=drawn.cavity,
    )


def stack(folder: Path, patient: Study, form: str) -> tuple[Path, Study]:
    """Returns a patient's images in one of the forms that scanners give them."""
    turned = form in ("turned", "frames")
    at_mm = [0, 8, 19, 24, 40] if form == "uneven" else None
    geometry = short_axis(5, patient.spacing_mm, at_mm)
    if form == "breathing":
        geometry = breathing(geometry)
    patient = dataclasses.replace(patient, geometry=geometry)
    files = images(patient, turned=turned)
    if form == "frames":
        path = folder / "e.dcm"
        enhanced(files).save_as(path, enforce_file_format=True)
        return path, patient
    if form == "series":
        for z, file in enumerate(files):
            file.SeriesNumber, file.SeriesInstanceUID = 20 + z, f"{ROOT}.20{z:08d}"
    return write(folder / form, files), patient


FORMS = ("plain", "turned", "frames", "uneven", "breathing", "series")


@pytest.fixture(scope="module")
def written(patient, tmp_path_factory) -> dict[str, Any]:
    """What was found in each form of a stack, and the files that were made of it."""
    each = {}
    for form in FORMS:
        home = tmp_path_factory.mktemp(form)
        path, drawn = stack(home, patient, form)
        asked = [str(20 + z) for z in range(5)] if form == "series" else []
        study = read_patient(path, series=asked)
        found = found_in(study, drawn)
        seg, sr = home / "seg.dcm", home / "sr.dcm"
        write_dicom(found, numbers_of(found), seg, sr)
        each[form] = found, seg, sr
    return each


def decoded(path: Path, study: Study) -> dict[str, np.ndarray]:
    """Returns the masks of a Segmentation on a study's grid, by pydicom and the mm.

    Every pixel is put where the file says that it lies in the patient; nothing is known
    of the order of frames, rows or columns.
    """
    data = pydicom.dcmread(path)
    (shared,) = data.SharedFunctionalGroupsSequence
    inverses = np.linalg.inv(study.geometry.affines)
    labels = [segment.SegmentLabel for segment in data.SegmentSequence]
    masks = {label: np.zeros(study.image.shape, bool) for label in labels}
    for group, plane in zip(
        data.PerFrameFunctionalGroupsSequence, data.pixel_array, strict=True
    ):
        way = group.get("PlaneOrientationSequence") or shared.PlaneOrientationSequence
        x, y = np.array(way[0].ImageOrientationPatient, float).reshape(2, 3)
        down, right = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
        corner = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        row, column = np.nonzero(plane)
        mm = corner + np.outer(column, x) * right + np.outer(row, y) * down
        segment = group.get("SegmentIdentificationSequence")
        segment = (segment or shared.SegmentIdentificationSequence)[0]
        mask = masks[labels[segment.ReferencedSegmentNumber - 1]]
        if not len(mm):
            continue
        here = np.c_[mm @ _LPS, np.ones(len(mm))] @ inverses.transpose(0, 2, 1)
        z = int(np.abs(here[..., 2]).max(axis=1).argmin())  # (x, y, off) of each slice
        on = np.rint(here[z, :, :3]).astype(int)
        np.testing.assert_allclose(here[z, :, :3], on, atol=2e-3)
        assert not on[:, 2].any()
        mask[z, on[:, 1], on[:, 0]] = True
    return masks


@pytest.mark.parametrize("form", FORMS)
def test_every_voxel_is_where_it_was_found(written, form):
    found, seg, _ = written[form]
    masks = decoded(seg, found.study)
    for label, mask in zip(
        ("Myocardium", "LV cavity", "Scar"),
        (found.myocardium, found.cavity, found.scar),
        strict=True,
    ):
        assert mask.any()
        np.testing.assert_array_equal(masks[label], mask)


@pytest.mark.parametrize("form", FORMS)
def test_highdicom_finds_each_mask_by_the_image_it_was_found_in(written, form):
    found, seg, _ = written[form]
    series = found.study.series
    frames = series.read_frames()
    read = highdicom.seg.segread(seg)
    if form == "frames":
        uid = frames[0].fields["SOPInstanceUID"]
        numbers = [frame.number for frame in frames]
        assert sorted(numbers) == [1, 2, 3, 4, 5] != numbers
        planes = read.get_pixels_by_source_frame(uid, numbers)
    else:
        uids = [str(frame.fields["SOPInstanceUID"]) for frame in frames]
        planes = read.get_pixels_by_source_instance(uids)
    for n, mask in enumerate((found.myocardium, found.cavity, found.scar)):
        np.testing.assert_array_equal(planes[..., n], series.from_zyx(mask))


def tool(name: str) -> str:
    """Returns where a program is, on the path or beside this Python."""
    beside = Path(sys.executable).with_name(name)
    path = shutil.which(name) or (str(beside) if beside.exists() else None)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


@pytest.mark.parametrize("form", ["plain", "turned", "frames"])
def test_dcmqi_reads_the_same_voxels(written, form, tmp_path):
    found, seg, _ = written[form]
    to = ("--outputDirectory", str(tmp_path), "-t", "nii")
    subprocess.run(
        [tool("segimage2itkimage"), "--inputDICOM", str(seg), *to],
        check=True,
        capture_output=True,
    )
    masks = (found.myocardium, found.cavity, found.scar)
    for n, mask in enumerate(masks, 1):
        image: Any = nibabel.load(tmp_path / f"{n}.nii.gz")
        places = np.argwhere(np.asarray(image.dataobj)) @ image.affine[:3, :3].T
        wanted = np.argwhere(mask)[:, ::-1] * [1, 1, 0]
        own = found.study.geometry.affines[np.argwhere(mask)[:, 0]]
        wanted = np.einsum("nij,nj->ni", own[:, :3, :3], wanted) + own[:, :3, 3]
        places = places + image.affine[:3, 3]
        assert len(places) == len(wanted)
        here, there = (set(map(tuple, np.rint(p * 4).astype(int).tolist()))
                       for p in (places + 0.0123, wanted + 0.0123))  # fmt: skip
        assert here == there


def complaints(path: Path) -> list[str]:
    """Returns dciodvfy's errors."""
    said = subprocess.run(
        [tool("dciodvfy"), str(path)], check=False, capture_output=True, text=True
    )
    lines = (said.stdout + said.stderr).splitlines()
    assert any(line in ("Segmentation", "Comprehensive3DSR") for line in lines)
    return [line for line in lines if line.startswith("Error")]


@pytest.mark.parametrize("form", FORMS)
def test_dciodvfy_finds_no_error(written, form):
    _, seg, sr = written[form]
    assert complaints(seg) == []
    assert complaints(sr) == []


def numbers_in(sr: pydicom.Dataset) -> dict[tuple[int, str], tuple[float, str]]:
    """Returns a report's figures and their units, by segment and code."""
    found = {}
    root = sr.ContentSequence
    (measured,) = (i for i in root if code(i, "ConceptName").CodeValue == "126010")
    for group in measured.ContentSequence:
        parts = group.ContentSequence
        (segment,) = (
            i.ReferencedSOPSequence[0].ReferencedSegmentNumber
            for i in parts
            if i.ValueType == "IMAGE" and code(i, "ConceptName").CodeValue == "121191"
        )
        for item in parts:
            if item.ValueType == "NUM":
                (value,) = item.MeasuredValueSequence
                (unit,) = value.MeasurementUnitsCodeSequence
                assert unit.CodingSchemeDesignator == "UCUM"
                sites = [
                    code(part, "Concept").CodeValue
                    for part in item.get("ContentSequence", [])
                    if part.ValueType == "CODE"
                    and code(part, "ConceptName").CodeValue == "363698007"
                ]
                key = segment, " ".join([code(item, "ConceptName").CodeValue, *sites])
                found[key] = float(value.NumericValue), unit.CodeValue
    return found


def code(item: pydicom.Dataset, kind: str) -> pydicom.Dataset:
    return item[f"{kind}CodeSequence"].value[0]


@pytest.mark.parametrize("form", ["turned", "frames"])
def test_the_report_has_the_measures_and_what_they_are_of(written, form):
    found, seg, path = written[form]
    numbers = numbers_of(found)
    sr, segmentation = pydicom.dcmread(path), pydicom.dcmread(seg)
    wanted = {
        (1, "18087-7"): (numbers.lv_mass_g, "g"),
        (1, "118565006"): (numbers.lv_volume_ml, "ml"),
        (3, "118538004"): (numbers.scar_mass_g, "g"),
        (3, "118565006"): (numbers.scar_volume_ml, "ml"),
        (3, "SCAR_OF_LV"): (numbers.scar_of_lv_percent, "%"),
        (3, "TRANSMURALITY"): (numbers.transmurality_of_scar_percent, "%"),
    }
    said = numbers_in(sr)
    assert said.keys() == wanted.keys()
    for key, (value, unit) in wanted.items():
        assert said[key] == (pytest.approx(value, rel=1e-6), unit)
    named = {
        str(e.value) for e in sr.iterall() if e.keyword == "ReferencedSOPInstanceUID"
    }
    own = {str(f.fields["SOPInstanceUID"]) for f in found.study.series.read_frames()}
    assert named == own | {str(segmentation.SOPInstanceUID)}
    texts = {str(e.value) for e in sr.iterall() if e.keyword == "TextValue"}
    assert {
        "scarseg_jax",
        "protocol=Protocol 2",
        "trained_on=phantom",
        "members=0.0,1.0",
    } <= texts


def test_dcmqi_reads_the_report(written, tmp_path):
    found, _, sr = written["turned"]
    to = tmp_path / "sr.json"
    subprocess.run(
        [tool("tid1500reader"), "--inputDICOM", str(sr), "--outputMetadata", str(to)],
        check=True,
        capture_output=True,
    )
    groups = json.loads(to.read_text())["Measurements"]
    values = [i["value"] for group in groups for i in group["measurementItems"]]
    assert float(values[0]) == pytest.approx(numbers_of(found).lv_mass_g, rel=1e-6)
    assert len(values) == 6


def test_a_real_oblique_series(tmp_path):
    """Each of its images has a frame of reference of its own, its dates are none."""
    if not SUNNYBROOK.is_dir():
        pytest.skip("the Sunnybrook patient is not there")
    drawn = read_patient(SUNNYBROOK, contours=SUNNYBROOK / "contours")
    study = dataclasses.replace(drawn, myocardium=None, cavity=None)
    wall = np.asarray(drawn.myocardium)
    scar = wall & (np.arange(wall.shape[2]) < 130)
    found = found_in(study, dataclasses.replace(drawn, scar=scar))
    seg, sr = tmp_path / "seg.dcm", tmp_path / "sr.dcm"
    write_dicom(found, numbers_of(found), seg, sr)
    masks = decoded(seg, study)
    np.testing.assert_array_equal(masks["Myocardium"], wall)
    np.testing.assert_array_equal(masks["Scar"], scar)
    again = read_patient(SUNNYBROOK, contours=seg)
    for name in NAMES:
        np.testing.assert_array_equal(
            getattr(again, name), scar if name == "scar" else getattr(drawn, name)
        )
    for path in (seg, sr):  # the source's own UIDs are not what they should be
        wrong = [line for line in complaints(path) if "Leading zeroes" not in line]
        assert all("contains invalid data values" in line for line in wrong)


def test_each_segment_says_whether_a_person_or_an_algorithm_made_it(patient, tmp_path):
    home, drawn = stack(tmp_path, patient, "plain")
    study = dataclasses.replace(read_patient(home), myocardium=drawn.myocardium)
    called = dataclasses.replace(found_in(study, drawn), cavity=None)
    accepted = dataclasses.replace(
        called, review=review(called, called.scar, called.scar)
    )
    by_hand = as_drawn(
        dataclasses.replace(called, study=dataclasses.replace(study, scar=drawn.scar))
    )
    for found, by in (
        (called, "AUTOMATIC"),
        (accepted, "SEMIAUTOMATIC"),
        (by_hand, "MANUAL"),
    ):
        write_dicom(found, numbers_of(found), tmp_path / "seg.dcm", None)
        segments = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence
        assert [(s.SegmentLabel, s.SegmentAlgorithmType) for s in segments] == [
            ("Myocardium", "MANUAL"),
            ("Scar", by),
        ]
        assert complaints(tmp_path / "seg.dcm") == []


def test_segments_that_an_estimate_has_turned_are_not_archived(patient, tmp_path):
    home, drawn = stack(tmp_path, patient, "plain")
    found = found_in(read_patient(home), drawn)
    walled = with_walls(found)
    counts = []
    for reference in (Reference(180.0, 120.0, 240.0, "both"), by_patients_axes(walled)):
        numbers = numbers_of(found, reference)
        assert numbers.referenced
        write_dicom(found, numbers, tmp_path / "seg.dcm", tmp_path / "sr.dcm")
        text = str(pydicom.dcmread(tmp_path / "sr.dcm"))
        counts.append(sum(text.count(code) for code, _, _ in WALL_SEGMENTS[:16]))
    assert counts[0] >= 16
    assert counts[1] == 0


def test_no_reflow_that_is_called_scar_is_a_segment(patient, tmp_path):
    home, drawn = stack(tmp_path, patient, "plain")
    found = found_in(read_patient(home), drawn)
    dark = np.asarray(drawn.myocardium) & (np.indices(found.scar.shape).sum(0) % 2 > 0)
    found = dataclasses.replace(found, no_reflow=dark)
    numbers = dataclasses.replace(numbers_of(found), scar_mass_between_g=(1.5, 2.5))
    share = dict(enumerate(np.linspace(0, 96, len(SEGMENTS)), 1))
    numbers = dataclasses.replace(
        numbers,
        segments=tuple(
            Segment(number, SEGMENTS[number - 1], scar_of_segment_percent=value)
            for number, value in share.items()
        ),
    )
    write_dicom(found, numbers, tmp_path / "seg.dcm", tmp_path / "sr.dcm")
    told = decoded(tmp_path / "seg.dcm", found.study)
    np.testing.assert_array_equal(told["No-reflow"], dark & found.scar)
    assert 0 < told["No-reflow"].sum() < dark.sum()
    segments = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence
    assert segments[3].SegmentAlgorithmType == "AUTOMATIC"
    said = numbers_in(pydicom.dcmread(tmp_path / "sr.dcm"))
    assert said[4, "118538004"] == (pytest.approx(numbers.no_reflow_mass_g), "g")
    assert said[4, "118565006"] == (pytest.approx(numbers.no_reflow_volume_ml), "ml")
    of_scar = numbers.no_reflow_of_scar_percent
    assert said[4, "NO_REFLOW_SHARE"] == (pytest.approx(of_scar), "%")
    assert said[3, "SCAR_MASS_LEAST"] == (1.5, "g")
    assert said[3, "SCAR_MASS_MOST"] == (2.5, "g")
    sites = [said[3, f"SCAR_OF_SEGMENT {wall.value}"] for wall in WALL_SEGMENTS]
    assert sites == [(value, "%") for value in share.values()]
    assert complaints(tmp_path / "seg.dcm") + complaints(tmp_path / "sr.dcm") == []


def test_the_17_segments_have_their_codes():
    ours = {Code(*wall).value: wall.meaning for wall in WALL_SEGMENTS}
    names = (name for name in dir(codes.cid3717) if name[0].isupper())
    theirs = [getattr(codes.cid3717, name) for name in names]
    assert ours == {one.value: one.meaning for one in theirs}
    for name, wall in zip(SEGMENTS, WALL_SEGMENTS, strict=True):
        assert name in wall.meaning.lower()


def test_no_scar_and_no_myocardium_are_told_too(patient, tmp_path):
    home, drawn = stack(tmp_path, patient, "uneven")
    found = found_in(read_patient(home), drawn)
    bare = dataclasses.replace(
        found, scar=np.zeros_like(found.scar), myocardium=None, cavity=None
    )
    seg, sr = tmp_path / "seg.dcm", tmp_path / "sr.dcm"
    write_dicom(bare, numbers_of(bare), seg, sr)
    assert not decoded(seg, found.study)["Scar"].any()
    assert numbers_in(pydicom.dcmread(sr)) == {
        (1, "118538004"): (0, "g"),
        (1, "118565006"): (0, "ml"),
    }
    assert complaints(seg) + complaints(sr) == []


@pytest.mark.filterwarnings(
    "ignore::UserWarning"
)  # pydicom's, of this test's own files
def test_the_patients_name_goes_into_the_files_and_nowhere_else(
    patient, tmp_path, caplog, capfd
):
    odd: Any = {
        "PatientName": f"{NAME}=b=c=d=e",
        "PatientSex": "Planted",
        "StudyID": "9" * 20,
    }
    home = write(tmp_path / "d", images(patient, **odd))
    seg, sr = tmp_path / "seg.dcm", tmp_path / "sr.dcm"
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = found_in(read_patient(home), patient)
        write_dicom(found, numbers_of(found), seg, sr)
    said = capfd.readouterr()
    check_neutral(caplog.text + said.out + said.err)
    for path in (seg, sr):
        assert f"{path} carries the patient's name" in caplog.text
        data = pydicom.dcmread(path)
        assert data.PatientID == IDENTITY
        assert str(data.PatientName).startswith(NAME)
        assert data.StudyInstanceUID == f"{ROOT}.1"
        assert data.PatientSex == ""
        assert data.SeriesNumber in (1007, 2007)


def test_what_cannot_be_written_is_refused(patient, written, tmp_path):
    home, _ = stack(tmp_path, patient, "plain")
    study, output = read_patient(home), tmp_path / "o.nii.gz"
    other = tmp_path / "other.dcm"
    images(patient)[0].save_as(other, enforce_file_format=True)
    seg = tmp_path / "seg.dcm"
    for given, message in (
        ((study, None, seg), "a report refers to the segments"),
        ((dataclasses.replace(study, series=None), seg, None), "the image is no DICOM"),
        ((study, other, None), "was not made by this program"),
        ((study, tmp_path / "seg.nii", None), r"expected a name ending in \.dcm"),
        ((study, tmp_path / "no" / "seg.dcm", None), "is no folder"),
        ((study, home / "seg.dcm", None), "in the folder of one"),
        ((study, seg, seg), "expected two"),
    ):
        with pytest.raises(InputError, match=message) as refused:
            check_dicom(*given, output=output, inputs=(home,))
        check_neutral(str(refused.value))
    assert check_dicom(study, seg, None, output=output) is True
    shutil.copy(written["plain"][1], seg)  # our own are replaced
    assert check_dicom(study, seg, None, output=output) is True
    without = [f for f in images(patient) if f.pop("FrameOfReferenceUID")]
    study = read_patient(write(tmp_path / "w", without))
    with pytest.raises(InputError, match="without a FrameOfReferenceUID"):
        write_dicom(
            found_in(study, patient), numbers_of(found_in(study, patient)), seg, None
        )
    shutil.rmtree(tmp_path / "w")
    with pytest.raises(InputError, match="cannot be read again"):
        write_dicom(
            found_in(study, patient), numbers_of(found_in(study, patient)), seg, None
        )


def test_predict_writes_what_nifti_cannot_hold(patient, tmp_path, command):
    home, _ = stack(tmp_path, patient, "uneven")
    output, seg = tmp_path / "scar.nii.gz", tmp_path / "scar.dcm"
    code_, said = command(input=home, output=output)
    assert code_ == 2
    assert "or take DICOM, which can: --dicom_seg=FILE.dcm" in said
    more = {"dicom_seg": seg, "dicom_sr": tmp_path / "sr.dcm"}
    code_, said = command(input=home, output=output, **more, probability=True)
    assert code_ == 2
    assert "--probability: " in said
    assert not seg.exists()
    for _ in range(2):  # the second time it replaces its own
        code_, said = command(input=home, output=output, **more)
        assert code_ == 0, said
        assert f"{seg}: scar in" in said
        assert "scar.dcm alone has the mask" in said
        assert "by design" in said
        check_neutral(said)
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {
        "uneven",
        "scar.dcm",
        "sr.dcm",
        "scar.json",
        "scar.csv",
        "scar.html",
    }
    report = json.loads((tmp_path / "scar.json").read_text())
    assert report["mask"] is None
    study = read_patient(home)
    scar = decoded(seg, study)["Scar"]
    volume_ml = float(scar.sum(axis=(1, 2)) @ study.geometry.voxels_ml)
    assert report["scar_volume_ml"] == pytest.approx(volume_ml)
    output.write_bytes(b"another's")
    code_, said = command(input=home, output=output, **more)
    assert code_ == 2
    assert "was not made by this program" in said


def test_predict_writes_probabilities_and_refuses_dicom_of_nifti(
    patient,
    tmp_path,
    command,
):
    home, _ = stack(tmp_path, patient, "plain")
    output = tmp_path / "scar.nii.gz"
    code_, said = command(input=home, output=output, probability="true")
    assert code_ == 0, said
    image: Any = nibabel.load(tmp_path / "scar_probability.nii.gz")
    assert image.get_data_dtype() == np.float32
    mask: Any = nibabel.load(output)
    np.testing.assert_allclose(image.affine, mask.affine)
    values, scar = np.asarray(image.dataobj), np.asarray(mask.dataobj) > 0
    assert values.min() >= 0
    assert values.max() <= 1
    assert values[scar].min() > values[~scar].mean()
    code_, said = command(
        input=output, output=tmp_path / "b.nii.gz", dicom_seg=tmp_path / "s.dcm"
    )
    assert code_ == 2
    assert "the image is no DICOM" in said
    assert not (tmp_path / "s.dcm").exists()
