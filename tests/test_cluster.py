"""Studies on a Dask cluster of processes here, some of which are killed."""

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask as untyped_dask
import distributed as untyped_distributed
import pytest
from dicom_studies import IDENTITY, write
from test_cohort import SURNAME, check_nobody, contents, signed
from test_dicom_out import found_in
from test_dicom_patients import by_hand, other

from scarseg_jax import cluster, predict
from scarseg_jax.errors import InputError
from scarseg_jax.readers.patient import read_patient
from scarseg_jax.segment import model
from scarseg_jax.writers.dicom import write_dicom
from scarseg_jax.writers.segmentation import numbers_of

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


def test_what_workers_write_is_what_one_process_writes_and_nobody_is_named(
    patient, tmp_path, command, monkeypatch, caplog
):
    """By real networks, on studies of DICOM; a worker is killed at its first."""
    monkeypatch.setattr(predict, "load_model", model.load_model)  # not `command`'s
    home = tmp_path / f"{SURNAME}s"
    for n in range(3):
        one = other(patient, n + 4)
        series = write(home / f"{SURNAME}_{n}", signed(one))
        found = found_in(read_patient(series), one)
        write_dicom(found, numbers_of(found), series / f"{IDENTITY}.dcm", None)
        by_hand(series / f"{IDENTITY}.dcm")
    asked = {"input": home, "source": "dicom", "checkpoint": "simulated"}
    code, said = command(**asked, output=tmp_path / "plain")
    assert code == 0, said
    output = tmp_path / "cluster"
    with (
        outputs_to(tmp_path / "said.txt"),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as local,
    ):
        killer = threading.Thread(target=kill_at_work, args=(local, output))
        killer.start()
        scheduler = local.scheduler_address
        code, said = command(**asked, output=output, scheduler=scheduler)
        killer.join()
        with distributed.Client(local) as client:
            client.wait_for_workers(2, timeout=60)
    assert code == 0, said
    assert contents(output) == contents(tmp_path / "plain")
    by_workers = (tmp_path / "said.txt").read_text()
    assert "was killed by signal 9" in caplog.text
    assert "study_00" in by_workers
    check_nobody(output, said + by_workers)


@contextlib.contextmanager
def outputs_to(path: Path):
    """Puts into a file what processes that are started meanwhile say."""
    before = [os.dup(stream) for stream in (1, 2)]
    with path.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        try:
            yield
        finally:
            for stream, own in zip((1, 2), before, strict=True):
                os.dup2(own, stream)
                os.close(own)


def kill_at_work(local, output: Path) -> None:
    """Kills a worker as soon as any has begun to write a study."""
    while not list(output.glob(".unfinished/*")):
        time.sleep(0.01)
    os.kill(local.workers[0].pid, signal.SIGKILL)


def test_what_cannot_be_reached_is_one_line(monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT_S", 0.2)
    with pytest.raises(InputError, match="no scheduler answers there"):
        list(outcomes("tcp://127.0.0.1:9", lambda one: one, ()))
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r'pip install "scarseg_jax\[cluster\]"'):
        list(outcomes("tcp://127.0.0.1:9", lambda one: one, ()))


def test_a_scheduler_that_goes_away_is_one_line():
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=":0"
    ) as local:
        threading.Timer(1, local.close).start()
        with pytest.raises(
            InputError, match="the scheduler is gone; what was finished"
        ):
            list(outcomes(local.scheduler_address, lambda _: time.sleep(60), ["one"]))


def test_other_networks_at_the_same_path_are_loaded_anew(monkeypatch, tmp_path):
    each = iter(("first", "second"))
    monkeypatch.setattr(cluster, "start_jax", lambda: None)
    monkeypatch.setattr(cluster, "load_model", lambda path, **_: next(each))
    cluster._loaded.cache_clear()
    found = [cluster._loaded(tmp_path, sha256, (), ()) for sha256 in "aab"]
    cluster._loaded.cache_clear()
    assert found == ["first", "first", "second"]
