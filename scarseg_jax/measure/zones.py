"""Infarct core and grey zone, by name of the published definition.

The same patients have grey zones of 46, 17 or 15 g by three of them (Circulation
126:A18372): a figure without its definition says nothing. What a definition was told,
the remote myocardium above all, is therefore kept with what it found.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.measure.grid import on_grid


@dataclasses.dataclass(frozen=True)
class Remote:
    """The intensities of remote, healthy myocardium.

    Attributes:
      mean: Of them.
      sd: Their standard deviation, divided by the number of pixels.
      peak: The greatest.
      pixels: How many there are.
      slices: Those in which they lie, from 0.
      source: Who or what chose them, in words.
    """

    mean: float
    sd: float
    peak: float
    pixels: int
    slices: tuple[int, ...]
    source: str


# From remote myocardium, the region's minimum and maximum to the intensity above which
# core lies, and that above which grey zone lies; None where none is told apart.
Rule = Callable[[Remote, float, float], tuple[float, float | None]]


@dataclasses.dataclass(frozen=True)
class Definition:
    """How core and grey zone were defined.

    Attributes:
      rule: The thresholds.
      words: What they are.
      source: Who defined them so.
      takes_remote: Whether remote myocardium has a part in it.
      takes_zero: Whether it takes half of a maximum, which presumes that the zero of
        intensities means something, or was found biased where it does not.
    """

    rule: Rule
    words: str
    source: str
    takes_remote: bool
    takes_zero: bool


def _n_sd(n: int) -> Definition:
    return Definition(
        lambda remote, low, high: (remote.mean + n * remote.sd, None),
        f"infarct above remote mean + {n} SD",
        "Amado 2004, doi:10.1016/j.jacc.2004.09.020 (DOI unverified), Fig. 1",
        takes_remote=True,
        takes_zero=False,
    )


DEFINITIONS = {
    **{f"{n}sd": _n_sd(n) for n in range(1, 7)},
    "amado_fwhm": Definition(
        lambda remote, low, high: (0.5 * high, None),
        "infarct above 50 % of the maximum",
        "Amado 2004, doi:10.1016/j.jacc.2004.09.020 (DOI unverified), Fig. 1",
        takes_remote=False,
        takes_zero=True,
    ),
    "engblom_fwhm": Definition(
        lambda remote, low, high: ((low + high) / 2, None),
        "infarct above the midpoint of minimum and maximum",
        "Engblom 2016, doi:10.1186/s12968-016-0242-5",
        takes_remote=False,
        takes_zero=True,  # +9 % of LV in phase-sensitive images: PMC4855857, Table 1
    ),
    "remote_fwhm": Definition(
        lambda remote, low, high: ((remote.mean + high) / 2, None),
        "infarct above the midpoint of remote mean and maximum",
        "FACT; CMRSegTools, FWHM Region",
        takes_remote=True,
        takes_zero=False,
    ),
    "schmidt_2007": Definition(
        lambda remote, low, high: (0.5 * high, remote.peak),
        "core above 50 % of the maximum, grey zone from the remote peak to it",
        "Schmidt 2007, doi:10.1161/CIRCULATIONAHA.106.653568 (DOI unverified)",
        takes_remote=True,
        takes_zero=True,
    ),
    "roes_2009": Definition(
        lambda remote, low, high: (0.5 * high, 0.35 * high),
        "core above 50 % of the maximum, grey zone from 35 % to it",
        "Roes 2009, PMID 19808591",
        takes_remote=False,
        takes_zero=True,
    ),
    "yan_2006": Definition(
        lambda remote, low, high: (
            remote.mean + 3 * remote.sd,
            remote.mean + 2 * remote.sd,
        ),
        "core above remote mean + 3 SD, peri-infarct zone from 2 SD to it",
        "Yan 2006, doi:10.1161/CIRCULATIONAHA.106.613414",
        takes_remote=True,
        takes_zero=False,
    ),
}


@dataclasses.dataclass(frozen=True)
class Levels:
    """What a definition was told, and the intensities it came to.

    Attributes:
      definition: A name of `DEFINITIONS`.
      words: What it is.
      source: Whose it is.
      phase_sensitive: Whether the image is; None where that is not known.
      core_above: The intensity above which core lies.
      grey_above: The same of the grey zone; None where it is not told apart.
      maximum: Of the region.
      minimum: Of the region.
      region_pixels: How many were looked at.
      remote: None where none was given.
    """

    definition: str
    words: str
    source: str
    phase_sensitive: bool | None
    core_above: float
    grey_above: float | None
    maximum: float
    minimum: float
    region_pixels: int
    remote: Remote | None


@dataclasses.dataclass(frozen=True, eq=False)
class Zones:
    """Core and grey zone.

    Attributes:
      core: (Z, Y, X) bool, no-reflow included.
      grey: (Z, Y, X) bool; None where the definition tells none apart.
      remote: (Z, Y, X) bool, as given.
      levels: How they were found.
    """

    core: np.ndarray
    grey: np.ndarray | None
    remote: np.ndarray | None
    levels: Levels


def find_zones(
    image: np.ndarray,
    region: np.ndarray,
    definition: str,
    *,
    phase_sensitive: bool | None,
    remote: np.ndarray | None = None,
    remote_source: str = "drawn",
    no_reflow: np.ndarray | None = None,
) -> Zones:
    """Returns core and grey zone of a region, by one level for the whole stack.

    Args:
      image: (Z, Y, X) intensities.
      region: (Z, Y, X) bool, where they are looked for, and the maximum: the myocardium,
        or hyper-enhancement, for which Amado 2004 grow a region from a seed.
      definition: A name of `DEFINITIONS`.
      phase_sensitive: Whether the image is, so that its zero is arbitrary; None, where
        that is not known, leaves the definitions that need no zero.
      remote: (Z, Y, X) bool, healthy myocardium. Where it has no part in the
        definition, it still shows an offset of the intensities.
      remote_source: Who or what chose it, in words.
      no_reflow: (Z, Y, X) bool, dark, and core all the same.

    Raises:
      InputError: If the definition is not known or means nothing for such images, as
        where half of a maximum is not above remote myocardium, or if region or remote
        myocardium are lacking or of another grid.
    """
    how = _chosen(definition, phase_sensitive)
    region = on_grid("region", region, image.shape)
    if remote is not None:
        remote = on_grid("remote", remote, image.shape)
    if no_reflow is not None:
        no_reflow = on_grid("no-reflow", no_reflow, image.shape)
    found = _remote(image, remote, remote_source)
    if found is None and how.takes_remote:
        raise InputError(
            f"zones: {definition} ({how.words}) without remote pixels; expected a mask of"
            " healthy myocardium: draw one"
        )
    values = image[region]
    if not values.size:
        raise InputError(
            "zones: a region of 0 pixels; expected myocardium or scar: draw it"
        )
    low, high = float(values.min()), float(values.max())
    nothing = Remote(np.nan, np.nan, np.nan, 0, (), "")  # and the rule does not ask
    core_above, grey_above = how.rule(found or nothing, low, high)
    if found is not None and how.takes_zero and core_above <= found.mean:
        raise InputError(
            f"zones: {definition} puts half of a maximum, {core_above:g}, at or below the"
            f" remote mean of {found.mean:g}; expected intensities whose zero is no"
            " signal: choose a definition that does not need it"
        )
    core, grey = region & (image > core_above), None
    if no_reflow is not None:
        core |= no_reflow
    if grey_above is not None:
        grey = region & (image > grey_above) & ~core
    levels = Levels(
        definition=definition,
        words=how.words,
        source=how.source,
        phase_sensitive=phase_sensitive,
        core_above=core_above,
        grey_above=grey_above,
        maximum=high,
        minimum=low,
        region_pixels=int(values.size),
        remote=found,
    )
    return Zones(core, grey, remote, levels)


def _chosen(definition: str, phase_sensitive: bool | None) -> Definition:
    if definition not in DEFINITIONS:
        names = ", ".join(DEFINITIONS)
        raise InputError(f"zones: {definition!r}; expected one of {names}: choose one")
    how = DEFINITIONS[definition]
    if how.takes_zero and phase_sensitive is not False:
        names = ", ".join(n for n, d in DEFINITIONS.items() if not d.takes_zero)
        what = (
            "a phase-sensitive image, whose zero is arbitrary"
            if phase_sensitive
            else "an image that may be phase-sensitive, with an arbitrary zero"
        )
        raise InputError(
            f"zones: {definition} ({how.words}) of {what}; expected a magnitude image: say"
            f" so (--nophase_sensitive) where it is one, or choose one of {names}"
        )
    return how


def _remote(image: np.ndarray, mask: np.ndarray | None, source: str) -> Remote | None:
    if mask is None or not mask.any():
        return None
    values = image[mask].astype(np.float64)
    slices = tuple(int(z) for z in np.flatnonzero(mask.any(axis=(1, 2))))
    mean, sd, peak = (float(f) for f in (values.mean(), values.std(), values.max()))
    return Remote(mean, sd, peak, int(values.size), slices, source)
