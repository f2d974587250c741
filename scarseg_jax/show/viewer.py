"""What the page needs to show every slice under the outlines of every method."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.judge.paired import Run
from scarseg_jax.judge.results import NativePictures, SliceRow
from scarseg_jax.show.pictures import grey_png, outline

Key = tuple[str, int]  # of a slice: the patient and the number


def keys(pictures: NativePictures) -> list[Key]:
    """Returns what names each slice, in the order of the arrays."""
    return [
        (str(patient), int(number))
        for patient, number in zip(pictures.patient, pictures.slice, strict=True)
    ]


def in_order(pictures: NativePictures) -> dict[Key, int]:
    """Returns the index of each slice, in the order in which the page shows them."""
    place = {key: index for index, key in enumerate(keys(pictures))}
    return {key: place[key] for key in sorted(place)}


def rows_by_slice(rows: Sequence[SliceRow]) -> dict[Key, list[SliceRow]]:
    """Returns the rows of each slice, a seed each."""
    found: dict[Key, list[SliceRow]] = {}
    for row in rows:
        found.setdefault((row.patient, row.slice), []).append(row)
    return found


def area_mm2(pixels: float, pixel_mm: Sequence[float]) -> float:
    """Returns the area of pixels whose size is (y, x) mm."""
    return float(pixels * pixel_mm[0] * pixel_mm[1])


def failure(rows: Sequence[SliceRow]) -> str:
    """Returns in a word how a slice failed, for one seed or more; empty if it did not."""
    for row in rows:
        if bool(row.native.true_px) != bool(row.native.predicted_px):
            return "missed" if row.native.true_px else "false"
    return ""


def called_names(seeds: int) -> tuple[str, ...]:
    """Returns what the outlines of a run are called, one or, of several seeds, two."""
    if seeds == 1:
        return ("This run",)
    most = "both seeds" if seeds == 2 else f"most of {seeds} seeds"
    return (f"This run, {most}", "This run, any seed")


def viewer(run: Run, others: Sequence[Run]) -> dict[str, Any]:
    """Returns names of outlines, and each slice's picture, outlines and figures.

    Raises:
      InputError: If another method's pictures are not of the same windows.
    """
    pictures = run.results.native_pictures
    order = in_order(pictures)
    for other in others:
        _check_same(run, other, order)
    seeds = len(run.results.summary.seeds)
    names = ["Truth", *called_names(seeds), "Myocardium"]
    rows = rows_by_slice(run.results.slices)
    beside = [
        (
            other.results.native_pictures.called,
            in_order(other.results.native_pictures),
            rows_by_slice(other.results.slices),
        )
        for other in others
    ]
    return {
        "layers": names + [other.about.name for other in others],
        "own": len(names),  # the first, which are shown from the start
        "slices": [
            {
                **_picture(pictures, index),
                "patient": key[0],
                "slice": key[1],
                "fold": rows[key][0].fold,
                "failure": failure(rows[key]),
                "outlines": [
                    *_own_outlines(pictures, index, seeds),
                    *(
                        _inside(called[at[key]], pictures, index)
                        for called, at, _ in beside
                    ),
                ],
                "figures": [
                    *_own_figures(pictures, index, rows[key]),
                    *(_figures(r[key], pictures.pixel_mm[index]) for *_, r in beside),
                ],
            }
            for key, index in order.items()
        ],
    }


def _picture(pictures: NativePictures, index: int) -> dict[str, Any]:
    height, width = pictures.size_px[index]
    return {
        "image": grey_png(pictures.image[index, :height, :width]),
        "size": [int(height), int(width)],
        "mm": [float(f"{mm:.6g}") for mm in pictures.pixel_mm[index]],
        "range": [float(f"{value:.6g}") for value in pictures.shown[index]],
        "marks": pictures.marks[index].tolist(),
    }


def _inside(mask: np.ndarray, pictures: NativePictures, index: int) -> str:
    height, width = pictures.size_px[index]
    return outline(mask[:height, :width])


def _own_outlines(pictures: NativePictures, index: int, seeds: int) -> list[str]:
    called = [pictures.called]
    if seeds > 1:
        called.append(pictures.called_by_any)
    masks = (pictures.scar, *called, pictures.myocardium)
    return [_inside(mask[index], pictures, index) for mask in masks]


def _own_figures(
    pictures: NativePictures, index: int, rows: Sequence[SliceRow]
) -> list[list[str]]:
    """Returns (area, Dice) of the truth, this run and the myocardium, as text."""
    pixel_mm = pictures.pixel_mm[index]
    wall = area_mm2(pictures.myocardium[index].sum(), pixel_mm)
    return [
        [f"{area_mm2(rows[0].native.true_px, pixel_mm):.0f}", ""],
        _figures(rows, pixel_mm),
        *([["", ""]] if len(rows) > 1 else []),
        [f"{wall:.0f}", ""],
    ]


def _figures(rows: Sequence[SliceRow], pixel_mm: Sequence[float]) -> list[str]:
    """Returns (area, Dice) of what was called, seed by seed, as text.

    A slice without scar has no Dice, whatever is called there.
    """
    areas = [f"{area_mm2(row.native.predicted_px, pixel_mm):.0f}" for row in rows]
    dice = [
        f"{100 * (row.native.dsc or 0):.1f}" if row.native.true_px else "\N{EN DASH}"
        for row in rows
    ]
    return [" / ".join(areas), " / ".join(dice)]


def _check_same(run: Run, other: Run, order: dict[Key, int]) -> None:
    ours, theirs = run.results.native_pictures, other.results.native_pictures
    theirs_order = in_order(theirs)
    same = theirs_order.keys() == order.keys() and all(
        np.array_equal(
            getattr(ours, name)[list(order.values())],
            getattr(theirs, name)[list(theirs_order.values())],
        )
        for name in ("top_left_px", "size_px", "pixel_mm")
    )
    if not same:
        raise InputError(
            f"{other.directory}: its pictures are of other slices or windows than those"
            f" of {run.directory}; make its results again: --mode=baselines"
        )
