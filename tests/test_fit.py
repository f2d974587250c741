"""Training on a toy problem: bright blobs are scar."""

import contextlib
import dataclasses
import logging
import os
import shutil
import signal
from typing import Any

import jax
import numpy as np
import pytest
from builders import draw_blobs

from scarseg_jax.errors import Diverged, InputError, Stopped
from scarseg_jax.learn import checkpoint, train
from scarseg_jax.learn.enet import ENet
from scarseg_jax.learn.fit import StateRecord, fit
from scarseg_jax.learn.recipe import Recipe
from scarseg_jax.prepare.folds import Fold
from scarseg_jax.run import Member

RECIPE = Recipe(
    epochs=3,
    batch_size=4,
    learning_rate=5e-4,
    decay=0.1,
    weight_decay=2e-4,
    augmentation="deformed",  # random, so the harder to go on with
    class_weights=(1.0, 1.0),
    dice=True,
    averaging=0.9,
    selection="validation",
)
FOLDS = (
    Fold(np.arange(6, dtype=np.int32), np.array([6, 7], np.int32), np.array([8, 9])),
    Fold(np.arange(2, 10, dtype=np.int32), np.array([0], np.int32), np.array([1])),
)
MEMBERS = (Member(0, 0), Member(0, 1), Member(1, 0))
GIVEN: dict[str, Any] = {
    "data": draw_blobs(),
    "folds": FOLDS,
    "members": MEMBERS,
    "data_hash": "toy",
}


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    return tmp_path_factory.mktemp("states")


@pytest.fixture(scope="module")
def fitted(states):
    return fit(states, ENet(), RECIPE, **GIVEN)


def of_member(history, member):
    return [
        row for row in history if (row.fold, row.seed) == (member.fold, member.seed)
    ]


def test_a_member_equals_its_single_run(fitted, tmp_path):
    alone = fit(tmp_path, ENet(), RECIPE, **{**GIVEN, "members": MEMBERS[2:]})
    for ours, theirs in zip(
        jax.tree.leaves(alone.variables), jax.tree.leaves(fitted.variables), strict=True
    ):
        np.testing.assert_allclose(ours[0], theirs[2], atol=1e-5)
    losses = [row.loss for row in of_member(fitted.history, MEMBERS[2])]
    np.testing.assert_allclose([r.loss for r in alone.history], losses, rtol=1e-5)


def test_members_differ_by_fold_and_by_seed(fitted):
    kernels = fitted.variables["params"]["classify"]["kernel"]
    assert not np.allclose(kernels[0], kernels[1])
    assert not np.allclose(kernels[0], kernels[2])


def test_members_begin_in_turn_as_the_networks_they_are_given(fitted, tmp_path):
    still = dataclasses.replace(RECIPE, epochs=1, learning_rate=1e-30)
    first_two = jax.tree.map(lambda leaf: leaf[:2], fitted.variables)
    after = fit(tmp_path, ENet(), still, **GIVEN, start=first_two).variables["params"]
    for member, begun_as in enumerate((0, 1, 0)):
        jax.tree.map(
            lambda now, then, m=member, b=begun_as: np.testing.assert_allclose(
                now[m], then[b], rtol=1e-5
            ),
            *(after, first_two["params"]),
        )


def test_the_loss_falls(fitted):
    for member in MEMBERS:
        losses = [row.loss for row in of_member(fitted.history, member)]
        assert len(losses) == RECIPE.epochs
        assert losses[-1] < losses[0]


def test_each_member_has_the_epoch_that_was_best_on_its_validation_slices(fitted):
    for member, epoch, dice in zip(
        MEMBERS, fitted.best_epoch, fitted.best_dice, strict=True
    ):
        rows = of_member(fitted.history, member)
        assert [row.epoch for row in rows] == [1, 2, 3]
        scores = [row.validation_dsc for row in rows]
        assert dice == max(scores)
        assert epoch == 1 + scores.index(dice)


def test_restored_networks_equal_those_in_memory(fitted, tmp_path):
    record = StateRecord(
        "toy", "", fitted.history, RECIPE.epochs, fitted.seconds, fitted.machines
    )
    checkpoint.save(tmp_path / "checkpoint", fitted.variables, record)
    restored, said = checkpoint.load(tmp_path / "checkpoint", StateRecord)
    jax.tree.map(np.testing.assert_array_equal, restored, fitted.variables)
    assert said == record


@contextlib.contextmanager
def listening(react=lambda message: None):
    """Yields the list of what training tells; `react` is called with each line."""
    said = []

    def listen(record):
        said.append(record.getMessage())
        react(said[-1])
        return True

    log = logging.getLogger(fit.__module__)
    before = log.level
    log.setLevel(logging.INFO)
    log.addFilter(listen)
    try:
        yield said
    finally:
        log.removeFilter(listen)
        log.setLevel(before)


def test_stopping_and_going_on_ends_where_a_straight_run_ends(fitted, tmp_path):
    def terminate(message):
        if message.startswith("epoch 1/3"):
            os.kill(os.getpid(), signal.SIGTERM)

    with listening(terminate), pytest.raises(Stopped) as stopped:
        fit(tmp_path, ENet(), RECIPE, **GIVEN)
    assert stopped.value.args == (signal.SIGTERM,)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_000001"]
    with listening() as said:
        again = fit(tmp_path, ENet(), RECIPE, **GIVEN)
    assert "going on after epoch 1" in said
    assert again.best_epoch == fitted.best_epoch
    assert again.best_dice == fitted.best_dice
    assert again.history == fitted.history
    jax.tree.map(np.testing.assert_array_equal, again.variables, fitted.variables)


def test_a_finished_training_comes_back_from_its_state(fitted, states):
    with listening() as said:
        again = fit(states, ENet(), RECIPE, **GIVEN)
    assert not any(message.startswith("epoch") for message in said)
    assert again[1:4] == fitted[1:4]
    assert again.seconds > 0
    jax.tree.map(np.testing.assert_array_equal, again.variables, fitted.variables)


@pytest.mark.parametrize(
    "other",
    [
        {"data_hash": "another"},
        {"folds": (FOLDS[0], dataclasses.replace(FOLDS[1], test=np.array([0])))},
    ],
)
@pytest.mark.usefixtures("fitted")
def test_a_state_of_other_data_or_another_split_is_refused(states, other):
    with pytest.raises(InputError, match="other data or another split"):
        fit(states, ENet(), RECIPE, **{**GIVEN, **other})


def test_a_fold_with_less_than_a_batch_is_refused_by_its_number(tmp_path):
    # The first fold's epoch has 6 images in 8 symmetries, the second's 64 of them.
    recipe = dataclasses.replace(RECIPE, batch_size=49)
    with pytest.raises(InputError, match=r"is 49, more .* in fold 0, which"):
        fit(tmp_path, ENet(), recipe, **GIVEN)
    with pytest.raises(InputError, match=r"is 49, more .* in fold 1, which"):
        fit(tmp_path, ENet(), recipe, **{**GIVEN, "folds": FOLDS[::-1]})


@pytest.fixture
def poisoned():
    """The toy problem with one slice that no scanner gives, which fold 1 alone sees."""
    image = draw_blobs().image.copy()
    image[9] = np.inf
    folds = (dataclasses.replace(FOLDS[0], test=np.array([8, 8])), FOLDS[1])
    return {**GIVEN, "data": draw_blobs()._replace(image=image), "folds": folds}


def test_a_fold_that_diverges_ends_and_the_others_are_as_without_it(
    poisoned, fitted, tmp_path
):
    found = fit(tmp_path, ENet(), RECIPE, **poisoned)
    assert found.members == MEMBERS[:2]
    (end,) = found.diverged
    assert (end.member, end.epoch) == (MEMBERS[2], 1)
    codes = np.random.default_rng((0, 1, 0)).permutation(
        (np.arange(2, 10)[:, None] * 8 + np.arange(8)).reshape(-1)
    )
    first = np.flatnonzero((codes // 8 == 9).reshape(-1, RECIPE.batch_size).any(axis=1))
    assert end.step == 1 + first[0]
    assert "fold 1, seed 0: the loss became NaN or infinite in epoch 1" in str(end)
    assert not of_member(found.history, MEMBERS[2])
    for member in MEMBERS[:2]:
        ours, theirs = (
            [row.loss for row in of_member(f.history, member)] for f in (found, fitted)
        )
        assert ours == theirs
    for ours, theirs in zip(
        jax.tree.leaves(found.variables), jax.tree.leaves(fitted.variables), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs[:2])
    again = fit(tmp_path, ENet(), RECIPE, **poisoned)
    assert (again.members, again.diverged) == (found.members, found.diverged)


def test_training_stops_where_no_network_is_left(poisoned, tmp_path, caplog):
    given = {**poisoned, "members": MEMBERS[2:]}
    with caplog.at_level(logging.INFO), pytest.raises(Diverged, match="no network is"):
        fit(tmp_path, ENet(), RECIPE, **given)
    assert "compiled training" in caplog.text
    caplog.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_000001"]
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(Diverged, match=r"fold 1, seed 0"),
    ):
        fit(tmp_path, ENet(), RECIPE, **given)
    assert "compiled" not in caplog.text


def test_going_on_elsewhere_is_said_and_recorded(fitted, states, tmp_path, caplog):
    shutil.copytree(states, tmp_path / "states")
    (newest,) = sorted((tmp_path / "states").iterdir())[-1:]
    tree, record = checkpoint.load(newest, StateRecord)
    elsewhere = dataclasses.replace(fitted.machines[0], devices=("cpu:0",) * 64)
    checkpoint.save(newest, tree, dataclasses.replace(record, machines=(elsewhere,)))
    again = fit(tmp_path / "states", ENet(), RECIPE, **GIVEN)
    assert again.machines == (elsewhere, *fitted.machines)
    assert "after 64 x cpu:0" in caplog.text
    assert "the same bits as without a break are not to be expected" in caplog.text


def test_the_epoch_is_traced_once(monkeypatch, tmp_path):
    traces = []
    plain = train.cross_entropy

    def counted(*arguments):
        traces.append(1)
        return plain(*arguments)

    monkeypatch.setattr(train, "cross_entropy", counted)
    given = {**GIVEN, "folds": FOLDS[:1], "members": MEMBERS[:1]}
    fit(tmp_path, ENet(), RECIPE, **given)
    # Once in the value, and no second time for another epoch.
    assert len(traces) == 1


def test_what_is_chosen_does_not_depend_on_the_test_patients(fitted, tmp_path):
    data = draw_blobs()
    shares = data.shares.copy()
    test = FOLDS[0].test
    shares[test] = 1 - shares[test]
    given = {**GIVEN, "folds": FOLDS[:1], "members": MEMBERS[:1]}
    given["data"] = data._replace(shares=shares)
    other = fit(tmp_path, ENet(), RECIPE, **given)
    assert other.best_epoch[0] == fitted.best_epoch[0]
    assert other.best_dice[0] == pytest.approx(fitted.best_dice[0], abs=1e-5)
    before = [row.test_dsc for row in of_member(fitted.history, MEMBERS[0])]
    assert [row.test_dsc for row in other.history] != before
