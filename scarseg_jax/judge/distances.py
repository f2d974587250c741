"""Distances in mm between the surfaces of a patient's true and called scar."""

import numpy as np
from scipy.spatial import KDTree

_ROUNDING_MM = 1e-9  # two pixels of 1.5 mm apart are within 3 mm, however it rounds


def boundary_points(
    mask: np.ndarray, pixel_mm: np.ndarray, origin_mm: np.ndarray, z_mm: np.ndarray
) -> np.ndarray:
    """Returns the centres of a mask's boundary pixels in mm.

    A boundary pixel is one of the mask with a neighbour (of 4, in its slice) that is
    not; outside the image nothing is. The boundary is that within slices: these are
    some 10 mm apart, so that taking the pixels without a neighbour in the next slice
    would make nearly all of the scar boundary.

    Args:
      mask: (Z, H, W) bool.
      pixel_mm: (Z,) size of the pixels of each slice, or (Z, 2) of sizes in y and x.
      origin_mm: (Z, 2) y and x of the centre of each slice's pixel (0, 0), since a
        crop may move from slice to slice.
      z_mm: (Z,) positions of the slices.

    Returns:
      (n, 3) float64 z, y, x; n is 0 of an empty mask.

    Raises:
      ValueError: If the mask is not bool or the shapes do not fit.
    """
    pixel_mm, origin_mm, z_mm = (
        np.asarray(a, float) for a in (pixel_mm, origin_mm, z_mm)
    )
    if mask.dtype != bool or mask.ndim != 3:
        raise ValueError(f"mask must be bool (Z, H, W); got {mask.dtype} {mask.shape}")
    n = len(mask)
    fits = pixel_mm.shape in ((n,), (n, 2)) and origin_mm.shape == (n, 2)
    if not fits or z_mm.shape != (n,):
        raise ValueError(
            f"pixel sizes {pixel_mm.shape}, origins {origin_mm.shape} and positions"
            f" {z_mm.shape} do not fit {n} slices"
        )
    around = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    inner = around[:, :-2, 1:-1] & around[:, 2:, 1:-1]
    inner &= around[:, 1:-1, :-2] & around[:, 1:-1, 2:]
    z, y, x = np.nonzero(mask & ~inner)
    yx_mm = origin_mm[z] + np.stack([y, x], axis=1) * pixel_mm.reshape(n, -1)[z]
    return np.column_stack([z_mm[z], yx_mm])


def surface_distances(
    truth_points: np.ndarray, called_points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distance of each point to the nearest of the other surface.

    Args:
      truth_points: (n, 3) mm, from `boundary_points`.
      called_points: (m, 3) mm.

    Returns:
      (n,) from truth to called and (m,) from called to truth, float64 mm.

    Raises:
      ValueError: If a surface has no points.
    """
    if not len(truth_points) or not len(called_points):
        raise ValueError("there is no distance to a surface without points")
    truth_to_called, _ = KDTree(called_points).query(truth_points)
    called_to_truth, _ = KDTree(truth_points).query(called_points)
    return np.asarray(truth_to_called), np.asarray(called_to_truth)


def surface_metrics(
    truth_points: np.ndarray,
    called_points: np.ndarray,
    *,
    tolerance_mm: float = 3.0,
) -> dict[str, float]:
    """Returns how far a patient's two surfaces are from each other.

    Where both surfaces are empty nothing is defined. Where one is, scar was missed or
    called falsely: there is no distance, and surface Dice is 0.

    Args:
      truth_points: (n, 3) mm, from `boundary_points`.
      called_points: (m, 3) mm.
      tolerance_mm: The distance up to which points count as found.

    Returns:
      {"hd95_mm", "assd_mm", "surface_dice"}: the larger of the two directed 95th
      percentiles; the mean of all distances from both surfaces together; the
      fraction of both surfaces' points within the tolerance (after Nikolov et al.,
      2018, with points in place of areas). NaN where undefined.
    """
    if not len(truth_points) or not len(called_points):
        neither = len(truth_points) == len(called_points)
        dice = np.nan if neither else 0.0
        return {"hd95_mm": np.nan, "assd_mm": np.nan, "surface_dice": dice}
    directed = surface_distances(truth_points, called_points)
    together = np.concatenate(directed)
    return {
        "hd95_mm": max(float(np.percentile(d, 95)) for d in directed),
        "assd_mm": float(together.mean()),
        "surface_dice": float(np.mean(together <= tolerance_mm + _ROUNDING_MM)),
    }
