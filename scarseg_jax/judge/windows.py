"""What a page draws of each slice: the image's own pixels around the heart."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scarseg_jax.judge.results import NativePictures
from scarseg_jax.study import Slices, Study

# Of a patient's window, shown as black and white. Scar is among the brightest hundredth.
SHOWN_PERCENTILES = (1, 99.8)


def native_pictures(
    studies: Sequence[Study], slices: Slices, called: Mapping[str, np.ndarray]
) -> NativePictures:
    """Returns a window of every slice, one place for all of a patient's.

    It holds the crops and all that was drawn, so that nothing that is judged lies
    beyond it; what is called scar lies in one of these.

    Args:
      studies: In the order of names.
      slices: Of the same patients, in the order of names and slices.
      called: Of each patient, (seeds, Z, Y, X) bool.
    """
    places = [_place(study, slices.take(_own(slices, study))) for study in studies]
    sizes = [[axis.stop - axis.start for axis in place] for place in places]
    height, width = np.max(sizes, axis=0)
    parts = [
        _patient(study, place, called[study.patient], (height, width))
        for study, place in zip(studies, places, strict=True)
    ]
    columns = {
        name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
    return NativePictures(patient=slices.patient, slice=slices.slice, **columns)


def _own(slices: Slices, study: Study) -> np.ndarray:
    return slices.patient == study.patient


def _place(study: Study, slices: Slices) -> tuple[slice, slice]:
    """Returns the rows and columns of a patient's window."""
    drawn = _truth(study) | _myocardium(study)
    place = []
    for axis in (0, 1):
        length = study.image.shape[1 + axis]
        half = slices.side_mm / 2 / study.spacing_mm[1 + axis]
        begin = np.floor((slices.centre_px[:, axis] - half).min() + 0.5)
        end = np.ceil((slices.centre_px[:, axis] + half).max() + 0.5)
        if (at := np.flatnonzero(drawn.any(axis=(0, 2 - axis)))).size:
            begin, end = min(begin, at[0]), max(end, at[-1] + 1)
        first = int(np.clip(begin, 0, length - 1))
        place.append(slice(first, int(np.clip(end, first + 1, length))))
    return place[0], place[1]


def _patient(
    study: Study, place: tuple[slice, slice], called: np.ndarray, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Returns the columns of one patient's slices."""
    window = (slice(None), *place)
    grey, shown = to_grey(study.image[window])
    pictures = {
        "image": grey,
        "myocardium": _myocardium(study)[window],
        "scar": _truth(study)[window],
        "called": called[:, *window].mean(axis=0) > 0.5,
        "called_by_any": called[:, *window].any(axis=0),
    }
    of_all = {
        "top_left_px": [axis.start for axis in place],
        "size_px": grey.shape[1:],
        "pixel_mm": study.spacing_mm[1:],
        "shown": shown,
        # Nothing is marked where the files do not say how the patient lay.
        "marks": study.geometry.orientation_marks,
    }
    rows, columns = (size[a] - grey.shape[1 + a] for a in (0, 1))
    padding = ((0, 0), (0, rows), (0, columns))
    return {
        **{name: np.pad(own, padding) for name, own in pictures.items()},
        **{name: np.array([own] * len(grey)) for name, own in of_all.items()},
    }


def to_grey(image: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Returns intensities as uint8, and those that are black and white."""
    image = image.astype(np.float64)
    low, high = _shown(image)
    share = (image - low) / (high - low) if high > low else np.zeros_like(image)
    return np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8), (low, high)


def _shown(image: np.ndarray) -> tuple[float, float]:
    """Returns the intensities of black and white; what fills a border counts not."""
    inside: Any = image[image > image.min()]
    low, high = np.percentile(inside if inside.size else image, SHOWN_PERCENTILES)
    return float(low), float(high)


def _myocardium(study: Study) -> np.ndarray:
    nothing = np.zeros(study.image.shape, bool)
    return nothing if study.myocardium is None else study.myocardium


def _truth(study: Study) -> np.ndarray:
    return np.asarray(study.scar)
