"""SIGTERM and SIGINT: when a run stops for them."""

import contextlib
import logging
import signal
from collections.abc import Iterator

_log = logging.getLogger(__name__)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def deferred() -> Iterator[list[int]]:
    """Yields a list in which the first signal is noted; a second one acts at once."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    received: list[int] = []

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number, _frame) -> None:
        received.append(number)
        restore()
        _log.warning("stopping after this epoch; the state will be saved")

    for number in _SIGNALS:
        signal.signal(number, note)
    try:
        yield received
    finally:
        restore()
