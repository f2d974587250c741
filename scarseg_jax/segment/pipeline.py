"""The one way out: what networks say of the crops becomes scar on the image's grid.

What a run is judged on and what `predict` writes are both made by `look.look`, then
`on_native_grid` and `decide.call_scar`.
"""

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.learn import targets
from scarseg_jax.prepare import likeness, plausible
from scarseg_jax.prepare.plausible import check_masks
from scarseg_jax.prepare.unlike import not_late, traits_of, unlike
from scarseg_jax.run import (
    Decision,
    Review,
    RunRecord,
    Segmentation,
    TrainedMember,
    Trial,
)
from scarseg_jax.segment import decide
from scarseg_jax.segment.confidence import expected_dice
from scarseg_jax.segment.interval import interval_ml
from scarseg_jax.segment.look import (
    Question,
    Said,
    View,
    look,
    on_grid,
    ventricle_on_grid,
)
from scarseg_jax.segment.model import Model
from scarseg_jax.segment.ventricle import Ventricle, with_scar
from scarseg_jax.study import Study

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
    """What networks say of a study, on its own grid.

    Attributes:
      scar: (Z, Y, X) float32 probability.
      ventricle: The one that was found, where one was looked for.
      no_reflow: As scar, of which it is a part; None where it is not told apart.
      disagreement: (Z, Y, X) float32 standard deviation of the networks' probabilities of
        scar, where several were asked.
    """

    scar: np.ndarray
    ventricle: Ventricle | None
    no_reflow: np.ndarray | None = None
    disagreement: np.ndarray | None = None


def find_scar(
    model: Model, study: Study, *, threshold: float | None = None, force: bool = False
) -> Segmentation:
    """Returns a study with the scar that the networks find in it together.

    Of a patient of the run, only the networks that had not seen it are asked, if there
    are any. Where the myocardium is given, a model's `drawn` is asked, if it has one.

    Args:
      model: From `load_model`.
      study: With its myocardium, if the run is Protocol 2 and nobody finds it for its
        networks. Where there is one, nothing outside it is called scar in the others
        either, and no other is looked for.
      threshold: Probability from which a pixel is scar, of any area; None takes the
        mean of what the networks were trained to take.
      force: Whether an implausible myocardium is taken, given or found.

    Raises:
      InputError: If there is no myocardium though the run needs one, it is implausible,
        given or found, or the threshold is no probability.
    """
    if study.myocardium is not None and model.drawn is not None:
        model = model.drawn
    decision_of(model.members, threshold)  # refuses it before all computing
    protocol = model.run.protocol
    if protocol == 2 and study.myocardium is None and model.finder is None:
        raise InputError(
            "--myocardium is missing; this run is Protocol 2, which looks inside the"
            " myocardium: give its mask, or use a run that finds it"
        )
    plausible.check_image(study)
    check_masks(study, force=force)
    patient, asked = _asked(model, study)
    members = tuple(model.members[i] for i in asked)
    networks = model.networks
    question = Question(study, asked, finders=_finders(model, study))
    if study.myocardium is not None:  # then there is no need to find it
        slices = networks.view.cut_as_drawn(study)
        question = dataclasses.replace(question, slices=slices)
    (said,) = look(networks, [question])
    answer = on_native_grid(said, study, networks.view, inside=study.myocardium)
    found = answer.ventricle
    if found:
        _check_found(study, found, force=force)
    decision = decision_of(members, threshold)
    given = study.myocardium is not None
    needed = protocol == 2 and model.finder is None
    # Else nobody knows what they call in healthy patients, nor how far off they are.
    as_tried = threshold is None and (given if needed else not given)
    if as_tried:
        decision = for_patient(decision, model.run, patient)
    scar, no_reflow = call_scar(answer.scar, study, decision), study.no_reflow
    if no_reflow is None and answer.no_reflow is not None:
        # Wherever they say any scar: what of it is called, a reader may yet change.
        no_reflow = (answer.scar > 0) & (answer.no_reflow > answer.scar / 2)
    between_ml = None
    if as_tried:
        said_ml = study.geometry.volume_ml(scar)
        between_ml = interval_ml(
            said_ml, model.run.trials, min_ml=decision.min_ml, but=patient
        )
    return Segmentation(
        study=study,
        probability=answer.scar,
        scar=scar,
        decision=decision,
        members=members,
        run=model.run,
        myocardium=found.myocardium if found else study.myocardium,
        cavity=found.cavity if found else study.cavity,
        no_reflow=no_reflow,
        patient=patient,
        left_out=tuple(m for m in model.members if m not in members),
        between_ml=between_ml,
        unlike=(
            *not_late(study),
            *unlike(traits_of(study, said.slices), model.run.typical),
        ),
        dismissed_ml=dismissed_ml(answer.scar, study, decision),
        disagreement=answer.disagreement,
        sure_of_wall=found.sure if found else None,
        sure_of_scar=expected_dice(scar, answer.scar) if threshold is None else None,
    )


def as_drawn(found: Segmentation) -> Segmentation:
    """Returns a segmentation with the scar that was drawn in its study for the answer.

    It is a person's then, as if what the networks call had been corrected.

    Raises:
      InputError: If none was drawn.
    """
    study, drawn = found.study, found.study.scar
    if drawn is None:
        raise InputError(
            f"--drawn: no scar is drawn of {plausible.named(study)}; expected --contours"
            " or --source with scar, or no --drawn, to take what the networks call"
        )
    return dataclasses.replace(
        found,
        scar=drawn,
        between_ml=None,
        sure_of_scar=None,
        dismissed_ml=0.0,
        review=review(found, found.scar, drawn),
    )


def review(found: Segmentation, called: np.ndarray, scar: np.ndarray) -> Review:
    """Returns what a person has made of an answer.

    Args:
      found: The networks' answer.
      called: (Z, Y, X) bool, what was called scar before a hand was laid on it.
      scar: (Z, Y, X) bool, what is scar now.
    """
    volume_ml = found.study.geometry.volume_ml
    slices = np.flatnonzero((called ^ scar).any(axis=(1, 2)))
    return Review(
        asked=found.decision,
        added_ml=volume_ml(scar & ~called),
        erased_ml=volume_ml(called & ~scar),
        slices=tuple(slices.tolist()),
    )


def decision_of(
    members: Sequence[TrainedMember], threshold: float | None = None
) -> Decision:
    """Returns when networks call scar together.

    Args:
      members: The networks.
      threshold: As in `find_scar`.

    Raises:
      InputError: If it is no probability.
    """
    if threshold is None:
        return decide.mean([member.decision for member in members])
    if not 0 < threshold < 1:
        raise InputError(f"--threshold={threshold}; expected between 0 and 1")
    return Decision(threshold)


def for_patient(decision: Decision, run: RunRecord, patient: str | None) -> Decision:
    """Returns a decision with the least volume, which others of the run tell.

    Args:
      decision: Of its networks.
      run: The run.
      patient: Whose of the run the study is; None: nobody's.
    """
    if not run.chose:
        return decision
    least = decide.least_ml(run.trials, but=patient)
    return dataclasses.replace(decision, min_ml=least)


def _check_found(study: Study, found: Ventricle, *, force: bool) -> None:
    """Refuses a ventricle that cannot be one, rather than measure it."""
    for odd in plausible.oddities(study, found.myocardium):
        said = f"{plausible.named(study)}: the networks found no left ventricle: {odd}"
        if not force:
            raise InputError(
                f"{said}; is this a short-axis LGE stack? If so, draw the myocardium and"
                " give it (--myocardium), or take this answer with --force"
            )
        _log.warning("%s", said)


def _asked(model: Model, study: Study) -> tuple[str | None, tuple[int, ...]]:
    """Returns whose of the run a study's image is, and the networks fit to answer."""
    everyone = tuple(range(len(model.members)))
    copy = likeness.find_copy(study.image, model.run.fingerprints)
    if copy is None:
        return None, everyone
    patient, alike = copy
    unseen = _unseen(model, patient)
    # Not whose it is: the log may be shown to anybody.
    whose = f"the image is that of a patient of the run (correlation {alike:.3f})"
    if not unseen:
        _log.warning(
            "%s, and all %d networks were trained or chosen with it: the answer says"
            " nothing about how they do on others",
            whose,
            len(everyone),
        )
        return patient, everyone
    _log.info(
        "%s; only the %d of %d networks that had not seen it are asked",
        whose,
        len(unseen),
        len(everyone),
    )
    return patient, unseen


def _finders(model: Model, study: Study) -> tuple[int, ...]:
    """Returns who of those that find the myocardium had not seen a study, or all.

    By their own run's names and fingerprints: two runs may call a patient differently.
    """
    if model.finder is None:
        return ()
    everyone = tuple(range(len(model.finder.members)))
    copy = likeness.find_copy(study.image, model.finder.run.fingerprints)
    return everyone if copy is None else _unseen(model.finder, copy[0]) or everyone


def _unseen(model: Model, patient: str) -> tuple[int, ...]:
    """Returns who of a model's networks had not seen a patient of their run."""
    each = enumerate(model.members)
    return tuple(i for i, trained in each if not model.run.saw(trained, patient))


def on_native_grid(
    said: Said, study: Study, view: View, *, inside: np.ndarray | None = None
) -> Answer:
    """Returns what networks say of a study's crops, on its own grid.

    Scar has no probability outside the crops, and none outside `inside`; where that is
    not given, none outside the myocardium that was found.

    Args:
      said: By networks that look so.
      study: Of it.
      view: What the networks see and tell apart.
      inside: (Z, Y, X) bool; None: the ventricle is found, or, where nobody looks for it,
        everywhere.
    """
    own, slices = said.probability, said.slices
    scar = on_grid(targets.scar_probability(own, view.classes), slices, study)
    ventricle = None
    if inside is None:
        if said.found is not None:
            ventricle = with_scar(said.found, scar, study.spacing_mm[1:])
        elif view.protocol == 3:
            ventricle = ventricle_on_grid(own, slices, study, view.classes)
        inside = None if ventricle is None else ventricle.myocardium
    dark = targets.no_reflow_probability(own, view.classes)
    apart = None
    if len(said.each) > 1:
        apart = targets.scar_probability(said.each, view.classes).std(axis=0)
        apart = on_grid(apart, slices, study)
    return Answer(
        scar if inside is None else scar * inside,
        ventricle,
        None if dark is None else on_grid(dark, slices, study),
        apart if apart is None or inside is None else apart * inside,
    )


def call_scar(probability: np.ndarray, study: Study, decision: Decision) -> np.ndarray:
    """Returns the (Z, Y, X) bool scar of probabilities on a study's own grid."""
    pixel_mm2 = np.full(len(probability), study.geometry.pixel_mm2)
    called = decide.call_scar(probability, pixel_mm2, decision)
    if study.geometry.volume_ml(called) <= decision.min_ml:
        called[:] = False
    return called


def tried(probability: np.ndarray, study: Study, decision: Decision) -> Trial:
    """Returns what is called scar in a drawn study, beside what was drawn."""
    called = call_scar(probability, study, decision)
    true_ml, said_ml = map(study.geometry.volume_ml, (np.asarray(study.scar), called))
    return Trial(study.patient, round(true_ml, 3), round(said_ml, 3))


def dismissed_ml(probability: np.ndarray, study: Study, decision: Decision) -> float:
    """Returns the volume of what is not called because it is too little, mostly 0."""
    if not decision.min_ml:
        return 0.0
    anyhow = call_scar(probability, study, dataclasses.replace(decision, min_ml=0.0))
    volume_ml = study.geometry.volume_ml(anyhow)
    return volume_ml if volume_ml <= decision.min_ml else 0.0
