"""In processes of their own, where ending at once ends nothing else."""

import signal
import subprocess
import sys

import pytest

from scarseg_jax import signals

BUSY = """
import pathlib, sys, time
from scarseg_jax import files, signals
with signals.at_once(), files.replaced(pathlib.Path(sys.argv[1])) as partial:
    partial.write_text("half")
    print("busy", flush=True)
    sum(range(10**9))  # in C all the time, as a compiler is
    time.sleep(60)
"""
TRAINING = """
import time
from scarseg_jax import signals
with signals.at_once(), signals.deferred() as received:
    print("busy", flush=True)
    while not received:
        time.sleep(0.01)
    print("noted", *received, flush=True)
    time.sleep(60)
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


def start(code, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "busy\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_program_amid_c_code_and_leaves_nothing_half(
    tmp_path, number
):
    path = tmp_path / "kept.json"
    path.write_text("old")
    process = start(BUSY, path)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert said == f"stopped by {number.name}\n"
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_in_an_epoch_the_first_is_noted_and_the_second_acts_at_once(second):
    process = start(TRAINING)
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == f"noted {int(signal.SIGTERM)}\n"
    process.send_signal(second)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + second
    assert "Traceback" not in said


def test_after_the_last_epoch_the_first_acts_at_once_again():
    process = start(AFTERWARDS)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM


def test_handlers_are_as_they_were_afterwards():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with signals.at_once(), signals.deferred() as received:
        signal.raise_signal(signal.SIGINT)
        assert received == [signal.SIGINT]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert signal.set_wakeup_fd(-1) == -1
