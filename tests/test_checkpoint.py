import dataclasses
import json
from typing import NamedTuple

import numpy as np
import pytest

from scarseg_jax.errors import InputError
from scarseg_jax.learn import checkpoint


@dataclasses.dataclass(frozen=True)
class Part:
    names: tuple[str | None, ...]


@dataclasses.dataclass(frozen=True)
class Record:
    """What these checkpoints say of themselves."""

    epochs: int
    rate: float = 0.1
    parts: tuple[Part, ...] = ()


@dataclasses.dataclass(frozen=True)
class OtherRecord:
    patients: int


def tree(value):
    kernel = np.full((2, 3), value, np.float32)
    return {"params": {"kernel": kernel}, "step": np.int32(value)}


def flip_a_bit(directory):
    largest = max(directory.rglob("*"), key=lambda p: p.is_file() and p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)


def test_what_is_saved_comes_back_with_its_record(tmp_path):
    record = Record(3, 0.1 + 0.2, (Part(("ü", None, "x")), Part(())))
    checkpoint.save(tmp_path / "ü c", tree(3), record)
    restored, said = checkpoint.load(tmp_path / "ü c", Record)
    np.testing.assert_array_equal(
        restored["params"]["kernel"], tree(3)["params"]["kernel"]
    )
    assert restored["step"] == 3
    assert said == record


def test_a_target_gives_the_trees_its_own_kind(tmp_path):
    class Pair(NamedTuple):
        a: np.ndarray
        b: np.ndarray

    pair = Pair(np.arange(3.0), np.array([[1], [2]], np.int8))
    checkpoint.save(tmp_path / "c", pair, Record(1))
    restored, _ = checkpoint.load(tmp_path / "c", Record, pair)
    assert isinstance(restored, Pair)
    for there, own in zip(restored, pair, strict=True):
        np.testing.assert_array_equal(there, own)
        assert there.dtype == own.dtype


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    checkpoint.save(tmp_path / "c", tree(1), Record(1))
    with pytest.raises(InputError, match=r"no checkpoint of this kind .*patients"):
        checkpoint.load(tmp_path / "c", OtherRecord)


@pytest.mark.parametrize("shape", [(2, 4), (3, 2), (6,)])
def test_a_checkpoint_of_other_shapes_is_refused(tmp_path, shape):
    checkpoint.save(tmp_path / "c", tree(1), Record(1))
    target = tree(0)
    target["params"]["kernel"] = np.zeros(shape, np.float32)
    with pytest.raises(InputError, match="other shapes than this version's"):
        checkpoint.load(tmp_path / "c", Record, target)


def test_saving_again_replaces_the_whole(tmp_path):
    checkpoint.save(tmp_path / "c", tree(1), Record(1))
    checkpoint.save(tmp_path / "c", tree(2), Record(2))
    restored, record = checkpoint.load(tmp_path / "c", Record, tree(0))
    assert restored["step"] == record.epochs == 2
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("damage", ["flip", "delete", "truncate"])
def test_damage_is_noticed(tmp_path, damage):
    checkpoint.save(tmp_path / "c", tree(1), Record(1))
    file = next(p for p in sorted((tmp_path / "c").rglob("*")) if p.is_file())
    if damage == "flip":
        flip_a_bit(tmp_path / "c")
    elif damage == "delete":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"damaged \(the SHA-256 of .* differs\)"):
        checkpoint.load(tmp_path / "c", Record)


def test_damaged_sums_are_damage(tmp_path):
    checkpoint.save(tmp_path / "c", tree(1), Record(1))
    (tmp_path / "c" / "sha256.json").write_text('{"half')
    with pytest.raises(InputError, match="damaged"):
        checkpoint.load(tmp_path / "c", Record)


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path}: no checkpoint here"):
        checkpoint.load(tmp_path, Record)


def test_the_newest_sound_state_is_taken_and_the_damaged_one_reported(tmp_path, caplog):
    for epoch in (1, 2):
        checkpoint.save(tmp_path / f"epoch_{epoch:06d}", tree(epoch), Record(epoch))
    flip_a_bit(tmp_path / "epoch_000002")
    # What a run that was killed while saving leaves behind is no state: by Orbax at
    # work, and by what comes after it.
    (tmp_path / "epoch_000003.partial.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "epoch_000003.partial").mkdir()
    found = checkpoint.newest(tmp_path, Record, tree(0))
    assert found is not None
    assert found[1] == Record(1)
    assert found[0]["step"] == 1
    assert "epoch_000002: the checkpoint is damaged" in caplog.text


def test_training_never_starts_anew_over_damaged_states(tmp_path):
    assert checkpoint.newest(tmp_path, Record, tree(0)) is None
    checkpoint.save(tmp_path / "epoch_000001", tree(1), Record(1))
    flip_a_bit(tmp_path / "epoch_000001")
    with pytest.raises(InputError, match="none of the 1 saved states is sound"):
        checkpoint.newest(tmp_path, Record, tree(0))


def test_pruning_keeps_the_newest_and_clears_what_kills_left(tmp_path):
    for epoch in (1, 2, 10):
        checkpoint.save(tmp_path / f"epoch_{epoch:06d}", tree(epoch), Record(epoch))
    (tmp_path / "epoch_000011.partial.orbax-checkpoint-tmp").mkdir()
    checkpoint.prune(tmp_path, keep=2)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["epoch_000002", "epoch_000010"]


def test_the_sums_cover_every_file(tmp_path):
    checkpoint.save(tmp_path / "c", tree(1), Record(1))
    files = {
        str(p.relative_to(tmp_path / "c"))
        for p in (tmp_path / "c").rglob("*")
        if p.is_file()
    }
    sums = json.loads((tmp_path / "c" / "sha256.json").read_text())
    assert sums.keys() == files - {"sha256.json"}


def test_what_other_systems_leave_behind_is_neither_state_nor_damage(tmp_path):
    def leave(*folders):
        for folder in folders:
            for name in (".DS_Store", "._epoch_000003", "._x.partial"):
                (folder / name).write_bytes(b"\0\5\x16\7")

    for epoch in (1, 2):
        checkpoint.save(tmp_path / f"epoch_{epoch:06d}", tree(epoch), Record(epoch))
    newest = tmp_path / "epoch_000002"
    leave(tmp_path, newest, newest / "state")
    assert checkpoint.load(newest, Record)[1] == Record(2)
    found = checkpoint.newest(tmp_path, Record, tree(0))
    assert found is not None
    assert found[1] == Record(2)
    checkpoint.prune(tmp_path, keep=1)
    assert [p.name for p in sorted(tmp_path.glob("epoch*"))] == ["epoch_000002"]
