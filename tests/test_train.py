"""Training on a toy problem: bright blobs are scar."""

import functools
import os
import signal
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scarseg_jax.learn import checkpoint, ensemble, train
from scarseg_jax.learn.enet import ENet
from scarseg_jax.learn.fit import Member, Recipe, Stopped, fit
from scarseg_jax.prepare.folds import Fold

SIZE = 16
RECIPE = Recipe(
    epochs=3,
    batch_size=4,
    learning_rate=5e-4,
    decay=0.1,
    weight_decay=2e-4,
    class_weights=(1.0, 1.0),
    selection="validation",
)


def toy(count=10):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    centre = rng.uniform(4, 12, (count, 2, 1, 1))
    scar = np.hypot(y - centre[:, 0], x - centre[:, 1]) < 4
    image = scar + rng.normal(0, 0.3, scar.shape)
    return train.Data(image[..., None].astype(np.float32), scar)


FOLDS = (
    Fold(np.arange(6, dtype=np.int32), np.array([6, 7], np.int32), np.array([8, 9])),
    Fold(np.arange(2, 10, dtype=np.int32), np.array([0], np.int32), np.array([1])),
)
MEMBERS = (Member(0, 0), Member(0, 1), Member(1, 0))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("states")
    return fit(
        directory,
        ENet(),
        RECIPE,
        data=toy(),
        folds=FOLDS,
        members=MEMBERS,
        data_hash="toy",
    )


def test_a_member_equals_its_single_run(fitted, tmp_path):
    variables, _, history, _ = fitted
    alone, _, own, _ = fit(
        tmp_path,
        ENet(),
        RECIPE,
        data=toy(),
        folds=FOLDS,
        members=MEMBERS[2:],
        data_hash="toy",
    )
    for ours, theirs in zip(
        jax.tree.leaves(alone), jax.tree.leaves(variables), strict=True
    ):
        np.testing.assert_allclose(ours[0], theirs[2], atol=1e-5)
    losses = [row["loss"] for row in history if row["fold"] == 1]
    np.testing.assert_allclose([row["loss"] for row in own], losses, rtol=1e-5)


def test_members_fill_up_any_number_of_devices_and_come_back():
    mesh = ensemble.member_mesh(5)
    assert mesh.size == 2
    tree = {"a": np.arange(10).reshape(5, 2), "b": np.arange(5, dtype=np.float32)}
    spread = ensemble.put_members(tree, mesh)
    assert spread["b"].tolist() == [0, 1, 2, 3, 4, 4]
    jax.tree.map(np.testing.assert_array_equal, ensemble.take_members(spread, 5), tree)


def test_members_differ_by_fold_and_by_seed(fitted):
    kernels = fitted[0]["params"]["classify"]["kernel"]
    assert not np.allclose(kernels[0], kernels[1])
    assert not np.allclose(kernels[0], kernels[2])


def test_the_loss_falls(fitted):
    history = fitted[2]
    for member in MEMBERS:
        losses = [
            row["loss"]
            for row in history
            if (row["fold"], row["seed"]) == (member.fold, member.seed)
        ]
        assert len(losses) == RECIPE.epochs
        assert losses[-1] < losses[0]


def test_restored_networks_equal_those_in_memory(fitted, tmp_path):
    checkpoint.save(tmp_path / "checkpoint", fitted[0], {})
    restored, _ = checkpoint.load(tmp_path / "checkpoint")
    jax.tree.map(np.testing.assert_array_equal, restored, fitted[0])


def test_stopping_and_going_on_ends_where_a_straight_run_ends(
    fitted, tmp_path, monkeypatch
):
    variables, chosen, history, _ = fitted
    arguments = {
        "data": toy(),
        "folds": FOLDS,
        "members": MEMBERS,
        "data_hash": "toy",
    }

    def terminate(records, *_):
        if records[0]["epoch"] == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[fit.__module__], "_log_progress", terminate)
        with pytest.raises(Stopped) as stopped:
            fit(tmp_path, ENet(), RECIPE, **arguments)
    assert stopped.value.args == (signal.SIGTERM,)
    again, chosen_again, history_again, _ = fit(tmp_path, ENet(), RECIPE, **arguments)
    assert chosen_again == chosen
    assert history_again == history
    jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_the_epoch_is_traced_once(monkeypatch, tmp_path):
    traces = []
    plain = train.cross_entropy

    def counted(*arguments):
        traces.append(1)
        return plain(*arguments)

    monkeypatch.setattr(train, "cross_entropy", counted)
    fit(
        tmp_path,
        ENet(),
        RECIPE,
        data=toy(),
        folds=FOLDS[:1],
        members=MEMBERS[:1],
        data_hash="toy",
    )
    # Once in the value, and no second time for another epoch.
    assert len(traces) == 1


@functools.lru_cache
def single_step():
    model, optimizer = ENet(dropout=False), train.make_optimizer(2e-4)
    data = jax.tree.map(jnp.asarray, toy(4))
    state = train.init_state(model, optimizer, data.image[:1], jax.random.key(0))
    unpack = train.make_unpack(model, data.image[:1])
    step = train.make_train_step(model, optimizer, unpack, (1.0, 1.0))
    return jax.jit(step), state, data


def test_decay_pulls_on_kernels_alone_and_scales_with_the_rate():
    step, state, data = single_step()
    plain = train.make_optimizer(0.0)
    decayed = train.make_optimizer(2e-4)
    pair: Any = (state.weights.kernels, state.weights.others)
    gradients = jax.tree.map(jnp.ones_like, pair)
    with_decay: Any = decayed.update(gradients, decayed.init(pair), pair)[0]
    without: Any = plain.update(gradients, plain.init(pair), pair)[0]
    np.testing.assert_allclose(with_decay[0] - without[0], 2e-4 * pair[0], atol=1e-6)
    np.testing.assert_array_equal(with_decay[1], without[1])
    stayed, _ = step(state, data, jnp.float32(0))
    np.testing.assert_array_equal(stayed.weights.kernels, state.weights.kernels)


def test_the_rate_falls_to_a_tenth_in_100_epochs():
    schedule = train.make_schedule(5e-4, 0.1)
    rates = [np.asarray(schedule(epoch)) for epoch in (0, 50, 100)]
    np.testing.assert_allclose(rates, [5e-4, 5e-4 * 10**-0.5, 5e-5], rtol=1e-5)


def test_cross_entropy_closed_form():
    logits = jnp.array([[0.0, 0.0], [1.0, 3.0]])
    scar = jnp.array([True, False])
    expected = (5 * np.log(2) + 2 * np.log1p(np.exp(2))) / 2
    loss = float(train.cross_entropy(logits, scar, (2.0, 5.0)))
    assert loss == pytest.approx(expected, rel=1e-6)


def test_pooled_dice_counts_valid_slices_only():
    probability = jnp.array([[[0.9, 0.1]], [[0.9, 0.9]], [[0.9, 0.9]]])
    scar = jnp.array([[[True, True]], [[False, False]], [[True, True]]])
    valid = jnp.array([True, True, False])
    half = train.THRESHOLDS.index(0.5)
    assert train.pooled_dice(probability, scar, valid)[half] == pytest.approx(2 / 5)
    nothing = jnp.zeros((1, 1, 2))
    assert not train.pooled_dice(nothing, nothing > 0, jnp.array([True])).any()


def test_vmapped_step_has_no_grouped_convolution_scatter_or_select_and_scatter():
    model, optimizer = ENet(), train.make_optimizer(2e-4)
    data = jax.tree.map(jnp.asarray, toy(4))
    unpack = train.make_unpack(model, data.image[:1])
    step = train.make_train_step(model, optimizer, unpack, (1.0, 1.0))

    def run(key, data):
        wrapped = jax.random.wrap_key_data(key)
        state = train.init_state(model, optimizer, data.image[:1], wrapped)
        return step(state, data, jnp.float32(1e-4))

    keys = jnp.zeros((3, 2), jnp.uint32)
    text = jax.jit(jax.vmap(run, in_axes=(0, None))).lower(keys, data).as_text()
    assert "dot_general" in text
    for word in ("convolution", "scatter"):
        assert word not in text


def test_predicting_many_equals_predicting_each(fitted):
    variables, images = fitted[0], toy().image
    wanted = np.array([[0, 1, 2], [3, 4, -1], [5, 6, 7]], np.int32)
    together = ensemble.predict_members(
        ENet(), variables, images, wanted, symmetries=False
    )
    assert together.shape == (3, 3, SIZE, SIZE)
    own = jax.tree.map(lambda leaf: leaf[1], variables)
    alone = train.predict(ENet(), own, jnp.asarray(images[4:5]), 1)
    np.testing.assert_allclose(together[1, 1], alone[0], atol=1e-5)


def test_averaging_over_symmetries_makes_the_answer_turn_with_the_image(fitted):
    variables = jax.tree.map(lambda leaf: leaf[1], fitted[0])
    image = jnp.asarray(toy().image[:1])
    answer = functools.partial(train.predict_symmetric, ENet(), variables, batch_size=1)
    turned = jnp.rot90(image, axes=(1, 2))
    np.testing.assert_allclose(
        jnp.rot90(answer(images=image), axes=(1, 2)), answer(images=turned), atol=1e-6
    )
    plain = train.predict(ENet(), variables, image, 1)
    assert not np.allclose(plain, answer(images=image), atol=1e-4)


def test_what_is_chosen_does_not_depend_on_the_test_patients(fitted, tmp_path):
    data = toy()
    scar = data.scar.copy()
    test = FOLDS[0].test
    scar[test] = ~scar[test]
    _, chosen, history, _ = fit(
        tmp_path,
        ENet(),
        RECIPE,
        data=data._replace(scar=scar),
        folds=FOLDS[:1],
        members=MEMBERS[:1],
        data_hash="toy",
    )
    assert chosen[0]["best_epoch"] == fitted[1][0]["best_epoch"]
    assert chosen[0]["best_dsc"] == pytest.approx(fitted[1][0]["best_dsc"], abs=1e-5)
    before = [r["test_dsc"] for r in fitted[2] if (r["fold"], r["seed"]) == (0, 0)]
    assert [r["test_dsc"] for r in history] != before
