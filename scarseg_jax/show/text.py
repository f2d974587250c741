"""Results as lines for a terminal."""

from collections.abc import Sequence

from scarseg_jax.judge.paired import ALPHA, TESTS, Comparison, Run
from scarseg_jax.judge.results import Summary

ORACLE_WARNING = "best epoch chosen on the test patients (oracle): not a result"


def headline(summary: Summary) -> str:
    """Returns a summary as a few lines."""
    unit = "slices" if len(summary.seeds) == 1 else "slices x seeds"
    tested = f"{summary.slices} slices ({summary.scar_slices} with scar)"
    folds = f"{summary.folds} fold{'s' * (summary.folds != 1)}"
    networks = f"{folds}, seeds {[*summary.seeds]}"
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
    lines += _inside(summary) + _ventricle(summary)
    for fault in ("missed", "false"):
        tally = getattr(summary.native.failures, fault)
        lines.append(
            f"  {fault} scar: {tally.slices} of {tally.of_slices} {unit}"
            f" ({tally.patients} patients)"
        )
    lines += _dice(summary) + _coverage(summary) + _readers(summary)
    if (by := summary.optimism) is not None:
        lines.append(
            f"  Dice of the test patients by epoch: the last {by.last:.3f}, best on"
            f" validation {by.validation:.3f}, best on test {by.oracle:.3f} (flattering)"
        )
    inside = f"{summary.contained_slices} of {summary.myocardium_slices}"
    return "\n".join([*lines, f"  whole myocardium in the crop: {inside} slices"])


def _inside(summary: Summary) -> list[str]:
    inside = summary.inside
    if inside is None or not inside.acc.n:
        return []
    acc, sp, nothing = (
        "-" if own.median is None else f"{100 * own.median:.2f} %"
        for own in (inside.acc, inside.sp, inside.acc_of_nothing)
    )
    return [
        f"  inside the myocardium: Acc {acc}, Sp {sp}; Acc of calling nothing {nothing}"
    ]


def _ventricle(summary: Summary) -> list[str]:
    found = summary.ventricle
    if found is None or found.myocardium_dice.mean is None:
        return []
    line = f"  myocardium found: 3-D Dice {found.myocardium_dice.mean:.3f}"
    if found.centre_mm.median is not None:
        line += f", centre {found.centre_mm.median:.1f} mm off (median)"
    if found.scar_dice_in_drawn.mean is not None:
        line += f"; in the drawn one scar has {found.scar_dice_in_drawn.mean:.3f}"
    return [line]


def _coverage(summary: Summary) -> list[str]:
    of = summary.coverage
    if of is None:
        return []
    line = (
        f"  {100 * of.level:.0f} % interval of the scar's volume: holds {of.inside} of"
        f" {of.n}, median width {of.width_ml.median:.1f} ml"
    )
    return [line]


def _dice(summary: Summary) -> list[str]:
    dice = summary.native.dice_3d_mean
    if dice.mean is None:
        return []
    deviation = "" if dice.sd is None else f"SD {dice.sd:.3f}, "
    lines = [f"  3-D Dice: {dice.mean:.3f} ({deviation}{dice.n} patients with scar)"]
    spread = summary.seed_spread
    if "dsc" in spread and "dice_3d" in spread:
        dsc, dice_3d = spread["dsc"], spread["dice_3d"]
        lines.append(
            f"  seed by seed: DSC {100 * dsc.min:.2f} to {100 * dsc.max:.2f} %,"
            f" 3-D Dice {dice_3d.min:.3f} to {dice_3d.max:.3f}"
        )
    return lines


def _readers(summary: Summary) -> list[str]:
    readers = summary.readers
    if readers is None or readers.dice.mean is None:
        return []
    others = ""
    if readers.others.mean is not None:
        others = f", one with the others' consensus {readers.others.mean:.3f}"
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
        f"{summary.about.name:22} {figures}  missed {failed.missed.slices:3}"
        f"  false {failed.false.slices:3}"
    )


def comparisons(first: Run, others: Sequence[Run], found: Sequence[Comparison]) -> str:
    """Returns what comparing runs with the first gave."""
    if len(found) == 1:
        return _pair(first, others[0], found[0])
    names = "   first second        p   p Holm"
    width = max(len(str(run.directory)) for run in others)
    lines = [
        f"first: {_described(first)}",
        f"{'second':{width}}  median 3-D Dice of patients, %    median DSC of slices, %",
        f"{'':{width}}{names}{names}  paper's p",
    ]
    for run, c in zip(others, found, strict=True):
        patients, slices = c.patients, c.slices
        lines.append(
            f"{run.directory!s:{width}}"
            f"{100 * patients.median_first:8.2f}{100 * patients.median_second:7.2f}"
            f"{patients.p:9.2g}{c.patients_p_holm:9.2g}"
            f"{100 * slices.median_first:8.2f}{100 * slices.median_second:7.2f}"
            f"{c.slices_p_flips:9.2g}{c.slices_p_flips_holm:9.2g}{slices.p:11.2g}"
        )
    lines += [
        f"{run.directory}: {ORACLE_WARNING}"
        for run in (first, *others)
        if run.about.selection == "oracle"
    ]
    return "\n".join([*lines, f"{TESTS}; Holm over the runs"])


def _pair(first: Run, second: Run, found: Comparison) -> str:
    lines = []
    for order, run in (("first", first), ("second", second)):
        lines.append(f"{order + ':':8}{_described(run)}")
        if run.about.selection == "oracle":
            lines.append(f"        {ORACLE_WARNING}")
    lines.append(
        "median DSC, %      n   first  second  second - first       W         p"
    )
    tests = {"patients": found.patients, "slices": found.slices}
    for unit, r in tests.items():
        lines.append(
            f"{unit:14}{r.n:6}{100 * r.median_first:8.2f}{100 * r.median_second:8.2f}"
            f"{100 * r.median_difference:+16.2f}{r.statistic:8.10g}{r.p:10.3g}"
        )
    lines.append(f"slices, signs flipped by patient{found.slices_p_flips:38.3g}")
    p_of = {"patients": found.patients.p, "slices": found.slices_p_flips}
    for unit, p in p_of.items():
        verdict = "a" if p < ALPHA else "no"
        same = tests[unit].n - tests[unit].n_different
        lines.append(
            f"{unit} with scar: {verdict} significant difference at {ALPHA:g};"
            f" {same} without any"
        )
    return "\n".join([*lines, TESTS])


def _described(run: Run) -> str:
    return f"{run.directory} ({run.about.name})"
