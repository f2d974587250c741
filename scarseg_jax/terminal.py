"""What all commands share: logging, flags, starting JAX, failing in one line."""

import contextlib
import logging
import os
import sys
from pathlib import Path

import jax
from absl import flags
from absl import logging as absl_logging

from scarseg_jax.errors import InputError
from scarseg_jax.learn import ensemble

_log = logging.getLogger(__name__)


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


def start_jax(devices: int = 0, *, require_gpu: bool = False) -> None:
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
