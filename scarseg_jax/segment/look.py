"""How networks look at studies: at the crop, or first from afar to find the ventricle.

Whoever asks networks comes through `look`: the choice of decisions, a run's judgement
and `predict`. Any number of studies go in one call, each to one network or to several.
"""

import dataclasses
import logging
from collections.abc import Callable, Sequence

import numpy as np

from scarseg_jax.learn import targets
from scarseg_jax.prepare import crop, plausible
from scarseg_jax.prepare.cut import box_of, cut
from scarseg_jax.prepare.folds import padded
from scarseg_jax.segment.ventricle import Ventricle, find_ventricle
from scarseg_jax.study import Slices, Study

_log = logging.getLogger(__name__)
# Narrower is no left ventricle that was seen from afar: of the 59 EMIDEC patients those
# drawn are 55 to 94 mm wide where they are widest.
_LEAST_WIDTH_MM = 35.0


@dataclasses.dataclass(frozen=True)
class View:
    """What networks were trained to see, and what they tell apart.

    Attributes:
      protocol: 1, 2 or 3.
      context: As in `cut`.
      neighbours: As in `cut`.
      around: Around what slices are cut out, of `crop.METHODS`.
      classes: What is told apart, a name of `targets.CLASSES`.
    """

    protocol: int
    context: bool
    neighbours: int
    around: str
    classes: str

    def cut(self, study: Study, boxes: Sequence[crop.CropBox] | None = None) -> Slices:
        """Returns a study's slices, as in `cut`."""
        return cut(
            study,
            protocol=self.protocol,
            context=self.context,
            neighbours=self.neighbours,
            boxes=boxes,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Question:
    """A study, and who is asked about it.

    Attributes:
      study: Where slices are learned to be cut out, nothing drawn in it is looked at.
      whom: Numbers of the networks, who answer together.
      slices: The study's, cut out before; None: they are cut out now.
    """

    study: Study
    whom: tuple[int, ...]
    slices: Slices | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Said:
    """An answer.

    Attributes:
      slices: What was looked at.
      probability: (Z, 64, 64, K - 1) of each class but the background, the mean over
        those who were asked.
    """

    slices: Slices
    probability: np.ndarray


Ask = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of `ensemble.make_predictor`


def look(
    ask: Ask, members: int, questions: Sequence[Question], view: View
) -> list[Said]:
    """Returns what networks say of each question's study.

    Args:
      ask: From `ensemble.make_predictor`.
      members: How many networks it has.
      questions: What is asked.
      view: What the networks were trained to see.
    """
    slices = [question.slices for question in questions]
    afar = [i for i, cut_out in enumerate(slices) if cut_out is None]
    if view.around == "learned":
        far = []
        for i in afar:
            study = questions[i].study
            boxes = crop.boxes_from_afar(np.shape(study.image), study.spacing_mm)
            far.append(view.cut(study, boxes))
        whom = [questions[i].whom for i in afar]
        said = _asked(ask, members, [each.image for each in far], whom)
        for i, cut_out, answer in zip(afar, far, said, strict=True):
            study = questions[i].study
            slices[i] = view.cut(study, _around_found(study, cut_out, answer, view))
    else:
        for i in afar:
            slices[i] = view.cut(questions[i].study, _boxes(questions[i].study, view))
    there = [each for each in slices if each is not None]
    whom = [question.whom for question in questions]
    said = _asked(ask, members, [each.image for each in there], whom)
    return [Said(*pair) for pair in zip(there, said, strict=True)]


def _boxes(study: Study, view: View) -> tuple[crop.CropBox, ...] | None:
    if view.around == "hough" or study.myocardium is None:
        return None
    return crop.boxes_around(study.myocardium, study.spacing_mm)


def _around_found(
    study: Study, far: Slices, said: np.ndarray, view: View
) -> tuple[crop.CropBox, ...] | None:
    """Returns boxes around the ventricle that was seen from afar; None: look for circles.

    Args:
      study: The study.
      far: Its slices from afar.
      said: (Z, 64, 64, K - 1) of them.
      view: What the networks tell apart.
    """
    found = ventricle_on_grid(said, far, study, view.classes)
    whole = found.cavity | found.myocardium
    if crop.widest_mm(whole, study.spacing_mm) < _LEAST_WIDTH_MM:
        _log.warning(
            "%s: no left ventricle seen from afar; slices are cut out around circles",
            plausible.named(study),
        )
        return None
    return crop.boxes_around(whole, study.spacing_mm)


def on_grid(probability: np.ndarray, slices: Slices, study: Study) -> np.ndarray:
    """Returns (Z, 64, 64) probabilities of crops as (Z, Y, X) on the study's own grid."""
    shape = study.image.shape[1], study.image.shape[2]
    return np.stack(
        [
            crop.uncrop_probability(own, box_of(slices, z), shape)
            for z, own in enumerate(probability)
        ]
    )


def ventricle_on_grid(
    said: np.ndarray, slices: Slices, study: Study, classes: str
) -> Ventricle:
    """Returns the ventricle that (Z, 64, 64, K - 1) probabilities tell of."""
    parts = targets.ventricle_probabilities(said, classes)
    return find_ventricle(*(on_grid(part, slices, study) for part in parts))


def _asked(
    ask: Ask,
    members: int,
    images: Sequence[np.ndarray],
    whom: Sequence[tuple[int, ...]],
) -> list[np.ndarray]:
    """Returns of each stack of images the mean of what those asked say of it."""
    if not images:
        return []
    ends = np.cumsum([len(stack) for stack in images])
    wanted: list[list[int]] = [[] for _ in range(members)]
    places: list[list[tuple[int, int]]] = []  # of each stack: who, from which place on
    for stack, end, asked in zip(images, ends, whom, strict=True):
        places.append([(member, len(wanted[member])) for member in asked])
        for member in asked:
            wanted[member].extend(range(end - len(stack), end))
    said = ask(np.concatenate(images), padded([np.array(w, int) for w in wanted]))
    return [
        np.mean([said[m, at : at + len(stack)] for m, at in where], axis=0)
        for stack, where in zip(images, places, strict=True)
    ]
