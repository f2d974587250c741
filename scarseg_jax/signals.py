"""SIGTERM and SIGINT: when a run stops for them.

Python's own handlers wait until the main thread is out of C++, which may compile for
minutes. So a thread looks as well: it learns of a signal at once.
"""

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator

from scarseg_jax import files

_log = logging.getLogger(__name__)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Lets a signal end the program with 128 + its number, nothing half-written."""
    with _watched([], patience=0):
        yield


@contextlib.contextmanager
def deferred() -> Iterator[list[int]]:
    """Yields a list in which the first signal is noted; a second one acts at once."""
    received: list[int] = []
    with _watched(received, patience=1):
        yield received


@contextlib.contextmanager
def _watched(received: list[int], *, patience: int) -> Iterator[None]:
    """Notes signals; the program ends at the first that patience does not cover."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        signal.signal(number, lambda number, _frame: received.append(number))
    outer = signal.set_wakeup_fd(writer.fileno())
    watcher = threading.Thread(target=_watch, args=(reader, patience), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(outer)
        for number, handler in before.items():
            signal.signal(number, handler)
        writer.close()
        watcher.join()


def _watch(reader: socket.socket, patience: int) -> None:
    with reader:
        while number := reader.recv(1):
            if not patience:
                _leave(number[0])
            patience -= 1
            _log.warning(
                "stopping after this epoch; the state will be saved (once more: at once)"
            )


def _leave(number: int) -> None:
    files.discard_unfinished()
    _log.warning("stopped by %s", signal.Signals(number).name)
    os._exit(128 + number)
