"""Where the right ventricle is seen on a file, to the segments of a report."""

import dataclasses
import html
import json
from typing import Any

import numpy as np
import pytest
from builders import run_record, write_nifti
from dicom_studies import enhanced, images, short_axis, write

from scarseg_jax import predict
from scarseg_jax.errors import InputError
from scarseg_jax.measure.segments import (
    ESTIMATED,
    by_patients_axes,
    reference_of,
    segments_of,
)
from scarseg_jax.measure.walls import walls_of
from scarseg_jax.readers.patient import read_patient
from scarseg_jax.run import Decision, Segmentation
from scarseg_jax.study import Geometry, Study
from scarseg_jax.writers.segmentation import describe, numbers_of
from tests.hearts import heart, polar, scar_of

SPACING_MM = (10.0, 1.0, 1.0)
AT = (4, 8, 19)  # of the study: the epicardium at 120 degrees, to a pixel


@pytest.fixture(scope="module")
def marked() -> Study:
    """A heart with one bright pixel, where the anterior insertion is."""
    study = dataclasses.replace(heart(), geometry=short_axis(9, SPACING_MM))
    image = study.image.copy()
    image[AT] = 4000
    return dataclasses.replace(study, image=image)


def stored(study: Study, axes: str):
    """A file's array and affine, whose axes are these; capitals run backwards."""
    volume, affine = study.image.T, study.geometry.affines[0]
    order = ["xyz".index(axis) for axis in axes.lower()]
    made, back = np.eye(4), np.zeros((4, 4))
    back[3, 3] = 1
    for new, (old, name) in enumerate(zip(order, axes, strict=True)):
        turned = name.isupper()
        back[old, new] = -1 if turned else 1
        back[old, 3] = volume.shape[old] - 1 if turned else 0
    made = affine @ back
    array = volume.transpose(order)
    flips = tuple(axis for axis, name in enumerate(axes) if name.isupper())
    return np.flip(array, flips), made


@pytest.mark.parametrize("axes", ["xyz", "XYz", "xyZ", "zyx", "yXz", "Zxy"])
def test_a_point_of_a_nifti_file_is_where_its_viewer_shows_it(tmp_path, marked, axes):
    voxels, affine = stored(marked, axes)
    path = write_nifti(tmp_path / "image.nii.gz", voxels, affine)
    seen = np.argwhere(voxels == 4000)[0]
    along = axes.lower().index("z")
    column, row = (int(seen[axis]) for axis in range(3) if axis != along)
    given = (int(seen[along]), row, column)
    study = read_patient(path, rv_insertions=[given])
    (point,) = study.insertions
    assert study.image[point.slice, int(point.row), int(point.column)] == 4000
    assert point.said == "slice {}, row {}, column {} of the file".format(*given)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("frames", [False, True])
def test_a_point_of_dicom_is_where_its_viewer_shows_it(
    tmp_path, marked, turned, frames
):
    single = images(marked, turned=turned)
    for data in single:  # as Philips: in no order
        data.InstanceNumber = 1 + (7 * data.InstanceNumber) % 31
    if frames:
        whole = enhanced(single)
        write(tmp_path, [whole])
        pixels = whole.pixel_array
        frame, row, column = np.argwhere(pixels == 4000)[0]
        given = (frame + 1, row, column)
    else:
        write(tmp_path, single)
        (one,) = (data for data in single if (data.pixel_array == 4000).any())
        given = (one.InstanceNumber, *np.argwhere(one.pixel_array == 4000)[0])
    study = read_patient(tmp_path, rv_insertions=[[float(n) for n in given]])
    (point,) = study.insertions
    assert study.image[point.slice, int(point.row), int(point.column)] == 4000


def test_points_that_are_none_are_refused(tmp_path, marked):
    path = write_nifti(tmp_path / "image.nii.gz", *stored(marked, "xyz"))
    for given, said in {
        (9, 8, 19): "rv_insertion=9,8,19: not in the image; expected SLICE of 0 to 8",
        (4.5, 8, 19): "not in the image",
        (4, 68, 19): "ROW of 0 to 67",
        (4, 8, float("nan")): "COLUMN of 0 to 67",
        (4, 8): "2 numbers; expected SLICE,ROW,COLUMN",
    }.items():
        with pytest.raises(InputError, match=said) as refused:
            read_patient(path, rv_insertions=[given])
        assert "\n" not in str(refused.value)
    single = images(marked)
    for data in single:
        data.InstanceNumber = 1
    home = write(tmp_path / "d", single)
    read_patient(home)
    with pytest.raises(InputError, match="instance numbers that are lacking or alike"):
        read_patient(home, rv_insertions=[(1, 8, 19)])


def found_in(study: Study) -> Segmentation:
    """The scar of segment 2, 8 and 14 if the anterior insertion is at 120 degrees."""
    run, scar = run_record(protocol=3), scar_of(study, 120, 60)
    members = run.members
    walls: Any = {"myocardium": study.myocardium, "cavity": study.cavity}
    bare = dataclasses.replace(study, myocardium=None, cavity=None)
    return Segmentation(
        bare, scar.astype(np.float32), scar, Decision(0.5), members, run, **walls
    )


def test_what_predict_writes_is_turned_by_the_points(tmp_path, marked):
    path = write_nifti(tmp_path / "image.nii.gz", *stored(marked, "XYz"))
    one, two = (67 - 8, 67 - 19), (67 - 59, 67 - 19)  # 120 and 240 degrees
    for given in ([(4, *one)], [(4, *one), (5, *two)]):
        read = read_patient(path, rv_insertions=given)
        found = found_in(dataclasses.replace(marked, insertions=read.insertions))
        numbers = numbers_of(found)
        assert numbers.reference is not None
        assert numbers.reference.mid_septum_deg == pytest.approx(180, abs=1.5)
        shares = [s.scar_of_segment_percent or 0 for s in numbers.segments]
        assert [n for n, share in enumerate(shares, 1) if share > 90] == [2, 8]
        assert "slice 4, row 59, column 48 of the file" in numbers.reference.source
        assert any("row 59" in said for said in numbers.warnings)
        kept = json.loads(json.dumps(describe(found, numbers)))
        assert kept["numbers"]["reference"]["source"] == numbers.reference.source
    away = dataclasses.replace(marked, insertions=())
    assert not numbers_of(found_in(away)).referenced


def right_ventricle(study: Study) -> np.ndarray:
    """Beside the wall from 120 to 240 degrees."""
    radius, angle = polar(study.spacing_mm)
    beside = (radius > 30) & (radius < 34) & (angle > 120) & (angle < 240)
    return np.stack([beside] * len(study.image))


@pytest.mark.parametrize(("table", "label"), [("myops", None), ("emidec", 7)])
def test_a_right_ventricle_in_a_label_map_turns_the_segments(
    tmp_path, marked, table, label
):
    path = write_nifti(tmp_path / "image.nii.gz", *stored(marked, "xyz"))
    cavity, wall, right = (500, 200, 600) if table == "myops" else (1, 2, label)
    labels = (
        cavity * np.asarray(marked.cavity)
        + wall * np.asarray(marked.myocardium)
        + right * right_ventricle(marked)
    ).astype(np.int16)
    affine = marked.geometry.affines[0]
    drawn = write_nifti(tmp_path / "labels.nii.gz", labels.T, affine)
    given: Any = {"contours": drawn, "labels": table}
    study = read_patient(path, **given, rv_label=label)
    reference = reference_of(study)
    assert reference is not None
    assert reference.mid_septum_deg == pytest.approx(180, abs=1)
    assert reference.anterior_deg == pytest.approx(120, abs=6)
    assert reference.source == "a mask of the right ventricle in 9 slices"
    points = [(4, *AT[1:])]
    both = reference_of(
        read_patient(path, **given, rv_label=label, rv_insertions=points)
    )
    assert both is not None
    assert "insertion" in both.source
    if label is None:
        return
    for wrong, said in {
        2: "that is normal_myocardium; expected a label",
        8: "has no such label; expected one of 0, 1, 2, 7",
    }.items():
        with pytest.raises(InputError, match=said):
            read_patient(path, **given, rv_label=wrong)
    with pytest.raises(InputError, match="unknown labels 7"):
        read_patient(path, **given)
    with pytest.raises(InputError, match="a label of no label map"):
        read_patient(path, rv_label=7)


def test_a_right_ventricle_beside_no_ring_turns_nothing_and_is_said(marked):
    right = np.zeros(marked.image.shape, bool)
    right[0] = right_ventricle(marked)[0]
    wall = np.asarray(marked.myocardium).copy()
    wall[0, :, wall.shape[2] // 2 :] = False  # open
    values: Any = {"myocardium": wall, "right_ventricle": right, "insertions": ()}
    study = dataclasses.replace(marked, **values)
    assert reference_of(study) is None
    run, scar = run_record(), np.zeros(wall.shape, bool)
    found = Segmentation(
        *(study, scar.astype(np.float32), scar, Decision(0.5), run.members, run),
        myocardium=wall,
        cavity=study.cavity,
    )
    numbers = numbers_of(found)
    assert not numbers.referenced
    assert any("ventricle stands beside no ring" in one for one in numbers.warnings)
    assert numbers_of(dataclasses.replace(found, myocardium=None)).lv_mass_g is None


@pytest.mark.parametrize("turned", [False, True])
def test_the_estimate_is_where_the_patients_right_and_front_are(
    tmp_path, marked, turned
):
    oblique = dataclasses.replace(
        marked, geometry=short_axis(9, marked.spacing_mm), insertions=()
    )
    read = read_patient(write(tmp_path / "d", images(oblique, turned=turned)))
    study = dataclasses.replace(
        read, myocardium=oblique.myocardium, cavity=oblique.cavity
    )
    reference = by_patients_axes(study)
    assert reference is not None
    affine = study.geometry.affines[4]
    height, width = study.image.shape[1:]
    middle = np.array([(width - 1) / 2, (height - 1) / 2, 0, 1])
    to = affine @ middle + [30 / np.sqrt(2), 30 / np.sqrt(2), 0, 0]  # mm: right, front
    x, y, _, _ = np.linalg.solve(affine, to)
    angle = walls_of(study)[4].angle_deg(y, x)
    assert reference.mid_septum_deg == pytest.approx(float(angle), abs=1)
    assert (reference.mid_septum_deg - reference.anterior_deg) % 360 == 60
    said = segments_of(study, np.zeros(study.image.shape, bool), reference)
    assert said.referenced
    assert any("can be off by a segment" in one for one in said.warnings)


def test_without_the_patients_axes_nothing_is_estimated(marked):
    upright = Geometry.upright(9, marked.spacing_mm)  # as files that do not say them
    assert by_patients_axes(dataclasses.replace(marked, geometry=upright)) is None
    oblique = dataclasses.replace(marked, geometry=short_axis(9, marked.spacing_mm))
    assert by_patients_axes(oblique) is not None
    assert by_patients_axes(dataclasses.replace(oblique, myocardium=None)) is None


def test_an_estimate_is_made_where_it_is_asked_for_and_marked_as_such(
    patient, tmp_path, command
):
    home = write(tmp_path / "d", images(patient))
    wall = write_nifti(
        tmp_path / "wall.nii",
        np.asarray(patient.myocardium).astype(np.uint8).T,
        patient.geometry.affines[0],
    )
    sources = []
    for n, more in enumerate(({}, {"estimate_septum": True})):
        output = tmp_path / f"{n}.nii.gz"
        code, said = command(input=home, myocardium=wall, output=output, **more)
        assert code == 0, said
        told = json.loads(output.with_suffix("").with_suffix(".json").read_text())
        sources.append((told["numbers"]["reference"] or {}).get("source"))
        page = output.with_suffix("").with_suffix(".html").read_text()
        assert (ESTIMATED in html.unescape(page)) == bool(more)
    assert sources == [None, ESTIMATED]


def test_an_empty_right_ventricle_is_none(marked):
    none = np.zeros(marked.image.shape, bool)
    assert reference_of(dataclasses.replace(marked, right_ventricle=none)) is None


@pytest.mark.parametrize(
    ("anterior", "inferior", "said"),
    [
        ("4,x,1", "", "rv_insertion=4,x,1; expected SLICE,ROW,COLUMN"),
        ("", "4,2,1", "rv_inferior_insertion=4,2,1 without the anterior one"),
    ],
)
def test_flags_that_are_no_points_are_refused_in_a_line(anterior, inferior, said):
    with pytest.raises(InputError, match=said):
        predict._points(
            *(text.split(",") if text else [] for text in (anterior, inferior))
        )
