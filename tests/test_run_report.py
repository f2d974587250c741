import base64
import dataclasses
import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from scarseg_jax import experiment
from scarseg_jax.errors import InputError
from scarseg_jax.judge import paired, tables
from scarseg_jax.judge.consensus import PatientReaders, ReaderScore
from scarseg_jax.judge.paired import Run
from scarseg_jax.judge.results import Pictures
from scarseg_jax.judge.summary import EMPTY_MASK_RULE, judge
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


def perfect(run, name):
    """Returns a method, without probabilities, that is right on a run's slices."""
    scar = run.results.pictures.scar
    truth = truth_of([plain_study(NAME, scar[:2]), plain_study("a", scar[2:])])
    said = scar[None].astype(np.float32)
    answers = answers_of(truth, said, fold=(0, 0, 1, 1), said=False)
    return Run(run.directory / name, judge(truth, answers, about(name)))


class Page(HTMLParser):
    """Collects tags, words and cells, and checks that tags nest."""

    void = frozenset({"meta", "img", "br"})

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


def test_every_image_is_inside_and_has_a_description(page):
    images = [attrs for tag, attrs in page[1].tags if tag == "img"]
    # Missed, false; worst, median and best patient: the only one with scar.
    assert len(images) == 5
    for attrs in images:
        assert attrs["src"].startswith("data:image/png;base64,")
        assert attrs["alt"]
    assert not [attrs for _, attrs in page[1].tags if "http" in str(attrs.get("src"))]


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
    assert text.count(EMPTY_MASK_RULE) == 3
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
    assert "true scar, pixels of the image" in parsed.text  # the plot is native, too


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
        "two readers agree to 0.812, one with the others' consensus to 0.750: the ceiling",
        "In 1 of 2 patients several readers drew the scar; the truth is STAPLE's",
        "3-D Dice of 0.812 ± \N{EN DASH} (mean ± SD over 1 patients with scar)",
        f"{NAME}10.900 50.00\N{EN DASH}0.750",
    ):
        assert (words in page.text) is several


def test_methods_beside_the_run_are_rows_of_the_table(tmp_path):
    run = make_run(tmp_path)
    _, *rows = page_of(run, perfect(run, NAME)).tables["methods"]
    names = ["This run", "This run at 0.5, any area", NAME]
    assert [row[0] for row in rows] == names
    assert [row[1] for row in rows] == ["44.44", "44.44", "100.00"]
    assert [row[5] for row in rows] == ["1 / 2", "1 / 2", "0 / 2"]
    # p of two better slices, and of one better patient: 2 / 2**2 and 2 / 2**1.
    assert [row[11:] for row in rows] == [["\N{EN DASH}"] * 2] * 2 + [["0.5", "1"]]


def test_the_viewer_has_every_slice_under_the_masks_of_each_method(tmp_path):
    run = make_run(tmp_path)
    right = perfect(run, NAME)
    pictures = right.results.pictures
    order = [3, 1, 0, 2]  # another than the run's
    mixed = {k: v[order] for k, v in vars(pictures).items() if v is not None}
    mixed = dataclasses.replace(right.results, pictures=Pictures(**mixed))
    other = Run(right.directory, mixed)
    data = json.loads(page_of(run, other).scripts[0])
    assert data["slices"] == [[NAME, 0], [NAME, 1], ["a", 0], ["a", 1]]
    drawn = {layer["name"]: tiles(layer["src"], data) > 0 for layer in data["layers"]}
    assert list(drawn) == ["Truth", "This run", "Myocardium", NAME]
    own = run.results.pictures
    np.testing.assert_array_equal(drawn["Truth"], own.scar)
    np.testing.assert_array_equal(drawn["This run"], own.called)
    np.testing.assert_array_equal(drawn["Myocardium"], own.myocardium)
    np.testing.assert_array_equal(drawn[NAME], own.scar)


def tiles(source, data):
    """The first 4 slices of an atlas."""
    png = base64.b64decode(source.removeprefix("data:image/png;base64,"))
    row = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    assert row.shape == (data["size"], data["size"] * data["columns"])
    return np.stack(np.split(row, data["columns"], axis=1)[:4])


def test_the_same_results_make_the_same_page(tmp_path, page):
    before = (page[0].directory / "report.html").read_bytes()
    write_report(tmp_path / "again.html", make_run(tmp_path))
    assert (tmp_path / "again.html").read_bytes() == before


def test_results_that_were_kept_make_the_page_of_those_that_were_not(tmp_path, page):
    tables.write(tmp_path / "results", page[0].results)
    again = experiment.report(tmp_path)
    assert again.read_bytes() == (page[0].directory / "report.html").read_bytes()


@pytest.mark.parametrize(
    "name", ["summary.json", "slices.csv", "patients.csv", "predictions.npz"]
)
def test_a_missing_file_is_named_and_no_page_is_left(tmp_path, name):
    tables.write(tmp_path / "results", make_run(tmp_path).results)
    (tmp_path / "results" / name).unlink()
    with pytest.raises(InputError, match=f"{name}: no such file"):
        experiment.report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_damaged_predictions_are_named(tmp_path):
    tables.write(tmp_path / "results", make_run(tmp_path).results)
    (tmp_path / "results" / "predictions.npz").write_bytes(b"PK nonsense")
    with pytest.raises(InputError, match=r"predictions\.npz: damaged, "):
        experiment.report(tmp_path)
