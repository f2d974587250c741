"""What all commands share: logging, flags, starting JAX, failing in one line."""

import logging
import os
import re
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import jax
from absl import flags
from absl import logging as absl_logging

from scarseg_jax import files, signals
from scarseg_jax.errors import Diverged, InputError, InputErrors, Stopped, Unfinished
from scarseg_jax.learn import ensemble

_log = logging.getLogger(__name__)
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # ECMA-48: colours and the like


def exit_code(job: Callable[[], None], *, remind_s: float | None = 8) -> int:
    """Does a command's job; returns its exit code, after a line on what went wrong.

    `remind_s` is that of `log_to_terminal`.

    2: something given cannot be used; 3: not all could be done, as the disk is full or
    fails or some studies of a cohort cannot be used, and what was finished is kept; 4:
    training diverged; 128 and more: a signal.
    """
    log_to_terminal(remind_s)
    try:
        with signals.at_once():
            job()
            sys.stdout.flush()
    except Stopped as stopped:
        _log.info("state saved; the same command goes on from here")
        return 128 + stopped.args[0]
    except InputError as error:
        return fail(error)
    except Diverged as error:
        return fail(error, code=4)
    except Unfinished as error:
        return fail(error, code=3)
    except Exception as error:
        if (trouble := files.disk_trouble(error)) is None:
            raise
        mend = "what was finished is kept: make room or mend it, then run this again"
        return fail(f"{trouble}; {mend}", code=3)
    return 0


def log_to_terminal(remind_s: float | None = 8) -> None:
    """Shows this package's progress, and of the libraries nothing but what they raise.

    Args:
      remind_s: After so much silence, that and how long the last step goes on is said;
        None where a person is waited for.
    """
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")  # whatever a terminal cannot show
    absl_logging.set_verbosity(absl_logging.FATAL)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    package = logging.getLogger("scarseg_jax")
    package.handlers = [handler]
    package.setLevel(logging.INFO)
    package.propagate = False
    if remind_s is not None:
        threading.Thread(target=_remind, args=(handler, remind_s), daemon=True).start()


def _remind(handler: logging.Handler, remind_s: float) -> None:
    """Says again, when nothing has been said for long, what was said last."""
    begun = spoken = time.monotonic()
    step = "starting"

    def listen(record: logging.LogRecord) -> bool:
        nonlocal begun, spoken, step
        spoken = time.monotonic()
        if record.name != __name__:
            begun, step = spoken, record.getMessage()
        return True

    handler.addFilter(listen)
    while handler in logging.getLogger("scarseg_jax").handlers:
        time.sleep(remind_s / 8)
        if (now := time.monotonic()) - spoken >= remind_s:
            _log.info("... %.0f s after: %s", now - begun, step)


def fail(error: Exception | str, code: int = 2) -> int:
    """Writes a line about the error to the terminal, or one for each; returns the code."""
    several = isinstance(error, InputErrors | Unfinished)
    lines = error.lines if several else (str(error),)
    plain = [" ".join(_ESCAPES.sub("", line).split()) for line in lines]
    sys.stderr.write("error: " + "\n  ".join(plain) + "\n")
    return code


def parse(argv: list[str]) -> list[str]:
    """Returns the arguments that are no flags; a bad flag ends the program.

    Shells leave the ~ of --flag=~/folder as it is; here it is the home.
    """
    home = re.compile(r"(--?[\w.]+=)(~.*)", re.DOTALL)
    expanded = [
        found[1] + os.path.expanduser(found[2])  # noqa: PTH111 (never raises)
        if (found := home.fullmatch(argument))
        else argument
        for argument in argv
    ]
    try:
        return flags.FLAGS(expanded)
    except Exception as error:  # a configuration is a program: it may raise anything
        while error.args and isinstance(error.args[0], Exception):
            error = error.args[0]  # ml_collections wraps what says it
        said = str(error.args[0] if isinstance(error, KeyError) else error)
        if "Traceback" in said:  # ml_collections adds it to what a file raises
            said = f"{said.partition('Traceback')[0]}{said.splitlines()[-1]}"
        raise SystemExit(fail(said or repr(error))) from error


def only_flags(argv: list[str]) -> None:
    """Refuses words that belong to no flag."""
    if len(argv) > 1:
        raise InputError(f"argument {argv[1]!r} is not a flag; see --help")


def required_path(flag: flags.FlagHolder) -> Path:
    """Returns a flag's path.

    Raises:
      InputError: If it was not given.
    """
    if not flag.value:
        raise InputError(f"--{flag.name} is missing; see --help")
    return Path(flag.value)


def start_jax(devices: int = 0, *, require_gpu: bool = False) -> None:
    """Chooses the devices and the compilation cache, and says which devices.

    Args:
      devices: CPU cores to use; 0 takes all.
      require_gpu: Whether to refuse to run without a GPU.

    Raises:
      InputError: If there is no device such as is asked for.
    """
    ensemble.use_devices(devices)
    jax.config.update("jax_compilation_cache_dir", _cache())
    try:
        there = jax.devices()
    except (RuntimeError, AssertionError) as error:  # which one depends on the device
        asked = os.environ.get("JAX_PLATFORMS", "")
        raise InputError(
            f"JAX_PLATFORMS={asked}: JAX finds no such device; unset it, or install"
            " scarseg_jax[cuda] and the driver"
        ) from error
    if require_gpu and jax.default_backend() != "gpu":
        raise InputError(
            f"require_gpu is set but JAX sees {there[0]}; install"
            " scarseg_jax[cuda] and the driver, or drop the flag"
        )
    _log.info("computing on %s", ", ".join(str(device) for device in there))


def _cache() -> str | None:
    """Returns where compiled programs are kept, or None.

    They are code, so that it must be where nobody else can write.
    """
    home = os.path.expanduser("~/.cache/scarseg_jax")  # noqa: PTH111 (never raises)
    cache = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR", home))
    if str(cache).startswith("~"):  # nobody's home
        return None
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = cache.stat()
    except OSError:
        return None
    theirs = status.st_uid not in (os.getuid(), 0)
    if theirs or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        _log.warning(
            "%s: others can write there, so compiled programs are not kept; chmod 700"
            " it, or set JAX_COMPILATION_CACHE_DIR to a folder of your own",
            cache,
        )
        return None
    return str(cache)
