"""Masks of several readers: one made from them all, and how far they agree."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from scipy import special

from scarseg_jax.judge.metrics import MeanSd, Spread, mean_sd, spread
from scarseg_jax.study import Study

RULES = ("staple", "majority")
BOTH = "both"  # of two readers, by either rule
_FOR_A_CEILING = 4  # readers, so that a consensus of three is left of the others
REGION_RULE = (
    "Each patient's volume by itself, on the image's own pixels; STAPLE within the"
    " myocardium and what any reader marked or, without a myocardium, the box around"
    " all marks. Of two readers, whom STAPLE cannot tell apart, what both marked."
)
_START = 0.99999  # of both sensitivity and specificity, as in Warfield et al.
_TIE = 1e-6  # a probability so near one half is a tie, however it rounds: no scar
_LEAST = 1e-12  # keeps the logarithm of a perfect reader's error finite


@dataclasses.dataclass(frozen=True)
class PairwiseDice:
    """Dice of so many pairs of readers; without a pair all others are None."""

    mean: float | None
    min: float | None
    max: float | None
    pairs: int


@dataclasses.dataclass(frozen=True)
class ReaderScore:
    """One reader on one patient; None of what is undefined.

    Attributes:
      dice: 3-D Dice with the consensus.
      sensitivity: STAPLE's estimate; of three readers or more.
      specificity: STAPLE's estimate; the same.
      others: 3-D Dice with the consensus of the others, where these are two or more.
    """

    dice: float | None
    sensitivity: float | None
    specificity: float | None
    others: float | None


@dataclasses.dataclass(frozen=True)
class PatientReaders:
    """How the readers of one patient agree.

    Attributes:
      consensus: The rule, of `RULES`, or `BOTH`.
      scar: Whether the consensus has any.
      dice: Mean 3-D Dice of the pairs of readers.
      slice_dsc: Of each pair on each slice with scar.
      readers: Each one's, by name.
    """

    consensus: str
    scar: bool
    dice: float | None
    slice_dsc: tuple[float, ...]
    readers: dict[str, ReaderScore]


@dataclasses.dataclass(frozen=True)
class ReaderMeans:
    """One reader's means over those of the patients with scar, so many, it drew."""

    patients: int
    dice: float | None
    sensitivity: float | None
    specificity: float | None
    others: float | None


@dataclasses.dataclass(frozen=True)
class ReadersSummary:
    """How far readers agree over patients.

    Attributes:
      names: Of all readers.
      patients: How many several readers drew.
      consensus: The rule; `BOTH` if no patient has more than two readers.
      region_rule: On which pixels.
      dice: Of the pairwise 3-D Dice of patients with scar.
      slice_dsc: Of all pairs on slices with scar.
      others: Over readers and patients with three readers or more, of the 3-D Dice with
        the others' consensus. That of two is what both marked: smaller than either.
      ceiling: The same of patients with four readers or more, whose others are three,
        so that their consensus is like that by which a network is judged.
      by_reader: Means, by name.
    """

    names: tuple[str, ...]
    patients: int
    consensus: str
    region_rule: str
    dice: MeanSd
    slice_dsc: Spread
    others: MeanSd
    ceiling: MeanSd
    by_reader: dict[str, ReaderMeans]


def majority(masks: np.ndarray) -> np.ndarray:
    """Returns the (...) bool mask of what more than half of the readers marked.

    A tie of an even number of readers is not scar.

    Args:
      masks: (R, ...) bool of R readers.

    Raises:
      ValueError: If the masks are not bool or there is none.
    """
    _check(masks)
    return 2 * masks.sum(axis=0) > len(masks)


def staple(
    masks: np.ndarray, *, max_iterations: int = 100, tolerance: float = 1e-7
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the hidden truth and the readers' performance, estimated together.

    Binary STAPLE by expectation maximisation (Warfield, Zou and Wells, 2004), without
    a spatial prior: that of each pixel is the mean of all masks, and stays. All given
    pixels count. Give those of the myocardium, or near where readers disagree: a
    large background that all agree on lowers the prior and takes every specificity
    towards 1.

    Args:
      masks: (R, ...) bool of R readers.
      max_iterations: The most iterations.
      tolerance: Iterations end when no sensitivity or specificity changes by more.

    Returns:
      The (...) float64 probability of scar, (R,) sensitivities and (R,)
      specificities. Where no reader marked anything the probability is 0 and
      sensitivity NaN, being undefined; where all marked everything it is 1 and
      specificity NaN.

    Raises:
      ValueError: If the masks are not bool, or there are no readers or pixels.
    """
    _check(masks)
    marked = masks.reshape(len(masks), -1).astype(float)
    if not marked.size:
        raise ValueError("there are no pixels")
    prior = marked.mean()
    if prior in (0, 1):
        right, undefined = np.ones(len(masks)), np.full(len(masks), np.nan)
        whole = np.full(masks.shape[1:], float(prior))
        return (whole, right, undefined) if prior else (whole, undefined, right)
    sensitivity = specificity = np.full(len(masks), _START)
    probability, background = _expect(marked, prior, sensitivity, specificity)
    for _ in range(max_iterations):
        before = sensitivity, specificity
        sensitivity = marked @ probability / probability.sum()
        specificity = (1 - marked) @ background / background.sum()
        probability, background = _expect(marked, prior, sensitivity, specificity)
        if np.allclose(before, (sensitivity, specificity), rtol=0, atol=tolerance):
            break
    return probability.reshape(masks.shape[1:]), sensitivity, specificity


def pairwise_dice(masks: np.ndarray) -> PairwiseDice:
    """Returns the Dice between readers; pairs that both marked nothing are left out.

    Args:
      masks: (R, ...) bool of R readers.

    Raises:
      ValueError: If the masks are not bool or there is none.
    """
    _check(masks)
    dice = _pairs(masks)
    if not dice:
        return PairwiseDice(None, None, None, 0)
    return PairwiseDice(float(np.mean(dice)), min(dice), max(dice), len(dice))


def settle(study: Study, rule: str) -> tuple[Study, PatientReaders]:
    """Returns the study with the readers' consensus for its scar, and their agreement.

    Args:
      study: Of several readers.
      rule: One of `RULES`.

    Raises:
      ValueError: If the rule is unknown or there are no readers.
    """
    masks = np.array(list(study.readers.values()))
    scar = _consensus(masks, study.myocardium, rule)
    performance = np.full((2, len(masks)), np.nan)
    if len(masks) > 2:
        _, *performance = staple(masks[:, _region(masks, study.myocardium)])
    readers = {}
    for i, (name, p, q) in enumerate(zip(study.readers, *performance, strict=True)):
        others = np.delete(masks, i, axis=0)
        with_others = None
        if len(others) > 1:
            theirs = _consensus(others, study.myocardium, rule)
            with_others = pairwise_dice(np.stack([masks[i], theirs])).mean
        readers[name] = ReaderScore(
            dice=pairwise_dice(np.stack([masks[i], scar])).mean,
            sensitivity=None if np.isnan(p) else float(p),
            specificity=None if np.isnan(q) else float(q),
            others=with_others,
        )
    scarred = np.flatnonzero(scar.any(axis=(1, 2)))
    return dataclasses.replace(study, scar=scar), PatientReaders(
        consensus=BOTH if len(masks) == 2 else rule,
        scar=bool(scar.any()),
        dice=pairwise_dice(masks).mean,
        slice_dsc=tuple(dice for z in scarred for dice in _pairs(masks[:, z])),
        readers=readers,
    )


def summarise(patients: Sequence[PatientReaders]) -> ReadersSummary:
    """Returns the agreement over patients.

    Args:
      patients: What `settle` says of each that several readers drew.
    """
    names = tuple(sorted({name for patient in patients for name in patient.readers}))
    scarred = [patient for patient in patients if patient.scar]
    by_reader: dict[str, ReaderMeans] = {}
    for name in names:
        own = [p.readers[name] for p in scarred if name in p.readers]
        keys = ("dice", "sensitivity", "specificity", "others")
        means = {key: _mean_sd([getattr(row, key) for row in own]).mean for key in keys}
        by_reader[name] = ReaderMeans(patients=len(own), **means)
    slice_dsc = [dice for patient in scarred for dice in patient.slice_dsc]
    most_readers = max(patients, key=lambda patient: len(patient.readers))
    return ReadersSummary(
        names=names,
        patients=len(patients),
        consensus=most_readers.consensus,
        region_rule=REGION_RULE,
        dice=_mean_sd([patient.dice for patient in scarred]),
        slice_dsc=spread(np.array(slice_dsc, float)),
        others=_others(scarred),
        ceiling=_others([p for p in scarred if len(p.readers) >= _FOR_A_CEILING]),
        by_reader=by_reader,
    )


def _others(patients: Sequence[PatientReaders]) -> MeanSd:
    return _mean_sd([row.others for p in patients for row in p.readers.values()])


def _consensus(masks: np.ndarray, myocardium, rule: str) -> np.ndarray:
    if rule not in RULES:
        raise ValueError(f"the rule is {rule!r}; expected one of {', '.join(RULES)}")
    # STAPLE of two has no reason to trust either: where they differ, rounding decides.
    if rule == "majority" or len(masks) == 2:
        return majority(masks)
    region = _region(masks, myocardium)
    scar = np.zeros(region.shape, bool)
    scar[region] = staple(masks[:, region])[0] > 0.5 + _TIE
    return scar


def _region(masks: np.ndarray, myocardium: np.ndarray | None) -> np.ndarray:
    """Returns the (Z, Y, X) bool pixels that STAPLE weighs, as in `REGION_RULE`."""
    marked = masks.any(axis=0)
    if not marked.any():
        return np.ones_like(marked)  # there is nothing to find
    if myocardium is not None:
        return marked | myocardium
    region = np.zeros_like(marked)
    region[tuple(slice(at.min(), at.max() + 1) for at in np.nonzero(marked))] = True
    return region


def _pairs(masks: np.ndarray) -> list[float]:
    """Returns the Dice of each pair of readers of whom one marked anything."""
    return [
        float(2 * (one & other).sum() / (one.sum() + other.sum()))
        for one, other in itertools.combinations(masks, 2)
        if one.any() or other.any()
    ]


def _mean_sd(values: Sequence[float | None]) -> MeanSd:
    return mean_sd(np.array(values, float))  # None becomes NaN


def _expect(
    marked: np.ndarray, prior: float, sensitivity: np.ndarray, specificity: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the probabilities of scar and of background of each pixel."""
    # In log odds, since products over many readers would underflow, and 1 minus a
    # probability next to 1 would be 0.
    p, q = (np.clip(v, _LEAST, 1 - _LEAST) for v in (sensitivity, specificity))
    scar = np.log(p / (1 - q)) @ marked
    background = np.log((1 - p) / q) @ (1 - marked)
    odds = special.logit(prior) + scar + background
    return special.expit(odds), special.expit(-odds)


def _check(masks: np.ndarray) -> None:
    if masks.dtype != bool or masks.ndim < 1 or not len(masks):
        raise ValueError(
            f"masks must be bool (R, ...); got {masks.dtype} {masks.shape}"
        )
