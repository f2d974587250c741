"""A stacked sparse auto-encoder that ends in a logistic layer, for short vectors.

Each layer first learns to give back what it is shown through a few units that are mostly
silent, then all of them learn the classes together. Sparsity and its weight are those of
A. Ng's lecture notes on sparse auto-encoders (CS294A, 2011 (unverified)).
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from scarseg_jax.learn.modules import draw_kernel

HIDDEN = (100, 50)  # units of each layer
_SPARSITY = 0.05  # share of the vectors to which a unit shall speak
_SPARSITY_WEIGHT = 3.0
_DECAY = 1e-4  # of squared kernels, in the loss
_LEARNING_RATE = 1e-3
STEPS = 5000  # of each of the three trainings
_BATCH = 256


class Layer(NamedTuple):
    """A sigmoid layer: what comes in times the kernel, and the bias."""

    kernel: Any  # (inputs, units) float32
    bias: Any  # (units,) float32


def fit(
    vectors: np.ndarray, labels: np.ndarray, groups: Sequence[np.ndarray], *, seed: int
) -> list[tuple[Layer, ...]]:
    """Returns the trained layers of each group, NumPy arrays, the logistic one last.

    Args:
      vectors: (n, d) float32 in 0..1.
      labels: (n,) bool.
      groups: Of each (k,) int, the vectors that train.
      seed: Of the first weights and the order.
    """
    rng = np.random.default_rng(seed)
    shape = (len(HIDDEN) + 1, STEPS, _BATCH)
    batches = np.stack([rng.choice(own, shape) for own in groups]).astype(np.int32)
    keys = jax.random.split(jax.random.key(seed), len(groups))
    fitted = jax.device_get(
        _fit(jnp.asarray(vectors), jnp.asarray(labels), batches, keys)
    )
    return [jax.tree.map(lambda leaf, g=g: leaf[g], fitted) for g in range(len(groups))]


@jax.jit
@functools.partial(jax.vmap, in_axes=(None, None, 0, 0))
def _fit(vectors, labels, batches, key) -> tuple[Layer, ...]:
    *keys, last = jax.random.split(key, len(HIDDEN) + 1)
    shown, layers = vectors, ()
    for own, units, order in zip(keys, HIDDEN, batches, strict=False):
        there, back = jax.random.split(own)
        pair = _drawn(there, shown.shape[1], units), _drawn(back, units, shown.shape[1])
        encoder, _ = _descend(_reconstruction, pair, order, shown)
        shown = jax.nn.sigmoid(_sums(encoder, shown))
        layers = (*layers, encoder)
    layers = (*layers, _drawn(last, HIDDEN[-1], 1))
    return _descend(_classification, layers, batches[-1], vectors, labels)


def _sums(layer: Layer, shown):
    return shown @ layer.kernel + layer.bias[None]


def _drawn(key, inputs: int, units: int) -> Layer:
    return Layer(draw_kernel(key, (1, inputs, units))[0], jnp.zeros(units))


def _descend(loss, layers: Any, order, *data) -> Any:
    """Returns the layers after Adam's steps, one for each row of indices."""
    optimizer = optax.adam(_LEARNING_RATE)

    def step(carry, rows):
        layers, state = carry
        gradients = jax.grad(loss)(layers, *(array[rows] for array in data))
        updates, state = optimizer.update(gradients, state)
        return (optax.apply_updates(layers, updates), state), None

    (layers, _), _ = jax.lax.scan(step, (layers, optimizer.init(layers)), order)
    return layers


def _reconstruction(pair, shown):
    encoder, decoder = pair
    said = jax.nn.sigmoid(_sums(encoder, shown))
    back = jax.nn.sigmoid(_sums(decoder, said))
    error = jnp.mean(jnp.sum((back - shown) ** 2, axis=1)) / 2
    mean, p = jnp.mean(said, axis=0), _SPARSITY
    silence = jnp.sum(p * jnp.log(p / mean) + (1 - p) * jnp.log((1 - p) / (1 - mean)))
    return error + _SPARSITY_WEIGHT * silence + _decay(pair)


def _classification(layers, shown, labels):
    *hidden, last = layers
    for layer in hidden:
        shown = jax.nn.sigmoid(_sums(layer, shown))
    logits = _sums(last, shown)[:, 0]
    return jnp.mean(
        optax.sigmoid_binary_cross_entropy(logits, labels.astype(logits.dtype))
    ) + _decay(layers)


def _decay(layers):
    return _DECAY / 2 * sum(jnp.sum(layer.kernel**2) for layer in layers)
