import itertools

import numpy as np
import pytest

from scarseg_jax import records
from scarseg_jax.judge.consensus import (
    BOTH,
    PairwiseDice,
    PatientReaders,
    ReadersSummary,
    majority,
    pairwise_dice,
    settle,
    staple,
    summarise,
)
from scarseg_jax.judge.metrics import MeanSd
from scarseg_jax.study import Geometry, Study


def read(truth, sensitivity, specificity, rng):
    """Masks of readers who err at random."""
    right = np.where(truth, sensitivity[:, None], specificity[:, None])
    return truth ^ (rng.random(right.shape) > right)


def test_the_majority_is_more_than_half():
    masks = np.array([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 0, 0, 1, 0]], bool)
    assert majority(masks).tolist() == [True, True, False, False, False]
    # Of four, two are a tie.
    four = np.concatenate([masks, [[0, 0, 1, 1, 0]]]).astype(bool)
    assert majority(four).tolist() == [True, False, False, False, False]


def test_the_majority_of_one_or_of_equal_readers_is_theirs(rng):
    mask = rng.random((4, 5, 6)) < 0.3
    for readers in (1, 2, 5):
        np.testing.assert_array_equal(majority(np.stack([mask] * readers)), mask)


def test_the_majority_of_odd_readers_turns_with_the_labels(rng):
    masks = rng.random((5, 6, 7)) < 0.5
    np.testing.assert_array_equal(majority(~masks), ~majority(masks))


def test_staple_of_equal_masks_is_that_mask(rng):
    mask = rng.random((3, 8, 9)) < 0.2
    for readers in (2, 5, 200):
        probability, sensitivity, specificity = staple(np.stack([mask] * readers))
        np.testing.assert_allclose(probability, mask, atol=1e-9)
        np.testing.assert_allclose(sensitivity, 1, atol=1e-9)
        np.testing.assert_allclose(specificity, 1, atol=1e-9)


def test_staple_stays_sure_where_all_but_one_pixel_is_agreed_on():
    """Where no pixel's probability differs from 1 the background has still a share."""
    masks = np.ones((6, 1, 3, 4), bool)
    masks[0, 0, 0, 0] = False
    probability, sensitivity, specificity = staple(masks)
    assert probability.min() > 0.5
    assert 0.9 < sensitivity[0] < sensitivity[1] <= 1
    assert not np.isnan([*sensitivity, *specificity]).any()
    image = np.zeros((1, 5, 6), np.float32)
    readers = {str(i): np.pad(m, ((0, 0), (1, 1), (1, 1))) for i, m in enumerate(masks)}
    study = Study("a", image, Geometry.upright(1, (1.0, 1.0, 1.0)), readers=readers)
    settled, record = settle(study, "staple")
    assert record.scar
    np.testing.assert_array_equal(settled.scar, readers["1"])


def test_staple_finds_truth_and_performance_of_simulated_readers(rng):
    truth = rng.random(40_000) < 0.3
    p = np.array([0.95, 0.9, 0.85, 0.8, 0.7, 0.92, 0.75])
    q = np.array([0.9, 0.97, 0.93, 0.99, 0.96, 0.85, 0.98])
    masks = read(truth, p, q, rng)
    probability, sensitivity, specificity = staple(masks)
    np.testing.assert_allclose(sensitivity, p, atol=0.02)
    np.testing.assert_allclose(specificity, q, atol=0.02)
    errors = np.mean((probability > 0.5) != truth)
    assert errors < 0.01
    assert errors <= np.mean(majority(masks) != truth)


def test_staple_trusts_one_good_reader_over_three_that_guess(rng):
    truth = rng.random(20_000) < 0.4
    p, q = (
        np.array([0.98, 0.96, 0.97, 0.6, 0.6, 0.6, 0.6]),
        np.array([0.97] * 3 + [0.6] * 4),
    )
    masks = read(truth, p, q, rng)
    probability, sensitivity, _ = staple(masks)
    assert np.mean((probability > 0.5) != truth) < np.mean(majority(masks) != truth)
    assert sensitivity[:3].min() > sensitivity[3:].max()


def test_staple_is_at_a_fixed_point_of_the_papers_equations(rng):
    masks = read(
        rng.random(400) < 0.3, np.array([0.9, 0.8, 0.85]), np.full(3, 0.9), rng
    )
    probability, p, q = staple(masks, max_iterations=5000, tolerance=1e-13)
    prior = masks.mean()
    for n in range(masks.shape[1]):
        a, b = prior, 1 - prior
        for r in range(3):
            a *= p[r] if masks[r, n] else 1 - p[r]
            b *= 1 - q[r] if masks[r, n] else q[r]
        assert probability[n] == pytest.approx(a / (a + b), rel=1e-6, abs=1e-12)
    for r in range(3):
        found = probability[masks[r]].sum() / probability.sum()
        assert p[r] == pytest.approx(found, abs=1e-9)
        left = (1 - probability[~masks[r]]).sum() / (1 - probability).sum()
        assert q[r] == pytest.approx(left, abs=1e-9)


def test_turning_the_labels_swaps_sensitivity_and_specificity(rng):
    masks = read(rng.random(900) < 0.3, np.full(4, 0.85), np.full(4, 0.9), rng)
    probability, sensitivity, specificity = staple(masks)
    turned, *performance = staple(~masks)
    np.testing.assert_allclose(turned, 1 - probability, atol=1e-6)
    np.testing.assert_allclose(performance, [specificity, sensitivity], atol=1e-6)


def test_the_readers_order_changes_only_the_order(rng):
    masks = read(rng.random(900) < 0.3, np.linspace(0.7, 0.95, 4), np.full(4, 0.9), rng)
    probability, sensitivity, specificity = staple(masks)
    turned, *performance = staple(masks[::-1])
    np.testing.assert_allclose(turned, probability, atol=1e-9)
    np.testing.assert_allclose(
        performance, [sensitivity[::-1], specificity[::-1]], atol=1e-9
    )


def test_agreed_background_takes_specificity_towards_one(rng):
    masks = read(rng.random(900) < 0.3, np.full(3, 0.85), np.full(3, 0.9), rng)
    padded = np.pad(masks, ((0, 0), (0, 50_000)))
    assert staple(padded)[2].min() > 0.99 > staple(masks)[2].max()


def test_staple_of_masks_that_are_all_empty_or_all_full():
    empty = np.zeros((3, 4, 5), bool)
    probability, sensitivity, specificity = staple(empty)
    np.testing.assert_array_equal(probability, np.zeros((4, 5)))
    np.testing.assert_array_equal(sensitivity, [np.nan] * 3)
    np.testing.assert_array_equal(specificity, [1] * 3)
    probability, sensitivity, specificity = staple(~empty)
    np.testing.assert_array_equal(probability, np.ones((4, 5)))
    np.testing.assert_array_equal(sensitivity, [1] * 3)
    np.testing.assert_array_equal(specificity, [np.nan] * 3)


def test_the_pairwise_dice_is_that_of_each_pair(rng):
    masks = rng.random((4, 6, 7)) < 0.4
    dice = []
    for one, other in itertools.combinations(masks, 2):
        a, b = (set(map(tuple, np.argwhere(m))) for m in (one, other))
        dice.append(2 * len(a & b) / (len(a) + len(b)))
    found = pairwise_dice(masks)
    assert found.mean == pytest.approx(sum(dice) / 6)
    assert found.min == pytest.approx(min(dice))
    assert found.max == pytest.approx(max(dice))
    assert found.pairs == 6
    text = records.to_json(found)
    assert records.parse(PairwiseDice, text, "the text", "mend it") == found


def test_pairs_that_are_both_empty_are_left_out():
    masks = np.zeros((3, 4), bool)
    nothing = PairwiseDice(mean=None, min=None, max=None, pairs=0)
    assert pairwise_dice(masks) == pairwise_dice(masks[:1]) == nothing
    masks[0] = True
    assert pairwise_dice(masks) == PairwiseDice(mean=0, min=0, max=0, pairs=2)


def study_of(masks, myocardium=None):
    """A study of readers a, b and so on."""
    image = np.zeros(masks.shape[1:], np.float32)
    readers = dict(zip("abcdefg", masks, strict=False))
    geometry = Geometry.upright(len(image), (1, 1, 1))
    return Study("p", image, geometry, myocardium=myocardium, readers=readers)


def test_a_wide_a_narrow_and_a_right_reader_settle_on_the_right_one():
    masks = np.zeros((3, 2, 20, 20), bool)
    for mask, size in zip(masks, (8, 10, 12), strict=True):
        mask[0, 4 : 4 + size, 5:15] = True
    myocardium = np.zeros(masks.shape[1:], bool)
    myocardium[:, 2:18, 2:18] = True
    for rule in ("staple", "majority"):
        study, record = settle(study_of(masks, myocardium), rule)
        np.testing.assert_array_equal(study.scar, masks[1])
        pairs = [16 / 18, 16 / 20, 20 / 22]  # 8 and 10 rows, 8 and 12, 10 and 12
        assert record.slice_dsc == pytest.approx(pairs)
        assert record.dice == pytest.approx(np.mean(pairs))
        a, b, c = (record.readers[name] for name in "abc")
        assert [r.dice for r in (a, b, c)] == pytest.approx([16 / 18, 1, 20 / 22])
        assert a.sensitivity == pytest.approx(0.8, abs=1e-3)
        # Inside the myocardium 20 of 512 - 100 pixels; the rest would hide them.
        assert c.specificity == pytest.approx(1 - 20 / 412, abs=1e-3)
    # The narrow one of two is their majority, and b is judged by it.
    assert b.others == pytest.approx(16 / 18)


def test_background_that_no_reader_looked_at_changes_no_consensus(rng):
    truth = rng.random((3, 9, 8)) < 0.3
    masks = read(truth.ravel(), np.array([0.9, 0.8, 0.6]), np.full(3, 0.9), rng)
    masks = masks.reshape(3, *truth.shape)
    small, record = settle(study_of(masks), "staple")
    wide = np.pad(masks, ((0, 0), (1, 1), (40, 40), (40, 40)))
    large, same = settle(study_of(wide), "staple")
    inside = np.asarray(large.scar)[1:-1, 40:-40, 40:-40]
    np.testing.assert_array_equal(inside, small.scar)
    assert same == record


def test_readers_who_mark_nothing_settle_on_nothing_and_json_holds_it():
    masks = np.zeros((3, 2, 4, 5), bool)
    study, record = settle(study_of(masks), "staple")
    assert study.scar is not None
    assert not study.scar.any()
    assert record.readers["a"].sensitivity is None
    summary = summarise([record])
    assert summary.dice == MeanSd(mean=None, sd=None, n=0)
    assert summary.slice_dsc.median is None
    for kept, kind in ((record, PatientReaders), (summary, ReadersSummary)):
        text = records.to_json(kept)
        assert "NaN" not in text
        assert records.parse(kind, text, "the text", "mend it") == kept


def test_the_summary_is_over_patients_with_scar_and_each_readers_own(rng):
    masks = rng.random((3, 2, 6, 7)) < 0.5
    patients = [
        settle(study_of(m), "majority")[1] for m in (masks, masks[:2], ~masks | masks)
    ]
    patients.append(settle(study_of(np.zeros_like(masks)), "majority")[1])
    summary = summarise(patients)
    assert summary.names == ("a", "b", "c")
    assert summary.patients == 4
    dice = [float(pairwise_dice(m).mean or 0) for m in (masks, masks[:2])] + [1]
    assert summary.dice.mean == pytest.approx(np.mean(dice))
    assert summary.dice.sd == pytest.approx(np.std(dice, ddof=1))
    assert summary.dice.n == 3
    assert summary.slice_dsc.n == 2 * (3 + 1 + 3)
    assert [summary.by_reader[name].patients for name in "abc"] == [3, 3, 2]
    own = [float(p.readers["c"].others or 0) for p in (patients[0], patients[2])]
    assert summary.by_reader["c"].others == pytest.approx(np.mean(own))


def test_of_two_others_the_consensus_is_what_both_marked_and_no_ceiling(rng):
    masks = rng.random((3, 2, 6, 7)) < 0.5
    three, two = (settle(study_of(m), "majority")[1] for m in (masks, masks[:2]))
    assert [reader.others for reader in two.readers.values()] == [None, None]
    own = []
    for i in range(3):
        # Of two others the majority is what both marked.
        theirs = np.delete(masks, i, axis=0).all(axis=0)
        own.append(2 * (masks[i] & theirs).sum() / (masks[i].sum() + theirs.sum()))
    summary = summarise([three, two])
    others = summary.others
    assert (others.mean, others.n) == (pytest.approx(np.mean(own)), 3)
    assert (summary.ceiling.mean, summary.ceiling.n) == (None, 0)


def test_the_ceiling_is_of_readers_who_have_three_others(rng):
    masks = rng.random((4, 2, 6, 7)) < 0.5
    four, three = (settle(study_of(m), "majority")[1] for m in (masks, masks[:3]))
    own = []
    for i in range(4):
        theirs = np.delete(masks, i, axis=0).sum(axis=0) >= 2
        own.append(2 * (masks[i] & theirs).sum() / (masks[i].sum() + theirs.sum()))
    summary = summarise([three, four])
    assert (summary.ceiling.mean, summary.ceiling.n) == (pytest.approx(np.mean(own)), 4)
    assert summary.others.n == 3 + 4


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("narrow", range(1, 9))
def test_of_two_readers_the_scar_is_what_both_marked(order, narrow):
    """Nested marks of any size: STAPLE's probability where one marked is a toss-up."""
    masks = np.zeros((2, 2, 20, 20), bool)
    masks[0, 0, 4 : 4 + narrow, 5:15] = True
    masks[1, 0, 4:14, 5:15] = True
    study, record = settle(study_of(masks[::order]), "staple")
    np.testing.assert_array_equal(study.scar, masks[0])
    assert record.consensus == BOTH
    for reader in record.readers.values():
        assert reader.sensitivity is reader.specificity is reader.others is None
    assert summarise([record]).consensus == BOTH
    more = settle(study_of(masks[[0, 1, 1]]), "staple")[1]
    assert summarise([record, more]).consensus == "staple"


def test_a_probability_of_one_half_is_no_scar_however_it_rounds():
    """Four readers, two against two, and as much agreed scar as background."""
    masks = np.zeros((4, 1, 8, 8), bool)
    masks[:, 0, 2:4] = True
    masks[:2, 0, 4] = True
    masks[2:, 0, 5] = True
    wall = np.zeros((1, 8, 8), bool)
    wall[0, 2:] = True
    for turned in (masks, masks[::-1], masks[[2, 0, 3, 1]]):
        study, _ = settle(study_of(turned, wall), "staple")
        np.testing.assert_array_equal(study.scar, masks.all(axis=0))


def test_settling_changes_the_scar_alone_and_json_keeps_what_it_says(rng):
    masks = rng.random((3, 2, 6, 7)) < 0.5
    study = study_of(masks, masks.any(axis=0))
    settled, record = settle(study, "staple")
    for name, value in vars(study).items():
        if name != "scar":
            assert getattr(settled, name) is value
    assert study.scar is None
    text = records.to_json(record)
    assert records.parse(PatientReaders, text, "the text", "mend it") == record


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="expected one of staple, majority"):
        settle(study_of(np.ones((2, 1, 2, 2), bool)), "mean")


def test_what_is_not_masks_of_readers_is_refused():
    for function in (majority, staple, pairwise_dice):
        with pytest.raises(ValueError, match="must be bool"):
            function(np.ones((2, 3)))
        with pytest.raises(ValueError, match="must be bool"):
            function(np.ones((0, 3), bool))
    with pytest.raises(ValueError, match="no pixels"):
        staple(np.ones((2, 0), bool))
