r"""Finds LV scar in LGE-CMR: prepares, trains every fold, evaluates and reports.

python -m scarseg_jax.main --config=configs/protocol2.py --workdir=runs/protocol2 \
    --config.data.source=emidec --config.data.path=PATH

Run again on the same --workdir, it goes on where it stopped; --config may then be left
out. Every value in the configuration file, where each is explained, can be overridden
as above.
"""

import json
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from scarseg_jax import experiment, files, settings
from scarseg_jax.errors import InputError
from scarseg_jax.settings import Settings
from scarseg_jax.terminal import exit_code, parse, start_jax

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Configuration file, such as configs/protocol2.py."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for everything the run makes; made if absent."
)
_MODE = flags.DEFINE_enum("mode", "all", experiment.MODES, "Which part to run.")
_BESIDE = flags.DEFINE_list(
    "beside",
    [],
    "Workdirs of finished runs on the same patients, such as of other networks, to set"
    " beside this one in its report.",
)
_COMPUTING = ("all", "train", "evaluate", "baselines")
_REPORTING = ("all", "report")


def main(argv: list[str]) -> int:
    """Runs the job; returns the exit code."""
    return exit_code(lambda: _run(argv))


def _run(argv: list[str]) -> None:
    if len(argv) > 1:
        raise InputError(
            f"argument {argv[1]!r} is not a flag; overrides look like"
            " --config.train.epochs=20"
        )
    mode = _MODE.value
    beside = [Path(folder) for folder in _BESIDE.value]
    if beside and mode not in _REPORTING:
        raise InputError(
            f"--beside={','.join(_BESIDE.value)} has no effect on --mode={mode}; expected"
            f" --mode={' or '.join(_REPORTING)}"
        )
    given = _settings()
    if not _WORKDIR.value:
        raise InputError("--workdir is missing; try --workdir=runs/protocol2")
    workdir = Path(_WORKDIR.value).absolute()
    source = experiment.open_data(given) if mode in experiment.READING else None
    with files.claimed(workdir):
        if mode in _COMPUTING:
            start_jax(given.devices, require_gpu=given.require_gpu)
        experiment.run(workdir, given, source, mode, beside)


def _settings() -> Settings:
    """Returns the configuration file's, with what the flags override, or the run's."""
    example = "such as --config=configs/protocol2.py"
    config = _CONFIG.value
    if config is None:
        if (kept := Path(_WORKDIR.value or "") / settings.KEPT).is_file():
            return settings.read(kept)
        raise InputError(
            f"--config is missing; expected one {example}, or the --workdir of a run"
            " that is to go on"
        )
    try:
        _ = config.protocol  # a file that failed to load says so here
    except (AttributeError, OSError) as error:
        name = config_flags.get_config_filename(flags.FLAGS["config"])
        raise InputError(
            f"--config={name}: {error.__cause__ or error}; expected one {example}"
        ) from error
    return settings.from_config(json.loads(config.to_json_best_effort()))


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
