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
from scarseg_jax.prepare.cut import box_of, boxes_drawn, cut
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

    def cut_as_drawn(self, study: Study) -> Slices:
        """Returns its slices around what is drawn, or around circles: `boxes_drawn`."""
        return self.cut(study, boxes_drawn(study, self.around))

    def cut_from_afar(self, study: Study) -> Slices:
        """Returns its slices with all of the heart, wherever it is."""
        shape = np.shape(study.image)
        return self.cut(study, crop.boxes_from_afar(shape, study.spacing_mm))


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
    new = [question for question in questions if question.slices is None]
    if view.around == "learned":
        cut_out = iter(_cut_around_found(ask, members, new, view))
    else:
        cut_out = (view.cut_as_drawn(question.study) for question in new)
    slices = [next(cut_out) if q.slices is None else q.slices for q in questions]
    said = _asked(ask, members, slices, questions)
    return [Said(*pair) for pair in zip(slices, said, strict=True)]


def _cut_around_found(
    ask: Ask, members: int, questions: Sequence[Question], view: View
) -> list[Slices]:
    """Returns each study's slices around the ventricle that is seen from afar."""
    far = [view.cut_from_afar(question.study) for question in questions]
    said = _asked(ask, members, far, questions)
    each = zip(questions, far, said, strict=True)
    return [
        view.cut(q.study, _around_found(q.study, slices, answer, view))
        for q, slices, answer in each
    ]


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
    ask: Ask, members: int, each: Sequence[Slices], questions: Sequence[Question]
) -> list[np.ndarray]:
    """Returns of each question's slices the mean of what those asked say of them."""
    if not questions:
        return []
    images = [slices.image for slices in each]
    ends = np.cumsum([len(stack) for stack in images])
    wanted: list[list[int]] = [[] for _ in range(members)]
    places: list[list[tuple[int, int]]] = []  # of each stack: who, from which place on
    for stack, end, question in zip(images, ends, questions, strict=True):
        places.append([(member, len(wanted[member])) for member in question.whom])
        for member in question.whom:
            wanted[member].extend(range(end - len(stack), end))
    said = ask(np.concatenate(images), padded([np.array(w, int) for w in wanted]))
    return [
        np.mean([said[m, at : at + len(stack)] for m, at in where], axis=0)
        for stack, where in zip(images, places, strict=True)
    ]
