"""Orbax checkpoints that notice when they are damaged.

A checkpoint is a folder with an Orbax tree of NumPy arrays (so it restores on any
number and kind of devices), its record, and the SHA-256 of every file: Orbax itself
restores flipped bits without complaint.
"""

import dataclasses
import glob
import json
import logging
import shutil
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from scarseg_jax import files, records
from scarseg_jax.errors import InputError

Record = TypeVar("Record")
_log = logging.getLogger(__name__)
_PARTIAL = ".partial"


def save(directory: Path, tree: Any, record: Any) -> None:
    """Writes the tree and its record; the folder is there whole or not at all.

    Args:
      directory: The checkpoint's folder; replaced if it exists.
      tree: Of arrays.
      record: A dataclass of what JSON can hold.
    """
    directory = directory.absolute()
    partial = directory.with_name(directory.name + _PARTIAL)
    _clear(directory)
    partial.parent.mkdir(parents=True, exist_ok=True)
    arrays = jax.tree.map(np.asarray, tree)
    metadata = dataclasses.asdict(record)
    try:
        ocp.save(str(partial), arrays, custom_metadata=metadata)
        files.write_sums(partial)
        shutil.rmtree(directory, ignore_errors=True)
        files.put(partial, directory)
    except BaseException:
        _clear(directory)  # a full disk needs the room
        raise


def load(directory: Path, kind: type[Record], target: Any = None) -> tuple[Any, Record]:
    """Returns the tree and the record of a checkpoint.

    Args:
      directory: The checkpoint's folder.
      kind: The record's dataclass.
      target: A tree of arrays with the shapes to restore; None restores nested
        dicts as they were written.

    Raises:
      InputError: If there is no checkpoint, it is damaged, of another kind, or of other
        shapes than the target.
    """
    directory = directory.absolute()
    if not (directory / files.SUMS).is_file():
        raise InputError(
            f"{directory}: no checkpoint here; expected the folder that a finished"
            " training left, WORKDIR/checkpoint"
        )
    if file := files.changed(directory):
        raise InputError(
            f"{directory}: the checkpoint is damaged (the SHA-256 of {file.name}"
            " differs); copy it anew or train again"
        )
    if target is not None:
        target = jax.tree.map(np.asarray, target)
    path = str(directory)
    metadata = json.dumps(ocp.metadata(path).custom_metadata)
    record = records.parse(
        kind,
        metadata,
        f"{path}: no checkpoint of this kind and version",
        "expected the folder that a finished training left, WORKDIR/checkpoint",
    )
    tree = ocp.load(path, target)
    if target is not None and _shapes(tree) != _shapes(target):  # Orbax takes any
        raise InputError(
            f"{directory}: networks of other shapes than this version's; train in"
            " another --workdir, or go on with the version that began"
        )
    return tree, record


def _shapes(tree: Any) -> Any:
    return jax.tree.map(np.shape, tree)


def newest(
    directory: Path, kind: type[Record], target: Any
) -> tuple[Any, Record] | None:
    """Returns the newest sound checkpoint in a folder of them, or None.

    Args:
      directory: Holds checkpoints whose names sort by age.
      kind: As in `load`.
      target: As in `load`.

    Raises:
      InputError: If there are checkpoints and all are damaged.
    """
    paths = _complete(directory)
    for path in reversed(paths):
        try:
            return load(path, kind, target)
        except InputError as error:
            _log.warning("%s; trying the one before", error)
    if paths:
        raise InputError(
            f"{directory}: none of the {len(paths)} saved states is sound; choose"
            " another --workdir, or delete this one to train from the start"
        )
    return None


def prune(directory: Path, keep: int) -> None:
    """Deletes all but the newest checkpoints of a folder, and what kills left."""
    partial = files.visible(directory.glob(f"*{_PARTIAL}*"))
    for path in [*_complete(directory)[:-keep], *partial]:
        shutil.rmtree(path)


def _complete(directory: Path) -> list[Path]:
    # Orbax, killed while it writes X.partial, leaves that name and an ending of its own.
    return [
        path
        for path in files.visible(directory.glob("*"))
        if path.is_dir() and _PARTIAL not in path.name
    ]


def _clear(directory: Path) -> None:
    """Deletes what saving a checkpoint has left behind that came to no end."""
    for path in directory.parent.glob(f"{glob.escape(directory.name)}{_PARTIAL}*"):
        shutil.rmtree(path)
