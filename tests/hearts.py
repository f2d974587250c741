"""Hearts of rings, whose measures are known in closed form."""

import dataclasses
from typing import Any

import numpy as np

from scarseg_jax.study import Geometry, Study

INNER_MM, OUTER_MM = 20.0, 30.0


def polar(
    spacing_mm: tuple[float, float, float], half_mm: float = 34.0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns distances in mm and angles in degrees, counter-clockwise as seen.

    The middle is between pixels, so that no pixel lies at a multiple of 90 degrees.
    """
    y, x = (2 * int(half_mm / s) * s for s in spacing_mm[1:])
    rows = (np.arange(round(y / spacing_mm[1])) + 0.5) * spacing_mm[1] - y / 2
    columns = (np.arange(round(x / spacing_mm[2])) + 0.5) * spacing_mm[2] - x / 2
    up, right = np.meshgrid(-rows, columns, indexing="ij")
    return np.hypot(up, right), np.degrees(np.arctan2(up, right)) % 360


def heart(
    slices: int = 9,
    spacing_mm: tuple[float, float, float] = (10.0, 1.0, 1.0),
    **masks: Any,
) -> Study:
    """Returns a tube: its wall between `INNER_MM` and `OUTER_MM` in every slice."""
    radius, _ = polar(spacing_mm)
    wall = (radius > INNER_MM) & (radius <= OUTER_MM)
    each = {
        "myocardium": np.stack([wall] * slices),
        "cavity": np.stack([radius <= INNER_MM] * slices),
    }
    image = np.where(wall, 50, 200).astype(np.float32)
    geometry = Geometry.upright(slices, spacing_mm)
    return Study("tube", np.stack([image] * slices), geometry, **{**each, **masks})


def scar_of(
    study: Study, start: float, width: float = 360, *, depth: float = 1.0
) -> np.ndarray:
    """Returns (Z, Y, X) scar of a tube, so wide from an angle and so deep from inside."""
    radius, angle = polar(study.spacing_mm)
    reach = INNER_MM + depth * (OUTER_MM - INNER_MM)
    sector = (radius > INNER_MM) & (radius <= reach) & ((angle - start) % 360 < width)
    return np.stack([sector] * len(study.image))


def quarter_turned(study: Study) -> Study:
    """Returns the study with its pictures turned by 90 degrees, counter-clockwise."""

    def turn(volume: np.ndarray) -> np.ndarray:
        return np.rot90(volume, axes=(1, 2)).copy()

    z, y, x = study.spacing_mm
    masks = {n: None if m is None else turn(m) for n, m in study.masks.items()}
    geometry = Geometry.upright(len(study.image), (z, x, y))
    return dataclasses.replace(
        study, image=turn(study.image), geometry=geometry, **masks
    )
