import errno
import logging
import os
import time

import jax
import pytest
from absl import logging as absl_logging

from scarseg_jax import terminal
from scarseg_jax.errors import Diverged, InputError, InputErrors, Stopped, Unfinished


@pytest.fixture
def quiet(monkeypatch):
    monkeypatch.setattr(terminal, "log_to_terminal", lambda _: None)


def failing(error):
    def job():
        raise error

    return job


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("a:\n  b"), 2, "error: a: b\n"),
        (InputErrors("2 of 3:", ["a:\n1", "b"]), 2, "error: 2 of 3:\n  a: 1\n  b\n"),
        (InputError("\x1b[1;31mred\x1b[0m"), 2, "error: red\n"),
        (Diverged("fold 1"), 4, "error: fold 1\n"),
        (
            Unfinished("1 of 3:", ["study_002: a"]),
            3,
            "error: 1 of 3:\n  study_002: a\n",
        ),
        (
            OSError(errno.ENOSPC, "No space", "/a/b"),
            3,
            "error: /a/b: No space; what was",
        ),
        (
            ValueError("in \"/x/d\": Failed: No space left on device [code='28']"),
            3,
            "error: /x/d: No space left on device; what was",
        ),
        (RuntimeError("write() failed: File too large"), 3, "error: File too large; "),
        (Stopped(15), 143, ""),
    ],
)
def test_every_end_has_its_code_and_line(capsys, error, code, said):
    assert terminal.exit_code(failing(error)) == code
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.usefixtures("quiet")
def test_a_mistake_of_the_program_is_not_taken_for_the_disks():
    with pytest.raises(RuntimeError, match="a bug"):
        terminal.exit_code(failing(RuntimeError("a bug")))


@pytest.fixture
def package():
    """The package's logger, which is as it was afterwards."""
    logger = logging.getLogger("scarseg_jax")
    before = logger.handlers, logger.level, logger.propagate
    verbosity = absl_logging.get_verbosity()
    yield logger
    logger.handlers, level, logger.propagate = before
    logger.setLevel(level)
    absl_logging.set_verbosity(verbosity)


def test_what_lasts_is_said_again_until_the_next_step(package, capsys):
    terminal.log_to_terminal(remind_s=0.08)
    package.getChild("fit").info("compiling %s", "training")
    said, until = "", time.monotonic() + 20
    while said.count("after: compiling training") < 2 and time.monotonic() < until:
        time.sleep(0.01)
        said += capsys.readouterr().err
    assert said.count("after: compiling training") >= 2
    assert said.splitlines()[0].endswith(" compiling training")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A folder for compiled programs; JAX's own is as it was afterwards."""
    before = jax.config.values["jax_compilation_cache_dir"]
    folder = tmp_path / "cache"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(folder))
    yield folder
    jax.config.update("jax_compilation_cache_dir", before)


def cache_in_use():
    terminal.start_jax(2)
    return jax.config.values["jax_compilation_cache_dir"]


def test_compiled_programs_are_kept_where_nobody_else_can_write(cache, caplog):
    assert cache_in_use() == str(cache)
    assert cache.stat().st_mode & 0o777 == 0o700
    cache.chmod(0o777)
    assert cache_in_use() is None
    assert f"{cache}: others can write there" in caplog.text


def test_a_folder_of_somebody_elses_is_no_cache(cache, caplog, monkeypatch):
    cache.mkdir(mode=0o700)
    os.chown(cache, 12345, -1)
    assert cache_in_use() is None
    assert "others can write there" in caplog.text


def test_without_a_home_nothing_is_kept(cache, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as for unknown users
    assert cache_in_use() is None


@pytest.mark.parametrize("kind", [RuntimeError, AssertionError])
@pytest.mark.usefixtures("cache")
def test_a_platform_that_is_not_there_is_one_line(monkeypatch, kind):
    def absent():
        raise kind("Unknown backend")

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(jax, "devices", absent)
    with pytest.raises(InputError, match="JAX_PLATFORMS=cuda: JAX finds no such"):
        terminal.start_jax(2)
