"""Many studies, one after the other: a folder of each, a table and a page of all.

A study is finished when its folder is whole and its JSON says that it was made from the
same bytes, networks and choices: then nothing of it is done again. What cannot be used is
named at the end, and its folder is gone.
"""

import contextlib
import dataclasses
import functools
import json
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scarseg_jax import files, prediction, records
from scarseg_jax.errors import InputError, Unfinished
from scarseg_jax.identifiers import kept_from_log, withheld
from scarseg_jax.measure.numbers import Numbers, columns, to_csv
from scarseg_jax.prediction import Choices
from scarseg_jax.readers.studies import Unread
from scarseg_jax.segment.model import Model
from scarseg_jax.show.cohort_page import Row, write_cohort_page
from scarseg_jax.study import Study
from scarseg_jax.writers.nifti import check_grid
from scarseg_jax.writers.segmentation import (
    beside_json,
    check_ours,
    json_path,
    page_path,
)

TABLE, PAGE, NAMES = "cohort.csv", "index.html", "identifiers.csv"
_PARTIAL = ".unfinished"
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a study ended.

    Attributes:
      name: Of the study.
      problem: Why there is no answer; None where there is one.
      said: The answer in words; None where it was there before.
    """

    name: str
    problem: str | None = None
    said: str | None = None


# Does studies' work, in any order: see `here`, and `cluster.elsewhere`.
Doing = Callable[[Sequence[Unread]], Iterable[Outcome]]


def predict_all(
    unread: Sequence[Unread],
    output: Path,
    do: Doing,
    *,
    keep_identifiers: bool,
) -> None:
    """Predicts studies and writes the table and the page of all.

    Args:
      unread: The studies.
      output: The folder, made if absent; this process's alone meanwhile.
      do: Gives the outcome of each study.
      keep_identifiers: Whether a file beside the table says which study is which file.

    Raises:
      InputError: If the folder cannot be used, or holds others' files under our names.
      Unfinished: If there are studies without an answer, when all others have theirs.
    """
    with files.claimed(output, "output"):
        names = [one.name for one in unread]
        for name in names:
            check_ours(mask_path(output, name))
        shutil.rmtree(output / _PARTIAL, ignore_errors=True)  # of a run that was killed
        (output / _PARTIAL).mkdir()
        outcomes = {}
        for one in _told(do(unread), len(unread)):
            outcomes[one.name] = one
            if one.problem is not None:
                _discard(output, one.name)  # of an input or choices before
        shutil.rmtree(output / _PARTIAL)  # empty, but where a worker was killed
        _discard_others(output, names)
        reports = {
            name: json.loads(json_path(mask_path(output, name)).read_bytes())
            for name in names
            if outcomes[name].problem is None
        }
        rows = [_row(output, outcomes[name], reports.get(name)) for name in names]
        write_names(output, unread if keep_identifiers else ())
        files.write_text(output / TABLE, _table(rows))
        write_cohort_page(output / PAGE, rows, _made(reports))
    sys.stdout.write(f"{output / PAGE}: {_counted(list(outcomes.values()))}\n")
    if broken := [row for row in rows if row.problem is not None]:
        raise Unfinished(
            f"{len(broken)} of {len(rows)} studies cannot be used, the others are done:",
            [f"{row.name}: {row.problem}" for row in broken],
        )


def here(model: Model, output: Path, choices: Choices) -> Doing:
    """Returns what does the studies in this process, in their order."""
    return functools.partial(
        map, functools.partial(predict_one, model, output=output, choices=choices)
    )


def predict_one(
    model: Model, unread: Unread, *, output: Path, choices: Choices
) -> Outcome:
    """Returns a study's outcome, with its folder written if it was not there yet.

    Args:
      model: Asked.
      unread: The study.
      output: The folder of all.
      choices: The user's.

    Raises:
      OSError: If the disk is full or fails where the outputs go.
    """
    called = {} if choices.keep_identifiers else {unread.name: unread.paths}
    with kept_from_log(called):
        try:
            return _predict(model, unread, output=output, choices=choices)
        except _Unusable as error:
            problem = " ".join(withheld(str(error), called).split())
            for known in ("patient ", ""):  # the study is named beside it
                problem = problem.removeprefix(f"{known}{unread.name}: ")
            return Outcome(unread.name, problem=problem)


def mask_path(output: Path, name: str) -> Path:
    """Returns where the mask of a study goes."""
    return output / name / f"{name}.nii.gz"


class _Unusable(Exception):
    """A study of which there will be no answer; the message says why."""


def _predict(
    model: Model, unread: Unread, *, output: Path, choices: Choices
) -> Outcome:
    keep = choices.keep_identifiers
    with _unusable(OSError):
        given = zip(unread.roles, unread.paths, strict=True)
        origin = prediction.made_from(model, given, choices)
        if _finished(mask_path(output, unread.name), origin):
            return Outcome(unread.name)
        study = dataclasses.replace(
            unread.read(), patient=unread.name, files=unread.paths if keep else ()
        )
    as_nifti = _fits_nifti(mask_path(output, unread.name), study)
    with tempfile.TemporaryDirectory(dir=output / _PARTIAL) as folder:
        mask = mask_path(Path(folder), unread.name)
        mask.parent.mkdir()
        with _unusable():
            said = prediction.predict(
                *(model, study, mask),
                choices=choices,
                origin=origin,
                as_nifti=as_nifti,
            )
        files.write_sums(mask.parent)
        _discard(output, unread.name)
        _publish(mask.parent, output / unread.name)
    return Outcome(unread.name, said=said)


def _fits_nifti(mask: Path, study: Study) -> bool:
    """Returns whether a file can hold the mask; what it cannot is measured all the same."""
    try:
        check_grid(mask, study.geometry, study.image.shape)
    except InputError as error:
        _log.warning(
            "%s; no mask or probability is written; report and JSON are", error
        )
        return False
    return True


@contextlib.contextmanager
def _unusable(*kinds: type[Exception]) -> Iterator[None]:
    """Makes of what is wrong with one study no more than that.

    A disk that fails is wrong for all, but for the kinds of errors that are given.
    """
    try:
        yield
    except InputError as error:
        raise _Unusable(str(error)) from error
    except Exception as error:
        trouble = files.disk_trouble(error)
        if trouble is not None and not isinstance(error, kinds):
            raise
        # Others' words may quote what was in a file.
        fault = f"a fault of this program ({type(error).__name__}); report it"
        raise _Unusable(trouble or fault) from error


def _finished(mask: Path, origin: Mapping[str, Any]) -> bool:
    if files.changed(mask.parent) is not None:
        return False
    try:
        return json.loads(json_path(mask).read_bytes())["made_from"] == _plain(origin)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _plain(origin: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(origin))  # tuples are lists there


def _publish(partial: Path, folder: Path) -> None:
    """Moves a study's files to their place, so that they are known as ours throughout.

    By the JSON, which comes first; the sums come last: with them all is there.
    """
    folder.mkdir(exist_ok=True)
    for file in _in_order(partial):
        files.put(file, folder / file.name)


def _discard(output: Path, name: str) -> None:
    """Deletes what was written of a study before; what others put there stays."""
    if not (output / name).is_dir():
        return
    try:
        sums = json.loads((output / name / files.SUMS).read_bytes())
        ours = {*sums, files.SUMS}
    except (OSError, ValueError):  # a run was killed here
        mask = mask_path(output, name)
        ours = {path.name for path in (json_path(mask), *beside_json(mask))}
    for file in reversed(_in_order(output / name)):
        if file.name in ours:
            file.unlink()
    with contextlib.suppress(OSError):  # not empty
        (output / name).rmdir()


def _in_order(folder: Path) -> list[Path]:
    """Returns a study's files, its JSON first and the sums last."""
    mark = {f"{folder.name}.json": -1, files.SUMS: 1}
    return sorted(files.visible(folder.iterdir()), key=lambda f: mark.get(f.name, 0))


def _discard_others(output: Path, names: Sequence[str]) -> None:
    """Deletes studies of an earlier input that had more: no table names them now."""
    for folder in files.visible(output.glob("study_*")):
        if (
            folder.name in names
            or not json_path(mask_path(output, folder.name)).exists()
        ):
            continue
        with contextlib.suppress(InputError):
            check_ours(mask_path(output, folder.name))
            _discard(output, folder.name)
            _log.warning("%s: of an earlier input; deleted", folder.name)


def _told(outcomes: Iterable[Outcome], count: int) -> Iterator[Outcome]:
    """Yields outcomes, with a line of progress and of the time left for each."""
    begun = last = time.monotonic()
    spent_s: list[float] = []  # on each that was answered now
    kept = 0
    for number, one in enumerate(outcomes, 1):
        now = time.monotonic()
        took_s, last = now - last, now
        left = ""
        if one.said is not None:
            spent_s.append(took_s)
        elif one.problem is None:
            kept += 1
        if spent_s and number < count:
            mean_s = sum(spent_s) / len(spent_s)
            left = f"; about {_duration(mean_s * (count - number))} left"
        words = one.said or "is there already"
        if one.problem is not None:
            words = f"cannot be used: {one.problem}"
        of = f"{number} of {count}, {took_s:.1f} s"
        _log.info("%s (%s) %s%s", one.name, of, words, left)
        yield one
    if kept == count:
        _log.info("all %d studies are there already; nothing was done", count)
    elif spent_s:
        a_minute = 60 * (count - kept) / (time.monotonic() - begun)
        _log.info("%.3g studies a minute", a_minute)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _counted(outcomes: Sequence[Outcome]) -> str:
    done = sum(one.said is not None for one in outcomes)
    broken = sum(one.problem is not None for one in outcomes)
    kept = len(outcomes) - done - broken
    things = "study" if len(outcomes) == 1 else "studies"
    said = f"{len(outcomes)} {things}, {done} measured now"
    said += f", {kept} before" if kept else ""
    return said + (f", {broken} cannot be used" if broken else "")


def _made(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Returns what all studies were made with, in words, by name."""
    for report in reports.values():
        origin = report["made_from"]
        versions = (f"{name} {it}" for name, it in origin["versions"].items())
        return {
            "Networks": report["run"],
            "SHA-256 of the networks": origin["model_sha256"][:16],
            "Hash of their data": report["data_hash"][:16],
            "Versions": ", ".join(versions),
        }
    return {}


def _row(output: Path, outcome: Outcome, report: Mapping[str, Any] | None) -> Row:
    """Returns a study's line, of its JSON: it is the same whenever that was written."""
    if report is None:
        return Row(outcome.name, problem=outcome.problem)
    mask = mask_path(output, outcome.name)
    numbers = records.parse(
        Numbers,
        json.dumps({**report["numbers"], "patient": outcome.name}),
        f"{json_path(mask)}: not as this version writes it",
        "delete this folder, and run again",
    )
    return Row(
        outcome.name,
        numbers=numbers,
        page=page_path(mask).relative_to(output).as_posix(),
        slices=report["slices"],
        unseen=report["unseen_members_only"],
        masked=report["mask"] is not None,
        # Its page also says that networks had seen it, or found the myocardium.
        warnings=len(numbers.warnings)
        + (not report["unseen_members_only"])
        + (report["myocardium"] == "found"),
    )


def _table(rows: Sequence[Row]) -> str:
    """Returns the CSV: a line a study; empty is what is not known."""
    lines = []
    for row in rows:
        own: dict[str, Any] = {"study": row.name, "problem": row.problem}
        if row.numbers is not None:
            own |= {"slices": row.slices, "networks_had_not_seen_it": row.unseen}
            own["mask_is_written"] = row.masked
            own |= columns(row.numbers)
            del own["patient"]
        lines.append(own)
    return to_csv(lines)


def write_names(output: Path, unread: Sequence[Unread]) -> None:
    """Writes which study is which file, or, of none, deletes what said it."""
    if not unread:
        (output / NAMES).unlink(missing_ok=True)
        return
    lines = [{"study": one.name, "input": str(one.paths[0])} for one in unread]
    files.write_text(output / NAMES, to_csv(lines))
    _log.info("%s says which study is which file: keep it to yourself", output / NAMES)
