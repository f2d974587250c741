r"""Finds LV scar in LGE-CMR: prepares, trains every fold, evaluates and reports.

python -m scarseg_jax.main --config=configs/protocol2.py --workdir=runs/protocol2 \
    --config.data.source=emidec --config.data.path=PATH

Run again on the same --workdir, it goes on where it stopped. Every value in the
configuration file, where each is explained, can be overridden as above.
"""

import contextlib
import dataclasses
import fcntl
import functools
import importlib.metadata
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from scarseg_jax.errors import InputError
from scarseg_jax.judge import consensus, evaluate
from scarseg_jax.learn import checkpoint, ensemble, train
from scarseg_jax.learn.enet import LAYOUTS, ENet
from scarseg_jax.learn.fit import Member, Recipe, Stopped, fit
from scarseg_jax.prepare import dataset
from scarseg_jax.prepare.folds import Fold, check_split, make_folds, padded
from scarseg_jax.readers import emidec, folder, myops, phantom
from scarseg_jax.segment import baselines, decide
from scarseg_jax.show.run_report import write_report
from scarseg_jax.study import Study

_MODES = ("all", "prepare", "train", "evaluate", "baselines", "report")
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Configuration file, such as configs/protocol2.py."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for everything the run makes; made if absent."
)
_MODE = flags.DEFINE_enum("mode", "all", _MODES, "Which part to run.")
_SETTINGS = "config.json"  # there once the data are prepared
_READERS = {"emidec": emidec, "myops": myops, "folder": folder}
_PACKAGES = ("scarseg_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint")
_log = logging.getLogger("scarseg_jax.main")


def main(argv: list[str]) -> int:
    """Runs the job; returns the exit code."""
    log_to_terminal()
    try:
        if len(argv) > 1:
            raise InputError(
                f"argument {argv[1]!r} is not a flag; overrides look like"
                " --config.train.epochs=20"
            )
        config = _loaded_config()
        if _WORKDIR.value is None:
            raise InputError("--workdir is missing; try --workdir=runs/protocol2")
        run(config, Path(_WORKDIR.value).absolute(), _MODE.value)
    except Stopped as stopped:
        _log.info("state saved; the same command goes on from here")
        return 128 + stopped.args[0]
    except InputError as error:
        return fail(error)
    return 0


def _loaded_config() -> Any:
    example = "such as --config=configs/protocol2.py"
    config = _CONFIG.value
    if config is None:
        raise InputError(f"--config is missing; expected one {example}")
    try:
        _ = config.protocol  # a file that failed to load says so here
    except (AttributeError, OSError) as error:
        name = config_flags.get_config_filename(flags.FLAGS["config"])
        raise InputError(
            f"--config={name}: {error.__cause__ or error}; expected one {example}"
        ) from error
    return config


def run(config: Any, workdir: Path, mode: str) -> None:
    """Runs one part of the job, or all of it.

    Raises:
      InputError: If the configuration or the data cannot be used.
      Stopped: After a signal, with the state saved.
    """
    try:
        _check(config)
    except AttributeError as error:
        raise InputError(
            f"the configuration lacks a setting: {error}; compare it with"
            " configs/protocol2.py"
        ) from error
    patients, read, files = _source(**config.data)
    check_split(patients, k=config.folds.k, validation=config.folds.validation)
    with _claimed(workdir):
        begun = time.monotonic()
        settings = _settings_for(workdir, config)
        if mode in ("all", "train", "evaluate"):
            start_jax(config.devices, config.require_gpu)
        if mode in ("all", "prepare"):
            _prepare(config, workdir, patients, read, files)
            text = json.dumps(settings, indent=1)
            evaluate.write_text(workdir / _SETTINGS, text)
        if mode in ("all", "train"):
            _train(config, workdir)
        if mode in ("all", "evaluate"):
            _evaluate(config, workdir)
        if mode == "baselines":
            _evaluate_baselines(config, workdir)
        if mode in ("all", "report"):
            write_report(workdir / "results", workdir / "report.html")
            sys.stdout.write(f"report: {workdir / 'report.html'}\n")
        _log.info("done in %.0f s", time.monotonic() - begun)


def _check(config: Any) -> None:
    for key, value, known in (
        ("protocol", config.protocol, (1, 2)),
        ("data.source", config.data.source, ("phantom", *_READERS)),
        ("data.consensus", config.data.consensus, consensus.RULES),
        ("model.variant", config.model.variant, tuple(LAYOUTS)),
    ):
        if value not in known:
            raise InputError(
                f"{key} is {value!r}; expected one of {', '.join(map(str, known))}"
            )
    if not 0 <= config.threshold < 1:
        raise InputError(
            f"threshold is {config.threshold}; expected between 0 and 1, or 0 to choose"
            " it on validation patients"
        )
    seeds = config.folds.seeds
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise InputError(
            f"folds.seeds is {seeds}; expected different whole numbers such as (0, 1)"
        )
    if not config.baselines.min_area_mm2 >= 0:
        raise InputError(
            f"baselines.min_area_mm2 is {config.baselines.min_area_mm2}; expected 0 or"
            " more"
        )
    for key, value, least in (
        ("folds.seed", config.folds.seed, 0),
        ("data.phantom_seed", config.data.phantom_seed, 0),
        ("data.phantom_patients", config.data.phantom_patients, 3),
        ("devices", config.devices, 0),
    ):
        if value < least:
            raise InputError(f"{key} is {value}; expected {least} or more")
    Recipe(**config.train)  # says what is wrong with it


def _source(
    *,
    source: str,
    path: str,
    patients: tuple[str, ...],
    phantom_patients: int,
    phantom_seed: int,
    consensus: str,
) -> tuple[tuple[str, ...], Callable[[str], Study], Callable | None]:
    """Returns the chosen patients, and the functions that read one and list its files.

    The phantom has no files.
    """
    del consensus  # made when a study is prepared, whatever it was read from
    if source == "phantom":
        names = phantom.list_patients(phantom_patients)

        def read(patient: str) -> Study:
            return phantom.simulate_study(patient, seed=phantom_seed)

        files = None
    else:
        if not path:
            raise InputError(
                f"data.path is empty; expected the folder of the {source} data:"
                " --config.data.path=FOLDER"
            )
        home = Path(path)
        if not home.is_dir():
            raise InputError(f"{path}: no such folder; check data.path")
        reader = _READERS[source]
        names = reader.list_patients(home)
        read = functools.partial(reader.read_study, home)
        files = functools.partial(reader.list_files, home)

    unknown = sorted(set(patients) - set(names))
    if unknown:
        raise InputError(
            f"data.patients names {', '.join(unknown)}; expected some of"
            f" {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
        )
    return tuple(sorted(patients or names)), read, files


@contextlib.contextmanager
def _claimed(workdir: Path) -> Iterator[None]:
    """Holds the folder for this run alone."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = (workdir / "lock").open("a+")
    except OSError as error:
        raise InputError(
            f"--workdir={workdir}: cannot write there ({error.strerror}); choose"
            " another folder"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"--workdir={workdir}: another run is at work in it; wait for it or"
                " choose another folder"
            ) from None
        yield


def _settings_for(workdir: Path, config: Any) -> dict:
    """Returns what decides the results, after a check that the folder's are the same."""
    settings = json.loads(config.to_json_best_effort())
    # Where to compute changes no result, and the baselines' are beside the run's.
    for key in ("devices", "require_gpu", "baselines"):
        del settings[key]
    kept = workdir / _SETTINGS
    if kept.is_file():
        try:
            before = json.loads(kept.read_text())
        except ValueError as error:
            raise InputError(
                f"{kept}: damaged ({error}); choose another --workdir, or delete the"
                " file if the configuration is the same"
            ) from None
        before["data"].setdefault("consensus", "staple")  # a run from before the choice
        if before != settings:
            raise InputError(
                f"--workdir={workdir} holds a run with another configuration"
                f" ({_difference(before, settings)}); choose another folder"
            )
    return settings


def _difference(before: dict, now: dict, prefix: str = "") -> str:
    """Returns the first value that differs, in words."""
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            if old != new:
                return _difference(old, new, f"{prefix}{key}.")
        elif old != new:
            return f"{prefix}{key} was {old}, is {new}"
    return "none"


def _prepare(config: Any, workdir: Path, patients, read, files) -> None:
    def progress(done: int, of: int) -> None:
        if done == of or done % 10 == 0:
            _log.info("prepared %d of %d patients", done, of)

    slices = dataset.prepare(
        workdir / "data",
        patients,
        read,
        files=files,
        protocol=config.protocol,
        consensus=config.data.consensus,
        progress=progress,
    )
    _split(config, slices.take(slices.labelled))  # says so now if it cannot be made
    _log.info(
        "%d patients, %d slices, %d with scar; the crop holds the whole myocardium in"
        " %d of %d",
        len(patients),
        len(slices.slice),
        slices.scar.any(axis=(1, 2)).sum(),
        slices.contained[slices.labelled].sum(),
        slices.labelled.sum(),
    )


def _split(config: Any, slices: dataset.Slices) -> tuple[Fold, ...]:
    return make_folds(
        slices.patient,
        np.any(slices.scar, axis=(1, 2)),
        k=config.folds.k,
        validation=config.folds.validation,
        seed=config.folds.seed,
    )


def _labelled(workdir: Path) -> dataset.Slices:
    slices = dataset.load(workdir / "data")
    return slices.take(slices.labelled)


def _trained(workdir: Path, slices: dataset.Slices) -> tuple[Any, Any]:
    """Returns the checkpoint, after a check that it was trained on these slices."""
    variables, metadata = checkpoint.load(workdir / "checkpoint")
    if metadata["data_hash"] != slices.data_hash:
        raise InputError(
            f"{workdir / 'checkpoint'} was trained on other data than are prepared now;"
            " choose another --workdir"
        )
    return variables, metadata


def _train(config: Any, workdir: Path) -> None:
    slices = _labelled(workdir)
    if (workdir / "checkpoint").is_dir():
        _trained(workdir, slices)
        _log.info("training has finished before")
        return
    folds = _split(config, slices)
    members = [
        Member(f, seed) for f in range(len(folds)) for seed in config.folds.seeds
    ]
    fitted = fit(
        workdir / "state",
        ENet(variant=config.model.variant),
        Recipe(**config.train),
        data=train.Data(slices.image, slices.scar),
        folds=folds,
        members=members,
        data_hash=slices.data_hash,
    )
    evaluate.write_history(workdir / "results", fitted.history)
    decisions = _decide(config, slices, folds, members, fitted.variables)
    metadata = {
        "config": json.loads(config.to_json_best_effort()),
        "preparation": dataset.PREPARATION,
        "data_hash": slices.data_hash,
        "members": [
            {
                **chosen,
                **dataclasses.asdict(decision),
                "test_patients": sorted(
                    set(slices.patient[folds[chosen["fold"]].test])
                ),
            }
            for chosen, decision in zip(fitted.chosen, decisions, strict=True)
        ],
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "machine": {
            "python": platform.python_version(),
            "devices": [str(device) for device in jax.devices()],
            "processor": platform.machine(),
        },
        "training_seconds": round(fitted.seconds, 1),
    }
    checkpoint.save(workdir / "checkpoint", fitted.variables, metadata)


def _predict(config: Any, slices: dataset.Slices, variables: Any, which) -> list:
    """Returns each member's (n, 64, 64) probabilities for its own slice indices."""
    predicted = ensemble.predict_members(
        ENet(variant=config.model.variant),
        variables,
        slices.image,
        padded(which),
        symmetries=config.symmetries,
    )
    answers = [p[: len(own)] for p, own in zip(predicted, which, strict=True)]
    if config.protocol == 2:  # as `predict_volume` does: nothing outside was looked at
        answers = [
            p * slices.myocardium[i] for p, i in zip(answers, which, strict=True)
        ]
    return answers


def _decide(config, slices, folds, members, variables) -> list[decide.Decision]:
    """Returns when each member calls scar."""
    if config.threshold:
        return [decide.Decision(config.threshold)] * len(members)
    if config.train.selection == "oracle":
        which = [folds[member.fold].test for member in members]
    else:
        which = [folds[member.fold].validation for member in members]
    answers = _predict(config, slices, variables, which)
    area_mm2 = slices.pixel_mm**2
    return [
        decide.choose(answer, slices.scar[own], area_mm2[own])
        for answer, own in zip(answers, which, strict=True)
    ]


def _evaluate(config: Any, workdir: Path) -> None:
    slices = _labelled(workdir)
    variables, metadata = _trained(workdir, slices)
    folds = _split(config, slices)
    members, seeds = metadata["members"], list(config.folds.seeds)
    tests = [folds[member["fold"]].test for member in members]
    for member, test in zip(members, tests, strict=True):
        if sorted(set(slices.patient[test])) != member["test_patients"]:
            raise InputError(
                f"{workdir / 'checkpoint'}: fold {member['fold']} held out other patients"
                " than this version's split; evaluate with the version it names"
            )
    probability = np.zeros((len(seeds), *slices.scar.shape), np.float32)
    called = np.zeros(probability.shape, bool)
    fold = np.zeros(len(slices.slice), int)
    answers = _predict(config, slices, variables, tests)
    for member, test, answer in zip(members, tests, answers, strict=True):
        seed = seeds.index(member["seed"])
        decision = decide.Decision(member["threshold"], member["min_area_mm2"])
        probability[seed, test] = answer
        called[seed, test] = decide.call_scar(
            answer, slices.pixel_mm[test] ** 2, decision
        )
        fold[test] = member["fold"]
    about: dict = {}
    history = workdir / "results" / "history.csv"
    if config.train.selection != "oracle" and history.is_file():
        about["optimism"] = evaluate.optimism(evaluate.read_table(history))
    summary = evaluate.evaluate(
        workdir / "results",
        slices,
        called,
        probability=probability,
        fold=fold,
        seeds=seeds,
        about=about
        | {
            "protocol": config.protocol,
            "variant": config.model.variant,
            "source": config.data.source,
            "selection": config.train.selection,
            "symmetries": config.symmetries,
            "decisions": [
                {k: m[k] for k in ("fold", "seed", "threshold", "min_area_mm2")}
                for m in members
            ],
            "provenance": {k: v for k, v in metadata.items() if k != "members"},
        },
    )
    sys.stdout.write(evaluate.headline(summary) + "\n")


def _evaluate_baselines(config: Any, workdir: Path) -> None:
    """Writes the results of the methods without training, one folder each."""
    slices = _labelled(workdir)
    drawn = set(slices.patient[slices.myocardium.any(axis=(1, 2))])
    if without := sorted(set(slices.patient) - drawn):
        raise InputError(
            f"{len(without)} patients, such as {without[0]}, have no contoured"
            " myocardium, inside which the baselines look; add the masks or choose data.patients"
        )
    fold = np.zeros(len(slices.slice), int)
    for number, split in enumerate(_split(config, slices)):
        fold[split.test] = number
    for name, method in baselines.METHODS.items():
        called = baselines.find_scar(
            method,
            slices.crop,
            slices.myocardium,
            slices.pixel_mm,
            min_area_mm2=config.baselines.min_area_mm2,
        )
        summary = evaluate.evaluate(
            workdir / "baselines" / name.replace(" ", "_") / "results",
            slices,
            called[None],
            fold=fold,
            seeds=[0],
            about={
                "protocol": 2,
                "variant": name,
                "source": config.data.source,
                "selection": "none",
                "min_area_mm2": config.baselines.min_area_mm2,
            },
        )
        sys.stdout.write(evaluate.one_line(name, summary) + "\n")


def start_jax(devices: int, require_gpu: bool) -> None:
    """Chooses the devices and the compilation cache, and says which devices.

    Args:
      devices: CPU cores to use; 0 takes all.
      require_gpu: Whether to refuse to run without a GPU.

    Raises:
      InputError: If a GPU is required and there is none.
    """
    ensemble.use_devices(devices)
    # Compiled programs are code: kept where nobody else can write.
    default = Path.home() / ".cache" / "scarseg_jax"
    cache = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR", default))
    with contextlib.suppress(OSError):
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(cache))
    if require_gpu and jax.default_backend() != "gpu":
        raise InputError(
            f"require_gpu is set but JAX sees {jax.devices()[0]}; install"
            " scarseg_jax[cuda] and the driver, or drop the flag"
        )
    _log.info("computing on %s", ", ".join(str(device) for device in jax.devices()))


def log_to_terminal() -> None:
    """Shows this package's progress, and of the libraries only their warnings."""
    absl_logging.set_verbosity(absl_logging.WARNING)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    package = logging.getLogger("scarseg_jax")
    package.handlers = [handler]
    package.setLevel(logging.INFO)
    package.propagate = False


def fail(error: Exception) -> int:
    """Writes one line about the error to the terminal; returns exit code 2."""
    sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
    return 2


def parse(argv: list[str]) -> list[str]:
    """Returns the arguments that are no flags; a bad flag ends the program."""
    try:
        return flags.FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, OSError) as error:
        sys.exit(fail(error))


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
