"""Contours in: DICOM Segmentations, ours and others', and RT Structure Sets."""

import json
import logging
import subprocess
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from builders import write_nifti
from dicom_studies import (
    ROOT,
    circle,
    images,
    on_slice,
    sop_uid,
    structure_set,
    write,
)
from highdicom.seg import SegmentationTypeValues, SegmentDescription
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from test_dicom import check_neutral
from test_dicom_out import FORMS, NAMES, stack, tool, written  # noqa: F401

from scarseg_jax.errors import InputError
from scarseg_jax.readers.patient import read_patient
from scarseg_jax.readers.polygons import area_px
from scarseg_jax.readers.tissue_names import name_of
from scarseg_jax.study import Study


@pytest.fixture(scope="module")
def home(patient, tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("lge") / "d", images(patient))


@pytest.mark.parametrize("form", FORMS)
def test_what_we_wrote_is_read_back_voxel_for_voxel(
    written,  # noqa: F811
    form,
):
    found, seg, _ = written[form]
    asked = [str(20 + z) for z in range(5)] if form == "series" else []
    images_at = seg.parent / ("e.dcm" if form == "frames" else form)
    again = read_patient(images_at, contours=seg, series=asked)
    np.testing.assert_array_equal(again.myocardium, found.myocardium)
    np.testing.assert_array_equal(again.cavity, found.cavity)
    np.testing.assert_array_equal(again.scar, found.scar)
    assert again.files == ()


def test_what_was_drawn_on_one_of_a_pair_fits_the_other(patient, tmp_path, written):  # noqa: F811
    """It names images of another series, which lie at the same places."""
    _, seg, _ = written["plain"]
    other = write(
        tmp_path / "d", images(patient, number=8, kind="magnitude", turned=True)
    )
    again = read_patient(other, contours=seg)
    np.testing.assert_array_equal(again.cavity, patient.cavity)


def others(
    patient: Study,
    path: Path,
    segments: list[tuple[str, Code, np.ndarray]],
    *,
    kind: SegmentationTypeValues = SegmentationTypeValues.BINARY,
    **values: Any,
) -> Path:
    """Writes masks, which do not overlap, as another program would."""
    about = highdicom.AlgorithmIdentificationSequence(
        name="theirs", family=codes.DCM.ArtificialIntelligence, version="1"
    )
    described = [
        SegmentDescription(
            segment_number=n,
            segment_label=label,
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=code,
            algorithm_type="AUTOMATIC",
            algorithm_identification=about,
        )
        for n, (label, code, _) in enumerate(segments, 1)
    ]
    files = images(patient)
    for file in files:
        file.PatientSex = file.StudyTime = file.StudyID = file.AccessionNumber = ""
    masks = np.stack([mask for *_, mask in segments], axis=-1)
    if kind is SegmentationTypeValues.LABELMAP:
        pixels = (masks * np.arange(1, len(segments) + 1)).max(axis=-1).astype(np.uint8)
    elif kind is SegmentationTypeValues.FRACTIONAL:
        pixels = np.where(masks, 0.6, 0.4).astype(np.float32)
    else:
        pixels = masks.astype(np.uint8)
    made = highdicom.seg.Segmentation(
        source_images=files,
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=f"{ROOT}.70",
        series_number=70,
        sop_instance_uid=f"{ROOT}.71",
        instance_number=1,
        manufacturer="theirs",
        manufacturer_model_name="theirs",
        software_versions="1",
        device_serial_number="1",
    )
    for key, value in values.items():
        setattr(made, key, value)
    made.save_as(path, enforce_file_format=True)
    return path


MYOCARDIUM = Code("74281007", "SCT", "Myocardium")
TISSUE = Code("85756007", "SCT", "Tissue")


def parts(patient: Study) -> dict[str, np.ndarray]:
    """Returns masks as label maps have them: none is in another."""
    scar = np.asarray(patient.scar) & patient.myocardium
    return {
        "wall": np.asarray(patient.myocardium) & ~scar,
        "scar": scar,
        "cavity": np.asarray(patient.cavity),
        "lung": ~(np.asarray(patient.myocardium) | patient.cavity),
    }


@pytest.mark.parametrize("kind", list(SegmentationTypeValues))
def test_others_segmentations_are_known_by_code_and_label(
    patient, home, tmp_path, caplog, kind
):
    own = parts(patient)
    path = others(
        patient,
        tmp_path / "s.dcm",
        [
            ("no word for it", MYOCARDIUM, own["wall"]),
            ("LV Blood Pool", TISSUE, own["cavity"]),
            ("Region 1", Code("12402003", "SCT", "Scar"), own["scar"]),
            ("Lung of 12345678", TISSUE, own["lung"]),
        ],
        kind=kind,
    )
    caplog.set_level(logging.INFO)
    again = read_patient(home, contours=path)
    np.testing.assert_array_equal(again.myocardium, patient.myocardium)
    np.testing.assert_array_equal(again.scar, own["scar"])
    np.testing.assert_array_equal(again.cavity, own["cavity"])
    assert "no voxel of the scar is myocardium; it is added to it" in caplog.text
    assert "segments not read: Lung of #" in caplog.text


def test_what_dcmqi_writes_is_read(patient, home, tmp_path):
    """From a NIfTI whose rows and columns run otherwise than the images'."""
    labels = np.asarray(patient.cavity) + 2 * np.asarray(patient.myocardium)
    affine = patient.geometry.affines[0]
    turned = labels.astype(np.uint8).T[::-1, :, :].transpose(1, 0, 2)
    back = affine.copy()
    back[:3, 3] += (labels.shape[2] - 1) * affine[:3, 0]
    back[:3, :2] = np.stack([affine[:3, 1], -affine[:3, 0]], axis=1)
    write_nifti(tmp_path / "l.nii", np.ascontiguousarray(turned), back)

    def coded(value: str) -> dict[str, str]:
        return {"CodeValue": value, "CodingSchemeDesignator": "SCT", "CodeMeaning": "x"}

    described = {
        "segmentAttributes": [
            [
                {
                    "labelID": n,
                    "SegmentDescription": f"Segment {n}",
                    "SegmentAlgorithmType": "MANUAL",
                    "SegmentedPropertyCategoryCodeSequence": coded("91723000"),
                    "SegmentedPropertyTypeCodeSequence": coded(value),
                }
                for n, value in ((1, "87878005"), (2, "74281007"))
            ]
        ],
        "ContentCreatorName": "A^B",
        "SeriesNumber": "70",
        "InstanceNumber": "1",
        "SeriesDescription": "theirs",
        "ContentLabel": "SEG",
        "ContentDescription": "theirs",
    }
    (tmp_path / "d.json").write_text(json.dumps(described))
    path = tmp_path / "s.dcm"
    files = ",".join(str(file) for file in home.rglob("*.dcm"))
    subprocess.run(
        [
            *(tool("itkimage2segimage"), "--inputImageList", str(tmp_path / "l.nii")),
            *("--inputDICOMList", files, "--inputMetadata", str(tmp_path / "d.json")),
            *("--outputDICOM", str(path), "--skip", "0"),
        ],
        check=True,
        capture_output=True,
    )
    again = read_patient(home, contours=path)
    np.testing.assert_array_equal(again.cavity, patient.cavity)
    np.testing.assert_array_equal(again.myocardium, patient.myocardium)


def test_names_can_be_given(patient, home, tmp_path):
    own = parts(patient)
    segments = [
        ("Muscle", TISSUE, own["wall"] | own["scar"] | own["cavity"]),
        ("Inside", TISSUE, own["cavity"]),
    ]
    path = others(patient, tmp_path / "s.dcm", segments)
    with pytest.raises(InputError, match=r"of its segments .Muscle, Inside. none"):
        read_patient(home, contours=path)
    names = {"Muscle": "epicardium", "Inside": "endocardium"}
    again = read_patient(home, contours=path, contour_names=names)
    np.testing.assert_array_equal(again.myocardium, patient.myocardium)
    names = {"Muscle": "scar"}
    with pytest.raises(InputError, match="endocardium in 0 slices and epicardium in 0"):
        read_patient(home, contours=path, contour_names=names)


_ROW = 3.04196813 / np.sqrt(2)  # mm of y, and of -z, from row to row


def moved(**values: Any):
    def edit(data):
        for group in data.PerFrameFunctionalGroupsSequence:
            place = group.PlanePositionSequence[0]
            for axis, step in values.items():
                at = "xyz".index(axis)
                place.ImagePositionPatient[at] = (
                    float(place.ImagePositionPatient[at]) + step
                )
        return data

    return edit


def coarser(data):
    data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [
        6,
        6,
    ]
    return data


def elsewhere(data):
    """Another frame of reference, and other images."""
    data.FrameOfReferenceUID = f"{ROOT}.99"
    for element in data.iterall():
        if element.keyword == "ReferencedSOPInstanceUID":
            element.value = f"{ROOT}.98"
    return data


def shorn(data):
    data.PixelData = data.PixelData[:9]
    return data


def placeless(data):
    for group in data.PerFrameFunctionalGroupsSequence:
        del group.PlanePositionSequence
    return data


def frameless(data):
    del data.PerFrameFunctionalGroupsSequence
    return data


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            moved(x=30, y=-30, z=-30),
            r"\d of the scar lie on no image, up to \d+ mm from the nearest",
        ),
        (moved(y=0.7, z=-0.7), "have pixels that do not fall on the image's"),
        (moved(y=60 * _ROW, z=-60 * _ROW), r"reach over the image's edge"),
        (coarser, "have pixels that do not fall on the image's"),
        (elsewhere, "another frame of reference than series .*names none"),
        (shorn, "its pixels cannot be decoded"),
        (placeless, "say not where they lie"),
        (frameless, "15 frames and 0 places"),
    ],
)
def test_segmentations_that_do_not_fit_are_refused_in_a_line(
    written,  # noqa: F811
    home,
    tmp_path,
    edit,
    message,
):
    path = tmp_path / "s.dcm"
    edit(pydicom.dcmread(written["plain"][1])).save_as(path)
    with pytest.raises(InputError, match=message) as refused:
        read_patient(home, contours=path)
    assert "\n" not in str(refused.value)
    check_neutral(str(refused.value))


def test_a_damaged_file_and_one_of_another_kind_are_refused(home, tmp_path, written):  # noqa: F811
    path = tmp_path / "s.dcm"
    path.write_bytes(written["plain"][1].read_bytes()[:3000])
    with pytest.raises(InputError, match=r"s\.dcm"):
        read_patient(home, contours=path)
    with pytest.raises(InputError, match="of no known kind"):
        read_patient(home, contours=written["plain"][2])  # a report


def ring(patient: Study, z: int, radius: float) -> np.ndarray:
    """Returns a circle on a slice, about its cavity, in mm."""
    y, x = np.argwhere(np.asarray(patient.cavity)[2]).mean(axis=0)
    return on_slice(patient.geometry, z, circle(y + 0.3, x - 0.2, radius))


def saved(data: pydicom.FileDataset, path: Path) -> Path:
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("form", ["plain", "turned", "uneven", "breathing", "frames"])
def test_structure_sets_keep_their_area_on_each_slice(patient, tmp_path, caplog, form):
    """Rings of myocardium whose pixels are as many as the shoelace area, to 1 %."""
    images_at, lying = stack(tmp_path, patient, form)
    lines = {
        name: [(None, ring(lying, z, radius + 0.5 * z)) for z in range(5)]
        for name, radius in (("LV Endocardium", 8.0), ("saEpicardialContour", 12.0))
    }
    regions = [*lines.items(), ("Liver", [(None, ring(lying, 0, 3))])]
    path = saved(structure_set(regions), tmp_path / "rt.dcm")
    again = read_patient(images_at, contours=path)
    for z in range(5):
        inner, outer = (area_px(circle(0, 0, r + 0.5 * z)) for r in (8.0, 12.0))
        cavity, wall = np.asarray(again.cavity)[z], np.asarray(again.myocardium)[z]
        assert cavity.sum() == pytest.approx(inner, rel=0.01)
        assert (cavity | wall).sum() == pytest.approx(outer, rel=0.01)
        y, x = np.argwhere(np.asarray(patient.cavity)[2]).mean(axis=0)
        centre = np.argwhere(cavity).mean(axis=0)
        np.testing.assert_allclose(centre, (y + 0.3, x - 0.2), atol=0.2)
    assert "regions not read: Liver" in caplog.text


def test_a_line_in_a_line_is_a_hole_and_a_copy_is_none(patient, home, tmp_path):
    outer, inner = ring(patient, 1, 12), ring(patient, 1, 8)
    here, twin = sop_uid(7, 1), sop_uid(8, 1)  # the same place, of another series
    own = [(here, outer), (here, inner), (here, outer), (twin, outer), (twin, inner)]
    for kind in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
        path = saved(structure_set([("Myo", own)], kind=kind), tmp_path / "rt.dcm")
        again = read_patient(home, contours=path)
        area = np.asarray(again.myocardium).sum(axis=(1, 2))
        wanted = area_px(circle(0, 0, 12)) - area_px(circle(0, 0, 8))
        assert area.tolist() == [0, pytest.approx(wanted, rel=0.01), 0, 0, 0]
        assert again.cavity is None


def off(points: np.ndarray, mm: float | None) -> np.ndarray:
    """Returns points moved along the slices' normal, or too few of them."""
    return (
        points[:2] if mm is None else points + mm * np.array([1, -1, -1]) / np.sqrt(3)
    )


@pytest.mark.parametrize(
    ("lines", "kind", "message"),
    [
        ([("Liver", 0.0)], "CLOSED_PLANAR", r"of its regions .Liver. none is known"),
        ([("Endo", 0.0), ("Epi", 3.0)], "CLOSED_PLANAR", "1 of epicardium, up to 3 mm"),
        (
            [("Endo", 0.0)],
            "CLOSED_PLANAR",
            "endocardium in 1 slices and epicardium in 0",
        ),
        ([("Myo", 0.0)], "OPEN_PLANAR", "the myocardium has no voxel"),
        ([("Myo", None)], "CLOSED_PLANAR", "without three points of three numbers"),
    ],
)
def test_structure_sets_that_do_not_fit_are_refused_in_a_line(
    patient, home, tmp_path, lines, kind, message
):
    regions: Any = [(n, [(None, off(ring(patient, 2, 9), mm))]) for n, mm in lines]
    path = saved(structure_set(regions, kind=kind), tmp_path / "rt.dcm")
    with pytest.raises(InputError, match=message) as refused:
        read_patient(home, contours=path)
    assert "\n" not in str(refused.value)
    check_neutral(str(refused.value))
    foreign = structure_set(regions, frame_of_reference=f"{ROOT}.99")
    with pytest.raises(InputError, match="another frame of reference"):
        read_patient(home, contours=saved(foreign, path))


def test_words_and_codes():
    assert name_of("LV-endocardial", {}) == "endocardium"
    assert name_of("Left Ventricular Myocardium", {}) == "myocardium"
    assert name_of("MVO", {}) == "no_reflow"
    for unknown in ("LV", "RV endocardium", "", "rvendo"):
        assert name_of(unknown, {}) == ""
    assert name_of("LV", {"LV": "cavity"}) == "cavity"
    assert name_of("", {}, Code("T-32600", "SRT", "")) == "cavity"  # as it was called
    assert name_of("scar", {}, Code("49848007", "SCT", "")) == "myocardium"
    assert set(NAMES) == {"myocardium", "cavity", "scar"}
