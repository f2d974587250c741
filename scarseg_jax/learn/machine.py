"""What computes, for the record: another machine rounds otherwise."""

import contextlib
import platform
from pathlib import Path

import jax

from scarseg_jax.run import Machine


def this_machine() -> Machine:
    """Returns what JAX computes on now."""
    return Machine(
        devices=tuple(str(device) for device in jax.devices()),
        processor=_processor(),
        python=platform.python_version(),
        jax=jax.__version__,
    )


def _processor() -> str:
    """Returns its name where Linux tells it, else its kind."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
