"""What a reader of images asks of the masks: millilitres, millimetres, was it found.

Of several seeds, each counts in what is a rate, and a patient's size is their mean.
"""

from typing import TYPE_CHECKING

import numpy as np

from scarseg_jax.judge.distances import boundary_points, surface_metrics
from scarseg_jax.judge.metrics import Counts, mean_sd
from scarseg_jax.judge.statistics import (
    bland_altman,
    bootstrap_interval,
    brier,
    concordance,
    expected_calibration_error,
    icc_2_1,
)

if TYPE_CHECKING:
    from scarseg_jax.prepare.dataset import Slices

TOLERANCE_MM = 3.0  # of surface Dice: about one and a half pixels of the crop
DISTANCE_RULE = (
    f"HD95, ASSD and surface Dice (within {TOLERANCE_MM:g} mm) over patients with true"
    " or called scar; where only one of the two is there, the distances are the"
    " diagonal of the crop and surface Dice is 0."
)
MEASURES = (
    *("true_ml", "called_ml", "true_percent_lv", "called_percent_lv"),
    *("hd95_mm", "assd_mm", "surface_dice"),
)


def measure_patients(slices: "Slices", called: np.ndarray) -> dict[str, np.ndarray]:
    """Returns each patient's volumes and surface distances.

    Args:
      slices: The N slices that were tested.
      called: (seeds, N, H, W) bool.

    Returns:
      `MEASURES`, each (seeds, patients) float64, patients in the order of their names;
      NaN where the myocardium is not known, or where nothing is scar or called so.
    """
    voxel_ml = slices.pixel_mm**2 * slices.spacing_mm[:, 0] / 1000
    names = np.unique(slices.patient)
    rows = []
    for masks in called:
        for name in names:
            own = np.flatnonzero(slices.patient == name)
            own = own[np.argsort(slices.slice[own])]
            ml = {
                part: float((mask[own].sum(axis=(1, 2)) * voxel_ml[own]).sum())
                for part, mask in (
                    ("lv", slices.myocardium),
                    ("true", slices.scar),
                    ("called", masks),
                )
            }
            percent = 100 / ml["lv"] if ml["lv"] else np.nan
            rows.append(
                (
                    *(ml["true"], ml["called"]),
                    *(ml["true"] * percent, ml["called"] * percent),
                    *_distances(slices, masks, own),
                )
            )
    table = np.array(rows).reshape(len(called), len(names), len(MEASURES))
    return {name: table[..., i] for i, name in enumerate(MEASURES)}


def _distances(slices: "Slices", called: np.ndarray, own: np.ndarray):
    """Returns HD95, ASSD and surface Dice of one patient's slices."""
    pixel_mm, spacing_mm = slices.pixel_mm[own], slices.spacing_mm[own]
    # Where the crop's first pixel lies on the slice: the crop moves between slices.
    corner = slices.centre_px[own] * spacing_mm[:, 1:]
    origin_mm = corner + 0.5 * (pixel_mm - slices.side_mm[own])[:, None]
    z_mm = slices.slice[own] * spacing_mm[:, 0]
    surfaces = (
        boundary_points(mask[own], pixel_mm, origin_mm, z_mm)
        for mask in (slices.scar, called)
    )
    measured = surface_metrics(
        *surfaces,
        tolerance_mm=TOLERANCE_MM,
        penalty_mm=float(np.sqrt(2) * slices.side_mm[own].max()),
    )
    return (measured["hd95_mm"], measured["assd_mm"], measured["surface_dice"])


def describe(
    slices: "Slices",
    counts: Counts,
    measures: dict[str, np.ndarray],
    probability: np.ndarray | None,
    *,
    inside: bool,
) -> dict:
    """Returns the summary's intervals, distances, volumes, detection and calibration.

    Args:
      slices: The N slices that were tested.
      counts: Of (seeds, N).
      measures: From `measure_patients`.
      probability: (seeds, N, H, W), or None.
      inside: Whether scar is looked for inside the myocardium alone.
    """
    by_patient = counts.pooled(slices.patient)
    summary = {
        "intervals": _intervals(slices, counts, by_patient),
        "empty_masks": {
            "slices": empty_mask_rules(counts),
            "patients": empty_mask_rules(by_patient),
        },
        "detection": {"slices": detection(counts), "patients": detection(by_patient)},
        "distances": {
            "rule": DISTANCE_RULE,
            **{name: _by_patient(measures[name]) for name in MEASURES[-3:]},
            "one_empty": int(
                ((by_patient.true_px > 0) ^ (by_patient.predicted_px > 0))
                .any(axis=0)
                .sum()
            ),
        },
        "volume_ml": _agreement(measures["true_ml"], measures["called_ml"]),
        "percent_lv": _agreement(
            measures["true_percent_lv"], measures["called_percent_lv"]
        ),
    }
    if probability is not None:
        region = slices.myocardium if inside else np.ones(slices.scar.shape, bool)
        said, true = probability[:, region], slices.scar[region]
        true = np.broadcast_to(true, said.shape)
        summary["calibration"] = {
            "region": "myocardium" if inside else "crop",
            "ece": expected_calibration_error(said, true),
            "brier": brier(said, true),
        }
    return summary


def empty_mask_rules(counts: Counts) -> dict[str, float | None]:
    """Returns the mean Dice under four rules for empty masks.

    Args:
      counts: Of (seeds, n) slices or patients.

    Returns:
      "scar_only": only where there is true scar. The others add what has none, at 0
      where scar is called, and where none is: "empty_is_1" at 1, "empty_is_0" at 0,
      and "both_empty_excluded" not at all.
    """
    dice, scarred = counts.dice, counts.true_px > 0
    ways = {
        "scar_only": dice[scarred],
        "empty_is_1": np.nan_to_num(dice, nan=1.0),
        "both_empty_excluded": dice[~np.isnan(dice)],
        "empty_is_0": np.nan_to_num(dice, nan=0.0),
    }
    return {name: float(v.mean()) if v.size else None for name, v in ways.items()}


def detection(counts: Counts) -> dict[str, float | None]:
    """Returns how often scar is noticed where it is, and none called where it is not.

    Args:
      counts: Of (seeds, n) slices or patients; any pixel called is scar noticed.
    """
    scarred, called = counts.true_px > 0, counts.predicted_px > 0
    return {
        "sensitivity": float(called[scarred].mean()) if scarred.any() else None,
        "specificity": float((~called[~scarred]).mean()) if (~scarred).any() else None,
    }


def _intervals(slices: "Slices", counts: Counts, by_patient: Counts) -> dict:
    """Returns 95 % bootstrap intervals of the headline figures, by patient."""
    scarred = counts.true_px[0] > 0
    dsc = counts.dice[:, scarred].ravel()  # each slice for each seed, as the table
    patient = np.tile(slices.patient[scarred], len(counts.dice))
    with_scar = by_patient.true_px[0] > 0
    dice = by_patient.dice[:, with_scar].mean(axis=0)
    return {
        "slice_dsc_median": [*bootstrap_interval(dsc, patient, np.median)],
        "slice_dsc_mean": [*bootstrap_interval(dsc, patient)],
        "patient_dice_mean": [*bootstrap_interval(dice, np.arange(len(dice)))],
    }


def _by_patient(values: np.ndarray) -> dict:
    """Returns mean, median and deviation over patients of (seeds, patients) values.

    A patient's is the mean over the seeds for which it is defined.
    """
    defined = np.nanmean(values[:, ~np.isnan(values).all(axis=0)], axis=0)
    median = float(np.median(defined)) if defined.size else None
    return {**mean_sd(defined), "median": median}


def _agreement(true: np.ndarray, called: np.ndarray) -> dict | None:
    """Returns how measured sizes agree with true ones, over all patients."""
    if not true.size or np.isnan(true).any():
        return None
    true, called = true.mean(axis=0), called.mean(axis=0)
    return {
        **bland_altman(true, called),
        "ccc": concordance(true, called),
        "icc_2_1": icc_2_1(np.stack([true, called], axis=1)),
    }
