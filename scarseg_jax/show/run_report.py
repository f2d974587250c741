"""One self-contained HTML page from the results of a run, and of others beside it.

It says what the results hold and computes no statistics of its own.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from scarseg_jax import files
from scarseg_jax.judge.paired import ALPHA, Comparison, Run
from scarseg_jax.judge.results import Figures, Results, Summary
from scarseg_jax.judge.tables import row_floats
from scarseg_jax.show import figures, sheets
from scarseg_jax.show.pages import part, template
from scarseg_jax.show.viewer import area_mm2, in_order, viewer

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
_LONG = ("members", "history", "fingerprints")  # too long to be read


@dataclasses.dataclass(frozen=True)
class _Method:
    """A row of the table of methods; without a summary, of this run's at one half."""

    name: str
    figures: Figures
    summary: Summary | None = None
    test: Comparison | None = None


@dataclasses.dataclass(frozen=True)
class _Standing:
    """How the run stands against the best method beside it.

    Attributes:
      best: The one with the highest mean 3-D Dice.
      of: How many there are.
      test: Of the run with it.
      verdict: In words, by patients.
    """

    best: Summary
    of: int
    test: Comparison
    verdict: str


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

    Raises:
      InputError: If another's pictures do not fit the run's.
    """
    results = run.results
    summary, about = results.summary, results.summary.about
    record = dataclasses.asdict(about.run) if about.run else {}
    page = template("run_report.html.jinja").render(
        style=part("run_report.css"),
        script=part("sortable.js") + part("run_report.js"),
        summary=summary,
        about=about,
        run=about.run,
        paper=PAPER.get(about.protocol, {}),
        paper_failures=PAPER_FAILURES.get(about.protocol),
        patients=results.patients,
        first_slice=sheets.first_slice(results.patients, results.native_pictures),
        examples=sheets.examples(results),
        failures=sheets.failures(results),
        methods=_methods(run, others, compared),
        standing=_standing(others, compared),
        plots=_plots(results),
        viewer=viewer(run, others),
        provenance=_flat({k: v for k, v in record.items() if k not in _LONG}),
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


def _standing(
    others: Sequence[Run], compared: Sequence[Comparison]
) -> _Standing | None:
    """Returns how the run stands; None without a method to stand against."""
    beside = [
        (dice, other.results.summary, test)
        for other, test in zip(others, compared, strict=True)
        if (dice := other.results.summary.native.dice_3d_mean.mean) is not None
    ]
    if not beside:
        return None
    _, best, test = max(beside, key=lambda one: one[0])
    verdict = "no significant difference"
    if test.patients_p_holm < ALPHA:
        better = test.patients.median_difference < 0  # the other's less the run's
        verdict = f"this run is significantly {'better' if better else 'worse'}"
    return _Standing(best, len(beside), test, verdict)


def _plots(results: Results) -> dict[str, Markup | None]:
    """Returns the plots, by name; None of what there are no figures for."""
    rows, history = results.slices, results.history
    true_px, dsc = (row_floats(rows, "native", name) for name in ("true_px", "dsc"))
    scarred = true_px > 0
    boxes = {
        name: row_floats(rows, "native", name.lower())[
            scarred if name in ("Se", "DSC") else slice(None)
        ]
        for name in ("Acc", "Sp", "Se", "DSC")
    }
    pictures = results.native_pictures
    order = in_order(pictures)
    mm2 = [
        area_mm2(row.native.true_px, pictures.pixel_mm[order[row.patient, row.slice]])
        for row in rows
    ]
    drawn = {
        "boxes": figures.box_plots(boxes),
        "dice": figures.dice_against_size(np.array(mm2)[scarred], dsc[scarred]),
        "curves": figures.training_curves(history) if history else None,
        "volume": _agreement(results, "ml", "ml"),
        "percent": _agreement(results, "percent_lv", "% of LV"),
    }
    return {name: svg and Markup(svg) for name, svg in drawn.items()}


def _agreement(results: Results, size: str, unit: str) -> str | None:
    """Returns the plot of called against true scar sizes, where they are known.

    Args:
      results: Of the run.
      size: "ml" or "percent_lv".
      unit: Of it.
    """
    summary = results.summary
    agreement = summary.volume_ml if size == "ml" else summary.percent_lv
    if agreement is None:
        return None
    sizes: dict[str, list[tuple[float, float]]] = {}
    pairs = zip(
        row_floats(results.patients, "size", f"true_{size}"),
        row_floats(results.patients, "size", f"called_{size}"),
        strict=True,
    )
    for row, pair in zip(results.patients, pairs, strict=True):
        sizes.setdefault(row.patient, []).append(pair)
    true, called = np.array([np.mean(own, axis=0) for own in sizes.values()]).T
    return figures.bland_altman_plot(true, called, agreement.bland_altman, unit)


def _flat(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Returns nested settings as (dotted name, value) pairs."""
    pairs = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            pairs += _flat(value, f"{name}.")
        else:
            pairs.append((name, str(value)))
    return pairs
