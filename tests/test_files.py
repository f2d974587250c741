import contextlib
import errno
from pathlib import Path

import pytest

from scarseg_jax import files
from scarseg_jax.errors import InputError


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch):
    path = tmp_path / "kept.json"
    files.write_text(path, "old")

    def broken(self, target):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        files.write_text(path, "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [
        ("kept.json", "old")
    ]


def test_a_written_file_is_utf_8_and_takes_the_old_ones_place(tmp_path):
    path = tmp_path / "kept.json"
    files.write_text(path, "a much longer text than the next")
    files.write_text(path, "b\u00e9\n")
    assert path.read_bytes() == b"b\xc3\xa9\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_stays_as_it_was_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "scar.nii.gz"
    path.write_text("old")
    with files.replaced(path, ".nii.gz") as partial:
        partial.write_text("half")
        assert partial.parent == path.parent
        assert partial.name.endswith(".nii.gz")
        assert path.read_text() == "old"
    assert path.read_text() == "half"

    def write_half():
        with files.replaced(path) as partial:
            partial.write_text("worse")
            raise InputError("cut off")

    with pytest.raises(InputError, match="cut off"):
        write_half()
    assert path.read_text() == "half"
    assert list(tmp_path.iterdir()) == [path]


def test_the_sum_of_a_file_is_that_of_its_bytes(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256(path) == expected


def test_a_folder_has_one_holder_at_a_time(tmp_path):
    folder = tmp_path / "new" / "run"
    with files.claimed(folder):
        with (
            pytest.raises(InputError, match="another run is at work in it") as raised,
            files.claimed(folder),
        ):
            raise AssertionError("two hold it")
        assert f"--workdir={folder}" in str(raised.value)
        with files.claimed(tmp_path / "other"):  # another folder is free
            pass
    with files.claimed(folder):  # and so is this one again
        assert folder.is_dir()


def test_a_holder_that_fails_lets_the_folder_go(tmp_path):
    def fail():
        with files.claimed(tmp_path):
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        fail()
    with files.claimed(tmp_path):
        assert (tmp_path / "lock").is_file()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="cannot write there") as raised,
        files.claimed(tmp_path / "file" / "run"),
    ):
        raise AssertionError("there is no such folder")
    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.__cause__.errno == errno.ENOTDIR


def test_sums_notice_every_change_and_nothing_else(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a", "in/b"):
        (tmp_path / name).write_text(name)
    assert files.changed(tmp_path) == tmp_path / "sha256.json"
    files.write_sums(tmp_path)
    assert files.changed(tmp_path) is None
    (tmp_path / ".DS_Store").write_text("later")
    (tmp_path / "c").write_text("later")
    assert files.changed(tmp_path) is None
    for name in ("a", "in/b"):
        (tmp_path / name).write_text("other")
        assert files.changed(tmp_path) == tmp_path / name
        (tmp_path / name).unlink()
        assert files.changed(tmp_path) == tmp_path / name
        (tmp_path / name).write_text(name)
    assert files.changed(tmp_path) is None


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_too(
    tmp_path, monkeypatch
):
    calls = []
    monkeypatch.setattr("os.fsync", lambda handle: calls.append("fsync"))
    replace = Path.replace

    def noted(self, target):
        calls.append("replace")
        return replace(self, target)

    monkeypatch.setattr("pathlib.Path.replace", noted)
    files.write_text(tmp_path / "kept.json", "new")
    assert calls == ["fsync", "replace", "fsync"]
    (tmp_path / "half" / "in").mkdir(parents=True)
    (tmp_path / "half" / "in" / "file").write_text("x")
    calls.clear()
    files.put(tmp_path / "half", tmp_path / "whole")
    assert calls == ["fsync"] * 3 + ["replace", "fsync"]


def test_a_disk_that_fills_is_named_with_the_file(tmp_path):
    def fill():
        with files.replaced(tmp_path / "kept.json"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: .*kept\.json"):
        fill()
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, caplog):
    def unlocked(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unlocked)
    with files.claimed(tmp_path):
        assert "cannot be locked (No locks available)" in caplog.text


def test_a_private_folder_is_for_nobody_else_and_goes_with_all_in_it(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for ends_well in (True, False):
        with contextlib.suppress(KeyError), files.private_folder("ours_") as folder:
            assert folder.name.startswith("ours_")
            assert folder.stat().st_mode & 0o777 == 0o700
            (folder / "deep").mkdir()
            (folder / "deep" / "file").write_text("somebody")
            if not ends_well:
                raise KeyError
        assert not list(tmp_path.iterdir())


def test_the_sum_of_all_tells_what_each_is_for(tmp_path):
    one, other, folder = tmp_path / "one", tmp_path / "other", tmp_path / "d"
    one.write_text("1")
    other.write_text("2")
    folder.mkdir()
    (folder / "a").write_text("1")
    given = [("--input", one), ("--myocardium", other)]
    known = files.sha256_of_all(given)
    assert known == files.sha256_of_all([("--input", folder / "a"), given[1]])
    assert known != files.sha256_of_all([("--input", one), ("--remote", other)])
    before = files.sha256_of_all([("--input", folder)])
    (folder / "a").rename(folder / "b")
    assert files.sha256_of_all([("--input", folder)]) != before
