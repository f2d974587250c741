"""A simulator of short-axis LGE stacks, where the truth is known.

Shapes painted over one another by the share of a pixel they cover give partial volume,
an inversion recovery near the null of normal myocardium the signal, noise in the
k-space of a coarser matrix the image. Lengths are mm. Angles run from the image's right
(lateral wall) to its bottom (inferior), levels from 0 (basal slice) to 1 (apical).

Sources: relaxation rates 15 minutes after contrast, 2 to 2.5 per second in healthy and
3.5 to 4 in fibrotic myocardium (Warntjes et al. 2010, doi:10.1186/1471-2342-10-19,
abstract); scars' sizes and share of slices: the paper's section 4. All other measures
are representative, unverified; textures and noise make thresholds score as on patients.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from scarseg_jax.study import Geometry, Study


class Tissue(NamedTuple):
    """Longitudinal relaxation time after contrast (ms) and proton density."""

    t1_ms: float
    density: float


MYOCARDIUM, SCAR = Tissue(445, 0.95), Tissue(267, 0.95)
BLOOD, FAT, MUSCLE = Tissue(325, 1.0), Tissue(240, 1.0), Tissue(600, 0.75)
LIVER, STOMACH, LUNG = Tissue(370, 0.8), Tissue(750, 0.7), Tissue(500, 0.1)

SMALLEST_SCAR_MM2 = 45.0  # 20 pixels of 1.49 mm: paper, section 4
_TERRITORIES = (-2.1, 1.9, 0.3)  # where those of LAD, RCA and LCx are centred
# Outlines are tables over these angles: computed once, looked up at every pixel.
_ANGLES = np.linspace(-np.pi, np.pi, 2048, endpoint=False)
# Mean (mm, or a share) and greatest relative harmonics 0, 1, 2, ... of each outline.
_OUTLINES = {
    "epicardium": (35, (0.22, 0, 0.045, 0.025, 0.015)),
    "wall": (11, (0.3, 0.15, 0.12, 0.07)),
    "right": (25, (0.3,)),  # depth of the right ventricle
    "fat": (2, (0.3, 0.8, 0.8, 0.8, 0.5)),  # on the heart
    "chest": (145, (0.08, 0, 0.1, 0.04)),
    "skin": (16, (0.5, 0.4, 0.4, 0.2)),  # fat under it
    "stomach": (40, (0.2, 0, 0.2, 0.12, 0.08)),
    "infarct": (1, (0, 0.17, 0.17, 0.2, 0.2, 0.17, 0.17, 0.14, 0.14)),
}


class Sequence(NamedTuple):
    """How one patient is imaged."""

    inversion_ms: float
    repetition_ms: float  # between inversions: two heartbeats
    phase_sensitive: bool = True  # whether the sign of the signal is kept
    noise: float = 0.0  # deviation in each channel, in units of full magnetisation
    acquired: float = 1.0  # share of each of k-space's axes
    coil: tuple[float, float] = (0.0, 0.0)  # (y, x) change of log sensitivity

    def signal(self, tissue: Tissue, deviation: np.ndarray | float = 0) -> np.ndarray:
        """Returns density (1 - 2 exp(-TI / T1) + exp(-TR / T1)); 1 / T1 deviates."""
        rate = (1 + np.asarray(deviation, np.float32)) / np.float32(tissue.t1_ms)
        inverted = 1 - 2 * np.exp(-self.inversion_ms * rate)
        return tissue.density * (inverted + np.exp(-self.repetition_ms * rate))


class _Patient(NamedTuple):
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    centre_mm: np.ndarray  # of the LV at mid-stack, (y, x) from the image's middle
    tilt_mm: np.ndarray  # its way from the first to the last slice
    outline: dict[str, np.ndarray]  # over _ANGLES, at the base
    scar_angle: float
    scar_half_width: float
    scar_depth: float  # share of the wall; above 1, transmural over a longer stretch
    scar_levels: tuple[float, float]
    scar_uptake: float  # of contrast agent, relative
    no_reflow: float  # share of the scar's depth; 0 is none
    blood: float = 0.0  # relative deviation of its 1 / T1


class _Plane(NamedTuple):
    y: np.ndarray
    x: np.ndarray
    pixel_mm: float
    rough: np.ndarray  # textures, from fine to coarse
    mottle: np.ndarray
    lumps: np.ndarray

    def share(self, inside_mm: np.ndarray) -> np.ndarray:
        """Returns the share of each pixel within a border this far from its centre."""
        return np.clip(0.5 + inside_mm / self.pixel_mm, 0, 1)

    def polar(self, y: float, x: float) -> tuple[np.ndarray, np.ndarray]:
        """Returns the distance from a point, and the index into _ANGLES about it."""
        down, right = self.y - np.float32(y), self.x - np.float32(x)
        turn = np.arctan2(down, right) / (2 * np.pi) + 0.5
        index = (turn * len(_ANGLES) + 0.5).astype(np.int32) % len(_ANGLES)
        return np.hypot(down, right), index


def list_patients(count: int = 30) -> tuple[str, ...]:
    """Returns the names of so many patients."""
    return tuple(f"phantom_{number:03d}" for number in range(1, count + 1))


def simulate_study(patient: str, *, seed: int = 0, wide: bool = False) -> Study:
    """Returns a patient's study; it depends on the arguments alone.

    A voxel is myocardium, or scar, where more than half of it is. The scar includes
    its border, which takes up less contrast agent, and its dark core. Another seed
    gives other patients of the same names, which are those of `list_patients`.

    Args:
      patient: The name.
      seed: Another one gives others.
      wide: Whether hearts, scars and images differ far more than real ones do, as to
        learn from: a quarter is without scar, others have up to all of the wall scarred.
    """
    rng = np.random.default_rng([seed, int(patient.rpartition("_")[2])])
    drawn, sequence = _draw_patient(rng), _draw_sequence(rng)
    if wide:
        drawn, sequence = _widen_patient(rng, drawn), _widen_sequence(rng, sequence)
    slices = [_slice(rng, z, drawn, sequence) for z in range(drawn.shape[0])]
    image, *masks = (np.stack(part) for part in zip(*slices, strict=True))
    myocardium, scar, cavity = masks
    # Scanners store whole numbers; phase-sensitive images have their zero mid-range.
    image = np.rint(2000 * image + (2048 if sequence.phase_sensitive else 0))
    image = np.clip(image, 0, 4095).astype(np.float32)
    geometry = Geometry.upright(len(image), drawn.spacing_mm)
    return Study(
        *(patient, image, geometry),
        myocardium=myocardium,
        scar=scar,
        cavity=cavity,
        phase_sensitive=sequence.phase_sensitive,
    )


def null_time_ms(t1_ms: float, repetition_ms: float) -> float:
    """Returns the inversion time at which tissue of this T1 gives no signal."""
    return t1_ms * float(np.log(2 / (1 + np.exp(-repetition_ms / t1_ms))))


def acquire(rng, signal: np.ndarray, sequence: Sequence) -> np.ndarray:
    """Returns the image of a (Y, X) slice, in units of full magnetisation.

    Noise has the bandwidth of the acquired part of k-space; the rest is zero.
    """
    y, x = (np.linspace(-0.5, 0.5, n) for n in signal.shape)
    seen = signal * np.exp(sequence.coil[0] * y[:, None] + sequence.coil[1] * x)
    # A taper over the outer half of the acquired part, against ringing.
    edge = (4 * np.abs(np.fft.fftfreq(n)) / sequence.acquired for n in signal.shape)
    window = np.outer(*(np.clip(2 - e, 0, 1) for e in edge))
    real, imaginary = rng.standard_normal((2, *signal.shape))
    noise = (real + 1j * imaginary) * sequence.noise / np.sqrt(np.mean(window**2))
    image = np.fft.ifft2(np.fft.fft2(seen + noise) * window)
    return image.real if sequence.phase_sensitive else np.abs(image)


def _draw_patient(rng: np.random.Generator) -> _Patient:
    rows, columns = ((256, 256), (256, 256), (208, 256), (256, 216))[rng.integers(4)]
    # Of so few digits that a NIfTI file keeps it: such a patient reads back the same.
    pixel = round(float(np.clip(rng.normal(1.49, 0.06), 1.35, 1.65)), 4)
    outline = {}
    for name, (mean, largest) in _OUTLINES.items():
        orders = np.arange(len(largest))
        phase = rng.uniform(0, 2 * np.pi, len(orders)) * (orders > 0)
        waves = np.cos(np.outer(_ANGLES, orders) + phase)
        outline[name] = mean * (1 + waves @ (largest * rng.uniform(-1, 1, len(orders))))
    centre = rng.choice(_TERRITORIES, p=(0.5, 0.3, 0.2))
    return _Patient(
        shape=(int(rng.integers(8, 10)), rows, columns),
        spacing_mm=(float(rng.choice([8.0, 9.0, 10.0])), pixel, pixel),
        centre_mm=np.clip(rng.normal(0, 10, 2), -21, 21),
        tilt_mm=rng.normal(0, 4, 2),
        outline=outline,
        scar_angle=float(centre + rng.normal(0, 0.25)),
        scar_half_width=float(0.5 + 2.6 * rng.random() ** 1.6),
        scar_depth=float(0.5 + 1.2 * rng.random() ** 1.2),
        scar_levels=((-1, 2), (-1, 2), (-1, 2), (0.25, 2), (-1, 0.8))[rng.integers(5)],
        scar_uptake=float(np.clip(rng.normal(0.95, 0.2), 0.5, 1.3)),
        no_reflow=float(rng.uniform(0.35, 0.6) * (rng.random() < 0.35)),
    )


def _draw_sequence(rng: np.random.Generator) -> Sequence:
    repetition_ms = 2 * float(np.clip(rng.normal(900, 120), 600, 1200))
    null_ms = null_time_ms(MYOCARDIUM.t1_ms, repetition_ms)
    return Sequence(
        inversion_ms=null_ms * float(np.clip(rng.normal(1.03, 0.05), 0.95, 1.12)),
        repetition_ms=repetition_ms,
        phase_sensitive=bool(rng.random() < 0.6),
        noise=float(rng.uniform(0.01, 0.03)),
        acquired=float(rng.uniform(0.55, 0.85)),
        coil=tuple(rng.normal((-0.6, -0.5), 0.3)),
    )


def _widen_patient(rng: np.random.Generator, patient: _Patient) -> _Patient:
    """Returns another patient, by far wider ranges than any scanner's or hospital's.

    Wide on purpose: what learns from images of any contrast and shape is to know real
    ones as further cases (B. Billot et al. 2023, doi:10.1016/j.media.2023.102789
    (unverified), do so for brains).
    """
    pixel = round(float(rng.uniform(0.8, 2.1)), 4)
    side = 8 * round(float(rng.uniform(260, 400)) / pixel / 8)
    size = rng.uniform(0.6, 1.2)
    sizes = {"epicardium": size, "wall": size * rng.uniform(0.6, 1.25)}
    return patient._replace(
        shape=(int(rng.integers(4, 15)), side, side),
        spacing_mm=(float(rng.choice([5.0, 6.0, 8.0, 10.0, 13.0])), pixel, pixel),
        outline={
            name: own * sizes.get(name, 1) for name, own in patient.outline.items()
        },
        scar_angle=float(rng.uniform(-np.pi, np.pi)),
        scar_half_width=float(rng.uniform(0.3, 3.1)),
        scar_depth=float(rng.uniform(0.3, 1.7) * (rng.random() < 0.75)),
        scar_uptake=float(rng.uniform(0.35, 1.5)),
        no_reflow=float(rng.uniform(0.2, 0.7) * (rng.random() < 0.35)),
        blood=float(rng.uniform(-0.3, 0.3)),
    )


def _widen_sequence(rng: np.random.Generator, sequence: Sequence) -> Sequence:
    """Returns another sequence: see `_widen_patient`."""
    null_ms = null_time_ms(MYOCARDIUM.t1_ms, sequence.repetition_ms)
    return sequence._replace(
        inversion_ms=null_ms * float(rng.uniform(0.9, 1.3)),
        phase_sensitive=bool(rng.random() < 0.5),
        noise=float(np.exp(rng.uniform(np.log(0.005), np.log(0.06)))),
        acquired=float(rng.uniform(0.4, 1.0)),
        coil=tuple(rng.normal(0, 0.7, 2)),
    )


def _slice(rng, z: int, patient: _Patient, sequence: Sequence):
    """Returns a slice's image, its myocardium, its scar and its cavity."""
    pixel = patient.spacing_mm[1]
    index = np.indices(patient.shape[1:], np.float32)
    y, x = (pixel * (i - i.max() / 2) for i in index)
    texture = [_texture(rng, y.shape, scale_mm / pixel) for scale_mm in (1.5, 3.5, 9)]
    plane = _Plane(y, x, pixel, *texture)
    levels = [(z + part) / (patient.shape[0] - 1) for part in (-0.27, 0, 0.27)]
    body = _body(plane, levels[1], patient, sequence)
    # Readers draw no specks, so there are none: such a slice is made without scar.
    for depth in (patient.scar_depth, 0.0):
        lesion = patient._replace(scar_depth=depth)
        samples = [_heart(body, plane, level, lesion, sequence) for level in levels]
        signal, *shares = (np.mean(s, axis=0) for s in zip(*samples, strict=True))
        wall, scar, cavity = (share > 0.5 for share in shares)
        if scar.sum() * pixel**2 >= SMALLEST_SCAR_MM2:
            break
    return acquire(rng, signal, sequence), wall, scar, cavity


def _body(plane: _Plane, level: float, patient: _Patient, sequence: Sequence):
    """Returns the signal of all but the heart: chest wall, lung, abdomen."""
    y, x, _, _, mottle, lumps = plane
    heart_y, heart_x = patient.centre_mm
    image = np.zeros_like(y)

    def paint(inside_mm: np.ndarray, tissue: Tissue, uneven: float = 0.04) -> None:
        signal = sequence.signal(tissue, uneven * lumps)
        image[:] += plane.share(inside_mm) * (signal - image)

    # The chest wall passes in front of the right ventricle, at the left.
    outer, right = (patient.outline[name].mean() for name in ("epicardium", "right"))
    distance, angle = plane.polar(heart_y + 50, heart_x + 110 - outer - right)
    skin = patient.outline["chest"][angle] - distance
    muscle = skin - np.maximum(patient.outline["skin"], 4)[angle]
    paint(skin, FAT)
    paint(muscle, MUSCLE)
    paint(muscle - 10, LUNG)
    paint(np.minimum(muscle - 15, 2 * mottle - 5), BLOOD)  # vessels in the lung
    # The diaphragm rises towards the apex.
    dome = heart_y + outer + 3 - 14 * level + ((x - heart_x) / 22) ** 2
    belly = np.minimum(y - dome, muscle - 7)
    paint(belly, FAT)
    gap = np.abs(x - heart_x - 8 - 0.3 * (y - heart_y)) - 2 - 2 * lumps
    paint(np.minimum(belly - 2, gap), LIVER, 0.05)
    distance, angle = plane.polar(heart_y + outer + 44, heart_x + 55)
    stomach = np.minimum(patient.outline["stomach"][angle] - distance, belly - 4)
    paint(stomach, LIVER, 0.1)
    paint(stomach - 6 + mottle, STOMACH)
    return image


def _heart(under, plane: _Plane, level: float, patient: _Patient, sequence: Sequence):
    """Returns the signal with the heart over it, and shares of wall, scar, cavity."""
    _, _, _, rough, mottle, lumps = plane
    distance, angle = plane.polar(*patient.centre_mm + patient.tilt_mm * (level - 0.5))
    tables = _outlines(level, patient)
    reach, dark, wall_mm, outer, right, fat = (table[angle] for table in tables)
    image = under.copy()

    def paint(inside_mm: np.ndarray, signal: np.ndarray) -> None:
        image[:] += plane.share(inside_mm) * (signal - image)

    paint(right + fat - distance, sequence.signal(FAT, 0.04 * lumps))
    paint(right - distance, sequence.signal(MYOCARDIUM, 0.08 * mottle))
    blood = sequence.signal(BLOOD, patient.blood + 0.05 * lumps)
    paint(np.minimum(right - 2.5 - distance + 0.8 * mottle, distance - outer), blood)
    # The infarct grows from the endocardium; it spares the papillary muscles.
    inner = outer - wall_mm
    depth_mm = distance - inner
    margin = reach * wall_mm - depth_mm + 0.5 * rough * (reach > 0)
    dense = np.clip((margin + 1.8 * mottle) / 3.5, 0, 1) * (0.95 + 0.15 * rough)
    core = dark * reach * wall_mm - np.abs(margin - depth_mm)
    dense *= (1 - 0.9 * np.clip(core / 2, 0, 1)) * plane.share(depth_mm + 1.5)
    gain = patient.scar_uptake * (MYOCARDIUM.t1_ms / SCAR.t1_ms - 1)
    deviation = 0.08 * mottle + 0.06 * lumps + gain * dense
    paint(outer - distance, sequence.signal(MYOCARDIUM, deviation))
    # Trabeculae and papillary muscles: readers draw a smooth border outside them.
    pool = 0.8 * rough - depth_mm
    for place in (-0.6, 1.2):
        aside = 0.78 * inner * _away(place)[angle]
        size = 0.17 * inner * min(max(5 * level, 0), 1)
        pool = np.minimum(pool, np.hypot(aside, distance - 0.78 * inner) - size)
    paint(pool, blood)
    wall = plane.share(np.minimum(outer - distance, depth_mm))
    scar = np.minimum(wall, plane.share(margin) * (reach > 0))
    return image, wall, scar, plane.share(-depth_mm)


def _outlines(level: float, patient: _Patient):
    """Returns over _ANGLES: shares of wall and scar that are scar and dark, measures."""
    taper = np.sqrt(1 - (0.86 * np.clip(level, 0, 1)) ** 2)
    outer = taper * patient.outline["epicardium"]
    first, last = patient.scar_levels
    along = np.clip(6 * min(level - first, last - level), 0, 1)
    inside = 1 - _away(patient.scar_angle) / patient.scar_half_width
    dark = patient.no_reflow * np.clip(2 * patient.scar_half_width * inside - 1, 0, 1)
    reach = patient.scar_depth * along * np.clip(1.8 * inside, 0, 1)
    reach = reach * np.roll(patient.outline["infarct"], int(100 * level))
    wall_mm = np.minimum((0.55 + 0.45 * taper) * patient.outline["wall"], outer - 3)
    # The right ventricle is a crescent on the septum; fat lies in its grooves.
    bulge = np.clip(np.cos(1.2 * _away(np.pi - 0.2)), 0, 1) ** 0.8
    right = outer + patient.outline["right"] * taper**1.5 * bulge
    fat = np.maximum(patient.outline["fat"] - 0.5, 0) + 16 * bulge * (1 - bulge)
    return [t.astype(np.float32) for t in (reach, dark, wall_mm, outer, right, fat)]


def _away(angle: float) -> np.ndarray:
    """Returns the distance of each of _ANGLES from an angle, 0 to pi."""
    return np.abs((_ANGLES - angle + np.pi) % (2 * np.pi) - np.pi).astype(np.float32)


def _texture(rng, shape, scale_px: float) -> np.ndarray:
    """Returns smooth noise with mean 0 and deviation 1."""
    # Drawn coarsely and interpolated: the same statistics at a tenth of the cost.
    step = max(int(scale_px / 1.5), 1)
    coarse = rng.standard_normal([-(-n // step) + 1 for n in shape], np.float32)
    coarse = ndimage.gaussian_filter(coarse, scale_px / step)
    fine = np.asarray(ndimage.zoom(coarse, step, order=1))[: shape[0], : shape[1]]
    return (fine - fine.mean()) / fine.std()
