"""One network's training: what a step, an epoch and a judgement compute."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from builders import draw_blobs, draw_variables, shares_of
from flax import linen as nn

from scarseg_jax.learn import train
from scarseg_jax.learn.augment import apply_symmetry
from scarseg_jax.learn.enet import ENet
from scarseg_jax.learn.modules import Convolution
from scarseg_jax.run import THRESHOLDS


def test_packing_is_undone_and_tells_kernels_from_the_rest():
    model = ENet()
    variables = draw_variables(model)
    unpack = train.make_unpack(model, jnp.zeros((1, 16, 16, 1)))

    @jax.jit
    def both(variables):
        weights = train.pack(variables)
        bare = weights._replace(kernels=jnp.zeros_like(weights.kernels))
        return unpack(weights), unpack(bare)

    back, bare = both(variables)
    jax.tree.map(np.testing.assert_array_equal, back, variables)
    for path, leaf in jax.tree_util.tree_leaves_with_path(bare):
        assert np.any(leaf) != (path[-1].key == "kernel")


@functools.lru_cache
def single_step():
    model, optimizer = ENet(dropout=False), train.make_optimizer(2e-4)
    data = jax.tree.map(jnp.asarray, draw_blobs(4))
    init = jax.jit(functools.partial(train.init_state, model, optimizer))
    state = init(data.image[:1], jax.random.key(0))
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
    moved, _ = step(state, data, jnp.float32(1e-4))
    assert not np.array_equal(moved.weights.kernels, state.weights.kernels)


def test_the_rate_falls_to_a_tenth_in_100_epochs():
    schedule = train.make_schedule(5e-4, 0.1)
    rates = [np.asarray(schedule(epoch)) for epoch in (0, 50, 100)]
    np.testing.assert_allclose(rates, [5e-4, 5e-4 * 10**-0.5, 5e-5], rtol=1e-5)


def test_cross_entropy_of_two_classes_closed_form():
    logits = jnp.array([[0.0, 0.0], [1.0, 3.0], [1.0, 3.0]])
    shares = jnp.array([1.0, 0.0, 0.25])[:, None]
    expected = (5 * np.log(2) + 2 * np.log1p(np.exp(2))) / 3
    expected += (5 * 0.25 * np.log1p(np.exp(-2)) + 2 * 0.75 * np.log1p(np.exp(2))) / 3
    loss = float(train.cross_entropy(logits, shares, (2.0, 5.0)))
    assert loss == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_of_several_classes_closed_form():
    # The probabilities are thirds, and 1, 2 and 5 eighths.
    logits = jnp.log(jnp.array([[7.0, 7.0, 7.0], [1.0, 2.0, 5.0], [1.0, 2.0, 5.0]]))
    shares = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.0]])
    expected = 3 * np.log(3) + 4 * np.log(8 / 5)
    expected = (expected + (2 * np.log(8) + 3 * np.log(4)) / 2) / 3
    loss = float(train.cross_entropy(logits, shares, (2.0, 3.0, 4.0)))
    assert loss == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_of_two_classes_equals_the_general_formula(rng):
    """A third class that is never so nor thought so leaves two."""
    logits = rng.normal(0, 3, (5, 8, 8, 2)).astype(np.float32)
    labels = rng.integers(0, 2, (5, 8, 8)).astype(np.int8)
    never = np.full((5, 8, 8, 1), -1e9, np.float32)
    more = np.concatenate([logits, never], axis=-1)

    def two(logits):
        return train.cross_entropy(logits, shares_of(labels), (2.0, 5.0))

    def three(more):
        return train.cross_entropy(more, shares_of(labels, 3), (2.0, 5.0, 7.0))

    loss, gradient = jax.value_and_grad(two)(jnp.asarray(logits))
    same, gradients = jax.value_and_grad(three)(jnp.asarray(more))
    np.testing.assert_allclose(loss, same, rtol=1e-5)
    np.testing.assert_allclose(gradient, gradients[..., :2], atol=1e-6)
    # The formula, written with NumPy in float64.
    likelihood = np.exp(logits.astype(float))
    likelihood /= likelihood.sum(axis=-1, keepdims=True)
    own = np.take_along_axis(likelihood, labels[..., None].astype(int), axis=-1)[..., 0]
    general = np.mean(np.array([2.0, 5.0])[labels] * -np.log(own))
    assert float(loss) == pytest.approx(general, rel=1e-5)


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_probabilities_are_the_softmax_without_the_background(rng, classes):
    logits = rng.normal(0, 3, (4, 5, classes)).astype(np.float32)
    likelihood = np.exp(logits.astype(float))
    expected = likelihood[..., 1:] / likelihood.sum(axis=-1, keepdims=True)
    actual = train.probabilities(jnp.asarray(logits))
    assert actual.shape == (4, 5, classes - 1)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_pooled_dice_counts_valid_slices_only():
    probability = jnp.array([[[0.9, 0.1]], [[0.9, 0.9]], [[0.9, 0.9]]])
    scar = jnp.array([[[True, True]], [[False, False]], [[True, True]]])
    valid = jnp.array([True, True, False])
    half = THRESHOLDS.index(0.5)
    assert train.pooled_dice(probability, scar, valid)[half] == pytest.approx(2 / 5)
    nothing = jnp.zeros((1, 1, 2))
    assert not train.pooled_dice(nothing, nothing > 0, jnp.array([True])).any()


@pytest.mark.parametrize("classes", [2, 4])
def test_vmapped_step_has_no_grouped_convolution_scatter_or_select_and_scatter(classes):
    model, optimizer = ENet(classes=classes), train.make_optimizer(2e-4)
    data = jax.tree.map(jnp.asarray, draw_blobs(4))
    data = data._replace(shares=jnp.asarray(shares_of(data.shares[..., 0], classes)))
    unpack = train.make_unpack(model, data.image[:1])
    step = train.make_train_step(model, optimizer, unpack, (1.0,) * classes)

    def run(key, data):
        wrapped = jax.random.wrap_key_data(key)
        state = train.init_state(model, optimizer, data.image[:1], wrapped)
        return step(state, data, jnp.float32(1e-4))

    keys = jnp.zeros((3, 2), jnp.uint32)
    text = jax.jit(jax.vmap(run, in_axes=(0, None))).lower(keys, data).as_text()
    assert "dot_general" in text
    for word in ("convolution", "scatter"):
        assert word not in text


def test_a_batch_is_turned_images_with_their_shares(rng):
    number = rng.permutation(3 * 16).reshape(3, 4, 4)
    both = jnp.asarray(number, jnp.float32)[..., None]
    data = train.Data(both, both)
    codes = jnp.array([2 * 8 + 0, 1 * 8 + 5, 0 * 8 + 6])
    batch = train.take_batch(data, codes)
    np.testing.assert_array_equal(batch.image, batch.shares)
    np.testing.assert_array_equal(batch.shares[0, ..., 0], number[2])
    np.testing.assert_array_equal(batch.shares[1, ..., 0], number[1][::-1].T)
    np.testing.assert_array_equal(batch.shares[2, ..., 0], number[0][:, ::-1].T)


class Ramp(nn.Module):
    """A network whose answer depends on the pixel's place."""

    @nn.compact
    def __call__(self, images, *, train):
        del train
        scale = self.param("scale", nn.initializers.ones, ())
        ramp = jnp.arange(images.shape[1])[None, :, None]
        margin = scale * images[..., 0] + ramp
        return jnp.stack([jnp.zeros_like(margin), margin], axis=-1)


def test_answers_to_turned_images_are_turned_back(rng):
    images = jnp.asarray(rng.normal(size=(8, 4, 4, 1)), jnp.float32)
    variables = {"params": {"scale": jnp.float32(2)}}
    said = train.predict_turned(Ramp(), variables, images, jnp.arange(8))
    # Turning the answer once more: what was said where the ramp lies upright.
    for symmetry in range(8):
        seen = apply_symmetry(images[symmetry, ..., 0], jnp.int32(symmetry))
        expected = jax.nn.sigmoid(2 * seen + jnp.arange(4)[:, None])
        turned = apply_symmetry(said[symmetry, ..., 0], jnp.int32(symmetry))
        np.testing.assert_allclose(turned, expected, rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 5, 8])
def test_predictions_do_not_depend_on_the_batch_size(rng, batch_size):
    images = jnp.asarray(rng.normal(size=(5, 4, 4, 1)), jnp.float32)
    variables = {"params": {"scale": jnp.float32(1)}}
    expected = jax.nn.sigmoid(images + jnp.arange(4)[None, :, None, None])
    said = train.predict(Ramp(), variables, images, batch_size)
    np.testing.assert_allclose(said, expected, rtol=1e-6)


def test_an_epoch_skips_empty_rows_and_lowers_the_rate_step_by_step():
    def step(state, batch, rate):
        return state + batch.shares.sum().astype(jnp.int32), rate

    def schedule(epoch):
        return 10.0 - epoch

    run = train.make_train_epoch(step, schedule)
    data = train.Data(jnp.ones((3, 2, 2, 1)), jnp.ones((3, 2, 2, 1)))
    start: Any = jnp.int32(0)  # a state that counts the pixels of scar it saw
    table = jnp.array([[0, 8], [16, 1], [-1, -1]])
    state, metrics = run(start, table, jnp.float32(4), data)
    assert state == 2 * 2 * 4
    assert float(metrics["learning_rate"]) == 6
    assert float(metrics["loss"]) == (6 + 5.5) / 2


def test_the_dice_loss_is_of_all_pixels_of_a_class_closed_form():
    # Two images of four pixels, three classes, each as probable everywhere.
    labels = jnp.array([[[0, 1], [1, 1]], [[0, 0], [0, 2]]])
    loss = train.dice_loss(jnp.zeros((2, 2, 2, 3)), shares_of(labels, 3))
    soft = [(2 * n / 3 + 10) / (8 / 3 + n + 10) for n in (3, 1)]
    np.testing.assert_allclose(loss, 1 - np.mean(soft), rtol=1e-6)
    sure = 50.0 * jax.nn.one_hot(labels, 3)
    loss = train.dice_loss(sure, shares_of(labels, 3))
    assert float(loss) == pytest.approx(0, abs=1e-6)


class Pixelwise(nn.Module):
    """The least that has kernels, other parameters and statistics."""

    @nn.compact
    def __call__(self, images, *, train):
        y = Convolution(2, name="only")(images)
        return nn.BatchNorm(use_running_average=not train)(y)


def test_the_dice_loss_is_in_the_loss_only_when_asked():
    model, optimizer = Pixelwise(), train.make_optimizer(0.0)
    image = jnp.asarray(
        np.random.default_rng(0).normal(size=(2, 64, 64, 1)), jnp.float32
    )
    shares = jnp.zeros((2, 64, 64, 1)).at[:, 20:40, 20:40].set(1)
    state = train.init_state(model, optimizer, image[:1], jax.random.key(0))
    unpack = train.make_unpack(model, image[:1])
    losses = [
        jax.jit(train.make_train_step(model, optimizer, unpack, (1.0, 1.0), dice=dice))(
            state, train.Data(image, shares), jnp.float32(0)
        )[1]
        for dice in (False, True)
    ]
    # Of a class in 10 % of the pixels that is called at about one half.
    assert 0.4 < float(losses[1] - losses[0]) < 1


@pytest.mark.parametrize("averaging", [0.0, 0.7])
def test_the_average_is_the_moving_mean_of_the_weights(averaging, rng):
    model, optimizer = Pixelwise(), train.make_optimizer(1e-3)
    image = jnp.asarray(rng.normal(size=(2, 16, 16, 1)), jnp.float32)
    batch = train.Data(image, shares_of(image[..., 0] > 0))
    state = train.init_state(model, optimizer, image[:1], jax.random.key(0))
    unpack = train.make_unpack(model, image[:1])
    step = jax.jit(
        train.make_train_step(model, optimizer, unpack, (1.0, 1.0), averaging=averaging)
    )
    mean = [np.asarray(vector, np.float64) for vector in state.weights]
    for number in range(4):
        state, _ = step(state, batch, jnp.float32(1e-2))
        kept = min(averaging, number / (number + 10))
        new = [np.asarray(vector, np.float64) for vector in state.weights]
        mean = [
            kept * old + (1 - kept) * own for old, own in zip(mean, new, strict=True)
        ]
    for vector, ours, last in zip(mean, state.average, state.weights, strict=True):
        np.testing.assert_allclose(ours, vector, rtol=1e-5, atol=1e-6)
        assert np.array_equal(ours, last) == (averaging == 0)


@pytest.mark.parametrize("vary", [None, train.deform_batch, train.repaint_batch])
def test_images_vary_only_when_asked_another_way_at_each_step(vary, rng):
    image = jnp.asarray(rng.random((1, 16, 16, 1)), jnp.float32)
    data = train.Data(image, jnp.zeros((1, 16, 16, 1)))
    variations = [vary] if vary else []

    def seen_with(seed) -> Any:
        """Returns the images of both steps of an epoch."""
        key = jax.random.key_data(jax.random.key(seed))
        state = new_state()._replace(key=key, best_weights=jnp.zeros((2, 16, 16, 1)))

        def step(state, batch, rate):
            seen = state.best_weights.at[state.step].set(batch.image[0])
            return state._replace(step=state.step + 1, best_weights=seen), rate

        run = train.make_train_epoch(step, lambda epoch: epoch, variations=variations)
        table = jnp.zeros((2, 1), jnp.int32)
        return run(state, table, jnp.float32(0), data)[0].best_weights

    first, second = np.asarray(seen_with(0))
    np.testing.assert_array_equal(np.asarray(seen_with(0))[1], second)
    other = np.asarray(seen_with(1))[0]
    if vary:
        assert np.abs(first - second).mean() > 0.05
        assert np.abs(first - other).mean() > 0.05
        assert np.abs(first - image[0]).mean() > 0.05
    else:
        for each in (first, second, other):
            np.testing.assert_array_equal(each, image[0])


def test_half_of_the_images_lose_their_neighbours_when_deformed():
    image = jnp.broadcast_to(
        jnp.arange(3.0), (64, 16, 16, 3)
    )  # constant: bends to itself
    own = jnp.full(3, 1, jnp.int32)
    batch = train.Data(image, jnp.zeros((64, 16, 16, 1)), own=own)
    state = new_state()._replace(key=jax.random.key_data(jax.random.key(0)))
    seen = np.asarray(train.deform_batch(batch, state).image)[:, 0, 0]
    alone = (np.abs(seen - 1) < 1e-6).all(axis=1)
    beside = (np.abs(seen - np.arange(3)) < 1e-6).all(axis=1)
    assert (alone ^ beside).all()
    assert 16 < alone.sum() < 48


def test_channels_with_a_mask_s_edge_are_not_repainted(rng):
    image = jnp.asarray(rng.normal(size=(4, 16, 16, 3)), jnp.float32)
    edge = jnp.array([True, False, True])
    batch = train.Data(image, jnp.zeros((4, 16, 16, 1)), cut_out=edge)
    state = new_state()._replace(key=jax.random.key_data(jax.random.key(0)))
    seen = train.repaint_batch(batch, state).image
    np.testing.assert_array_equal(seen[..., ::2], image[..., ::2])
    assert (np.abs(seen[..., 1] - image[..., 1]).mean(axis=(1, 2)) > 0.01).all()


def new_state():
    weights = train.Weights(*[jnp.int32(0)] * 3)
    return train.State(
        weights=weights,
        optimizer=(),
        key=jnp.zeros(2, jnp.uint32),
        step=jnp.int32(0),
        average=weights,
        best_weights=weights,
        best_dice=jnp.float32(-1),
        best_epoch=jnp.int32(0),
    )


NONE = jnp.array([-1])


@pytest.mark.parametrize(
    ("selection", "best", "dice"),
    [("validation", 2, 1), ("oracle", 1, 1), ("last", 4, 2 / 3)],
)
def test_the_epoch_kept_is_the_first_best_of_the_slices_that_choose(
    selection, best, dice
):
    # What is said in each epoch of a scar pixel and the one beside it. Who is wrong is
    # best off where both are called scar.
    right, wrong = [0.9, 0.1], [0.1, 0.9]
    on_validation = np.transpose([wrong, right, right, wrong])
    on_test = np.transpose([right, wrong, wrong, wrong])
    image = jnp.asarray(np.stack([on_validation, on_test])[:, None], jnp.float32)
    data = train.Data(image, jnp.array(shares_of([[[1, 0]]] * 2)))
    judge = train.make_judge_epoch(
        lambda weights, images: images[..., weights.kernels][..., None], selection
    )
    state = new_state()
    for epoch in range(4):
        average = state.average._replace(kernels=jnp.int32(epoch))
        state = state._replace(average=average)
        state, _ = judge(
            state, jnp.array([0]), jnp.array([1]), jnp.float32(epoch), data
        )
    assert int(state.best_epoch) == best
    assert int(state.best_weights.kernels) == best - 1
    assert int(state.average.kernels) == 3
    assert float(state.best_dice) == pytest.approx(dice)


def test_the_dice_of_the_test_slices_is_that_at_the_threshold_chosen_without_them():
    image = jnp.array([[[0.5, 0.25]], [[0.2, 0.1]]])[..., None]
    data = train.Data(image, jnp.array(shares_of([[[1, 0]]] * 2)))
    judge = train.make_judge_epoch(lambda weights, images: images, "validation")
    _, metrics = judge(
        new_state(), jnp.array([0]), jnp.array([1]), jnp.float32(0), data
    )
    assert float(metrics["threshold"]) == pytest.approx(0.3)
    assert float(metrics["validation_dice"]) == 1
    assert float(metrics["test_dice"]) == 0


@pytest.mark.parametrize(
    ("scar_classes", "threshold"), [((1, 2), 0.3), ((1,), 0.25), ((2,), 0.35)]
)
def test_scar_is_judged_by_its_classes_together(scar_classes, threshold):
    # Pixels of class 1, class 2 and the background, and what is said of both classes.
    said = jnp.array([[0.3, 0.3], [0.22, 0.48], [0.21, 0.06]])
    data = train.Data(said[None, None], jnp.array(shares_of([[[1, 2, 0]]], 3)))
    judge = train.make_judge_epoch(
        lambda weights, images: images, "validation", scar_classes
    )
    _, metrics = judge(new_state(), jnp.array([0]), NONE, jnp.float32(0), data)
    assert float(metrics["validation_dice"]) == 1
    assert float(metrics["threshold"]) == pytest.approx(threshold)


def test_nothing_is_judged_as_called_outside_what_is_looked_at():
    """Nor is scar missed there, of which a pixel across the border has a share."""
    said = jnp.array([[[0.9, 0.9, 0.1, 0.1]]])[..., None]
    judge = train.make_judge_epoch(lambda weights, images: images, "validation")
    for inside, dice in ((None, 2 / 3), ([[[1, 0, 1, 0]]], 1), ([[[0, 0, 1, 0]]], 0)):
        data = train.Data(
            said,
            jnp.array([[[1.0, 0.0, 0.0, 0.6]]])[..., None],
            None if inside is None else jnp.array(inside, bool),
        )
        _, metrics = judge(new_state(), jnp.array([0]), NONE, jnp.float32(0), data)
        assert float(metrics["validation_dice"]) == pytest.approx(dice)


def test_slices_that_only_fill_up_are_not_judged():
    image = jnp.array([[[0.9, 0.1]], [[0.9, 0.9]]])[..., None]
    data = train.Data(image, jnp.array(shares_of([[[1, 0]]] * 2)))
    judge = train.make_judge_epoch(lambda weights, images: images, "validation")
    for validation, dice in (([0, -1], 1), ([0, 1], 4 / 5)):
        _, metrics = judge(
            new_state(), jnp.array(validation), NONE, jnp.float32(0), data
        )
        assert float(metrics["validation_dice"]) == pytest.approx(dice)
        assert float(metrics["test_dice"]) == 0
