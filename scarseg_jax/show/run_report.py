"""One self-contained HTML page from the result files."""

import base64
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from scarseg_jax.compare import compare_all
from scarseg_jax.judge.evaluate import (
    read_predictions,
    read_summary,
    read_table,
    write_text,
)
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


def write_report(results: Path, output: Path) -> None:
    """Writes the page.

    Args:
      results: The folder that `evaluate.evaluate` filled.
      output: The HTML file.

    Raises:
      InputError: If a result file is missing or damaged.
    """
    slices = read_table(results / "slices.csv")
    patients = read_table(results / "patients.csv")
    history = (
        read_table(results / "history.csv")
        if (results / "history.csv").is_file()
        else []
    )
    summary = read_summary(results / "summary.json")
    predictions = read_predictions(results / "predictions.npz")
    predicted = predictions["called"]

    baselines = sorted((results.parent / "baselines").glob("*/results/summary.json"))
    columns = {
        name: np.array([float(row[name] or "nan") for row in slices])
        for name in ("acc", "se", "sp", "dsc", "true_px")
    }
    scarred = columns["true_px"] > 0
    boxes = {
        "Acc": columns["acc"],
        "Sp": columns["sp"],
        "Se": columns["se"][scarred],
        "DSC": columns["dsc"][scarred],
    }
    page = _template().render(
        summary=summary,
        paper=PAPER.get(summary["protocol"], {}),
        paper_failures=PAPER_FAILURES.get(summary["protocol"]),
        patients=[_patient(row) for row in patients],
        curves=Markup(figures.training_curves(history)) if history else None,
        boxes=Markup(figures.box_plots(boxes)),
        sizes=Markup(
            figures.dice_against_size(
                columns["true_px"][scarred], columns["dsc"][scarred]
            )
        ),
        examples=_examples(patients, predictions, predicted),
        failures=_failures(predictions, predicted),
        methods=_methods(results.parent, summary, [b.parents[1] for b in baselines]),
        sizes_agree=_sizes(patients, summary),
        viewer=_viewer(predictions, [b.parent for b in baselines]),
        decisions=summary.get("decisions", []),
        provenance=_flat(summary.get("provenance", {})),
    )
    write_text(output, page)


def _methods(workdir: Path, summary: dict, others: list[Path]) -> list[dict]:
    """Returns the rows of the table of methods: this run and the baselines."""
    rows = [{"name": "This run", **summary}]
    if "at_half" in summary:
        rows.append({"name": "This run at 0.5, any area", **summary["at_half"]})
    tests = compare_all(workdir, others) if others else []
    for other, test in zip(others, tests, strict=True):
        own = read_summary(other / "results" / "summary.json")
        rows.append({"name": own["variant"], **own, "test": test})
    return rows


def _sizes(patients: list[dict], summary: dict) -> Markup | None:
    """Returns the plot of called against true scar, where the myocardium is known."""
    if not summary.get("percent_lv"):
        return None
    sizes: dict[str, list[tuple[float, float]]] = {}
    for row in patients:
        pair = float(row["true_percent_lv"]), float(row["called_percent_lv"])
        sizes.setdefault(row["patient"], []).append(pair)
    true, called = np.array([np.mean(pairs, axis=0) for pairs in sizes.values()]).T
    return Markup(figures.bland_altman_plot(true, called, summary["percent_lv"]))


def _viewer(predictions: dict, baselines: list[Path]) -> dict:
    """Returns what the page needs to show every slice with every method."""
    order = np.lexsort((predictions["slice"], predictions["patient"]))
    layers = [
        ("Truth", predictions["scar"]),
        ("This run", predictions["called"]),
        ("Myocardium", predictions["myocardium"]),
    ]
    key = list(zip(predictions["patient"], predictions["slice"], strict=True))
    for results in baselines:
        other = read_predictions(results / "predictions.npz")
        place = {
            k: i
            for i, k in enumerate(zip(other["patient"], other["slice"], strict=True))
        }
        called = other["called"][[place[k] for k in key]]
        name = read_summary(results / "summary.json")["variant"]
        layers.append((name, called))
    return {
        "columns": figures.ATLAS_COLUMNS,
        "size": predictions["crop"].shape[1],
        "slices": [[str(key[i][0]), int(key[i][1])] for i in order],
        "image": _data_uri(figures.atlas(predictions["crop"][order])),
        "layers": [
            {"name": name, "src": _data_uri(figures.atlas(mask[order]))}
            for name, mask in layers
        ],
    }


def _template() -> jinja2.Template:
    text = (
        resources.files("scarseg_jax.show")
        .joinpath("run_report.html.jinja")
        .read_text()
    )
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["percent"] = lambda v: (
        "\N{EN DASH}" if v is None else f"{100 * v:.2f}"
    )
    environment.filters["number"] = lambda v, digits: (
        "\N{EN DASH}" if v is None else f"{v:.{digits}f}"
    )
    return environment.from_string(text)


def _patient(row: dict[str, str]) -> dict:
    """Returns a row of patients.csv with numbers for the table."""
    numbers = ("slices", "scar_slices", "true_px", "predicted_px", "seed", "fold")
    return {
        "patient": row["patient"],
        **{name: int(row[name]) for name in numbers},
        **{
            name: None if row[name] == "" else float(row[name])
            for name in ("acc", "se", "sp", "dsc")
        },
    }


def _examples(patients: list[dict], predictions: dict, predicted: np.ndarray) -> list:
    """Returns the sheets of the best, the median and the worst patient."""
    scores: dict[str, list[float]] = {}
    for row in patients:
        if int(row["true_px"]):
            scores.setdefault(row["patient"], []).append(float(row["dsc"]))
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
        which = np.flatnonzero(predictions["patient"] == name)
        titles = [f"slice {z}" for z in predictions["slice"][which]]
        dice = 100 * np.mean(scores[name])
        sheets.append(
            {
                "title": f"{rank}: {name}, 3-D Dice {dice:.1f} %",
                "image": _sheet(predictions, predicted, which, titles),
            }
        )
    return sheets


def _failures(predictions: dict, predicted: np.ndarray) -> list:
    """Returns the sheets of missed scars, largest first, and of false ones."""
    true_px = predictions["scar"].sum(axis=(1, 2))
    called_px = predicted.sum(axis=(1, 2))
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
            f"{predictions['patient'][i]}, {predictions['slice'][i]}: {size[i]} px"
            for i in shown
        ]
        sheets.append(
            {
                "title": f"{title}: the largest {len(shown)} of {len(which)} slices",
                "image": _sheet(predictions, predicted, shown, titles),
            }
        )
    return sheets


def _sheet(predictions: dict, predicted: np.ndarray, which, titles) -> str:
    png = figures.overlays(
        predictions["crop"][which], predictions["scar"][which], predicted[which], titles
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
