"""The 17 segments of the American Heart Association, and the scar in each.

Cerqueira 2002, doi:10.1161/hc0402.102975.

Levels: equal thirds of the length over which the wall is a ring, splitting a slice where
a third ends in it (as Segment does; others round to whole slices). Slices at the base
whose wall is open, as at the outflow tract, are in no segment, though in every mass;
myocardium without a cavity at the apex is segment 17.

Angles: seen from the apex, segments follow each other counter-clockwise, and the middle
of the septum is where 2 meets 3, 8 meets 9, and the middle of 14 (as Segment and
UKB's cardiac_utils). Insertions of the right ventricle are seldom 120 degrees apart, so
the anterior one need not lie where 1 meets 2; that it should is unverified, and how far
off it lies is told.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from scarseg_jax.errors import InputError
from scarseg_jax.measure.grid import on_grid
from scarseg_jax.measure.mass import percent
from scarseg_jax.measure.transmurality import Chords, chords_of, depth_percent
from scarseg_jax.measure.walls import Shape, Wall, walls_of
from scarseg_jax.study import Geometry, Study, is_short_axis

_WALLS = ("anterior", "anteroseptal", "inferoseptal")
_WALLS += ("inferior", "inferolateral", "anterolateral")
NAMES = (
    *(f"{level} {wall}" for level in ("basal", "mid") for wall in _WALLS),
    *(f"apical {wall}" for wall in ("anterior", "septal", "inferior", "lateral")),
    "apex",
)
APEX = len(NAMES)
_SECTORS = (6, 6, 4)  # of the levels
# Per cent, of which each is the last of its bin. Kim 2000,
# doi:10.1056/NEJM200011163432003 (unverified); doi:10.1038/s41598-017-15353-1.
BINS = {"0": 0, "1-25": 25, "26-50": 50, "51-75": 75, "76-100": 100}
_LEAST_SCAR_MM2 = 10.0  # less in all of a segment's slices is in the bin of none
_LEAST_RINGS = 3
# The axes of space run to the patient's right, front and head (NIfTI).
_RIGHT_AND_FRONT = np.array([1.0, 1.0, 0.0]) / np.sqrt(2)
ESTIMATED = "the patient's right and front, an estimate"
_CONTACT_PX = 2.0  # of the epicardium with the right ventricle, beyond the nearest


@dataclasses.dataclass(frozen=True)
class Reference:
    """Where the septum is, by angles of `Wall.angle_deg`.

    Attributes:
      mid_septum_deg: Its middle.
      anterior_deg: The anterior insertion of the right ventricle.
      inferior_deg: The inferior one; None where it was not given.
      source: What told it, in words.
    """

    mid_septum_deg: float
    anterior_deg: float
    inferior_deg: float | None
    source: str

    @property
    def estimated(self) -> bool:
        """Whether nothing in the study showed it: `by_patients_axes`."""
        return self.source == ESTIMATED

    @property
    def border_off_deg(self) -> float:
        """How far the anterior insertion is from where 1 meets 2, towards 2."""
        off = self.anterior_deg - (self.mid_septum_deg - 60)
        return (off + 180) % 360 - 180


@dataclasses.dataclass(frozen=True)
class Segment:
    """One segment; None is what cannot be known.

    Attributes:
      number: 1 to 17.
      name: Of `NAMES`.
      volume_ml: Of its myocardium.
      scar_of_segment_percent: Of that volume: a share of areas.
      scar_bin: The same as one of `BINS`.
      transmurality_percent: Mean over all its chords, those without scar at 0: a share
        of lines. The apex has no chords.
      transmurality_bin: The same as one of `BINS`.
      transmurality_of_scar_percent: Mean over the chords with scar.
    """

    number: int
    name: str
    volume_ml: float | None = None
    scar_of_segment_percent: float | None = None
    scar_bin: str | None = None
    transmurality_percent: float | None = None
    transmurality_bin: str | None = None
    transmurality_of_scar_percent: float | None = None


@dataclasses.dataclass(frozen=True)
class Segments:
    """The segments of a heart.

    Attributes:
      each: The 17, by their number.
      reference: None where nothing told the septum: then 1 to 16 are not known.
      slices_used: Those with a ring, and those of the apex, from 0.
      warnings: What keeps them from being known, or known well; sentences.
    """

    each: tuple[Segment, ...]
    reference: Reference | None
    slices_used: tuple[int, ...]
    warnings: tuple[str, ...]

    @property
    def referenced(self) -> bool:
        """Whether it is known where the septum is."""
        return self.reference is not None


def bin_of(percentage: float | None) -> str | None:
    """Returns the name of the bin; above 0 none is called none, however little."""
    if percentage is None:
        return None
    rounded = round(percentage, 9)  # what is all but rounding is its whole number
    return next((name for name, last in BINS.items() if rounded <= last), "76-100")


def from_insertions(
    study: Study,
    anterior: tuple[float, float, float],
    inferior: tuple[float, float, float] | None = None,
) -> Reference:
    """Returns the reference that the right ventricle's insertions give.

    With one alone the septum is taken to be 120 degrees wide, so that 1 meets 2 there.

    Args:
      study: With its myocardium.
      anterior: (slice, row, column) indices, rows and columns with fractions.
      inferior: The same.

    Raises:
      InputError: If a point's slice has no wall around a cavity, or it lies outside.
    """
    walls = walls_of(study)
    start = _angle_of(study, walls, anterior, "anterior")
    if inferior is None:
        source = "the anterior insertion, with a septum of 120 degrees"
        return Reference((start + 60) % 360, start, None, source)
    end = _angle_of(study, walls, inferior, "inferior")
    middle = (start + (end - start) % 360 / 2) % 360
    return Reference(middle, start, end, "both insertions")


def reference_of(study: Study) -> Reference | None:
    """Returns where the septum is, by what a user has shown of it; None: by nothing.

    The insertions that were pointed at come first, then a mask of the right ventricle,
    which may be there though nobody asked to turn segments: beside no ring it shows
    nothing.

    Args:
      study: With its myocardium, if it has any insertion.

    Raises:
      InputError: As `from_insertions`, or if the right ventricle has another grid.
    """
    if study.insertions:
        points = [(one.slice, one.row, one.column) for one in study.insertions]
        found = from_insertions(study, *points)
        said = " and ".join(one.said for one in study.insertions)
        return dataclasses.replace(found, source=f"{found.source} ({said})")
    right_ventricle = study.right_ventricle
    if right_ventricle is None or not right_ventricle.any():
        return None
    if not beside_a_ring(study, right_ventricle):
        return None
    return from_right_ventricle(study, right_ventricle)


def by_patients_axes(study: Study) -> Reference | None:
    """Returns where the septum is likely to be: to the patient's right and front.

    An estimate for those who ask for it, from how hearts mostly lie: nothing in the image
    is looked at. None where the slices do not lie as short-axis ones do, such as in files
    that do not say how the patient lay, and without a myocardium.
    """
    geometry, wall = study.geometry, study.myocardium
    if wall is None or not wall.any() or not is_short_axis(geometry.normal):
        return None
    ways = geometry.affines[0, :3, :2]  # of columns and rows
    right, down = _RIGHT_AND_FRONT @ (ways / np.linalg.norm(ways, axis=0))
    middle = float(np.degrees(np.arctan2(-down, right))) % 360
    return Reference(middle, (middle - 60) % 360, None, ESTIMATED)


def beside_a_ring(study: Study, right_ventricle: np.ndarray) -> bool:
    """Returns whether a slice has both a ring of myocardium and the right ventricle."""
    if study.myocardium is None:
        return False
    right_ventricle = on_grid("right ventricle", right_ventricle, study.image.shape)
    return any(
        wall.shape is Shape.RING and right_ventricle[z].any()
        for z, wall in enumerate(walls_of(study))
    )


def _angle_of(
    study: Study, walls: Sequence[Wall], point: tuple[float, float, float], name: str
) -> float:
    z, y, x = point
    if z not in range(len(walls)) or walls[int(z)].shape is not Shape.RING:
        rings = [i for i, wall in enumerate(walls) if wall.shape is Shape.RING]
        raise InputError(
            f"patient {study.patient}: the {name} insertion in slice {z:g} from the base"
            f" (0); expected one whose myocardium is a ring, of {rings}: give the point"
            " in such a slice"
        )
    height, width = study.image.shape[1:]
    if not (0 <= y < height and 0 <= x < width):
        raise InputError(
            f"patient {study.patient}: the {name} insertion at row {y:g}, column {x:g};"
            f" expected a point of {height} x {width} pixels: give (slice, row, column)"
        )
    return float(walls[int(z)].angle_deg(y, x))


def from_right_ventricle(study: Study, right_ventricle: np.ndarray) -> Reference:
    """Returns the reference that a mask of the right ventricle gives.

    In each slice with a ring the septum is the epicardial border within 2 pixels of what
    is nearest to the right ventricle, without the greatest gap in it, and its ends are
    the insertions. The stack's are the mean directions over the slices.

    Args:
      study: With its myocardium.
      right_ventricle: (Z, Y, X) bool.

    Raises:
      InputError: If no slice has both, or the grids differ.
    """
    walls = walls_of(study)
    right_ventricle = on_grid("right ventricle", right_ventricle, study.image.shape)
    septa = [
        _septum(wall, right_ventricle[z])
        for z, wall in enumerate(walls)
        if wall.shape is Shape.RING and right_ventricle[z].any()
    ]
    if not septa:
        raise InputError(
            f"patient {study.patient}: a right ventricle of"
            f" {int(right_ventricle.sum())} pixels, none beside a ring of myocardium;"
            " expected one slice with both: give an insertion point instead"
        )
    anterior, inferior = (_mean_deg(ends) for ends in zip(*septa, strict=True))
    middle = (anterior + (inferior - anterior) % 360 / 2) % 360
    source = f"a mask of the right ventricle in {len(septa)} slices"
    return Reference(middle, anterior, inferior, source)


def _septum(wall: Wall, right_ventricle: np.ndarray) -> tuple[float, float]:
    """Returns the angles of the anterior and the inferior insertion."""
    border = wall.outer & ~np.asarray(ndimage.binary_erosion(wall.outer), bool)
    away = ndimage.distance_transform_edt(~right_ventricle, sampling=wall.pixel_mm)
    away = np.asarray(away)[border]
    touching = away <= away.min() + _CONTACT_PX * max(wall.pixel_mm)
    y, x = np.nonzero(border)
    angles = np.sort(wall.angle_deg(y[touching], x[touching]))
    gaps = np.diff(angles, append=angles[0] + 360)
    last = int(gaps.argmax())  # the arc ends before the greatest gap
    return float(angles[(last + 1) % angles.size]), float(angles[last])


def _mean_deg(angles: Sequence[float]) -> float:
    return float(np.degrees(np.angle(np.exp(1j * np.radians(angles)).mean())) % 360)


def segments_of(
    study: Study,
    scar: np.ndarray,
    reference: Reference | None,
    *,
    walls: Sequence[Wall] | None = None,
    chords: Chords | None = None,
) -> Segments:
    """Returns the scar in each segment.

    A chord stands for its piece of the midline times the length of its slice that lies
    in the segment's third. Scar outside the myocardium is in no segment.

    Args:
      study: With its myocardium.
      scar: (Z, Y, X) bool, no-reflow included.
      reference: Where the septum is; None leaves 1 to 16 unknown.
      walls: From `walls_of`, where they are there already.
      chords: From `chords_of` of the same, likewise.

    Raises:
      InputError: If the study has no myocardium, or the scar another grid.
    """
    walls, geometry = walls or walls_of(study), study.geometry
    scar = on_grid("scar", scar, study.image.shape)
    rings = [z for z, wall in enumerate(walls) if wall.shape is Shape.RING]
    caps = [
        z
        for z, wall in enumerate(walls)
        if wall.shape is Shape.SOLID and rings and z > rings[-1]
    ]
    each = [Segment(number, name) for number, name in enumerate(NAMES, start=1)]
    if reference is not None and len(rings) >= _LEAST_RINGS:
        found = chords or chords_of(walls, scar)
        lines = _Parts(found.slice, found.angle_deg, found.width_mm, found.scar)
        pixels = _pixels(walls, scar, rings)
        number = 0
        for share, sectors in zip(_thirds(rings, geometry), _SECTORS, strict=True):
            for sector in range(sectors):
                own, rays = (
                    parts.take(parts.sector(reference, sectors) == sector)
                    for parts in (pixels, lines)
                )
                number += 1
                each[number - 1] = _segment(number, own, rays, share, geometry)
    if caps:
        cap = _pixels(walls, scar, caps)
        each[-1] = _segment(APEX, cap, None, np.ones(len(walls)), geometry)
    return Segments(
        tuple(each),
        reference,
        (*rings, *caps),
        (*_gaps(walls, rings, caps), *_doubts(reference)),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Parts:
    """Pixels or chords: (n,) slice, angle, size in the slice, and share of scar."""

    slice: np.ndarray
    angle_deg: np.ndarray
    size: np.ndarray
    scar: np.ndarray

    def take(self, which: np.ndarray) -> "_Parts":
        return _Parts(*(column[which] for column in vars(self).values()))

    def sector(self, reference: Reference, sectors: int) -> np.ndarray:
        """Returns (n,) int, counted from the anterior one towards the septum."""
        width = 360 / sectors
        start = reference.mid_septum_deg - (120 if sectors == 6 else 135)
        # An angle that is all but a border's is the border's.
        turned = np.round(self.angle_deg - start, 9) % 360
        return (turned // width).astype(int)


def _pixels(walls: Sequence[Wall], scar: np.ndarray, slices: Sequence[int]) -> _Parts:
    rows = []
    for z in slices:
        y, x = np.nonzero(walls[z].myocardium)
        rows.append([np.full(y.size, z), walls[z].angle_deg(y, x), scar[z, y, x]])
    z, angle, scarred = (np.concatenate(part) for part in zip(*rows, strict=True))
    return _Parts(z, angle, np.ones(z.size), scarred)


def _segment(
    number: int,
    pixels: _Parts,
    chords: _Parts | None,
    share: np.ndarray,
    geometry: Geometry,
) -> Segment:
    """Returns a segment of (Z,) shares of slices' pixels and chords."""
    ml = (share * geometry.voxels_ml)[pixels.slice] * pixels.size
    scar_mm2 = geometry.pixel_mm2 * share[pixels.slice] @ pixels.scar
    volume_ml = float(ml.sum())
    depth = depth_of_scar = None
    if chords is not None:
        mm2 = (share * geometry.extents_mm)[chords.slice] * chords.size
        depth, depth_of_scar = depth_percent(chords.scar, mm2)
    scarred = percent(float((ml * pixels.scar).sum()), volume_ml)
    none = "0" if scar_mm2 < _LEAST_SCAR_MM2 else None
    return Segment(
        number=number,
        name=NAMES[number - 1],
        volume_ml=volume_ml,
        scar_of_segment_percent=scarred,
        scar_bin=None if scarred is None else none or bin_of(scarred),
        transmurality_percent=depth,
        transmurality_bin=None if depth is None else none or bin_of(depth),
        transmurality_of_scar_percent=depth_of_scar,
    )


def _thirds(rings: Sequence[int], geometry: Geometry) -> np.ndarray:
    """Returns (3, Z) shares of each slice's length in the basal, mid and apical third."""
    inside = np.zeros(len(geometry.affines))
    inside[rings[0] : rings[-1] + 1] = geometry.extents_mm[rings[0] : rings[-1] + 1]
    ends = np.cumsum(inside)
    starts, borders = ends - inside, np.linspace(0, ends[-1], 4)
    shared = np.minimum(ends, borders[1:, None]) - np.maximum(starts, borders[:3, None])
    return np.clip(shared, 0, None) / np.where(inside > 0, inside, 1)


def _gaps(
    walls: Sequence[Wall], rings: Sequence[int], caps: Sequence[int]
) -> list[str]:
    """Returns what is lacking in the stack, and what of it is in no segment."""
    drawn = [z for z, wall in enumerate(walls) if wall.shape is not Shape.NONE]
    said = []
    for z in drawn:
        if z not in rings and z not in caps:
            said.append(
                f"Slice {z}, {walls[z].shape.value}, is in the mass and in no segment."
            )
    for z in sorted(set(range(drawn[0], drawn[-1])) - set(drawn)) if drawn else ():
        said.append(f"Slice {z} lies between drawn ones and has no myocardium.")
    if len(rings) < _LEAST_RINGS:
        said.append(
            f"{len(rings)} slices with a ring of myocardium have no thirds: segments 1"
            " to 16 are not known."
        )
    if rings and rings[0] == 0:
        said.append("The stack begins with a ring: the base may reach further.")
    if rings and not caps:
        reach = (
            "The stack ends with a ring and does not reach the apex"
            if rings[-1] == len(walls) - 1
            else "No myocardium without a cavity is drawn at the apex"
        )
        said.append(f"{reach}: segment 17 is not known.")
    return said


def _doubts(reference: Reference | None) -> list[str]:
    if reference is None:
        return ["Nothing tells where the septum is: segments 1 to 16 are not known."]
    said = [f"Segments are turned by {reference.source}."]
    if reference.estimated:
        said.append(
            "That can be off by a segment: look where the right ventricle joins the left,"
            " and show it (--rv_insertion)."
        )
    if abs(reference.border_off_deg) >= 1:
        said.append(
            f"The anterior insertion is {abs(reference.border_off_deg):.0f} degrees from"
            " where segment 1 meets 2, as segments are centred on the septum."
        )
    return said
