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
from scarseg_jax.prepare.unlike import traits_of, unlike
from scarseg_jax.run import Decision, RunRecord, Segmentation, TrainedMember
from scarseg_jax.segment import decide
from scarseg_jax.segment.interval import interval_ml
from scarseg_jax.segment.look import Question, View, look, on_grid, ventricle_on_grid
from scarseg_jax.segment.model import Model
from scarseg_jax.segment.ventricle import Ventricle
from scarseg_jax.study import Slices, Study

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
    """What networks say of a study, on its own grid.

    Attributes:
      scar: (Z, Y, X) float32 probability.
      ventricle: The one they found, where Protocol 3 looked for it.
      no_reflow: As scar, of which it is a part; None where it is not told apart.
    """

    scar: np.ndarray
    ventricle: Ventricle | None
    no_reflow: np.ndarray | None = None


def find_scar(
    model: Model, study: Study, *, threshold: float | None = None, force: bool = False
) -> Segmentation:
    """Returns a study with the scar that the networks find in it together.

    Of a patient of the run, only the networks that had not seen it are asked, if there
    are any.

    Args:
      model: From `load_model`.
      study: With its myocardium, if the run is Protocol 2. Where there is one, nothing
        outside it is called scar in the others either, and Protocol 3 finds no other.
      threshold: Probability from which a pixel is scar, of any area; None takes the
        mean of what the networks were trained to take.
      force: Whether an implausible myocardium is taken, given or found.

    Raises:
      InputError: If there is no myocardium though the run needs one, it is implausible,
        given or found, or the threshold is no probability.
    """
    decision_of(model.members, threshold)  # refuses it before all computing
    protocol = model.run.protocol
    if protocol == 2 and study.myocardium is None:
        raise InputError(
            "--myocardium is missing; this run is Protocol 2, which looks inside the"
            " myocardium: give its mask, or use a run of Protocol 3, which finds it"
        )
    plausible.check_image(study)
    check_masks(study, force=force)
    patient, asked = _asked(model, study)
    members = tuple(model.members[i] for i in asked)
    view = view_of(model.run)
    given = study.myocardium is not None  # then there is no need to find it
    slices = view.cut_as_drawn(study) if given else None
    question = Question(study, tuple(asked), slices)
    (said,) = look(model.ask, len(model.members), [question], view)
    answer = on_native_grid(
        *(said.probability, said.slices, study),
        protocol=protocol,
        classes=model.run.classes,
        inside=study.myocardium,
    )
    found = answer.ventricle
    if found:
        _check_found(study, found, force=force)
    decision = decision_of(members, threshold)
    scar, no_reflow = call_scar(answer.scar, study, decision), study.no_reflow
    if no_reflow is None and answer.no_reflow is not None:
        # Wherever they say any scar: what of it is called, a reader may yet change.
        no_reflow = (answer.scar > 0) & (answer.no_reflow > answer.scar / 2)
    between_ml = None
    as_tried = model.run.protocol == 2 or study.myocardium is None
    if threshold is None and as_tried:  # else nobody knows how far off it is
        said_ml = study.geometry.volume_ml(scar)
        between_ml = interval_ml(said_ml, model.run.trials, but=patient)
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
        unlike=tuple(unlike(traits_of(study, said.slices), model.run.typical)),
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


def view_of(run: RunRecord) -> View:
    """Returns what a run's networks were trained to see."""
    return View(run.protocol, run.context, run.neighbours, run.crop, run.classes)


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


def _asked(model: Model, study: Study) -> tuple[str | None, list[int]]:
    """Returns whose of the run a study's image is, and the networks fit to answer."""
    everyone = list(range(len(model.members)))
    copy = likeness.find_copy(study.image, model.run.fingerprints)
    if copy is None:
        return None, everyone
    patient, alike = copy
    unseen = [i for i in everyone if not model.run.saw(model.members[i], patient)]
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


def on_native_grid(
    said: np.ndarray,
    slices: Slices,
    study: Study,
    *,
    protocol: int,
    classes: str,
    inside: np.ndarray | None = None,
) -> Answer:
    """Returns what networks say of a study's crops, on its own grid.

    Scar has no probability outside the crops, and none outside `inside`; in Protocol 3,
    where that is not given, none outside the myocardium that was found.

    Args:
      said: (Z, 64, 64, K - 1) probabilities of each class but the background.
      slices: The study's.
      study: Where they were cut out.
      protocol: 1, 2 or 3.
      classes: What is told apart, a name of `targets.CLASSES`.
      inside: (Z, Y, X) bool; None: everywhere.
    """
    scar = on_grid(targets.scar_probability(said, classes), slices, study)
    ventricle = None
    if inside is None and protocol == 3:
        ventricle = ventricle_on_grid(said, slices, study, classes)
        inside = ventricle.myocardium
    dark = targets.no_reflow_probability(said, classes)
    return Answer(
        scar if inside is None else scar * inside,
        ventricle,
        None if dark is None else on_grid(dark, slices, study),
    )


def call_scar(probability: np.ndarray, study: Study, decision: Decision) -> np.ndarray:
    """Returns the (Z, Y, X) bool scar of probabilities on a study's own grid."""
    pixel_mm2 = np.full(len(probability), study.geometry.pixel_mm2)
    return decide.call_scar(probability, pixel_mm2, decision)
