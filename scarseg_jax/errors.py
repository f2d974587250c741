"""How a run ends other than well, and how messages name many."""

from collections.abc import Sequence


def first_few(names: Sequence[str], most: int) -> str:
    """Returns as a message lists them so many of many names."""
    return ", ".join(names[:most]) + (" ..." if len(names) > most else "")


class InputError(ValueError):
    """Raised when a file, a value or a setting given by the user cannot be used.

    The message is one line that names the thing, its value, what was expected and
    the mend. The commands print it without a traceback and exit with code 2.
    """


class InputErrors(InputError):
    """Several at once, such as one for each patient that cannot be used."""

    def __init__(self, what: str, each: Sequence[str]) -> None:
        """Takes what they are together, and the line of each."""
        super().__init__("\n".join([what, *each]))
        self.lines = (what, *each)


class Diverged(Exception):
    """Raised when all is done and kept that networks whose loss became NaN allow.

    The message is one line that names them; the commands exit with code 4.
    """


class Unfinished(Exception):
    """Raised when all is done and kept but for some studies; exit code 3."""

    def __init__(self, what: str, each: Sequence[str]) -> None:
        """Takes how many there are, and the line of each."""
        super().__init__("\n".join([what, *each]))
        self.lines = (what, *each)


class Stopped(Exception):
    """Raised after a signal, once nothing can be lost; its argument is the signal."""
