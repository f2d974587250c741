"""Runs on the same patients, compared as the paper compares its protocols."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.judge.results import About, Results
from scarseg_jax.judge.statistics import Wilcoxon, holm, wilcoxon

ALPHA = 0.05  # paper, section 3.2
ZEROS = "pairs without a difference are left out (Wilcoxon's own treatment)"


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A run to compare.

    Attributes:
      directory: Where it is.
      results: Its results.
    """

    directory: Path
    results: Results

    @property
    def about(self) -> About:
        """What was judged."""
        return self.results.summary.about


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A run with the first; DSC on the images' own grids.

    Attributes:
      slices: The test over slices with true scar.
      patients: Over patients with true scar.
      slices_p_holm: p corrected for the number of comparisons.
      patients_p_holm: The same.
    """

    slices: Wilcoxon
    patients: Wilcoxon
    slices_p_holm: float
    patients_p_holm: float


def compare(first: Run, others: Sequence[Run]) -> list[Comparison]:
    """Returns the tests of the first run with each other.

    Several seeds of a slice or patient count as their mean. Holm's correction is over
    the other runs, for slices and for patients apart.

    Raises:
      InputError: If two runs were not on the same slices.
    """
    tests = [
        (_test(first, other, "slices"), _test(first, other, "patients"))
        for other in others
    ]
    corrected = [holm([pair[unit].p for pair in tests]) for unit in (0, 1)]
    return [
        Comparison(slices, patients, *p_holm)
        for (slices, patients), *p_holm in zip(tests, *corrected, strict=True)
    ]


def _test(first: Run, second: Run, unit: str) -> Wilcoxon:
    one, other = (_scores(run.results, unit) for run in (first, second))
    _check_same(first, second, unit, one, other)
    scarred = sorted(k for k, (true_px, _) in one.items() if true_px)
    if not scarred:
        raise InputError(f"{first.directory}: no {unit} with scar; the test needs some")
    return wilcoxon(
        np.array([one[k][1] for k in scarred]), np.array([other[k][1] for k in scarred])
    )


def _scores(results: Results, unit: str) -> dict:
    """Returns true_px and the mean DSC over seeds for each unit."""
    scores: dict[tuple, tuple[int, list[float]]] = {}
    for row in getattr(results, unit):
        name = (row.patient, row.slice) if unit == "slices" else (row.patient,)
        entry = scores.setdefault(name, (row.native.true_px, []))
        entry[1].append(np.nan if row.native.dsc is None else row.native.dsc)
    return {k: (px, float(np.mean(dsc))) for k, (px, dsc) in scores.items()}


def _check_same(first: Run, second: Run, unit: str, one: dict, other: dict) -> None:
    # Equal true_px too: the same slice with another truth is another slice.
    true_px, others = ({k: v[0] for k, v in run.items()} for run in (one, other))
    odd = sorted(k for k, _ in true_px.items() ^ others.items())
    if odd:
        example = ", slice ".join(map(str, odd[0]))
        raise InputError(
            f"{first.directory} and {second.directory} have {len(set(odd))} {unit} not"
            f" in common, such as {example}; compare runs on the same patients"
        )
