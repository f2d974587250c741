"""The square crop around the left ventricle, and the exact way back.

Coordinates are pixels, with pixel centres at whole numbers. Pixel i of a crop of
`size` pixels covers [i, i + 1] * side / size from the box's edge. Both directions are
a product with one small matrix for each axis, so the map and its inverse stand side
by side.
"""

import dataclasses

import numpy as np

from scarseg_jax.prepare.hough import LeftVentricle

SIZE = 64  # pixels; paper, section 3
# Around the circles that are found (the paper's), the drawn myocardium, or the ventricle
# that the networks find when they look from afar.
METHODS = ("hough", "myocardium", "learned")
# The paper's side is twice the LV's diameter. The circle found is now and then a
# papillary muscle's or only the cavity's, never a smaller heart's than this.
MIN_SIDE_MM = 120.0
MAX_SIDE_MM = 200.0
# Around a mask the side is so many times its largest width in the stack, and then finer
# pixels are worth more than surroundings: docs/ablations.md.
AROUND = 1.4
MIN_AROUND_MM = 80.0
# From afar: a heart that is not in the image's middle is in this square all the same.
FAR_MM = 256.0
# Protocol 2 multiplies by the myocardium, which presumes that normal myocardium is dark,
# as the inversion time makes it. Phase-sensitive and rescaled images are stored with an
# offset: this percentile of the myocardium is taken for its darkness and subtracted.
DARK_PERCENTILE = 5


@dataclasses.dataclass(frozen=True)
class CropBox:
    """A square on a slice.

    Attributes:
      centre_px: (y, x).
      side_mm: Length of its sides.
      spacing_mm: The slice's pixel spacing (y, x).
    """

    centre_px: tuple[float, float]
    side_mm: float
    spacing_mm: tuple[float, float]


def boxes(
    left_ventricle: LeftVentricle, spacing_mm: tuple[float, float, float]
) -> tuple[CropBox, ...]:
    """Returns the crop of each slice: twice the diameter wide, within bounds.

    Args:
      left_ventricle: From `hough.find_left_ventricle`.
      spacing_mm: Voxel spacing (z, y, x).
    """
    sides = np.clip(2 * left_ventricle.diameter_mm, MIN_SIDE_MM, MAX_SIDE_MM)
    return tuple(
        CropBox((float(y), float(x)), float(side), spacing_mm[1:])
        for (y, x), side in zip(left_ventricle.centre_px, sides, strict=True)
    )


def boxes_around(
    mask: np.ndarray, spacing_mm: tuple[float, float, float]
) -> tuple[CropBox, ...] | None:
    """Returns the crop of each slice around a mask; None where it is empty.

    All are as wide, and each slice's is around the middle of its own mask or, without
    one, of the nearest slice's that has one.

    Args:
      mask: (Z, Y, X) bool, the left ventricle's.
      spacing_mm: Voxel spacing (z, y, x).
    """
    there = np.flatnonzero(mask.any(axis=(1, 2)))
    if not there.size:
        return None
    centres_px = np.array([np.mean(_span(mask[z]), axis=1) for z in there])
    width_mm = widest_mm(mask, spacing_mm)
    side_mm = float(np.clip(AROUND * width_mm, MIN_AROUND_MM, MAX_SIDE_MM))
    nearest = np.abs(np.arange(len(mask))[:, None] - there).argmin(axis=1)
    return tuple(
        CropBox((y, x), side_mm, spacing_mm[1:])
        for y, x in centres_px[nearest].tolist()
    )


def widest_mm(mask: np.ndarray, spacing_mm: tuple[float, float, float]) -> float:
    """Returns how far a (Z, Y, X) mask reaches along y or x in any slice; 0: empty."""
    spans_px = [np.ptp(_span(own), axis=1) + 1 for own in mask if own.any()]
    return max((float((px * spacing_mm[1:]).max()) for px in spans_px), default=0.0)


def _span(mask: np.ndarray) -> list[tuple[int, int]]:
    """Returns the first and last (y, then x) of a (Y, X) mask's pixels."""
    each = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return [(int(at[0]), int(at[-1])) for at in each]


def boxes_from_afar(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> tuple[CropBox, ...]:
    """Returns a crop of each slice around the image's middle, with all of the heart.

    Args:
      shape: (Z, Y, X) of the image.
      spacing_mm: Voxel spacing (z, y, x).
    """
    middle = (shape[1] - 1) / 2, (shape[2] - 1) / 2
    return (CropBox(middle, FAR_MM, spacing_mm[1:]),) * shape[0]


def moved(box: CropBox, by_px: np.ndarray) -> CropBox:
    """Returns the box in coordinates whose origin lies (y, x) pixels before."""
    y, x = (np.array(box.centre_px) + by_px).tolist()
    return dataclasses.replace(box, centre_px=(y, x))


def to_native(box: CropBox, size: int, axis: int) -> np.ndarray:
    """Returns the slice's coordinate of each crop pixel's centre, (size,)."""
    from_centre_mm = ((np.arange(size) + 0.5) / size - 0.5) * box.side_mm
    return box.centre_px[axis] + from_centre_mm / box.spacing_mm[axis]


def to_crop(box: CropBox, length: int, size: int, axis: int) -> np.ndarray:
    """Returns the crop's coordinate of each slice pixel's centre, (length,)."""
    from_centre_mm = (np.arange(length) - box.centre_px[axis]) * box.spacing_mm[axis]
    return (from_centre_mm / box.side_mm + 0.5) * size - 0.5


def crop_image(image: np.ndarray, box: CropBox, size: int = SIZE) -> np.ndarray:
    """Returns the (size, size) float32 crop of a (Y, X) slice.

    Linear interpolation, widened where the crop's pixels are larger than the
    slice's, so that nothing is skipped. Beyond the border stands the slice's
    minimum: air, whatever the scanner's offset.
    """
    lowest = image.min()
    rows, columns = (_resampling(box, image.shape[a], size, a) for a in (0, 1))
    return (rows @ (image - lowest) @ columns.T + lowest).astype(np.float32)


def _resampling(box: CropBox, length: int, size: int, axis: int) -> np.ndarray:
    """Returns (size, length) weights; rows sum to 1 where the kernel is inside."""
    at = to_native(box, size, axis)
    reach = max(1.0, box.side_mm / size / box.spacing_mm[axis])
    # Normalised over all whole numbers, not only those inside the slice.
    near = np.floor(at)[:, None] + np.arange(-np.ceil(reach), np.ceil(reach) + 1)
    total = np.maximum(0, 1 - np.abs(at[:, None] - near) / reach).sum(axis=1)
    distance = np.abs(at[:, None] - np.arange(length))
    return np.maximum(0, 1 - distance / reach) / total[:, None]


def crop_mask(mask: np.ndarray, box: CropBox, size: int = SIZE) -> np.ndarray:
    """Returns the (size, size) bool crop of a (Y, X) mask: the nearest pixel's value."""
    rows, columns = (np.rint(to_native(box, size, a)).astype(int) for a in (0, 1))
    inside = np.ix_(
        (rows >= 0) & (rows < mask.shape[0]), (columns >= 0) & (columns < mask.shape[1])
    )
    crop = np.zeros((size, size), bool)
    crop[inside] = mask[np.ix_(rows[inside[0][:, 0]], columns[inside[1][0]])]
    return crop


def uncrop_probability(
    probability: np.ndarray, box: CropBox, shape: tuple[int, int]
) -> np.ndarray:
    """Returns the crop's values at the slice's pixels: the inverse of `crop_image`.

    Args:
      probability: (size, size).
      box: Where it was cut out.
      shape: (Y, X) of the slice.

    Returns:
      (Y, X) float32, linearly interpolated; 0 outside the box.
    """
    rows, columns = (_sampling(box, shape[a], len(probability), a) for a in (0, 1))
    return (rows @ probability @ columns.T).astype(np.float32)


def _sampling(box: CropBox, length: int, size: int, axis: int) -> np.ndarray:
    """Returns (length, size) linear interpolation weights; rows outside are 0."""
    at = to_crop(box, length, size, axis)
    inside = (at >= -0.5) & (at <= size - 0.5)
    held = np.clip(at, 0, size - 1)
    weights = np.maximum(0, 1 - np.abs(held[:, None] - np.arange(size)))
    return weights * inside[:, None]


def contains(box: CropBox, mask: np.ndarray) -> bool:
    """Returns whether the centres of all of a (Y, X) mask's pixels lie in the box."""
    for axis, where in enumerate(np.nonzero(mask)):
        at = to_crop(box, mask.shape[axis], 1, axis)[where]
        if ((at < -0.5) | (at > 0.5)).any():
            return False
    return True


def z_score(image: np.ndarray) -> np.ndarray:
    """Returns the image with mean 0 and deviation 1 (paper, section 3), float32.

    A constant image, up to the rounding of float32, becomes zeros.
    """
    image = image.astype(np.float64)
    deviation = image.std()
    if deviation <= np.finfo(np.float32).eps * np.abs(image).max():
        return np.zeros_like(image, np.float32)
    return ((image - image.mean()) / deviation).astype(np.float32)


def network_input(
    crop: np.ndarray,
    myocardium: np.ndarray | None,
    *,
    protocol: int,
    context: bool = False,
) -> np.ndarray:
    """Returns what the network sees of a crop, (size, size, channels) float32.

    Protocols 1 and 3 see all of it; Protocol 2 multiplies by the myocardium first (paper,
    section 2.1), from whose intensities the offset has been taken. A wall that was cut
    out and normalised looks the same whether part of it is bright, or all: with context
    the network sees beside it the whole crop, and where the myocardium is.

    Args:
      crop: (size, size) intensities.
      myocardium: (size, size) bool; read by Protocol 2.
      protocol: 1, 2 or 3.
      context: Whether Protocol 2 sees the surroundings too.
    """
    if protocol != 2:
        return z_score(crop)[..., None]
    inside = crop[myocardium]
    dark = np.percentile(inside, DARK_PERCENTILE) if inside.size else 0
    cut_out = z_score((crop - dark) * myocardium)
    if not context:
        return cut_out[..., None]
    return np.stack([cut_out, z_score(crop), np.float32(myocardium)], axis=-1)


def cut_out_channels(
    *, protocol: int, context: bool, neighbours: int = 0
) -> np.ndarray:
    """Returns (channels,) bool, which have a mask's sharp edge.

    Args:
      protocol: As in `network_input`.
      context: As there.
      neighbours: How many slices on each side stand beside, as in `cut.cut`.
    """
    each = [True, False, True] if context else [protocol == 2]
    return np.tile(each, 2 * neighbours + 1)


def own_channels(channels: int, *, neighbours: int) -> np.ndarray:
    """Returns (channels,) int32, of each channel that of the slice itself.

    Args:
      channels: Of the slice and its neighbours on each side.
      neighbours: Their number on each side.
    """
    each = channels // (2 * neighbours + 1)
    return (np.arange(channels) % each + neighbours * each).astype(np.int32)
