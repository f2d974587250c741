"""Networks as a program that needs none of this package: StableHLO, by `jax.export`.

What it takes and gives is in the bundle's metadata.json. It is read by
`jax.export.deserialize`, whose format JAX keeps readable for six months at least; the
StableHLO itself is `.mlir_module()` of that.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from scarseg_jax.learn import targets, train
from scarseg_jax.learn.networks import network
from scarseg_jax.prepare.crop import SIZE, cut_out_channels
from scarseg_jax.prepare.folds import SYMMETRIES
from scarseg_jax.run import RunRecord

PLATFORMS = ("cpu", "cuda")


def to_stablehlo(
    variables: Any, record: RunRecord, platforms: Sequence[str] = PLATFORMS
) -> bytes:
    """Returns the program that asks every network of a run, for images of any number.

    It is a function of (B, 64, 64, C) float32 images, as `prepare.cut` makes them, that
    returns (M, B, 64, 64, K - 1) float32: of each network the probabilities of each
    class but the background, the mean over the square's 8 symmetries where the run's
    are. The networks are frozen, and their weights are in the program.

    Args:
      variables: Of the networks, a leading member axis M.
      record: Of their run.
      platforms: On which it is to run.
    """
    classes, slices = targets.count(record.classes), 2 * record.neighbours + 1
    model = network(record.variant, classes, slices=slices)
    frozen = model.clone(frozen=True)
    weights = jax.vmap(lambda own: model.freeze(own)[1])(
        jax.tree.map(np.asarray, variables)
    )
    turns = np.arange(SYMMETRIES if record.symmetries else 1, dtype=np.int32)

    def ask(images: jax.Array) -> jax.Array:
        def one(own: dict) -> jax.Array:
            def turned(turn: jax.Array) -> jax.Array:
                each = jnp.broadcast_to(turn, images.shape[:1])
                return train.predict_turned(frozen, own, images, each)

            return jax.lax.map(turned, turns).mean(axis=0)

        return jax.lax.map(one, weights)

    channels = cut_out_channels(
        protocol=record.protocol, context=record.context, neighbours=record.neighbours
    ).size
    shape = jax.export.symbolic_shape(f"batch, {SIZE}, {SIZE}, {channels}")
    images = jax.ShapeDtypeStruct(shape, np.float32)
    return bytes(
        jax.export.export(jax.jit(ask), platforms=platforms)(images).serialize()
    )
