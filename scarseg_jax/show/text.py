"""Results as lines for a terminal."""

from collections.abc import Sequence

from scarseg_jax.judge.paired import ALPHA, ZEROS, Comparison, Run
from scarseg_jax.judge.results import Summary

ORACLE_WARNING = "best epoch chosen on the test patients (oracle): not a result"


def headline(summary: Summary) -> str:
    """Returns a summary as a few lines."""
    unit = "slices" if len(summary.seeds) == 1 else "slices x seeds"
    tested = f"{summary.slices} slices ({summary.scar_slices} with scar)"
    networks = f"{summary.folds} folds, seeds {[*summary.seeds]}"
    lines = [
        f"{summary.about.name}: {summary.patients} patients, {tested}, {networks}",
        f"        median       IQR     n {unit} on the images' own grids (64 x 64 crop)",
    ]
    if summary.about.selection == "oracle":
        lines.insert(1, f"  {ORACLE_WARNING}")
    for name in ("Acc", "Sp", "Se", "DSC"):
        own, papers = (
            getattr(grid, name.lower()) for grid in (summary.native, summary.crop)
        )
        cells, beside = "      -         -", ""
        if own.n:
            cells = f"{100 * own.median:6.2f} %  {100 * own.iqr:6.2f} %"
            beside = f"  ({100 * papers.median:.2f} %, {100 * papers.iqr:.2f} %)"
        lines.append(f"  {name:4}{cells:18}{own.n:6}{beside}")
    for fault in ("missed", "false"):
        tally = getattr(summary.native.failures, fault)
        lines.append(
            f"  {fault} scar: {tally.slices} of {tally.of_slices} {unit}"
            f" ({tally.patients} patients)"
        )
    lines += _dice(summary) + _readers(summary)
    if (by := summary.optimism) is not None:
        lines.append(
            f"  Dice of the test patients by epoch: the last {by.last:.3f}, best on"
            f" validation {by.validation:.3f}, best on test {by.oracle:.3f} (flattering)"
        )
    inside = f"{summary.contained_slices} of {summary.myocardium_slices}"
    return "\n".join([*lines, f"  whole myocardium in the crop: {inside} slices"])


def _dice(summary: Summary) -> list[str]:
    dice = summary.native.dice_3d_mean
    if dice.mean is None:
        return []
    deviation = "" if dice.sd is None else f" ± {dice.sd:.3f}"
    lines = [f"  3-D Dice: {dice.mean:.3f}{deviation} ({dice.n} patients with scar)"]
    dsc = [s.dsc for s in summary.by_seed if s.dsc is not None]
    dice_3d = [s.dice_3d for s in summary.by_seed if s.dice_3d is not None]
    if len(dsc) > 1:
        lines.append(
            f"  seed by seed: DSC {100 * min(dsc):.2f} to {100 * max(dsc):.2f} %,"
            f" 3-D Dice {min(dice_3d):.3f} to {max(dice_3d):.3f}"
        )
    return lines


def _readers(summary: Summary) -> list[str]:
    readers = summary.readers
    if readers is None or readers.dice.mean is None:
        return []
    ceiling = readers.ceiling.mean
    others = "" if ceiling is None else f", one with the others {ceiling:.3f}"
    return [
        f"  3-D Dice of two readers with each other: {readers.dice.mean:.3f}{others}"
    ]


def one_line(summary: Summary) -> str:
    """Returns the headline figures as one line of a table of methods."""
    dsc, dice = summary.native.dsc, summary.native.dice_3d_mean
    failed = summary.native.failures
    figures = "no scar"
    if dsc.median is not None and dice.mean is not None:
        figures = f"DSC {100 * dsc.median:5.1f} %  3-D Dice {dice.mean:.3f}"
    return (
        f"{summary.about.name:10} {figures}  missed {failed.missed.slices:3}"
        f"  false {failed.false.slices:3}"
    )


def comparisons(first: Run, others: Sequence[Run], found: Sequence[Comparison]) -> str:
    """Returns what comparing runs with the first gave."""
    if len(found) == 1:
        return _pair(first, others[0], found[0])
    width = max(len(str(run.directory)) for run in others)
    lines = [
        f"first: {_described(first)}",
        f"{'second':{width}}  median DSC, %, and p by slices         by patients",
        f"{'':{width}}" + 2 * "   first second        p   p Holm",
    ]
    for run, c in zip(others, found, strict=True):
        cells = "".join(
            f"{100 * test.median_first:8.2f}{100 * test.median_second:7.2f}"
            f"{test.p:9.2g}{p_holm:9.2g}"
            for test, p_holm in (
                (c.slices, c.slices_p_holm),
                (c.patients, c.patients_p_holm),
            )
        )
        lines.append(f"{run.directory!s:{width}}{cells}")
    lines += [
        f"{run.directory}: {ORACLE_WARNING}"
        for run in (first, *others)
        if run.about.selection == "oracle"
    ]
    test = "Wilcoxon signed-rank test, two-sided; "
    return "\n".join([*lines, f"{test}{ZEROS}; Holm over the runs"])


def _pair(first: Run, second: Run, found: Comparison) -> str:
    lines = []
    for order, run in (("first", first), ("second", second)):
        lines.append(f"{order + ':':8}{_described(run)}")
        if run.about.selection == "oracle":
            lines.append(f"        {ORACLE_WARNING}")
    lines.append(
        "median DSC, %      n   first  second  second - first       W         p"
    )
    tests = {"slices": found.slices, "patients": found.patients}
    for unit, r in tests.items():
        lines.append(
            f"{unit:14}{r.n:6}{100 * r.median_first:8.2f}{100 * r.median_second:8.2f}"
            f"{100 * r.median_difference:+16.2f}{r.statistic:8.10g}{r.p:10.3g}"
        )
    for unit, r in tests.items():
        verdict = "a" if r.p < ALPHA else "no"
        lines.append(
            f"{unit} with scar: {verdict} significant difference at {ALPHA:g};"
            f" {r.n - r.n_different} without any"
        )
    note = f"Wilcoxon signed-rank test, two-sided; {ZEROS}"
    return "\n".join([*lines, note])


def _described(run: Run) -> str:
    return f"{run.directory} ({run.about.name})"
