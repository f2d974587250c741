"""The vocabulary of images: what passes from one step to the next.

Volumes are (Z, Y, X), slices (N, H, W), lengths mm. A patient's `Study` is read from
files, preparing makes `Slices` of it; `run` has the words for networks and what they say.
"""

import dataclasses
import enum
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scarseg_jax.errors import InputError

# From base to apex, along the axes of space: to the left, to the front and down. Axial,
# coronal and sagittal stacks are 55 degrees from it.
_TO_APEX = np.array([-1.0, 1.0, -1.0]) / math.sqrt(3)
_SHORT_AXIS_DEG = 45.0
_MISSING = 1.5  # times the usual distance of slices: there, one may be missing


class Tissue(enum.IntEnum):
    """The label of a voxel; what is not told apart is the more general one."""

    BACKGROUND = 0
    CAVITY = 1  # of the left ventricle
    MYOCARDIUM = 2  # of the left ventricle, without scar
    SCAR = 3
    NO_REFLOW = 4  # dark, inside the scar: microvascular obstruction


def label_tissues(
    shape: tuple[int, ...], masks: Mapping[str, np.ndarray | None]
) -> np.ndarray:
    """Returns uint8 of `Tissue`; where masks overlap the more special one counts.

    Args:
      shape: Of the masks.
      masks: By the tissues' names in small letters; None and others count for nothing.
    """
    labels = np.zeros(shape, np.uint8)
    for tissue in Tissue:
        if (mask := masks.get(tissue.name.lower())) is not None:
            labels[mask] = tissue
    return labels


class Axes:
    """How stored axes become a study's.

    Attributes:
      order: The stored axes that become (z, y, x).
      flipped: Whether each of (z, y, x) runs against its stored axis.
    """

    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    def to_zyx(self, array: np.ndarray) -> np.ndarray:
        """Returns the stored array as (Z, Y, X)."""
        return np.flip(array.transpose(self.order), self._turned)

    def from_zyx(self, volume: np.ndarray) -> np.ndarray:
        """Returns a (Z, Y, X) volume in the stored order: the inverse of `to_zyx`."""
        return np.flip(volume, self._turned).transpose(np.argsort(self.order))

    @property
    def _turned(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(3) if self.flipped[axis])


@dataclasses.dataclass(frozen=True)
class Stored(Axes):
    """How a file keeps a volume, so that a mask can be kept in the same way.

    Attributes:
      shape: Of the stored array.
      affine: (4, 4) float64, from stored indices to mm.
      spacing_mm: Along the stored axes.
      order: As of `Axes`.
      flipped: As of `Axes`.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    spacing_mm: tuple[float, float, float]
    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool] = (False, False, False)


class Frame(NamedTuple):
    """One image of a DICOM series.

    Attributes:
      fields: Its header's values by keyword; among them, whose it is.
      number: In its file, from 1; None where that has no others.
    """

    fields: Mapping[str, Any]
    number: int | None


@dataclasses.dataclass(frozen=True, eq=False)
class Series(Axes):
    """How a DICOM series keeps a stack, so that masks can be kept beside it.

    Attributes:
      read_frames: Reads the headers of the images again, in the stored order, with what
        says whose they are: no study holds that.
      order: As of `Axes`, of the stored (slices, rows, columns).
      flipped: As of `Axes`.
      late: Whether it says of itself that it is late enhancement or inversion recovery.
    """

    read_frames: Callable[[], Sequence[Frame]]
    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    late: bool


def is_short_axis(normal: np.ndarray) -> bool:
    """Returns whether slices of a normal are, by where hearts mostly point.

    Args:
      normal: (3,) of length 1, along the axes of space as in `Geometry`; either way.
    """
    return abs(float(normal @ _TO_APEX)) > math.cos(math.radians(_SHORT_AXIS_DEG))


@dataclasses.dataclass(frozen=True, eq=False)
class Geometry:
    """Where the voxels of a stack are in the patient.

    Each slice has a place of its own: breath-holds shift and tilt them. All stacks lie
    alike: columns run to the patient's left, rows to the back or the feet, and slices
    from base to apex; `readers.orientation` sees to it.

    Attributes:
      affines: (Z, 4, 4) float64; slice z's takes (column x, row y, 0, 1) to mm, of
        NIfTI's axes of space, which run to the patient's right, front and head.
      spacing_mm: Centre-to-centre voxel spacing (z, y, x); z is that of the header,
        which a single slice needs.
      stored: How the file keeps it; None where there is no file of one array.
    """

    affines: np.ndarray
    spacing_mm: tuple[float, float, float]
    stored: Stored | None = None

    @classmethod
    def upright(cls, slices: int, spacing_mm: tuple[float, float, float]) -> "Geometry":
        """Returns a stack from space's origin to the left, the back and the feet."""
        z, y, x = spacing_mm
        affines = np.tile(np.diag([-x, -y, -z, 1.0]), (slices, 1, 1))
        affines[:, 2, 3] = -z * np.arange(slices)
        return cls(affines, spacing_mm)

    @property
    def orientation_marks(self) -> tuple[str, str, str, str]:
        """Where a slice's left, right, upper and lower edge lie in the patient.

        Each is the letter of what the edge faces most: R, L, A, P, H or F for right,
        left, anterior, posterior, head or feet.
        """
        columns, rows = self.affines[0, :3, 0], self.affines[0, :3, 1]
        ways = (-columns, columns, -rows, rows)
        left, right, top, bottom = (_faces(way / np.linalg.norm(way)) for way in ways)
        return left, right, top, bottom

    @property
    def normal(self) -> np.ndarray:
        """(3,) float64 of length 1, the first slice's, to the apex."""
        normal = np.cross(self.affines[0, :3, 1], self.affines[0, :3, 0])
        return normal / np.linalg.norm(normal)

    @functools.cached_property
    def positions_mm(self) -> np.ndarray:
        """(Z,) float64, of the slices' corners along the first's normal, to the apex."""
        return self.affines[:, :3, 3] @ self.normal

    @functools.cached_property
    def extents_mm(self) -> np.ndarray:
        """(Z,) float64, the length that each slice stands for.

        Half the distance to both neighbours; the first and the last reach as far
        outwards as inwards, and a slice alone has the header's spacing.
        """
        if len(self.affines) == 1:
            return np.array(self.spacing_mm[:1])
        apart_mm = self.apart_mm
        inwards = np.append(apart_mm[:1], apart_mm), np.append(apart_mm, apart_mm[-1:])
        return (inwards[0] + inwards[1]) / 2

    @functools.cached_property
    def apart_mm(self) -> np.ndarray:
        """(Z - 1,) float64, the distance of each slice to the next."""
        return np.abs(np.diff(self.positions_mm))

    @property
    def gaps(self) -> tuple[int, ...]:
        """Slices after which one may be missing: the next is much farther than usual."""
        if not self.apart_mm.size:
            return ()
        usual_mm = np.median(self.apart_mm)
        return tuple(np.flatnonzero(self.apart_mm > _MISSING * usual_mm).tolist())

    @property
    def pixel_mm2(self) -> float:
        """Area of a slice's pixel."""
        return self.spacing_mm[1] * self.spacing_mm[2]

    @property
    def voxels_ml(self) -> np.ndarray:
        """(Z,) float64, the volume that a pixel of each slice stands for."""
        return self.pixel_mm2 * self.extents_mm / 1000

    def volume_ml(self, mask: np.ndarray) -> float:
        """Returns the volume of a (Z, Y, X) bool mask, the slices' gaps included."""
        return float(mask.sum(axis=(1, 2)) @ self.voxels_ml)


def _faces(direction: np.ndarray) -> str:
    axis = int(np.argmax(np.abs(direction).round(6)))  # of equals, the first
    return ("RL", "AP", "HF")[axis][int(direction[axis] < 0)]


@dataclasses.dataclass(frozen=True)
class Point:
    """A place on a study's grid.

    Attributes:
      slice: From the base, 0.
      row: With fractions; whole numbers are pixels' centres.
      column: The same.
      said: Where the file has it, in words.
    """

    slice: int
    row: float
    column: float
    said: str


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """One patient's short-axis LGE stack, with the expert's contours where they exist.

    Attributes:
      patient: Name that is unique within the data set.
      image: (Z, Y, X) float32 intensities in the scanner's arbitrary unit.
      geometry: Where its voxels are.
      myocardium: (Z, Y, X) bool, the LV myocardium including any scar; None where
        the study has no contours.
      scar: (Z, Y, X) bool, infarct and no-reflow; None where the study has none, and
        where several readers drew it, until `consensus.settle` has made one of theirs.
      cavity: (Z, Y, X) bool, the LV's; None where it was not drawn.
      no_reflow: (Z, Y, X) bool, part of the scar; None where it was not told apart.
      readers: (Z, Y, X) bool, the scar by each of several readers, by name.
      files: What the study was read from, for messages; empty for the phantom, and for
        DICOM, whose files' names may say whose they are.
      phase_sensitive: Whether the image kept the sign of the signal; None where the
        file does not say.
      series: How DICOM keeps it; None of other files.
      right_ventricle: (Z, Y, X) bool; None where it was not drawn.
      remote: (Z, Y, X) bool, healthy myocardium as a reader marked it, or None.
      excluded: (Z, Y, X) bool, what a reader said is no scar however bright, or None.
      brightest: (Z, Y, X) bool, where a reader marked the brightest scar, or None.
      insertions: Where the right ventricle joins the left, as a user saw it: nowhere,
        or the anterior insertion, or that and the inferior one.

    Raises:
      InputError: If the arrays do not agree or hold values no scanner gives.
    """

    patient: str
    image: np.ndarray
    geometry: Geometry
    myocardium: np.ndarray | None = None
    scar: np.ndarray | None = None
    cavity: np.ndarray | None = None
    no_reflow: np.ndarray | None = None
    readers: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    files: tuple[Path, ...] = ()
    phase_sensitive: bool | None = None
    series: Series | None = None
    right_ventricle: np.ndarray | None = None
    remote: np.ndarray | None = None
    excluded: np.ndarray | None = None
    brightest: np.ndarray | None = None
    insertions: tuple[Point, ...] = ()

    def __post_init__(self) -> None:
        where = f"{self.files[0] if self.files else 'patient ' + self.patient}"
        if self.image.ndim != 3 or 0 in self.image.shape:
            raise InputError(
                f"{where}: an image of shape {self.image.shape}; expected a stack"
                " of slices with three non-empty axes"
            )
        bad = ~np.isfinite(self.image)
        if bad.any():
            slices = ", ".join(str(z) for z in np.flatnonzero(bad.any(axis=(1, 2))))
            raise InputError(
                f"{where}: {int(bad.sum())} NaN or infinite voxels in slices {slices} (0"
                " is the base); replace them in the file or leave the patient out"
            )
        if not all(np.isfinite(s) and s > 0 for s in self.spacing_mm):
            raise InputError(
                f"{where}: voxel spacing {self.spacing_mm} mm; expected three positive"
                " lengths: mend the header"
            )
        beside = {"right ventricle": self.right_ventricle, "remote": self.remote}
        beside |= {"excluded": self.excluded, "brightest": self.brightest}
        beside |= self.readers
        for name, mask in {**self.masks, **beside}.items():
            if mask is not None and mask.shape != self.image.shape:
                raise InputError(
                    f"{where}: the {name} mask has shape {mask.shape}, the image"
                    f" {self.image.shape}; both must lie on one grid"
                )

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Centre-to-centre voxel spacing (z, y, x)."""
        return self.geometry.spacing_mm

    @property
    def masks(self) -> dict[str, np.ndarray | None]:
        """What was drawn, by name, from the most general to the most special."""
        names = ("cavity", "myocardium", "scar", "no_reflow")
        return {name: getattr(self, name) for name in names}


@dataclasses.dataclass(frozen=True, eq=False)
class Slices:
    """Prepared slices of one or more patients, in the order of their names.

    Attributes:
      image: (N, 64, 64, C) float32, what the network sees, `crop.network_input`.
      crop: (N, 64, 64) float32 intensities of the crop, to look at.
      myocardium: (N, 64, 64) bool.
      scar: (N, 64, 64) bool.
      patient: (N,) str.
      slice: (N,) int, counted from 0 within the patient.
      labelled: (N,) bool, whether the patient has contours.
      contained: (N,) bool, whether the crop holds the slice's whole myocardium.
      centre_px: (N, 2) float64, the crop's centre (y, x) on the patient's slice.
      spacing_mm: (N, 3) float64, voxel spacing (z, y, x) of the patient's stack.
      side_mm: (N,) float64, the length of the crop's sides.
      pixel_mm: (N,) float32, pixel size of the crop.
    """

    image: np.ndarray
    crop: np.ndarray
    myocardium: np.ndarray
    scar: np.ndarray
    patient: np.ndarray
    slice: np.ndarray
    labelled: np.ndarray
    contained: np.ndarray
    centre_px: np.ndarray
    spacing_mm: np.ndarray
    side_mm: np.ndarray
    pixel_mm: np.ndarray

    @property
    def pixel_mm2(self) -> np.ndarray:
        """(N,) float64, the area of a pixel of each slice's crop."""
        return self.pixel_mm.astype(np.float64) ** 2

    def take(self, which: np.ndarray) -> "Slices":
        """Returns the slices that an index or a mask selects."""
        names = [field.name for field in dataclasses.fields(self)]
        return Slices(**{name: getattr(self, name)[which] for name in names})

    @classmethod
    def concatenate(cls, parts: Sequence["Slices"]) -> "Slices":
        """Returns the slices of several, one after the other."""
        names = [field.name for field in dataclasses.fields(cls)]
        columns = {n: np.concatenate([getattr(p, n) for p in parts]) for n in names}
        return cls(**columns)
