"""DICOM of many patients with contours: what a run and a judgement read."""

import dataclasses
import shutil

import numpy as np
import pydicom
import pytest
from dicom_studies import (
    circle,
    images,
    on_slice,
    sop_uid,
    structure_set,
    workspace,
    write,
)
from test_cohort import SURNAME, check_nobody, told
from test_dicom_out import found_in

from scarseg_jax.errors import InputError
from scarseg_jax.judge import tables
from scarseg_jax.prepare import dataset
from scarseg_jax.readers import phantom
from scarseg_jax.readers.patient import read_patient
from scarseg_jax.readers.sources import open_source
from scarseg_jax.readers.studies import studies_of_source
from scarseg_jax.segment.pipeline import review
from scarseg_jax.writers.dicom import write_dicom
from scarseg_jax.writers.segmentation import numbers_of


def other(patient, number):
    """Returns another phantom, cut as `patient` is."""
    study = phantom.simulate_study(f"phantom_{number:03}")
    names = ("image", "myocardium", "scar", "cavity")
    cut = {name: getattr(study, name)[:5, 40:200:2, 30:220:2] for name in names}
    return dataclasses.replace(patient, **cut)


def by_hand(path):
    """Says of a Segmentation that a reader has corrected it."""
    data = pydicom.dcmread(path)
    for segment in data.SegmentSequence:
        segment.SegmentAlgorithmType = "SEMIAUTOMATIC"
    data.save_as(path)


@pytest.fixture
def home(patient, tmp_path):
    """Two patients with a Segmentation; a pair with lines on one half; one bare."""
    home = tmp_path / "in"
    for name, one in ((f"a_{SURNAME}", patient), (f"b_{SURNAME}", other(patient, 4))):
        series = write(home / name, images(one))
        found = found_in(read_patient(series), one)
        seg = tmp_path / f"{SURNAME}.dcm"
        write_dicom(found, numbers_of(found), seg, None)
        by_hand(seg)
        (series / "drawn").mkdir()
        shutil.move(seg, series / "drawn" / seg.name)
    pair = write(home / "c", images(patient))
    write(pair, images(patient, number=8, kind="magnitude"), seed=1)
    y, x = np.argwhere(patient.cavity[2]).mean(axis=0)
    lines = [
        (sop_uid(8, 2), "saendocardialContour", circle(y, x, 8)),
        (sop_uid(8, 2), "saepicardialContour", circle(y, x, 12)),
    ]
    (pair / "drawn.cvi42wsx").write_text(workspace(lines))
    write(home / "d", images(other(patient, 5)))
    (home / "nothing").mkdir()
    return home


def test_each_patient_has_a_folder_of_images_and_contours(patient, home):
    (home / "d" / "exported.xml").write_text("<anything/>")
    source = open_source("dicom", str(home))
    a, b, c, d = source.patients
    assert (c, d) == ("c", "d")
    for name, one in ((a, patient), (b, other(patient, 4))):
        study = source.read(name)
        assert study.patient == name
        assert study.files == ()
        for drawn in ("myocardium", "cavity", "scar"):
            np.testing.assert_array_equal(
                getattr(study, drawn), getattr(one, drawn), drawn
            )
    lined = source.read(c)
    assert lined.phase_sensitive is False  # as what the lines were drawn on
    assert np.asarray(lined.cavity)[2].sum() == pytest.approx(np.pi * 64, rel=0.02)
    assert source.read(d).myocardium is None
    with pytest.raises(InputError, match="of NIfTI alone"):
        open_source("dicom", str(home), slice_axis=2).read(a)
    found = found_in(source.read(d), other(patient, 5))
    write_dicom(found, numbers_of(found), home / d / "predicted.dcm", None)
    with pytest.raises(InputError, match=r"predicted.dcm: its scar is an algorithm's"):
        source.read(d)
    shutil.copy(home / c / "drawn.cvi42wsx", home / a / "again.cvi42wsx")
    with pytest.raises(InputError, match="keep the one that counts"):
        source.read(a)
    with pytest.raises(InputError, match="expected a folder of each patient"):
        open_source("dicom", str(home / "nothing"))


def test_scar_that_networks_call_in_a_given_myocardium_is_no_readers(
    patient, home, tmp_path
):
    study = read_patient(home / "d")
    given = dataclasses.replace(study, myocardium=other(patient, 5).myocardium)
    called = dataclasses.replace(
        found_in(study, other(patient, 5)), study=given, cavity=None
    )
    accepted = dataclasses.replace(
        called, review=review(called, called.scar, called.scar)
    )
    source = open_source("dicom", str(home))
    for found in (called, accepted):
        write_dicom(found, numbers_of(found), home / "d" / "scar.dcm", None)
        if found is called:
            with pytest.raises(InputError, match="its scar is an algorithm's"):
                source.read("d")
    np.testing.assert_array_equal(source.read("d").scar, called.scar)
    (home / "d" / "scar.dcm").unlink()
    middle = [[(None, on_slice(study.geometry, 2, circle(20.0, 20.0, 5.0)))]]
    lines = structure_set([("myocardium", *middle), ("scar", *middle)])
    lines.StructureSetROISequence[1].ROIGenerationAlgorithm = "AUTOMATIC"
    lines.save_as(home / "d" / "lines.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match="its scar is an algorithm's"):
        source.read("d")


def test_no_patient_is_passed_over_without_a_word(patient, tmp_path, caplog):
    home = tmp_path / "in"
    write(home / "a", images(patient))
    write(tmp_path / "elsewhere", images(other(patient, 4)))
    (home / "b").mkdir()
    shutil.make_archive(str(home / "b" / "export"), "zip", tmp_path / "elsewhere")
    (home / "c").mkdir()
    (home / "c" / "series").symlink_to(tmp_path / "elsewhere")
    assert open_source("dicom", str(home)).patients == ("a",)
    (said,) = caplog.messages
    assert "b, c" in said
    caplog.clear()
    (one,) = studies_of_source("dicom", home)
    assert one.name == "study_001"
    assert "no study and not read: 2 folders" in caplog.text


def test_examinations_that_may_be_of_one_person_are_told(patient, tmp_path, caplog):
    home = tmp_path / "in"
    for n, name in enumerate("abc"):
        files = images(other(patient, 4 + n))
        for file in files:
            file.PatientID = "same" if n < 2 else "another"
        write(home / name, files)
    source = open_source("dicom", str(home))
    with pytest.raises(InputError, match="none of the 3 patients has scar"):
        dataset.prepare(tmp_path / "data", source, protocol=1)
    (said,) = (m for m in caplog.messages if "PatientID" in m)
    assert said.startswith("a, b have the same PatientID and count as several patients")


def test_patients_of_dicom_are_judged_and_nobody_is_named(
    patient, home, tmp_path, command
):
    for bare in ("c", "d"):
        shutil.rmtree(home / bare)
    output = tmp_path / "out"
    code, said = command(input=home, source="dicom", judge=True, output=output)
    assert code == 0, said
    check_nobody(output, said)
    rows = tables.read(output).slices
    assert {row.patient for row in rows} == {"study_001", "study_002"}
    drawn = [row.native.true_px for row in rows if row.patient == "study_002"]
    assert drawn == other(patient, 4).scar.sum(axis=(1, 2)).tolist()
    shutil.copy(
        next(home.glob("a_*/drawn/*.dcm")), next(home.glob("b_*")) / f"{SURNAME}.dcm"
    )
    measured = tmp_path / "measured"
    code, said = command(input=home, source="dicom", output=measured)
    assert code == 3
    assert "study_002: 2 files of contours; expected one at most" in said, said
    check_nobody(measured, said)
    one, two = told(measured)
    assert one["scar_mass_g"]
    assert two["problem"]
