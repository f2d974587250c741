"""What all members do at once, compiled: their beginning, and an epoch."""

import ctypes
import logging
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jax.stages import Wrapped

from scarseg_jax.learn import ensemble, train
from scarseg_jax.learn.modules import Network
from scarseg_jax.learn.recipe import Recipe
from scarseg_jax.prepare.folds import epoch_table, padded
from scarseg_jax.run import Member

_VARIATIONS = {  # by names of `recipe.AUGMENTATIONS`
    "symmetries": (),
    "deformed": (train.deform_batch,),
    "repainted": (train.deform_batch, train.repaint_batch),
}
_log = logging.getLogger(__name__)


def initial_state(
    model: Network, recipe: Recipe, mesh: Mesh, image, members: Sequence[Member]
) -> train.State:
    """Returns all members before training, on the devices."""
    optimizer = train.make_optimizer(recipe.weight_decay)
    keys = [
        jax.random.key_data(jax.random.fold_in(jax.random.key(m.seed), m.fold))
        for m in members
    ]

    def init(key, image):
        wrapped = jax.random.wrap_key_data(key)
        return train.init_state(model, optimizer, image, wrapped)

    init = ensemble.map_members(init, mesh, shared=(False, True))
    return init(
        ensemble.put_members(np.stack(keys), mesh), ensemble.put_shared(image, mesh)
    )


def make_epoch(
    model, recipe, unpack, mesh, data, folds, members, steps, scar_classes, state
) -> Callable:
    """Returns (state, epoch) -> (state, metrics): all members train, and are judged.

    Compiled before it returns, so that the first epoch takes as long as the others.

    Args:
      model: As in `fit`.
      recipe: As in `fit`.
      unpack: From `train.make_unpack`.
      mesh: From `ensemble.member_mesh`.
      data: As in `fit`.
      folds: As in `fit`.
      members: As in `fit`.
      steps: Of the longest fold's epoch.
      scar_classes: As in `fit`.
      state: Of all members, for the shapes.
    """
    optimizer = train.make_optimizer(recipe.weight_decay)
    step = train.make_train_step(
        model,
        optimizer,
        unpack,
        recipe.class_weights,
        dice=recipe.dice,
        averaging=recipe.averaging,
    )
    schedule = train.make_schedule(recipe.learning_rate, recipe.decay)

    def predict(weights, images):
        frozen, variables = model.freeze(unpack(weights))
        return train.predict(frozen, variables, images, ensemble.PREDICT_BATCH)

    shared = ensemble.put_shared(data, mesh)
    own = [folds[member.fold] for member in members]
    watched = [
        ensemble.put_members(padded(slices), mesh)
        for slices in ([f.validation for f in own], [f.test for f in own])
    ]

    def table(epoch: int):
        tables = [
            epoch_table(
                fold,
                batch_size=recipe.batch_size,
                steps=steps,
                seed=(member.seed, member.fold, epoch),
            )
            for fold, member in zip(own, members, strict=True)
        ]
        return ensemble.put_members(np.stack(tables), mesh)

    train_all = _compiled(
        "training",
        ensemble.map_members(
            train.make_train_epoch(
                step, schedule, variations=_VARIATIONS[recipe.augmentation]
            ),
            mesh,
            shared=(False, False, True, True),
            donate=True,
        ),
        *(state, table(0), np.float32(0), shared),
    )
    judge_all = _compiled(
        "judging",
        ensemble.map_members(
            train.make_judge_epoch(predict, recipe.selection, scar_classes),
            mesh,
            shared=(False, False, False, True, True),
            donate=True,
        ),
        *(state, *watched, np.float32(0), shared),
    )

    def run_epoch(state: train.State, epoch: int):
        number = np.float32(epoch)
        state, trained = train_all(state, table(epoch), number, shared)
        state, judged = judge_all(state, *watched, number, shared)
        return state, jax.device_get(trained | judged)

    return run_epoch


def _compiled(name: str, function: Wrapped, *inputs: Any) -> Callable:
    """Returns a function compiled for inputs such as these.

    What compiling took is given back: glibc would keep a gigabyte to itself.
    """
    begun = time.monotonic()
    _log.info("compiling %s", name)
    program = function.lower(*inputs).compile()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    _log.info("compiled %s in %.0f s", name, time.monotonic() - begun)
    return program
