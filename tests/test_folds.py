import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scarseg_jax.errors import InputError
from scarseg_jax.learn.augment import apply_symmetry
from scarseg_jax.prepare.folds import SYMMETRIES, Fold, epoch_table, make_folds, padded


@pytest.fixture
def cohort(rng):
    """20 patients of 4 to 9 slices; three quarters have scar."""
    patient = np.repeat([f"p{i:02d}" for i in range(20)], rng.integers(4, 10, 20))
    scarred = np.array([int(name[1:]) % 4 != 0 for name in patient])
    return patient, scarred & (rng.random(len(patient)) < 0.8)


@pytest.mark.parametrize("k", [0, 2, 5])
def test_no_patient_stands_on_two_sides(cohort, k):
    patient, has_scar = cohort
    folds = make_folds(patient, has_scar, k=k, validation=0.125, seed=0)
    assert len(folds) == (k or 20)
    for fold in folds:
        sides = [set(patient[s]) for s in (fold.train, fold.validation, fold.test)]
        assert all(a.isdisjoint(b) for a, b in itertools.combinations(sides, 2))
        assert set.union(*sides) == set(patient)
        assert all(sides)


@pytest.mark.parametrize("k", [0, 5])
def test_every_slice_is_tested_once(cohort, k):
    patient, has_scar = cohort
    folds = make_folds(patient, has_scar, k=k, validation=0.125, seed=0)
    tested = np.concatenate([fold.test for fold in folds])
    np.testing.assert_array_equal(np.sort(tested), np.arange(len(patient)))


def test_no_training_table_names_a_held_out_patient(cohort):
    patient, has_scar = cohort
    for fold in make_folds(patient, has_scar, k=0, validation=0.2, seed=3):
        fold = dataclasses.replace(fold, once=fold.train + len(patient))
        table = epoch_table(fold, batch_size=4, steps=400, seed=(0,))
        used = patient[table[table >= 0] // SYMMETRIES % len(patient)]
        held_out = set(patient[fold.test]) | set(patient[fold.validation])
        assert not held_out & set(used)


def test_scarred_patients_are_spread_evenly(cohort):
    patient, has_scar = cohort
    with_scar = set(patient[has_scar])
    for fold in make_folds(patient, has_scar, k=5, validation=0.25, seed=0):
        assert len(with_scar & set(patient[fold.test])) in (2, 3, 4)
        assert has_scar[fold.validation].any()


def test_an_epoch_is_every_image_in_every_symmetry_once():
    train, none = np.array([3, 5, 8, 9, 20]), np.zeros(0, int)
    fold = Fold(train, none, none)
    table = epoch_table(fold, batch_size=4, steps=13, seed=(0, 1, 2))
    assert (table[10:] == -1).all()
    codes = train[:, None] * SYMMETRIES + np.arange(SYMMETRIES)
    np.testing.assert_array_equal(np.sort(table[:10].ravel()), np.sort(codes.ravel()))
    other = epoch_table(fold, batch_size=4, steps=13, seed=(0, 1, 3))
    assert (other != table).any()


def test_further_images_are_seen_once_an_epoch_each_time_as_it_comes():
    none, once = np.zeros(0, int), np.arange(30, 46)
    fold = Fold(np.array([3, 5]), none, none, once)
    tables = [epoch_table(fold, batch_size=4, steps=9, seed=(s,)) for s in range(2)]
    ways = []
    for table in tables:
        assert (table[8:] == -1).all()
        index, symmetry = np.divmod(table[:8].ravel(), SYMMETRIES)
        counts = np.bincount(index, minlength=46)
        assert counts[[3, 5]].tolist() == [8, 8]
        assert counts[30:].tolist() == [1] * 16
        ways.append(symmetry[np.argsort(index)][16:].tolist())
        assert len(set(ways[-1])) > 2
    assert ways[0] != ways[1]


def test_the_eight_symmetries_are_those_of_the_square():
    square = np.arange(9, dtype=np.int32).reshape(3, 3)
    all_ = jax.vmap(apply_symmetry, (None, 0))(jnp.asarray(square), jnp.arange(8))
    ours = {image.tobytes() for image in np.asarray(all_)}
    turned = [np.rot90(square, k) for k in range(4)]
    assert ours == {t.tobytes() for r in turned for t in (r, r[::-1])}
    assert len(ours) == 8


def test_padding_is_minus_one():
    table = padded([np.array([1, 2]), np.array([7, 8, 9])])
    np.testing.assert_array_equal(table, [[1, 2, -1], [7, 8, 9]])


def test_what_cannot_be_split_is_refused():
    names = np.array(["a", "b", "c", "d"])
    scar = np.array([True, True, True, False])
    good = {"k": 0, "validation": 0.3, "seed": 0}
    with pytest.raises(InputError, match=r"1 patient\(s\)"):
        make_folds(names[:1], scar[:1], **good)
    with pytest.raises(InputError, match=r"folds\.k is 9"):
        make_folds(names, scar, **{**good, "k": 9})
    with pytest.raises(InputError, match=r"folds\.validation is 1\.5"):
        make_folds(names, scar, **{**good, "validation": 1.5})
    with pytest.raises(InputError, match="1 of 4 patients have scar"):
        make_folds(names, scar & (names == "a"), **good)
