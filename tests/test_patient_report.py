"""The page about one patient, and how a browser shows and prints it."""

import base64
import dataclasses
import html
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scarseg_jax.judge.windows import to_grey
from scarseg_jax.measure.numbers import measure
from scarseg_jax.measure.segments import from_insertions
from scarseg_jax.measure.zones import find_zones
from scarseg_jax.readers import emidec as emidec_reader
from scarseg_jax.run import Review, Segmentation
from scarseg_jax.segment.intensities import by_intensity
from scarseg_jax.show.patient_report import write_patient_report
from scarseg_jax.show.pictures import outline
from tests.builders import draw_study, run_record, turned
from tests.hearts import heart, scar_of
from tests.test_run_report import Page

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
in_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
NAME = "Doe^Jane"
DEVICE = "For research. Not a medical device."


def segmentation(study, scar, **values):
    """A segmentation of two networks that found this scar."""
    run = run_record()
    of_all = {
        "probability": scar.astype(np.float32),
        "decision": run.members[0].decision,
        "members": run.members,
        "run": run,
        "myocardium": study.myocardium,
        "cavity": study.cavity,
    }
    return Segmentation(study=study, scar=scar, **{**of_all, **values})


def drawn(slices=3, **values):
    """A study with its drawn scar as that found, and its numbers."""
    study = draw_study(NAME, slices=slices)
    found = segmentation(study, np.asarray(study.scar), **values)
    return found, measure(study, found.scar)


def full(slices=9):
    """A tube of which all is known."""
    study = heart(slices)
    scar, dark = scar_of(study, 120, 90), scar_of(study, 150, 20, depth=0.5)
    zones = find_zones(
        *(study.image, np.asarray(study.myocardium), "yan_2006"),
        phase_sensitive=True,
        remote=scar_of(study, 300, 40),
        no_reflow=dark,
    )
    reference = from_insertions(study, (slices // 2, 8.0, 19.0))
    found = segmentation(study, scar)
    numbers = measure(
        study,
        scar,
        no_reflow=dark,
        reference=reference,
        zones=zones,
        by_intensity=by_intensity(found),
    )
    return found, numbers


def written(folder, found, numbers):
    """Writes the page; its text."""
    write_patient_report(folder / "page.html", found, numbers)
    return (folder / "page.html").read_text()


def page_of(folder, found, numbers):
    return Page(written(folder, found, numbers))


def test_the_page_stands_alone(tmp_path):
    text = written(tmp_path, *full())
    page = Page(text)
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", text)
    assert not page.all("script") + page.all("link") + page.all("img")
    addresses = [a.get("src") or a.get("href") for _, a in page.tags]
    addresses += re.findall(r"url\(([^)]*)\)", text)
    assert all(one.startswith(("data:", "#")) for one in addresses if one)
    assert "@import" not in text


def test_it_says_that_it_is_no_medical_device_on_top_and_on_every_page(tmp_path):
    text = written(tmp_path, *full())
    page = Page(text)
    assert page.text.startswith("Scar report")
    body = text[text.index("<body") :]
    assert body.index(DEVICE) < body.index("<h1>")
    assert f'@bottom-left {{ content: "Scar report. {DEVICE}"' in text


def test_numbers_stand_with_their_units(tmp_path):
    found, n = full()
    page = page_of(tmp_path, found, n)
    for words in (
        f"{n.scar_mass_g:.1f} g scar mass",
        "25.0 % of the LV's mass is scar",
        f"{n.lv_mass_g:.1f} g LV mass",
        f"{n.scar_volume_ml:.1f} ml scar volume",
        "9 of 9 slices with scar",
        "from a probability of 0.35, in areas from 4.5 mm²",
        "Volume, ml",
        "Mass, g",
    ):
        assert words.replace(" ", "") in page.text.replace(" ", "")
    # LV, scar, no-reflow, core and grey zone: ml, g, % of LV and of scar.
    lv, scar, dark, core, grey, *_ = page.tables["sizes"][1:]
    assert lv[:3] == [f"{n.lv_volume_ml:.1f}", f"{n.lv_mass_g:.1f}", "100.0"]
    assert scar == [
        f"{n.scar_volume_ml:.1f}",
        f"{n.scar_mass_g:.1f}",
        "25.0",
        "100.0",
    ]
    assert dark[2:] == [
        f"{n.no_reflow_of_lv_percent:.1f}",
        f"{n.no_reflow_of_scar_percent:.1f}",
    ]
    assert n.zones is not None
    assert core[1] == f"{n.zones.core_mass_g:.1f}"
    assert grey[1] == "0.0"
    assert "Core above remote mean + 3 SD" in page.text
    assert "Yan 2006" in page.text
    assert len(page.tables["segments"]) == 1 + 17


def test_what_made_it_is_said(tmp_path):
    page = page_of(tmp_path, *drawn())
    for words in (
        "Protocol2: inside the given myocardium",
        "Networks2 (fold 0, seed 0; fold 1, seed 0)",
        "a mean probability of 0.35",
        "4.5 mm² of connected pixels",
        "3 slices of 10.0 mm; pixels of 2.5 x 2.5 mm",
        "phantom, hash 0",
        "jax 1.2.3",
    ):
        assert words.replace(" ", "") in page.text.replace(" ", "")


@pytest.mark.parametrize(
    ("protocol", "given", "words"),
    [
        (1, True, "1: the whole crop; scar inside the given myocardium"),
        (2, True, "2: inside the given myocardium, its surroundings in view"),
        (3, True, "3: the whole crop; scar inside the given myocardium"),
        (3, False, "3: the whole crop; scar inside the found myocardium"),
    ],
)
def test_it_says_where_scar_was_looked_for(tmp_path, protocol, given, words):
    run = run_record(protocol=protocol, context=protocol == 2)
    found, numbers = drawn(run=run)
    if not given:
        bare = dataclasses.replace(found.study, myocardium=None, cavity=None)
        found = dataclasses.replace(found, study=bare)
    assert f"Protocol{words} " in page_of(tmp_path, found, numbers).text


def test_every_slice_is_there_once_on_its_own_pixels_under_its_outlines(tmp_path):
    found, numbers = drawn(5)
    page = page_of(tmp_path, found, numbers)
    labels = [a["aria-label"] for a in page.all("svg", role="img")]
    area = found.scar[0].sum() * 2.5**2
    share = 100 * found.scar[0].sum() / np.asarray(found.myocardium)[0].sum()
    said = f"scar {area:.0f} mm², {share:.0f} % of the wall"
    assert labels[:5] == [f"Slice {z}: {said}" for z in range(5)]
    images = page.all("image")
    x, y = (int(images[0][name]) for name in "xy")
    w, h = (int(images[0][name]) for name in ("width", "height"))
    assert w < found.study.image.shape[2]  # it is cropped
    own = found.study.image[:, y : y + h, x : x + w]
    grey, _ = to_grey(own)
    for image, pixels in zip(images, grey, strict=True):
        png = base64.b64decode(image["href"].removeprefix("data:image/png;base64,"))
        np.testing.assert_array_equal(Image.open(io.BytesIO(png)), pixels)
    masks = {"myocardium": found.myocardium, "cavity": found.cavity}
    for style, mask in {**masks, "called": found.scar}.items():
        lines = [a["d"] for a in page.all("path", **{"class": style})]
        assert lines == [outline(one) for one in np.asarray(mask)]
        assert len(page.all("line", **{"class": f"sample {style}"})) == 1  # the key


def test_marks_and_a_scale_are_on_every_slice(tmp_path):
    found, numbers = drawn()
    geometry = turned(found.study.geometry)
    study = dataclasses.replace(found.study, geometry=geometry)
    text = written(tmp_path, dataclasses.replace(found, study=study), numbers)
    letters = re.findall(r'<text class="mark"[^>]*>(\w)</text>', text)
    assert tuple(letters) == geometry.orientation_marks * 3
    assert len(re.findall(r'class="bar" d="M[\d. -]*h20"', text)) == 3
    assert text.count("20 mm</text>") == 3


def test_it_tells_nobodys_name_and_no_path(tmp_path):
    run = run_record(settings={"data": {"path": "/secret/images"}})
    members = [
        dataclasses.replace(m, test_patients=("Roe^Richard",)) for m in run.members
    ]
    run = dataclasses.replace(run, fingerprints={"Roe^Richard": "f1n9"})
    found, numbers = drawn(
        run=run, members=tuple(members), left_out=(members[0],), patient="Roe^Richard"
    )
    files = (Path("/secret/1.2.840.113619/Doe.nii.gz"),)
    study = dataclasses.replace(found.study, files=files)
    text = written(tmp_path, dataclasses.replace(found, study=study), numbers)
    for secret in ("Doe", "Roe", "secret", "1.2.840", "f1n9", str(tmp_path)):
        assert secret not in text
    assert "<title>Scar report</title>" in text
    assert "those of the run that had were not asked" in text


def test_warnings_come_first(tmp_path):
    found, numbers = drawn()
    numbers = dataclasses.replace(numbers, warnings=("First <doubt>.", "Second."))
    text = written(tmp_path, found, numbers)
    assert "2 warnings" in text
    assert "First &lt;doubt&gt;." in text
    assert text.index("Second.") < text.index("scar mass") < text.index('id="slices"')
    none = dataclasses.replace(numbers, warnings=())
    assert "No warnings" in written(tmp_path, found, none)


@pytest.mark.parametrize(("patient", "seen"), [(None, 0), ("a", 1), ("c", 2)])
def test_networks_that_had_seen_the_patient_are_warned_of(tmp_path, patient, seen):
    page = page_of(tmp_path, *drawn(patient=patient))
    warned = f"{seen} of the 2 networks were trained or chosen with this very patient"
    assert (warned in page.text) == bool(seen)
    assert ("had not seen this patient" in page.text) == (not seen)


def test_a_myocardium_that_was_found_is_warned_of_and_outlined(tmp_path):
    found, numbers = drawn()
    given = page_of(tmp_path, found, numbers)
    assert "Nobody drew the myocardium" not in given.text
    assert "Myocardiumgiven" in given.text
    bare = dataclasses.replace(found.study, myocardium=None, cavity=None)
    page = page_of(tmp_path, dataclasses.replace(found, study=bare), numbers)
    assert "Nobody drew the myocardium: the networks found it" in page.text
    assert len(page.all("path", **{"class": "myocardium"})) == 3


def test_without_myocardium_the_scar_is_shown_in_what_the_networks_saw(tmp_path):
    found, _ = drawn()
    bare = dataclasses.replace(found.study, myocardium=None, cavity=None)
    crop = np.zeros(found.scar.shape, np.float32)
    crop[:, 10:60, 20:70] = 0.1
    found = segmentation(bare, found.scar, probability=crop)
    page = page_of(tmp_path, found, measure(bare, found.scar))
    assert "There is no myocardium" in page.text
    assert "neither given nor found" in page.text
    assert not page.all("path", **{"class": "myocardium"})
    assert not page.all("line", **{"class": "sample cavity"})
    assert "not referenced" in page.text
    assert page.tables["sizes"][1] == ["\N{EN DASH}"] * 4
    (image, *_) = page.all("image")
    assert int(image["y"]) <= 10
    assert int(image["y"]) + int(image["height"]) >= 60


def test_a_single_slice_is_a_page(tmp_path):
    page = page_of(tmp_path, *drawn(1))
    assert len(page.all("image")) == 1
    assert "1 slice of 10.0 mm" in page.text


@pytest.mark.parametrize("heart_is_known", [True, False])
def test_no_scar_is_a_page(tmp_path, heart_is_known):
    study = draw_study(NAME, slices=3)
    if not heart_is_known:
        study = dataclasses.replace(study, myocardium=None, cavity=None)
    nothing = np.zeros(study.image.shape, bool)
    page = page_of(tmp_path, segmentation(study, nothing), measure(study, nothing))
    assert "0.0 g" in page.text
    assert "0 of 3" in page.text
    labels = [a["aria-label"] for a in page.all("svg", role="img")]
    assert labels[:3] == [f"Slice {z}: no scar called" for z in range(3)]


def test_a_trace_of_scar_is_not_said_to_be_none(tmp_path):
    study = draw_study(NAME, slices=3)
    trace = np.zeros(study.image.shape, bool)
    trace[1, 36, 51] = True
    thin = dataclasses.replace(
        study, geometry=type(study.geometry).upright(3, (1.0, 1.0, 1.0))
    )
    page = page_of(tmp_path, segmentation(thin, trace), measure(thin, trace))
    assert "< 0.1 g" in page.text


@pytest.mark.parametrize("what", ["patient", "myocardium"])
def test_numbers_of_another_heart_are_refused(tmp_path, what):
    found, numbers = drawn()
    if what == "patient":
        numbers = dataclasses.replace(numbers, patient="another")
    else:
        bare = dataclasses.replace(found.study, myocardium=None, cavity=None)
        numbers = measure(bare, found.scar)
    with pytest.raises(ValueError, match=f"another {what}"):
        write_patient_report(tmp_path / "x.html", found, numbers)
    assert not list(tmp_path.iterdir())


def browse(tmp_path, page, *arguments):
    """What Chromium says of a page."""
    done = subprocess.run(
        [
            *(str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--timeout=20000"),
            *(*arguments, page.as_uri()),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


@in_browser
def test_nothing_is_wider_than_a_phone(tmp_path):
    script = """<script>
      addEventListener("load", () => parent.postMessage([innerWidth,
        document.documentElement.scrollWidth - document.documentElement.clientWidth,
        ...[...document.querySelectorAll(".scroll")].map((e) => e.scrollWidth - e.clientWidth)], "*"));
    </script></body>"""
    text = written(tmp_path, *full())
    (tmp_path / "page.html").write_text(text.replace("</body>", script))
    # A window is never so narrow, a frame may be.
    frame = tmp_path / "frame.html"
    frame.write_text("""<script>
      onmessage = (e) => { document.documentElement.dataset.seen = JSON.stringify(e.data); };
    </script><iframe src="page.html" style="width: 390px; height: 800px; border: 0"></iframe>""")
    dom = browse(tmp_path, frame, "--virtual-time-budget=10000", "--dump-dom")
    found = re.search(r'data-seen="([^"]*)"', dom)
    assert found, dom[:300]
    width, beyond, *tables = json.loads(html.unescape(found[1]))
    assert width == 390
    assert beyond == 0
    assert tables == [0, 0, 0]


def pages_of(tmp_path, found, numbers):
    """How many A4 pages it prints on."""
    written(tmp_path, found, numbers)
    pdf = tmp_path / "page.pdf"
    browse(tmp_path, tmp_path / "page.html", f"--print-to-pdf={pdf}")
    return len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))


@in_browser
@pytest.mark.parametrize("slices", [1, 9, 16, 30])
def test_it_prints_on_two_pages(tmp_path, slices):
    found, numbers = full(slices)
    doubts = ("A doubt of many words. " * 4,) * 6
    numbers = dataclasses.replace(numbers, warnings=doubts)
    assert pages_of(tmp_path, found, numbers) == 2


@in_browser
@pytest.mark.parametrize("slices", [9, 16])
def test_so_it_does_when_a_person_corrected_every_slice(tmp_path, slices):
    found, numbers = full(slices)
    review = Review(found.decision, 1.25, 0.5, tuple(range(slices)))
    found = dataclasses.replace(found, review=review)
    assert pages_of(tmp_path, found, numbers) == 2
    page = Page((tmp_path / "page.html").read_text())
    assert "accepted by a person; the networks' own limits are 0.35, " in page.text
    assert f"{slices - 1}: 1.2 ml added, 0.5 ml erased" in page.text
    assert "scar, corrected by hand" in page.text


@in_browser
def test_a_real_patient_prints_on_two_pages(tmp_path, emidec):
    study = emidec_reader.read_study(emidec, "Case_P001")
    found = segmentation(study, np.asarray(study.scar))
    numbers = measure(study, found.scar, no_reflow=study.no_reflow)
    assert pages_of(tmp_path, found, numbers) == 2
