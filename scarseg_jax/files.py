"""Files that are there whole or not at all, and folders that belong to one run."""

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from scarseg_jax.errors import InputError

SUMS = "sha256.json"  # beside the files whose sums it holds
# Full, over quota, failing, or a file larger than allowed.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
_log = logging.getLogger(__name__)
_unfinished: set[Path] = set()


def write_text(path: Path, text: str) -> None:
    """Writes a file that is there whole or not at all, as UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file that is there whole or not at all, even after a power cut."""
    with replaced(path) as partial:
        partial.write_bytes(content)


@contextlib.contextmanager
def replaced(path: Path, suffix: str = ".partial") -> Iterator[Path]:
    """Yields a name beside a file's to write to, which then takes the file's place.

    After an error nothing is left and the file is as it was.

    Args:
      path: The file.
      suffix: Of the name; for what tells its format by it.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}{suffix}")
    _unfinished.add(partial)
    try:
        yield partial
        put(partial, path)
    except OSError as error:
        if error.errno:  # a full disk gives no name
            error.filename = error.filename or str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)
        _unfinished.discard(partial)


def discard_unfinished() -> None:
    """Deletes what is not to stay: for a program that ends at once."""
    for path in list(_unfinished):
        _discard(path)


@contextlib.contextmanager
def private_folder(prefix: str) -> Iterator[Path]:
    """Yields a new folder that only you can read; it goes as the program goes.

    Args:
      prefix: Of its name, where the system keeps what is temporary.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
    _unfinished.add(folder)
    try:
        yield folder
    finally:
        _discard(folder)
        _unfinished.discard(folder)


def _discard(path: Path) -> None:
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    # Under another name no thread can put anything more into it.
    gone = path.with_name(f"{path.name}.gone")
    path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def put(partial: Path, path: Path) -> None:
    """Gives a file, or a folder with all that is in it, its name.

    Once it is on the disk: given before, the name may, after a power cut, stand for
    an empty file.
    """
    for inner in partial.rglob("*"):
        sync(inner)
    sync(partial)
    partial.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Waits until a file or the names in a folder are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems know no fsync of folders
            raise
    finally:
        os.close(handle)


def visible(paths: Iterable[Path]) -> list[Path]:
    """Returns those that are not hidden, sorted.

    Hidden ones, such as ._x and .DS_Store, are what other systems leave behind.
    """
    return sorted(path for path in paths if not path.name.startswith("."))


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_all(paths: Iterable[tuple[str, Path]]) -> str:
    """Returns the SHA-256 of files' own and of what each is for, in their order.

    Args:
      paths: Of files and folders, each after what it is for. Of a folder all counts
        that is in it and not hidden, with its name in there.
    """
    sums = []
    for role, path in paths:
        if not path.is_dir():
            sums.append((role, sha256(path)))
            continue
        for file in visible(path.rglob("*")):
            if not file.is_dir():
                sums.append((f"{role}/{file.relative_to(path)}", sha256(file)))
    return hashlib.sha256(json.dumps(sums).encode()).hexdigest()


def write_sums(directory: Path) -> None:
    """Keeps the SHA-256 of every file of a folder in it, for `changed`."""
    sums = {
        str(path.relative_to(directory)): sha256(path)
        for path in visible(directory.rglob("*"))
        if path.is_file() and path.name != SUMS
    }
    write_text(directory / SUMS, json.dumps(sums, indent=1))


def changed(directory: Path) -> Path | None:
    """Returns a file that is gone or not as `write_sums` found it, or None.

    Files that came later are nobody's damage: an editor's, or a desktop's.
    """
    try:
        sums = dict(json.loads((directory / SUMS).read_bytes()))
    except (FileNotFoundError, NotADirectoryError, TypeError, ValueError):
        return directory / SUMS
    for name, before in sums.items():
        path = directory / name
        if not path.is_file() or sha256(path) != before:
            return path
    return None


def disk_trouble(error: Exception) -> str | None:
    """Returns in words what the system did not let a program do; None if nothing.

    Libraries in C++ say it in errors of any kind.
    """
    if isinstance(error, OSError):
        file = f"{error.filename}: " if error.filename else ""
        return f"{file}{error.strerror or error}"
    for number in _DISK:
        if (words := os.strerror(number)) in str(error):
            file = re.search(r"(?<![^\s\"'])/[^\s\"';]+", str(error))
            return f"{file.group()}: {words}" if file else words
    return None


@contextlib.contextmanager
def claimed(workdir: Path, flag: str = "workdir") -> Iterator[None]:
    """Holds a folder, made if absent, for this process alone.

    Args:
      workdir: The folder.
      flag: That named it, for messages.

    Raises:
      InputError: If it cannot be written to or another process holds it.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = (workdir / "lock").open("a+")
    except OSError as error:
        if error.errno in _DISK:
            raise
        raise InputError(
            f"--{flag}={workdir}: cannot write there ({error.strerror}); choose"
            " another folder"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"--{flag}={workdir}: another run is at work in it; wait for it or"
                " choose another folder"
            ) from None
        except OSError as error:  # as on some network file systems
            _log.warning(
                "%s: cannot be locked (%s); see to it that no other run works in it",
                *(workdir, error.strerror),
            )
        yield
