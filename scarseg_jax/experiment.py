"""The paper's experiment in five steps, each of which finds its inputs in a folder.

WORKDIR/config.json keeps the settings, data/ the prepared slices, finder/ who finds the
myocardium where others do, state/ what training can go on from, checkpoint/ the networks,
results/ and baselines/*/results/ the tables.
"""

import dataclasses
import importlib.metadata
import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from scarseg_jax import files, finders, records, settings, starts
from scarseg_jax.asked import answers, decide_when
from scarseg_jax.errors import Diverged, InputError
from scarseg_jax.judge import paired, tables
from scarseg_jax.judge.results import About, Results
from scarseg_jax.judge.summary import Truth, judge
from scarseg_jax.learn import checkpoint, ensemble, targets
from scarseg_jax.learn.fit import Fitted, fit, summary_of
from scarseg_jax.learn.networks import network
from scarseg_jax.prepare import cut, dataset, likeness
from scarseg_jax.prepare.dataset import DataSet
from scarseg_jax.prepare.folds import Fold, check_split, make_folds
from scarseg_jax.prepare.unlike import ranges_of, traits_of
from scarseg_jax.readers.sources import Source, open_source
from scarseg_jax.run import THRESHOLDS, Decision, Member, RunRecord, TrainedMember
from scarseg_jax.segment import classical, opponents, pipeline
from scarseg_jax.segment.look import Networks, View
from scarseg_jax.segment.model import SIMULATED, Model, load_model
from scarseg_jax.segment.opponents import Scores
from scarseg_jax.settings import Folds, Settings
from scarseg_jax.show import text
from scarseg_jax.show.run_report import write_report
from scarseg_jax.shown import shown

MODES = ("all", "prepare", "train", "evaluate", "baselines", "report")
READING = ("all", "prepare")  # those that need the patients' files
SETTINGS = "config.json"  # there once the data are prepared
_PACKAGES = ("scarseg_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint")
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
    others = [_beside(folder) for folder in beside]  # refused before all computing
    settings.check_same(given, workdir / SETTINGS, workdir)
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
        settings.write(given, workdir / SETTINGS)
    if mode in ("all", "train"):
        train_networks(workdir, given)
    if mode in ("all", "evaluate"):
        found = evaluate(workdir, split=given.folds, source=given.data.source)
        sys.stdout.write(text.headline(found.summary) + "\n")
    if mode == "baselines":
        evaluate_baselines(
            workdir,
            split=given.folds,
            source=given.data.source,
        )
    if mode in ("all", "report"):
        page = report(workdir, others)
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
    _split(data.labelled(), split)  # says so now if it cannot be made
    _log.info(
        "%d patients, %d slices, %d with scar; the crop holds the whole myocardium in"
        " %d of %d",
        len(data.studies),
        len(slices.slice),
        slices.scar.any(axis=(1, 2)).sum(),
        slices.contained[slices.labelled].sum(),
        slices.labelled.sum(),
    )


def train_networks(workdir: Path, given: Settings) -> None:
    """Trains every fold and seed, and keeps the networks and when each calls scar.

    Raises:
      InputError: If nothing is prepared.
      Diverged: If networks have, once the others are kept.
      Stopped: After a signal, with the state saved.
    """
    data = dataset.load(workdir / "data").labelled()
    if (workdir / "checkpoint").is_dir():
        _, record = checkpoint.load(workdir / "checkpoint", RunRecord)
        _check_data(workdir, record, data)
        _log.info("training has finished before")
        _check_sound(workdir, record)
        return
    folds = _split(data, given.folds)
    members = [
        Member(fold, seed)
        for fold in _numbers(folds, given.folds)
        for seed in given.folds.seeds
    ]
    classes = given.model.classes
    view = _view(given)
    finder, data_hash = None, f"{data.data_hash} {targets.KIND}"
    if given.finder:
        splits = {
            number: (set(_patients(data, f.validation)), set(_patients(data, f.test)))
            for number, f in enumerate(folds)
        }
        finder = finders.kept(workdir, Path(given.finder), splits, data.studies)
        data_hash += finder.sha256  # what is found is trained with
    start, start_hash = None, ""
    if given.start:
        start, start_hash = starts.read(
            _start_of(given), data.studies, view=view, variant=given.model.variant
        )
        data_hash += start_hash
    model = network(
        given.model.variant, targets.count(classes), slices=2 * view.neighbours + 1
    )
    images, own_folds = shown(data, folds, view, finder)
    fitted = fit(
        workdir / "state",
        model,
        given.train,
        data=images,
        folds=own_folds,
        members=members,
        data_hash=data_hash,
        scar_classes=targets.scar_classes(classes),
        start=start,
    )
    _log.info("choosing from which probability each network calls scar")
    ask = ensemble.make_predictor(model, fitted.variables, symmetries=given.symmetries)
    decided = decide_when(
        Networks(ask, len(fitted.members), view, finder and finder.networks),
        *(data, folds, fitted.members),
        whom=finders.of_each(finder, fitted.members),
        threshold=given.threshold,
        selection=given.train.selection,
    )
    held_out = [_patients(data, folds[member.fold].test) for member in fitted.members]
    trained = map(
        TrainedMember,
        *(fitted.members, fitted.best_epoch, fitted.best_dice),
        *([decision for decision, _ in decided], held_out),
        [trials for _, trials in decided],
    )
    record = _record(given, data, fitted, tuple(trained), finder, start_hash)
    _log.info("saving the networks")
    checkpoint.save(workdir / "checkpoint", fitted.variables, record)
    _check_sound(workdir, record)


def _start_of(given: Settings) -> Path:
    return SIMULATED if given.start == settings.SIMULATED else Path(given.start)


def _view(given: Settings) -> View:
    return View(
        protocol=given.protocol,
        context=given.context,
        neighbours=given.neighbours,
        around=given.crop,
        classes=given.model.classes,
    )


def _record(
    given: Settings,
    data: DataSet,
    fitted: Fitted,
    trained: tuple[TrainedMember, ...],
    finder: Model | None,
    start: str,
) -> RunRecord:
    """Returns what a checkpoint says of the run that made it."""
    return RunRecord(
        protocol=given.protocol,
        variant=given.model.variant,
        classes=given.model.classes,
        symmetries=given.symmetries,
        source=given.data.source,
        selection=given.train.selection,
        preparation=cut.PREPARATION,
        data_hash=data.data_hash,
        fingerprints={s.patient: likeness.fingerprint(s.image) for s in data.studies},
        members=trained,
        diverged=fitted.diverged,
        history=fitted.history,
        settings=json.loads(records.to_json(given)),
        versions={name: importlib.metadata.version(name) for name in _PACKAGES},
        machines=fitted.machines,
        training_seconds=round(fitted.seconds, 1),
        context=given.context,
        neighbours=given.neighbours,
        crop=given.crop,
        finder="" if finder is None else finder.sha256,
        start=start,
        typical=ranges_of(
            [
                traits_of(study, data.slices.take(data.slices.patient == study.patient))
                for study in data.studies
            ]
        ),
    )


def evaluate(workdir: Path, *, split: Folds, source: str) -> Results:
    """Judges each network on the patients its fold held out; writes the results.

    Raises:
      InputError: If the networks were trained on other data or another split.
      Diverged: If networks have: nobody could judge their patients.
    """
    data = dataset.load(workdir / "data").labelled()
    model = load_model(workdir / "checkpoint")
    record = model.run
    _check_data(workdir, record, data)
    _check_sound(workdir, record)
    folds = _split(data, split)
    tests = [folds[trained.member.fold].test for trained in record.members]
    for trained, test in zip(record.members, tests, strict=True):
        if _patients(data, test) != trained.test_patients:
            raise InputError(
                f"{model.path}: fold {trained.member.fold} held out other patients than"
                " this version's split; evaluate with the version it names"
            )
    _log.info("asking %d networks about their test patients", len(tests))
    whom = finders.of_each(model.finder, [trained.member for trained in record.members])
    said = answers(data, model, tests, split.seeds, whom)
    _log.info("judging what they call scar")
    judged = _judged(folds, split)
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
    if (workdir / SETTINGS).exists() or (workdir / "checkpoint").exists():
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
        answers(data, together, [everyone], (0,), [everyone_finds], new=True),
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
    folds = _split(data, split)
    numbers = _numbers(folds, split)
    judged = _judged(folds, split)
    truth = Truth(data.slices, data.studies, data.readers).take(judged)
    for name, scores, levels, published in _opponents(data, folds, split.seed):
        chosen = opponents.choose(scores, data, folds, levels)
        tried = opponents.tried(  # in the folds that the networks try, too
            [scores[fold] for fold in numbers],
            data,
            [folds[fold] for fold in numbers],
            [chosen[fold] for fold in numbers],
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
                    decisions=tuple(decisions),
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


def _beside(folder: Path) -> paired.Run:
    """Returns another run, by its folder's name too: its own may be this one's."""
    results = tables.read(folder)
    about = results.summary.about
    about = dataclasses.replace(about, name=f"{about.name} ({folder.name})")
    summary = dataclasses.replace(results.summary, about=about)
    return paired.Run(folder, dataclasses.replace(results, summary=summary))


def _split(data: DataSet, split: Folds) -> tuple[Fold, ...]:
    folds = make_folds(
        data.slices.patient,
        np.any(data.slices.scar, axis=(1, 2)),
        k=split.k,
        validation=split.validation,
        seed=split.seed,
    )
    if max(split.only, default=0) >= len(folds):
        raise InputError(
            f"folds.only is {split.only}; expected numbers of folds, 0 to"
            f" {len(folds) - 1}"
        )
    return folds


def _numbers(folds: Sequence[Fold], split: Folds) -> Sequence[int]:
    """Returns the numbers of the folds that are trained and judged."""
    return split.only or range(len(folds))


def _judged(folds: Sequence[Fold], split: Folds) -> np.ndarray:
    """Returns the slices that are judged: of the patients whom these folds hold out."""
    tests = [folds[number].test for number in _numbers(folds, split)]
    return np.sort(np.concatenate(tests))


def _patients(data: DataSet, indices: np.ndarray) -> tuple[str, ...]:
    return tuple(np.unique(data.slices.patient[indices]).tolist())


def _check_data(workdir: Path, record: RunRecord, data: DataSet) -> None:
    if record.data_hash != data.data_hash:
        raise InputError(
            f"{workdir / 'checkpoint'} was trained on other data than are prepared now;"
            " choose another --workdir"
        )


def _check_sound(workdir: Path, record: RunRecord) -> None:
    if record.diverged:
        raise Diverged(
            f"{summary_of(record.diverged)}; the other {len(record.members)} networks are"
            f" in {workdir / 'checkpoint'}, but a run is judged whole or not at all:"
            " train in a new --workdir with a lower train.learning_rate"
        )
