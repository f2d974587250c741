"""Files that are there whole or not at all, and folders that belong to one run."""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from scarseg_jax.errors import InputError


def write_text(path: Path, text: str) -> None:
    """Writes a file that is there whole or not at all, as UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file that is there whole or not at all, even after a power cut."""
    with replaced(path) as partial, partial.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


@contextlib.contextmanager
def replaced(path: Path, suffix: str = ".partial") -> Iterator[Path]:
    """Yields a name beside a file's to write to, which then takes the file's place.

    After an error nothing is left and the file is as it was.

    Args:
      path: The file.
      suffix: Of the name; for what tells its format by it.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}{suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def visible(paths: Iterable[Path]) -> list[Path]:
    """Returns those that are not hidden, sorted.

    Hidden ones, such as ._x and .DS_Store, are what other systems leave behind.
    """
    return sorted(path for path in paths if not path.name.startswith("."))


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def claimed(workdir: Path) -> Iterator[None]:
    """Holds a folder, made if absent, for this process alone.

    Raises:
      InputError: If it cannot be written to or another process holds it.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = (workdir / "lock").open("a+")
    except OSError as error:
        raise InputError(
            f"--workdir={workdir}: cannot write there ({error.strerror}); choose"
            " another folder"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"--workdir={workdir}: another run is at work in it; wait for it or"
                " choose another folder"
            ) from None
        yield
