import base64
import dataclasses
import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from scarseg_jax import evaluation
from scarseg_jax.errors import InputError
from scarseg_jax.judge import paired, tables
from scarseg_jax.judge.consensus import PatientReaders, ReaderScore
from scarseg_jax.judge.measures import DISTANCE_RULE
from scarseg_jax.judge.paired import Run
from scarseg_jax.judge.results import NativePictures
from scarseg_jax.judge.rules import EMPTY_MASK_RULE, POOLING_RULE
from scarseg_jax.judge.summary import judge
from scarseg_jax.show.pictures import outline
from scarseg_jax.show.run_report import write_report
from tests.builders import about, answers_of, plain_study, run_record, truth_of

NAME = "<script>alert('x')</script> & sons"


def make_run(directory, *, scarred=True, trained=True, protocol=2, readers=None):
    """Returns a run of two patients: one with a name of markup, one, a, with scar."""
    scar = np.zeros((4, 64, 64), bool)
    if scarred:
        scar[2:, 20:30, 20:30] = True
    studies = [plain_study(NAME, scar[:2]), plain_study("a", scar[2:])]
    truth = truth_of(studies, readers)
    probability = np.zeros((1, 4, 64, 64), np.float32)
    probability[0, 2, 20:30, 20:28] = 0.9
    probability[0, 1, 5:10, 5:10] = 0.7
    record = run_record(protocol=protocol) if trained else None
    judged = judge(
        truth,
        answers_of(truth, probability, fold=(0, 0, 1, 1)),
        dataclasses.replace(
            about(f"Protocol {protocol}", protocol=protocol), run=record
        ),
        record.history if record else (),
    )
    return Run(directory, judged)


def test_a_cascade_s_page_says_that_others_found_the_myocardium(tmp_path):
    run = make_run(tmp_path, protocol=3)
    record = run_record(finder="0" * 64, crop="myocardium")
    told = dataclasses.replace(run.results.summary.about, run=record)
    summary = dataclasses.replace(run.results.summary, about=told)
    results = dataclasses.replace(run.results, summary=summary)
    write_report(tmp_path / "page.html", Run(tmp_path, results), [], [])
    page = (tmp_path / "page.html").read_text()
    assert "inside the myocardium that other networks found" in page
    assert "found without contours" in page
    assert "cut out around the drawn one" not in page


def perfect(run, name):
    """Returns a method, without probabilities, that is right on a run's slices."""
    scar = run.results.pictures.scar
    truth = truth_of([plain_study(NAME, scar[:2]), plain_study("a", scar[2:])])
    said = scar[None].astype(np.float32)
    answers = answers_of(truth, said, fold=(0, 0, 1, 1), said=False)
    return Run(run.directory / name, judge(truth, answers, about(name)))


class Page(HTMLParser):
    """Collects tags, words and cells, and checks that tags nest."""

    void = frozenset({"meta", "img", "br", "input"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.tables: dict[str | None, list[list[str]]] = {}
        self.scripts: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.rows = self.tables.setdefault(dict(attrs).get("id"), [])
        elif tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append("")
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def all(self, tag, **attributes):
        """The attributes of tags that have these."""
        return [a for t, a in self.tags if t == tag and attributes.items() <= a.items()]

    def handle_endtag(self, tag):
        if tag not in self.void:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if "td" in self.open:
            self.rows[-1][-1] += data
        elif self.open[-1:] == ["script"]:
            self.scripts.append(data)

    @property
    def text(self):
        """What it says, in single spaces."""
        return " ".join("".join(self.words).split())


def page_of(run, *others):
    """Writes the page of a run and others beside it, and reads it."""
    path = run.directory / "report.html"
    write_report(path, run, others, paired.compare(run, others))
    return Page(path.read_text())


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("run"))
    return run, page_of(run)


def test_every_picture_is_inside_and_has_a_description(page):
    small = [a for a in page[1].all("svg", role="img") if a.get("id") != "slice"]
    # A missed and a false scar; both slices of the only patient with scar, three times.
    assert len(small) == 2 + 3 * 2
    assert [a["aria-label"] for a in small[:2]] == [
        "a, slice 1: 100 mm²",
        f"{NAME}, slice 1: 25 mm²",
    ]
    images = [a["href"] for a in page[1].all("image") if "href" in a]
    assert len(images) == len(small)
    assert all(source.startswith("data:image/png;base64,") for source in images)
    assert not page[1].all("img")
    addresses = [a.get("href") or a.get("src") for _, a in page[1].tags]
    assert not [
        one for one in addresses if one and one[:5] not in ("data:",) and one[0] != "#"
    ]


def test_names_are_text_never_markup(page):
    text = "".join(page[1].words)
    assert NAME in text
    scripts = [attrs.get("type") for tag, attrs in page[1].tags if tag == "script"]
    assert scripts == ["application/json", None]


def test_the_figures_are_those_of_the_summary(page):
    run, parsed = page
    text = "".join(parsed.words)
    dsc = run.results.summary.native.dsc
    assert f"{100 * dsc.median:.2f} ({100 * dsc.iqr:.2f})" in text
    assert "71.25 (31.82)" in text  # the paper's, beside it
    # Missed and false on the cards, and of this run and at one half among methods.
    assert text.count("1 / 2") == 6
    for rule in (EMPTY_MASK_RULE, POOLING_RULE, DISTANCE_RULE):
        assert text.count(rule) == 1
    assert "1.2.3" in text


def test_both_grids_are_in_the_papers_table_and_the_own_grid_elsewhere(tmp_path):
    run, right = make_run(tmp_path), perfect(make_run(tmp_path), "otsu")
    summary = dataclasses.replace(
        run.results.summary,
        crop=right.results.summary.native,
        crop_at_half=right.results.summary.native,
    )
    found = dataclasses.replace(run.results, summary=summary)
    parsed = page_of(Run(tmp_path, found))
    own = [getattr(summary.native, name) for name in ("acc", "sp", "se", "dsc")]
    cells = [f"{100 * c.median:.2f} ({100 * c.iqr:.2f})" for c in own]
    assert ["This run, on the images' own grids", *cells] in parsed.tables[None]
    papers = ["This run, on the crop's 64 x 64 pixels", *["100.00 (0.00)"] * 4]
    assert papers in parsed.tables[None]
    assert parsed.text.count("1 / 2") == 6
    assert "true scar of the slice, mm²" in parsed.text  # the plot is native, too


def test_each_network_is_shown_with_when_it_calls_scar(page):
    for fold in ("0", "1"):
        assert [fold, "0", "0.35", "4.5"] in page[1].tables[None]


@pytest.mark.parametrize(("scarred", "trained"), [(False, True), (True, False)])
def test_a_run_without_scar_or_history_is_reported(tmp_path, scarred, trained):
    run = make_run(tmp_path, scarred=scarred, trained=trained, protocol=1)
    text = "".join(page_of(run).words)
    assert ("No patient has scar" in text) is not scarred
    assert ("No history.csv" in text) is not trained


@pytest.mark.parametrize("several", [True, False])
def test_readers_are_shown_where_there_are_several(tmp_path, several):
    score = ReaderScore(dice=0.9, sensitivity=0.5, specificity=None, others=0.75)
    of_a = PatientReaders("staple", True, 0.8125, (0.7,), {NAME: score, "y": score})
    run = make_run(tmp_path, readers={"a": of_a} if several else None)
    page = page_of(run)
    for words in (
        "two readers agree to 0.812, one with what both others marked to 0.750",
        "In 1 of 2 patients several readers drew the scar; the truth is STAPLE's",
        "3-D Dice of 0.812 ± \N{EN DASH} (mean ± SD over 1 patient with scar)",
        f"{NAME}10.900 50.00\N{EN DASH}0.750",
    ):
        assert (words in page.text) is several


def test_methods_beside_the_run_are_rows_of_the_table(tmp_path):
    run = make_run(tmp_path)
    _, *rows = page_of(run, perfect(run, NAME)).tables["methods"]
    names = ["This run", "This run at 0.5, any area", NAME]
    assert [row[0] for row in rows] == names
    # The median of two slices, and its interval where there are enough patients.
    assert [row[1] for row in rows] == ["44.4", "44.4", "100.0"]
    assert [row[3] for row in rows] == ["1 / 2", "1 / 2", "0 / 2"]
    # p of the slices of one patient, and of that better patient: both 2 / 2**1.
    assert [row[9:] for row in rows] == [["\N{EN DASH}"] * 2] * 2 + [["1", "1"]]


def test_the_page_says_how_the_run_stands_against_the_best_without_training(tmp_path):
    run = make_run(tmp_path)
    assert "No other method stands beside this run" in page_of(run).text
    worse = Run(tmp_path / "same", make_run(tmp_path, trained=False).results)
    text = page_of(run, worse, perfect(run, NAME)).text
    assert (
        f"Against the best of 2 methods beside it, {NAME}: 3-D Dice 0.571 and"
        " 1.000, median slice DSC 44.4 and 100.0 %; patient by patient no significant"
        " difference (Wilcoxon, 1 patient with scar, p = 1 by Holm's correction)"
    ) in text


@pytest.mark.parametrize(("better", "word"), [(True, "better"), (False, "worse")])
def test_a_significant_difference_is_called_by_its_direction(tmp_path, better, word):
    run = make_run(tmp_path)
    other = perfect(run, "otsu")
    (test,) = paired.compare(run, [other])
    by = dataclasses.replace(test.patients, median_difference=-0.1 if better else 0.1)
    test = dataclasses.replace(test, patients=by, patients_p_holm=0.0004)
    write_report(tmp_path / "page.html", run, [other], [test])
    text = Page((tmp_path / "page.html").read_text()).text
    assert (
        f"this run is significantly {word} (Wilcoxon, 1 patient with scar, p < 0.001"
        in text
    )


def test_patients_are_rows_of_volumes_and_distances(page):
    _, *rows = page[1].tables["patients"]
    found = page[0].results.patients
    assert [row[0] for row in rows] == [NAME, "a"]
    # Slices, with scar, true and called ml, and per cent of 8,192 pixels.
    assert rows[0][3:9] == ["2", "0", "0.0", "0.0", "0.0", "0.3"]
    assert rows[1][3:9] == ["2", "2", "0.2", "0.1", "2.4", "1.0"]
    assert rows[1][9:11] == ["0.571", f"{found[1].size.hd95_mm:.1f}"]
    assert rows[0][10] == "\N{EN DASH}†"  # one without the other
    links = [a["data-at"] for a in page[1].all("a") if "data-at" in a]
    assert links[-2:] == ["0", "2"]  # their first slices


def test_what_failed_opens_its_slice_in_the_viewer(page):
    data = json.loads(page[1].scripts[0])
    at = [int(a["data-at"]) for a in page[1].all("a") if "data-at" in a][:2]
    assert [data["slices"][i]["failure"] for i in at] == ["missed", "false"]
    assert [(data["slices"][i]["patient"], data["slices"][i]["slice"]) for i in at] == [
        ("a", 1),
        (NAME, 1),
    ]


def test_failures_of_several_seeds_are_those_of_the_cards(tmp_path):
    one, other = make_run(tmp_path).results, perfect(make_run(tmp_path), "x").results
    rows = [dataclasses.replace(row, seed=1) for row in other.slices]
    tally = dataclasses.replace(one.summary.native.failures.missed, of_slices=4)
    failures = dataclasses.replace(one.summary.native.failures, missed=tally)
    native = dataclasses.replace(one.summary.native, failures=failures)
    summary = dataclasses.replace(one.summary, seeds=(0, 1), native=native)
    both = dataclasses.replace(one, slices=(*one.slices, *rows), summary=summary)
    text = page_of(Run(tmp_path, both)).text
    assert "1 / 4slices \N{MULTIPLICATION SIGN} seeds with scar, none called" in text
    assert "Scar missed: 1 slice (1 slice \N{MULTIPLICATION SIGN} seed)" in text
    assert "a, slice 1100 mm², 1 of 2 seeds" in text
    assert "called scar by both seeds" in text


def test_the_contents_lead_to_every_section(page):
    sections = [a["id"] for a in page[1].all("section")]
    links = [
        a["href"][1:]
        for a in page[1].all("a")
        if "data-at" not in a and "class" not in a
    ]
    assert links[: len(sections)] == sections
    assert set(links) <= set(sections)


def test_it_says_that_it_is_no_medical_device(page):
    assert page[1].text.startswith("Scar segmentation, Protocol 2")
    assert page[1].text.count("For research. Not a medical device.") == 2


def test_the_viewer_has_every_slice_under_the_masks_of_each_method(tmp_path):
    run = make_run(tmp_path)
    right = perfect(run, NAME)
    order = [3, 1, 0, 2]  # another than the run's
    mixed = {k: v[order] for k, v in vars(right.results.native_pictures).items()}
    mixed = dataclasses.replace(right.results, native_pictures=NativePictures(**mixed))
    data = json.loads(page_of(run, Run(right.directory, mixed)).scripts[0])
    assert data["layers"] == ["Truth", "This run", "Myocardium", NAME]
    own = run.results.native_pictures
    masks = (own.scar, own.called, own.myocardium, own.scar)
    names = [(NAME, 0), (NAME, 1), ("a", 0), ("a", 1)]
    for i, (shown, name) in enumerate(zip(data["slices"], names, strict=True)):
        assert (shown["patient"], shown["slice"]) == name
        assert shown["outlines"] == [outline(mask[i]) for mask in masks]
        assert (shown["size"], shown["mm"]) == ([64, 64], [1, 1])
        assert shown["marks"] == own.marks[i].tolist()
        png = base64.b64decode(shown["image"].removeprefix("data:image/png;base64,"))
        np.testing.assert_array_equal(Image.open(io.BytesIO(png)), own.image[i])
    folds = [shown["fold"] for shown in data["slices"]]
    assert folds == [0, 0, 1, 1]
    # Area in mm2 and Dice, which a slice without scar has not.
    none = "\N{EN DASH}"
    assert [s["figures"][:2] for s in data["slices"]] == [
        [["0", ""], ["0", none]],
        [["0", ""], ["25", none]],
        [["100", ""], ["80", "88.9"]],
        [["100", ""], ["0", "0.0"]],
    ]
    assert data["slices"][0]["figures"][2] == ["4096", ""]


def test_pictures_of_other_windows_are_refused_by_name(tmp_path):
    run = make_run(tmp_path)
    other = perfect(run, "otsu")
    pictures = other.results.native_pictures
    moved = dataclasses.replace(pictures, top_left_px=pictures.top_left_px + 1)
    other = Run(
        other.directory, dataclasses.replace(other.results, native_pictures=moved)
    )
    with pytest.raises(InputError, match="otsu: its pictures are of other slices or"):
        page_of(run, other)


def test_the_same_results_make_the_same_page(tmp_path, page):
    before = (page[0].directory / "report.html").read_bytes()
    write_report(tmp_path / "again.html", make_run(tmp_path))
    assert (tmp_path / "again.html").read_bytes() == before


def test_results_that_were_kept_make_the_page_of_those_that_were_not(tmp_path, page):
    tables.write(tmp_path / "results", page[0].results)
    again = evaluation.report(tmp_path)
    assert again.read_bytes() == (page[0].directory / "report.html").read_bytes()


@pytest.mark.parametrize(
    "name",
    ["summary.json", "slices.csv", "patients.csv", "predictions.npz", "native.npz"],
)
def test_a_missing_file_is_named_and_no_page_is_left(tmp_path, name):
    tables.write(tmp_path / "results", make_run(tmp_path).results)
    (tmp_path / "results" / name).unlink()
    with pytest.raises(InputError, match=f"{name}: no such file"):
        evaluation.report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_damaged_predictions_are_named(tmp_path):
    tables.write(tmp_path / "results", make_run(tmp_path).results)
    (tmp_path / "results" / "predictions.npz").write_bytes(b"PK nonsense")
    with pytest.raises(InputError, match=r"predictions\.npz: damaged, "):
        evaluation.report(tmp_path)
