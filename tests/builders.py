"""What tests are made of: small studies, data sets, runs and files."""

import dataclasses
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import nibabel
import numpy as np
from scipy.spatial.transform import Rotation

from scarseg_jax.judge.answers import Answers, Truth
from scarseg_jax.judge.paired import Run
from scarseg_jax.judge.results import About, Overlap, PatientRow, Size, SliceRow
from scarseg_jax.judge.summary import judge
from scarseg_jax.learn import train
from scarseg_jax.learn.modules import Network, kernel_bound
from scarseg_jax.prepare.cut import PREPARATION, cut
from scarseg_jax.readers.sources import Source
from scarseg_jax.run import (
    Decision,
    Divergence,
    EpochRecord,
    Machine,
    Member,
    RunRecord,
    TrainedMember,
)
from scarseg_jax.settings import Settings, from_config
from scarseg_jax.study import Geometry, Slices, Study

CONFIGS = Path(__file__).parents[1] / "configs"
SPACING_MM = (10.0, 2.5, 2.5)
load: Any = nibabel.load


def load_config(name: str = "quickstart", **values: Any) -> dict:
    """Returns a configuration file's values on two devices; keys such as train__epochs."""
    config = runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"]()
    flat = {key.replace("__", "."): value for key, value in values.items()}
    config.update_from_flattened_dict({"devices": 2, **flat})
    return config.to_dict()


def make_settings(name: str = "quickstart", **values: Any) -> Settings:
    """Returns the settings of a configuration file, as `load_config`."""
    return from_config(load_config(name, **values))


def draw_study(patient: str, *, seed: int = 0, slices: int = 2) -> Study:
    """Returns a bright blood pool in a dark wall with a bright scar, on noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:72, :80]
    radius = np.hypot(y - 36, x - 41) * SPACING_MM[1]
    wall = (radius > 22) & (radius < 33)
    scar = wall & (y > 36) & (x > 41)
    plane = np.where(radius <= 22, 300.0, 120.0) - 100 * wall + 250 * scar
    image = plane + rng.normal(0, 5, (slices, *plane.shape))
    # No two patients' surroundings are alike.
    lungs = rng.normal(0, 30, (9, 10)).repeat(8, axis=0).repeat(8, axis=1)
    image += np.where(radius > 45, lungs, 0)
    return Study(
        patient,
        image.astype(np.float32),
        Geometry.upright(slices, SPACING_MM),
        myocardium=np.stack([wall] * slices),
        scar=np.stack([scar] * slices),
        cavity=np.stack([radius <= 22] * slices),
    )


def source_of(studies: dict[str, Study], files=None) -> Source:
    """Returns a source of studies by name; `files` as `Source.files`."""
    return Source(tuple(studies), studies.__getitem__, files)


def plain_study(patient: str, scar: np.ndarray, **masks: Any) -> Study:
    """Returns a study of 1 mm pixels and slices whose image counts its voxels.

    Its myocardium is everywhere, unless `masks` says otherwise.
    """
    image = np.arange(scar.size, dtype=np.float32).reshape(scar.shape)
    masks = {"myocardium": np.ones(scar.shape, bool), **masks}
    geometry = Geometry.upright(len(scar), (1.0, 1.0, 1.0))
    return Study(patient, image, geometry, scar=scar, **masks)


def truth_of(studies: Sequence[Study], readers=None) -> Truth:
    """Returns studies of 64 x 64 pixels as they were tested: crop and image are one."""
    parts = []
    for study in studies:
        z, height, width = study.image.shape
        assert (height, width) == (64, 64)
        spacing_mm = study.spacing_mm
        part = cut(study, protocol=1)
        parts.append(
            Slices(
                **{
                    **vars(part),
                    "crop": study.image,
                    "myocardium": np.asarray(study.myocardium),
                    "scar": np.asarray(study.scar),
                    "contained": np.ones(z, bool),
                    "centre_px": np.full((z, 2), 31.5),
                    "side_mm": np.full(z, 64 * spacing_mm[1]),
                    "pixel_mm": np.full(z, spacing_mm[1], np.float32),
                }
            )
        )
    return Truth(Slices.concatenate(parts), studies, readers or {})


def answers_of(
    truth: Truth,
    probability: np.ndarray,
    *,
    fold: Sequence[int],
    seeds: Sequence[int] = (0,),
    threshold: float = 0.5,
    said: bool = True,
) -> Answers:
    """Returns the answers of (seeds, N, 64, 64) probabilities, crop and image one.

    Args:
      truth: From `truth_of`.
      probability: Of scar.
      fold: Of each slice.
      seeds: Of the networks.
      threshold: From which scar is called.
      said: Whether the answers tell the probabilities.
    """
    names = truth.slices.patient
    native = {s.patient: probability[:, names == s.patient] for s in truth.studies}
    return Answers(
        fold=np.array(fold),
        seeds=seeds,
        crop=probability >= threshold,
        native={name: p >= threshold for name, p in native.items()},
        crop_probability=probability if said else None,
        native_probability=native if said else None,
    )


def about(name: str = "Protocol 2", *, protocol: int = 2, selection: str = "last"):
    """Returns what a run of the phantom was."""
    return About(name=name, protocol=protocol, source="phantom", selection=selection)


def write_nifti(
    path: Path, array: np.ndarray, affine: np.ndarray | None = None
) -> Path:
    """Writes (x, y, z) voxels to the left, back and feet, or by an affine; their path.

    They are 1.5 x 1.5 x 8 mm.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-1.5, -1.5, -8.0, 1.0]) if affine is None else affine
    nibabel.Nifti1Image(array, affine).to_filename(path)
    return path


def changed(plain: bytes, offset: int, values: Any, kind: str = "<i2") -> bytes:
    """Returns the bytes of a NIfTI-1 file with a header field overwritten."""
    new = np.array(values, kind).tobytes()
    return plain[:offset] + new + plain[offset + len(new) :]


def write_study(folder: Path, study: Study, affine: np.ndarray | None = None) -> None:
    """Writes a study as the folder layout has it: PATIENT_image.nii and its masks."""
    affine = (
        np.diag([*(-s for s in study.spacing_mm[::-1]), 1.0])
        if affine is None
        else affine
    )
    parts = {"image": study.image, "myocardium": study.myocardium, "scar": study.scar}
    parts |= {f"scar_{name}": mask for name, mask in study.readers.items()}
    for part, volume in parts.items():
        if volume is not None:
            array = np.asarray(volume, np.float32).T
            write_nifti(folder / f"{study.patient}_{part}.nii", array, affine)


def square(size: int, shift: int = 0) -> np.ndarray:
    """Returns a slice's mask: `size` rows of 8 pixels, `shift` columns to the right."""
    mask = np.zeros((64, 64), bool)
    mask[8 : 8 + size, 8 + shift : 16 + shift] = True
    return mask


def two_patients(healthy: str = "a", scarred: str = "b") -> tuple[Truth, np.ndarray]:
    """Returns patients without scar and with 16 and 32 pixels of it, and what is said.

    The (1, 4, 64, 64) probabilities are right, a false scar of 8 pixels, half of the
    scar and as much again, and a missed scar.
    """
    scar = {healthy: (0, 0), scarred: (2, 4)}
    called = {
        healthy: (square(0), square(1)),
        scarred: (square(2, shift=4), square(0)),
    }
    names = sorted(scar)
    truth = truth_of(
        [plain_study(name, np.stack([square(n) for n in scar[name]])) for name in names]
    )
    probability = np.where(
        [mask for name in names for mask in called[name]], 0.75, 0.25
    )
    return truth, probability.astype(np.float32)[None]


def run_record(**values: Any) -> RunRecord:
    """Returns what a run of two networks and an epoch of each says of itself."""
    members = tuple(
        TrainedMember(Member(fold, 0), 1, 0.5, Decision(0.35, 4.5), (name,))
        for fold, name in enumerate("ab")
    )
    history = tuple(
        EpochRecord(m.member.fold, 0, 1, 5e-4, 0.1, 0.3, 0.5, 0.4) for m in members
    )
    record: dict[str, Any] = {
        "protocol": 2,
        "variant": "seed",
        "classes": "scar",
        "symmetries": False,
        "source": "phantom",
        "selection": "last",
        "preparation": PREPARATION,
        "data_hash": "0",
        "fingerprints": {},
        "members": members,
        "diverged": (Divergence(Member(2, 0), 1, 3),),
        "history": history,
        "settings": {
            "train": {"epochs": 1, "class_weights": [1.0, 2.0]},
            "threshold": 0.0,
        },
        "versions": {"jax": "1.2.3"},
        "machines": (Machine(("cpu:0",), "x86", "3.11", "1.2.3"),),
        "training_seconds": 1.5,
    }
    return RunRecord(**{**record, **values})


# 8 slices of 4 patients; d has no scar and neither has slice 1 of c.
TRUE_PX = dict(
    zip(
        [(p, z) for p in "abcd" for z in range(2)],
        (9, 8, 7, 6, 5, 0, 0, 0),
        strict=True,
    )
)


def scored_run(
    directory: Path,
    dice: Any,
    true_px: Mapping[tuple[str, int], int],
    *,
    seeds: int = 1,
    selection: str = "last",
) -> Run:
    """Returns a run with the Dice given on the images' own grids, 0.5 on the crops.

    Args:
      directory: Of the run; nothing is written.
      dice: (seeds, n) or (n,), of the slices in the order of `true_px`.
      true_px: Scar of each (patient, slice); a patient's Dice is its first slice's.
      seeds: How many.
      selection: Of the epoch.
    """
    truth, probability = two_patients()
    answers = answers_of(truth, probability, fold=(0, 0, 1, 1), said=False)
    judged = judge(truth, answers, about(f"Of {directory.name}", selection=selection))

    def overlaps(dsc: float, px: int) -> dict[str, Overlap]:
        return {
            grid: Overlap(0, 0, 0, 0, 1.0, None, 1.0, own if px else None, px, 0)
            for grid, own in (("native", float(dsc)), ("crop", 0.5))
        }

    slices, patients = [], []
    size = Size(*[None] * len(dataclasses.fields(Size)))
    for seed, own in enumerate(np.broadcast_to(dice, (seeds, len(true_px)))):
        scores = dict(zip(true_px, own, strict=True))
        for (name, z), px in true_px.items():
            slices.append(SliceRow(name, z, 0, seed, **overlaps(scores[name, z], px)))
        for name in sorted({name for name, _ in true_px}):
            first, *others = (z for own, z in true_px if own == name)
            px = sum(true_px[name, z] for z in (first, *others))
            both = overlaps(scores[name, first], px)
            count = 1 + len(others)
            patients.append(PatientRow(name, 0, seed, count, 1, **both, size=size))
    rows = {"slices": tuple(slices), "patients": tuple(patients)}
    return Run(directory, dataclasses.replace(judged, **rows))


def stored_voxels() -> np.ndarray:
    """Returns (x, y, z) float32 noise about 100, as a file stores it."""
    rng = np.random.default_rng(0)
    return rng.normal(100, 20, size=(12, 10, 4)).astype(np.float32)


def turned(geometry: Geometry) -> Geometry:
    """Returns a stack moved and rotated, so little that its axes stay what they are."""
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", (0.3, -0.4, 0.2)).as_matrix()
    motion[:3, 3] = 7.0, -20.0, 31.0
    return Geometry(motion @ geometry.affines, geometry.spacing_mm)


def draw_blobs(count: int = 10, *, size: int = 16) -> train.Data:
    """Returns a toy problem for networks: bright blobs are scar."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    centre = rng.uniform(4, 12, (count, 2, 1, 1))
    scar = np.hypot(y - centre[:, 0], x - centre[:, 1]) < 4
    image = scar + rng.normal(0, 0.3, scar.shape)
    return train.Data(image[..., None].astype(np.float32), shares_of(scar))


def draw_variables(model: Network, *, seed: int = 0, channels: int = 1) -> Any:
    """Returns a network's variables, all drawn, for images of so many channels."""
    rng = np.random.default_rng(seed)
    image = jnp.zeros((1, 16, 16, channels))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))

    def draw(path, leaf):
        name = path[-1].key
        if name in ("scale", "variance"):
            drawn = rng.uniform(0.5, 1.5, leaf.shape)
        elif name == "kernel":
            drawn = kernel_bound(leaf.shape) * rng.uniform(-1, 1, leaf.shape)
        else:
            drawn = rng.normal(0, 0.3, leaf.shape)
        return drawn.astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def ring_slice(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns image, myocardium (a ring) and scar, a quarter of it 12 SD brighter.

    Outside the ring are both brighter and darker pixels. Intensities are multiples of
    1/64, so that they can be scaled and moved without rounding.
    """
    y, x = np.mgrid[:64, :64] - 31.5
    radius = np.hypot(y, x)
    myocardium = (radius >= 13) & (radius < 22)
    scar = myocardium & (np.abs(np.arctan2(y, x)) < np.pi / 4)
    image = rng.normal(12.0 * scar, 1)
    image = np.where(radius < 13, 30, np.where(radius >= 22, -25, image))
    return (np.rint(image * 64) / 64).astype(np.float32), myocardium, scar


def noisy_slice(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns overlapping intensities, as above, and a myocardium of many parts."""
    myocardium = rng.random((24, 24)) < 0.5
    image = rng.gamma(2.0, 1.0, (24, 24))
    return (np.rint(image * 64) / 64).astype(np.float32), myocardium


def dice_of(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the overlap of two masks."""
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def shares_of(labels, classes: int = 2) -> Any:
    """Returns the (..., classes - 1) shares of pixels that are of one class each."""
    return np.eye(classes, dtype=np.float32)[np.asarray(labels, int)][..., 1:]
