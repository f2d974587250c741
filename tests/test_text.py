import dataclasses

import numpy as np
import pytest

from scarseg_jax.judge.consensus import PatientReaders, ReaderScore
from scarseg_jax.judge.summary import judge
from scarseg_jax.run import EpochRecord
from scarseg_jax.show import text
from tests.builders import about, answers_of, plain_study, truth_of, two_patients


@pytest.fixture
def pair():
    """What is true and what is said of two patients."""
    return two_patients()


def summarise(truth, probability, *, selection="last", history=(), **answers):
    given = answers_of(truth, probability, **{"fold": (0, 0, 1, 1), **answers})
    return judge(truth, given, about(selection=selection), history).summary


def with_seed(truth, probability):
    """Adds a seed that is right everywhere."""
    right = np.where(truth.slices.scar, 0.75, 0.25).astype(np.float32)
    return np.stack([probability[0], right])


def without_scar():
    nothing = np.zeros((2, 64, 64), bool)
    return truth_of([plain_study(name, nothing) for name in "ab"])


def test_the_headline_shows_the_table_in_per_cent(pair):
    truth, probability = pair
    contained = np.array([False, True, True, True])
    slices = dataclasses.replace(truth.slices, contained=contained)
    summary = summarise(dataclasses.replace(truth, slices=slices), probability)
    assert text.headline(summary).splitlines() == [
        "Protocol 2: 2 patients, 4 slices (2 with scar), 2 folds, seeds [0]",
        "        median       IQR     n slices on the images' own grids (64 x 64 crop)",
        "  Acc  99.71 %    0.34 %     4  (99.71 %, 0.34 %)",
        "  Sp   99.90 %    0.20 %     4  (99.90 %, 0.20 %)",
        "  Se   25.00 %   25.00 %     2  (25.00 %, 25.00 %)",
        "  DSC  25.00 %   25.00 %     2  (25.00 %, 25.00 %)",
        "  inside the myocardium: Acc 99.71 %, Sp 99.90 %; Acc of calling nothing 99.80 %",
        "  missed scar: 1 of 2 slices (1 patients)",
        "  false scar: 1 of 2 slices (1 patients)",
        "  3-D Dice: 0.250 (1 patients with scar)",
        "  whole myocardium in the crop: 3 of 4 slices",
    ]


def test_the_headline_is_of_the_own_grid_with_the_crops_in_brackets(pair):
    truth, probability = pair
    given = answers_of(truth, probability, fold=(0, 0, 1, 1))
    right = dataclasses.replace(given, crop=truth.slices.scar[None])
    lines = text.headline(judge(truth, right, about()).summary).splitlines()
    assert lines[5] == "  DSC  25.00 %   25.00 %     2  (100.00 %, 0.00 %)"
    assert lines[7] == "  missed scar: 1 of 2 slices (1 patients)"


def test_the_headline_of_several_seeds_counts_each_and_shows_how_far_they_go(pair):
    truth, probability = pair
    both = with_seed(truth, probability)
    lines = text.headline(summarise(truth, both, seeds=(0, 7))).splitlines()
    assert "  missed scar: 1 of 4 slices x seeds (1 patients)" in lines
    assert "  3-D Dice: 0.625 (1 patients with scar)" in lines
    assert "  seed by seed: DSC 25.00 to 100.00 %, 3-D Dice 0.250 to 1.000" in lines
    assert "seed by seed" not in text.headline(summarise(truth, probability))


def test_the_headline_of_a_run_without_scar_has_no_dice(pair):
    _, probability = pair
    summary = summarise(without_scar(), probability)
    lines = text.headline(summary).splitlines()
    assert "3-D Dice" not in text.headline(summary)
    assert lines[5].split() == ["DSC", "-", "-", "0"]
    both = np.stack([probability[0]] * 2)
    assert "seed by seed" not in text.headline(
        summarise(without_scar(), both, seeds=(0, 1))
    )


def test_a_run_that_saw_the_test_patients_is_labelled(pair):
    oracle = text.headline(summarise(*pair, selection="oracle"))
    assert oracle.splitlines()[1] == f"  {text.ORACLE_WARNING}"
    assert "(oracle): not a result" in oracle
    assert "oracle" not in text.headline(summarise(*pair))


@pytest.mark.parametrize("others", [0.75, None])
def test_the_headline_says_how_far_readers_agree(pair, others):
    truth, probability = pair
    score = ReaderScore(dice=0.9, sensitivity=0.5, specificity=None, others=others)
    record = PatientReaders("staple", True, 0.8125, (0.7,), {"x": score})
    truth = dataclasses.replace(truth, readers={"b": record})
    said = "  3-D Dice of two readers with each other: 0.812"
    if others is not None:
        said += ", one with the others' consensus 0.750"
    assert said in text.headline(summarise(truth, probability)).splitlines()
    assert "readers" not in text.headline(summarise(*pair))


def test_the_headline_says_how_choosing_the_epoch_would_flatter(pair):
    history = [
        EpochRecord(0, 0, number, 5e-4, 0.1, 0.5, validation, test)
        for number, (validation, test) in enumerate([(0.3, 0.5), (0.4, 0.2), (0, 0.1)])
    ]
    said = (
        "  Dice of the test patients by epoch: the last 0.100, best on validation"
        " 0.200, best on test 0.500 (flattering)"
    )
    assert said in text.headline(summarise(*pair, history=history)).splitlines()


def test_a_method_is_one_line_of_the_own_grid(pair):
    truth, probability = pair
    given = answers_of(truth, probability, fold=(0, 0, 1, 1))
    given = dataclasses.replace(given, crop=truth.slices.scar[None])
    summary = judge(truth, given, about("otsu")).summary
    assert text.one_line(summary) == (
        "otsu                   DSC  25.0 %  3-D Dice 0.250  missed   1  false   1"
    )
    nothing = summarise(without_scar(), probability)
    assert (
        text.one_line(nothing)
        == "Protocol 2             no scar  missed   0  false   2"
    )
