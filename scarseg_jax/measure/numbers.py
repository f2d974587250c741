"""What a report says of a heart, from any mask of its scar."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scarseg_jax.measure.grid import on_grid
from scarseg_jax.measure.mass import DENSITY_G_PER_ML, mass_g, percent
from scarseg_jax.measure.segments import NAMES, Reference, Segment, segments_of
from scarseg_jax.measure.transmurality import chords_of, depth_percent
from scarseg_jax.measure.walls import Wall, walls_of
from scarseg_jax.measure.zones import Levels, Remote, Zones
from scarseg_jax.study import Study


@dataclasses.dataclass(frozen=True)
class ZoneNumbers:
    """Core and grey zone; None of what the definition does not tell apart.

    Attributes:
      core_mass_g: No-reflow included, where it was given.
      core_of_lv_percent: Of the LV's mass.
      grey_mass_g: Of the grey zone.
      grey_of_lv_percent: Of the LV's mass.
      grey_of_infarct_percent: Of core and grey zone together.
      levels: The definition, what it was told and its thresholds.
    """

    core_mass_g: float
    core_of_lv_percent: float | None
    grey_mass_g: float | None
    grey_of_lv_percent: float | None
    grey_of_infarct_percent: float | None
    levels: Levels


BY_INTENSITY = ("5sd", "fwhm")  # the names of `ByIntensity`


@dataclasses.dataclass(frozen=True)
class ByIntensity:
    """Scar by a threshold in each slice, whatever else calls scar.

    Attributes:
      name: One of `BY_INTENSITY`.
      words: What the threshold is.
      region: Where scar was looked for, in words.
      remote: Who or what chose the remote myocardium, in words.
      slices: Those with myocardium, from 0; what follows is of each.
      remote_mean: Of the remote myocardium's intensities.
      remote_sd: The same.
      remote_pixels: How many there are.
      above: The intensity from which a pixel is scar.
      scar_mass_g: Of all such pixels in the region, and of no-reflow where it was told.
      scar_of_lv_percent: Of the LV's mass.
    """

    name: str
    words: str
    region: str
    remote: str
    slices: tuple[int, ...]
    remote_mean: tuple[float, ...]
    remote_sd: tuple[float, ...]
    remote_pixels: tuple[int, ...]
    above: tuple[float, ...]
    scar_mass_g: float
    scar_of_lv_percent: float | None


@dataclasses.dataclass(frozen=True)
class Numbers:
    """One heart in figures; None is what cannot be known.

    The denominator of LV is the myocardium of this very stack, scar and no-reflow
    included, papillaries as the mask has them. Round in print only.

    Attributes:
      patient: Whose.
      lv_volume_ml: Of the myocardium.
      lv_mass_g: The same.
      scar_volume_ml: No-reflow included.
      scar_mass_g: The same.
      scar_mass_between_g: Where the true mass lies in nine of ten such patients, lowest
        and highest; None of a scar that no networks called.
      scar_of_lv_percent: The same as the volume.
      no_reflow_volume_ml: None where it was not told apart, as all of no-reflow.
      no_reflow_mass_g: The same.
      no_reflow_of_lv_percent: The same.
      no_reflow_of_scar_percent: The same.
      transmurality_percent: Mean over the chords of all slices with a ring, those
        without scar at 0, each for the area midway in the wall that it stands for.
      transmurality_of_scar_percent: The same over the chords with scar.
      slices_with_myocardium: From 0, the base.
      slices_with_scar: From 0.
      slices_in_segments: From 0.
      referenced: Whether it is known where the septum is.
      reference: What told it.
      segments: The 17; empty without myocardium.
      zones: None where none were asked for.
      by_intensity: By which others may judge the scar; may be empty.
      warnings: Sentences.
    """

    patient: str
    lv_volume_ml: float | None
    lv_mass_g: float | None
    scar_volume_ml: float
    scar_mass_g: float
    scar_mass_between_g: tuple[float, float] | None
    scar_of_lv_percent: float | None
    no_reflow_volume_ml: float | None
    no_reflow_mass_g: float | None
    no_reflow_of_lv_percent: float | None
    no_reflow_of_scar_percent: float | None
    transmurality_percent: float | None
    transmurality_of_scar_percent: float | None
    slices_with_myocardium: tuple[int, ...]
    slices_with_scar: tuple[int, ...]
    slices_in_segments: tuple[int, ...]
    referenced: bool
    reference: Reference | None
    segments: tuple[Segment, ...]
    zones: ZoneNumbers | None
    by_intensity: tuple[ByIntensity, ...]
    warnings: tuple[str, ...]


def measure(
    study: Study,
    scar: np.ndarray,
    *,
    no_reflow: np.ndarray | None = None,
    reference: Reference | None = None,
    zones: Zones | None = None,
    walls: Sequence[Wall] | None = None,
    by_intensity: Sequence[ByIntensity] = (),
) -> Numbers:
    """Returns the figures of a scar, drawn or found, in a study.

    Args:
      study: Its geometry, myocardium and cavity count, its scar does not.
      scar: (Z, Y, X) bool. All of it counts, wherever it lies.
      no_reflow: (Z, Y, X) bool, which is scar too, whether the mask has it or not.
      reference: Where the septum is, from `segments`.
      zones: From `zones.find_zones`.
      walls: The study's, from `walls_of`, where many scars in them are measured.
      by_intensity: What stands beside the scar.

    Raises:
      InputError: If a mask has another shape than the image.
    """
    scar = on_grid("scar", scar, study.image.shape)
    if no_reflow is not None:
        no_reflow = on_grid("no-reflow", no_reflow, study.image.shape)
        scar |= no_reflow
    geometry, lv = study.geometry, study.myocardium
    if lv is not None and not lv.any():
        lv = None
    lv_ml, no_reflow_ml = (
        None if mask is None else geometry.volume_ml(mask) for mask in (lv, no_reflow)
    )
    scar_ml = geometry.volume_ml(scar)
    depth, depth_of_scar, found = None, None, None
    if lv is not None:
        walls = walls or walls_of(study)
        chords = chords_of(walls, scar)
        mm2 = geometry.extents_mm[chords.slice] * chords.width_mm
        depth, depth_of_scar = depth_percent(chords.scar, mm2)
        found = segments_of(study, scar, reference, walls=walls, chords=chords)
    return Numbers(
        patient=study.patient,
        lv_volume_ml=lv_ml,
        lv_mass_g=mass_g(lv_ml),
        scar_volume_ml=scar_ml,
        scar_mass_g=DENSITY_G_PER_ML * scar_ml,
        scar_mass_between_g=None,
        scar_of_lv_percent=percent(scar_ml, lv_ml),
        no_reflow_volume_ml=no_reflow_ml,
        no_reflow_mass_g=mass_g(no_reflow_ml),
        no_reflow_of_lv_percent=percent(no_reflow_ml, lv_ml),
        no_reflow_of_scar_percent=percent(no_reflow_ml, scar_ml),
        transmurality_percent=depth,
        transmurality_of_scar_percent=depth_of_scar,
        slices_with_myocardium=() if lv is None else _slices(lv),
        slices_with_scar=_slices(scar),
        slices_in_segments=() if found is None else found.slices_used,
        referenced=found is not None and found.referenced,
        reference=reference,
        segments=() if found is None else found.each,
        zones=None if zones is None else _zones(study, zones, lv_ml),
        by_intensity=tuple(by_intensity),
        warnings=(*_doubts(study, scar), *(() if found is None else found.warnings)),
    )


def to_csv(lines: Sequence[Mapping[str, Any]]) -> str:
    """Returns a table of lines, each from `columns` with whatever else; empty: None.

    The longest line says which columns there are.
    """
    stream = io.StringIO()
    names = list(max(lines, key=len, default={}))
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def columns(numbers: Numbers) -> dict[str, Any]:
    """Returns the cells of a line of a table, by column, the same whatever is known.

    Columns of zones begin with `zones_`, of scar by thresholds with their names, such as
    `5sd_`, of segments with `segment_01_` to 17.
    """
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(Numbers):
        value = getattr(numbers, field.name)
        if field.name == "reference":
            flat |= _named("reference_", Reference, value)
        elif field.name == "zones":
            levels = None if value is None else value.levels
            remote = None if levels is None else levels.remote
            flat |= _named("zones_", ZoneNumbers, value, but="levels")
            flat |= _named("zones_", Levels, levels, but="remote")
            flat |= _named("zones_remote_", Remote, remote)
        elif field.name == "by_intensity":
            there = {one.name: one for one in value}
            for name in BY_INTENSITY:
                flat |= _named(f"{name}_", ByIntensity, there.get(name), but="name")
        elif field.name == "segments":
            for number in range(1, len(NAMES) + 1):
                one = value[number - 1] if value else None
                flat |= _named(f"segment_{number:02}_", Segment, one, but="number")
        else:
            flat[field.name] = _cell(value)
    return flat


def _named(prefix: str, kind: type, record: Any, but: str = "") -> dict[str, Any]:
    names = [f.name for f in dataclasses.fields(kind) if f.name != but]
    return {prefix + name: _cell(getattr(record, name, None)) for name in names}


def _cell(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


def _slices(mask: np.ndarray) -> tuple[int, ...]:
    return tuple(int(z) for z in np.flatnonzero(mask.any(axis=(1, 2))))


def _zones(study: Study, zones: Zones, lv_ml: float | None) -> ZoneNumbers:
    core_ml = study.geometry.volume_ml(zones.core)
    grey_ml = None if zones.grey is None else study.geometry.volume_ml(zones.grey)
    both_ml = None if grey_ml is None else core_ml + grey_ml
    return ZoneNumbers(
        core_mass_g=DENSITY_G_PER_ML * core_ml,
        core_of_lv_percent=percent(core_ml, lv_ml),
        grey_mass_g=mass_g(grey_ml),
        grey_of_lv_percent=percent(grey_ml, lv_ml),
        grey_of_infarct_percent=percent(grey_ml, both_ml),
        levels=zones.levels,
    )


def _doubts(study: Study, scar: np.ndarray) -> list[str]:
    geometry, said = study.geometry, []
    if study.myocardium is None or not study.myocardium.any():
        said.append("There is no myocardium: nothing is known but the scar's own size.")
    elif outside_ml := geometry.volume_ml(scar & ~study.myocardium):
        said.append(
            f"{outside_ml:.2g} ml of the scar lie outside the myocardium; they are in the"
            " scar's mass, and in no segment."
        )
    for z in geometry.gaps:
        said.append(
            f"Slices {z} and {z + 1} (0 is the base) are {geometry.apart_mm[z]:.3g} mm"
            f" apart where {np.median(geometry.apart_mm):.3g} mm is usual: one may be missing, and these two"
            " stand for it in volumes and masses."
        )
    return said
