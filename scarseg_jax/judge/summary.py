"""Masks and truth to `Results`: on the image's own grid and on the paper's.

The images' own grids come first: there lies the mask that a user gets.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.judge import consensus, measures, metrics
from scarseg_jax.judge.agreement import Agreement, agreement
from scarseg_jax.judge.measures import Measures
from scarseg_jax.judge.metrics import Counts, mean_sd, spread
from scarseg_jax.judge.results import (
    About,
    Calibration,
    Contingency,
    Distances,
    Figures,
    Intervals,
    Optimism,
    Overlap,
    PatientRow,
    Pictures,
    Results,
    SeedFigures,
    Size,
    SliceRow,
    Summary,
)
from scarseg_jax.judge.statistics import (
    bootstrap_interval,
    brier,
    expected_calibration_error,
)
from scarseg_jax.judge.windows import native_pictures
from scarseg_jax.run import EpochRecord
from scarseg_jax.study import Slices, Study

EMPTY_MASK_RULE = (
    "Se and DSC are taken over slices with true scar, a missed scar counting 0; Acc and"
    " Sp over all slices; slices without scar enter DSC nowhere and are counted as"
    " false scars where any pixel is called scar."
)
POOLING_RULE = (
    "Each slice counts once for each seed in the tables and failures; a patient's 3-D"
    " Dice is the mean over the seeds."
)


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """What was tested.

    Attributes:
      slices: N slices of patients with contours, in the order of names and slices.
      studies: The same patients.
      readers: What `consensus.settle` says of each that several readers drew.
    """

    slices: Slices
    studies: Sequence[Study]
    readers: Mapping[str, consensus.PatientReaders]


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What was called scar, each by a network that did not train on the patient.

    Attributes:
      fold: (N,) int, that tested each slice.
      seeds: Of the networks.
      crop: (seeds, N, 64, 64) bool.
      native: Of each patient, (seeds, Z, Y, X) bool.
      crop_probability: (seeds, N, 64, 64) float32; None of a method without.
      native_probability: Of each patient, (seeds, Z, Y, X) float32; None as above.
    """

    fold: np.ndarray
    seeds: Sequence[int]
    crop: np.ndarray
    native: Mapping[str, np.ndarray]
    crop_probability: np.ndarray | None = None
    native_probability: Mapping[str, np.ndarray] | None = None


def judge(
    truth: Truth,
    answers: Answers,
    about: About,
    history: Sequence[EpochRecord] = (),
) -> Results:
    """Returns all results of a run or method.

    Args:
      truth: What was tested.
      answers: What was called.
      about: What was judged.
      history: Of training.

    Raises:
      InputError: If a probability is NaN, which would pass for background.
    """
    said = answers.crop_probability
    if said is not None and np.isnan(said).any():
        raise InputError(
            "some of the networks' probabilities are NaN, so their training diverged;"
            " train in a new --workdir with a lower train.learning_rate"
        )
    slices = truth.slices
    native = _native_counts(truth.studies, answers.native)
    crop = metrics.count(answers.crop, slices.scar)
    sides = {s.patient: _longest_side_mm(slices, s.patient) for s in truth.studies}
    sizes = measures.measure_patients(truth.studies, answers.native, sides)
    patient_fold = {
        str(p): int(f) for p, f in zip(slices.patient, answers.fold, strict=True)
    }
    return Results(
        summary=_summary(truth, answers, about, history, native, crop, sizes),
        slices=tuple(_slice_rows(slices, answers, native, crop)),
        patients=tuple(
            _patient_rows(slices, patient_fold, answers.seeds, native, crop, sizes)
        ),
        pictures=_pictures(slices, answers),
        native_pictures=native_pictures(truth.studies, slices, answers.native),
        history=tuple(history),
    )


def _summary(truth, answers, about, history, native, crop, sizes) -> Summary:
    slices, studies = truth.slices, truth.studies
    by_patient = native.pooled(slices.patient)
    drawn = slices.myocardium.any(axis=(1, 2))
    tested = {study.patient for study in studies}
    several = [record for name, record in truth.readers.items() if name in tested]
    at_half = crop_at_half = None
    if answers.native_probability is not None:
        half = {p: said >= 0.5 for p, said in answers.native_probability.items()}
        at_half = figures(_native_counts(studies, half), slices.patient)
        called = answers.crop_probability >= 0.5
        crop_at_half = figures(metrics.count(called, slices.scar), slices.patient)
    return Summary(
        about=about,
        patients=len(studies),
        slices=len(slices.patient),
        scar_slices=int((native.true_px[0] > 0).sum()),
        rows=native.tp.size,
        folds=len(np.unique(answers.fold)),
        seeds=tuple(answers.seeds),
        myocardium_slices=int(drawn.sum()),
        contained_slices=int((slices.contained & drawn).sum()),
        native=figures(native, slices.patient),
        crop=figures(crop, slices.patient),
        native_at_half=at_half,
        crop_at_half=crop_at_half,
        by_seed=_by_seed(native, slices.patient, answers.seeds),
        intervals=_intervals(native, by_patient, slices.patient),
        empty_slices=measures.empty_masks(native),
        empty_patients=measures.empty_masks(by_patient),
        detection_slices=measures.detection(native),
        detection_patients=measures.detection(by_patient),
        distances=_distances(sizes, by_patient),
        volume_ml=_agreement(sizes.true_ml, sizes.called_ml),
        percent_lv=_percent_lv(sizes),
        calibration=_calibration(studies, answers, about.protocol),
        readers=consensus.summarise(several) if several else None,
        optimism=optimism(history) if history and about.selection != "oracle" else None,
        empty_mask_rule=EMPTY_MASK_RULE,
        pooling_rule=POOLING_RULE,
        distance_rule=measures.DISTANCE_RULE,
    )


def figures(counts: Counts, patient: np.ndarray) -> Figures:
    """Returns the headline figures of one grid.

    Args:
      counts: Of (seeds, n) slices.
      patient: (n,) whose they are.
    """
    scarred = counts.true_px > 0
    se, sp = spread(counts.sensitivity[scarred]), spread(counts.specificity)
    dice = metrics.patients_dice(counts.pooled(patient))
    return Figures(
        acc=spread(counts.accuracy),
        sp=sp,
        se=se,
        dsc=spread(counts.dice[scarred]),
        contingency=Contingency(
            scar_as_scar=se.median,
            scar_as_background=None if se.median is None else 1 - se.median,
            background_as_scar=None if sp.median is None else 1 - sp.median,
            background_as_background=sp.median,
        ),
        failures=metrics.failures(counts, patient),
        dice_3d=spread(dice),
        dice_3d_mean=mean_sd(dice),
    )


def optimism(history: Sequence[EpochRecord]) -> Optimism:
    """Returns how good the test patients look by what chooses the epoch."""
    networks: dict[tuple, list[EpochRecord]] = {}
    for row in history:
        networks.setdefault((row.fold, row.seed), []).append(row)
    by_validation = [
        max(epochs, key=lambda row: row.validation_dsc).test_dsc
        for epochs in networks.values()
    ]
    return Optimism(
        last=float(np.mean([epochs[-1].test_dsc for epochs in networks.values()])),
        validation=float(np.mean(by_validation)),
        oracle=float(
            np.mean([max(row.test_dsc for row in e) for e in networks.values()])
        ),
    )


def _native_counts(
    studies: Sequence[Study], called: Mapping[str, np.ndarray]
) -> Counts:
    """Returns the (seeds, N) counts of all slices on the images' own grids."""
    return metrics.concatenate(
        [metrics.count(called[s.patient], np.asarray(s.scar)) for s in studies]
    )


def _longest_side_mm(slices: Slices, patient: str) -> float:
    return float(slices.side_mm[slices.patient == patient].max())


def _by_seed(counts: Counts, patient, seeds: Sequence[int]) -> tuple[SeedFigures, ...]:
    rows = []
    for index, seed in enumerate(seeds):
        own = figures(counts.of_seed(index), patient)
        rows.append(
            SeedFigures(
                seed=seed,
                dsc=own.dsc.median,
                dice_3d=own.dice_3d_mean.mean,
                missed=own.failures.missed.slices,
                false=own.failures.false.slices,
            )
        )
    return tuple(rows)


def _intervals(counts: Counts, by_patient: Counts, patient: np.ndarray) -> Intervals:
    scarred = counts.true_px[0] > 0
    dsc = counts.dice[:, scarred].ravel()  # each slice for each seed, as the table
    of_patient = np.tile(patient[scarred], len(counts.dice))
    dice = metrics.patients_dice(by_patient)
    return Intervals(
        slice_dsc_median=bootstrap_interval(dsc, of_patient, np.median),
        slice_dsc_mean=bootstrap_interval(dsc, of_patient),
        dice_3d_mean=bootstrap_interval(dice, np.arange(len(dice))),
    )


def _distances(sizes: Measures, by_patient: Counts) -> Distances:
    one_empty = (by_patient.true_px > 0) ^ (by_patient.predicted_px > 0)
    return Distances(
        hd95_mm=measures.centre(sizes.hd95_mm),
        assd_mm=measures.centre(sizes.assd_mm),
        surface_dice=measures.centre(sizes.surface_dice),
        one_empty=int(one_empty.any(axis=0).sum()),
    )


def _agreement(true: np.ndarray, called: np.ndarray) -> Agreement:
    """Returns how called sizes agree with true ones, the mean over seeds, by patient."""
    return agreement(true.mean(axis=0), called.mean(axis=0))


def _percent_lv(sizes: Measures) -> Agreement | None:
    if np.isnan(sizes.true_percent_lv).any():
        return None
    return _agreement(sizes.true_percent_lv, sizes.called_percent_lv)


def _calibration(
    studies: Sequence[Study], answers: Answers, protocol: int
) -> Calibration | None:
    if answers.native_probability is None:
        return None
    said, true = [], []
    for study in studies:
        everywhere = np.ones(study.image.shape, bool)
        region = everywhere if protocol == 1 else np.asarray(study.myocardium)
        own = answers.native_probability[study.patient][:, region]
        said.append(own.ravel())
        scar = np.asarray(study.scar)[region]
        true.append(np.broadcast_to(scar, own.shape).ravel())
    said, true = np.concatenate(said), np.concatenate(true)
    return Calibration(
        region="image" if protocol == 1 else "myocardium",
        ece=expected_calibration_error(said, true),
        brier=brier(said, true),
    )


def _overlaps(counts: Counts) -> list[list[Overlap]]:
    """Returns the record of each of (seeds, n) counts."""
    columns = {
        **vars(counts),
        "acc": counts.accuracy,
        "se": counts.sensitivity,
        "sp": counts.specificity,
        "dsc": counts.dice,
        "true_px": counts.true_px,
        "predicted_px": counts.predicted_px,
    }
    return [
        [
            Overlap(**{name: _number(c[seed, i]) for name, c in columns.items()})
            for i in range(counts.tp.shape[1])
        ]
        for seed in range(counts.tp.shape[0])
    ]


def _slice_rows(slices: Slices, answers: Answers, native: Counts, crop: Counts):
    for seed, on_native, on_crop in zip(
        answers.seeds, _overlaps(native), _overlaps(crop), strict=True
    ):
        for i, (ours, papers) in enumerate(zip(on_native, on_crop, strict=True)):
            yield SliceRow(
                patient=str(slices.patient[i]),
                slice=int(slices.slice[i]),
                fold=int(answers.fold[i]),
                seed=int(seed),
                native=ours,
                crop=papers,
            )


def _patient_rows(slices: Slices, fold, seeds, native, crop, sizes: Measures):
    names, size = np.unique(slices.patient, return_counts=True)
    scarred = native.true_px[0] > 0
    pooled = (_overlaps(counts.pooled(slices.patient)) for counts in (native, crop))
    for number, (on_native, on_crop) in enumerate(zip(*pooled, strict=True)):
        for i, name in enumerate(names.tolist()):
            yield PatientRow(
                patient=name,
                fold=fold[name],
                seed=int(seeds[number]),
                slices=int(size[i]),
                scar_slices=int(scarred[slices.patient == name].sum()),
                native=on_native[i],
                crop=on_crop[i],
                size=Size(**{k: _number(v[number, i]) for k, v in vars(sizes).items()}),
            )


def _number(value: np.generic) -> Any:
    """Returns a Python number, None for NaN."""
    return None if np.isnan(value) else value.item()


def _pictures(slices: Slices, answers: Answers) -> Pictures:
    said = answers.crop_probability
    return Pictures(
        patient=slices.patient,
        slice=slices.slice,
        crop=slices.crop,
        myocardium=slices.myocardium,
        scar=slices.scar,
        pixel_mm=slices.pixel_mm,
        fold=answers.fold,
        called=answers.crop.mean(axis=0) > 0.5,
        probability=None if said is None else said.mean(axis=0).astype(np.float16),
    )
