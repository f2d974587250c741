"""One member's training: pure functions from data, index tables and keys to a state.

A member is one network: one fold and one seed. Nothing here knows how many members
there are; `ensemble` maps these functions over them.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import traverse_util
from jax.flatten_util import ravel_pytree

from scarseg_jax.learn import layers
from scarseg_jax.learn.augment import apply_symmetry, deform, repaint, undo_symmetry
from scarseg_jax.learn.modules import kernel_bound
from scarseg_jax.prepare.folds import SYMMETRIES
from scarseg_jax.run import THRESHOLDS

_FEW_PX = 10.0  # a class that is hardly in the batch shall not count as much
# Folded into a member's key: no step counts so far.
_DEFORM, _LEAVE_ALONE, _REPAINT = 2**31 - 1, 2**31 - 2, 2**31 - 3


class Weights(NamedTuple):
    """All variables of one network as three vectors.

    One vector is one kernel launch in the optimiser and one leaf in a checkpoint,
    where the tree has five hundred.
    """

    kernels: jax.Array  # convolution kernels: these decay
    others: jax.Array  # scales, offsets and slopes
    statistics: jax.Array  # batch normalisation's running averages


class State(NamedTuple):
    """What training one member carries from step to step and from epoch to epoch."""

    weights: Weights
    optimizer: optax.OptState
    key: jax.Array  # raw key data of the member's dropout key
    step: jax.Array  # int32, optimiser steps so far
    average: Weights  # over the last steps, what is judged and kept
    best_weights: Weights
    best_dice: jax.Array  # of the slices that choose; -1 before the first epoch
    best_epoch: jax.Array  # int32, from 1; 0 before the first epoch


class Data(NamedTuple):
    """The data set, on the device or in NumPy."""

    image: Any  # (N, H, W, C) float32
    shares: Any  # (N, H, W, K - 1) float32 of each class but the background, in a pixel
    inside: Any = None  # (N, H, W) bool where scar may be called; None: everywhere
    cut_out: Any = None  # (C,) bool, channels with a mask's sharp edge; None: none
    own: Any = None  # (C,) int32, each channel's of the slice itself; None: all are its


def pack(variables: Any) -> Weights:
    """Returns a network's variables as vectors."""
    return Weights(*(ravel_pytree(tree)[0] for tree in _trees(variables)))


def make_unpack(model: nn.Module, image: Any) -> Callable[[Weights], dict]:
    """Returns `pack`'s inverse for a network's variables; nothing is computed.

    Args:
      model: The network.
      image: (1, H, W, C), for the shapes.
    """
    init = functools.partial(model.init, train=False)
    shapes = _trees(jax.eval_shape(init, jax.random.key(0), image))

    def unpack(weights: Weights) -> dict:
        kernels, others, statistics = (
            unravel(vector, tree) for vector, tree in zip(weights, shapes, strict=True)
        )
        params = traverse_util.unflatten_dict(kernels | others)
        return {"params": params, "batch_stats": statistics}

    return unpack


def unravel(vector: jax.Array, shapes: Any) -> Any:
    """Returns the tree that `ravel_pytree` made a vector of.

    Args:
      vector: (n,).
      shapes: A tree with the shapes of its leaves.
    """
    leaves, structure = jax.tree.flatten(shapes)
    ends = np.cumsum([leaf.size for leaf in leaves])
    parts = jnp.split(vector, ends[:-1])
    return structure.unflatten(
        [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
    )


def _trees(variables: Any) -> tuple[dict, dict, dict]:
    """Returns the trees of kernels, other parameters and running averages."""
    flat = traverse_util.flatten_dict(variables["params"])
    kernels = {path: leaf for path, leaf in flat.items() if path[-1] == "kernel"}
    others = {path: leaf for path, leaf in flat.items() if path[-1] != "kernel"}
    return kernels, others, variables["batch_stats"]


def make_optimizer(weight_decay: float) -> optax.GradientTransformation:
    """Returns Adam with decoupled weight decay on the kernels, for a rate of 1.

    Its updates are for (kernels, others); `train_step` multiplies by the rate.
    """
    return optax.chain(
        optax.scale_by_adam(),
        optax.add_decayed_weights(weight_decay, mask=(True, False)),
    )


def make_schedule(learning_rate: float, decay: float) -> optax.Schedule:
    """Returns the learning rate after so many epochs (fractions count).

    Args:
      learning_rate: At the start.
      decay: Factor over 100 epochs.
    """
    return optax.exponential_decay(learning_rate, 100, decay)


def init_state(model: nn.Module, optimizer, image: jax.Array, key: jax.Array) -> State:
    """Returns a new member's state.

    Args:
      model: The network.
      optimizer: From `make_optimizer`.
      image: (1, H, W, 1), for the shapes.
      key: The member's random key.
    """
    kernel_key, dropout_key = jax.random.split(key)
    variables: Any = model.init(kernel_key, image, train=False)
    params: Any = traverse_util.flatten_dict(variables["params"])
    weights = pack(variables)
    # The kernels anew, in one draw: to compile one for each takes as long as to compile
    # the training step, and XLA leaves out what is not used.
    bounds, _ = ravel_pytree(
        {
            path: jnp.full(leaf.shape, kernel_bound(leaf.shape))
            for path, leaf in params.items()
            if path[-1] == "kernel"
        }
    )
    drawn = jax.random.uniform(kernel_key, bounds.shape, minval=-1)
    weights = weights._replace(kernels=bounds * drawn)
    return State(
        weights=weights,
        optimizer=optimizer.init((weights.kernels, weights.others)),
        key=jax.random.key_data(dropout_key),
        step=jnp.int32(0),
        average=weights,
        best_weights=weights,
        best_dice=jnp.float32(-1),
        best_epoch=jnp.int32(0),
    )


def cross_entropy(
    logits: jax.Array, shares: jax.Array, class_weights: tuple[float, ...]
) -> jax.Array:
    """Returns the mean over pixels of the weighted cross entropy.

    Args:
      logits: (..., K) of the background and K - 1 other classes.
      shares: (..., K - 1) of the pixel that each of these has.
      class_weights: Of each class.
    """
    if logits.shape[-1] == 2:  # the same, written with the one margin there is
        margin, own = logits[..., 1] - logits[..., 0], shares[..., 0]
        scar = class_weights[1] * own * jax.nn.softplus(-margin)
        return jnp.mean(scar + class_weights[0] * (1 - own) * jax.nn.softplus(margin))
    rest = 1 - jnp.sum(shares, axis=-1, keepdims=True)
    own = jnp.concatenate([rest, shares], axis=-1)
    weighted = own * layers.across(jnp.asarray(class_weights, logits.dtype), own)
    return -jnp.mean(jnp.sum(weighted * jax.nn.log_softmax(logits), axis=-1))


def dice_loss(logits: jax.Array, shares: jax.Array) -> jax.Array:
    """Returns 1 less the soft Dice of the batch, the mean over the classes.

    Cross entropy counts pixels, so that a class of few hardly moves it. Of the whole
    batch, as a single image may lack a class (V-Net's loss, Milletari et al., 3DV 2016,
    doi:10.1109/3DV.2016.79 (unverified), there with squares in the denominator).

    Args:
      logits: (..., K) of the background, which does not count, and K - 1 classes.
      shares: (..., K - 1) of the pixel that each of these has.
    """
    said = probabilities(logits)
    pixels = tuple(range(said.ndim - 1))
    both, all_px = jnp.sum(said * shares, pixels), jnp.sum(said + shares, pixels)
    return 1 - jnp.mean((2 * both + _FEW_PX) / (all_px + _FEW_PX))


def probabilities(logits: jax.Array) -> jax.Array:
    """Returns (..., K - 1) probabilities of each class but the background.

    Args:
      logits: (..., K).
    """
    if logits.shape[-1] == 2:
        return jax.nn.sigmoid(logits[..., 1] - logits[..., 0])[..., None]
    return jax.nn.softmax(logits)[..., 1:]


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    unpack: Callable[[Weights], dict],
    class_weights: tuple[float, ...],
    *,
    dice: bool = False,
    averaging: float = 0.0,
):
    """Returns the pure function (state, batch, rate) -> (state, loss).

    The last steps' weights go around where the loss is least; their mean is nearer to it
    (Polyak and Juditsky 1992, doi:10.1137/0330046 (unverified); here the moving mean).

    Args:
      model: The network.
      optimizer: From `make_optimizer`.
      unpack: From `make_unpack`.
      class_weights: Of the cross entropy.
      dice: Whether `dice_loss` is added.
      averaging: Share of `State.average` that a step keeps; 0: the last step's weights.
    """

    def loss_fn(trained, statistics, batch: Data, key):
        variables = unpack(Weights(trained[0], trained[1], statistics))
        logits, updated = model.apply(
            variables,
            batch.image,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        statistics, _ = ravel_pytree(updated["batch_stats"])
        loss = cross_entropy(logits, batch.shares, class_weights)
        return loss + dice_loss(logits, batch.shares) if dice else loss, statistics

    def train_step(state: State, batch: Data, rate: jax.Array):
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        trained = (state.weights.kernels, state.weights.others)
        (loss, statistics), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
            trained, state.weights.statistics, batch, key
        )
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, trained)
        kernels, others = jax.tree.map(lambda p, u: p - rate * u, trained, updates)
        weights = Weights(kernels, others, statistics)
        # At first of fewer steps, or what was drawn at random would be among them.
        kept = jnp.minimum(averaging, state.step / (state.step + 10))
        return state._replace(
            weights=weights,
            optimizer=optimizer_state,
            step=state.step + 1,
            average=jax.tree.map(
                lambda mean, new: kept * mean + (1 - kept) * new, state.average, weights
            ),
        ), loss

    return train_step


def take_batch(data: Data, codes: jax.Array) -> Data:
    """Returns the images and shares of (B,) codes slice * 8 + symmetry."""
    index, symmetry = jnp.divmod(codes, SYMMETRIES)
    transform = jax.vmap(apply_symmetry)
    wanted = (data.image, data.shares)
    image, shares = (transform(array[index], symmetry) for array in wanted)
    return data._replace(image=image, shares=shares, inside=None)


def deform_batch(batch: Data, state: State) -> Data:
    """Returns the batch with each image deformed, another way at each step.

    Half of them lose their neighbours: the slice itself stands in their place, as at the
    stack's end. A stack can have wider gaps than those of training.
    """
    keys = jax.random.split(_key_of_step(state, _DEFORM), len(batch.image))
    deformed = jax.vmap(deform, in_axes=(0, 0, 0, None))
    image, shares = deformed(keys, batch.image, batch.shares, batch.cut_out)
    if batch.own is not None:
        key = _key_of_step(state, _LEAVE_ALONE)
        alone = jax.random.bernoulli(key, shape=(len(image), 1, 1, 1))
        image = jnp.where(alone, image[..., batch.own], image)
    return batch._replace(image=image, shares=shares)


def repaint_batch(batch: Data, state: State) -> Data:
    """Returns the batch with each image repainted, another way at each step.

    Channels with a mask's sharp edge stay as they are.
    """
    keys = jax.random.split(_key_of_step(state, _REPAINT), len(batch.image))
    image = jax.vmap(repaint)(keys, batch.image)
    if batch.cut_out is not None:
        image = jnp.where(batch.cut_out[None, None, None], batch.image, image)
    return batch._replace(image=image)


def _key_of_step(state: State, purpose: int) -> jax.Array:
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), purpose)
    return jax.random.fold_in(key, state.step)


def predict(
    model: nn.Module, variables: dict, images: jax.Array, batch_size: int
) -> jax.Array:
    """Returns the (n, H, W, K - 1) `probabilities` of (n, H, W, 1) images.

    Args:
      model: The network.
      variables: One member's; with a network and variables from `Network.freeze` faster.
      images: Any number of them.
      batch_size: How many run at a time, whatever n is.
    """
    n, *shape = images.shape
    chunks = -(-n // batch_size)
    more = [(0, chunks * batch_size - n)] + [(0, 0)] * len(shape)
    images = jnp.pad(images, more).reshape(chunks, batch_size, *shape)

    def one_chunk(chunk):
        logits: Any = model.apply(variables, chunk, train=False)
        return probabilities(logits)

    probability = jax.lax.map(one_chunk, images)
    return probability.reshape(-1, *probability.shape[2:])[:n]


def predict_turned(
    model: nn.Module, variables: dict, images: jax.Array, symmetry: jax.Array
) -> jax.Array:
    """Returns what a network says of turned images, turned back.

    It was trained on all of the square's symmetries.

    Args:
      model: The network.
      variables: One member's.
      images: (B, H, H, 1).
      symmetry: (B,) int 0..7, of each image.

    Returns:
      (B, H, H, K - 1).
    """
    seen = jax.vmap(apply_symmetry)(images, symmetry)
    logits: Any = model.apply(variables, seen, train=False)
    return jax.vmap(undo_symmetry)(probabilities(logits), symmetry)


def pooled_dice(probability: jax.Array, scar: jax.Array, valid: jax.Array) -> jax.Array:
    """Returns the Dice coefficient of all pixels of the valid slices, by threshold.

    A network that has learnt may be sure of nothing: at one half alone it can look
    worse than another that knows less.

    Pooled, because the coefficient of a single scar-free slice is 0 or undefined
    and would reward saying nothing; 0 where nothing is scar and nothing called so.

    Args:
      probability: (n, H, W).
      scar: (n, H, W) bool.
      valid: (n,) bool.

    Returns:
      (len(THRESHOLDS),) float32.
    """
    scar = scar & valid[:, None, None]

    def at(threshold):
        called = (probability >= threshold) & valid[:, None, None]
        both = 2.0 * jnp.sum(called & scar)
        return both / jnp.maximum(jnp.sum(called) + jnp.sum(scar), 1)

    return jax.lax.map(at, jnp.asarray(THRESHOLDS, probability.dtype))


def make_train_epoch(
    train_step,
    schedule: optax.Schedule,
    *,
    variations: Sequence[Callable[[Data, State], Data]] = (),
):
    """Returns (state, table, epoch, data) -> (state, metrics), one pass of training.

    The (steps, B) table holds the batches' codes; rows of -1 are skipped. `epoch`
    counts from 0. Of the metrics, `diverged` is the step, from 1, whose loss was the
    first that is NaN or infinite, the last one if only the state has such; else 0.

    Args:
      train_step: From `make_train_step`.
      schedule: From `make_schedule`.
      variations: Of a batch before each step, one after the other, such as
        `deform_batch`.
    """

    def step(state, codes, rate, data):
        batch = take_batch(data, codes)
        for vary in variations:
            batch = vary(batch, state)
        return train_step(state, batch, rate)

    def train_epoch(state: State, table, epoch, data: Data):
        steps = jnp.maximum(jnp.sum(table[:, 0] >= 0), 1)

        def body(state, row):
            index, codes = row
            rate = schedule(epoch + index / steps)
            return jax.lax.cond(
                codes[0] >= 0,
                lambda: step(state, codes, rate, data),
                lambda: (state, jnp.float32(0)),
            )

        rows = (jnp.arange(len(table)), table)
        state, losses = jax.lax.scan(body, state, rows)
        metrics = {
            "learning_rate": schedule(epoch),
            "loss": jnp.sum(losses) / steps,
            "diverged": _first_not_finite(losses, state, steps),
        }
        return state, metrics

    return train_epoch


def _first_not_finite(losses: jax.Array, state: Any, steps: jax.Array) -> jax.Array:
    sound = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state)]
    bad = ~jnp.isfinite(losses)
    at_end = jnp.where(jnp.all(jnp.stack(sound)), 0, steps)
    return jnp.where(bad.any(), bad.argmax() + 1, at_end).astype(jnp.int32)


def make_judge_epoch(predict, selection: str, scar_classes: tuple[int, ...] = (1,)):
    """Returns (state, validation, test, epoch, data) -> (state, metrics).

    It predicts the (V,) validation and (T,) test slices, entries of -1 being skipped,
    and keeps the best weights. As in evaluation, nothing is called scar but where
    `data.inside` allows it. The Dice of the test slices is recorded beside, to tell how
    much a choice by it would flatter.

    Args:
      predict: (weights, images) to `probabilities`.
      selection: "validation" or "oracle": the highest Dice at any threshold, on the
        validation or on the test slices, wins, the first of equals; "last" takes each
        epoch as the best so far.
      scar_classes: Those that are scar.
    """

    def judge_epoch(state: State, validation, test, epoch, data: Data):
        watched = jnp.concatenate([validation, test])  # in one go: compiled once
        said, shares = predict(state.average, data.image[watched]), data.shares[watched]
        own = np.array(scar_classes) - 1
        probability, scar = said[..., own].sum(-1), shares[..., own].sum(-1) >= 0.5
        if data.inside is not None:
            inside = data.inside[watched]
            # Pixels across the border have a share of scar, and are not looked at.
            probability, scar = jnp.where(inside, probability, 0), scar & inside
        first = len(validation)
        on_validation = pooled_dice(probability[:first], scar[:first], validation >= 0)
        on_test = pooled_dice(probability[first:], scar[first:], test >= 0)
        choosing = on_test if selection == "oracle" else on_validation
        dice, threshold = choosing.max(), choosing.argmax()
        better = (dice > state.best_dice) | (selection == "last")
        state = state._replace(
            best_weights=jax.tree.map(
                lambda new, old: jnp.where(better, new, old),
                state.average,
                state.best_weights,
            ),
            best_dice=jnp.where(better, dice, state.best_dice),
            best_epoch=jnp.where(better, epoch + 1, state.best_epoch).astype(jnp.int32),
        )
        metrics = {
            "threshold": jnp.asarray(THRESHOLDS)[threshold],
            "validation_dice": on_validation[threshold],
            "test_dice": on_test[threshold],
        }
        return state, metrics

    return judge_epoch
