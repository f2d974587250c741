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
    Coverage,
    Distances,
    Figures,
    Inside,
    Intervals,
    Optimism,
    Overlap,
    PatientRow,
    Pictures,
    Results,
    SeedFigures,
    SeedSpread,
    Size,
    SliceRow,
    Summary,
)
from scarseg_jax.judge.statistics import (
    INTERVAL_RULE,
    bootstrap_interval,
    brier,
    expected_calibration_error,
    mean_interval,
)
from scarseg_jax.judge.ventricle import FoundVentricles, judge_ventricles
from scarseg_jax.judge.windows import native_pictures
from scarseg_jax.run import INTERVAL_LEVEL, EpochRecord
from scarseg_jax.study import Slices, Study

EMPTY_MASK_RULE = (
    "Se and DSC are taken over slices with true scar, a missed scar counting 0; Acc and"
    " Sp over all slices; slices without scar enter DSC nowhere and are counted as"
    " false scars where any pixel is called scar."
)
POOLING_RULE = (
    "Each slice counts once for each seed in the tables and failures; a patient's 3-D"
    " Dice is of all its pixels together, the mean over the seeds."
)
PICTURE_RULE = (
    "Of several seeds, what more than half of them call scar: of two, what both do."
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

    def take(self, which: np.ndarray) -> "Truth":
        """Returns those of (n,) some slices, all of a patient's."""
        slices = self.slices.take(which)
        tested = set(slices.patient.tolist())
        studies = [study for study in self.studies if study.patient in tested]
        return Truth(slices, studies, self.readers)


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
      found: The ventricles that were found, if they were looked for.
      contained: (seeds, N) bool, whether what was looked at holds the slice's whole
        myocardium; None: as the slices say.
      between_ml: Of each patient, (seeds, 2), where the scar's volume shall lie; NaN
        where that cannot be told. None of a method that does not say it.
    """

    fold: np.ndarray
    seeds: Sequence[int]
    crop: np.ndarray
    native: Mapping[str, np.ndarray]
    crop_probability: np.ndarray | None = None
    native_probability: Mapping[str, np.ndarray] | None = None
    found: FoundVentricles | None = None
    contained: np.ndarray | None = None
    between_ml: Mapping[str, np.ndarray] | None = None

    def take(self, which: np.ndarray) -> "Answers":
        """Returns those of (n,) some slices; what is kept by patient stays."""
        said, contained = self.crop_probability, self.contained
        return dataclasses.replace(
            self,
            fold=self.fold[which],
            crop=self.crop[:, which],
            crop_probability=None if said is None else said[:, which],
            contained=None if contained is None else contained[:, which],
        )


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
        crop_at_half = figures(
            metrics.count(called, slices.scar), slices.patient, _area_mm2(slices)
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
        crop=figures(crop, slices.patient, _area_mm2(slices)),
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
        grid_rule=_grid_rule(slices),
        decision_rule=_decision_rule(about),
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


def _area_mm2(slices: Slices) -> np.ndarray:
    """Returns the (N,) area of a pixel of each slice's crop."""
    return slices.pixel_mm.astype(np.float64) ** 2


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


def _grid_rule(slices: Slices) -> str:
    names = np.unique(slices.patient)
    mixed = sum(len(np.unique(slices.side_mm[slices.patient == n])) > 1 for n in names)
    return (
        "First come the images' own pixels, on which a user's mask lies. Beside them the"
        " paper's 64 x 64 pixels of the crops: these differ in size between slices (in"
        f" {mixed} of {len(names)} patients), so a patient's ratios and 3-D Dice weight"
        " them by their area; figures by slice do not."
    )


def _decision_rule(about: About) -> str:
    """Returns in words when scar is called, and what chose that."""
    if not about.decisions:
        return "When scar is called was not recorded."
    what = "probability" if about.run else "score"
    of = "each network" if about.run else "each fold"
    values = {
        what: sorted({d.threshold for d in about.decisions}),
        "area": sorted({d.min_area_mm2 for d in about.decisions}),
    }
    least, area = (
        f"{own[0]:g}" if len(own) == 1 else f"{own[0]:g} to {own[-1]:g}"
        for own in values.values()
    )
    called = (
        f"A pixel is called scar from a {what} of {least}, connected pixels of a slice"
        f" from an area of {area} mm2"
    )
    if about.decided_on == "none":
        return f"{called}; both were fixed beforehand."
    flatters = " (the oracle's: not a result)" if about.decided_on == "test" else ""
    return (
        f"{called}; both were chosen for {of} on its fold's {about.decided_on} patients"
        f"{flatters}: of what comes within two points of the best mean Dice of slices,"
        " one without scar counting 1 if nothing is called in it and else 0, the smallest"
        " area, and the mean of its thresholds. In a patient with no more in all"
        " than a limit none is called: the lowest limit that tells most of the other"
        " patients who chose rightly into those with scar and those without, if it tells"
        " two more than none does."
    )


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


def _overlaps(counts: Counts, weighted: Counts | None = None) -> list[list[Overlap]]:
    """Returns the record of each of (seeds, n) counts.

    Args:
      counts: Of pixels.
      weighted: The same, from which the ratios are taken if not from the pixels.
    """
    ratios = weighted or counts
    columns = {
        **vars(counts),
        "acc": ratios.accuracy,
        "se": ratios.sensitivity,
        "sp": ratios.specificity,
        "dsc": ratios.dice,
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
    pooled = (
        _overlaps(native.pooled(slices.patient)),
        _overlaps(
            crop.pooled(slices.patient),
            crop.pooled(slices.patient, _area_mm2(slices)),
        ),
    )
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
