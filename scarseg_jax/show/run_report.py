"""One self-contained HTML page from the results of a run, and of others beside it."""

import base64
import dataclasses
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from scarseg_jax import files
from scarseg_jax.judge.paired import Comparison, Run
from scarseg_jax.judge.results import (
    Figures,
    PatientRow,
    Pictures,
    Results,
    Summary,
)
from scarseg_jax.judge.tables import row_floats
from scarseg_jax.show import figures

# Paper, Table 1: median and inter-quartile range, per cent.
PAPER = {
    1: {
        "acc": (95.79, 3.55),
        "sp": (97.31, 3.01),
        "se": (68.77, 34.83),
        "dsc": (54.00, 41.03),
    },
    2: {
        "acc": (96.83, 3.26),
        "sp": (97.89, 2.93),
        "se": (88.07, 17.84),
        "dsc": (71.25, 31.82),
    },
}
# Paper, section 4: slices and patients with missed, and with false scar.
PAPER_FAILURES = {1: ((17, 7), (21, 10)), 2: ((2, 1), (28, 11))}
_MOST_FAILURES_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class _Method:
    """A row of the table of methods; without a summary, of this run's at one half."""

    name: str
    figures: Figures
    summary: Summary | None = None
    test: Comparison | None = None


def write_report(
    output: Path,
    run: Run,
    others: Sequence[Run] = (),
    compared: Sequence[Comparison] = (),
) -> None:
    """Writes the page.

    Args:
      output: The HTML file.
      run: What it is about.
      others: Methods on the same slices, to set beside.
      compared: Each with the run.
    """
    results = run.results
    summary, about = results.summary, results.summary.about
    true_px, dsc = (
        row_floats(results.slices, "native", name) for name in ("true_px", "dsc")
    )
    scarred = true_px > 0
    boxes = {
        name: row_floats(results.slices, "native", name.lower())[
            scarred if name in ("Se", "DSC") else slice(None)
        ]
        for name in ("Acc", "Sp", "Se", "DSC")
    }
    history = results.history
    record = dataclasses.asdict(about.run) if about.run else {}
    page = _template().render(
        summary=summary,
        about=about,
        run=about.run,
        paper=PAPER.get(about.protocol, {}),
        paper_failures=PAPER_FAILURES.get(about.protocol),
        patients=results.patients,
        curves=Markup(figures.training_curves(history)) if history else None,
        boxes=Markup(figures.box_plots(boxes)),
        sizes=Markup(figures.dice_against_size(true_px[scarred], dsc[scarred])),
        examples=_examples(results.patients, results.pictures),
        failures=_failures(results.pictures),
        methods=_methods(run, others, compared),
        sizes_agree=_sizes(results),
        viewer=_viewer(results.pictures, others),
        provenance=_flat(
            {k: v for k, v in record.items() if k not in ("members", "history")}
        ),
    )
    files.write_text(output, page)


def _methods(
    run: Run, others: Sequence[Run], compared: Sequence[Comparison]
) -> list[_Method]:
    """Returns the rows of the table of methods: this run and the others."""
    summary = run.results.summary
    rows = [_Method("This run", summary.native, summary)]
    if summary.native_at_half:
        rows.append(_Method("This run at 0.5, any area", summary.native_at_half))
    for other, test in zip(others, compared, strict=True):
        own = other.results.summary
        rows.append(_Method(own.about.name, own.native, own, test))
    return rows


def _sizes(results: Results) -> Markup | None:
    """Returns the plot of called against true scar, where the myocardium is known."""
    agreement = results.summary.percent_lv
    if agreement is None:
        return None
    sizes: dict[str, list[tuple[float, float]]] = {}
    pairs = zip(
        row_floats(results.patients, "size", "true_percent_lv"),
        row_floats(results.patients, "size", "called_percent_lv"),
        strict=True,
    )
    for row, pair in zip(results.patients, pairs, strict=True):
        sizes.setdefault(row.patient, []).append(pair)
    true, called = np.array([np.mean(own, axis=0) for own in sizes.values()]).T
    return Markup(figures.bland_altman_plot(true, called, agreement.bland_altman))


def _viewer(pictures: Pictures, others: Sequence[Run]) -> dict:
    """Returns what the page needs to show every slice with every method."""
    order = np.lexsort((pictures.slice, pictures.patient))
    layers = [
        ("Truth", pictures.scar),
        ("This run", pictures.called),
        ("Myocardium", pictures.myocardium),
    ]
    key = list(zip(pictures.patient, pictures.slice, strict=True))
    for other in others:
        theirs = other.results.pictures
        keys = zip(theirs.patient, theirs.slice, strict=True)
        place = {k: i for i, k in enumerate(keys)}
        layers.append((other.about.name, theirs.called[[place[k] for k in key]]))
    return {
        "columns": figures.ATLAS_COLUMNS,
        "size": pictures.crop.shape[1],
        "slices": [[str(key[i][0]), int(key[i][1])] for i in order],
        "image": _data_uri(figures.atlas(pictures.crop[order])),
        "layers": [
            {"name": name, "src": _data_uri(figures.atlas(mask[order]))}
            for name, mask in layers
        ],
    }


def _template() -> jinja2.Template:
    folder = resources.files("scarseg_jax.show")
    text = folder.joinpath("run_report.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["percent"] = lambda v: (
        "\N{EN DASH}" if v is None else f"{100 * v:.2f}"
    )
    environment.filters["number"] = lambda v, digits: (
        "\N{EN DASH}" if v is None else f"{v:.{digits}f}"
    )
    return environment.from_string(text)


def _examples(patients: Sequence[PatientRow], pictures: Pictures) -> list:
    """Returns the sheets of the best, the median and the worst patient."""
    scores: dict[str, list[float]] = {}
    for row in patients:
        if row.native.true_px and row.native.dsc is not None:
            scores.setdefault(row.patient, []).append(row.native.dsc)
    ranked = sorted(scores, key=lambda name: (np.mean(scores[name]), name))
    if not ranked:
        return []
    chosen = {
        "Worst": ranked[0],
        "Median": ranked[(len(ranked) - 1) // 2],
        "Best": ranked[-1],
    }
    sheets = []
    for rank, name in chosen.items():
        which = np.flatnonzero(pictures.patient == name)
        titles = [f"slice {z}" for z in pictures.slice[which]]
        dice = 100 * np.mean(scores[name])
        sheets.append(
            {
                "title": f"{rank}: {name}, 3-D Dice {dice:.1f} %",
                "image": _sheet(pictures, which, titles),
            }
        )
    return sheets


def _failures(pictures: Pictures) -> list:
    """Returns the sheets of missed scars, largest first, and of false ones."""
    true_px = pictures.scar.sum(axis=(1, 2))
    called_px = pictures.called.sum(axis=(1, 2))
    sheets = []
    for title, size, failed in (
        ("Scar missed", true_px, (true_px > 0) & (called_px == 0)),
        ("Scar where there is none", called_px, (true_px == 0) & (called_px > 0)),
    ):
        which = np.flatnonzero(failed)
        order = which[np.argsort(-size[which], kind="stable")]
        shown = order[:_MOST_FAILURES_SHOWN]
        if not shown.size:
            continue
        titles = [
            f"{pictures.patient[i]}, {pictures.slice[i]}: {size[i]} px" for i in shown
        ]
        sheets.append(
            {
                "title": f"{title}: the largest {len(shown)} of {len(which)} slices",
                "image": _sheet(pictures, shown, titles),
            }
        )
    return sheets


def _sheet(pictures: Pictures, which, titles) -> str:
    png = figures.overlays(
        pictures.crop[which], pictures.scar[which], pictures.called[which], titles
    )
    return _data_uri(png)


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _flat(tree: dict, prefix: str = "") -> list[tuple[str, str]]:
    """Returns nested settings as (dotted name, value) pairs."""
    pairs = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            pairs += _flat(value, f"{name}.")
        else:
            pairs.append((name, str(value)))
    return pairs
