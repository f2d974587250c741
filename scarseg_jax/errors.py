"""How a run ends other than well."""


class InputError(ValueError):
    """Raised when a file, a value or a setting given by the user cannot be used.

    The message is one line that names the thing, its value, what was expected and
    the mend. The commands print it without a traceback and exit with code 2.
    """


class Stopped(Exception):
    """Raised after a signal, once nothing can be lost; its argument is the signal."""
