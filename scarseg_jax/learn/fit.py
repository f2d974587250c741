"""Trains all members: epochs, progress, saved states and resuming."""

import ctypes
import dataclasses
import hashlib
import logging
import platform
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.learn import checkpoint, ensemble, train
from scarseg_jax.learn.enet import ENet
from scarseg_jax.prepare.folds import Fold, epoch_table, padded, steps_per_epoch

_log = logging.getLogger(__name__)
_SAVING_SHARE = 0.02  # of the time: states are saved no more often than this allows


@dataclasses.dataclass(frozen=True)
class Member:
    """One network of the ensemble: a fold, by its number, and a seed."""

    fold: int
    seed: int


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How every member is trained; the paper's section 3.1.

    Attributes:
      epochs: Passes over all symmetries of all training images.
      batch_size: Images a step.
      learning_rate: At the start.
      decay: Of the learning rate, over 100 epochs.
      weight_decay: Of convolution kernels, decoupled.
      class_weights: Of background and scar in the cross entropy.
      selection: "validation", "last" or "oracle": what chooses the best epoch. The
        oracle looks at the test patients, to measure how much that flatters.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    decay: float
    weight_decay: float
    class_weights: tuple[float, float]
    selection: str

    def __post_init__(self) -> None:
        known = ("validation", "last", "oracle")
        if self.selection not in known:
            raise InputError(
                f"train.selection is {self.selection!r}; expected one of"
                f" {', '.join(known)}"
            )
        for name in ("epochs", "batch_size", "learning_rate", "decay"):
            if not getattr(self, name) > 0:
                raise InputError(
                    f"train.{name} is {getattr(self, name)}; expected a positive number"
                )
        if not self.weight_decay >= 0:
            raise InputError(
                f"train.weight_decay is {self.weight_decay}; expected 0 or more"
            )
        if len(self.class_weights) != 2 or not min(self.class_weights) > 0:
            raise InputError(
                f"train.class_weights is {self.class_weights}; expected two positive"
                " numbers, for background and scar"
            )


class Stopped(Exception):
    """Raised after a signal, once the state is saved; its argument is the signal."""


class Fitted(NamedTuple):
    """What training gives.

    Attributes:
      variables: Each member's best, with a leading member axis, NumPy arrays.
      chosen: For each member its best epoch and that epoch's Dice.
      history: One record for each member and epoch.
      seconds: Spent training, over all the times it was taken up.
    """

    variables: dict
    chosen: list[dict]
    history: list[dict]
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

    Raises:
      InputError: If the saved state belongs to other data, training diverges, or a
        batch is larger than an epoch.
      Stopped: After a signal.
    """
    mesh = ensemble.member_mesh(len(members))
    run = _Epochs(model, recipe, data, folds, members, mesh)
    state, history, first, before = run.initial_state(), [], 0, 0.0
    split = _digest(folds)
    target = ensemble.take_members(state, len(members))
    saved = checkpoint.newest(directory, target)
    if saved is not None:
        tree, metadata = saved
        if (metadata["data_hash"], metadata["split"]) != (data_hash, split):
            raise InputError(
                f"{directory}: this run was trained on other data or another split of"
                " them; choose another --workdir"
            )
        state = ensemble.put_members(tree, mesh)
        history, first = metadata["history"], metadata["epochs"]
        before = metadata["seconds"]
        _log.info("going on after epoch %d of %d", first, recipe.epochs)
    _log.info(
        "training %d networks, %d epochs of up to %d steps; compiling comes first",
        len(members),
        recipe.epochs,
        run.steps,
    )
    begun, saving, last_save = time.monotonic(), 0.0, time.monotonic()
    with _SignalWatch() as watch:
        for epoch in range(first, recipe.epochs):
            state, metrics = run.epoch(state, epoch)
            history += run.records(metrics, epoch)
            _check_losses(history[-len(members) :])
            now = time.monotonic()
            left = (now - begun) / (epoch + 1 - first) * (recipe.epochs - epoch - 1)
            _log_progress(history[-len(members) :], recipe.epochs, left)
            due = (now - last_save) * _SAVING_SHARE > saving
            if due or watch.received or epoch + 1 == recipe.epochs:
                path = directory / f"epoch_{epoch + 1:06d}"
                metadata = {
                    "data_hash": data_hash,
                    "split": split,
                    "history": history,
                    "epochs": epoch + 1,
                    "seconds": before + now - begun,
                }
                kept = ensemble.take_members(state, len(members))
                checkpoint.save(path, kept, metadata)
                checkpoint.prune(directory, keep=2)
                last_save = time.monotonic()
                saving = last_save - now
            if watch.received:
                raise Stopped(watch.received)
    seconds = before + time.monotonic() - begun
    return Fitted(run.best_variables(state), run.chosen(state), history, seconds)


class _Compiled:
    """A function of all members, whose state comes first; compiled at its first call."""

    def __init__(self, function, mesh, shared):
        self.mapped = ensemble.map_members(function, mesh, shared=shared, donate=True)
        self.program = None

    def __call__(self, *inputs):
        if self.program is None:
            self.program = self.mapped.lower(*inputs).compile()
            _return_memory()
        return self.program(*inputs)


class _Epochs:
    """The compiled halves of an epoch and the tables they are fed with."""

    def __init__(self, model, recipe, data, folds, members, mesh):
        self.recipe, self.folds, self.members, self.mesh = recipe, folds, members, mesh
        self.model = model
        self.optimizer = train.make_optimizer(recipe.weight_decay)
        self.image = data.image[:1]
        self.unpack = train.make_unpack(model, self.image)
        self.data = ensemble.put_shared(data, mesh)
        self.watched = [
            ensemble.put_members(padded(slices), mesh)
            for slices in (
                [folds[m.fold].validation for m in members],
                [folds[m.fold].test for m in members],
            )
        ]
        self.steps = max(
            steps_per_epoch(fold.train, batch_size=recipe.batch_size) for fold in folds
        )
        if not self.steps:
            raise InputError(
                f"train.batch_size is {recipe.batch_size}, more than an epoch's images;"
                " lower it"
            )
        self.train = _Compiled(
            self._member_training(), mesh, shared=(False, False, True, True)
        )
        self.judge = _Compiled(
            self._member_judgement(), mesh, shared=(False, False, False, True, True)
        )

    def _member_training(self):
        step = train.make_train_step(
            self.model, self.optimizer, self.unpack, self.recipe.class_weights
        )
        schedule = train.make_schedule(self.recipe.learning_rate, self.recipe.decay)
        return train.make_train_epoch(step, schedule)

    def _member_judgement(self):
        def predict(weights, images):
            frozen = self.model.freeze(self.unpack(weights))
            return train.predict(self.model, frozen, images, ensemble.PREDICT_BATCH)

        return train.make_judge_epoch(predict, self.recipe.selection)

    def initial_state(self) -> train.State:
        keys = np.stack(
            [
                jax.random.key_data(
                    jax.random.fold_in(jax.random.key(member.seed), member.fold)
                )
                for member in self.members
            ]
        )

        def init(key, image):
            wrapped = jax.random.wrap_key_data(key)
            return train.init_state(self.model, self.optimizer, image, wrapped)

        init = ensemble.map_members(init, self.mesh, shared=(False, True))
        return init(
            ensemble.put_members(keys, self.mesh),
            ensemble.put_shared(self.image, self.mesh),
        )

    def epoch(self, state: train.State, epoch: int):
        tables = np.stack(
            [
                epoch_table(
                    self.folds[member.fold].train,
                    batch_size=self.recipe.batch_size,
                    steps=self.steps,
                    seed=(member.seed, member.fold, epoch),
                )
                for member in self.members
            ]
        )
        tables = ensemble.put_members(tables, self.mesh)
        number = np.float32(epoch)
        state, trained = self.train(state, tables, number, self.data)
        state, judged = self.judge(state, *self.watched, number, self.data)
        return state, jax.device_get(trained | judged)

    def records(self, metrics: dict, epoch: int) -> list[dict]:
        return [
            {
                "fold": member.fold,
                "seed": member.seed,
                "epoch": epoch + 1,
                "learning_rate": float(metrics["learning_rate"][i]),
                "loss": float(metrics["loss"][i]),
                "threshold": float(metrics["threshold"][i]),
                "validation_dsc": float(metrics["validation_dice"][i]),
                "test_dsc": float(metrics["test_dice"][i]),
            }
            for i, member in enumerate(self.members)
        ]

    def best_variables(self, state: train.State) -> dict:
        best = ensemble.take_members(state.best_weights, len(self.members))
        trees = [
            self.unpack(jax.tree.map(lambda a, i=i: a[i], best))
            for i in range(len(self.members))
        ]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)

    def chosen(self, state: train.State) -> list[dict]:
        dice, epoch = jax.device_get((state.best_dice, state.best_epoch))
        return [
            {
                "fold": member.fold,
                "seed": member.seed,
                "best_epoch": int(epoch[i]),
                "best_dsc": float(dice[i]),
            }
            for i, member in enumerate(self.members)
        ]


def _digest(folds: Sequence[Fold]) -> str:
    """Returns the SHA-256 of who trains, validates and tests in each fold."""
    sides = [[fold.train, fold.validation, fold.test] for fold in folds]
    text = str([[side.tolist() for side in fold] for fold in sides])
    return hashlib.sha256(text.encode()).hexdigest()


def _check_losses(records: list[dict]) -> None:
    for record in records:
        if not np.isfinite(record["loss"]):
            raise InputError(
                "fold {fold}, seed {seed}: the loss is {loss} in epoch {epoch}; train"
                " in a new --workdir with a lower train.learning_rate".format(**record)
            )


def _return_memory() -> None:
    """Gives back what compiling took: glibc would keep a gigabyte to itself."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


class _SignalWatch:
    """Notes SIGTERM and SIGINT; a second one acts at once."""

    def __enter__(self):
        self.received = 0
        signals = (signal.SIGTERM, signal.SIGINT)
        self._before = {number: signal.getsignal(number) for number in signals}
        for number in signals:
            signal.signal(number, self._note)
        return self

    def _note(self, number, _frame):
        self.received = number
        self._restore()
        _log.warning("stopping after this epoch; the state will be saved")

    def _restore(self):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __exit__(self, *_):
        self._restore()


def _log_progress(records: list[dict], epochs: int, left_s: float) -> None:
    dice = [100 * r["validation_dsc"] for r in records]
    _log.info(
        "epoch %d/%d: loss %.4f, validation DSC %.1f %% (%.1f to %.1f), %s left",
        records[0]["epoch"],
        epochs,
        np.mean([r["loss"] for r in records]),
        np.mean(dice),
        min(dice),
        max(dice),
        f"{left_s / 60:.0f} min" if left_s > 90 else f"{left_s:.0f} s",
    )
