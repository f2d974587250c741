from html.parser import HTMLParser

import numpy as np
import pytest

from scarseg_jax.errors import InputError
from scarseg_jax.judge import evaluate
from scarseg_jax.prepare.dataset import Slices
from scarseg_jax.show.run_report import write_report

NAME = "<script>alert('x')</script> & sons"


def write_results(directory, *, scarred=True, history=True, protocol=2, readers=None):
    """Writes a run of two patients: one with scar, one with a name of markup."""
    rng = np.random.default_rng(0)
    scar = np.zeros((4, 64, 64), bool)
    if scarred:
        scar[:2, 20:30, 20:30] = True
    slices = Slices(
        image=np.zeros((4, 64, 64, 1), np.float32),
        crop=rng.normal(100, 5, (4, 64, 64)).astype(np.float32),
        myocardium=np.ones((4, 64, 64), bool),
        scar=scar,
        patient=np.array(["a", "a", NAME, NAME]),
        slice=np.array([0, 1, 0, 1]),
        labelled=np.ones(4, bool),
        contained=np.ones(4, bool),
        centre_px=np.zeros((4, 2), np.float32),
        spacing_mm=np.ones((4, 3), np.float32),
        side_mm=np.full(4, 128, np.float32),
        pixel_mm=np.full(4, 2, np.float32),
        data_hash="none",
        readers=readers or {},
    )
    probability = np.zeros((1, 4, 64, 64), np.float32)
    probability[0, 0, 20:30, 20:28] = 0.9
    probability[0, 3, 5:10, 5:10] = 0.7
    summary = evaluate.evaluate(
        directory,
        slices,
        probability >= 0.5,
        probability=probability,
        fold=np.array([0, 0, 1, 1]),
        seeds=[0],
        about={
            "protocol": protocol,
            "variant": "seed",
            "source": "phantom",
            "selection": "validation",
            "optimism": {"last": 0.4, "validation": 0.5, "oracle": 0.6},
            "provenance": {"versions": {"jax": "1.2.3"}},
        },
    )
    if history:
        rows = [
            dict(
                zip(
                    evaluate.HISTORY_COLUMNS,
                    (0, 0, e, 5e-4, 1 / e, 0.3, 0.5, 0.4),
                    strict=True,
                )
            )
            for e in (1, 2)
        ]
        evaluate.write_history(directory, rows)
    return summary


class Page(HTMLParser):
    """Collects tags, and checks that they nest."""

    void = frozenset({"meta", "img", "br"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.void:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def page(tmp_path):
    summary = write_results(tmp_path / "results")
    write_report(tmp_path / "results", tmp_path / "report.html")
    return summary, Page((tmp_path / "report.html").read_text())


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
    summary, parsed = page
    text = "".join(parsed.words)
    dsc = summary["table1"]["dsc"]
    assert f"{100 * dsc['median']:.2f} ({100 * dsc['iqr']:.2f})" in text
    assert "71.25 (31.82)" in text  # the paper's, beside it
    # Missed and false on the cards, and of this run and at one half among methods.
    assert text.count("1 / 2") == 6
    assert text.count(evaluate.EMPTY_MASK_RULE) == 3
    assert "1.2.3" in text


@pytest.mark.parametrize(("scarred", "history"), [(False, True), (True, False)])
def test_a_run_without_scar_or_history_is_reported(tmp_path, scarred, history):
    write_results(tmp_path / "results", scarred=scarred, history=history, protocol=1)
    write_report(tmp_path / "results", tmp_path / "report.html")
    text = "".join(Page((tmp_path / "report.html").read_text()).words)
    assert ("No patient has scar" in text) is not scarred
    assert ("No history.csv" in text) is not history


@pytest.mark.parametrize("several", [True, False])
def test_readers_are_shown_where_there_are_several(tmp_path, several):
    row = {"sensitivity": 0.5, "specificity": None, "others": 0.75, "dice": 0.9}
    record = {"consensus": "staple", "scar": True, "dice": 0.8125, "slice_dsc": [0.7]}
    readers = {"a": record | {"readers": {NAME: row, "y": row}}} if several else None
    summary = write_results(tmp_path / "results", readers=readers)
    write_report(tmp_path / "results", tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text())
    text = " ".join("".join(page.words).split())
    for words in (
        "two readers agree to 0.812, one with the others' consensus to 0.750: the ceiling",
        "In 1 of 2 patients several readers drew the scar; the truth is STAPLE's",
        "3-D Dice of 0.812 ± \N{EN DASH} (mean ± SD over 1 patients with scar)",
        f"{NAME}10.900 50.00\N{EN DASH}0.750",
    ):
        assert (words in text) is several
    said = "3-D Dice of two readers with each other: 0.812, one with the others 0.750"
    assert (said in evaluate.headline(summary)) is several
    assert ("readers" in summary) is several


def test_the_same_results_make_the_same_page(tmp_path):
    write_results(tmp_path / "results")
    for name in ("one.html", "two.html"):
        write_report(tmp_path / "results", tmp_path / name)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


@pytest.mark.parametrize("name", ["summary.json", "slices.csv", "predictions.npz"])
def test_a_missing_file_is_named_and_no_page_is_left(tmp_path, name):
    write_results(tmp_path / "results")
    (tmp_path / "results" / name).unlink()
    with pytest.raises(InputError, match=f"{name}: no such file"):
        write_report(tmp_path / "results", tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_damaged_predictions_are_named(tmp_path):
    write_results(tmp_path / "results")
    (tmp_path / "results" / "predictions.npz").write_bytes(b"PK nonsense")
    with pytest.raises(InputError, match=r"predictions\.npz: damaged, "):
        write_report(tmp_path / "results", tmp_path / "report.html")
