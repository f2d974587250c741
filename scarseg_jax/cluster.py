"""Studies on several machines: each is a task on a worker of a Dask cluster.

Workers need this package and the same disk, inputs, networks and outputs alike under the
same paths. A study is published whole and found finished afterwards, so a worker that
dies costs the study it was at, which another does; see `cohort`.
"""

import concurrent.futures
import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from scarseg_jax.cohort import Doing, Outcome, predict_one
from scarseg_jax.errors import InputError
from scarseg_jax.prediction import Choices
from scarseg_jax.readers.studies import Unread
from scarseg_jax.segment.model import Model, load_model
from scarseg_jax.terminal import start_jax

_CONNECT_S = 20
_one_at_a_time = threading.Lock()  # in a worker: JAX takes all cores for one study


def elsewhere(
    scheduler: str,
    model: Model,
    output: Path,
    choices: Choices,
    *,
    folds: Sequence[int],
    seeds: Sequence[int],
) -> Doing:
    """Returns what does the studies on the workers of a scheduler.

    Args:
      scheduler: Its address, such as tcp://HOST:8786.
      model: What every worker loads from the same path.
      output: The folder of all.
      choices: The user's.
      folds: As in `load_model`.
      seeds: As in `load_model`.
    """
    work = functools.partial(
        _predict,
        checkpoint=model.path.absolute(),
        sha256=model.sha256,
        folds=tuple(folds),
        seeds=tuple(seeds),
        output=output.absolute(),
        choices=choices,
    )
    return functools.partial(outcomes, scheduler, work)


def outcomes(
    scheduler: str, work: Callable[[Unread], Outcome], unread: Iterable[Unread]
) -> Iterator[Outcome]:
    """Yields the outcomes of studies as workers come to them.

    Raises:
      InputError: If Dask is not installed, or no scheduler answers at the address or any
        longer.
    """
    try:
        import distributed
    except ImportError:
        raise InputError(
            f"--scheduler={scheduler}: Dask is not installed; pip install"
            ' "scarseg_jax[cluster]", here and on the workers'
        ) from None
    try:
        client = distributed.Client(scheduler, timeout=_CONNECT_S)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--scheduler={scheduler}: no scheduler answers there ({error}); expected an"
            " address such as tcp://HOST:8786 of a running `dask scheduler`"
        ) from error
    with client, _while_there_is(scheduler):
        names = {client.submit(work, one, pure=False): one for one in unread}
        suspects = []  # a study that only waits on a worker dies with the one at work
        for future in distributed.as_completed(list(names)):
            try:
                yield future.result()
            except distributed.KilledWorker:
                suspects.append(names[future])
        for one in suspects:  # alone, so that nothing but itself can be at fault
            try:
                client.wait_for_workers(1, timeout=_CONNECT_S)
                yield client.submit(work, one, pure=False).result()
            except (distributed.KilledWorker, TimeoutError):
                yield Outcome(
                    one.name,
                    problem="every worker that took it died; has each memory enough?",
                )


@contextlib.contextmanager
def _while_there_is(scheduler: str) -> Iterator[None]:
    try:
        yield
    except concurrent.futures.CancelledError as error:
        raise InputError(
            f"--scheduler={scheduler}: the scheduler is gone; what was finished is kept:"
            " start it again, and then the same command"
        ) from error


def _predict(
    unread: Unread,
    *,
    checkpoint: Path,
    sha256: str,
    folds: tuple[int, ...],
    seeds: tuple[int, ...],
    output: Path,
    choices: Choices,
) -> Outcome:
    with _one_at_a_time:
        model = _loaded(checkpoint, sha256, folds, seeds)
        if model.sha256 != sha256:
            raise InputError(
                f"{checkpoint}: other networks on a worker than here; expected one disk,"
                " or the same files everywhere"
            )
        return predict_one(model, unread, output=output, choices=choices)


@functools.cache
def _loaded(
    checkpoint: Path, sha256: str, folds: tuple[int, ...], seeds: tuple[int, ...]
) -> Model:
    """Returns the networks; a worker loads them once, and others of that path anew."""
    del sha256  # what the cache knows them by
    start_jax()
    return load_model(checkpoint, folds=folds, seeds=seeds)
