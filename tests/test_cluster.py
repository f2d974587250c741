"""Studies on a Dask cluster of processes here, some of which are killed."""

import os
import signal
import sys
from types import SimpleNamespace
from typing import Any

import dask as untyped_dask
import distributed as untyped_distributed
import pytest

from scarseg_jax import cluster
from scarseg_jax.errors import InputError

dask: Any = untyped_dask  # their types do not say what they take
distributed: Any = untyped_distributed
outcomes: Any = cluster.outcomes  # of names alone, not of studies


def test_workers_that_are_killed_lose_nothing_and_do_nothing_twice(tmp_path):
    names = [f"study_{n:03}" for n in range(1, 9)]

    def work(unread):  # as `cohort.predict_one`: what is there is not done again
        taken, done = (tmp_path / f"{unread.name}_{it}" for it in ("taken", "done"))
        before = taken.exists()
        taken.touch()
        if unread.name == "study_008" or (unread.name == "study_002" and not before):
            os.kill(os.getpid(), signal.SIGKILL)
        if not done.exists():
            done.open("x").close()
        return unread.name

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as local,
    ):
        many = [SimpleNamespace(name=name) for name in names]
        found = list(outcomes(local.scheduler_address, work, many))
        with distributed.Client(local) as client:
            client.wait_for_workers(2, timeout=60)  # a cluster cannot be closed before
    (died,) = (one for one in found if not isinstance(one, str))
    assert died.name == "study_008"
    assert died.problem.startswith("every worker that took it died")
    assert sorted(one for one in found if isinstance(one, str)) == names[:-1]
    assert len(list(tmp_path.glob("*_done"))) == len(names) - 1


def test_what_cannot_be_reached_is_one_line(monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT_S", 0.2)
    with pytest.raises(InputError, match="no scheduler answers there"):
        list(outcomes("tcp://127.0.0.1:9", lambda one: one, ()))
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r'pip install "scarseg_jax\[cluster\]"'):
        list(outcomes("tcp://127.0.0.1:9", lambda one: one, ()))


def test_other_networks_at_the_same_path_are_loaded_anew(monkeypatch, tmp_path):
    each = iter(("first", "second"))
    monkeypatch.setattr(cluster, "start_jax", lambda: None)
    monkeypatch.setattr(cluster, "load_model", lambda path, **_: next(each))
    cluster._loaded.cache_clear()
    found = [cluster._loaded(tmp_path, sha256, (), ()) for sha256 in "aab"]
    cluster._loaded.cache_clear()
    assert found == ["first", "first", "second"]
