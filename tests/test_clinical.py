import numpy as np
import pytest

from scarseg_jax.judge import clinical
from scarseg_jax.judge.metrics import Counts, count
from tests.test_evaluate import slices_of, square


def study(shift=0):
    """Patient b has scar of 8 x 4 pixels in one of two slices; a has none."""
    scar = np.stack([square(0), square(0), square(4), square(0)])
    slices = slices_of(["a", "a", "b", "b"], scar)
    slices.spacing_mm[:] = (10, 1, 1)
    called = np.stack([square(0), square(0), square(4, shift), square(0)])
    return slices, called[None]


def test_volumes_are_pixels_times_area_times_slice_distance():
    slices, called = study()
    slices.myocardium[:] = False
    slices.myocardium[:, :16] = True  # 1024 pixels a slice
    got = clinical.measure_patients(slices, called)
    assert got["true_ml"][0].tolist() == pytest.approx([0, 32 * 1.5**2 * 10 / 1000])
    assert got["called_percent_lv"][0, 1] == pytest.approx(100 * 32 / 2048)


def test_a_shifted_scar_is_as_far_as_it_was_shifted():
    slices, called = study(shift=2)
    got = clinical.measure_patients(slices, called)
    assert got["hd95_mm"][0, 1] == pytest.approx(2 * 1.5)
    assert np.isnan(got["hd95_mm"][0, 0])  # neither true nor called scar
    same = clinical.measure_patients(slices, study()[1])
    assert (same["hd95_mm"][0, 1], same["surface_dice"][0, 1]) == (0, 1)


def test_a_crop_that_moves_does_not_move_the_scar():
    slices, called = study(shift=2)
    slices.centre_px[2] += 5
    moved = clinical.measure_patients(slices, called)
    assert moved["assd_mm"][0, 1] == pytest.approx(
        clinical.measure_patients(study()[0], called)["assd_mm"][0, 1]
    )


def test_a_missed_scar_is_penalised_and_counted():
    slices, called = study()
    called[:] = False
    counts = count(called, slices.scar)
    measures = clinical.measure_patients(slices, called)
    assert measures["hd95_mm"][0, 1] == pytest.approx(np.sqrt(2) * 96)
    summary = clinical.describe(slices, counts, measures, None, inside=True)
    assert summary["distances"]["one_empty"] == 1
    assert summary["distances"]["surface_dice"]["mean"] == 0
    assert summary["detection"]["slices"] == {"sensitivity": 0, "specificity": 1}


def test_the_empty_mask_rules_closed_form():
    # Both empty, false scar, half right, missed.
    counts = Counts(
        *(np.array([row]) for row in ((0, 0, 4, 0), (0, 3, 4, 0), (0, 0, 4, 5))),
        tn=np.full((1, 4), 9),
    )
    assert clinical.empty_mask_rules(counts) == {
        "scar_only": 0.25,
        "empty_is_1": 1.5 / 4,
        "both_empty_excluded": pytest.approx(0.5 / 3),
        "empty_is_0": 0.5 / 4,
    }


def test_certain_and_right_is_calibrated():
    slices, called = study()
    summary = clinical.describe(
        slices,
        count(called, slices.scar),
        clinical.measure_patients(slices, called),
        called.astype(np.float32),
        inside=True,
    )
    assert summary["calibration"] == {"region": "myocardium", "ece": 0, "brier": 0}
    assert summary["volume_ml"]["bias"] == 0
    assert summary["volume_ml"]["ccc"] == pytest.approx(1)


def test_each_seed_counts_and_a_patient_is_left_out_by_none():
    scar = np.stack([square(0), square(4), square(2)])
    slices = slices_of(["a", "b", "c"], scar)
    false = scar.copy()
    false[0, 4:8, 4:8] = True
    called = np.stack([scar, scar, false, np.zeros_like(scar)])
    counts = count(called, slices.scar)
    summary = clinical.describe(
        slices, counts, clinical.measure_patients(slices, called), None, inside=True
    )
    # Three seeds in four are right, whichever patients are drawn.
    assert summary["intervals"]["slice_dsc_median"] == [1.0, 1.0]
    # The seed that calls scar falsely brings its patient in, at the penalty.
    assert summary["distances"]["hd95_mm"]["n"] == 3
    assert summary["distances"]["one_empty"] == 3
