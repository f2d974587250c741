"""Runs on the same slices, compared as the paper compares its protocols.

python -m scarseg_jax.compare DIR1 DIR2 [DIR3 ...]

Each of the others is compared with the first; with several, p is corrected by Holm.
A baseline is a run too: WORKDIR/baselines/METHOD.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.judge.evaluate import (
    ORACLE_WARNING,
    read_summary,
    read_table,
    write_text,
)
from scarseg_jax.judge.statistics import holm, wilcoxon

ALPHA = 0.05  # paper, section 3.2
ZEROS = "pairs without a difference are left out (Wilcoxon's own treatment)"


def compare(first: Path, second: Path) -> dict:
    """Returns the tests over slices and over patients with true scar.

    Several seeds of a slice or patient count as their mean.

    Args:
      first: Working directory of one run.
      second: Of the other.

    Raises:
      InputError: If a run has no results or the two were not on the same slices.
    """
    result: dict = {"alpha": ALPHA, "zeros": ZEROS}
    for order, run in (("first", first), ("second", second)):
        summary = read_summary(run / "results" / "summary.json")
        described = {k: summary[k] for k in ("protocol", "variant", "selection")}
        result[order] = {"directory": str(run), **described}
    for unit, key in (("slices", ("patient", "slice")), ("patients", ("patient",))):
        one, other = (
            _scores(run / "results" / f"{unit}.csv", key) for run in (first, second)
        )
        _check_same(first, second, unit, one, other)
        scarred = sorted(k for k, (true_px, _) in one.items() if true_px)
        if not scarred:
            raise InputError(f"{first}: no {unit} with scar; the test needs some")
        result[unit] = wilcoxon(
            np.array([one[k][1] for k in scarred]),
            np.array([other[k][1] for k in scarred]),
        )
    return result


def compare_all(first: Path, others: Sequence[Path]) -> list[dict]:
    """Returns `compare` of the first run with each other, and "p_holm" beside "p".

    Holm's correction is over the other runs, for slices and for patients apart.

    Raises:
      InputError: As `compare`.
    """
    results = [compare(first, other) for other in others]
    for unit in ("slices", "patients"):
        corrected = holm([result[unit]["p"] for result in results])
        for result, p in zip(results, corrected, strict=True):
            result[unit]["p_holm"] = p
    return results


def overview(results: Sequence[dict]) -> str:
    """Returns several comparisons with one run as a table."""
    first = results[0]["first"]
    width = max(len(r["second"]["directory"]) for r in results)
    lines = [
        "first: {directory} (Protocol {protocol}, {variant})".format(**first),
        f"{'second':{width}}  median DSC, %, and p by slices         by patients",
        f"{'':{width}}" + 2 * "   first second        p   p Holm",
    ]
    for result in results:
        cells = "".join(
            f"{100 * r['median_first']:8.2f}{100 * r['median_second']:7.2f}"
            f"{r['p']:9.2g}{r['p_holm']:9.2g}"
            for r in (result["slices"], result["patients"])
        )
        lines.append(f"{result['second']['directory']:{width}}{cells}")
    runs = [first, *(r["second"] for r in results)]
    lines += [
        f"{run['directory']}: {ORACLE_WARNING}"
        for run in runs
        if run["selection"] == "oracle"
    ]
    test = "Wilcoxon signed-rank test, two-sided; "
    return "\n".join([*lines, f"{test}{results[0]['zeros']}; Holm over the runs"])


def table(result: dict) -> str:
    """Returns the comparison of two runs as text."""
    lines = []
    for order in ("first", "second"):
        run = "{directory} (Protocol {protocol}, {variant})".format(**result[order])
        lines.append(f"{order + ':':8}{run}")
        if result[order]["selection"] == "oracle":
            lines.append(f"        {ORACLE_WARNING}")
    lines.append(
        "median DSC, %      n   first  second  second - first       W         p"
    )
    for unit in ("slices", "patients"):
        r = result[unit]
        first, second, difference = (
            100 * r[f"median_{name}"] for name in ("first", "second", "difference")
        )
        lines.append(
            f"{unit:14}{r['n']:6}{first:8.2f}{second:8.2f}{difference:+16.2f}"
            f"{r['statistic']:8.10g}{r['p']:10.3g}"
        )
    for unit in ("slices", "patients"):
        r = result[unit]
        verdict = "a" if r["p"] < ALPHA else "no"
        lines.append(
            f"{unit} with scar: {verdict} significant difference at {ALPHA:g};"
            f" {r['n'] - r['n_different']} without any"
        )
    note = f"Wilcoxon signed-rank test, two-sided; {result['zeros']}"
    return "\n".join([*lines, note])


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares runs; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m scarseg_jax.compare",
        description="Wilcoxon signed-rank test on the DSC of runs on the same slices,"
        " over slices and over patients with scar, with Holm's correction for several.",
        epilog="Exit code 2 means that the runs cannot be compared.",
    )
    parser.add_argument("first", type=Path, help="--workdir of a finished run")
    parser.add_argument(
        "others", type=Path, nargs="+", help="of others, or WORKDIR/baselines/METHOD"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE.json", help="also write the result there"
    )
    given = parser.parse_args(arguments)
    try:
        results = compare_all(given.first, given.others)
        if given.output:
            _save(given.output, results)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    text = table(results[0]) if len(results) == 1 else overview(results)
    sys.stdout.write(text + "\n")
    return 0


def _save(path: Path, results: list[dict]) -> None:
    try:
        write_text(path, json.dumps(results, indent=1))
    except OSError as error:
        raise InputError(
            f"--output={path}: cannot write there ({error.strerror}); choose a file in"
            " an existing folder"
        ) from error


def _scores(path: Path, key: tuple[str, ...]) -> dict:
    """Returns true_px and the mean DSC over seeds for each unit."""
    scores: dict[tuple, tuple[int, list[float]]] = {}
    for row in read_table(path):
        name = tuple(int(row[k]) if k == "slice" else row[k] for k in key)
        entry = scores.setdefault(name, (int(row["true_px"]), []))
        entry[1].append(float(row["dsc"] or "nan"))
    return {k: (px, float(np.mean(dsc))) for k, (px, dsc) in scores.items()}


def _check_same(first: Path, second: Path, unit: str, one: dict, other: dict) -> None:
    # Equal true_px too: the same slice cropped otherwise is another slice.
    true_px, others = ({k: v[0] for k, v in run.items()} for run in (one, other))
    odd = sorted(k for k, _ in true_px.items() ^ others.items())
    if odd:
        example = ", slice ".join(map(str, odd[0]))
        raise InputError(
            f"{first} and {second} have {len(set(odd))} {unit} not in common, such as"
            f" {example}; compare runs on the same patients and crops"
        )


if __name__ == "__main__":
    sys.exit(main())
