"""The rows of a run's tables: its slices and its patients."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from scarseg_jax.judge.answers import Answers
from scarseg_jax.judge.measures import Measures
from scarseg_jax.judge.metrics import Counts
from scarseg_jax.judge.results import Overlap, PatientRow, Size, SliceRow
from scarseg_jax.study import Slices


def _overlaps(counts: Counts, weighted: Counts | None = None) -> list[list[Overlap]]:
    """Returns the record of each of (seeds, n) counts.

    Args:
      counts: Of pixels.
      weighted: The same, from which the ratios are taken if not from the pixels.
    """
    ratios = weighted or counts
    columns = {
        **vars(counts),
        "acc": ratios.accuracy,
        "se": ratios.sensitivity,
        "sp": ratios.specificity,
        "dsc": ratios.dice,
        "true_px": counts.true_px,
        "predicted_px": counts.predicted_px,
    }
    return [
        [
            Overlap(**{name: _number(c[seed, i]) for name, c in columns.items()})
            for i in range(counts.tp.shape[1])
        ]
        for seed in range(counts.tp.shape[0])
    ]


def slice_rows(
    slices: Slices, answers: Answers, native: Counts, crop: Counts
) -> Iterator[SliceRow]:
    """Yields a row for each seed and slice, from (seeds, N) counts on both grids."""
    for seed, on_native, on_crop in zip(
        answers.seeds, _overlaps(native), _overlaps(crop), strict=True
    ):
        for i, (ours, papers) in enumerate(zip(on_native, on_crop, strict=True)):
            yield SliceRow(
                patient=str(slices.patient[i]),
                slice=int(slices.slice[i]),
                fold=int(answers.fold[i]),
                seed=int(seed),
                native=ours,
                crop=papers,
            )


def patient_rows(
    slices: Slices,
    fold: Mapping[str, int],
    seeds: Sequence[int],
    native: Counts,
    crop: Counts,
    sizes: Measures,
) -> Iterator[PatientRow]:
    """Yields a row for each seed and patient, whom a fold tested."""
    names, size = np.unique(slices.patient, return_counts=True)
    scarred = native.true_px[0] > 0
    pooled = (
        _overlaps(native.pooled(slices.patient)),
        _overlaps(
            crop.pooled(slices.patient),
            crop.pooled(slices.patient, slices.pixel_mm2),
        ),
    )
    for number, (on_native, on_crop) in enumerate(zip(*pooled, strict=True)):
        for i, name in enumerate(names.tolist()):
            yield PatientRow(
                patient=name,
                fold=fold[name],
                seed=int(seeds[number]),
                slices=int(size[i]),
                scar_slices=int(scarred[slices.patient == name].sum()),
                native=on_native[i],
                crop=on_crop[i],
                size=Size(**{k: _number(v[number, i]) for k, v in vars(sizes).items()}),
            )


def _number(value: np.generic) -> Any:
    """Returns a Python number, None for NaN."""
    return None if np.isnan(value) else value.item()
