"""Where what is drawn in a patient's mm lies on the images of a stack.

Each image has its own place and orientation, and is asked for itself.
"""

import dataclasses
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from scarseg_jax.errors import InputError
from scarseg_jax.readers import dicom_series
from scarseg_jax.readers.dicom import Stack
from scarseg_jax.readers.dicom_files import Image

# Of the slices' distance: what lies further from an image was not drawn on it. As for
# masks of NIfTI, whose grids may be a twentieth of a voxel apart.
_NEAR = 0.05


@dataclasses.dataclass(frozen=True, eq=False)
class Spot:
    """Points on the image that is nearest to them.

    Attributes:
      slice: The image, from 0 as the stack is stored.
      points_px: (N, 2) float64, (x column, y row); whole numbers are pixels' centres.
      off_mm: How far from the image the furthest point lies.
      near: Whether that is near enough to have been drawn on it.
    """

    slice: int
    points_px: np.ndarray
    off_mm: float
    near: bool


def check_same_space(path: Path, data: Dataset, stack: Stack) -> None:
    """Checks that places in a file are places in a stack's patient.

    They are if both have a frame of reference in common or the file names an image of
    the stack, and may be where either says nothing.

    Raises:
      InputError: If they are not.
    """
    fields = [image.fields for image in stack.images]
    for ours, theirs in (
        ("FrameOfReferenceUID", "FrameOfReferenceUID"),
        ("SOPInstanceUID", "ReferencedSOPInstanceUID"),
    ):
        here = {str(own[ours]) for own in fields if ours in own}
        there = {str(e.value) for e in data.iterall() if e.keyword == theirs}
        if here & there or (ours == "FrameOfReferenceUID" and not (here and there)):
            return
    raise InputError(
        f"--contours={path}: it has another frame of reference than {stack.name} and"
        " names none of its images; expected what was drawn in this examination"
    )


def spot(stack: Stack, points_mm: np.ndarray) -> Spot:
    """Returns where (N, 3) points, in DICOM's axes, lie on a stack's images."""
    found = [_on(image, points_mm) for image in stack.images]
    away = [float(np.abs(distance).max()) for _, distance in found]
    number = int(np.argmin(away))
    near = away[number] <= _NEAR * stack.geometry.spacing_mm[0]
    return Spot(number, found[number][0], away[number], near)


def points_mm(image: Image, points_px: np.ndarray) -> np.ndarray:
    """Returns the (N, 3) places of (N, 2) points (x column, y row) of an image."""
    x, y, _ = dicom_series.directions(image)
    down_mm, right_mm = (float(s) for s in image.fields["PixelSpacing"])
    steps = np.stack([x * right_mm, y * down_mm])
    return dicom_series.position_mm(image) + points_px @ steps


def _on(image: Image, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the (N, 2) pixel coordinates and the (N,) distances in mm."""
    x, y, normal = dicom_series.directions(image)
    down_mm, right_mm = (float(s) for s in image.fields["PixelSpacing"])
    away = points - dicom_series.position_mm(image)
    return np.stack([away @ x / right_mm, away @ y / down_mm], axis=1), away @ normal
