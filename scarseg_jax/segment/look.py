"""How networks look at studies: at the crop, or first for the ventricle.

That they find from afar themselves, or other networks find it for them. Whoever asks
networks comes through `look`: the choice of decisions, a run's judgement and `predict`.
Any number of studies go in one call, each to one network or to several.
"""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from scarseg_jax.learn import targets
from scarseg_jax.prepare import crop, plausible
from scarseg_jax.prepare.cut import box_of, boxes_drawn, cut
from scarseg_jax.prepare.folds import padded
from scarseg_jax.run import RunRecord
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


def view_of(run: RunRecord) -> View:
    """Returns what a run's networks were trained to see."""
    return View(run.protocol, run.context, run.neighbours, run.crop, run.classes)


Ask = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of `ensemble.make_predictor`


@dataclasses.dataclass(frozen=True, eq=False)
class Networks:
    """Those of one run, who see alike.

    Attributes:
      ask: From `ensemble.make_predictor`.
      count: How many they are.
      view: What they were trained to see.
      finder: Others, who find the myocardium for them; None: it is given to them, or
        they need none.
    """

    ask: Ask
    count: int
    view: View
    finder: "Networks | None" = None


@dataclasses.dataclass(frozen=True, eq=False)
class Question:
    """A study, and who is asked about it.

    Attributes:
      study: Where the ventricle is to be found, nothing drawn in it is looked at.
      whom: Numbers of the networks, who answer together.
      slices: The study's, cut out before; None: they are cut out now, and where there is
        somebody to find the ventricle, around what is found.
      finders: As whom, of those who find it.
    """

    study: Study
    whom: tuple[int, ...]
    slices: Slices | None = None
    finders: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Said:
    """An answer.

    Attributes:
      slices: What was looked at.
      each: (M, Z, 64, 64, K - 1) probability of each class but the background, by each
        of those who were asked.
      found: In which ventricle they looked, where others found one for them.
    """

    slices: Slices
    each: np.ndarray
    found: Ventricle | None = None

    @property
    def probability(self) -> np.ndarray:
        """Their mean, (Z, 64, 64, K - 1)."""
        return self.each.mean(axis=0)


def look(networks: Networks, questions: Sequence[Question]) -> list[Said]:
    """Returns what networks say of each question's study."""
    new = [question for question in questions if question.slices is None]
    each = iter(_cut_out(networks, new))
    seen = [next(each) if q.slices is None else (q.slices, None) for q in questions]
    said = _asked(networks, [slices for slices, _ in seen], questions)
    return [
        Said(slices, each, found)
        for (slices, found), each in zip(seen, said, strict=True)
    ]


def find_ventricles(finder: Networks, questions: Sequence[Question]) -> list[Ventricle]:
    """Returns the ventricle that a question's finders see in its study.

    Args:
      finder: Networks that tell ventricles.
      questions: About studies; nothing drawn in them is looked at.
    """
    asked = [Question(q.study, q.finders) for q in questions]
    return [
        ventricle_on_grid(said.probability, said.slices, q.study, finder.view.classes)
        for q, said in zip(questions, look(finder, asked), strict=True)
    ]


def with_ventricle(study: Study, found: Ventricle) -> Study:
    """Returns the study as if that ventricle had been drawn."""
    return dataclasses.replace(study, myocardium=found.myocardium, cavity=found.cavity)


def _cut_out(
    networks: Networks, questions: Sequence[Question]
) -> Iterable[tuple[Slices, Ventricle | None]]:
    """Returns each study's slices, and the ventricle that others found for it."""
    view = networks.view
    if networks.finder is not None:
        found = find_ventricles(networks.finder, questions)
        return [
            (view.cut_as_drawn(with_ventricle(q.study, own)), own)
            for q, own in zip(questions, found, strict=True)
        ]
    if view.around == "learned":
        return [(slices, None) for slices in _cut_around_seen(networks, questions)]
    return ((view.cut_as_drawn(q.study), None) for q in questions)


def _cut_around_seen(networks: Networks, questions: Sequence[Question]) -> list[Slices]:
    """Returns each study's slices around the ventricle that is seen from afar."""
    view = networks.view
    far = [view.cut_from_afar(question.study) for question in questions]
    said = _asked(networks, far, questions)
    each = zip(questions, far, said, strict=True)
    return [
        view.cut(q.study, _around_seen(q.study, slices, answers.mean(axis=0), view))
        for q, slices, answers in each
    ]


def _around_seen(
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
    networks: Networks, each: Sequence[Slices], questions: Sequence[Question]
) -> list[np.ndarray]:
    """Returns of each question's slices what each of those asked says of them."""
    if not questions:
        return []
    images = [slices.image for slices in each]
    ends = np.cumsum([len(stack) for stack in images])
    wanted: list[list[int]] = [[] for _ in range(networks.count)]
    places: list[list[tuple[int, int]]] = []  # of each stack: who, from which place on
    for stack, end, question in zip(images, ends, questions, strict=True):
        places.append([(member, len(wanted[member])) for member in question.whom])
        for member in question.whom:
            wanted[member].extend(range(end - len(stack), end))
    said = networks.ask(
        np.concatenate(images), padded([np.array(w, int) for w in wanted])
    )
    return [
        np.stack([said[m, at : at + len(stack)] for m, at in where])
        for stack, where in zip(images, places, strict=True)
    ]
