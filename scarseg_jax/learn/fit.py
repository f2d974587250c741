"""Trains all members: epochs, progress, saved states and resuming."""

import ctypes
import dataclasses
import hashlib
import logging
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from scarseg_jax import signals
from scarseg_jax.errors import InputError, Stopped
from scarseg_jax.learn import checkpoint, ensemble, train
from scarseg_jax.learn.enet import ENet
from scarseg_jax.learn.recipe import Recipe
from scarseg_jax.prepare.folds import Fold, epoch_table, padded, steps_per_epoch
from scarseg_jax.run import EpochRecord, Member

_log = logging.getLogger(__name__)
_SAVING_SHARE = 0.02  # of the time: states are saved no more often than this allows


class Fitted(NamedTuple):
    """What training gives.

    Attributes:
      variables: Each member's best, with a leading member axis, NumPy arrays.
      best_epoch: Of each member, from 1.
      best_dice: Of each member in that epoch, on the slices that chose it.
      history: One record for each member and epoch.
      seconds: Spent training, over all the times it was taken up.
    """

    variables: dict
    best_epoch: tuple[int, ...]
    best_dice: tuple[float, ...]
    history: tuple[EpochRecord, ...]
    seconds: float


@dataclasses.dataclass(frozen=True)
class StateRecord:
    """What a saved state says of itself.

    Attributes:
      data_hash: Of the data set.
      split: Of who trains, validates and tests, `_digest`.
      history: Of the epochs so far.
      epochs: Their number.
      seconds: Spent on them.
    """

    data_hash: str
    split: str
    history: tuple[EpochRecord, ...]
    epochs: int
    seconds: float


def fit(
    directory: Path,
    model: ENet,
    recipe: Recipe,
    *,
    data: train.Data,
    folds: Sequence[Fold],
    members: Sequence[Member],
    data_hash: str,
    scar_classes: tuple[int, ...] = (1,),
) -> Fitted:
    """Returns the trained members.

    Goes on from the newest state in the folder, and stops cleanly on SIGTERM or
    SIGINT after the epoch under way.

    Args:
      directory: Where states are saved between epochs.
      model: The network.
      recipe: How to train.
      data: All slices, as NumPy arrays.
      folds: The splits.
      members: The networks to train.
      data_hash: Of the data set; a state trained on other data is refused.
      scar_classes: The classes of `data.labels` that are scar.

    Raises:
      InputError: If the saved state belongs to other data, training diverges, or a
        batch is larger than an epoch.
      Stopped: After a signal.
    """
    steps = _longest_epoch(folds, recipe.batch_size)
    mesh = ensemble.member_mesh(len(members))
    unpack = train.make_unpack(model, data.image[:1])
    run_epoch = _make_epoch(
        model, recipe, unpack, mesh, data, folds, members, steps, scar_classes
    )
    state = _initial_state(model, recipe, mesh, data.image[:1], members)
    start = StateRecord(data_hash, _digest(folds), (), 0, 0.0)
    state, start = _resumed(directory, state, start, mesh, len(members))
    if start.epochs:
        _log.info("going on after epoch %d of %d", start.epochs, recipe.epochs)
    _log.info(
        "training %d networks, %d epochs of up to %d steps; compiling comes first",
        *(len(members), recipe.epochs, steps),
    )
    record, begun = start, time.monotonic()
    last_save, saving = begun, 0.0
    with signals.deferred() as received:
        for epoch in range(start.epochs, recipe.epochs):
            state, metrics = run_epoch(state, epoch)
            latest = _records(metrics, members, epoch)
            _check_losses(latest)
            now = time.monotonic()
            record = dataclasses.replace(
                record,
                history=(*record.history, *latest),
                epochs=epoch + 1,
                seconds=start.seconds + now - begun,
            )
            left = (now - begun) / (epoch + 1 - start.epochs)
            _log_progress(latest, recipe.epochs, left * (recipe.epochs - epoch - 1))
            due = (now - last_save) * _SAVING_SHARE > saving
            if due or received or epoch + 1 == recipe.epochs:
                _save(directory, ensemble.take_members(state, len(members)), record)
                last_save = time.monotonic()
                saving = last_save - now
            if received:
                raise Stopped(received[0])
    state = ensemble.take_members(state, len(members))
    return Fitted(
        variables=_stacked(state.best_weights, unpack, len(members)),
        best_epoch=tuple(state.best_epoch.tolist()),
        best_dice=tuple(state.best_dice.tolist()),
        history=record.history,
        seconds=record.seconds,
    )


def _save(directory: Path, state: train.State, record: StateRecord) -> None:
    """Keeps a state, and the one before it in case it is damaged."""
    checkpoint.save(directory / f"epoch_{record.epochs:06d}", state, record)
    checkpoint.prune(directory, keep=2)


def _longest_epoch(folds: Sequence[Fold], batch_size: int) -> int:
    """Returns the steps of the longest fold's epoch."""
    steps = [steps_per_epoch(fold.train, batch_size=batch_size) for fold in folds]
    if not max(steps):
        raise InputError(
            f"train.batch_size is {batch_size}, more than an epoch's images; lower it"
        )
    return max(steps)


def _make_epoch(
    model, recipe, unpack, mesh, data, folds, members, steps, scar_classes
) -> Callable:
    """Returns (state, epoch) -> (state, metrics): all members train, and are judged."""
    optimizer = train.make_optimizer(recipe.weight_decay)
    step = train.make_train_step(model, optimizer, unpack, recipe.class_weights)
    schedule = train.make_schedule(recipe.learning_rate, recipe.decay)

    def predict(weights, images):
        frozen, variables = model.freeze(unpack(weights))
        return train.predict(frozen, variables, images, ensemble.PREDICT_BATCH)

    # Two programs, so that training need not wait until judging is compiled too.
    train_all = _compiled_once(
        train.make_train_epoch(step, schedule), mesh, shared=(False, False, True, True)
    )
    judge_all = _compiled_once(
        train.make_judge_epoch(predict, recipe.selection, scar_classes),
        mesh,
        shared=(False, False, False, True, True),
    )
    shared = ensemble.put_shared(data, mesh)
    own = [folds[member.fold] for member in members]
    watched = [
        ensemble.put_members(padded(slices), mesh)
        for slices in ([f.validation for f in own], [f.test for f in own])
    ]

    def run_epoch(state: train.State, epoch: int):
        tables = [
            epoch_table(
                fold.train,
                batch_size=recipe.batch_size,
                steps=steps,
                seed=(member.seed, member.fold, epoch),
            )
            for fold, member in zip(own, members, strict=True)
        ]
        table, number = (
            ensemble.put_members(np.stack(tables), mesh),
            np.float32(epoch),
        )
        state, trained = train_all(state, table, number, shared)
        state, judged = judge_all(state, *watched, number, shared)
        return state, jax.device_get(trained | judged)

    return run_epoch


def _compiled_once(function: Callable, mesh: Mesh, *, shared) -> Callable:
    """Returns a function of all members, whose state comes first, compiled when called.

    What compiling took is given back: glibc would keep a gigabyte to itself.
    """
    mapped = ensemble.map_members(function, mesh, shared=shared, donate=True)
    program: list[Any] = []

    def call(*inputs):
        if not program:
            program.append(mapped.lower(*inputs).compile())
            if platform.libc_ver()[0] == "glibc":
                ctypes.CDLL(None).malloc_trim(0)
        return program[0](*inputs)

    return call


def _initial_state(
    model: ENet, recipe: Recipe, mesh: Mesh, image, members: Sequence[Member]
) -> train.State:
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


def _resumed(
    directory: Path, state: train.State, start: StateRecord, mesh: Mesh, members: int
) -> tuple[train.State, StateRecord]:
    """Returns the newest saved state and its record, or what was given."""
    target = ensemble.take_members(state, members)
    saved = checkpoint.newest(directory, StateRecord, target)
    if saved is None:
        return state, start
    tree, record = saved
    if (record.data_hash, record.split) != (start.data_hash, start.split):
        raise InputError(
            f"{directory}: this run was trained on other data or another split of"
            " them; choose another --workdir"
        )
    return ensemble.put_members(tree, mesh), record


def _records(metrics: dict, members: Sequence[Member], epoch: int) -> list[EpochRecord]:
    return [
        EpochRecord(
            fold=member.fold,
            seed=member.seed,
            epoch=epoch + 1,
            learning_rate=float(metrics["learning_rate"][i]),
            loss=float(metrics["loss"][i]),
            threshold=float(metrics["threshold"][i]),
            validation_dsc=float(metrics["validation_dice"][i]),
            test_dsc=float(metrics["test_dice"][i]),
        )
        for i, member in enumerate(members)
    ]


def _stacked(weights: train.Weights, unpack: Callable, members: int) -> dict:
    """Returns the variables of all members, a leading member axis, NumPy arrays."""
    trees = [unpack(jax.tree.map(lambda a, i=i: a[i], weights)) for i in range(members)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _digest(folds: Sequence[Fold]) -> str:
    """Returns the SHA-256 of who trains, validates and tests in each fold."""
    sides = [[fold.train, fold.validation, fold.test] for fold in folds]
    text = str([[side.tolist() for side in fold] for fold in sides])
    return hashlib.sha256(text.encode()).hexdigest()


def _check_losses(records: Sequence[EpochRecord]) -> None:
    for record in records:
        if not np.isfinite(record.loss):
            raise InputError(
                f"fold {record.fold}, seed {record.seed}: the loss is {record.loss} in"
                f" epoch {record.epoch}; train in a new --workdir with a lower"
                " train.learning_rate"
            )


def _log_progress(records: Sequence[EpochRecord], epochs: int, left_s: float) -> None:
    dice = [100 * record.validation_dsc for record in records]
    _log.info(
        "epoch %d/%d: loss %.4f, validation DSC %.1f %% (%.1f to %.1f), %s left",
        records[0].epoch,
        epochs,
        np.mean([record.loss for record in records]),
        np.mean(dice),
        min(dice),
        max(dice),
        f"{left_s / 60:.0f} min" if left_s > 90 else f"{left_s:.0f} s",
    )
