"""What a user can set, typed and checked; `configs/` explains each value."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from scarseg_jax import files, records
from scarseg_jax.errors import InputError
from scarseg_jax.judge import consensus as readers_consensus
from scarseg_jax.learn.networks import VARIANTS
from scarseg_jax.learn.recipe import Recipe
from scarseg_jax.learn.targets import CLASSES, count, tell_the_ventricle
from scarseg_jax.prepare.crop import METHODS
from scarseg_jax.readers.sources import SOURCES

_EXAMPLE = "compare it with configs/protocol2.py"
KEPT = "config.json"  # where a run keeps them, once its data are prepared
SIMULATED = "simulated"  # what `start` may be beside a path: those in the box
_LARGEST_SEED = 2**32 - 1  # JAX's keys are made of 32 bits


@dataclasses.dataclass(frozen=True)
class Data:
    """Where the studies come from."""

    source: str
    path: str
    patients: tuple[str, ...]
    leave_out: tuple[str, ...]
    force: bool
    slice_axis: int
    consensus: str
    phantom_patients: int
    phantom_seed: int
    phantom_wide: bool

    def __post_init__(self) -> None:
        _check_known("data.source", self.source, SOURCES)
        _check_known("data.slice_axis", self.slice_axis, (-1, 0, 1, 2))
        _check_known("data.consensus", self.consensus, readers_consensus.RULES)
        _check_least("data.phantom_patients", self.phantom_patients, 3)
        _check_seed("data.phantom_seed", self.phantom_seed)
        if twice := {p for p in self.patients if self.patients.count(p) > 1}:
            raise InputError(
                f"data.patients names {', '.join(sorted(twice))} twice; name each once"
            )


@dataclasses.dataclass(frozen=True)
class Folds:
    """Who is held out, and how many networks each fold has."""

    k: int
    validation: float
    seed: int
    seeds: tuple[int, ...]
    only: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.only)) < len(self.only) or min(self.only, default=0) < 0:
            raise InputError(
                f"folds.only is {self.only}; expected different numbers of folds, from 0,"
                " or nothing to train and judge all"
            )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise InputError(
                f"folds.seeds is {self.seeds}; expected different whole numbers such as"
                " (0, 1)"
            )
        for seed in self.seeds:
            _check_seed("folds.seeds", seed)
        _check_seed("folds.seed", self.seed)


@dataclasses.dataclass(frozen=True)
class Network:
    """Which network, and what it tells apart."""

    variant: str
    classes: str

    def __post_init__(self) -> None:
        _check_known("model.variant", self.variant, tuple(VARIANTS))
        _check_known("model.classes", self.classes, tuple(CLASSES))


@dataclasses.dataclass(frozen=True)
class Settings:
    """All of them; a section is what one part of the program is called with."""

    protocol: int
    context: bool
    neighbours: int
    crop: str
    finder: str
    start: str
    data: Data
    folds: Folds
    model: Network
    train: Recipe
    threshold: float
    symmetries: bool
    devices: int
    require_gpu: bool

    def __post_init__(self) -> None:
        _check_known("protocol", self.protocol, (1, 2, 3))
        if self.context and self.protocol != 2:
            raise InputError(
                f"context is true, but protocol is {self.protocol}; Protocol 2 alone cuts"
                " the surroundings away: set protocol to 2, or context to false"
            )
        _check_least("neighbours", self.neighbours, 0)
        _check_known("crop", self.crop, METHODS)
        if self.crop == "myocardium" and self.protocol != 2:
            raise InputError(
                f"crop is 'myocardium', but protocol is {self.protocol}; Protocol 2 alone"
                " is given it: set crop to hough or learned"
            )
        if self.crop == "learned" and self.protocol == 2:
            raise InputError(
                "crop is 'learned', but protocol is 2, which is given the myocardium: set"
                " crop to hough or myocardium"
            )
        if self.finder and self.protocol != 2:
            raise InputError(
                f"finder is {self.finder!r}, but protocol is {self.protocol}; Protocol 2"
                " alone needs its myocardium found: set protocol to 2, or finder to ''"
            )
        found = "finder" if self.finder else "crop=learned"
        if (self.finder or self.crop == "learned") and self.train.selection != "last":
            raise InputError(
                f"train.selection is {self.train.selection!r} with {found}; within"
                " training the slices are cut out around the drawn myocardium, by which"
                " no epoch may be chosen: set train.selection to last"
            )
        if (
            self.train.augmentation == "repainted"
            and self.protocol == 2
            and not self.context
        ):
            raise InputError(
                "train.augmentation is 'repainted', but Protocol 2 without context sees"
                " the myocardium cut out, which cannot be: set it to deformed"
            )
        if self.crop == "learned" and not tell_the_ventricle(self.model.classes):
            raise InputError(
                f"crop is 'learned', but model.classes is {self.model.classes!r}; only"
                " networks that tell the ventricle find it: set model.classes to"
                " heart_scar, or crop to hough"
            )
        if self.protocol == 3 and not tell_the_ventricle(self.model.classes):
            raise InputError(
                f"protocol is 3, but model.classes is {self.model.classes!r}; Protocol 3"
                " finds the myocardium itself: set model.classes to heart_scar"
            )
        _check_least("devices", self.devices, 0)
        if not 0 <= self.threshold < 1:
            raise InputError(
                f"threshold is {self.threshold}; expected between 0 and 1, or 0 to"
                " choose it on validation patients"
            )
        classes = count(self.model.classes)
        if len(self.train.class_weights) != classes:
            raise InputError(
                f"train.class_weights is {self.train.class_weights}, but model.classes"
                f"={self.model.classes} tells {classes} apart; expected {classes} numbers"
            )


@dataclasses.dataclass(frozen=True)
class _Kept:
    """What a run's file of settings holds, with the SHA-256 of their JSON."""

    settings: Settings
    sha256: str


def from_config(config: dict[str, Any]) -> Settings:
    """Returns the settings of a configuration.

    Raises:
      InputError: If one is missing, not known, of another type or makes no sense.
    """
    config = {**config, **_absolute(config, "finder"), **_absolute(config, "start")}
    if isinstance(data := config.get("data"), dict):
        config = {**config, "data": {**data, **_absolute(data, "path"), **_named(data)}}
    text = json.dumps(config, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        path = data.get("path") if isinstance(data, dict) else ""
        raise InputError(
            f"data.path is {path!a}: it, or another setting, is not UTF-8; rename the"
            " folder"
        ) from error
    return records.parse(
        Settings, text, "the configuration has a wrong setting", _EXAMPLE
    )


def _absolute(section: dict[str, Any], name: str) -> dict[str, Any]:
    """Returns a path as it is called from everywhere: one run, whoever calls it."""
    path = section.get(name)
    if not path or not isinstance(path, str) or (name, path) == ("start", SIMULATED):
        return {}
    return {name: os.path.realpath(os.path.expanduser(path))}  # noqa: PTH111


def _named(data: dict[str, Any]) -> dict[str, Any]:
    """Returns the patients' names, which may come as A,B or as numbers, in order."""
    found = {}
    for key in ("patients", "leave_out"):
        names = data.get(key)
        if isinstance(names, str):
            names = (names,)
        if not isinstance(names, list | tuple):
            continue
        if all(isinstance(name, str | int) for name in names):
            each = [own.strip() for name in names for own in str(name).split(",")]
            found[key] = sorted(name for name in each if name)
    return found


def write(settings: Settings, path: Path) -> None:
    """Keeps a run's settings in a file."""
    kept = _Kept(settings, _sum(settings))
    files.write_text(path, records.to_json(kept))


def _sum(settings: Settings) -> str:
    return hashlib.sha256(records.to_json(settings).encode()).hexdigest()


def check_same(settings: Settings, path: Path, workdir: Path) -> None:
    """Checks that a run's settings are those kept in a file, if there are any.

    Args:
      settings: Of the run.
      path: The file.
      workdir: The run's folder, for the message.

    Raises:
      InputError: If they differ in what decides the results, or the file is damaged.
    """
    if not path.is_file():
        return
    before = read(path)
    if (what := _difference(_deciding(before), _deciding(settings))) is not None:
        raise InputError(
            f"--workdir={workdir} holds a run with another configuration ({what});"
            " choose another folder, or leave out --config to go on with that run's"
        )


def read(path: Path) -> Settings:
    """Returns the settings that a file keeps.

    Raises:
      InputError: If it is damaged.
    """
    what = f"{path}: damaged, or of another version"
    mend = (
        "choose another --workdir, or delete the file if --config and its overrides are"
        " the same"
    )
    kept = records.parse(_Kept, path.read_bytes(), what, mend)
    if kept.sha256 != _sum(kept.settings):
        raise InputError(f"{what} (its SHA-256 differs); {mend}")
    return kept.settings


def _deciding(settings: Settings) -> dict:
    """Returns what decides the results."""
    tree = dataclasses.asdict(settings)
    for name in ("devices", "require_gpu"):  # where to compute changes no result
        del tree[name]
    del tree["data"]["force"]  # the same data, taken without asking
    tree["finder"] = bool(tree["finder"])  # the run keeps its own copy
    return tree


def _difference(before: dict, now: dict, prefix: str = "") -> str | None:
    """Returns the first value that differs, in words; None if there is none."""
    for key, old in before.items():
        new = now[key]
        if isinstance(old, dict):
            if (inner := _difference(old, new, f"{prefix}{key}.")) is not None:
                return inner
        elif old != new:
            return f"{prefix}{key} was {old}, is {new}"
    return None


def _check_known(name: str, value: Any, known: tuple) -> None:
    if value not in known:
        raise InputError(
            f"{name} is {value!r}; expected one of {', '.join(map(str, known))}"
        )


def _check_seed(name: str, value: int) -> None:
    if not 0 <= value <= _LARGEST_SEED:
        raise InputError(f"{name} is {value}; expected 0 to {_LARGEST_SEED}")


def _check_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"{name} is {value}; expected {least} or more")
