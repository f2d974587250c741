"""What networks are shown in training: images, what is in them, and who sees which."""

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np

from scarseg_jax import finders
from scarseg_jax.learn import targets, train
from scarseg_jax.prepare import crop, cut
from scarseg_jax.prepare.dataset import DataSet
from scarseg_jax.prepare.folds import Fold
from scarseg_jax.segment.look import (
    Question,
    View,
    find_ventricles,
    with_ventricle,
)
from scarseg_jax.segment.model import Model
from scarseg_jax.segment.ventricle import Ventricle
from scarseg_jax.study import Slices, Study, Tissue

_log = logging.getLogger(__name__)


def shown(
    data: DataSet,
    folds: Sequence[Fold],
    view: View,
    finder: Model | None,
    chosen: Sequence[int],
) -> tuple[train.Data, Sequence[Fold]]:
    """Returns what networks are trained with, and the splits of it.

    Those that shall find the ventricle see it from afar too, once an epoch. Those for
    whom it is found see each image of training in the drawn and in the found myocardium.
    That is found by networks trained on the same patients, so it is better than they
    will be given, but nothing of those who are held out is in it. Each fold's are images
    of their own, so memory grows with the folds.

    Args:
      data: The data set.
      folds: The splits.
      view: What the networks see.
      finder: Who finds the myocardium for them; None: nobody.
      chosen: Numbers of the folds that are trained.
    """
    image, inside = data.slices.image, data.slices.myocardium
    tissues = _tissues(data.slices, data.studies)
    if view.protocol == 2 and not targets.tell_the_ventricle(view.classes):
        tissues = targets.of_wall(tissues)
    if finder is not None:
        _log.info("finding the myocardium of those who train")
        several = _in_found(data, folds, view, finder, chosen)
        ends = len(image) + np.cumsum([len(each.slice) for each in several])
        more = [
            np.arange(end - len(each.slice), end, dtype=np.int32)
            for end, each in zip(ends, several, strict=True)
        ]
        folds = [
            dataclasses.replace(fold, train=np.append(fold.train, own))
            for fold, own in zip(folds, more, strict=True)
        ]
        image = np.concatenate([image, *(each.image for each in several)])
        # Not of the wall: what is found ends anywhere, also within scar.
        tissues = np.concatenate(
            [tissues, *(_tissues(each, data.studies) for each in several)]
        )
    if view.around == "learned":
        far = Slices.concatenate([view.cut_from_afar(study) for study in data.studies])
        image = np.concatenate([image, far.image])
        tissues = np.concatenate([tissues, _tissues(far, data.studies)])
        count = len(data.slices.slice)
        folds = [dataclasses.replace(fold, once=fold.train + count) for fold in folds]
    images = train.Data(
        image=image,
        shares=targets.class_shares(tissues, view.classes),
        inside=inside if view.protocol == 2 else None,
        cut_out=crop.cut_out_channels(
            protocol=view.protocol, context=view.context, neighbours=view.neighbours
        ),
        own=crop.own_channels(image.shape[-1], neighbours=view.neighbours)
        if view.neighbours
        else None,
    )
    return images, folds


def _tissues(slices: Slices, studies: Sequence[Study]) -> np.ndarray:
    """Returns the (N, 64, 64, 4) `cut.tissue_shares` of slices of several studies."""
    shares = np.empty((*slices.scar.shape, len(Tissue) - 1), np.float32)
    for study in studies:
        its = np.flatnonzero(slices.patient == study.patient)
        if its.size:
            shares[its] = cut.tissue_shares(study, slices.take(its))
    return shares


def _in_found(
    data: DataSet,
    folds: Sequence[Fold],
    view: View,
    finder: Model,
    chosen: Sequence[int],
) -> list[Slices]:
    """Returns of each fold its training patients' slices in the myocardium found there.

    Slices without any found are left out, and all of a fold that is not trained.
    """
    asked = [
        [
            Question(study, (), finders=finders.of_fold(finder, number))
            for study in data.studies
            if number in chosen and study.patient in data.slices.patient[fold.train]
        ]
        for number, fold in enumerate(folds)
    ]
    # In one go: to ask some networks takes as long as to ask all.
    found = iter(find_ventricles(finder.networks, [q for own in asked for q in own]))
    none = data.slices.take(np.array([], int))
    return [
        Slices.concatenate([none, *(_seen_in(next(found), q.study, view) for q in own)])
        for own in asked
    ]


def _seen_in(found: Ventricle, study: Study, view: View) -> Slices:
    seen = view.cut_as_drawn(with_ventricle(study, found))
    return seen.take(np.flatnonzero(seen.myocardium.any(axis=(1, 2))))
