"""What networks say of a run's own patients: of those who decide, and those held out.

As `predict` would answer for them, who draws no more than the networks need.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from scarseg_jax.judge.answers import Answers
from scarseg_jax.judge.ventricle import FoundVentricles
from scarseg_jax.learn import targets
from scarseg_jax.prepare import crop, cut
from scarseg_jax.prepare.dataset import DataSet
from scarseg_jax.prepare.folds import Fold
from scarseg_jax.run import THRESHOLDS, Decision, Member, Trial
from scarseg_jax.segment import decide, pipeline
from scarseg_jax.segment.interval import interval_ml
from scarseg_jax.segment.look import Networks, Question, Said, View, look
from scarseg_jax.segment.model import Model
from scarseg_jax.study import Slices, Study


def decide_when(
    networks: Networks,
    data: DataSet,
    folds: Sequence[Fold],
    members: Sequence[Member],
    *,
    whom: Sequence[tuple[int, ...]],
    threshold: float,
    selection: str,
) -> list[tuple[Decision, tuple[Trial, ...]]]:
    """Returns when each member calls scar, chosen on its validation patients, and how.

    On the images' own grids, where scar is called.

    Args:
      networks: Who is asked.
      data: The data set.
      folds: The splits.
      members: Which networks they are.
      whom: Of each, who finds the myocardium for it.
      threshold: Of all; 0: chosen.
      selection: Of the epoch; the oracle's choose on the test patients.
    """
    own = [folds[member.fold] for member in members]
    which = [f.test if selection == "oracle" else f.validation for f in own]
    decided = []
    for looked in _looked(networks, data, which, whom):
        each = [
            (study, _answer(study, said, networks.view).scar)
            for study, _, said in looked
        ]
        decision = Decision(threshold) if threshold else _decision(each)
        trials = tuple(pipeline.tried(scar, study, decision) for study, scar in each)
        decided.append((decision, trials))
    return decided


def answers(
    data: DataSet,
    model: Model,
    tests: Sequence[np.ndarray],
    seeds: Sequence[int],
    whom: Sequence[tuple[int, ...]],
    *,
    new: bool = False,
    as_tried: bool = True,
) -> Answers:
    """Returns what each network says, and calls scar, of its own test patients.

    Args:
      data: The data set.
      model: The networks.
      tests: Of each network (n,) indices of its test slices.
      seeds: Of all networks.
      whom: Of each network, who finds the myocardium for it.
      new: Whether the patients are none of the run's, whatever their names.
      as_tried: Whether the networks decide as they did for the run's trials, which alone
        tell an interval.
    """
    slices, networks = data.slices, model.networks
    view = networks.view
    shape = (len(seeds), *slices.scar.shape)
    probability, called = np.zeros(shape, np.float32), np.zeros(shape, bool)
    fold = np.zeros(len(slices.slice), int)

    def empty(kind: type) -> dict[str, np.ndarray]:
        return {
            s.patient: np.zeros((len(seeds), *s.image.shape), kind)
            for s in data.studies
        }

    native, native_called = empty(np.float32), empty(bool)
    found = FoundVentricles(empty(bool), empty(bool), empty(bool))
    contained = np.zeros(shape[:2], bool)
    between_ml = {s.patient: np.full((len(seeds), 2), np.nan) for s in data.studies}
    looked = in_drawn = _looked(networks, data, tests, whom)
    if networks.finder is not None:  # what if nobody needed to find it?
        alone = dataclasses.replace(networks, finder=None)
        in_drawn = _looked(alone, data, tests, [()] * len(tests))
    for trained, test, own, others in zip(
        model.members, tests, looked, in_drawn, strict=True
    ):
        seed = seeds.index(trained.member.seed)
        fold[test] = trained.member.fold
        for (study, its, said), (_, _, said_in_drawn) in zip(own, others, strict=True):
            name = study.patient
            answer = _answer(study, said, view)
            own_trial = None if new else name
            decision = pipeline.for_patient(trained.decision, model.run, own_trial)
            scar = pipeline.call_scar(answer.scar, study, decision)
            native[name][seed], native_called[name][seed] = answer.scar, scar
            contained[seed, its] = _contained(study, said.slices)
            said_ml = study.geometry.volume_ml(scar)
            if as_tried and (
                ends := interval_ml(
                    said_ml, model.run.trials, min_ml=decision.min_ml, but=own_trial
                )
            ):
                between_ml[name][seed] = ends
            if answer.ventricle:
                found.cavity[name][seed] = answer.ventricle.cavity
                found.myocardium[name][seed] = answer.ventricle.myocardium
                inside = pipeline.on_native_grid(
                    said_in_drawn, study, view, inside=study.myocardium
                )
                found.scar_in_drawn[name][seed] = pipeline.call_scar(
                    inside.scar, study, trained.decision
                )
            probability[seed, its] = _on_crops(answer, said, slices.take(its), view)
            if scar.any():
                called[seed, its] = decide.call_scar(
                    probability[seed, its], slices.pixel_mm[its] ** 2, decision
                )
    return Answers(
        fold=fold,
        seeds=seeds,
        crop=called,
        native=native_called,
        crop_probability=probability,
        native_probability=native,
        found=found if model.run.judged_as == 3 else None,
        contained=contained,
        between_ml=between_ml,
    )


def _decision(each: Sequence[tuple[Study, np.ndarray]]) -> Decision:
    """Returns the best one for studies with their probabilities of scar."""
    dice = [
        decide.slice_dice(
            scar,
            np.asarray(study.scar),
            np.full(len(study.image), study.geometry.pixel_mm2),
            THRESHOLDS,
        )
        for study, scar in each
    ]
    return decide.best(np.concatenate(dice), THRESHOLDS)


def _looked(
    networks: Networks,
    data: DataSet,
    which: Sequence[np.ndarray],
    whom: Sequence[tuple[int, ...]],
) -> list[list[tuple[Study, np.ndarray, Said]]]:
    """Returns of each network what it says of its patients.

    Args:
      networks: Who is asked.
      data: The data set.
      which: Of each network (n,) indices of slices, all of a patient's.
      whom: Of each network, who finds the myocardium for it.

    Returns:
      Of each network and patient the study, the indices of its slices, and the answer.
    """
    own: list[list[tuple[Study, np.ndarray]]] = []
    for indices in which:
        patients = data.slices.patient[indices]
        of_each = [(s, indices[patients == s.patient]) for s in data.studies]
        own.append([(study, its) for study, its in of_each if its.size])
    anew = networks.view.around == "learned" or networks.finder is not None
    questions = [
        Question(study, (member,), None if anew else data.slices.take(its), find)
        for member, (studies, find) in enumerate(zip(own, whom, strict=True))
        for study, its in studies
    ]
    said = iter(look(networks, questions))
    return [[(*pair, next(said)) for pair in studies] for studies in own]


def _answer(study: Study, said: Said, view: View) -> pipeline.Answer:
    """Returns what a user would get who has drawn no more than the networks need."""
    needed = view.protocol == 2 and said.found is None
    inside = study.myocardium if needed else None
    return pipeline.on_native_grid(said, study, view, inside=inside)


def _contained(study: Study, slices: Slices) -> list[bool]:
    """Returns of each slice whether all of the drawn myocardium was looked at."""
    drawn = study.myocardium
    return [
        drawn is None or crop.contains(cut.box_of(slices, z), drawn[z])
        for z in range(len(slices.slice))
    ]


def _on_crops(
    answer: pipeline.Answer, said: Said, slices: Slices, view: View
) -> np.ndarray:
    """Returns the (Z, 64, 64) probability of scar on a study's slices as prepared.

    Elsewhere than a mask allows nothing was looked at.
    """
    boxes = [cut.box_of(slices, z) for z in range(len(slices.slice))]
    if view.around == "learned" or said.found is not None:  # others were looked at
        return np.stack(
            [crop.crop_image(*pair) for pair in zip(answer.scar, boxes, strict=True)]
        )
    probability = targets.scar_probability(said.probability, view.classes)
    if view.protocol == 2:
        return probability * slices.myocardium
    if answer.ventricle:
        masks = zip(answer.ventricle.myocardium, boxes, strict=True)
        return probability * np.stack([crop.crop_mask(*pair) for pair in masks])
    return probability
