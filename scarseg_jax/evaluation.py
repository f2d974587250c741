"""Judgement of networks and of other methods, to tables and the report of them.

WORKDIR/results/ and WORKDIR/baselines/*/results/ keep the tables.
"""

import dataclasses
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from scarseg_jax import files, finders
from scarseg_jax.asked import answers
from scarseg_jax.errors import InputError
from scarseg_jax.judge import paired, tables
from scarseg_jax.judge.answers import Truth
from scarseg_jax.judge.results import About, Results
from scarseg_jax.judge.summary import judge
from scarseg_jax.prepare import dataset, likeness
from scarseg_jax.prepare.dataset import DataSet
from scarseg_jax.prepare.folds import Fold
from scarseg_jax.readers.sources import Source
from scarseg_jax.run import THRESHOLDS, Decision, Member, RunRecord
from scarseg_jax.segment import classical, opponents, pipeline
from scarseg_jax.segment.model import Model, load_model
from scarseg_jax.segment.opponents import Scores
from scarseg_jax.settings import KEPT, Folds
from scarseg_jax.show import text
from scarseg_jax.show.run_report import write_report
from scarseg_jax.split import chosen_folds, judged_slices, make_split, patients_of
from scarseg_jax.training import check_data, check_sound

_log = logging.getLogger(__name__)


def evaluate(workdir: Path, *, split: Folds, source: str) -> Results:
    """Judges each network on the patients its fold held out; writes the results.

    Raises:
      InputError: If the networks were trained on other data or another split.
      Diverged: If networks have: nobody could judge their patients.
    """
    data = dataset.load(workdir / "data").labelled()
    model = load_model(workdir / "checkpoint")
    record = model.run
    check_data(workdir, record, data)
    check_sound(workdir, record)
    folds = make_split(data, split)
    tests = [folds[trained.member.fold].test for trained in record.members]
    for trained, test in zip(record.members, tests, strict=True):
        if patients_of(data, test) != trained.test_patients:
            raise InputError(
                f"{model.path}: fold {trained.member.fold} held out other patients than"
                " this version's split; evaluate with the version it names"
            )
    _log.info("asking %d networks about their test patients", len(tests))
    whom = finders.of_each(model.finder, [trained.member for trained in record.members])
    said = answers(data, model, tests, split.seeds, whom)
    _log.info("judging what they call scar")
    judged = judged_slices(folds, split)
    found = judge(
        Truth(data.slices, data.studies, data.readers).take(judged),
        said.take(judged),
        About(
            name=record.name,
            protocol=record.judged_as,
            source=source,
            selection=record.selection,
            decided_on=_decided_on(record),
            decisions=tuple(trained.decision for trained in record.members),
            run=record,
        ),
        record.history,
    )
    tables.write(workdir / "results", found)
    return found


def evaluate_new(
    workdir: Path,
    model: Model,
    source: Source,
    *,
    name: str,
    threshold: float | None,
    force: bool,
) -> Results:
    """Judges networks together, as `predict` asks them, on patients new to all of them.

    Args:
      workdir: A folder of its own; it gets the data, the results and the report.
      model: The networks.
      source: The patients.
      name: Of the source.
      threshold: As in `pipeline.find_scar`.
      force: Whether an implausible myocardium is taken.

    Raises:
      InputError: If the folder is a run's, the threshold is no probability, or a
        patient cannot be used, is not contoured, or is the run's.
    """
    if (workdir / KEPT).exists() or (workdir / "checkpoint").exists():
        raise InputError(
            f"{workdir} holds a run; choose a folder of its own for another judgement"
        )
    run = model.run
    decision = pipeline.decision_of(model.members, threshold)
    if threshold is not None:
        run = dataclasses.replace(
            run, settings={**run.settings, "threshold": threshold}
        )
    data = dataset.prepare(
        *(workdir / "data", source),
        protocol=run.protocol,
        context=run.context,
        neighbours=run.neighbours,
        method=run.crop,
        myocardium_needed=run.judged_as == 2,
        force=force,
    )
    if without := [study.patient for study in data.studies if study.scar is None]:
        raise InputError(
            f"no scar was drawn of {', '.join(without)}; expected patients with contours"
            " alone, as all that are given are judged"
        )
    fingerprints = [run.fingerprints]
    everyone_finds: tuple[int, ...] = ()
    if model.finder is not None:
        fingerprints.append(model.finder.run.fingerprints)
        everyone_finds = tuple(range(len(model.finder.members)))
    if known := [
        study.patient
        for study in data.studies
        if any(likeness.find_copy(study.image, prints) for prints in fingerprints)
    ]:
        raise InputError(
            f"{', '.join(known)}: of the run that trained the networks, which would be"
            " judged by what they know; expected new patients alone"
        )

    def ask(images: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        each = model.ask(images, np.repeat(wanted, len(model.members), axis=0))
        return each.mean(axis=0, keepdims=True)

    everyone = np.arange(len(data.slices.slice))
    one = dataclasses.replace(model.members[0], member=Member(0, 0), decision=decision)
    together = dataclasses.replace(model, members=(one,), ask=ask, run=run)
    told = dataclasses.replace(  # without the names of the patients who trained them
        run,
        members=tuple(
            dataclasses.replace(m, test_patients=(), trials=()) for m in model.members
        ),
        fingerprints={},
        history=(),
        settings={**run.settings, "data": {}, "finder": "", "start": ""},
    )
    _log.info("asking %d networks about new patients", len(model.members))
    found = judge(
        Truth(data.slices, data.studies, data.readers),
        answers(
            *(data, together, [everyone], (0,), [everyone_finds]),
            new=True,
            as_tried=threshold is None,
        ),
        About(
            name=f"{run.name}, new patients",
            protocol=run.judged_as,
            source=name,
            selection=run.selection,
            decided_on=_decided_on(run),
            decisions=(decision,),
            run=told,
        ),
    )
    tables.write(workdir / "results", found)
    return found


def _decided_on(record: RunRecord) -> str:
    if not record.chose:
        return "none"
    return "test" if record.selection == "oracle" else "validation"


def evaluate_baselines(workdir: Path, *, split: Folds, source: str) -> None:
    """Judges other methods on the same slices; a folder each.

    Each with its decisions chosen on the folds' validation patients, and, if it has no
    training, as published.

    Raises:
      InputError: If a patient has no contoured myocardium.
    """
    data = dataset.load(workdir / "data").labelled()
    if without := [s.patient for s in data.studies if s.myocardium is None]:
        raise InputError(
            f"{len(without)} patients, such as {without[0]}, have no contoured"
            " myocardium, inside which the baselines look; add the masks or choose"
            " data.patients"
        )
    folds = make_split(data, split)
    own = chosen_folds(folds, split)
    judged = judged_slices(folds, split)
    truth = Truth(data.slices, data.studies, data.readers).take(judged)
    for name, scores, levels, published in _opponents(data, folds, split.seed):
        chosen = opponents.choose(scores, data, folds, levels)
        tried = opponents.tried(  # in the folds that the networks try, too
            [scores[fold] for fold in own],
            data,
            [folds[fold] for fold in own],
            [chosen[fold] for fold in own],
        )
        ways = {name: (chosen, "validation", tried)}
        for known, level in published.items():
            ways[known] = [Decision(level)] * len(folds), "none", []
        for way, (decisions, decided_on, trials) in ways.items():
            found = judge(
                truth,
                opponents.answers(scores, data, folds, decisions, trials).take(judged),
                About(
                    name=way,
                    protocol=2,
                    source=source,
                    selection="none",
                    decided_on=decided_on,
                    decisions=tuple(decisions[fold] for fold in own),
                ),
            )
            folder = workdir / "baselines" / way.replace(" ", "_")
            tables.write(folder / "results", found)
            sys.stdout.write(text.one_line(found.summary) + "\n")


def _opponents(
    data: DataSet, folds: Sequence[Fold], seed: int
) -> Iterator[tuple[str, list[Scores], Sequence[float], Mapping[str, float]]]:
    """Gives each method's name, each fold's scores, and the levels of `Method`."""
    for name, method in classical.METHODS.items():
        _log.info("finding scar by %s", name)
        scores = [opponents.score(method.score, data)] * len(folds)
        yield name, scores, method.levels, method.published
    name = "superpixels by auto-encoder"
    _log.info("learning %s", name)
    yield name, opponents.learn_superpixels(data, folds, seed=seed), THRESHOLDS, {}


def report(workdir: Path, beside: Sequence[paired.Run] = ()) -> Path:
    """Writes the page of a run, its baselines and other runs beside it; returns where.

    Raises:
      InputError: If a result is missing or damaged.
    """
    first = paired.Run(workdir, tables.read(workdir))
    folders = [
        folder
        for folder in files.visible(workdir.glob("baselines/*"))
        if (folder / "results" / "summary.json").is_file()
    ]
    others = [paired.Run(folder, tables.read(folder)) for folder in folders]
    others += beside
    _log.info("drawing the report")
    page = workdir / "report.html"
    write_report(page, first, others, paired.compare(first, others))
    return page


def read_beside(folder: Path) -> paired.Run:
    """Returns another run, by its folder's name too: its own may be this one's."""
    results = tables.read(folder)
    about = results.summary.about
    about = dataclasses.replace(about, name=f"{about.name} ({folder.name})")
    summary = dataclasses.replace(results.summary, about=about)
    return paired.Run(folder, dataclasses.replace(results, summary=summary))
