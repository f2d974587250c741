import numpy as np
import pytest

from scarseg_jax.judge.metrics import (
    Counts,
    Failures,
    MeanSd,
    Spread,
    Tally,
    concatenate,
    count,
    failures,
    mean_sd,
    patients_dice,
    spread,
)


def counts_of(*rows):
    """Counts from (tp, fp, fn, tn) rows, under one seed."""
    return Counts(*(np.array(column)[None] for column in zip(*rows, strict=True)))


@pytest.fixture
def masks(rng):
    """(2 seeds, 7 slices) of prediction, and truth; slice 3 has neither."""
    called, scar = rng.random((2, 7, 5, 6)) < 0.3, rng.random((7, 5, 6)) < 0.2
    called[:, 3], scar[3] = False, False
    return called, scar


def test_counts_and_metrics_equal_a_loop_over_pixels(masks):
    called, scar = masks
    counts = count(called, scar)
    for seed, n in np.ndindex(called.shape[:2]):
        tally: dict[str, int] = {"tp": 0, "fp": 0, "fn": 0, "tn": 0}
        for y, x in np.ndindex(scar.shape[1:]):
            right = "t" if called[seed, n, y, x] == scar[n, y, x] else "f"
            tally[right + ("p" if called[seed, n, y, x] else "n")] += 1
        tp, fp, fn, tn = tally.values()
        assert tally == {k: v[seed, n] for k, v in vars(counts).items()}
        if n == 3:
            continue
        assert counts.accuracy[seed, n] == pytest.approx((tp + tn) / 30)
        assert counts.sensitivity[seed, n] == pytest.approx(tp / (tp + fn))
        assert counts.specificity[seed, n] == pytest.approx(tn / (tn + fp))
        assert counts.dice[seed, n] == pytest.approx(2 * tp / (fp + fn + 2 * tp))


def test_the_papers_equations_on_a_slice_counted_by_hand():
    counts = counts_of((6, 2, 4, 88))
    assert counts.accuracy == 0.94
    assert counts.sensitivity == 0.6
    assert counts.specificity == pytest.approx(88 / 90)
    assert counts.dice == pytest.approx(12 / 18)
    assert (counts.true_px, counts.predicted_px) == (10, 8)


def test_a_metric_without_denominator_is_nan_and_no_other():
    both_empty, false_scar, missed, all_scar = range(4)
    counts = counts_of((0, 0, 0, 9), (0, 4, 0, 5), (0, 0, 4, 5), (9, 0, 0, 0))
    np.testing.assert_array_equal(
        np.flatnonzero(np.isnan(counts.sensitivity[0])), [both_empty, false_scar]
    )
    np.testing.assert_array_equal(
        np.flatnonzero(np.isnan(counts.specificity[0])), [all_scar]
    )
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(counts.dice[0])), [0])
    assert counts.dice[0, false_scar] == counts.dice[0, missed] == 0
    assert counts.dice[0, all_scar] == counts.accuracy[0, both_empty] == 1


def test_swapping_prediction_and_truth_keeps_dice_and_accuracy(masks):
    called, scar = masks
    one, other = count(called[:1], scar), count(scar[None], called[0])
    np.testing.assert_array_equal(one.dice, other.dice)
    np.testing.assert_array_equal(one.accuracy, other.accuracy)


def test_metrics_are_unchanged_by_turning_both_masks(masks):
    called, scar = masks
    turned = count(np.rot90(called, axes=(-2, -1)), np.rot90(scar, axes=(-2, -1)))
    np.testing.assert_array_equal(count(called, scar).dice, turned.dice)


def test_pooled_counts_are_the_counts_of_the_patients_stack(masks):
    called, scar = masks
    patient = np.array(["b", "a", "b", "c", "a", "b", "a"])
    pooled = count(called, scar).pooled(patient)
    for p, name in enumerate("abc"):
        stack, truth = called[:, patient == name], scar[patient == name]
        np.testing.assert_array_equal(pooled.tp[:, p], (stack & truth).sum((1, 2, 3)))
        np.testing.assert_array_equal(pooled.fn[:, p], (~stack & truth).sum((1, 2, 3)))
        np.testing.assert_array_equal(pooled.fp[:, p], (stack & ~truth).sum((1, 2, 3)))
        np.testing.assert_array_equal(pooled.tn[:, p], (~stack & ~truth).sum((1, 2, 3)))


def test_counts_of_parts_in_order_are_the_counts_of_the_whole(masks):
    called, scar = masks
    whole = count(called, scar)
    parts = [count(called[:, part], scar[part]) for part in (slice(3), slice(3, 7))]
    for name, counts in vars(concatenate(parts)).items():
        np.testing.assert_array_equal(counts, getattr(whole, name))


def test_stacks_of_different_images_are_concatenated_slice_by_slice(masks):
    called, scar = masks
    wide = (
        np.pad(called, ((0, 0), (0, 0), (2, 3), (0, 9))),
        np.pad(scar, ((0, 0), (2, 3), (0, 9))),
    )
    both = concatenate([count(called, scar), count(*wide)])
    assert both.tp.shape == (2, 14)
    np.testing.assert_array_equal(both.dice[:, :7], both.dice[:, 7:])
    # Only the background has grown, to 10 x 15 pixels.
    np.testing.assert_array_equal(both.tn[:, 7:] - both.tn[:, :7], np.full((2, 7), 120))


def test_the_counts_of_a_seed_are_those_of_its_masks(masks):
    called, scar = masks
    for seed in range(2):
        own = count(called[seed : seed + 1], scar)
        for name, counts in vars(count(called, scar).of_seed(seed)).items():
            np.testing.assert_array_equal(counts, getattr(own, name))
            assert counts.shape == (1, 7)


def test_masks_that_would_be_counted_wrongly_are_refused():
    mask = np.zeros((2, 4, 4), bool)
    with pytest.raises(ValueError, match="must be bool; got uint8"):
        count(mask.astype(np.uint8), mask)
    with pytest.raises(ValueError, match="do not fit"):
        count(mask[:1], mask)


def test_the_spread_of_one_to_five_leaves_nan_out():
    values = np.array([4, np.nan, 1, 5, 3, np.nan, 2])
    assert spread(values) == Spread(median=3.0, q1=2.0, q3=4.0, iqr=2.0, n=5)
    whole = mean_sd(values)
    assert (whole.mean, whole.sd, whole.n) == (3, pytest.approx(2.5**0.5), 5)


def test_the_spread_of_nothing_has_no_figures():
    nothing = Spread(median=None, q1=None, q3=None, iqr=None, n=0)
    assert spread(np.array([])) == spread(np.array([np.nan])) == nothing
    none = MeanSd(mean=None, sd=None, n=0)
    assert mean_sd(np.array([])) == mean_sd(np.array([np.nan])) == none


def test_one_value_has_a_mean_and_no_deviation():
    assert mean_sd(np.array([np.nan, 4.0])) == MeanSd(mean=4.0, sd=None, n=1)


def test_failures_count_slices_and_the_patients_they_belong_to():
    good, missed, false, empty = (5, 1, 1, 9), (0, 0, 7, 9), (0, 1, 0, 9), (0, 0, 0, 9)
    counts = counts_of(good, missed, missed, missed, false, empty, false)
    patient = np.array(["a", "a", "a", "b", "b", "c", "c"])
    assert failures(counts, patient) == Failures(
        missed=Tally(slices=3, patients=2, of_slices=4),
        false=Tally(slices=2, patients=2, of_slices=3),
    )


def test_a_scar_touched_by_wrong_pixels_only_is_not_missed():
    counts = counts_of((0, 1, 3, 9))
    assert failures(counts, np.array(["a"])).missed.slices == 0


def test_with_several_seeds_failures_count_each_but_patients_once():
    # Both seeds miss a's slice, the second b's too.
    found, lost = np.array([[0, 1], [0, 0]]), np.array([[1, 0], [1, 1]])
    counts = Counts(tp=found, fp=0 * found, fn=lost, tn=found)
    missed = failures(counts, np.array(["a", "b"])).missed
    assert missed == Tally(slices=3, patients=2, of_slices=4)


def test_a_patients_dice_is_the_mean_over_seeds_and_needs_scar():
    perfect, half, none = (2, 0, 0, 1), (1, 1, 1, 0), (0, 2, 2, 0)
    healthy, false = (0, 0, 0, 4), (0, 1, 0, 3)
    one, other = counts_of(perfect, half, healthy), counts_of(none, half, false)
    columns = zip(vars(one).values(), vars(other).values(), strict=True)
    dice = patients_dice(Counts(*map(np.concatenate, columns)))
    assert dice.tolist() == [0.5, 0.5]


def test_the_sd_of_the_patients_dice_is_the_samples():
    dice = patients_dice(counts_of((1, 0, 0, 0), (0, 0, 1, 0), (1, 1, 1, 0)))
    assert mean_sd(dice) == MeanSd(mean=0.5, sd=0.5, n=3)


def test_without_scar_there_is_no_patients_dice():
    dice = patients_dice(counts_of((0, 0, 0, 4)))
    assert dice.size == 0
    assert mean_sd(dice) == MeanSd(mean=None, sd=None, n=0)


def test_a_region_leaves_out_all_other_pixels(rng):
    called, scar, region = rng.random((3, 2, 6, 7)) < 0.5
    counts = count(called, scar, region)
    assert (counts.tp + counts.fp + counts.fn + counts.tn).tolist() == (
        region.sum(axis=(1, 2)).tolist()
    )
    inside = count(called & region, scar & region)
    assert counts.tp.tolist() == inside.tp.tolist()
    assert counts.fp.tolist() == inside.fp.tolist()


def test_weights_multiply_what_is_summed():
    counts = counts_of((1, 2, 3, 4), (5, 6, 7, 8), (1, 1, 1, 1))
    pooled = counts.pooled(np.array(["a", "a", "b"]), np.array([0.5, 2.0, 3.0]))
    columns = [c.tolist() for c in vars(pooled).values()]
    assert columns == [[[10.5, 3]], [[13, 3]], [[15.5, 3]], [[18, 3]]]
