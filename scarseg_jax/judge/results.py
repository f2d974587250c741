"""What is known of a run after it was judged: figures, rows and pictures.

`summary.judge` makes `Results`, `tables` keeps them in files and reads them back.
"""

import dataclasses

import numpy as np

from scarseg_jax.judge.agreement import Agreement
from scarseg_jax.judge.consensus import ReadersSummary
from scarseg_jax.judge.measures import Centre, Detection, EmptyMasks
from scarseg_jax.judge.metrics import Failures, MeanSd, Spread
from scarseg_jax.judge.ventricle import VentricleFigures
from scarseg_jax.run import Decision, EpochRecord, RunRecord


@dataclasses.dataclass(frozen=True)
class Overlap:
    """Pixels of a slice or patient on one grid; None of a ratio without a base.

    A patient's ratios on the crops weight pixels by their area, which differs between
    slices.
    """

    tp: int
    fp: int
    fn: int
    tn: int
    acc: float | None
    se: float | None
    sp: float | None
    dsc: float | None
    true_px: int
    predicted_px: int


@dataclasses.dataclass(frozen=True)
class SliceRow:
    """A row of slices.csv: a slice, judged for one seed.

    Attributes:
      patient: Its patient.
      slice: Counted from 0.
      fold: That tested it.
      seed: Of the network.
      native: On the image's own grid.
      crop: On the 64 x 64 grid, the paper's.
    """

    patient: str
    slice: int
    fold: int
    seed: int
    native: Overlap
    crop: Overlap


@dataclasses.dataclass(frozen=True)
class Size:
    """A patient's scar volumes and surface distances; None of what is undefined.

    `measures.Measures` says of each what it is.
    """

    true_ml: float | None
    called_ml: float | None
    true_percent_lv: float | None
    called_percent_lv: float | None
    hd95_mm: float | None
    assd_mm: float | None
    surface_dice: float | None
    penalty_mm: float | None


@dataclasses.dataclass(frozen=True)
class PatientRow:
    """A row of patients.csv: all of a patient's slices together, for one seed.

    Attributes:
      patient: The name.
      fold: That tested it.
      seed: Of the network.
      slices: How many.
      scar_slices: Of these, with true scar.
      native: On the image's own grid.
      crop: On the 64 x 64 grid.
      size: In ml and mm, on the image's own grid.
    """

    patient: str
    fold: int
    seed: int
    slices: int
    scar_slices: int
    native: Overlap
    crop: Overlap
    size: Size


@dataclasses.dataclass(frozen=True)
class Contingency:
    """The paper's Tables 2 and 3: medians over slices."""

    scar_as_scar: float | None
    scar_as_background: float | None
    background_as_scar: float | None
    background_as_background: float | None


@dataclasses.dataclass(frozen=True)
class Figures:
    """The headline figures on one grid.

    Attributes:
      acc: Accuracy over slices.
      sp: Specificity over slices.
      se: Sensitivity over slices with scar.
      dsc: Dice over slices with scar.
      contingency: The paper's Tables 2 and 3.
      failures: Its failure counts.
      dice_3d: Over patients with scar, each the mean over the seeds, of all their
        pixels together; on the crops weighted by area.
      dice_3d_mean: The same.
    """

    acc: Spread
    sp: Spread
    se: Spread
    dsc: Spread
    contingency: Contingency
    failures: Failures
    dice_3d: Spread
    dice_3d_mean: MeanSd


@dataclasses.dataclass(frozen=True)
class SeedFigures:
    """One seed's, native: how much depends on chance in training.

    Attributes:
      seed: Which.
      dsc: Median over slices with scar.
      dice_3d: Mean over patients with scar.
      missed: Slices.
      false: Slices.
      acc: Median over slices.
      sp: Median over slices.
      se: Median over slices with scar.
      hd95_mm: Median over patients with true and called scar.
      surface_dice: Mean over patients with scar.
      bias_ml: Mean over patients of called less true scar.
    """

    seed: int
    dsc: float | None
    dice_3d: float | None
    missed: int
    false: int
    acc: float | None
    sp: float | None
    se: float | None
    hd95_mm: float | None
    surface_dice: float | None
    bias_ml: float | None


@dataclasses.dataclass(frozen=True)
class SeedSpread:
    """Of one figure over seeds; the deviation is the sample's."""

    mean: float
    sd: float
    min: float
    max: float


@dataclasses.dataclass(frozen=True)
class Inside:
    """Figures over slices with myocardium, of whose pixels alone.

    On the whole image nearly all is background, and an answer that never calls scar
    is right in nearly all.

    Attributes:
      acc: Accuracy.
      sp: Specificity.
      acc_of_nothing: Accuracy of the answer that never calls scar.
    """

    acc: Spread
    sp: Spread
    acc_of_nothing: Spread


@dataclasses.dataclass(frozen=True)
class Intervals:
    """95 % intervals by patient, `statistics.INTERVAL_RULE`; None with fewer than 2."""

    slice_dsc_median: tuple[float, float] | None
    slice_dsc_mean: tuple[float, float] | None
    dice_3d_mean: tuple[float, float] | None


@dataclasses.dataclass(frozen=True)
class Distances:
    """Surface distances over patients with true scar; several seeds' mean of each.

    Attributes:
      hd95_mm: 95th percentile, of those in whom some scar was called.
      assd_mm: Mean, of the same.
      surface_dice: Share within the tolerance; a missed scar counts 0.
      hd95_penalised_mm: 95th percentile; a missed scar counts the crop's diagonal.
      assd_penalised_mm: Mean; the same.
      one_empty: Patients with one of true and called scar without the other.
      missed: Of these, with true scar.
    """

    hd95_mm: Centre
    assd_mm: Centre
    surface_dice: Centre
    hd95_penalised_mm: Centre
    assd_penalised_mm: Centre
    one_empty: int
    missed: int


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Of the probabilities in a region, "myocardium" or "image"."""

    region: str
    ece: float | None
    brier: float | None


@dataclasses.dataclass(frozen=True)
class Optimism:
    """How good the test patients look by what chooses the epoch.

    Attributes:
      last: Mean over networks of the test patients' Dice (of all pixels of the crops
        together, in Protocol 2 with nothing called outside the myocardium, at the
        threshold that fits the validation patients best) in the last epoch,
      validation: in that with the best validation Dice,
      oracle: in that where it is best itself: how much such a choice would flatter.
    """

    last: float
    validation: float
    oracle: float


@dataclasses.dataclass(frozen=True)
class About:
    """What was judged.

    Attributes:
      name: Of the method.
      protocol: 1 looked at the whole image, 2 inside the drawn myocardium, 3 inside
        the one that it, or others for it, found.
      source: Of the data.
      selection: What chose the epoch; "none" without networks of a run.
      run: Of the networks; None without.
      decided_on: The patients that chose when scar is called, "validation", "test" (of
        the oracle), or "none" where it was fixed.
      decisions: When it is, of each network or fold.
    """

    name: str
    protocol: int
    source: str
    selection: str
    run: RunRecord | None = None
    decided_on: str = "none"
    decisions: tuple[Decision, ...] = ()


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How often the true volume of scar lies in the interval that was told.

    Attributes:
      level: How often it should.
      n: Intervals, of patients and seeds.
      inside: Those that hold it.
      width_ml: Of the intervals.
    """

    level: float
    n: int
    inside: int
    width_ml: Spread


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a run comes to, as summary.json holds it.

    Attributes:
      about: What was judged.
      patients: Tested.
      slices: Of these.
      scar_slices: Of these, with true scar.
      rows: Slices and seeds.
      folds: That tested them.
      seeds: Of the networks.
      myocardium_slices: Slices with myocardium.
      contained_slices: Of these, wholly inside the crop.
      native: Figures on the images' own grids: what a user gets.
      crop: Figures on the 64 x 64 grid: the paper's.
      native_at_half: At a probability of one half, any area.
      crop_at_half: The same.
      inside: Inside the myocardium, native; None where a patient has none drawn.
      by_seed: Seed by seed, native.
      seed_spread: Of each of these figures that all seeds have, by its name; empty with
        one seed.
      intervals: Native.
      empty_slices: Mean Dice of slices under other rules for empty masks, native.
      empty_patients: Of patients.
      detection_slices: Of scar in slices.
      detection_patients: In patients.
      distances: In mm.
      volume_ml: Agreement of scar volumes.
      percent_lv: Of scar as a share of the myocardium; None where one has none.
      calibration: None of a method without probabilities.
      readers: Where several drew the scar.
      optimism: Of the choice of the epoch.
      empty_mask_rule: In words.
      pooling_rule: In words.
      distance_rule: In words.
      grid_rule: In words: on which pixels.
      decision_rule: In words: when scar is called.
      interval_rule: In words.
      picture_rule: In words: what `Pictures` show of several seeds.
      ventricle: How well it was found; None where it was not looked for.
      coverage: Of the intervals of scar's volume; None where none were told.
    """

    about: About
    patients: int
    slices: int
    scar_slices: int
    rows: int
    folds: int
    seeds: tuple[int, ...]
    myocardium_slices: int
    contained_slices: int
    native: Figures
    crop: Figures
    native_at_half: Figures | None
    crop_at_half: Figures | None
    inside: Inside | None
    by_seed: tuple[SeedFigures, ...]
    seed_spread: dict[str, SeedSpread]
    intervals: Intervals
    empty_slices: EmptyMasks
    empty_patients: EmptyMasks
    detection_slices: Detection
    detection_patients: Detection
    distances: Distances
    volume_ml: Agreement
    percent_lv: Agreement | None
    calibration: Calibration | None
    readers: ReadersSummary | None
    optimism: Optimism | None
    empty_mask_rule: str
    pooling_rule: str
    distance_rule: str
    grid_rule: str
    decision_rule: str
    interval_rule: str
    picture_rule: str
    ventricle: VentricleFigures | None = None
    coverage: Coverage | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """What a page draws of the crops.

    Attributes:
      patient: (N,) str.
      slice: (N,) int.
      crop: (N, 64, 64) float32 intensities.
      myocardium: (N, 64, 64) bool.
      scar: (N, 64, 64) bool truth.
      pixel_mm: (N,) float32.
      fold: (N,) int.
      called: (N, 64, 64) bool; of several seeds as `summary.PICTURE_RULE` says.
      probability: (N, 64, 64) float16, mean over the seeds; None of a method without.
    """

    patient: np.ndarray
    slice: np.ndarray
    crop: np.ndarray
    myocardium: np.ndarray
    scar: np.ndarray
    pixel_mm: np.ndarray
    fold: np.ndarray
    called: np.ndarray
    probability: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class NativePictures:
    """What a page draws of the images: a window of each slice on its own grid.

    A patient's slices have one window. H and W are those of the largest; smaller ones
    are filled up with 0 below and to the right.

    Attributes:
      patient: (N,) str.
      slice: (N,) int.
      image: (N, H, W) uint8, black and white at the intensities `shown`.
      myocardium: (N, H, W) bool; nothing where it was not drawn.
      scar: (N, H, W) bool truth.
      called: (N, H, W) bool, by more than half of the seeds.
      called_by_any: (N, H, W) bool, by one seed or more.
      top_left_px: (N, 2) int, the window's first row and column on the slice.
      size_px: (N, 2) int, its rows and columns.
      pixel_mm: (N, 2) float64, pixel size (y, x).
      shown: (N, 2) float64, the intensities of 0 and 255.
      marks: (N, 4) str, the side of the patient (R, L, A, P, ...) at the left, right,
        top and bottom; empty where the files do not tell.
    """

    patient: np.ndarray
    slice: np.ndarray
    image: np.ndarray
    myocardium: np.ndarray
    scar: np.ndarray
    called: np.ndarray
    called_by_any: np.ndarray
    top_left_px: np.ndarray
    size_px: np.ndarray
    pixel_mm: np.ndarray
    shown: np.ndarray
    marks: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Results:
    """All of it.

    Attributes:
      summary: Of the run.
      slices: One row for each seed and slice.
      patients: One row for each seed and patient.
      pictures: Of each slice's crop.
      native_pictures: Of each slice on the image's own grid.
      history: One row for each member and epoch; empty without networks.
    """

    summary: Summary
    slices: tuple[SliceRow, ...]
    patients: tuple[PatientRow, ...]
    pictures: Pictures
    native_pictures: NativePictures
    history: tuple[EpochRecord, ...] = ()
