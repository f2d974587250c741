"""Whether an image is unlike those that networks learned from, by what can be measured.

It knows sizes and how grey values are spread in the crop. What has the same it does not
tell: a cine frame's lie among those of late enhancement (so do the brightness of wall and
cavity, and how far apart they are), so that it is none is seen by its header alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from scarseg_jax.prepare.crop import z_score
from scarseg_jax.study import Slices, Study

_SIZES = {
    "pixel_mm": "pixel size",
    "slice_mm": "slice distance",
    "crop_mm": "side of the square around the ventricle",
}
_GREYS = {
    "dark": "darkness of the crop's darkest 5 %",
    "middle": "crop's median",
    "bright": "brightness of the crop's brightest 5 %",
}
# Of 59 patients the next lies beyond one of twelve ends in every fifth case.
_MORE_SIZE = 1.5  # a factor
_MORE_GREY = 0.25  # of the range


def traits_of(study: Study, slices: Slices) -> dict[str, float]:
    """Returns what is measured of a study: sizes in mm, grey values in deviations.

    Args:
      study: The study.
      slices: Its own, as they were cut out.
    """
    slice_mm, *plane_mm = study.spacing_mm
    greys = [np.percentile(z_score(crop), (5, 50, 95)) for crop in slices.crop]
    dark, middle, bright = np.mean(greys, axis=0).tolist()
    return {
        "pixel_mm": float(np.sqrt(np.prod(plane_mm))),
        "slice_mm": float(slice_mm),
        "crop_mm": float(slices.side_mm.mean()),
        "dark": dark,
        "middle": middle,
        "bright": bright,
    }


def ranges_of(traits: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Returns the lowest and the highest of each trait, rounded to three digits."""
    columns = {name: [one[name] for one in traits] for name in traits[0]}
    return {
        name: (float(f"{min(own):.3g}"), float(f"{max(own):.3g}"))
        for name, own in columns.items()
    }


def not_late(study: Study) -> list[str]:
    """Returns what is odd about the kind of image, as far as a header tells; sentences."""
    if study.series is None or study.series.late:
        return []
    said = (
        "Nothing in the DICOM headers says that this is late enhancement or inversion"
        " recovery; it may be cine, and scar in it means nothing."
    )
    return [said]


def unlike(
    traits: Mapping[str, float], typical: Mapping[str, tuple[float, float]]
) -> list[str]:
    """Returns what is far from the patients that networks learned from; sentences.

    Args:
      traits: Of a study.
      typical: Of those patients; of what it lacks nothing is said.
    """
    said = []
    for name, words in {**_SIZES, **_GREYS}.items():
        if name not in typical:
            continue
        low, high = typical[name]
        if name in _SIZES:
            least, most, unit = low / _MORE_SIZE, high * _MORE_SIZE, " mm"
        else:
            more = _MORE_GREY * (high - low)
            least, most, unit = low - more, high + more, " deviations"
        if not least <= traits[name] <= most:
            said.append(
                f"Unlike the patients that the networks learned from: the {words} is"
                f" {traits[name]:.3g}{unit}, theirs {low:.3g} to {high:.3g}."
            )
    return said
