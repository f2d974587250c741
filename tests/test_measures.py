import dataclasses

import numpy as np
import pytest

from scarseg_jax.judge.measures import (
    Centre,
    Detection,
    EmptyMasks,
    centre,
    detection,
    empty_masks,
    measure_patients,
)
from scarseg_jax.judge.metrics import Counts
from scarseg_jax.judge.results import Calibration
from scarseg_jax.judge.summary import judge
from scarseg_jax.study import Geometry
from tests.builders import about, answers_of, plain_study, square, truth_of, turned

SPACING_MM = (10.0, 1.5, 1.5)
SIDES_MM = {"a": 96.0, "b": 96.0}


def study_of(patient, scar, geometry=None, **masks):
    """A study of 1.5 mm pixels and slices 10 mm apart, unless a geometry says so."""
    geometry = geometry or Geometry.upright(len(scar), SPACING_MM)
    return dataclasses.replace(plain_study(patient, scar, **masks), geometry=geometry)


def cohort():
    """Patient b has scar of 4 x 8 pixels in one of two slices; a has none."""
    wall = np.zeros((2, 64, 64), bool)
    wall[:, :16] = True  # 1024 pixels a slice
    scarred = np.stack([square(4), square(0)])
    return [
        study_of("a", np.zeros_like(wall), myocardium=wall),
        study_of("b", scarred, myocardium=wall),
    ]


def called_of(shift=0):
    """What one seed calls in the cohort: its scar, but for a shift."""
    scarred = np.stack([square(4, shift), square(0)])
    return {"a": np.zeros((1, 2, 64, 64), bool), "b": scarred[None]}


def stack(positions_mm):
    """Upright slices of 1.5 mm pixels at the given places, whose header says 10 mm."""
    affines = np.tile(np.diag([1.5, 1.5, 10.0, 1.0]), (len(positions_mm), 1, 1))
    affines[:, 2, 3] = positions_mm
    return Geometry(affines, SPACING_MM)


def measure(study, *called):
    """A single study's measures, a row of one for each mask called."""
    masks = {study.patient: np.stack(called)}
    return measure_patients([study], masks, {study.patient: 96.0})


def test_volumes_are_pixels_times_area_times_slice_distance():
    got = measure_patients(cohort(), called_of(), SIDES_MM)
    assert got.true_ml[0].tolist() == pytest.approx([0, 32 * 1.5**2 * 10 / 1000])
    assert got.called_ml[0].tolist() == pytest.approx(got.true_ml[0].tolist())
    assert got.called_percent_lv[0].tolist() == pytest.approx([0, 100 * 32 / 2048])
    assert got.true_percent_lv[0, 1] == pytest.approx(100 * 32 / 2048)


def test_slices_at_uneven_places_stand_for_half_the_way_to_their_neighbours():
    geometry = stack([0, 10, 16, 30])
    scar = np.stack([square(rows) for rows in (1, 2, 3, 4)])
    wall = np.ones((4, 64, 64), bool)
    got = measure(study_of("a", scar, geometry, myocardium=wall), scar)
    ml = 8 * 1.5**2 * (1 * 10 + 2 * 8 + 3 * 10 + 4 * 14) / 1000
    assert got.true_ml.item() == pytest.approx(ml)
    lv_ml = 64**2 * 1.5**2 * (10 + 8 + 10 + 14) / 1000
    assert got.true_percent_lv.item() == pytest.approx(100 * ml / lv_ml)


def test_a_slice_alone_has_the_headers_thickness():
    scar = square(4)[None]
    got = measure(study_of("a", scar), scar)
    assert got.true_ml.item() == pytest.approx(32 * 1.5**2 * 10 / 1000)


def test_without_a_myocardium_there_is_no_share_of_it():
    scar = square(4)[None]
    for wall in (None, np.zeros((1, 64, 64), bool)):
        got = measure(study_of("a", scar, myocardium=wall), scar)
        assert np.isnan(got.true_percent_lv).all()
        assert np.isnan(got.called_percent_lv).all()
        assert got.true_ml.item() > 0


def test_a_shifted_scar_is_as_far_as_it_was_shifted():
    got = measure_patients(cohort(), called_of(shift=2), SIDES_MM)
    assert got.hd95_mm[0, 1] == pytest.approx(2 * 1.5)
    assert np.isnan(got.hd95_mm[0, 0])  # neither true nor called scar
    same = measure_patients(cohort(), called_of(), SIDES_MM)
    assert (same.hd95_mm[0, 1], same.surface_dice[0, 1]) == (0, 1)


def test_each_axis_of_oblong_pixels_has_its_own_length():
    geometry = Geometry.upright(1, (10.0, 3.0, 0.5))
    scar = np.zeros((1, 64, 64), bool)
    scar[0, 20, 30] = True
    study = study_of("a", scar, geometry)
    got = measure(study, np.roll(scar, 2, axis=1), np.roll(scar, 8, axis=2))
    assert got.hd95_mm[:, 0].tolist() == pytest.approx([2 * 3, 8 * 0.5])
    assert got.called_ml[:, 0].tolist() == pytest.approx([1.5 * 10 / 1000] * 2)


def test_scar_called_in_the_next_slice_is_as_far_as_that_slice():
    geometry = stack([0, 10, 16])
    scar = np.stack([square(3), square(0), square(0)])
    got = measure(
        study_of("a", scar, geometry),
        np.roll(scar, 1, axis=0),
        np.roll(scar, 2, axis=0),
    )
    assert got.hd95_mm[:, 0].tolist() == pytest.approx([10, 16])
    assert got.assd_mm[:, 0].tolist() == pytest.approx([10, 16])


def test_where_the_patient_lies_in_the_scanner_has_no_influence(rng):
    scar, called = rng.random((2, 3, 64, 64)) < 0.1
    upright = stack([0, 10, 16])
    one, other = (
        measure(study_of("a", scar, geometry), called)
        for geometry in (upright, turned(upright))
    )
    for name, value in vars(one).items():
        assert value.item() == pytest.approx(getattr(other, name).item(), rel=1e-9)


def test_a_slice_shifted_by_a_breath_hold_does_not_move_the_scar_in_it():
    study = cohort()[1]
    affines = study.geometry.affines.copy()
    affines[0, :2, 3] += 7.5
    shifted = dataclasses.replace(study, geometry=Geometry(affines, SPACING_MM))
    called = called_of(shift=2)["b"][0]
    got = measure(shifted, called)
    assert got.assd_mm.item() == measure(study, called).assd_mm.item() > 0
    assert got.true_ml.item() == measure(study, called).true_ml.item()


def test_a_crop_that_moves_does_not_move_the_scar():
    truth = truth_of(cohort())
    shifted = np.concatenate(list(called_of(shift=2).values()), axis=1)
    answers = answers_of(truth, shifted.astype(np.float32), fold=[0] * 4)
    truth.slices.centre_px[2] += 5
    *_, b = judge(truth, answers, about()).patients
    size = measure_patients(cohort(), called_of(shift=2), SIDES_MM)
    assert b.size.assd_mm == size.assd_mm[0, 1] > 0
    assert b.size.hd95_mm == size.hd95_mm[0, 1] > 0


def test_every_seed_is_a_row_and_every_patient_a_column():
    studies = cohort()
    called = {
        "a": np.stack([studies[0].image > np.inf, np.ones((2, 64, 64), bool)]),
        "b": np.stack([called_of()["b"][0], np.zeros((2, 64, 64), bool)]),
    }
    got = measure_patients(studies, called, SIDES_MM)
    ml = 2.25 * 10 / 1000
    np.testing.assert_allclose(got.called_ml, ml * np.array([[0, 32], [8192, 0]]))
    np.testing.assert_allclose(got.true_ml, ml * np.array([[0, 32], [0, 32]]))


def test_a_missed_or_false_scar_has_no_distance_but_a_penalty():
    """The diagonal of the longest crop."""
    studies, sides_mm = cohort(), {"a": 80.0, "b": 120.0}
    missed_or_false = {
        "a": np.ones((1, 2, 64, 64), bool),
        "b": np.zeros((1, 2, 64, 64), bool),
    }
    got = measure_patients(studies, missed_or_false, sides_mm)
    assert np.isnan([got.hd95_mm, got.assd_mm]).all()
    assert got.surface_dice[0].tolist() == [0, 0]
    diagonals = [np.sqrt(2) * s for s in (80, 120)]
    assert got.penalty_mm[0].tolist() == pytest.approx(diagonals)


def test_a_patients_centre_is_over_the_seeds_that_define_it():
    values = np.array([[np.nan, 1.0, 3.0, 9.0], [np.nan, np.nan, 5.0, 9.0]])
    # Nothing, 1, 4 and 9.
    found = centre(values)
    expected = (14 / 3, 4, np.std([1, 4, 9], ddof=1), 3)
    assert dataclasses.astuple(found) == pytest.approx(expected)
    assert centre(values[:, :1]) == Centre(None, None, None, 0)
    assert centre(values[:, 1:2]) == Centre(1, 1, None, 1)


def test_the_empty_mask_rules_closed_form():
    # Both empty, false scar, half right, missed.
    counts = Counts(
        *(np.array([row]) for row in ((0, 0, 4, 0), (0, 3, 4, 0), (0, 0, 4, 5))),
        tn=np.full((1, 4), 9),
    )
    rules = empty_masks(counts)
    assert rules.scar_only == 0.25
    assert rules.empty_is_1 == 1.5 / 4
    assert rules.both_empty_excluded == pytest.approx(0.5 / 3)
    assert rules.empty_is_0 == 0.5 / 4


def test_without_any_scar_only_the_rules_that_count_empty_masks_have_a_mean():
    nothing = np.zeros((2, 3), int)
    counts = Counts(tp=nothing, fp=nothing, fn=nothing, tn=nothing + 9)
    assert empty_masks(counts) == EmptyMasks(None, 1, None, 0)


def test_detection_counts_what_has_any_pixel_over_all_seeds():
    # Two seeds: found and missed; false and right; found twice.
    counts = Counts(
        tp=np.array([[1, 0, 5], [0, 0, 1]]),
        fp=np.array([[0, 1, 3], [0, 0, 0]]),
        fn=np.array([[4, 0, 0], [5, 0, 4]]),
        tn=np.full((2, 3), 9),
    )
    assert detection(counts) == Detection(sensitivity=3 / 4, specificity=1 / 2)


def test_detection_is_undefined_without_scar_or_without_its_absence():
    some, none = np.ones((1, 2), int), np.zeros((1, 2), int)
    assert detection(Counts(some, none, none, none)) == Detection(1, None)
    assert detection(Counts(none, none, none, some)) == Detection(None, 1)


def judged(studies, called, *, protocol=2):
    """The summary of (seeds, N, 64, 64) probabilities, called from one half."""
    truth = truth_of(studies)
    answers = answers_of(
        truth, called, fold=[0] * called.shape[1], seeds=range(len(called))
    )
    return judge(truth, answers, about(protocol=protocol)).summary


def scar_of(studies):
    """One seed's probabilities that are certain and right."""
    return np.concatenate([np.asarray(s.scar) for s in studies]).astype(np.float32)[
        None
    ]


def test_a_missed_scar_is_penalised_apart_and_counted():
    studies = cohort()
    summary = judged(studies, 0 * scar_of(studies))
    diagonal = pytest.approx(np.sqrt(2) * 96)
    distances = summary.distances
    assert distances.hd95_mm == distances.assd_mm == Centre(None, None, None, 0)
    for penalised in (distances.hd95_penalised_mm, distances.assd_penalised_mm):
        assert (penalised.mean, penalised.median, penalised.n) == (*[diagonal] * 2, 1)
    assert (distances.one_empty, distances.missed) == (1, 1)
    assert (distances.surface_dice.mean, distances.surface_dice.n) == (0, 1)
    assert summary.detection_slices == Detection(sensitivity=0, specificity=1)


def test_distances_are_of_patients_with_scar_and_a_false_scar_is_none():
    """a has no scar, of b two of three seeds find it, 3 mm off."""
    studies = cohort()
    near = np.concatenate([called_of(shift=2)[name][0] for name in "ab"])
    false = near.copy()
    false[0, 30:40, 30:40] = True
    called = np.stack([near, false, np.zeros_like(near)]).astype(np.float32)
    distances = judged(studies, called).distances
    assert (distances.hd95_mm.mean, distances.hd95_mm.n) == (pytest.approx(3), 1)
    both = (3 + 3 + np.sqrt(2) * 96) / 3
    assert distances.hd95_penalised_mm.mean == pytest.approx(both)
    assert distances.surface_dice.mean == pytest.approx(2 / 3)
    assert (distances.one_empty, distances.missed) == (2, 1)


def test_inside_the_myocardium_an_empty_answer_is_as_wrong_as_scar_is_large():
    studies = cohort()  # 32 pixels of scar in one of four walls of 1024
    nothing = judged(studies, 0 * scar_of(studies))
    assert nothing.inside is not None
    assert nothing.inside.acc == nothing.inside.acc_of_nothing
    assert nothing.inside.acc.q1 == pytest.approx(1 - 32 / 1024 / 4)
    assert nothing.native.acc.q1 == pytest.approx(1 - 32 / 4096 / 4)
    assert nothing.inside.sp.median == 1
    right = judged(studies, scar_of(studies)).inside
    assert right is not None
    assert (right.acc.q1, right.acc.n) == (1, 4)
    everything = judged(studies, 0 * scar_of(studies) + 1).inside
    assert everything is not None
    assert everything.sp.median == 0
    bare = [dataclasses.replace(s, myocardium=None) for s in studies]
    truth = dataclasses.replace(truth_of(studies), studies=bare)
    answers = answers_of(truth, scar_of(studies), fold=[0] * 4)
    assert judge(truth, answers, about(protocol=1)).summary.inside is None


def test_certain_and_right_is_calibrated():
    studies = cohort()
    summary = judged(studies, scar_of(studies))
    assert summary.calibration == Calibration(region="myocardium", ece=0, brier=0)
    assert summary.volume_ml.bland_altman.bias == 0
    assert summary.volume_ml.ccc == pytest.approx(1)


def test_calibration_is_of_the_pixels_that_the_protocol_looks_at():
    # One half on 1024 pixels of the wall of each slice, one quarter elsewhere.
    studies = cohort()
    walls = np.concatenate([np.asarray(s.myocardium) for s in studies])
    said = np.where(walls, 0.5, 0.25)[None]
    inside = judged(studies, said.astype(np.float32)).calibration
    assert inside is not None
    assert (inside.region, inside.brier) == ("myocardium", 0.25)
    assert inside.ece == pytest.approx(0.5 - 32 / 4096)
    whole = judged(studies, said.astype(np.float32), protocol=1).calibration
    assert whole is not None
    assert whole.region == "image"
    assert whole.brier == pytest.approx((1024 * 0.25 + 3072 * 0.0625) / 4096)


def test_each_seed_counts_and_a_patient_is_left_out_by_none():
    scar = np.stack([square(0), square(4), square(2)])
    studies = [study_of(name, s[None]) for name, s in zip("abc", scar, strict=True)]
    false = scar.copy()
    false[0, 4:8, 4:8] = True
    called = np.stack([scar, scar, false, np.zeros_like(scar)]).astype(np.float32)
    summary = judged(studies, called)
    # Three seeds in four are right, whichever patients are drawn.
    assert summary.intervals.slice_dsc_median == (1.0, 1.0)
    # The patient without scar brings in no distance where a seed calls some.
    assert (summary.distances.hd95_mm.mean, summary.distances.hd95_mm.n) == (0, 2)
    assert (summary.distances.one_empty, summary.distances.missed) == (3, 2)
