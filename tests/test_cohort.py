"""Many studies: what is one, that nothing is lost or done twice, and who is named."""

import base64
import csv
import dataclasses
import gzip
import io
import json
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from builders import draw_study, write_nifti, write_study
from dicom_studies import DATE, IDENTITY, ROOT, enhanced, images, short_axis, write
from nibabel.nifti1 import Nifti1Extension
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from scarseg_jax import files, predict, prediction
from scarseg_jax.cohort import Outcome, predict_all
from scarseg_jax.errors import InputError, Unfinished
from scarseg_jax.identifiers import withheld
from scarseg_jax.judge import tables
from scarseg_jax.readers import nifti
from scarseg_jax.readers.patient import read_patient
from scarseg_jax.readers.studies import studies, studies_of_source
from scarseg_jax.run import Trial
from scarseg_jax.segment.pipeline import find_scar

SURNAME = "Plantedson"
PLANTED = (SURNAME, "Planted", IDENTITY, "4711", DATE, "1987-06-05", "870605", ROOT)


def signed(patient, **values):
    """Returns a DICOM series that says everywhere whose it is."""
    found = images(patient, **values)
    for n, image in enumerate(found):
        image.PatientName = f"{SURNAME}^Ida"
        image.SeriesDescription = f"LGE {SURNAME.upper()} sax of {DATE}"
        image.PatientComments = image.InstitutionName = f"{SURNAME} {DATE}"
        image.AcquisitionDateTime, image.StudyTime = f"{DATE}101112", "101112"
        asked = Dataset()
        asked.PatientID, asked.AccessionNumber = IDENTITY, f"A{IDENTITY}"
        asked.ReferencedSOPInstanceUID = f"{ROOT}.5.{n}"
        image.RequestAttributesSequence = Sequence([asked])
        block = image.private_block(0x0011, SURNAME, create=True)
        block.add_new(0x01, "LO", f"{SURNAME} {IDENTITY}")
    return found


def signed_nifti(path: Path, patient) -> Path:
    """Writes a NIfTI file that says everywhere whose it is."""
    image = nibabel.Nifti1Image(patient.image.T, patient.geometry.affines[0])
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        image.header[field] = SURNAME.encode()
    comment = Nifti1Extension("comment", f"{SURNAME} {DATE}".encode())
    image.header.extensions.append(comment)
    image.to_filename(path)
    return path


@pytest.fixture
def home(patient, as_nifti, tmp_path) -> Path:
    """A folder, a zip, two NIfTI files, and two of what cannot be used."""
    folder = tmp_path / f"{SURNAME}s"
    name = f"{SURNAME}_{IDENTITY}_{DATE}"
    write(folder / f"a_{name}", signed(patient))
    write(tmp_path / "z", signed(patient, turned=True))
    shutil.make_archive(str(folder / f"b_{name}"), "zip", tmp_path / "z")
    signed_nifti(folder / f"c_{name}.nii.gz", patient)
    (folder / f"d_{name}").mkdir()
    darker = dataclasses.replace(patient, image=patient.image // 2)
    signed_nifti(folder / f"d_{name}" / f"{name}.nii", darker)
    (folder / f"e_{name}.nii").write_bytes(as_nifti.read_bytes()[:-100])
    (folder / f"f_{name}").mkdir()
    (folder / f"{name}.txt").write_text(SURNAME)
    (folder / f"{name}.xlsx").write_bytes(next(folder.glob("b_*")).read_bytes())
    return folder


@pytest.fixture
def quick(monkeypatch):
    """Pages without pictures, which take longest to draw."""
    monkeypatch.setattr(prediction, "write_patient_report", write_page)


def write_page(path, found, numbers):
    files.write_text(path, f"{found.scar.sum()} {numbers.scar_mass_g}")


def told(folder: Path, name: str = "cohort.csv") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / name).read_text())))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def times(folder: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in folder.rglob("study_*/*")}


@pytest.mark.usefixtures("quick")
def test_every_study_has_what_it_would_have_alone_and_broken_ones_are_told(
    home, tmp_path, command
):
    output = tmp_path / "out"
    code, said = command(input=home, output=output)
    assert code == 3
    assert "2 of 6 studies cannot be used, the others are done" in said
    assert "not read: 1 .txt, 1 .xlsx" in said
    rows = told(output)
    assert [row["study"] for row in rows] == [f"study_{n:03}" for n in range(1, 7)]
    assert [bool(row["problem"]) for row in rows] == [False] * 4 + [True] * 2
    assert "header claims" in rows[4]["problem"]
    assert "without DICOM and with 0 NIfTI files" in rows[5]["problem"]
    assert rows[4]["scar_mass_g"] == ""
    assert not (output / "study_005").exists()
    page = (output / "index.html").read_text()
    assert page.index(rows[5]["problem"][:30]) < page.index("study_001")
    assert "For research. Not a medical device." in page
    alone = tmp_path / "alone"
    alone.mkdir()
    for name, letter in (("study_001", "a"), ("study_003", "c")):
        (path,) = home.glob(f"{letter}_*")
        code, _ = command(input=path, output=alone / f"{name}.nii.gz")
        assert code == 0
    for name, content in contents(alone).items():
        folder = name.partition(".")[0]
        assert content == (output / folder / name).read_bytes()
        assert name in page or not name.endswith(".html")
    report = json.loads((output / "study_003" / "study_003.json").read_text())
    numbers = report["numbers"]
    assert float(rows[2]["scar_mass_g"]) == numbers["scar_mass_g"] > 0


@pytest.mark.usefixtures("quick")
def test_nothing_is_done_twice_and_a_killed_run_goes_on_to_the_same_bytes(
    home, tmp_path, command, monkeypatch
):
    whole, output = tmp_path / "whole", tmp_path / "out"
    command(input=home, output=whole)
    count = 0

    def killed(*args, **kwargs):
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return write_page(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(prediction, "write_patient_report", killed)
        with pytest.raises(KeyboardInterrupt):
            command(input=home, output=output)
    (output / ".unfinished" / "left").mkdir(parents=True)  # as SIGKILL leaves it
    half = output / "study_002" / files.SUMS
    half.unlink()  # killed while its files came to their place
    first = times(output / "study_001")
    code, said = command(input=home, output=output)
    assert code == 3
    assert "3 measured now, 1 before" in said
    assert times(output / "study_001") == first
    assert contents(output) == contents(whole)
    assert [p.name for p in output.iterdir() if p.name.startswith(".")] == []
    before = times(output)
    for path in home.glob("[ef]_*"):
        path.rmdir() if path.is_dir() else path.unlink()
    code, said = command(input=home, output=output)
    assert code == 0
    assert "all 4 studies are there already; nothing was done" in said
    assert times(output) == before


@pytest.mark.usefixtures("quick")
def test_what_changed_is_done_again_and_what_others_put_there_stays(
    home, tmp_path, command
):
    output = tmp_path / "out"
    for path in home.glob("[bdef]_*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    command(input=home, output=output)
    notes = output / "study_001" / "notes.txt"
    notes.write_text("mine")
    (output / "study_002" / "study_002.nii.gz").write_bytes(b"damaged")
    _, said = command(input=home, output=output)
    assert "1 measured now, 1 before" in said
    _, said = command(input=home, output=output, threshold=0.3)
    assert "2 measured now" in said
    next(home.glob("c_*")).unlink()  # and with it the second study
    lone = next(home.glob("a_*/sub0/*"))
    (lone.parent / "copy.dcm").write_bytes(lone.read_bytes())
    code, said = command(input=home, output=output, threshold=0.3)
    assert "study_002: of an earlier input; deleted" in said
    assert "1 measured now" in said
    assert code == 0
    assert not (output / "study_002").exists()
    shutil.rmtree(next(home.glob("a_*")) / "sub1")
    shutil.rmtree(next(home.glob("a_*")) / "sub0")
    code, _ = command(input=home, output=output, threshold=0.3)
    assert code == 3
    assert [p.name for p in (output / "study_001").iterdir()] == ["notes.txt"]
    assert notes.read_text() == "mine"
    (output / "study_001" / "study_001.json").write_text("{}")
    code, said = command(input=home, output=output)
    assert code == 2
    assert "study_001.json is there and was not made by this program" in said


@pytest.mark.usefixtures("quick")
def test_a_disk_that_fails_ends_all_and_a_fault_ends_one_study(
    home, tmp_path, command, monkeypatch
):
    def failing(error):
        def fail(*_args, **_kwargs):
            raise error

        return fail

    with monkeypatch.context() as patched:
        full = OSError(28, "No space left on device")
        patched.setattr(prediction, "write_segmentation", failing(full))
        code, said = command(input=home, output=tmp_path / "full")
    assert code == 3
    assert "No space left on device; what was finished is kept" in said
    assert not (tmp_path / "full" / "cohort.csv").exists()
    with monkeypatch.context() as patched:
        patched.setattr(prediction, "find_scar", failing(RuntimeError(SURNAME)))
        code, said = command(input=home, output=tmp_path / "faults")
    assert code == 3
    assert SURNAME not in said
    rows = told(tmp_path / "faults")
    assert "a fault of this program (RuntimeError)" in rows[0]["problem"]


@pytest.mark.usefixtures("quick")
def test_what_a_killed_worker_cannot_do_again_is_gone(home, tmp_path, command):
    output = tmp_path / "out"
    for path in home.glob("[bdef]_*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    command(input=home, output=output)
    many = studies(home, lambda path: pytest.fail("read"))

    def killed(unread):
        return [
            Outcome(one.name, problem="every worker died") for one in unread[:1]
        ] + [Outcome(one.name) for one in unread[1:]]

    with pytest.raises(Unfinished):
        predict_all(many, output, killed, keep_identifiers=False)
    assert not (output / "study_001").exists()
    assert (output / "study_002").exists()


@pytest.mark.usefixtures("quick")
def test_uneven_slices_are_measured_though_nifti_holds_no_mask_of_them(
    patient, tmp_path, command
):
    geometry = short_axis(5, patient.spacing_mm, [0, 8, 19, 24, 40])
    write(
        tmp_path / "in" / "s", signed(dataclasses.replace(patient, geometry=geometry))
    )
    output = tmp_path / "out"
    code, said = command(input=tmp_path / "in", output=output)
    assert code == 0, said
    assert f"{output}/study_001/study_001.nii.gz: the slices are not parallel" in said
    (row,) = told(output)
    assert row["mask_is_written"] == "False"
    assert (
        "study_001</a>, no mask: uneven slices" in (output / "index.html").read_text()
    )
    report = json.loads((output / "study_001" / "study_001.json").read_text())
    assert report["mask"] is None
    found = find_scar(predict.load_model("run"), read_patient(tmp_path / "in" / "s"))
    wanted_ml = found.scar.sum(axis=(1, 2)) @ (
        geometry.pixel_mm2 * np.array([8, 9.5, 8, 10.5, 16]) / 1000
    )
    assert float(row["scar_volume_ml"]) == pytest.approx(wanted_ml, rel=1e-3)
    there = {path.name for path in (output / "study_001").iterdir()}
    assert there == {f"study_001.{end}" for end in ("json", "csv", "html")} | {
        files.SUMS
    }
    _, said = command(input=tmp_path / "in", output=output)
    assert "nothing was done" in said
    check_nobody(output, said)


@pytest.mark.usefixtures("quick")
def test_the_same_bytes_for_another_purpose_are_another_input(tmp_path, command):
    home, output = tmp_path / "in", tmp_path / "out"
    write_study(home, draw_study("b"))
    asked = {"input": home, "source": "folder", "output": output}
    command(**asked)
    (home / "b_scar.nii").rename(home / "b_scar_reader.nii")
    _, said = command(**asked)
    assert "1 measured now" in said
    for part in ("image", "myocardium", "scar_reader"):
        (home / f"b_{part}.nii").rename(home / f"c_{part}.nii")
    _, said = command(**asked)  # the patient's name decides nothing
    assert "nothing was done" in said


def readings(content: bytes) -> list[bytes]:
    """Returns bytes as they are, unpacked, of UTF-16, and what is embedded in them."""
    found = [content, content.replace(b"\0", b"")]
    if content.startswith(b"\x1f\x8b"):
        found += readings(gzip.decompress(content))
    for embedded in re.findall(rb"base64,([A-Za-z0-9+/=]+)", content):
        found.append(base64.b64decode(embedded))
    return found


def check_nobody(folder: Path, said: str) -> None:
    """Checks that neither files and their names nor the terminal say who it is."""
    kept = contents(folder)
    assert kept
    for name, content in {**kept, "said": said.encode()}.items():
        for text in (name.encode(), *readings(content)):
            for planted in PLANTED:
                assert planted.casefold().encode() not in text.lower(), (name, planted)


def test_no_output_says_who_it_is(home, tmp_path, command, monkeypatch):
    output = tmp_path / "out"
    with monkeypatch.context() as patched:  # the pages are looked at below
        patched.setattr(prediction, "write_patient_report", write_page)
        _, said = command(input=home, output=output)
    check_nobody(output, said)
    for n, path in enumerate(sorted(home.glob("[ac]_*"))):
        alone = tmp_path / f"alone{n}"
        alone.mkdir()
        code, said = command(input=path, output=alone / "scar.nii.gz")
        assert code == 0, said
        check_nobody(alone, said)


@pytest.mark.usefixtures("quick")
def test_with_keep_identifiers_one_file_says_which_study_is_which(
    home, tmp_path, command
):
    output = tmp_path / "out"
    _, said = command(input=home, output=output, keep_identifiers=True)
    assert "identifiers.csv says which study is which" in said
    names = told(output, "identifiers.csv")
    inputs = [Path(row["input"]) for row in names]
    assert all(path.exists() for path in inputs)
    assert inputs == sorted(inputs)
    report = json.loads((output / "study_003" / "study_003.json").read_text())
    assert report["files"] == [str(inputs[2])]
    assert "test_patients" in report["members"][0]
    _, said = command(input=home, output=output)
    assert "4 measured now" in said
    check_nobody(output, said)  # nothing is left of it


def test_names_are_withheld_however_they_are_spelled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("Doe John.nii.gz")
    known = {"study_001": [path]}
    for spelled in (path, path.absolute()):
        assert withheld(f"{spelled}: damaged", known) == "study_001: damaged"
    assert withheld("Doe is no file", known) == "Doe is no file"
    (tmp_path / "Doe" / "sub").mkdir(parents=True)
    (tmp_path / "Doe" / "sub" / "DOE, John: 1.dcm").touch()
    known = {"study_001": [Path("Doe")], "study_002": [Path("Roe.zip")]}
    for inner in ("sub/DOE, John: 1.dcm", "gone, with Doe.dcm", "sub"):
        said = withheld(f"Doe/{inner}: damaged; as Roe.zip is", known)
        assert said == "study_001: damaged; as study_002 is"
    denied = withheld("[Errno 13] Permission denied: '/x/Doe/DOE_1.dcm'", known)
    assert "DOE" not in withheld(f"{tmp_path / 'Doe'}/DOE_1.dcm", known)
    assert denied.startswith("[Errno 13]")


@pytest.mark.usefixtures("quick")
def test_a_source_gives_what_was_drawn_too(tmp_path, command):
    for n, name in enumerate("ba"):
        write_study(tmp_path / "in", draw_study(name, seed=n))
    found = studies_of_source("folder", tmp_path / "in")
    assert [one.name for one in found] == ["study_001", "study_002"]
    assert found[0].read().patient == "a"
    assert found[0].read().myocardium is not None
    code, said = command(
        input=tmp_path / "in", source="folder", output=tmp_path / "out"
    )
    assert code == 0, said
    report = json.loads((tmp_path / "out/study_001/study_001.json").read_text())
    assert report["restricted_to_myocardium"] is True


@pytest.mark.usefixtures("quick")
def test_files_that_a_source_cannot_take_cost_their_patient_alone(tmp_path, command):
    home, output = tmp_path / "in", tmp_path / "out"
    for n in range(5):
        write_study(home, draw_study(f"{SURNAME}_{n}", seed=n))
    own = {n: home / f"{SURNAME}_{n}" for n in range(5)}
    Path(f"{own[0]}_myocardium.nii").rename(f"{own[0]}_Myocardium.nii")
    shutil.copy(f"{own[1]}_image.nii", f"{own[1]}_image.nii.gz")
    Path(f"{own[2]}_image.nii").rename(f"{own[2]}_Image.nii")
    Path(f"{own[3]}_scar.nii").unlink()
    Path(f"{own[3]}_scar.nii").symlink_to(home / "gone")
    (home / f"{SURNAME}.txt").touch()
    code, said = command(input=home, source="folder", output=output)
    assert code == 3
    assert "files that are no study and not read: 1 .txt" in said
    problems = [row["problem"] for row in told(output)]
    assert problems == [
        (
            "study_001_Myocardium.nii: not read under this name; expected"
            " study_001_myocardium.nii: rename it"
        ),
        "study_002_image.nii.gz: study_002_image.nii is there as well; keep one",
        (
            "study_003_Image.nii: not read under this name; expected"
            " study_003_image.nii: rename it"
        ),
        "study_004_scar.nii: a link to what is not there; mend or remove it",
        "",
    ]
    check_nobody(output, said)


def test_numbers_grow_with_the_studies(tmp_path):
    for n in range(1000):
        (tmp_path / f"{n:04}").mkdir()
    found = studies(tmp_path, lambda path: pytest.fail("read before it is asked for"))
    assert (found[0].name, found[-1].name) == ("study_0001", "study_1000")


def test_an_enhanced_file_is_a_study_in_no_folder_of_its_own(patient, tmp_path):
    home = tmp_path / "d"
    write(home / "single", images(patient))
    enhanced(images(patient)).save_as(home / "whole", enforce_file_format=True)
    seg = enhanced(images(patient))
    seg.Modality = "SEG"
    seg.save_as(home / "a_segmentation", enforce_file_format=True)
    single, whole = (one.read() for one in studies(home, read_patient))
    np.testing.assert_array_equal(single.image, whole.image)
    cine = enhanced(images(patient, number=9))
    cine.save_as(home / "z_of_the_same_study", enforce_file_format=True)
    with pytest.raises(
        InputError, match="DICOM files of one study in it that are in no"
    ):
        studies(home, read_patient)


def test_a_folder_that_is_one_study_or_none_is_refused(
    patient, as_nifti, tmp_path, command
):
    home = tmp_path / "d"
    write(home, images(patient))
    lone = next(home.rglob("*.dcm"))
    lone.rename(home / "lone")
    with pytest.raises(InputError, match=r"if all are one study, --output=NAME\.nii"):
        studies(home, lambda path: pytest.fail("read"))
    (tmp_path / "empty").mkdir()
    wall = write_nifti(tmp_path / "w.nii", np.zeros((3, 3, 3), np.uint8))
    for given, words in (
        ({"input": tmp_path / "empty"}, "no study in it; expected folders, zips or"),
        ({"input": as_nifti}, "expected a name ending in .nii.gz or .nii, since"),
        ({"input": home, "output": home / "o"}, "is in the folder of an input"),
        ({"input": home, "output": home}, "is the input too"),
        ({"input": home, "output": wall.with_suffix("")}, "DICOM files of one"),
        ({"input": home, "myocardium": wall}, "is of one image, and --output="),
        ({"input": home, "source": "emidec"}, r"no Case_*"),
        ({"input": home, "source": "myops", "spacing": "pixdim"}, "has no effect on"),
        (
            {"input": home, "source": "folder", "series": "3"},
            "--series=3 has no effect",
        ),
        ({"input": home, "source": "folder", "time": "-1"}, "--time=-1 has no effect"),
        (
            {"input": home, "source": "folder", "phase_sensitive": "false"},
            "=False has no",
        ),
        ({"input": home, "rv_label": "0"}, "--rv_label=0 is of one image"),
        ({"input": home, "contour_names": "a=scar"}, "--contour_names=a=scar is of"),
        ({"input": home, "contour_centre_px": "0.5"}, "centre_px=0.5 is of one image"),
        *(
            ({"input": home, "source": "folder", "judge": True, **more}, "is of predic")
            for more in ({"scheduler": "s"}, {"zones": "3sd"}, {"probability": True})
        ),
        (
            {"input": as_nifti, "source": "myops", "output": tmp_path / "a.nii"},
            "--source=myops is for many studies",
        ),
    ):
        code, said = command(**{"output": tmp_path / "out", **given})
        assert code == 2, said
        assert words in said.splitlines()[-1]


def test_judged_on_new_patients_is_what_each_would_get(tmp_path, command, monkeypatch):
    settings = {"threshold": 0.0, "data": {"path": SURNAME, "leave_out": [SURNAME]}}
    model = predict.load_model("run")  # of `command`
    run = dataclasses.replace(model.run, settings=settings)
    model = dataclasses.replace(model, run=run)
    monkeypatch.setattr(predict, "load_model", lambda *_, **__: model)
    home, output = tmp_path / "in", tmp_path / "out"
    for n in (1, 2):
        write_study(home, draw_study(f"{SURNAME}_{n}", seed=n + 7))
    code, said = command(input=home, source="folder", judge=True, output=output)
    assert code == 0, said
    found = tables.read(output)
    check_nobody(output, said)
    assert "3 networks together" in (output / "report.html").read_text()
    asked = {"input": home, "source": "folder", "judge": True, "output": output}
    code, said = command(**asked, keep_identifiers=True)
    assert code == 0, said
    names = told(output, "identifiers.csv")
    assert [row["study"] for row in names] == ["study_001", "study_002"]
    assert [Path(row["input"]) for row in names] == sorted(home.glob("*_image.nii"))
    code, said = command(**asked)
    check_nobody(output, said)
    for n in (1, 2):
        image = nifti.read_image(home / f"{SURNAME}_{n}_image.nii")
        wanted = find_scar(model, image).scar.sum(axis=(1, 2)).tolist()
        rows = [r for r in found.slices if r.patient == f"study_{n:03}"]
        assert [r.native.predicted_px for r in rows] == wanted
        assert sum(wanted)


def test_an_interval_is_of_the_decisions_that_were_tried(
    tmp_path, command, monkeypatch
):
    model = predict.load_model("run")  # of `command`
    trials = tuple(Trial(f"tried_{n}", n + 1.0, n + 1.0) for n in range(40))
    first, *others = model.run.members
    members = (dataclasses.replace(first, trials=trials), *others)
    run = dataclasses.replace(model.run, members=members)
    model = dataclasses.replace(model, run=run)
    monkeypatch.setattr(predict, "load_model", lambda *_, **__: model)
    home = tmp_path / "in"
    write_study(home, draw_study("whoever", seed=8))
    asked = {"input": home, "source": "folder", "judge": True}
    for name, more, told in (("own", {}, True), ("half", {"threshold": 0.5}, False)):
        output = tmp_path / name
        code, said = command(**asked, output=output, **more)
        assert code == 0, said
        assert (tables.read(output).summary.coverage is not None) is told


def test_what_cannot_be_judged_fairly_is_refused(tmp_path, command):
    home = tmp_path / "in"
    write_study(home, draw_study("whoever", seed=0))  # the run's patient a
    asked = {"input": home, "source": "folder", "judge": True}
    code, said = command(**asked, output=tmp_path / "out")
    assert code == 2
    assert "study_001: of the run that trained the networks" in said, said
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    code, said = command(**asked, output=tmp_path / "run")
    assert code == 2
    assert "holds a run; choose a folder of its own" in said
    code, said = command(input=home, judge=True, output=tmp_path / "out")
    assert code == 2
    assert "expected --source too" in said
    code, said = command(**asked, output=tmp_path / "out", threshold=2.0)
    assert code == 2
    assert "--threshold=2.0; expected between 0 and 1" in said
    image = home / "whoever_image.nii"
    for name in ("whoever", "whoelse"):
        damaged = image.read_bytes()[:-100]
        image.with_name(f"{name}_image.nii").write_bytes(damaged)
        code, said = command(**asked, output=tmp_path / "out")
        assert code == 2
        assert "study_001: " in said
        assert "header claims" in said
        assert "whoe" not in said
