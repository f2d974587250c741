"""The page as a person has it: by keyboard alone, by the pointer, on a phone."""

import io
import json
import zipfile

import numpy as np
import pytest
from builders import load, write_nifti
from chromium import in_browser, started
from served import served, write_patient

from scarseg_jax.serving.uploads import Limits

pytestmark = in_browser
OPEN = "!document.querySelector('#desk').hidden"
# Where the focus is, and whether it can be seen: on the thing, or on the words around it.
FOCUS = """(() => {
  const here = document.activeElement, around = here.closest("label");
  const seen = [here, around].some((e) => e && getComputedStyle(e).outlineStyle !== "none");
  return [here.id || here.value || here.tagName.toLowerCase(), seen];
})()"""


@pytest.fixture(scope="module")
def page():
    with started() as page:
        yield page


@pytest.fixture
def client(tmp_path):
    with served(tmp_path / "private") as client:
        yield client


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    return write_patient(tmp_path_factory.mktemp("patient"))


def text(page, selector):
    return page.value(f"document.querySelector('{selector}').textContent")


def tab_to(page, name, *, back=False):
    """Presses Tab until something has the focus, which can be seen wherever it is."""
    for _ in range(60):
        page.press("Shift+Tab" if back else "Tab")
        here, seen = page.value(FOCUS)
        assert seen or here in ("body", "found"), here
        if here == name:
            return
    raise AssertionError(f"{name} is not reached")


def settled(page):
    page.value("chain")


def scar_of_slice(page):
    return page.value("state.outlines[z]")


def scarred(page):
    """Whether the pixels of row 36 and columns 29, 30 and 31 are outlined as scar."""
    return page.value("""[29, 30, 31].map((x) => document.querySelector("#stage .called")
      .isPointInFill(new DOMPoint(x + 0.5, 36.5)))""")


def opened(page, client, patient):
    client.opened(*patient[:2])
    page.errors.clear()
    page.asked.clear()
    page.open(client.address)
    page.wait(OPEN)


def test_a_patient_from_file_to_zip_by_keyboard_alone(page, client, patient):
    image, myocardium, _ = patient
    page.errors.clear()
    page.asked.clear()
    page.open(client.address)
    tab_to(page, "image")
    page.choose("#image", image)  # as the system's own dialogue would
    tab_to(page, "contours")
    page.choose("#contours", myocardium)
    tab_to(page, "summary")
    tab_to(page, "button")
    page.press("Enter")
    page.wait("document.activeElement.id === 'found'")
    assert not page.value("document.querySelector('#choose').open")
    page.wait("document.querySelector('#spoken').textContent.startsWith('Scar ')")

    # The brush: nothing in the cavity, then a line in the wall, undone and painted anew.
    tab_to(page, "add")
    tab_to(page, "stage")
    assert text(page, "#which").startswith("Slice 0: scar ")
    called = scar_of_slice(page)
    page.press(" ")
    settled(page)
    assert scar_of_slice(page) == called
    page.wait(
        "document.querySelector('#spoken').textContent.startsWith('Nothing painted')"
    )
    page.press("Shift+ArrowLeft", times=2)
    page.press("ArrowLeft")
    page.press("Enter")
    page.press("ArrowUp", times=6)
    page.press("Enter")
    settled(page)
    painted = scar_of_slice(page)
    assert painted != called
    assert text(page, "#corrected").startswith("By hand: ")
    page.press("Control+z")
    settled(page)
    assert scar_of_slice(page) == called
    page.press("PageDown", "+", " ")
    settled(page)
    assert text(page, "#width-said") == "5 mm"
    assert text(page, "#which").startswith("Slice 1: ")
    assert text(page, "#corrected").endswith("in slice 1.")
    page.press("e", " ")
    settled(page)
    assert page.value("document.querySelector('[name=tool]:checked').value") == "erase"
    assert text(page, "#corrected") == "Not corrected by hand."
    page.press("Control+z", times=2)

    # The septum, by which the bull's-eye is turned.
    assert "septum" in text(page, "#turned")
    page.press("i", "Shift+ArrowUp", " ")
    settled(page)
    assert text(page, "#turned") == "Turned by the anterior insertion, slice 1."

    # The sliders.
    before = text(page, "#scar_of_lv")
    tab_to(page, "threshold")
    page.press("Home")
    settled(page)
    assert (text(page, "#threshold-said"), text(page, "#scar_of_lv")) == (
        "0.01",
        "100.0 %",
    )
    tab_to(page, "own")
    page.press("Enter")
    settled(page)
    assert text(page, "#scar_of_lv") == before

    tab_to(page, "accept")
    page.press("Enter")
    settled(page)
    assert text(page, "#accept") == "Take it back"
    page.wait("document.querySelector('#spoken').textContent.includes('Accepted')")
    assert page.value("document.querySelector('#dicom-row').hidden")
    tab_to(page, "probability", back=True)
    page.press(" ")
    tab_to(page, "download")
    sent = page.value(
        "fetch(document.activeElement.href).then((r) => r.arrayBuffer())"
        ".then((b) => [...new Uint8Array(b)])"
    )
    archive = zipfile.ZipFile(io.BytesIO(bytes(sent)))
    assert "SCAR_probability.nii.gz" in archive.namelist()
    told = json.loads(archive.read("SCAR.json"))
    assert f"{told['numbers']['scar_mass_g']:.1f} g" == text(page, "#scar_mass")
    assert told["numbers"]["reference"]["source"].startswith("the anterior insertion")

    assert page.errors == []
    assert all(a.startswith((client.address, "data:")) for a in page.asked)


def test_a_right_ventricle_that_is_drawn_turns_the_segments(page, client, tmp_path):
    image, _, study = write_patient(tmp_path, slices=4)
    y, x = np.indices(study.image.shape[1:])
    beside = (np.hypot(y - 36, x - 41) * 2.5 < 40) & (x < 30)
    wall = np.asarray(study.myocardium)
    labels = np.where(wall, 200, np.where(np.asarray(study.cavity), 500, 600 * beside))
    drawn = tmp_path / "labels.nii"
    write_nifti(drawn, labels.astype(np.int16).T, load(image).affine)
    client.begin()
    for slot, path in (("image", image), ("contours", drawn)):
        assert client.send(slot, path, ".nii") == (200, {})
    assert client.read(kind="myops")[0] == 200
    page.errors.clear()
    page.open(client.address)
    page.wait(OPEN)
    assert text(page, "#turned") == (
        "Turned by a mask of the right ventricle in 4 slices."
    )
    page.value("document.querySelector('#accept').click()")
    settled(page)
    assert not page.value("document.querySelector('#download').hidden")
    assert page.errors == []


def test_the_pointer_paints_where_it_is(page, client, patient):
    opened(page, client, patient)
    page.value("document.querySelector('#stage').scrollIntoView()")
    # Where pixel (36, 30), in the wall at the left, is on the screen.
    x, y = page.value("""(() => {
      const [x, y] = toMm([36, 30]);
      const m = document.querySelector("#stage svg").getScreenCTM();
      const p = new DOMPoint(x, y).matrixTransform(m);
      return [p.x, p.y];
    })()""")
    page.value("document.querySelector('#width').value = 1")
    assert scarred(page) == [False, False, False]
    for kind in ("Pressed", "Moved", "Released"):
        page.pointer(kind, x, y)
    settled(page)
    assert scarred(page) == [False, True, False]
    drawn = page.value("document.querySelector('#stage .called').getAttribute('d')")
    assert drawn == scar_of_slice(page)
    page.value("document.querySelector('#clear').click()")
    settled(page)
    assert scarred(page) == [False, False, False]


def test_many_moves_of_a_slider_end_where_it_stands(page, client, patient):
    opened(page, client, patient)
    page.value("""(async () => {
      const slider = document.querySelector("#threshold");
      for (let i = 1; i < 60; i++) {
        slider.value = i / 100;
        slider.dispatchEvent(new Event("input"));
        if (i % 20 === 0) await new Promise((done) => setTimeout(done, 5));
      }
      await chain;
    })()""")
    assert page.value("state.threshold") == 0.59
    assert page.value("document.querySelector('#threshold').value") == "0.59"
    assert page.value("version") < 60
    assert text(page, "#error") == ""


def test_what_cannot_be_used_is_said_in_one_line(page, client, tmp_path):
    page.open(client.address)
    page.value("document.querySelector('#form button').click()")
    page.wait("!document.querySelector('#error').hidden")
    assert text(page, "#error") == "Image is missing; choose the image's file"
    bad = tmp_path / "Doe_Jane.nii.gz"
    bad.write_bytes(b"nothing")
    page.choose("#image", bad)
    page.value("document.querySelector('#form button').click()")
    page.wait(
        "document.querySelector('#error').textContent.startsWith('image.nii.gz: ')"
    )
    assert (
        page.value("document.querySelector('#error').getAttribute('role')") == "alert"
    )
    assert page.value("document.querySelector('#desk').hidden")


def test_too_much_is_refused_before_it_is_sent(page, tmp_path):
    large = tmp_path / "a.nii"
    large.write_bytes(bytes(2000))
    other = tmp_path / "b.nii"
    other.write_bytes(b"")
    with served(tmp_path / "private", limits=Limits(bytes=1000, files=1)) as client:
        page.open(client.address)
        page.asked.clear()
        for files, words in (([large], "larger than"), ([large, other], "more than 1")):
            page.choose("#image", *files)
            page.value("document.querySelector('#form button').click()")
            said = "document.querySelector('#error').textContent"
            page.wait(f"{said}.includes('{words}')")
        assert page.asked == []


def test_another_window_s_study_is_shown_instead_of_changed(page, client, patient):
    opened(page, client, patient)
    client.opened(*patient[:2])
    page.value("document.querySelector('#accept').click()")
    page.wait("document.querySelector('#error').textContent.includes('another window')")
    assert page.value("version") == client.ask("study")[1]["version"]
    assert text(page, "#accept") == "Accept"


def test_brightness_and_contrast_are_the_pictures_alone(page, client, patient):
    opened(page, client, patient)
    before = text(page, "#scar_mass"), scar_of_slice(page)
    for slider in ("bright", "contrast"):
        tab_to(page, slider)
        page.press("ArrowRight", times=4)
    assert text(page, "#contrast-said") == "120 %"
    shown = "getComputedStyle(document.querySelector('#stage image')).filter"
    assert page.value(shown) == "brightness(1.2) contrast(1.2)"
    settled(page)
    assert (text(page, "#scar_mass"), scar_of_slice(page)) == before


def test_the_least_scar_is_a_slider_too(page, client, patient):
    opened(page, client, patient)
    assert text(page, "#least-said") == "0 ml"
    tab_to(page, "least")
    page.press("End")
    settled(page)
    assert text(page, "#least-said") == "20 ml"
    assert text(page, "#scar_mass").startswith("0")
    assert "scar is too little to be called" in text(page, "#warnings")


@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_is_cut_at_the_side(page, client, patient, width):
    opened(page, client, patient)
    page.open(client.address, width=width, height=844)
    page.wait(OPEN)
    root = "document.documentElement"
    assert page.value(f"{root}.scrollWidth - {root}.clientWidth") == 0
    assert (
        page.value(
            "[...document.querySelectorAll('body *')].filter((e) => !e.closest('.unseen, .skip')"
            " && e.getBoundingClientRect().right > innerWidth + 1).length"
        )
        == 0
    )
    assert "For research. Not a medical device." in text(page, "header")
    assert page.errors == []
