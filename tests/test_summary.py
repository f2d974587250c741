import dataclasses

import numpy as np
import pytest

from scarseg_jax.errors import InputError
from scarseg_jax.judge.answers import Answers, Truth
from scarseg_jax.judge.consensus import PatientReaders, ReaderScore
from scarseg_jax.judge.measures import Detection
from scarseg_jax.judge.metrics import Failures, Spread, Tally
from scarseg_jax.judge.results import Contingency, Optimism
from scarseg_jax.judge.summary import judge, optimism
from scarseg_jax.prepare.cut import cut
from scarseg_jax.run import Decision, EpochRecord
from tests.builders import (
    about,
    answers_of,
    draw_study,
    plain_study,
    square,
    truth_of,
    two_patients,
)

FOLD = (0, 0, 1, 1)


@pytest.fixture
def truth():
    """Patient b has a slice of 16 scar pixels and one of 32; a has none."""
    return two_patients()[0]


@pytest.fixture
def probability():
    """Seed 0: right, false scar, half of the scar and as much again, missed scar."""
    return two_patients()[1]


def perfect(truth):
    """What a seed says that is right everywhere."""
    return np.where(truth.slices.scar, 0.75, 0.25).astype(np.float32)


def run(truth, probability, *, selection="last", protocol=2, **answers):
    return judge(
        truth,
        answers_of(truth, probability, **{"fold": FOLD, **answers}),
        about(protocol=protocol, selection=selection),
    )


def test_the_summary_takes_se_and_dsc_over_slices_with_scar(truth, probability):
    summary = run(truth, probability).summary
    quarter = Spread(median=0.25, q1=0.125, q3=0.375, iqr=0.25, n=2)
    for figures in (summary.native, summary.crop):
        assert figures.se == figures.dsc == quarter
        assert figures.acc.n == figures.sp.n == 4
        one_of_two = Tally(slices=1, patients=1, of_slices=2)
        assert figures.failures == Failures(missed=one_of_two, false=one_of_two)
        sp = (4088 / 4096 + 1) / 2
        assert figures.sp.median == sp
        assert figures.contingency == Contingency(
            scar_as_scar=0.25,
            scar_as_background=0.75,
            background_as_scar=1 - sp,
            background_as_background=sp,
        )
        dice = figures.dice_3d_mean
        assert (dice.mean, dice.sd, dice.n) == (0.25, None, 1)
        assert figures.dice_3d == Spread(0.25, 0.25, 0.25, 0.0, 1)


def test_the_summary_says_what_was_run_and_counts_it(truth, probability):
    contained = np.array([False, True, True, True])
    slices = dataclasses.replace(truth.slices, contained=contained)
    summary = run(dataclasses.replace(truth, slices=slices), probability).summary
    assert summary.about == about()
    counted = ("patients", "slices", "scar_slices", "folds", "rows")
    assert [getattr(summary, name) for name in counted] == [2, 4, 2, 2, 4]
    assert summary.seeds == (0,)
    assert (summary.contained_slices, summary.myocardium_slices) == (3, 4)


def test_a_slice_without_myocardium_counts_as_no_crop_that_holds_it(truth, probability):
    myocardium = truth.slices.myocardium.copy()
    myocardium[2] = False
    slices = dataclasses.replace(truth.slices, myocardium=myocardium)
    summary = run(dataclasses.replace(truth, slices=slices), probability).summary
    assert (summary.contained_slices, summary.myocardium_slices) == (3, 3)


def test_seeds_are_pooled_in_the_tables_and_averaged_in_a_patients_dice(
    truth, probability
):
    both = np.stack([probability[0], perfect(truth)])
    found = run(truth, both, seeds=(0, 7))
    summary = found.summary
    assert [row.seed for row in found.slices] == [0] * 4 + [7] * 4
    assert [row.native.dsc for row in found.slices[4:]] == [None, None, 1, 1]
    assert [row.seed for row in found.patients] == [0, 0, 7, 7]
    assert (summary.rows, summary.native.dsc.n) == (8, 4)
    assert summary.native.dsc.median == 0.75  # of 0, 0.5, 1 and 1
    assert summary.native.failures.missed == Tally(1, 1, of_slices=4)
    dice = summary.native.dice_3d_mean
    assert (dice.mean, dice.n) == ((0.25 + 1) / 2, 1)
    first, second = summary.by_seed
    of = ("seed", "dsc", "dice_3d", "missed", "false", "se")
    assert [getattr(first, name) for name in of] == [0, 0.25, 0.25, 1, 1, 0.25]
    assert [getattr(second, name) for name in of] == [7, 1, 1, 0, 0, 1]
    # Of a 8 pixels are called falsely, of b 16 less than there are.
    assert first.bias_ml == pytest.approx((8 + 16 - 48) / 2000)
    assert (second.bias_ml, second.hd95_mm, second.surface_dice) == (0, 0, 1)
    spread = summary.seed_spread["dsc"]
    assert (spread.mean, spread.min, spread.max) == (0.625, 0.25, 1)
    assert spread.sd == pytest.approx(0.75 / np.sqrt(2))
    assert set(summary.seed_spread) == set(vars(first)) - {"seed"}
    assert found.pictures.probability is not None
    np.testing.assert_array_equal(found.pictures.probability, both.mean(axis=0))


def test_the_order_of_the_patients_changes_no_summary(truth, probability):
    other, said = two_patients(healthy="b", scarred="a")
    assert other.slices.scar[:2].any()  # the one with scar is first now
    found = run(other, said, fold=(1, 1, 0, 0))
    one = run(truth, probability)
    assert found.summary == one.summary
    names = {"a": "b", "b": "a"}
    renamed = [dataclasses.replace(r, patient=names[r.patient]) for r in found.patients]
    assert sorted(renamed, key=lambda row: row.patient) == list(one.patients)


def test_a_mirror_changes_nothing(truth, probability):
    mirrored = truth_of(
        [
            plain_study(s.patient, np.ascontiguousarray(s.scar[:, ::-1, ::-1]))
            for s in truth.studies
        ]
    )
    found = run(mirrored, probability[..., ::-1, ::-1])
    one = run(truth, probability)
    assert found.summary == one.summary
    assert (found.slices, found.patients) == (one.slices, one.patients)


@pytest.mark.parametrize("right_on", ["native", "crop"])
def test_each_grid_is_judged_by_its_own_masks(right_on):
    study = draw_study("a")
    scar = np.asarray(study.scar)
    slices = cut(study, protocol=1)
    nothing = {"native": np.zeros_like(scar), "crop": np.zeros_like(slices.scar)}
    called = {**nothing, right_on: scar if right_on == "native" else slices.scar}
    found = judge(
        Truth(slices, [study], {}),
        Answers(
            fold=np.zeros(2, int),
            seeds=(0,),
            crop=called["crop"][None],
            native={"a": called["native"][None]},
        ),
        about(),
    )
    summary, right = found.summary, found.summary.native
    for grid, truth_on in (("native", scar), ("crop", slices.scar)):
        hit = int(grid == right_on)
        for row, true in zip(found.slices, truth_on, strict=True):
            overlap = getattr(row, grid)
            assert overlap.true_px == true.sum() > 0
            assert (overlap.tp, overlap.fp) == (hit * true.sum(), 0)
            assert overlap.tp + overlap.fn + overlap.tn == true.size
            assert overlap.dsc == overlap.se == hit
        (patient,) = found.patients
        assert getattr(patient, grid).true_px == truth_on.sum()
        figures = getattr(summary, grid)
        assert figures.dsc == Spread(hit, hit, hit, 0.0, 2)
        assert figures.failures.missed == Tally(2 * (1 - hit), 1 - hit, of_slices=2)
    # What else there is, a user's mask has too: all of it is on the image's own grid.
    hit = int(right_on == "native")
    assert right.dice_3d_mean.mean == hit
    assert summary.by_seed[0].dsc == hit
    assert summary.detection_slices == Detection(sensitivity=hit, specificity=None)
    assert summary.empty_patients.scar_only == hit
    assert summary.distances.surface_dice.mean == hit
    true_ml = scar.sum() * 2.5**2 * 10 / 1000
    size = found.patients[0].size
    assert (size.true_ml, size.called_ml) == pytest.approx((true_ml, hit * true_ml))
    assert summary.volume_ml.bland_altman.bias == pytest.approx((hit - 1) * true_ml)


def test_one_half_is_shown_beside_another_threshold(truth, probability):
    half = run(truth, probability).summary
    other = run(truth, probability, threshold=0.8).summary
    assert other.native.failures.missed.slices == 2
    assert other.native_at_half == half.native
    assert other.crop_at_half == half.crop
    assert half.native != other.native


def test_one_half_of_each_grid_is_that_of_its_own_probabilities(truth, probability):
    right = perfect(truth)
    answers = dataclasses.replace(
        answers_of(truth, probability, fold=FOLD),
        native_probability={"a": right[None, :2], "b": right[None, 2:]},
    )
    summary = judge(truth, answers, about()).summary
    assert summary.native_at_half is not None
    assert summary.native_at_half.dsc.median == 1
    assert summary.crop_at_half is not None
    assert summary.crop_at_half.dsc.median == summary.native.dsc.median == 0.25


def test_a_method_without_probabilities_is_judged(truth, probability):
    found = run(truth, probability, said=False)
    summary = found.summary
    assert summary.native_at_half is summary.crop_at_half is summary.calibration is None
    assert summary.native.failures.missed.slices == 1
    assert found.pictures.probability is None


def test_the_pictures_are_the_crops_and_what_is_called_there(truth, probability):
    pictures = run(truth, probability).pictures
    for name in ("patient", "slice", "crop", "myocardium", "scar", "pixel_mm"):
        np.testing.assert_array_equal(
            getattr(pictures, name), getattr(truth.slices, name)
        )
    np.testing.assert_array_equal(pictures.fold, FOLD)
    np.testing.assert_array_equal(pictures.called, probability[0] >= 0.5)


def test_the_pictures_show_what_most_seeds_call(truth, probability):
    right = perfect(truth)
    most = run(truth, np.stack([right, probability[0], right]), seeds=(0, 1, 2))
    np.testing.assert_array_equal(most.pictures.called, truth.slices.scar)
    two = run(truth, np.stack([right, probability[0]]), seeds=(0, 1))
    both = truth.slices.scar & (probability[0] >= 0.5)
    np.testing.assert_array_equal(two.pictures.called, both)
    assert "of two, what both do" in two.summary.picture_rule


def test_a_3d_dice_of_crops_of_several_sizes_is_by_area():
    """Found where pixels are 2 mm, missed where they are 1 mm and as many."""
    scar = np.stack([square(4), square(4)])
    truth = truth_of([plain_study("a", scar)])
    slices = dataclasses.replace(
        truth.slices,
        pixel_mm=np.array([2, 1], np.float32),
        side_mm=np.array([128.0, 64.0]),
    )
    truth = dataclasses.replace(truth, slices=slices)
    called = np.stack([square(4), square(0)])[None].astype(np.float32)
    found = run(truth, called, fold=(0, 0))
    by_area = 2 * 4 / (2 * 4 + 1)
    assert found.summary.crop.dice_3d_mean.mean == pytest.approx(by_area)
    half = found.summary.crop_at_half
    assert half is not None
    assert half.dice_3d_mean.mean == pytest.approx(by_area)
    assert found.summary.native.dice_3d_mean.mean == pytest.approx(2 / 3)
    (patient,) = found.patients
    assert patient.crop.dsc == pytest.approx(by_area)
    assert patient.crop.se == pytest.approx(4 / 5)
    assert (patient.crop.tp, patient.crop.true_px) == (32, 64)
    assert [row.crop.dsc for row in found.slices] == [1, 0]
    assert "in 1 of 1 patients" in found.summary.grid_rule


@pytest.mark.parametrize(
    ("decided_on", "words"),
    [
        ("none", "fixed beforehand"),
        ("validation", "its fold's validation patients:"),
        ("test", "its fold's test patients (the oracle's: not a result)"),
    ],
)
def test_the_summary_says_when_scar_is_called_and_what_chose_that(
    truth, probability, decided_on, words
):
    decided = dataclasses.replace(
        about(),
        decided_on=decided_on,
        decisions=(Decision(2.5, 40.0), Decision(3.0, 40.0)),
    )
    answers = answers_of(truth, probability, fold=FOLD)
    rule = judge(truth, answers, decided).summary.decision_rule
    assert "from a score of 2.5 to 3, " in rule
    assert "from an area of 40 mm2" in rule
    assert words in rule


def test_nan_is_refused_rather_than_called_background(truth, probability):
    probability[0, 2, 10, 10] = np.nan
    with pytest.raises(InputError, match="diverged; train in a new --workdir"):
        run(truth, probability)


def test_a_run_without_scar_is_summarised_without_figures(probability):
    nothing = np.zeros((2, 64, 64), bool)
    truth = truth_of([plain_study(name, nothing) for name in "ab"])
    summary = run(truth, probability).summary
    for figures in (summary.native, summary.crop, summary.native_at_half):
        assert figures is not None
        assert figures.dsc == Spread(None, None, None, None, 0)
        assert figures.contingency.scar_as_background is None
        assert figures.contingency.background_as_scar is not None
        assert (figures.dice_3d_mean.mean, figures.dice_3d_mean.n) == (None, 0)
    assert (summary.scar_slices, summary.by_seed[0].dsc) == (0, None)
    assert summary.detection_slices.sensitivity is None
    assert summary.empty_slices.scar_only is None
    assert summary.intervals.dice_3d_mean is None


def test_intervals_are_over_patients_with_scar():
    scar = np.stack([square(2)])
    called = np.stack([square(2), square(2, shift=4), square(0)])
    truth = truth_of([plain_study(name, scar) for name in "abc"])
    found = run(truth, called[None].astype(np.float32), fold=(0, 1, 2)).summary
    # Dice 1, 0.5 and 0; whichever of three patients are drawn, within these.
    for interval in vars(found.intervals).values():
        assert interval is not None
        low, high = interval
        assert 0 <= low < 0.5 < high <= 1


@pytest.mark.parametrize(("protocol", "rows"), [(1, 64), (2, 16)])
def test_calibration_is_over_what_the_protocol_looks_at(
    truth, probability, protocol, rows
):
    wall = np.zeros((2, 64, 64), bool)
    wall[:, :16] = True
    studies = [dataclasses.replace(s, myocardium=wall) for s in truth.studies]
    truth = dataclasses.replace(truth, studies=studies)
    found = run(truth, probability, protocol=protocol).summary.calibration
    assert found is not None
    assert found.region == {1: "image", 2: "myocardium"}[protocol]
    # All are off by a quarter, but 8 + 16 + 32 pixels by three.
    wrong = 56 / (4 * rows * 64)
    assert found.brier == pytest.approx(1 / 16 + wrong * (9 - 1) / 16)


def test_shares_of_the_myocardium_need_every_patients(truth, probability):
    summary = run(truth, probability).summary
    # b: 48 pixels of scar and 16 called of 8192; a: none, and 8 called.
    bias = np.mean([16 - 48, 8]) * 100 / 8192
    assert summary.percent_lv is not None
    assert summary.percent_lv.bland_altman.bias == pytest.approx(bias)
    first, second = truth.studies
    without = [first, dataclasses.replace(second, myocardium=None)]
    other = run(
        dataclasses.replace(truth, studies=without), probability, protocol=1
    ).summary
    assert other.percent_lv is None
    assert other.volume_ml == summary.volume_ml
    assert other.volume_ml.bland_altman.bias == pytest.approx((16 + 8 - 48) / 2000)


def test_readers_count_of_the_patients_that_were_tested(truth, probability):
    score = ReaderScore(dice=0.9, sensitivity=0.5, specificity=None, others=0.75)
    record = PatientReaders("staple", True, 0.8, (0.7,), {"x": score, "y": score})
    other = dataclasses.replace(record, dice=0.1)
    assert run(truth, probability).summary.readers is None
    elsewhere = dataclasses.replace(truth, readers={"z": other})
    assert run(elsewhere, probability).summary.readers is None
    both = dataclasses.replace(truth, readers={"b": record, "z": other})
    readers = run(both, probability).summary.readers
    assert readers is not None
    assert (readers.patients, readers.dice.mean) == (1, 0.8)


def epochs():
    """Two networks' (validation, test) Dice over epochs."""
    dice = {0: [(0.5, 0.4), (0.7, 0.3), (0.6, 0.6)], 1: [(0.2, 0.1), (0.1, 0.2)]}
    return [
        EpochRecord(fold, 0, number, 5e-4, 0.1, 0.5, validation, test)
        for fold, pairs in dice.items()
        for number, (validation, test) in enumerate(pairs, start=1)
    ]


def test_optimism_tells_what_each_way_to_choose_the_epoch_gives():
    found = optimism(epochs())
    assert vars(found) == pytest.approx({"last": 0.4, "validation": 0.2, "oracle": 0.4})


def test_networks_of_two_seeds_of_one_fold_choose_apart():
    rows = [dataclasses.replace(row, fold=0, seed=row.fold) for row in epochs()]
    assert optimism(rows) == optimism(epochs())
    merged = [dataclasses.replace(row, seed=0) for row in rows]
    assert optimism(merged) == Optimism(last=0.2, validation=0.3, oracle=0.6)


def test_optimism_is_told_of_training_that_did_not_choose_by_the_test(
    truth, probability
):
    answers = answers_of(truth, probability, fold=FOLD)
    for selection, told in (("last", True), ("validation", True), ("oracle", False)):
        found = judge(truth, answers, about(selection=selection), epochs())
        assert (found.summary.optimism == optimism(epochs())) is told
        assert (found.summary.optimism is None) is not told
        assert found.history == tuple(epochs())
    assert judge(truth, answers, about()).summary.optimism is None


def test_coverage_counts_the_intervals_that_hold_the_true_volume(truth, probability):
    true_ml = {
        s.patient: s.geometry.volume_ml(np.asarray(s.scar)) for s in truth.studies
    }
    assert true_ml["a"] == 0 < true_ml["b"]
    told = {"a": [[0.0, 1.0]], "b": [[true_ml["b"] / 2, true_ml["b"] + 3]]}
    too_high = {**told, "b": [[true_ml["b"] + 0.01, true_ml["b"] + 3]]}
    never = {name: [[np.nan, np.nan]] for name in told}
    one = {**told, "a": never["a"]}
    answers = answers_of(truth, probability, fold=FOLD)

    def coverage(ends):
        between = {name: np.array(own) for name, own in ends.items()}
        return judge(
            truth, dataclasses.replace(answers, between_ml=between), about()
        ).summary.coverage

    for ends, n, inside in ((told, 2, 2), (too_high, 2, 1), (one, 1, 1)):
        found = coverage(ends)
        assert found is not None
        assert (found.level, found.n, found.inside) == (0.9, n, inside)
        assert found.width_ml.n == n
    assert coverage(never) is None
    assert run(truth, probability).summary.coverage is None


def test_some_patients_are_judged_as_if_there_were_no_others(truth, probability):
    which = np.flatnonzero(truth.slices.patient == "b")
    answers = answers_of(truth, probability, fold=FOLD)
    found = judge(truth.take(which), answers.take(which), about())
    assert [row.patient for row in found.slices] == ["b"] * 2
    whole = judge(truth, answers, about())
    assert list(found.slices) == [row for row in whole.slices if row.patient == "b"]
    assert found.summary.patients == 1
