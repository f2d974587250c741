"""Runs on the same patients, compared as the paper compares its protocols."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.judge.results import About, Results
from scarseg_jax.judge.statistics import Wilcoxon, holm, sign_flips, wilcoxon

ALPHA = 0.05  # paper, section 3.2
TESTS = (
    "Wilcoxon signed-rank test, two-sided, pairs without a difference left out; of"
    " slices it is the paper's and takes those of a patient for independent, so look at"
    " the permutation test that flips the signs of whole patients"
)


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
      patients: The headline: the signed-rank test over patients with true scar.
      slices: The paper's, over slices with true scar as if each were another patient's.
        They are not, and so its p is too small.
      slices_p_flips: p of the same slices by sign flips of whole patients,
        `statistics.sign_flips`.
      patients_p_holm: p corrected for the number of comparisons.
      slices_p_holm: The same.
      slices_p_flips_holm: The same.
    """

    slices: Wilcoxon
    patients: Wilcoxon
    slices_p_flips: float
    slices_p_holm: float
    patients_p_holm: float
    slices_p_flips_holm: float


def compare(first: Run, others: Sequence[Run]) -> list[Comparison]:
    """Returns the tests of the first run with each other.

    Several seeds of a slice or patient count as their mean. Holm's correction is over
    the other runs, for each kind of test apart.

    Raises:
      InputError: If two runs were not on the same slices.
    """
    pairs = [
        {unit: _pairs(first, other, unit) for unit in ("slices", "patients")}
        for other in others
    ]
    slices, patients = (
        [wilcoxon(pair[unit].first, pair[unit].second) for pair in pairs]
        for unit in ("slices", "patients")
    )
    flips = [
        sign_flips(own.second - own.first, own.patient)
        for own in (pair["slices"] for pair in pairs)
    ]
    corrected = [
        holm(p) for p in ([t.p for t in slices], [t.p for t in patients], flips)
    ]
    return [
        Comparison(*row)
        for row in zip(slices, patients, flips, *corrected, strict=True)
    ]


class _Pairs(NamedTuple):
    """The (n,) DSC of units with true scar in two runs, and whose they are."""

    first: np.ndarray
    second: np.ndarray
    patient: np.ndarray


def _pairs(first: Run, second: Run, unit: str) -> _Pairs:
    one, other = (_scores(run.results, unit) for run in (first, second))
    _check_same(first, second, unit, one, other)
    scarred = sorted(k for k, (true_px, _) in one.items() if true_px)
    if not scarred:
        raise InputError(f"{first.directory}: no {unit} with scar; the test needs some")
    return _Pairs(
        *(np.array([scores[k][1] for k in scarred]) for scores in (one, other)),
        patient=np.array([patient for patient, *_ in scarred]),
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
