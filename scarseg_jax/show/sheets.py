"""Sheets of small pictures: the failures, and the best and worst patients."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from scarseg_jax.judge.results import NativePictures, PatientRow, Results, SliceRow
from scarseg_jax.show.pictures import thumbnail
from scarseg_jax.show.viewer import Key, area_mm2, in_order, rows_by_slice

MOST_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class Thumbnail:
    """A slice, small.

    Attributes:
      at: Its number in the viewer.
      name: The patient and the slice.
      note: What is to be said of it.
      picture: SVG.
    """

    at: int
    name: str
    note: str
    picture: Markup


@dataclasses.dataclass(frozen=True)
class FailureSheet:
    """The slices that failed in one way.

    Attributes:
      kind: "missed" or "false".
      slices: How many failed, for one seed or more.
      rows: How many slices and seeds did: what the table of failures counts.
      shown: The largest of them.
    """

    kind: str
    slices: int
    rows: int
    shown: tuple[Thumbnail, ...]


@dataclasses.dataclass(frozen=True)
class PatientSheet:
    """All slices of a patient.

    Attributes:
      rank: Among the patients with scar.
      patient: The name.
      dice: 3-D, one a seed.
      shown: The slices.
    """

    rank: str
    patient: str
    dice: tuple[float, ...]
    shown: tuple[Thumbnail, ...]


def failures(results: Results) -> list[FailureSheet]:
    """Returns missed scars, largest first, and false ones; a sheet of each there is."""
    pictures = results.native_pictures
    order = in_order(pictures)
    sheets = []
    for kind in ("missed", "false"):
        failed: dict[Key, list[SliceRow]] = {}
        for key, rows in rows_by_slice(results.slices).items():
            if own := [row for row in rows if _failed(row, kind)]:
                failed[key] = own
        if not failed:
            continue
        area = {
            key: area_mm2(
                max(max(row.native.true_px, row.native.predicted_px) for row in rows),
                pictures.pixel_mm[order[key]],
            )
            for key, rows in failed.items()
        }
        largest = sorted(failed, key=lambda key: (-area[key], key))[:MOST_SHOWN]
        sheets.append(
            FailureSheet(
                kind=kind,
                slices=len(failed),
                rows=sum(map(len, failed.values())),
                shown=tuple(
                    _thumbnail(
                        results,
                        order,
                        key,
                        f"{area[key]:.0f} mm²"
                        + _of_seeds(len(failed[key]), len(results.summary.seeds)),
                    )
                    for key in largest
                ),
            )
        )
    return sheets


def examples(results: Results) -> list[PatientSheet]:
    """Returns the worst, the median and the best patient with scar, by 3-D Dice."""
    scores: dict[str, list[float]] = {}
    for row in results.patients:
        if row.native.true_px and row.native.dsc is not None:
            scores.setdefault(row.patient, []).append(row.native.dsc)
    ranked = sorted(scores, key=lambda name: (np.mean(scores[name]), name))
    if not ranked:
        return []
    chosen = {"Worst": 0, "Median": (len(ranked) - 1) // 2, "Best": len(ranked) - 1}
    order = in_order(results.native_pictures)
    rows = rows_by_slice(results.slices)
    sheets = []
    for rank, place in chosen.items():
        name = ranked[place]
        own = [key for key in order if key[0] == name]
        sheets.append(
            PatientSheet(
                rank=rank,
                patient=name,
                dice=tuple(scores[name]),
                shown=tuple(
                    _thumbnail(results, order, key, _dsc(rows[key])) for key in own
                ),
            )
        )
    return sheets


def first_slice(
    patients: Sequence[PatientRow], pictures: NativePictures
) -> dict[str, int]:
    """Returns the number in the viewer of each patient's first slice."""
    numbers: dict[str, int] = {}
    for number, (patient, _) in enumerate(in_order(pictures)):
        numbers.setdefault(patient, number)
    return {row.patient: numbers[row.patient] for row in patients}


def _failed(row: SliceRow, kind: str) -> bool:
    true, called = row.native.true_px > 0, row.native.predicted_px > 0
    return true and not called if kind == "missed" else called and not true


def _of_seeds(failed: int, seeds: int) -> str:
    return f", {failed} of {seeds} seeds" if seeds > 1 else ""


def _dsc(rows: Sequence[SliceRow]) -> str:
    """Returns a slice's Dice, seed by seed, in words."""
    if not rows[0].native.true_px:
        called = any(row.native.predicted_px for row in rows)
        return f"no scar, {'some' if called else 'none'} called"
    return f"DSC {' / '.join(f'{100 * (row.native.dsc or 0):.0f}' for row in rows)} %"


def _thumbnail(
    results: Results, order: dict[Key, int], key: Key, note: str
) -> Thumbnail:
    pictures, index = results.native_pictures, order[key]
    height, width = pictures.size_px[index]
    masks = {"myocardium": pictures.myocardium}
    if len(results.summary.seeds) > 1:
        masks["any"] = pictures.called_by_any
    masks |= {"called": pictures.called, "truth": pictures.scar}
    name = f"{key[0]}, slice {key[1]}"
    picture = thumbnail(
        pictures.image[index, :height, :width],
        {style: mask[index, :height, :width] for style, mask in masks.items()},
        pictures.pixel_mm[index],
        f"{name}: {note}",
    )
    return Thumbnail(list(order).index(key), name, note, picture)
