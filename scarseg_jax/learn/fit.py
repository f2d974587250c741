"""Trains all members: epochs, progress, saved states and resuming."""

import dataclasses
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from scarseg_jax import signals
from scarseg_jax.errors import Diverged, InputError, Stopped
from scarseg_jax.learn import checkpoint, ensemble, train
from scarseg_jax.learn.machine import this_machine
from scarseg_jax.learn.modules import Network
from scarseg_jax.learn.programs import initial_state, make_epoch
from scarseg_jax.learn.recipe import Recipe
from scarseg_jax.prepare.folds import Fold, steps_per_epoch
from scarseg_jax.run import Divergence, EpochRecord, Machine, Member

_log = logging.getLogger(__name__)
_SAVING_SHARE = 0.02  # of the time: states are saved no more often than this allows


class Fitted(NamedTuple):
    """What training gives.

    Attributes:
      variables: Each sound member's best, with a leading member axis, NumPy arrays.
      best_epoch: Of each of these, from 1.
      best_dice: Of each of these in that epoch, on the slices that chose it.
      history: One record for each member and epoch; a member's end where it diverged.
      seconds: Spent training, over all the times it was taken up.
      members: The sound ones.
      diverged: The others' ends.
      machines: Where it was trained, one after the other.
    """

    variables: dict
    best_epoch: tuple[int, ...]
    best_dice: tuple[float, ...]
    history: tuple[EpochRecord, ...]
    seconds: float
    members: tuple[Member, ...]
    diverged: tuple[Divergence, ...]
    machines: tuple[Machine, ...]


@dataclasses.dataclass(frozen=True)
class StateRecord:
    """What a saved state says of itself.

    Attributes:
      data_hash: Of the data set.
      split: Of who trains, validates and tests, `_digest`.
      history: Of the epochs so far.
      epochs: Their number.
      seconds: Spent on them.
      machines: As in `Fitted`.
      diverged: As in `Fitted`.
    """

    data_hash: str
    split: str
    history: tuple[EpochRecord, ...]
    epochs: int
    seconds: float
    machines: tuple[Machine, ...]
    diverged: tuple[Divergence, ...] = ()


def fit(
    directory: Path,
    model: Network,
    recipe: Recipe,
    *,
    data: train.Data,
    folds: Sequence[Fold],
    members: Sequence[Member],
    data_hash: str,
    scar_classes: tuple[int, ...] = (1,),
    start: Any = None,
) -> Fitted:
    """Returns the trained members.

    Goes on from the newest state in the folder, and stops cleanly on SIGTERM or
    SIGINT after the epoch under way. A member that diverges ends; the others go on.

    Args:
      directory: Where states are saved between epochs.
      model: The network.
      recipe: How to train.
      data: All slices, as NumPy arrays.
      folds: The splits.
      members: The networks to train.
      data_hash: Of the data set; a state trained on other data is refused.
      scar_classes: Those of the classes, from 1, that are scar.
      start: Variables of networks, a leading axis, that the members begin as, in turn;
        None: drawn ones.

    Raises:
      InputError: If the saved state belongs to other data, or a batch is larger than
        a fold's epoch.
      Diverged: If all members have.
      Stopped: After a signal.
    """
    steps = _longest_epoch(folds, recipe.batch_size)
    mesh = ensemble.member_mesh(len(members))
    unpack = train.make_unpack(model, data.image[:1])
    state = initial_state(model, recipe, mesh, data.image[:1], members)
    if start is not None:
        state = _begun_as(start, state, mesh, len(members))
    fresh = StateRecord(data_hash, _digest(folds), (), 0, 0.0, (this_machine(),))
    state, record = _resumed(directory, state, fresh, mesh, len(members))
    if record.epochs < recipe.epochs and len(record.diverged) < len(members):
        _log.info(
            "training %d networks, %d epochs of up to %d steps",
            *(len(members), recipe.epochs, steps),
        )
        run_epoch = make_epoch(
            *(model, recipe, unpack, mesh, data, folds, members, steps, scar_classes),
            state,
        )
        state, record = _train(
            directory, run_epoch, state, record, members=members, epochs=recipe.epochs
        )
    ended = {end.member for end in record.diverged}
    sound = [i for i, member in enumerate(members) if member not in ended]
    if not sound:
        raise Diverged(
            f"no network is left: {summary_of(record.diverged)}; train in a new --workdir"
            " with a lower train.learning_rate"
        )
    state = ensemble.take_members(state, len(members))
    return Fitted(
        variables=_stacked(state.best_weights, unpack, sound),
        best_epoch=tuple(state.best_epoch[sound].tolist()),
        best_dice=tuple(state.best_dice[sound].tolist()),
        history=record.history,
        seconds=record.seconds,
        members=tuple(members[i] for i in sound),
        diverged=record.diverged,
        machines=record.machines,
    )


def _begun_as(start: Any, state: train.State, mesh: Mesh, count: int) -> train.State:
    """Returns the members' state with these networks' weights, in turn."""
    own = jax.tree.map(lambda leaf: leaf[np.arange(count) % len(leaf)], start)
    weights = jax.tree.map(np.asarray, jax.vmap(train.pack)(own))
    state = ensemble.take_members(state, count)
    state = state._replace(weights=weights, average=weights, best_weights=weights)
    return ensemble.put_members(state, mesh)


def _train(
    directory: Path,
    run_epoch: Callable,
    state: train.State,
    record: StateRecord,
    *,
    members: Sequence[Member],
    epochs: int,
) -> tuple[train.State, StateRecord]:
    """Returns the state after the last epoch, or that in which no member was left."""
    start, begun = record, time.monotonic()
    last_save, saving = begun, 0.0
    with signals.deferred() as received:
        for epoch in range(start.epochs, epochs):
            state, metrics = run_epoch(state, epoch)
            latest, ends = _records(metrics, members, epoch, record.diverged)
            now = time.monotonic()
            record = dataclasses.replace(
                record,
                history=(*record.history, *latest),
                epochs=epoch + 1,
                seconds=start.seconds + now - begun,
                diverged=(*record.diverged, *ends),
            )
            for end in ends:
                _log.warning("%s; the other networks go on", end)
            left = (now - begun) / (epoch + 1 - start.epochs) * (epochs - epoch - 1)
            _log_progress(latest, epoch + 1, epochs, left)
            last = epoch + 1 == epochs or not latest
            due = (now - last_save) * _SAVING_SHARE > saving
            if due or received or last:
                _save(directory, ensemble.take_members(state, len(members)), record)
                last_save = time.monotonic()
                saving = last_save - now
            if received:
                raise Stopped(received[0])
            if last:
                break
    return state, record


def summary_of(diverged: Sequence[Divergence]) -> str:
    """Returns which networks diverged, the first few by name."""
    named = "; ".join(map(str, diverged[:5]))
    more = len(diverged) - 5
    return f"{named}; and {more} more" if more > 0 else named


def _save(directory: Path, state: train.State, record: StateRecord) -> None:
    """Keeps a state, and the one before it in case it is damaged."""
    checkpoint.save(directory / f"epoch_{record.epochs:06d}", state, record)
    checkpoint.prune(directory, keep=2)


def _longest_epoch(folds: Sequence[Fold], batch_size: int) -> int:
    """Returns the steps of the longest fold's epoch."""
    steps = [steps_per_epoch(fold, batch_size=batch_size) for fold in folds]
    if 0 in steps:
        raise InputError(
            f"train.batch_size is {batch_size}, more than an epoch's images in fold"
            f" {steps.index(0)}, which would not train at all; lower it"
        )
    return max(steps)


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
    _log.info("going on after epoch %d", record.epochs)
    if record.machines[-1:] != start.machines:
        _log.warning(
            "going on with %s, after %s: the same bits as without a break are not to be"
            " expected",
            *(*start.machines, *record.machines[-1:]),
        )
        machines = (*record.machines, *start.machines)
        record = dataclasses.replace(record, machines=machines)
    return ensemble.put_members(tree, mesh), record


def _records(
    metrics: dict,
    members: Sequence[Member],
    epoch: int,
    before: Sequence[Divergence],
) -> tuple[list[EpochRecord], list[Divergence]]:
    """Returns the records of members that are sound, and the ends of those that were."""
    ended = {end.member for end in before}
    steps = dict(zip(members, metrics["diverged"].tolist(), strict=False))
    ends = [
        Divergence(member, epoch + 1, step)
        for member, step in steps.items()
        if step and member not in ended
    ]
    ended |= {end.member for end in ends}
    records = [
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
        if member not in ended
    ]
    return records, ends


def _stacked(weights: train.Weights, unpack: Callable, which: Sequence[int]) -> dict:
    """Returns the variables of some members, a leading member axis, NumPy arrays."""
    trees = [unpack(jax.tree.map(lambda a, i=i: a[i], weights)) for i in which]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _digest(folds: Sequence[Fold]) -> str:
    """Returns the SHA-256 of who trains, validates and tests in each fold."""
    sides = [[fold.train, fold.validation, fold.test, fold.once] for fold in folds]
    text = str([[side.tolist() for side in fold] for fold in sides])
    return hashlib.sha256(text.encode()).hexdigest()


def _log_progress(
    records: Sequence[EpochRecord], epoch: int, epochs: int, left_s: float
) -> None:
    if not records:
        return
    dice = [100 * record.validation_dsc for record in records]
    _log.info(
        "epoch %d/%d: loss %.4f, validation DSC %.1f %% (%.1f to %.1f), training ends in"
        " %s",
        epoch,
        epochs,
        np.mean([record.loss for record in records]),
        np.mean(dice),
        min(dice),
        max(dice),
        f"{left_s / 60:.0f} min" if left_s > 90 else f"{left_s:.0f} s",
    )
