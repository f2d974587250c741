"""In processes of their own, where ending at once ends nothing else."""

import contextlib
import signal
import subprocess
import sys

import pytest

from scarseg_jax import signals

BUSY = """
import hashlib, pathlib, sys
from scarseg_jax import files, signals
with signals.at_once(), files.replaced(pathlib.Path(sys.argv[1])) as partial:
    partial.write_text("half")
    print("busy", flush=True)
    while True:  # in C all the time, as a compiler is
        hashlib.sha256(bytes(10**8))
"""
TRAINING = """
import time
from scarseg_jax import signals
with signals.at_once(), signals.deferred() as received:
    print("busy", flush=True)
    while not received:
        time.sleep(0.01)
    print("noted", *received, flush=True)
    while True:
        time.sleep(1)
"""
AFTERWARDS = """
import sys
from scarseg_jax import signals
with signals.at_once():
    with signals.deferred():
        pass
    print("busy", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def started(code, *arguments):
    """Runs a program, which is no longer there afterwards."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "busy\n"
            yield process
        finally:
            process.kill()


def ended(process):
    """Returns a program's exit code, and what it said of its end."""
    _, said = process.communicate(timeout=300)
    return process.returncode, said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_program_amid_c_code_and_leaves_nothing_half(
    tmp_path, number
):
    path = tmp_path / "kept.json"
    path.write_text("old")
    with started(BUSY, path) as process:
        process.send_signal(number)
        assert ended(process) == (128 + number, f"stopped by {number.name}\n")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_in_an_epoch_the_first_is_noted_and_the_second_acts_at_once(second):
    with started(TRAINING) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == f"noted {int(signal.SIGTERM)}\n"
        process.send_signal(second)
        code, said = ended(process)
    assert code == 128 + second
    assert "Traceback" not in said


def test_after_the_last_epoch_the_first_acts_at_once_again():
    with started(AFTERWARDS) as process:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=300)  # with its input still open
        assert process.returncode == 128 + signal.SIGTERM


def test_handlers_are_as_they_were_afterwards():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with signals.at_once(), signals.deferred() as received:
        signal.raise_signal(signal.SIGINT)
        assert received == [signal.SIGINT]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert signal.set_wakeup_fd(-1) == -1
