"""Probabilities to the result files, and those files back to rows."""

import contextlib
import csv
import io
import json
import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.judge import clinical, consensus
from scarseg_jax.judge.metrics import Counts, count, failures, patients_dice, spread

if TYPE_CHECKING:  # so that comparing two finished runs does not load TFDS
    from scarseg_jax.prepare.dataset import Slices

EMPTY_MASK_RULE = (
    "Se and DSC are taken over slices with true scar, a missed scar counting 0; Acc and"
    " Sp over all slices; slices without scar enter DSC nowhere and are counted as"
    " false scars where any pixel is called scar."
)
POOLING_RULE = (
    "Each slice counts once for each seed in the tables and failures; a patient's 3-D"
    " Dice is the mean over the seeds."
)
ORACLE_WARNING = "best epoch chosen on the test patients (oracle): not a result"
_METRICS = ("acc", "se", "sp", "dsc")
_COUNTED = ("tp", "fp", "fn", "tn", *_METRICS, "true_px", "predicted_px")
SLICE_COLUMNS = ("patient", "slice", "fold", "seed", *_COUNTED)
PATIENT_COLUMNS = (
    *("patient", "fold", "seed", "slices", "scar_slices"),
    *(*_COUNTED, *clinical.MEASURES),
)
_LEARNT = ("learning_rate", "loss", "threshold", "validation_dsc", "test_dsc")
HISTORY_COLUMNS = ("fold", "seed", "epoch", *_LEARNT)
_TABLES = {
    "slices.csv": SLICE_COLUMNS,
    "patients.csv": PATIENT_COLUMNS,
    "history.csv": HISTORY_COLUMNS,
}
_ARCHIVED = ("patient", "slice", "crop", "myocardium", "scar", "pixel_mm")
_FRACTIONAL = {*_METRICS, *_LEARNT, *clinical.MEASURES}


def evaluate(
    directory: Path,
    slices: "Slices",
    called: np.ndarray,
    *,
    probability: np.ndarray | None = None,
    fold: np.ndarray,
    seeds: Sequence[int],
    about: Mapping,
) -> dict:
    """Writes slices.csv, patients.csv, summary.json and predictions.npz.

    Args:
      directory: Where to.
      slices: The N slices that were tested.
      called: (seeds, N, 64, 64) bool, what was called scar, each by a network that
        did not train on the slice's patient.
      probability: (seeds, N, 64, 64) of scar; None for a method that gives none.
      fold: (N,) the fold that tested each slice.
      seeds: Of the first axis.
      about: What else the summary says of the run.

    Returns:
      The summary.

    Raises:
      InputError: If a probability is NaN, which would pass for background.
    """
    if probability is not None and np.isnan(probability).any():
        raise InputError(
            "some of the networks' probabilities are NaN, so their training diverged;"
            " train in a new --workdir with a lower train.learning_rate"
        )
    counts = count(called, slices.scar)
    measures = clinical.measure_patients(slices, called)
    summary = {
        **about,
        "folds": len(np.unique(fold)),
        "seeds": list(seeds),
        "empty_mask_rule": EMPTY_MASK_RULE,
        "pooling_rule": POOLING_RULE,
        **summarise(slices, counts),
        "by_seed": by_seed(slices, counts, seeds),
        **clinical.describe(
            slices, counts, measures, probability, inside=about["protocol"] == 2
        ),
    }
    tested = set(slices.patient.tolist())
    if several := [record for p, record in slices.readers.items() if p in tested]:
        summary["readers"] = consensus.summarise(several)
    if probability is not None:
        at_half = summarise(slices, count(probability >= 0.5, slices.scar))
        summary["at_half"] = {
            key: at_half[key] for key in ("table1", "failures", "patients_dsc")
        }
    named = {"patient": slices.patient, "slice": slices.slice, "fold": fold}
    by_slice = _rows(named, seeds, counts)
    patients, pooled = _patients(slices, fold), counts.pooled(slices.patient)
    by_patient = _rows(patients, seeds, pooled, measures)
    archive = _archive(slices, called, probability, fold)
    directory.mkdir(parents=True, exist_ok=True)
    write_text(directory / "slices.csv", _csv(SLICE_COLUMNS, by_slice))
    write_text(directory / "patients.csv", _csv(PATIENT_COLUMNS, by_patient))
    _write(directory / "predictions.npz", archive)
    write_text(directory / "summary.json", json.dumps(summary, indent=1))
    return summary


def summarise(slices: "Slices", counts: Counts) -> dict:
    """Returns the paper's Tables 1 to 3, its failure counts and the patients' Dice.

    Args:
      slices: The N slices that were tested.
      counts: Of (seeds, N).
    """
    scarred = counts.true_px > 0
    drawn = slices.myocardium.any(axis=(1, 2))
    table = {
        "acc": spread(counts.accuracy),
        "sp": spread(counts.specificity),
        "se": spread(counts.sensitivity[scarred]),
        "dsc": spread(counts.dice[scarred]),
    }
    se, sp = table["se"]["median"], table["sp"]["median"]
    return {
        "patients": len(np.unique(slices.patient)),
        "slices": len(slices.patient),
        "scar_slices": int(slices.scar.any(axis=(1, 2)).sum()),
        "rows": counts.tp.size,
        "myocardium_in_crop": {
            "slices": int((slices.contained & drawn).sum()),
            "of_slices": int(drawn.sum()),
        },
        "table1": table,
        "contingency": {
            "scar_as_scar": se,
            "scar_as_background": None if se is None else 1 - se,
            "background_as_scar": None if sp is None else 1 - sp,
            "background_as_background": sp,
        },
        "failures": failures(counts, slices.patient),
        "patients_dsc": patients_dice(counts.pooled(slices.patient)),
    }


def by_seed(slices: "Slices", counts: Counts, seeds: Sequence[int]) -> list[dict]:
    """Returns each seed's own figures: how much depends on chance in training."""
    figures = []
    for index, seed in enumerate(seeds):
        own = summarise(
            slices,
            Counts(**{name: c[index : index + 1] for name, c in vars(counts).items()}),
        )
        figures.append(
            {
                "seed": seed,
                "dsc": own["table1"]["dsc"]["median"],
                "patients_dsc": own["patients_dsc"]["mean"],
                "missed": own["failures"]["missed"]["slices"],
                "false": own["failures"]["false"]["slices"],
            }
        )
    return figures


def headline(summary: Mapping) -> str:
    """Returns the summary as a few lines of text."""
    unit = "slices" if len(summary["seeds"]) == 1 else "slices x seeds"
    lines = [
        "Protocol {protocol}: {patients} patients, {slices} slices ({scar_slices} with"
        " scar), {folds} folds, seeds {seeds}".format(**summary),
        f"        median       IQR     n {unit}",
    ]
    if summary["selection"] == "oracle":
        lines.insert(1, f"  {ORACLE_WARNING}")
    for name in ("Acc", "Sp", "Se", "DSC"):
        figures = summary["table1"][name.lower()]
        cells = "      -         -"
        if figures["n"]:
            cells = f"{100 * figures['median']:6.2f} %  {100 * figures['iqr']:6.2f} %"
        lines.append(f"  {name:4}{cells:18}{figures['n']:6}")
    tally = "{slices} of {of_slices}"
    for fault in ("missed", "false"):
        failed = summary["failures"][fault]
        lines.append(
            f"  {fault} scar: {tally} {unit} ({{patients}} patients)".format(**failed)
        )
    if (dice := summary["patients_dsc"])["n"]:
        deviation = "" if dice["sd"] is None else f" ± {dice['sd']:.3f}"
        patients = f"{dice['n']} patients with scar"
        lines.append(f"  3-D Dice: {dice['mean']:.3f}{deviation} ({patients})")
    each = summary["by_seed"]
    if len(each) > 1 and each[0]["dsc"] is not None:
        dsc, dice = ([s[key] for s in each] for key in ("dsc", "patients_dsc"))
        lines.append(
            f"  seed by seed: DSC {100 * min(dsc):.2f} to {100 * max(dsc):.2f} %,"
            f" 3-D Dice {min(dice):.3f} to {max(dice):.3f}"
        )
    readers = summary.get("readers")
    if readers and readers["dice"]["n"]:
        pairs, ceiling = readers["dice"]["mean"], readers["ceiling"]["mean"]
        others = "" if ceiling is None else f", one with the others {ceiling:.3f}"
        lines.append(f"  3-D Dice of two readers with each other: {pairs:.3f}{others}")
    if (flattery := summary.get("optimism")) is not None:
        lines.append(
            "  Dice of the test patients by epoch: the last {last:.3f}, best on"
            " validation {validation:.3f}, best on test {oracle:.3f} (flattering)".format(
                **flattery
            )
        )
    inside = tally.format(**summary["myocardium_in_crop"])
    return "\n".join([*lines, f"  whole myocardium in the crop: {inside} slices"])


def one_line(name: str, summary: Mapping) -> str:
    """Returns the headline figures as one line of a table of methods."""
    dsc, dice = summary["table1"]["dsc"], summary["patients_dsc"]
    missed, false = (summary["failures"][k]["slices"] for k in ("missed", "false"))
    figures = "no scar"
    if dsc["n"]:
        figures = f"DSC {100 * dsc['median']:5.1f} %  3-D Dice {dice['mean']:.3f}"
    return f"{name:10} {figures}  missed {missed:3}  false {false:3}"


def optimism(history: Iterable[Mapping]) -> dict[str, float]:
    """Returns how good the test patients look by what chooses the epoch.

    Args:
      history: Rows of history.csv.

    Returns:
      {"last", "validation", "oracle"}: the mean over networks of the test patients'
      Dice (of all pixels of the crops together, as the network says it, at the
      threshold that fits the validation patients best) in the last epoch, in that with
      the best validation Dice, and in that where it is best itself, which is how much
      such a choice would flatter.
    """
    networks: dict[tuple, list[tuple[float, float]]] = {}
    for row in history:
        dice = (float(row["validation_dsc"]), float(row["test_dsc"]))
        networks.setdefault((row["fold"], row["seed"]), []).append(dice)
    by_choice = {
        "last": [epochs[-1][1] for epochs in networks.values()],
        "validation": [max(e, key=lambda dice: dice[0])[1] for e in networks.values()],
        "oracle": [max(test for _, test in epochs) for epochs in networks.values()],
    }
    return {choice: float(np.mean(dice)) for choice, dice in by_choice.items()}


def write_history(directory: Path, history: Iterable[Mapping]) -> None:
    """Writes history.csv: one row for each member and epoch."""
    directory.mkdir(parents=True, exist_ok=True)
    write_text(directory / "history.csv", _csv(HISTORY_COLUMNS, history))


def read_table(path: Path) -> list[dict[str, str]]:
    """Returns the rows of slices.csv, patients.csv or history.csv, checked, as text.

    Raises:
      InputError: If the file is missing or damaged.
    """
    with _damage_reported(path), path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream, strict=True)
        if tuple(reader.fieldnames or ()) != _TABLES[path.name]:
            raise ValueError("other columns than expected")
        rows = [_checked(row) for row in reader]
        if not rows:
            raise ValueError("no rows")
    return rows


def read_summary(path: Path) -> dict:
    """Returns what summary.json holds.

    Raises:
      InputError: If the file is missing or damaged.
    """
    with _damage_reported(path):
        summary = json.loads(path.read_text(encoding="utf-8"))
        if not {"protocol", "variant", "selection", "table1"} <= set(summary):
            raise ValueError("not a summary")
    return summary


def read_predictions(path: Path) -> dict[str, np.ndarray]:
    """Returns what predictions.npz holds.

    Raises:
      InputError: If the file is missing or damaged.
    """
    with _damage_reported(path), np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def write_text(path: Path, text: str) -> None:
    """Writes a file that is there whole or not at all."""
    _write(path, text.encode())


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; finish that run first (--mode=all, or evaluate)"
        )
    try:
        yield
    except (OSError, ValueError, csv.Error, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: damaged, or made by another version ({error}); make that run's"
            " results again"
        ) from error


def _checked(row: dict) -> dict[str, str]:
    if None in row or None in row.values():
        raise ValueError("a row is too short or too long")
    for name, cell in row.items():
        if name in _FRACTIONAL:
            float(cell or "nan")
        elif name != "patient":
            int(cell)
    return row


def _patients(slices: "Slices", fold: np.ndarray) -> dict[str, np.ndarray]:
    names, first, index, size = np.unique(
        slices.patient, return_index=True, return_inverse=True, return_counts=True
    )
    scarred = slices.scar.any(axis=(1, 2))
    return {
        "patient": names,
        "fold": fold[first],
        "slices": size,
        "scar_slices": np.bincount(index[scarred], minlength=len(names)),
    }


def _rows(
    named: Mapping[str, np.ndarray],
    seeds: Sequence[int],
    counts: Counts,
    more: Mapping[str, np.ndarray] | None = None,
) -> list[dict]:
    """Returns one row for each seed and slice, or patient, seed by seed."""
    measured = {
        **vars(counts),
        "acc": counts.accuracy,
        "se": counts.sensitivity,
        "sp": counts.specificity,
        "dsc": counts.dice,
        "true_px": counts.true_px,
        "predicted_px": counts.predicted_px,
        **(more or {}),
    }
    columns = {
        **{name: np.tile(column, len(seeds)) for name, column in named.items()},
        "seed": np.repeat(seeds, counts.tp.shape[-1]),
        **{name: column.ravel() for name, column in measured.items()},
    }
    values = zip(*(map(_cell, c.tolist()) for c in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in values]


def _cell(value: object) -> object:
    undefined = isinstance(value, float) and math.isnan(value)
    return "" if undefined else value


def _csv(columns: Sequence[str], rows: Iterable[Mapping]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _archive(
    slices: "Slices",
    called: np.ndarray,
    probability: np.ndarray | None,
    fold: np.ndarray,
) -> bytes:
    """Returns the content of predictions.npz: of several seeds, the majority."""
    kept = {name: getattr(slices, name) for name in _ARCHIVED}
    kept |= {"fold": fold, "called": called.mean(axis=0) > 0.5}
    if probability is not None:
        kept["probability"] = probability.mean(axis=0).astype(np.float16)
    stream = io.BytesIO()
    np.savez_compressed(stream, **kept)
    return stream.getvalue()
