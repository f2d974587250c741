"""The paper's experiment in five steps, each of which finds its inputs in a folder.

WORKDIR/config.json keeps the settings, data/ the prepared slices; `training` and
`evaluation` say what they keep there.
"""

import dataclasses
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from scarseg_jax import evaluation, settings, training
from scarseg_jax.errors import InputError
from scarseg_jax.prepare import dataset
from scarseg_jax.prepare.folds import check_split
from scarseg_jax.readers.sources import Source, open_source
from scarseg_jax.settings import KEPT, Folds, Settings
from scarseg_jax.show import text
from scarseg_jax.split import make_split

MODES = ("all", "prepare", "train", "evaluate", "baselines", "report")
READING = ("all", "prepare")  # those that need the patients' files
_log = logging.getLogger(__name__)


def open_data(given: Settings) -> Source:
    """Returns the source of the patients, after a check that they can be split.

    Raises:
      InputError: If they cannot, or there is no such source or patient.
    """
    data = dataclasses.asdict(given.data)
    for name in ("consensus", "force"):  # of preparing, whatever was read from where
        del data[name]
    source = open_source(**data)
    for name in source.patients:
        if not name.isprintable():
            raise InputError(
                f"{given.data.path}: the patient {name!a} has a name that is not UTF-8 or"
                " cannot be shown; rename the files"
            )
    check_split(source.patients, k=given.folds.k, validation=given.folds.validation)
    return source


def run(
    workdir: Path,
    given: Settings,
    source: Source | None,
    mode: str,
    beside: Sequence[Path] = (),
) -> None:
    """Runs one part of the job, or all of it, in a folder that is this run's alone.

    Args:
      workdir: The folder.
      given: The settings.
      source: The patients; not needed but for what is `READING`.
      mode: The part.
      beside: Folders of other runs, for the report.

    Raises:
      InputError: If the folder holds another run or the data cannot be used.
      Diverged: If networks have; the others are kept.
      Stopped: After a signal, with the state saved.
    """
    begun = time.monotonic()
    others = [
        evaluation.read_beside(folder) for folder in beside
    ]  # refused before all computing
    settings.check_same(given, workdir / KEPT, workdir)
    if source is not None and mode in READING:
        prepare(
            workdir,
            source,
            protocol=given.protocol,
            context=given.context,
            neighbours=given.neighbours,
            method=given.crop,
            consensus=given.data.consensus,
            force=given.data.force,
            split=given.folds,
        )
        settings.write(given, workdir / KEPT)
    if mode in ("all", "train"):
        training.train_networks(workdir, given)
    if mode in ("all", "evaluate"):
        found = evaluation.evaluate(
            workdir, split=given.folds, source=given.data.source
        )
        sys.stdout.write(text.headline(found.summary) + "\n")
    if mode == "baselines":
        evaluation.evaluate_baselines(
            workdir,
            split=given.folds,
            source=given.data.source,
        )
    if mode in ("all", "report"):
        page = evaluation.report(workdir, others)
        sys.stdout.write(f"report: {page}\n")
    _log.info("done in %.0f s", time.monotonic() - begun)


def prepare(
    workdir: Path,
    source: Source,
    *,
    protocol: int,
    context: bool,
    neighbours: int,
    method: str,
    consensus: str,
    force: bool,
    split: Folds,
) -> None:
    """Makes the data set of the source's patients.

    Raises:
      InputError: If a study cannot be used, or the patients cannot be split.
    """

    def progress(done: int, of: int) -> None:
        if done == of or done % 10 == 0:
            _log.info("prepared %d of %d patients", done, of)

    _log.info("reading %d patients", len(source.patients))
    data = dataset.prepare(
        workdir / "data",
        source,
        protocol=protocol,
        context=context,
        neighbours=neighbours,
        method=method,
        consensus=consensus,
        force=force,
        progress=progress,
    )
    slices = data.slices
    if without := [study.patient for study in data.studies if study.scar is None]:
        _log.info(
            "no scar was drawn of %d patients, who do not train and are not tested: %s",
            len(without),
            ", ".join(without),
        )
    make_split(data.labelled(), split)  # says so now if it cannot be made
    _log.info(
        "%d patients, %d slices, %d with scar; the crop holds the whole myocardium in"
        " %d of %d",
        len(data.studies),
        len(slices.slice),
        slices.scar.any(axis=(1, 2)).sum(),
        slices.contained[slices.labelled].sum(),
        slices.labelled.sum(),
    )
