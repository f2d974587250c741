r"""Finds LV scar in LGE-CMR: prepares, trains every fold, evaluates and reports.

python -m scarseg_jax.main --config=configs/protocol2.py --workdir=runs/protocol2 \
    --config.data.source=emidec --config.data.path=PATH

Run again on the same --workdir, it goes on where it stopped. Every value in the
configuration file, where each is explained, can be overridden as above.
"""

import json
import logging
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from scarseg_jax import experiment, files, settings
from scarseg_jax.errors import InputError, Stopped
from scarseg_jax.settings import Settings
from scarseg_jax.terminal import fail, log_to_terminal, parse, start_jax

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Configuration file, such as configs/protocol2.py."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for everything the run makes; made if absent."
)
_MODE = flags.DEFINE_enum("mode", "all", experiment.MODES, "Which part to run.")
_COMPUTING = ("all", "train", "evaluate")
_log = logging.getLogger(__name__)


def main(argv: list[str]) -> int:
    """Runs the job; returns the exit code."""
    log_to_terminal()
    try:
        if len(argv) > 1:
            raise InputError(
                f"argument {argv[1]!r} is not a flag; overrides look like"
                " --config.train.epochs=20"
            )
        given = _settings()
        if _WORKDIR.value is None:
            raise InputError("--workdir is missing; try --workdir=runs/protocol2")
        workdir = Path(_WORKDIR.value).absolute()
        source = experiment.open_data(given)
        with files.claimed(workdir):
            if _MODE.value in _COMPUTING:
                start_jax(given.devices, require_gpu=given.require_gpu)
            experiment.run(workdir, given, source, _MODE.value)
    except Stopped as stopped:
        _log.info("state saved; the same command goes on from here")
        return 128 + stopped.args[0]
    except InputError as error:
        return fail(error)
    return 0


def _settings() -> Settings:
    """Returns the configuration file's, with what the flags override."""
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
    return settings.from_config(json.loads(config.to_json_best_effort()))


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
