"""Training of every fold and seed, and what is kept of it.

WORKDIR/finder/ keeps who finds the myocardium where others do, state/ what training can go
on from, checkpoint/ the networks and their record.
"""

import importlib.metadata
import json
import logging
from pathlib import Path

from scarseg_jax import finders, records, settings, starts
from scarseg_jax.asked import decide_when
from scarseg_jax.errors import Diverged, InputError
from scarseg_jax.learn import checkpoint, ensemble, targets
from scarseg_jax.learn.fit import Fitted, fit, summary_of
from scarseg_jax.learn.networks import network
from scarseg_jax.prepare import cut, dataset, likeness
from scarseg_jax.prepare.dataset import DataSet
from scarseg_jax.prepare.unlike import ranges_of, traits_of
from scarseg_jax.run import Member, RunRecord, TrainedMember
from scarseg_jax.segment.look import Networks, View
from scarseg_jax.segment.model import SIMULATED, Model
from scarseg_jax.settings import Settings
from scarseg_jax.shown import shown
from scarseg_jax.split import chosen_folds, make_split, patients_of

_PACKAGES = ("scarseg_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint")
_log = logging.getLogger(__name__)


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
        check_data(workdir, record, data)
        _log.info("training has finished before")
        check_sound(workdir, record)
        return
    folds = make_split(data, given.folds)
    chosen = chosen_folds(folds, given.folds)
    members = [Member(fold, seed) for fold in chosen for seed in given.folds.seeds]
    classes = given.model.classes
    view = _view(given)
    finder, data_hash = None, f"{data.data_hash} {targets.KIND}"
    if given.finder:
        splits = {
            number: (
                set(patients_of(data, folds[number].validation)),
                set(patients_of(data, folds[number].test)),
            )
            for number in chosen
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
    images, own_folds = shown(data, folds, view, finder, chosen)
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
    held_out = [patients_of(data, folds[member.fold].test) for member in fitted.members]
    trained = map(
        TrainedMember,
        *(fitted.members, fitted.best_epoch, fitted.best_dice),
        *([decision for decision, _ in decided], held_out),
        [trials for _, trials in decided],
    )
    record = _record(given, data, fitted, tuple(trained), finder, start_hash)
    _log.info("saving the networks")
    checkpoint.save(workdir / "checkpoint", fitted.variables, record)
    check_sound(workdir, record)


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


def check_data(workdir: Path, record: RunRecord, data: DataSet) -> None:
    """Refuses networks that were trained on other data than are prepared."""
    if record.data_hash != data.data_hash:
        raise InputError(
            f"{workdir / 'checkpoint'} was trained on other data than are prepared now;"
            " choose another --workdir"
        )


def check_sound(workdir: Path, record: RunRecord) -> None:
    """Raises `Diverged` if some of a run's networks have."""
    if record.diverged:
        raise Diverged(
            f"{summary_of(record.diverged)}; the other {len(record.members)} networks are"
            f" in {workdir / 'checkpoint'}, but a run is judged whole or not at all:"
            " train in a new --workdir with a lower train.learning_rate"
        )
