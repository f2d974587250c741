"""Names of files may say who a patient is: how they stay out of what is said and kept."""

import contextlib
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


def withheld(text: str, paths: Mapping[str, Sequence[Path]]) -> str:
    """Returns a text in which names of files are replaced.

    Args:
      text: Such as a message.
      paths: By what stands for them. Each is known as given, as the system resolves
        it, and by its last part where that has an ending, as other words have not.
        What lies in a folder goes with its name.
    """
    spelled = {
        name: word for word, own in paths.items() for path in own for name in _of(path)
    }
    if not spelled:
        return text
    names = sorted(spelled, key=len, reverse=True)
    either = "|".join(map(re.escape, names))
    known = re.compile(rf"(?<!\w)({either})(?!\w)(/[^\n]*)?")

    def replaced(found: re.Match[str]) -> str:
        after = "" if found[2] is None else _after(found[1], found[2])
        return spelled[found[1]] + known.sub(replaced, after)

    return known.sub(replaced, text)


def _after(folder: str, rest: str) -> str:
    """Returns what follows in a text on the path of something in a folder.

    Names may have any letters, so that the longest that is there is taken. What cannot
    be seen there ends where messages go on: at a colon or semicolon and a space.
    """
    for end in range(len(rest), 1, -1):
        if rest[end : end + 1] != "/" and os.path.lexists(folder + rest[:end]):
            return rest[end:]
    end = re.search(r"[:;]\s|$", rest)
    assert end
    return rest[end.start() :]


@contextlib.contextmanager
def kept_from_log(paths: Mapping[str, Sequence[Path]]) -> Iterator[None]:
    """Replaces names of files in all that this package logs meanwhile; see `withheld`."""
    make = logging.getLogRecordFactory()

    def made(*args, **kwargs) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if record.name.startswith("scarseg_jax"):
            record.msg, record.args = withheld(record.getMessage(), paths), ()
        return record

    logging.setLogRecordFactory(made)
    try:
        yield
    finally:
        logging.setLogRecordFactory(make)


def _of(path: Path) -> set[str]:
    whole = {str(path), str(path.absolute()), str(path.resolve())} - {".", "/"}
    return whole | ({path.name} if path.suffix else set())
