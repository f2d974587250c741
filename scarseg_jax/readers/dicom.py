"""A DICOM series to a study, and planes drawn on its images to volumes."""

import dataclasses
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.readers import dicom_files, dicom_series, orientation
from scarseg_jax.readers.dicom_files import Image
from scarseg_jax.readers.dicom_series import Kind
from scarseg_jax.study import Axes, Frame, Geometry, Series, Study

_log = logging.getLogger(__name__)
_PARALLEL_DEG = 1.0
_RAS = np.diag([-1.0, -1.0, 1.0])  # of NIfTI, from DICOM's axes to left, back, head


@dataclasses.dataclass(frozen=True, eq=False)
class Stack(Axes):
    """A series' images, one at each place, and how they become a study's slices.

    Attributes:
      images: Along the normal of the images as they are stored.
      order: As of `Axes`, of the stored (slices, rows, columns).
      flipped: As of `Axes`.
      geometry: Of the study.
      phase_sensitive: Whether the sign of the signal was kept.
      late: As of `study.Series`.
      name: Of the series, for messages.
    """

    images: tuple[Image, ...]
    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    geometry: Geometry
    phase_sensitive: bool
    late: bool
    name: str

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns, as the images are stored."""
        fields = self.images[0].fields
        return len(self.images), int(fields["Rows"]), int(fields["Columns"])


def read_study(path: Path | str, *, series: Sequence[str] = (), time: int = 0) -> Study:
    """Returns the study of a folder's, a zip's or a file's LGE short-axis stack.

    It is named by the end of its series UID alone, and its files are not kept: their
    names may say who it is.

    Args:
      path: The folder, zip or file.
      series: As `asked` of `dicom_series.choose`.
      time: As in `dicom_series.one_at_each_place`.

    Raises:
      InputError: If there is no such series, or its images are no stack.
    """
    return to_study(open_stack(Path(path), series=series, time=time))


def to_study(stack: Stack) -> Study:
    """Returns the study of a stack."""
    return Study(
        stack.name,
        read_image(stack),
        stack.geometry,
        phase_sensitive=stack.phase_sensitive,
        series=Series(lambda: _frames(stack), stack.order, stack.flipped, stack.late),
    )


def open_stack(
    path: Path,
    *,
    series: Sequence[str] = (),
    time: int = 0,
    drawn_on: Callable[[Image], bool] = lambda image: False,
) -> Stack:
    """Returns the stack of the same arguments, before any pixel is read.

    Args:
      path: As in `read_study`; what follows too.
      series: As above.
      time: As above.
      drawn_on: As in `dicom_series.choose`.

    Raises:
      InputError: As `read_study`.
    """
    listed = dicom_series.list_series(dicom_files.read_headers(path))
    chosen = dicom_series.choose(listed, series, many=time != 0, drawn_on=drawn_on)
    images = dicom_series.one_at_each_place(chosen, time)
    spacing_mm = _check_alike(chosen, images)
    _check_parallel(chosen, images)
    gap_mm = _gap_mm(chosen, images)
    ways = _RAS @ dicom_series.directions(images[0]).T  # columns: x, y, normal
    stored = ways[:, [2, 1, 0]]  # slices, rows, columns
    order, flipped = orientation.orient(stored, 0)
    lengths = (gap_mm, *spacing_mm)
    z, y, x = (lengths[axis] for axis in order)
    shape = (
        len(images),
        int(images[0].fields["Rows"]),
        int(images[0].fields["Columns"]),
    )
    affines = np.stack([_affine(i, gap_mm, order, flipped, shape) for i in images])
    geometry = Geometry(affines[::-1] if flipped[0] else affines, (z, y, x))
    if geometry.gaps:
        _log.warning(
            "DICOM: one slice may be missing after %s (0 is the base): it is much farther"
            " to the next than usual",
            ", ".join(map(str, geometry.gaps)),
        )
    return Stack(
        tuple(images),
        order,
        flipped,
        geometry,
        chosen.kind is Kind.PHASE_SENSITIVE,
        dicom_series.is_late(chosen),
        f"series ..{chosen.uid_end}",
    )


def read_image(stack: Stack) -> np.ndarray:
    """Returns a stack's (Z, Y, X) float32 intensities, rescaled, as MONOCHROME2.

    Raises:
      InputError: If the pixels cannot be decoded.
    """
    planes = []
    for image in stack.images:
        stored = dicom_files.read_pixels(image)
        if stored.shape != stack.stored_shape[1:]:
            raise InputError(
                f"{stack.name}: pixels of shape {stored.shape} in an image of"
                f" {stack.stored_shape[1:]}; export the series anew"
            )
        slope = float(image.fields.get("RescaleSlope", 1))
        offset = float(image.fields.get("RescaleIntercept", 0))
        if not (math.isfinite(slope) and math.isfinite(offset) and slope):
            raise InputError(
                f"{stack.name}: rescale slope {slope:g} and intercept {offset:g};"
                " expected numbers, the slope not 0: export the series anew"
            )
        plane = stored * slope + offset
        inverted = image.fields.get("PhotometricInterpretation") == "MONOCHROME1"
        planes.append(-plane if inverted else plane)  # its lowest values are white
    return stack.to_zyx(np.stack(planes)).astype(np.float32)


def _frames(stack: Stack) -> list[Frame]:
    whose = dicom_files.read_whose(stack.images)
    numbers = (None if i.frame is None else i.frame + 1 for i in stack.images)
    pairs = zip(stack.images, whose, strict=True)
    each = ({**image.fields, **said} for image, said in pairs)
    return [Frame(*pair) for pair in zip(each, numbers, strict=True)]


def _affine(
    image: Image,
    gap_mm: float,
    order: tuple[int, int, int],
    flipped: tuple[bool, bool, bool],
    shape: tuple[int, int, int],
) -> np.ndarray:
    """Returns (4, 4) from (column x, row y, slice) of the study to mm, RAS."""
    x, y, normal = dicom_series.directions(image) @ _RAS
    down_mm, right_mm = (float(s) for s in image.fields["PixelSpacing"])
    steps = [normal * gap_mm, y * down_mm, x * right_mm]  # as stored
    corner = _RAS @ dicom_series.position_mm(image)
    for axis, back in zip(order, flipped, strict=True):
        if back:
            if axis != 0:
                corner = corner + (shape[axis] - 1) * steps[axis]
            steps[axis] = -steps[axis]
    affine = np.eye(4)
    z, y_axis, x_axis = order
    affine[:3] = np.stack([steps[x_axis], steps[y_axis], steps[z], corner], axis=1)
    return affine


def _check_alike(
    series: dicom_series.Series, images: Sequence[Image]
) -> tuple[float, float]:
    """Returns the spacing (row to row, column to column) that all images have."""
    made = {
        (
            *(int(i.fields[side]) for side in ("Rows", "Columns")),
            *(round(float(s), 4) for s in i.fields["PixelSpacing"]),
        )
        for i in images
    }
    if len(made) > 1:
        listed = "; ".join(
            f"{r} x {c} pixels of {y:g} x {x:g} mm" for r, c, y, x in sorted(made)
        )
        raise InputError(
            f"series {series.line}: its slices differ ({listed}); expected one size:"
            " choose another series with --series"
        )
    y, x = (float(s) for s in images[0].fields["PixelSpacing"])
    return y, x


def _check_parallel(series: dicom_series.Series, images: Sequence[Image]) -> None:
    first, *others = (dicom_series.directions(image) for image in images)
    for n, ways in enumerate(others, 2):
        cosine = float((first * ways).sum(axis=1).min())
        tilt_deg = math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
        if tilt_deg > _PARALLEL_DEG:
            raise InputError(
                f"series {series.line}: slice {n} is turned by {tilt_deg:.1f} degrees"
                f" against slice 1; expected {_PARALLEL_DEG:g} at most, since a volume"
                " needs parallel slices: choose another series with --series"
            )


def _gap_mm(series: dicom_series.Series, images: Sequence[Image]) -> float:
    """Returns the usual distance of slices, by their places; of one, by the header."""
    normal = dicom_series.directions(images[0])[2]
    at_mm = [float(dicom_series.position_mm(image) @ normal) for image in images]
    if len(images) == 1:
        fields = images[0].fields
        said = fields.get("SpacingBetweenSlices") or fields.get("SliceThickness") or 0
        if not float(said) > 0:
            raise InputError(
                f"series {series.line}: one slice without a thickness; expected"
                " SliceThickness in its header: export the series anew"
            )
        return float(said)
    return float(np.median(np.diff(at_mm)))
