"""Where a scar's volume lies, from how far networks were off."""

import numpy as np
import pytest

from scarseg_jax.run import INTERVAL_LEVEL, Trial
from scarseg_jax.segment.interval import interval_ml


def trials(errors, said_ml=8.0):
    """Returns trials off by so many times (volume + 2 ml)."""
    return [
        Trial(f"p{i}", said_ml + error * (said_ml + 2), said_ml)
        for i, error in enumerate(errors)
    ]


def test_the_ends_are_the_errors_of_rank_95_percent_closed_form():
    known = trials(np.arange(-10, 10) / 20)  # 20 of them: ranks ceil(21 * 0.95) = 20
    assert interval_ml(18.0, known) == pytest.approx((18 - 20 * 0.5, 18 + 20 * 0.45))
    assert interval_ml(0.0, known) == pytest.approx((0, 2 * 0.45))


def test_of_few_trials_no_interval_is_told_and_ones_own_does_not_count():
    known = trials(np.zeros(19))
    assert interval_ml(5.0, known) == (5, 5)
    assert interval_ml(5.0, known, but="p3") is None
    assert interval_ml(5.0, []) is None
    assert interval_ml(5.0, known, but="someone else") == (5, 5)


def test_a_patient_counts_once_however_many_networks_tried_him():
    known = trials(np.arange(-10, 10) / 20)
    again = [Trial("p0", 8 + 0.1 * 10, 8.0)] * 3  # beside -0.5: +0.1 three times
    low, _ = interval_ml(18.0, [*known, *again]) or (0, 0)
    assert low == pytest.approx(
        18 - 20 * 0.45
    )  # the mean of his is -0.05: no more last
    assert interval_ml(18.0, known[:6] * 9) is None


def test_networks_that_are_always_too_low_move_the_upper_end_alone():
    low, high = interval_ml(10.0, trials(np.linspace(0.1, 0.5, 40))) or (0, 0)
    assert low == 10
    assert 15 < high < 17


def test_it_holds_as_often_as_it_says(rng):
    true_ml = rng.gamma(2, 10, 3000)
    said_ml = np.maximum(0, true_ml * rng.lognormal(0.1, 0.4, 3000))
    everyone = [
        Trial(str(i), *pair)
        for i, pair in enumerate(zip(true_ml, said_ml, strict=True))
    ]
    held = []
    for start in range(0, 3000, 60):
        known, (new, *_) = everyone[start : start + 40], everyone[start + 40 :]
        for new in everyone[start + 40 : start + 60]:
            low, high = interval_ml(new.said_ml, known) or (np.nan, np.nan)
            held.append(low <= new.true_ml <= high)
    # At least so often, and with 40 trials not much more: 39 of 41 on each side.
    assert INTERVAL_LEVEL - 0.02 < np.mean(held) < 0.96
