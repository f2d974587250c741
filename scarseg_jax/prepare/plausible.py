"""Whether a study can be what it says, asked alike of what trains and what is predicted.

`cut` asks, so no image comes by. What cannot be is refused; what is odd is said.
"""

import logging

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.study import Slices, Study

_log = logging.getLogger(__name__)
# From what no cardiac scan goes beyond, and from what few do. Usual are pixels of 1.2 to
# 1.8 mm and slices of 5 to 13 mm with their gaps; 3-D acquisitions have thinner ones.
_PIXEL_MM, _USUAL_PIXEL_MM = (0.2, 6.0), (0.5, 3.0)
_SLICE_MM, _USUAL_SLICE_MM = (0.5, 40.0), (1.0, 20.0)


def check_image(study: Study) -> None:
    """Checks a study's spacing and intensities; what is odd is only logged.

    Raises:
      InputError: If no scanner has such a spacing, or all voxels have one value: what
        is called scar in such an image says nothing about the patient, and it teaches
        networks nothing.
    """
    where = named(study)
    z, y, x = study.spacing_mm
    for name, spacing_mm, limits, usual in (
        ("slices", z, _SLICE_MM, _USUAL_SLICE_MM),
        ("rows", y, _PIXEL_MM, _USUAL_PIXEL_MM),
        ("columns", x, _PIXEL_MM, _USUAL_PIXEL_MM),
    ):
        if not limits[0] <= spacing_mm <= limits[1]:
            raise InputError(
                f"{where}: {name} {spacing_mm:g} mm apart; expected {limits[0]:g} to"
                f" {limits[1]:g} mm: mend the header's spacing"
            )
        if not usual[0] <= spacing_mm <= usual[1]:
            _log.warning("%s: %s %g mm apart is unusual", where, name, spacing_mm)
    lowest, highest = (end(study.image, axis=(1, 2)) for end in (np.min, np.max))
    flat = lowest == highest
    if lowest.min() == highest.max():
        raise InputError(
            f"{where}: all voxels are {study.image.flat[0]:g}; expected an image: export"
            " it anew or leave the patient out"
        )
    if flat.any():
        _log.warning("%s: all pixels have one value in %s", where, slices_listed(flat))


def check_crops(study: Study, slices: Slices) -> None:
    """Says in which of a study's slices the crop misses some of the myocardium."""
    if not slices.contained.all():
        _log.warning(
            "%s: the crop misses some of the myocardium in %s, and any scar there",
            *(named(study), slices_listed(~slices.contained)),
        )


def named(study: Study) -> str:
    """Returns what a message calls a study: its file or, without one, its patient."""
    return str(study.files[0]) if study.files else f"patient {study.patient}"


def slices_listed(which: np.ndarray) -> str:
    """Returns the slices of a (Z,) mask as text."""
    found = np.flatnonzero(which).tolist()
    several = "s" * (len(found) > 1)
    return f"slice{several} {', '.join(map(str, found))} (0 is the base)"
