"""What networks are shown in training: images, labels, and who sees which."""

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
from scarseg_jax.study import Slices, Study

_log = logging.getLogger(__name__)


def shown(
    data: DataSet, folds: Sequence[Fold], view: View, finder: Model | None
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
    """
    image, labels, inside = (
        getattr(data.slices, name) for name in ("image", "labels", "myocardium")
    )
    if finder is not None:
        _log.info("finding the myocardium of those who train")
        several = _in_found(data, folds, view, finder)
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
        labels = np.concatenate([labels, *(each.labels for each in several)])
    if view.around == "learned":
        far = [view.cut_from_afar(study) for study in data.studies]
        image = np.concatenate([image, *(each.image for each in far)])
        labels = np.concatenate([labels, *(each.labels for each in far)])
        count = len(data.slices.slice)
        folds = [dataclasses.replace(fold, once=fold.train + count) for fold in folds]
    images = train.Data(
        image=image,
        labels=targets.to_classes(labels, view.classes),
        inside=inside if view.protocol == 2 else None,
        cut_out=crop.cut_out_channels(
            protocol=view.protocol, context=view.context, neighbours=view.neighbours
        ),
        own=crop.own_channels(image.shape[-1], neighbours=view.neighbours)
        if view.neighbours
        else None,
    )
    return images, folds


def _in_found(
    data: DataSet, folds: Sequence[Fold], view: View, finder: Model
) -> list[Slices]:
    """Returns of each fold its training patients' slices in the myocardium found there.

    Their labels are what was drawn. Slices without any found are left out.
    """
    asked = [
        [
            Question(study, (), finders=finders.of_fold(finder, number))
            for study in data.studies
            if study.patient in data.slices.patient[fold.train]
        ]
        for number, fold in enumerate(folds)
    ]
    # In one go: to ask some networks takes as long as to ask all.
    found = iter(find_ventricles(finder.networks, [q for own in asked for q in own]))
    return [
        Slices.concatenate([_seen_in(next(found), q.study, view) for q in own])
        for own in asked
    ]


def _seen_in(found: Ventricle, study: Study, view: View) -> Slices:
    seen = view.cut_as_drawn(with_ventricle(study, found))
    boxes = [cut.box_of(seen, z) for z in range(len(seen.slice))]
    seen = dataclasses.replace(seen, labels=view.cut(study, boxes).labels)
    return seen.take(np.flatnonzero(seen.myocardium.any(axis=(1, 2))))
