"""Other methods, with what they call chosen as a network's is."""

import dataclasses

import numpy as np
import pytest

from scarseg_jax.prepare.cut import cut
from scarseg_jax.prepare.dataset import DataSet
from scarseg_jax.prepare.folds import Fold
from scarseg_jax.run import Decision, Trial
from scarseg_jax.segment import opponents
from scarseg_jax.segment.thresholds import fwhm
from scarseg_jax.study import Slices
from tests.builders import dice_of, draw_study

LEVELS = (-9.0, 0.3, 0.5, 0.7)  # from the lowest the whole wall is called


@pytest.fixture(scope="module")
def data():
    """Three patients of two slices; Dice of each level differs between them."""
    studies = []
    for number, name in enumerate("abc"):
        study = draw_study(name, seed=number)
        image = study.image + 60 * number * np.asarray(study.scar)
        studies.append(dataclasses.replace(study, image=image))
    slices = Slices.concatenate([cut(study, protocol=2) for study in studies])
    return DataSet(slices, tuple(studies), {}, "0")


def fold(train, validation, test):
    return Fold(*(np.array(side, np.int32) for side in (train, validation, test)))


FOLDS = (fold([2, 3], [4, 5], [0, 1]), fold([4, 5], [0, 1], [2, 3]))
FOLDS = (*FOLDS, fold([0, 1], [2, 3], [4, 5]))


def test_each_patient_is_called_by_its_folds_decision_on_either_grid(data):
    scores = [opponents.score(fwhm, data)] * 3
    decisions = [Decision(0.5), Decision(1e9), Decision(0.5, 1e6)]
    found = opponents.answers(scores, data, FOLDS, decisions)
    assert found.fold.tolist() == [0, 0, 1, 1, 2, 2]
    a, b, c = (found.native[name][0] for name in "abc")
    assert dice_of(a, np.asarray(data.studies[0].scar)) > 0.9
    assert dice_of(found.crop[0, :2], data.slices.scar[:2]) > 0.8
    assert not any(mask.any() for mask in (b, c, found.crop[0, 2:]))


def test_a_folds_decision_depends_on_its_validation_patients_alone(data):
    scores = [opponents.score(fwhm, data)] * 3
    before = opponents.choose(scores, data, FOLDS, LEVELS)
    assert all(0.3 <= decision.threshold <= 0.7 for decision in before)
    for number, study in enumerate(data.studies):
        wall = np.asarray(study.myocardium)
        other = dataclasses.replace(study, scar=wall)
        studies = [*data.studies]
        studies[number] = other
        changed = dataclasses.replace(data, studies=tuple(studies))
        after = opponents.choose(scores, changed, FOLDS, LEVELS)
        for one, then, now in zip(FOLDS, before, after, strict=True):
            validates = 2 * number in one.validation
            assert (then != now) is validates


def test_the_choice_is_made_on_the_images_own_grid(data):
    scores = [opponents.score(fwhm, data)] * 3
    blind = [dataclasses.replace(s, crop=np.zeros_like(s.crop)) for s in scores]
    chosen = opponents.choose(scores, data, FOLDS, LEVELS)
    assert opponents.choose(blind, data, FOLDS, LEVELS) == chosen


def test_a_patient_has_no_scar_where_others_without_any_have_as_much(data):
    scores = [opponents.score(fwhm, data)] * 3
    decisions = [Decision(0.5)] * 3
    trials = opponents.tried(scores, data, FOLDS, decisions)
    assert [trial.patient for trial in trials] == ["c", "a", "b"]
    plain = opponents.answers(scores, data, FOLDS, decisions)
    for trial in trials:
        assert trial.true_ml > 0
        study = next(s for s in data.studies if s.patient == trial.patient)
        called = study.geometry.volume_ml(plain.native[trial.patient][0])
        assert trial.said_ml == called > 0
    most = max(trial.said_ml for trial in trials)
    healthy = [
        Trial("a", 0.0, 2 * most),
        Trial("one", 0.0, 0.1),
        Trial("else", 9.0, 3 * most),
    ]
    said = opponents.answers(scores, data, FOLDS, decisions, healthy)
    np.testing.assert_array_equal(said.native["a"], plain.native["a"])
    assert not said.native["b"].any()
    assert not said.native["c"].any()
    np.testing.assert_array_equal(said.crop[:, :2], plain.crop[:, :2])
    assert not said.crop[:, 2:].any()


def test_superpixels_are_learned_from_a_folds_training_patients_alone(data):
    before = opponents.learn_superpixels(data, FOLDS, seed=0)
    assert [own.crop.shape for own in before] == [data.slices.scar.shape] * 3
    for number, study in enumerate(data.studies):
        wall = np.asarray(study.myocardium)
        studies = [*data.studies]
        studies[number] = dataclasses.replace(study, scar=wall)
        changed = dataclasses.replace(data, studies=tuple(studies))
        after = opponents.learn_superpixels(changed, FOLDS, seed=0)
        for one, then, now in zip(FOLDS, before, after, strict=True):
            trains = 2 * number in one.train
            assert np.array_equal(then.native["a"], now.native["a"]) is not trains
            assert np.array_equal(then.crop, now.crop) is not trains
