"""What the intensities alone say of a myocardium, beside the networks.

Scar by the thresholds that `thresholds` scores and every run is compared with: 5 SD above
remote myocardium, from where SCMR begins for infarcts (2020,
doi:10.1186/s12968-020-00610-6, unverified), and half of the way from its mean to the
maximum. They are taken in each slice, as coils and inversion times differ. And core and
grey zone by a published definition, by one level for the stack.
"""

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.measure.mass import DENSITY_G_PER_ML, percent
from scarseg_jax.measure.numbers import BY_INTENSITY, ByIntensity
from scarseg_jax.measure.zones import DEFINITIONS, Zones, find_zones
from scarseg_jax.run import Segmentation
from scarseg_jax.segment.thresholds import (
    SECTORS,
    remote_region,
    sd_of,
    way_to_maximum,
)

DRAWN = "drawn"
DARKEST = f"nobody's choice: the darkest of {SECTORS} sectors of each slice's wall"
_SD = 5
_WORDS = dict(
    zip(
        BY_INTENSITY,
        (
            f"remote mean + {_SD} SD",
            "half-way from the remote mean to the maximum (FWHM)",
        ),
        strict=True,
    )
)


def by_intensity(found: Segmentation) -> tuple[ByIntensity, ...]:
    """Returns the scar by each of `BY_INTENSITY` in the myocardium, given or found.

    Remote myocardium is what was drawn of it in the myocardium, in slices without any that of the nearest
    slice; or else the darkest sector of each slice. The maximum is that of where the
    brightest scar was marked, in slices without any that of the whole wall. What was
    excluded is no scar, no-reflow neither, and no maximum. Else no-reflow is scar where it
    was drawn, or where networks that found it call scar. Nothing where there is no myocardium.

    Args:
      found: From `find_scar`.
    """
    wall, image = _wall(found), found.study.image
    if wall is None:
        return ()
    slices = np.flatnonzero(wall.any(axis=(1, 2)))
    remote, source = _remote(found, wall)
    region, brightest = _region(found, wall), found.study.brightest
    marked = np.flatnonzero(remote.any(axis=(1, 2)))
    rows = []
    for z in slices:
        nearest = marked[np.abs(marked - z).argmin()]
        bright = region[z] if region[z].any() else wall[z]  # none of it is scar then
        if brightest is not None and (brightest[z] & bright).any():
            bright = brightest[z] & bright
        rows.append(
            _levels(
                *(image[z][wall[z]], image[nearest][remote[nearest]], image[z][bright])
            )
        )
    means, sds, counts, *levels = zip(*rows, strict=True)
    lv_ml = found.study.geometry.volume_ml(wall)
    measured, dark = [], _no_reflow(found)
    for name, above in zip(BY_INTENSITY, levels, strict=True):
        scar = np.zeros_like(wall)
        scar[slices] = region[slices] & (image[slices] >= np.reshape(above, (-1, 1, 1)))
        if dark is not None:
            scar |= dark & region
        scar_ml = found.study.geometry.volume_ml(scar)
        measured.append(
            ByIntensity(
                name=name,
                words=_WORDS[name],
                region="the myocardium of each slice"
                + (", without what was excluded" if (wall & ~region).any() else ""),
                remote=source,
                slices=tuple(slices.tolist()),
                remote_mean=means,
                remote_sd=sds,
                remote_pixels=counts,
                above=above,
                scar_mass_g=DENSITY_G_PER_ML * scar_ml,
                scar_of_lv_percent=percent(scar_ml, lv_ml),
            )
        )
    return tuple(measured)


def zones_of(found: Segmentation, definition: str | None) -> Zones | None:
    """Returns core and grey zone in the myocardium, given or found; None of none.

    Where remote myocardium has no part in the definition and none was drawn, the darkest
    sectors still show an offset of the intensities.

    Args:
      found: From `find_scar`.
      definition: A name of `zones.DEFINITIONS`, or None.

    Raises:
      InputError: If the definition means nothing for this image, needs remote
        myocardium, of which none was drawn, what was drawn lies outside, or there is no
        myocardium to look inside.
    """
    if definition is None:
        return None
    wall, how = _wall(found), DEFINITIONS[definition]
    if wall is None:
        raise InputError(
            f"--zones={definition}: no myocardium; expected one to look inside: give its"
            " mask, or use networks that find it"
        )
    region = _region(found, wall)
    if not region.any():
        raise InputError(
            f"--zones={definition}: all of the myocardium is excluded; expected some to look"
            " inside: draw less of an exclusion"
        )
    if how.takes_remote and found.study.remote is None:
        raise InputError(
            f"--zones={definition} ({how.words}) without remote myocardium; expected"
            " --remote, a mask of it, or cvi42's contour: draw some, as what nobody chose"
            " gives another infarct"
        )
    drawn = found.study.remote
    if drawn is not None and not (drawn & wall).any():
        raise InputError(
            f"--zones={definition}: remote myocardium: none of its {int(drawn.sum())}"
            " pixels are in the myocardium; expected some: draw it inside"
        )
    (remote, source), dark = _remote(found, wall), _no_reflow(found)
    return find_zones(
        *(found.study.image, region, definition),
        phase_sensitive=found.study.phase_sensitive,
        remote=remote,
        remote_source=source,
        no_reflow=None if dark is None else dark & region,
    )


def _no_reflow(found: Segmentation) -> np.ndarray | None:
    """Returns (Z, Y, X) bool, what was drawn of it, or else found in what is scar now."""
    if found.no_reflow is None or found.study.no_reflow is not None:
        return found.no_reflow
    return found.no_reflow_in_scar


def _wall(found: Segmentation) -> np.ndarray | None:
    wall = found.myocardium
    return None if wall is None or not wall.any() else wall


def _region(found: Segmentation, wall: np.ndarray) -> np.ndarray:
    """Returns (Z, Y, X) bool, where scar may be: the myocardium that nobody excluded."""
    return wall if found.study.excluded is None else wall & ~found.study.excluded


def _levels(
    wall: np.ndarray, remote: np.ndarray, bright: np.ndarray
) -> tuple[float, ...]:
    """Returns the remote mean, SD and pixels, and from where each method calls scar.

    Args:
      wall: (k,) intensities of a slice's myocardium.
      remote: (n,) of the remote myocardium that it is compared with.
      bright: (m,) of where the maximum is taken.
    """
    values, healthy = wall.astype(np.float64), remote.astype(np.float64)
    mean = float(healthy.mean())
    return (
        mean,
        float(healthy.std()),
        int(remote.size),
        mean + _SD * sd_of(healthy, values),
        mean + way_to_maximum(mean, bright.astype(np.float64)) / 2,
    )


def _remote(found: Segmentation, wall: np.ndarray) -> tuple[np.ndarray, str]:
    """Returns (Z, Y, X) bool remote myocardium, and who chose it."""
    drawn = found.study.remote
    if drawn is not None and (drawn & wall).any():
        return drawn & wall, DRAWN
    remote = np.zeros_like(wall)
    for own, image, inside in zip(remote, found.study.image, wall, strict=True):
        if inside.any():
            own[inside] = remote_region(image[inside].astype(np.float64), inside)
    return remote, DARKEST
