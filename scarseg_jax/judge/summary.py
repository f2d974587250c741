"""Masks and truth to `Results`: on the image's own grid and on the paper's.

The images' own grids come first: there lies the mask that a user gets.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.judge import consensus, measures, metrics
from scarseg_jax.judge.agreement import Agreement, agreement
from scarseg_jax.judge.answers import Answers, Truth
from scarseg_jax.judge.measures import Measures
from scarseg_jax.judge.metrics import Counts, mean_sd, spread
from scarseg_jax.judge.results import (
    About,
    Calibration,
    Contingency,
    Coverage,
    Distances,
    Figures,
    Inside,
    Intervals,
    Optimism,
    Pictures,
    Results,
    SeedFigures,
    SeedSpread,
    Summary,
)
from scarseg_jax.judge.rows import patient_rows, slice_rows
from scarseg_jax.judge.rules import (
    EMPTY_MASK_RULE,
    PICTURE_RULE,
    POOLING_RULE,
    decision_rule,
    grid_rule,
)
from scarseg_jax.judge.statistics import (
    INTERVAL_RULE,
    bootstrap_interval,
    brier,
    expected_calibration_error,
    mean_interval,
)
from scarseg_jax.judge.ventricle import judge_ventricles
from scarseg_jax.judge.windows import native_pictures
from scarseg_jax.run import INTERVAL_LEVEL, EpochRecord
from scarseg_jax.study import Slices, Study


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
    found = answers.found.myocardium if answers.found else None
    sizes = measures.measure_patients(truth.studies, answers.native, sides, found)
    patient_fold = {
        str(p): int(f) for p, f in zip(slices.patient, answers.fold, strict=True)
    }
    return Results(
        summary=_summary(truth, answers, about, history, native, crop, sizes),
        slices=tuple(slice_rows(slices, answers, native, crop)),
        patients=tuple(
            patient_rows(slices, patient_fold, answers.seeds, native, crop, sizes)
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
        crop_at_half = figures(
            metrics.count(called, slices.scar), slices.patient, slices.pixel_mm2
        )
    by_seed = _by_seed(native, slices.patient, answers.seeds, sizes)
    return Summary(
        about=about,
        patients=len(studies),
        slices=len(slices.patient),
        scar_slices=int((native.true_px[0] > 0).sum()),
        rows=native.tp.size,
        folds=len(np.unique(answers.fold)),
        seeds=tuple(answers.seeds),
        myocardium_slices=int(drawn.sum()),
        contained_slices=int((_contained(truth, answers) & drawn).sum()),
        native=figures(native, slices.patient),
        crop=figures(crop, slices.patient, slices.pixel_mm2),
        native_at_half=at_half,
        crop_at_half=crop_at_half,
        inside=_inside(studies, answers.native),
        by_seed=by_seed,
        seed_spread=_seed_spread(by_seed),
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
        grid_rule=grid_rule(slices),
        decision_rule=decision_rule(about),
        interval_rule=INTERVAL_RULE,
        picture_rule=PICTURE_RULE,
        ventricle=judge_ventricles(studies, answers.found) if answers.found else None,
        coverage=_coverage(studies, answers),
    )


def _contained(truth: Truth, answers: Answers) -> np.ndarray:
    """Returns (N,) bool, of several seeds whether all hold the myocardium."""
    if answers.contained is None:
        return truth.slices.contained
    return np.all(answers.contained, axis=0)


def _coverage(studies: Sequence[Study], answers: Answers) -> Coverage | None:
    """Returns how often scar's volume lies where it was said to; None if never said."""
    if answers.between_ml is None:
        return None
    low, high = np.stack([answers.between_ml[s.patient] for s in studies]).T
    true = [s.geometry.volume_ml(np.asarray(s.scar)) for s in studies]
    told = np.isfinite(low)
    if not told.any():
        return None
    # What is written down is rounded.
    inside = (low <= np.array(true) + 1e-3) & (np.array(true) - 1e-3 <= high) & told
    return Coverage(
        INTERVAL_LEVEL, int(told.sum()), int(inside.sum()), spread((high - low)[told])
    )


def figures(
    counts: Counts, patient: np.ndarray, area_mm2: np.ndarray | None = None
) -> Figures:
    """Returns the headline figures of one grid.

    Args:
      counts: Of (seeds, n) slices.
      patient: (n,) whose they are.
      area_mm2: (n,) of a pixel, where a patient's slices differ in it.
    """
    scarred = counts.true_px > 0
    se, sp = spread(counts.sensitivity[scarred]), spread(counts.specificity)
    dice = metrics.patients_dice(counts.pooled(patient, area_mm2))
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


def _inside(
    studies: Sequence[Study], called: Mapping[str, np.ndarray]
) -> Inside | None:
    """Returns the figures of the myocardium's pixels, of slices that have some."""
    if any(study.myocardium is None for study in studies):
        return None
    parts = [
        metrics.count(called[s.patient], np.asarray(s.scar), np.asarray(s.myocardium))
        for s in studies
    ]
    counts = metrics.concatenate(parts)
    pixels = counts.tp + counts.fp + counts.fn + counts.tn
    nothing = np.full(pixels.shape, np.nan)
    np.divide(pixels - counts.true_px, pixels, out=nothing, where=pixels > 0)
    return Inside(
        acc=spread(counts.accuracy),
        sp=spread(counts.specificity),
        acc_of_nothing=spread(nothing[:1]),
    )


def _by_seed(
    counts: Counts, patient, seeds: Sequence[int], sizes: Measures
) -> tuple[SeedFigures, ...]:
    rows = []
    for index, seed in enumerate(seeds):
        own = figures(counts.of_seed(index), patient)
        mm = _distances(sizes.of_seed(index), counts.of_seed(index).pooled(patient))
        size = sizes.of_seed(index)
        rows.append(
            SeedFigures(
                seed=seed,
                dsc=own.dsc.median,
                dice_3d=own.dice_3d_mean.mean,
                missed=own.failures.missed.slices,
                false=own.failures.false.slices,
                acc=own.acc.median,
                sp=own.sp.median,
                se=own.se.median,
                hd95_mm=mm.hd95_mm.median,
                surface_dice=mm.surface_dice.mean,
                bias_ml=_agreement(size.true_ml, size.called_ml).bland_altman.bias,
            )
        )
    return tuple(rows)


def _seed_spread(by_seed: Sequence[SeedFigures]) -> dict[str, SeedSpread]:
    if len(by_seed) < 2:
        return {}
    found = {}
    for field in dataclasses.fields(SeedFigures):
        values = [getattr(own, field.name) for own in by_seed]
        if field.name == "seed" or None in values:
            continue
        of = np.array(values, float)
        found[field.name] = SeedSpread(
            mean=float(of.mean()),
            sd=float(of.std(ddof=1)),
            min=float(of.min()),
            max=float(of.max()),
        )
    return found


def _intervals(counts: Counts, by_patient: Counts, patient: np.ndarray) -> Intervals:
    scarred = counts.true_px[0] > 0
    dsc = counts.dice[:, scarred].ravel()  # each slice for each seed, as the table
    of_patient = np.tile(patient[scarred], len(counts.dice))
    dice = metrics.patients_dice(by_patient)
    return Intervals(
        slice_dsc_median=bootstrap_interval(dsc, of_patient, np.median),
        slice_dsc_mean=mean_interval(dsc, of_patient, within=(0, 1)),
        dice_3d_mean=mean_interval(dice, np.arange(len(dice)), within=(0, 1)),
    )


def _distances(sizes: Measures, by_patient: Counts) -> Distances:
    true, called = by_patient.true_px > 0, by_patient.predicted_px > 0
    scarred = true[0]

    def penalised(distance: np.ndarray) -> np.ndarray:
        return np.where(called, distance, sizes.penalty_mm)[:, scarred]

    return Distances(
        hd95_mm=measures.centre(sizes.hd95_mm[:, scarred]),
        assd_mm=measures.centre(sizes.assd_mm[:, scarred]),
        surface_dice=measures.centre(sizes.surface_dice[:, scarred]),
        hd95_penalised_mm=measures.centre(penalised(sizes.hd95_mm)),
        assd_penalised_mm=measures.centre(penalised(sizes.assd_mm)),
        one_empty=int((true ^ called).any(axis=0).sum()),
        missed=int((true & ~called).any(axis=0).sum()),
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
        region = np.asarray(study.myocardium) if protocol == 2 else everywhere
        own = answers.native_probability[study.patient][:, region]
        said.append(own.ravel())
        scar = np.asarray(study.scar)[region]
        true.append(np.broadcast_to(scar, own.shape).ravel())
    said, true = np.concatenate(said), np.concatenate(true)
    return Calibration(
        region="myocardium" if protocol == 2 else "image",
        ece=expected_calibration_error(said, true),
        brier=brier(said, true),
    )


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
