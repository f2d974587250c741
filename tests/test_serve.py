"""Who may ask the page's server what, and that it says what `predict` would."""

import gzip
import io
import json
import logging
import signal
import subprocess
import sys
import time
import zipfile

import nibabel
import numpy as np
import pydicom
import pytest
from builders import draw_study, load, write_nifti
from dicom_studies import (
    DATE,
    IDENTITY,
    NAME,
    circle,
    images,
    on_slice,
    short_axis,
    sop_uid,
    structure_set,
    workspace,
    write,
)
from hearts import heart
from served import TOKEN, model_of, served, write_patient
from test_signals import ended, started

from scarseg_jax.readers.patient import read_patient
from scarseg_jax.segment.intensities import by_intensity
from scarseg_jax.segment.pipeline import find_scar
from scarseg_jax.serving.uploads import Limits
from scarseg_jax.study import Study
from scarseg_jax.writers.segmentation import numbers_of, write_segmentation


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    return write_patient(tmp_path_factory.mktemp("patient"))


@pytest.fixture
def client(tmp_path):
    with served(tmp_path / "private") as client:
        yield client


@pytest.mark.parametrize(
    ("root", "headers"),
    [
        ("/", {}),
        (f"/{TOKEN}", {}),
        (f"/{TOKEN[:-1]}/", {}),
        ("/caf%C3%A9/", {}),
        (f"//{TOKEN}/", {}),
        (f"/{TOKEN}/", {"Host": "evil.example"}),
        (f"/{TOKEN}/", {"Host": "127.0.0.1:1"}),
        (f"/{TOKEN}/", {"Host": "127.0.0.1"}),
        (f"/{TOKEN}/", {"Origin": "http://evil.example"}),
        (f"/{TOKEN}/", {"Origin": "null"}),
    ],
)
def test_nobody_else_is_answered(client, root, headers):
    for path in ("", "study", "page.js"):
        status, said, told = client.ask(path, root=root, **headers)
        assert status == 403
        assert TOKEN.encode() not in said
        assert "content-security-policy" in {name.lower() for name in told}


def test_the_page_may_load_nothing_from_elsewhere_and_is_kept_nowhere(client):
    for path in ("", "page.js", "page.css", "study", "nothing"):
        status, said, headers = client.ask(path)
        assert status == (404 if path == "nothing" else 200)
        told = {name.lower(): value for name, value in headers.items()}
        assert told["content-security-policy"].startswith("default-src 'none'; ")
        assert "unsafe" not in told["content-security-policy"]
        assert told["cache-control"] == "no-store"
        assert told["referrer-policy"] == "no-referrer"
        assert "server" not in told
        assert "access-control-allow-origin" not in told
        text = said.decode() if isinstance(said, bytes) else json.dumps(said)
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert b"For research. Not a medical device." in client.ask("")[1]


def test_it_listens_to_this_machine_alone():
    with serve_listening() as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def serve_listening():
    from scarseg_jax.serving.server import listening

    return listening(0)


def accepted_zip(client, now):
    now = client.do("accept", now, accepted=True)
    status, said, headers = client.ask(f"SCAR.zip?version={now['version']}")
    assert (status, headers["content-type"]) == (200, "application/zip")
    return zipfile.ZipFile(io.BytesIO(said))


def test_what_is_downloaded_is_what_predict_writes(client, patient, tmp_path):
    image, myocardium, _ = patient
    now = client.opened(image, myocardium)
    archive = accepted_zip(client, now)
    files = [f"SCAR.{end}" for end in ("csv", "html", "json", "nii.gz")]
    assert archive.namelist() == [*files, "SCAR_tissues.nii.gz"]
    study = read_patient(image, myocardium=myocardium)
    found = find_scar(model_of(), study)
    assert found.scar.any()
    numbers = numbers_of(found, by_intensity=by_intensity(found))
    assert [one.name for one in numbers.by_intensity] == ["5sd", "fwhm"]
    expected = write_segmentation(found, tmp_path / "SCAR.nii.gz", numbers)
    told = json.loads(archive.read("SCAR.json"))
    review = told.pop("review")
    assert not review["corrected_by_hand"]
    plain = json.loads(json.dumps(expected))
    assert told == {k: v for k, v in plain.items() if k != "review"}
    archive.extract("SCAR.nii.gz", tmp_path / "zip")
    ours, theirs = (
        load(folder / "SCAR.nii.gz") for folder in (tmp_path / "zip", tmp_path)
    )
    np.testing.assert_array_equal(ours.affine, theirs.affine)
    np.testing.assert_array_equal(ours.dataobj, theirs.dataobj)


def test_sliders_and_brush_give_the_mask_that_is_downloaded(client, patient, tmp_path):
    image, myocardium, _ = patient
    now = client.opened(image, myocardium)
    called = now["figures"]
    now = client.do("decide", now, decision={"threshold": 0.2, "min_area_mm2": 30.0})
    assert now["figures"]["scar_of_lv"] == "100.0 %"
    now = client.do("decide", now, decision=None)
    assert now["figures"] == called
    wall = {"slice": 1, "points_px": [[36, 30]], "width_mm": 0.1}
    stroke = {**wall, "erase": False, "inside": True}
    now = client.do("paint", now, stroke=stroke)
    assert now["corrected"] == "By hand: 0.1 ml added, 0.0 ml erased, in slice 1."
    archive = accepted_zip(client, now)
    archive.extractall(tmp_path)
    told = json.loads((tmp_path / "SCAR.json").read_text())
    assert told["review"]["corrected_by_hand"]
    assert told["review"]["corrected_slices"] == [1]
    assert told["scar_volume_ml"] == pytest.approx(told["numbers"]["scar_volume_ml"])
    scar = nibabel.load(tmp_path / "SCAR.nii.gz").get_fdata().T  # pyright: ignore
    assert scar[1, 36, 30] == 1
    assert scar[0, 36, 30] == 0
    assert scar.sum() * 2.5 * 2.5 * 10 / 1000 == pytest.approx(told["scar_volume_ml"])


def test_nothing_is_downloaded_that_was_not_accepted(client, patient):
    def status(version):
        return client.ask(f"SCAR.zip?version={version}")[0]

    assert client.ask("SCAR.zip")[0] == 409
    now = client.opened(*patient[:2])
    assert status(now["version"]) == 409
    now = client.do("accept", now, accepted=True)
    assert status(now["version"]) == 200
    other = client.do("decide", now, decision={"threshold": 0.7, "min_area_mm2": 0.0})
    assert status(other["version"]) == 409
    other = client.opened(*patient[:2])  # in another window, as the next patient may be
    other = client.do("accept", other, accepted=True)
    assert status(now["version"]) == 409
    assert status(other["version"]) == 200


def test_a_window_that_shows_another_state_changes_nothing(client, patient):
    first = client.opened(*patient[:2])
    second = client.opened(*patient[:2])
    body = {"version": first["version"], "accepted": True}
    status, said, _ = client.ask("do/accept", body)
    assert status == 409
    assert "another window" in said["error"]
    assert client.ask("study")[1]["version"] == second["version"]


def test_the_files_of_two_windows_are_never_read_together(client, patient):
    image, myocardium, _ = patient
    client.begin()
    assert client.send("image", image, ".nii") == (200, {})
    first = client.batch
    client.begin()
    assert client.send("image", image, ".nii") == (200, {})
    second, client.batch = client.batch, first
    for status, said in (client.send("contours", myocardium, ".nii"), client.read()):
        assert status == 400
        assert "another window; expected one study at a time" in said["error"]
    client.batch = second
    assert "“Contours” is missing" in client.read()[1]["error"]


def test_files_are_gone_as_soon_as_they_are_read(client, patient):
    client.opened(*patient[:2])
    assert not [path for path in client.folder.rglob("*") if path.is_file()]
    client.begin()
    client.send("image", b"not an image", ".nii")
    assert client.read()[0] == 400
    assert not [path for path in client.folder.rglob("*") if path.is_file()]


def sent(client, *files, asked=None):
    """The line that is said of files that cannot be used."""
    client.begin()
    for slot, content, ending in files:
        status, said = client.send(slot, content, ending)
        if status != 200:
            return said["error"]
    status, said = client.read(**(asked or {}))
    assert status == 400
    assert "\n" not in said["error"]
    assert str(client.folder) not in said["error"]
    return said["error"]


def zip_of(names, content=b"nothing", **values):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return stream.getvalue()


def test_what_cannot_be_used_is_one_line_in_the_words_of_the_page(
    client, patient, tmp_path
):
    image, myocardium, _ = patient
    for files, words in (
        ((), "“Image” is missing"),
        ([("image", b"", ".nii")], "image.nii: "),
        ([("image", b"x" * 999, ".nii.gz")], "image.nii.gz: not a readable NIfTI file"),
        ([("image", b"MZ", ".exe")], "image: a file that ends in .exe; expected .nii"),
        ([("image", b"", "/../x.nii")], "expected .nii, .nii.gz, .zip, DICOM"),
        ([("elsewhere", b"", ".nii")], "elsewhere: a file that ends in .nii"),
        ([("image", b"", "")], "image: "),
        (
            [("image", zip_of(["../../evil.py", "/etc/evil"]), ".zip")],
            "image.zip: no DICOM image in it (2 not DICOM)",
        ),
        ([("image", zip_of(["a"])[:-9], ".zip")], "image.zip: "),
        (
            [("image", image, ".nii"), ("contours", b"<a/>", ".cvi42wsx")],
            "contours.cvi42wsx: none of the contours",
        ),
        ([("image", image, ".nii")], "“Contours” is missing; this run is Protocol 2"),
    ):
        assert words in sent(client, *files), files
    own = [("image", image, ".nii"), ("contours", myocardium, ".nii")]
    for asked, words in (
        ({"series": ["3"]}, "“Series”=['3']: image.nii is no DICOM"),
        ({"kind": "myops"}, "contours.nii: unknown labels 1"),
        ({"kind": "odd"}, "“What the contours are”=odd: expected whose labels the map"),
        ({"slice_axis": 7}, "“Slice axis”=7; expected one of -1, 0, 1, 2"),
        ({"odd": 1}, "a request that is not understood (asked.odd: "),
    ):
        assert words in sent(client, *own, asked=asked), asked
    filled = write_nifti(tmp_path / "filled.nii", np.ones((80, 72, 3), np.uint8))
    assert "grid" in sent(client, own[0], ("contours", filled, ".nii"))
    assert client.ask("study")[1] == {"version": 0}


def test_a_zip_that_unpacks_to_too_much_is_refused(client, monkeypatch):
    bomb = zip_of(["bomb"], bytes(2**22))
    assert len(bomb) < 2**14
    monkeypatch.setattr("scarseg_jax.readers.dicom_files._LARGEST_ZIP", 2**20)
    assert "image.zip: a zip of 1 files that unpack to 0.0 GiB" in sent(
        client, ("image", bomb, ".zip")
    )


def test_too_large_and_too_many_are_refused_in_words(tmp_path):
    limits = Limits(bytes=1000, files=2)
    with served(tmp_path / "private", limits=limits) as client:
        client.begin()
        assert client.send("image", bytes(900), "")[0] == 200
        status, said = client.send("image", bytes(200), "")
        assert status == 400
        assert "larger than 0 MiB together; expected one study" in said["error"]
        client.begin()
        for _ in range(2):
            assert client.send("image", b"", "")[0] == 200
        status, said = client.send("image", b"", "")
        assert status == 400
        assert "more than 2 files; expected one study" in said["error"]
        assert client.ask("do/undo", bytes(2**21))[0] == 400


def test_dicom_comes_as_a_zip_or_as_files_and_nobodys_name_goes_out(
    client, tmp_path, caplog
):
    caplog.set_level(logging.DEBUG)
    tube = heart(4)
    image = np.rint(np.asarray(tube.image))
    study = Study("p", image, short_axis(4, (10.0, 1.0, 1.0)), tube.myocardium)
    folder = write(tmp_path / "dicom", images(study))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path in files:
            archive.write(path, path.name)
    axes = np.diag([1.0, 1.0, 1.0, 1.0])
    mask = write_nifti(
        tmp_path / "mask.nii",
        np.asarray(tube.myocardium, np.uint8).transpose(2, 1, 0),
        study.geometry.affines[0] @ axes,
    )
    answers = []
    for uploads in (
        [("image", stream.getvalue(), ".zip")],
        [("image", path, "") for path in files],
    ):
        client.begin()
        for slot, content, ending in (*uploads, ("contours", mask, ".nii")):
            assert client.send(slot, content, ending) == (200, {})
        status, said = client.read()
        assert status == 200, said
        answers.append({k: v for k, v in said.items() if k != "version"})
    assert answers[0] == answers[1]
    client.begin()
    lines = [
        (sop_uid(7, z), name, circle(33.5, 33.5, radius))
        for z in range(4)
        for name, radius in (("saendocardialContour", 20), ("saepicardialContour", 30))
    ]
    client.send("image", stream.getvalue(), ".zip")
    client.send("contours", workspace(lines).encode(), ".cvi42wsx")
    status, said = client.read()
    assert status == 200, said
    ring_g = 1.05 * np.pi * (30**2 - 20**2) * 40 / 1000
    lv_g = float(said["figures"]["lv_mass"].removesuffix(" g"))
    assert lv_g == pytest.approx(ring_g, rel=0.01)
    archive = accepted_zip(client, said)
    regions = [
        (
            name,
            [
                (None, on_slice(study.geometry, z, circle(33.5, 33.5, radius)))
                for z in range(4)
            ],
        )
        for name, radius in (("endocardium", 20), ("epicardium", 30))
    ]
    client.begin()
    client.send("image", stream.getvalue(), ".zip")
    with io.BytesIO() as drawn:
        structure_set(regions).save_as(drawn, enforce_file_format=True)
        client.send("contours", drawn.getvalue(), "")
    status, said = client.read()
    assert status == 200, said
    lv_g = float(said["figures"]["lv_mass"].removesuffix(" g"))
    assert lv_g == pytest.approx(ring_g, rel=0.01)
    everything = [json.dumps(answers), caplog.text]
    everything += [archive.read(name).decode("latin-1") for name in archive.namelist()]
    for text in everything:
        for secret in (NAME, IDENTITY, DATE, TOKEN):
            assert secret not in text


def test_an_error_of_our_own_is_said_without_what_it_quotes(
    client, patient, monkeypatch, caplog
):
    now = client.opened(*patient[:2])

    def broken(*_):
        raise KeyError(NAME)

    monkeypatch.setattr("scarseg_jax.serving.case.undone", broken)
    status, said, _ = client.ask("do/undo", {"version": now["version"]})
    assert status == 500
    assert said["error"] == (
        "this went wrong in the program itself (KeyError); nothing was changed"
    )
    assert client.ask("study")[1]["version"] == now["version"]
    for _ in range(100):  # the log has it just after the answer
        if caplog.text:
            break
        time.sleep(0.05)
    assert NAME not in caplog.text
    assert "an answer failed: KeyError in broken:" in caplog.text


def refused(*given, before="pass"):
    """Returns what the command says when it cannot serve, in a process of its own.

    Its flags have names that other commands' have.
    """
    code = (
        f"import sys; {before}; from absl import app; from scarseg_jax import serve;"
        " app.run(serve.main, flags_parser=serve.parse)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *given],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    return done.stderr


def test_without_the_extra_it_says_which():
    said = refused(before="sys.modules['uvicorn'] = None")
    assert said == (
        "error: serve needs uvicorn, which is not installed; install it with pip install"
        ' "scarseg_jax[serve]"\n'
    )


def test_a_port_that_is_taken_is_one_line():
    with serve_listening() as listener:
        port = listener.getsockname()[1]
        said = refused(f"--port={port}")
    assert f"error: --port={port}: cannot listen there" in said


def check_neutral(content):
    for planted in (NAME, "Planted", IDENTITY, DATE):
        assert planted.encode() not in content, planted


def test_what_names_the_patient_is_in_the_zip_where_it_is_asked_for_alone(
    client, tmp_path, caplog
):
    caplog.set_level(logging.DEBUG)
    drawn = draw_study("p", slices=4)
    geometry = short_axis(4, (10.0, 2.5, 2.5))
    study = Study("p", np.rint(drawn.image), geometry, drawn.myocardium)
    mask = np.asarray(study.myocardium, np.uint8).T
    wall = write_nifti(tmp_path / "mask.nii", mask, geometry.affines[0])
    client.begin()
    for path in write(tmp_path / "dicom", images(study)).rglob("*.dcm"):
        assert client.send("image", path, "") == (200, {})
    client.send("contours", wall, ".nii")
    now = client.read()[1]
    assert now["is_dicom"]
    shown = client.do("accept", now, accepted=True)["version"]
    plain, archived = (
        zipfile.ZipFile(io.BytesIO(client.ask(f"SCAR.zip?version={shown}{asked}")[1]))
        for asked in ("", "&dicom=1&probability=1")
    )
    dicom = {"SCAR_segmentation.dcm", "SCAR_report.dcm"}
    more = set(archived.namelist()) - set(plain.namelist())
    assert more == {*dicom, "SCAR_probability.nii.gz", "SCAR_disagreement.nii.gz"}
    for name in set(archived.namelist()) - dicom:
        content = archived.read(name)
        check_neutral(gzip.decompress(content) if name.endswith(".gz") else content)
    check_neutral(caplog.text.encode())
    segmentation, report = (
        pydicom.dcmread(io.BytesIO(archived.read(name))) for name in sorted(dicom)[::-1]
    )
    assert (segmentation.Modality, report.Modality) == ("SEG", "SR")
    assert segmentation.PatientName == report.PatientName == NAME
    (number,) = (
        segment.SegmentNumber
        for segment in segmentation.SegmentSequence
        if segment.SegmentLabel == "Scar"
    )
    shown = [
        group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number
        for group in segmentation.PerFrameFunctionalGroupsSequence
    ]
    scar_ml = segmentation.pixel_array[shown].sum() * 10 * 2.5 * 2.5 / 1000
    assert scar_ml > 0
    told = json.loads(archived.read("SCAR.json"))
    assert scar_ml == pytest.approx(told["scar_volume_ml"])
    assert not [path for path in client.folder.rglob("*") if path.is_file()]


def test_an_image_that_is_no_dicom_has_no_segmentation_to_refer_to_it(client, patient):
    now = client.opened(*patient[:2])
    assert not now["is_dicom"]
    now = client.do("accept", now, accepted=True)
    status, said, _ = client.ask(f"SCAR.zip?version={now['version']}&dicom=1")
    assert status == 400
    assert "the image is no DICOM, which it refers to" in said["error"]


def test_a_label_map_is_read_by_the_table_that_is_said(client, patient, tmp_path):
    image, myocardium, study = patient
    labels = np.where(study.myocardium, 7, np.where(study.cavity, 3, 0))
    affine = load(image).affine
    own = write_nifti(tmp_path / "own.nii", labels.astype(np.uint8).T, affine)
    client.begin()
    for slot, path in (("image", image), ("contours", own)):
        assert client.send(slot, path, ".nii") == (200, {})
    status, said = client.read(kind="cavity=3,myocardium=7")
    assert status == 200, said
    assert said["figures"] == client.opened(image, myocardium)["figures"]


SERVING = """
import sys, threading
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from scarseg_jax import files, signals
from scarseg_jax.serving.server import listening, server
import tempfile
tempfile.tempdir = sys.argv[1]
async def app(scope, receive, send):
    raise NotImplementedError
with signals.at_once(), listening(0) as listener:
    with files.private_folder("scarseg_") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "image.nii").write_text("somebody")
        assert folder.stat().st_mode & 0o777 == 0o700
        print("busy", flush=True)
        server(app).run(sockets=[listener])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_what_was_sent_goes(tmp_path, number):
    with started(SERVING, tmp_path) as process:
        process.send_signal(number)
        assert ended(process) == (128 + number, f"stopped by {number.name}\n")
    assert not list(tmp_path.iterdir())
