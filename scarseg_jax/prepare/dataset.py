"""Studies to 64 x 64 slices, kept as a TFDS data set in ArrayRecord files.

Built without TensorFlow. The data set is keyed by a hash of all that goes into it, so
it is built once and again when inputs or settings change.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from scarseg_jax.errors import InputError
from scarseg_jax.judge.consensus import settle
from scarseg_jax.prepare import crop
from scarseg_jax.prepare.hough import find_left_ventricle
from scarseg_jax.study import Study

_log = logging.getLogger(__name__)
# Raise this when the preparation computes something else from the same inputs.
PREPARATION = 2
_SPLIT = "slices"
_VERSION = "1.2.0"  # of the columns that are stored
_HOME = f"lge_slices/{_VERSION}"  # TFDS makes it in one piece, or not at all


@dataclasses.dataclass(frozen=True, eq=False)
class Slices:
    """All prepared slices, in the order of the patients' names.

    Attributes:
      image: (N, 64, 64, 1) float32, what the network sees.
      crop: (N, 64, 64) float32 intensities of the crop, to look at.
      myocardium: (N, 64, 64) bool.
      scar: (N, 64, 64) bool.
      patient: (N,) str.
      slice: (N,) int, counted from 0 within the patient.
      labelled: (N,) bool, whether the patient has contours.
      contained: (N,) bool, whether the crop holds the slice's whole myocardium.
      centre_px: (N, 2) float32, the crop's centre (y, x) on the patient's slice.
      spacing_mm: (N, 3) float32, voxel spacing (z, y, x) of the patient's stack.
      side_mm: (N,) float32, the length of the crop's sides.
      pixel_mm: (N,) float32, pixel size of the crop.
      data_hash: Of the inputs and settings.
      readers: What `consensus.settle` says of each patient that several readers drew.
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
    data_hash: str
    readers: Mapping[str, dict] = dataclasses.field(default_factory=dict)

    def take(self, which: np.ndarray) -> "Slices":
        """Returns the slices that an index or a mask selects."""
        arrays = {
            field.name: getattr(self, field.name)[which]
            for field in dataclasses.fields(self)
            if field.name not in ("data_hash", "readers")
        }
        return dataclasses.replace(self, **arrays)


def prepare(
    directory: Path,
    patients: Sequence[str],
    read: Callable[[str], Study],
    *,
    protocol: int,
    consensus: str = "staple",
    files: Callable[[str], Sequence[Path]] | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Slices:
    """Returns the prepared slices of the patients, building the data set if need be.

    Args:
      directory: Where the data set is kept; one, the last that was built.
      patients: Their names.
      read: Returns a patient's study.
      protocol: 1 sees the whole crop, 2 the myocardium only.
      consensus: How several readers' scars become one, of `consensus.RULES`.
      files: Returns the files a patient's study is read from. Their bytes tell
        whether anything has changed; None reads every study for that.
      progress: Called with the number of patients prepared and of all.

    Raises:
      InputError: If a study cannot be used, an image stands under two names, no
        patient has scar, or the data set is damaged.
    """
    data_hash = _hash(patients, read, files, protocol, consensus)
    if not (directory / data_hash / _HOME).is_dir():
        examples, readers = _examples(patients, read, protocol, consensus, progress)
        for old in directory.glob("*/lge_slices"):  # also what a killed build left
            shutil.rmtree(old.parent)
        tfds.disable_progress_bar()  # `progress` counts patients instead
        builder = LgeSlices(
            examples=examples,
            readers=readers,
            data_dir=directory / data_hash,
            file_format="array_record",
        )
        with contextlib.redirect_stdout(io.StringIO()):  # talk of downloads
            builder.download_and_prepare()
    return load(directory)


def load(directory: Path) -> Slices:
    """Returns the slices of the data set that `prepare` last built in a folder.

    Raises:
      InputError: If there is none, or it is damaged.
    """
    homes = list(directory.glob(f"*/{_HOME}"))
    if not homes:
        raise InputError(f"{directory}: nothing prepared here; run --mode=prepare")
    home = homes[0]
    try:
        builder: Any = tfds.builder_from_directory(home)
        rows = list(builder.as_data_source(split=_SPLIT))
        readers = dict(builder.info.metadata).get("readers", {})
    except Exception as error:  # ArrayRecord and TFDS raise many kinds
        file = next(home.glob("*array_record*"), home)
        raise InputError(
            f"{file}: the prepared data are damaged ({' '.join(str(error).split())});"
            f" delete {home.parents[1]} and run again"
        ) from error
    columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    for name in ("myocardium", "scar", "labelled", "contained"):
        columns[name] = columns[name].astype(bool)
    for name in ("side_mm", "pixel_mm"):
        columns[name] = columns[name].astype(np.float32)
    columns["patient"] = np.array([row["patient"].decode() for row in rows])
    return Slices(**columns, data_hash=home.parents[1].name, readers=readers)


class LgeSlices(tfds.core.GeneratorBasedBuilder):
    """The TFDS builder: one example a slice."""

    VERSION = tfds.core.Version(_VERSION)

    def __init__(self, *, examples: Sequence[dict], readers: dict, **kwargs):
        """Takes the examples, in order, and `Slices.readers`; the rest is TFDS's."""
        self._examples = examples
        self._readers = readers
        super().__init__(**kwargs)

    def _info(self):
        square = (crop.SIZE, crop.SIZE)
        tensor, scalar = tfds.features.Tensor, tfds.features.Scalar
        features = {
            "image": tensor(shape=(*square, 1), dtype=np.float32),
            "crop": tensor(shape=square, dtype=np.float32),
            "myocardium": tensor(shape=square, dtype=np.uint8),
            "scar": tensor(shape=square, dtype=np.uint8),
            "patient": tfds.features.Text(),
            "slice": scalar(np.int64),
            "labelled": scalar(np.uint8),
            "contained": scalar(np.uint8),
            "centre_px": tensor(shape=(2,), dtype=np.float32),
            "spacing_mm": tensor(shape=(3,), dtype=np.float32),
            "side_mm": scalar(np.float32),
            "pixel_mm": scalar(np.float32),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Short-axis LGE slices cropped to the left ventricle.",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(readers=self._readers),
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {_SPLIT: enumerate(self._examples)}

    def _generate_examples(self):
        raise AssertionError("the split generators are the examples")


def slice_examples(study: Study, protocol: int) -> Iterator[dict]:
    """Returns one example for each slice of a study, in order."""
    left_ventricle = find_left_ventricle(study.image, study.spacing_mm)
    nothing = np.zeros(study.image.shape, bool)
    myocardium = nothing if study.myocardium is None else study.myocardium
    scar = nothing if study.scar is None else study.scar
    for z, box in enumerate(crop.boxes(left_ventricle, study.spacing_mm)):
        image = crop.crop_image(study.image[z], box)
        inside = crop.crop_mask(myocardium[z], box)
        seen = crop.network_input(image, inside, protocol=protocol)
        yield {
            "image": seen[..., None],
            "crop": image,
            "myocardium": inside.astype(np.uint8),
            "scar": crop.crop_mask(scar[z], box).astype(np.uint8),
            "patient": study.patient,
            "slice": z,
            "labelled": int(study.scar is not None),
            "contained": int(crop.contains(box, myocardium[z])),
            "centre_px": np.array(box.centre_px, np.float32),
            "spacing_mm": np.array(study.spacing_mm, np.float32),
            "side_mm": box.side_mm,
            "pixel_mm": box.side_mm / crop.SIZE,
        }


def _examples(
    patients, read, protocol, consensus, progress
) -> tuple[list[dict], dict[str, dict]]:
    """Returns all examples, after checks within and between the studies; `readers`."""
    examples: list[dict] = []
    readers: dict[str, dict] = {}
    seen: dict[bytes, str] = {}
    for done, patient in enumerate(patients, start=1):
        study = read(patient)
        if study.readers:
            study, readers[patient] = settle(study, consensus)
        _check(study, protocol)
        image = hashlib.sha256(study.image.tobytes()).digest()
        if image in seen:
            raise InputError(
                f"patients {seen[image]} and {patient} have the same image; one"
                " patient would train and test: remove one"
            )
        seen[image] = patient
        examples += slice_examples(study, protocol)
        progress(done, len(patients))
    if not any(example["scar"].any() for example in examples):
        raise InputError(
            f"none of the {len(patients)} patients has scar; expected contours with"
            " scar in some: check the label files"
        )
    return examples, readers


def _check(study: Study, protocol: int) -> None:
    if protocol == 2 and study.scar is not None and study.myocardium is None:
        raise InputError(
            f"patient {study.patient}: scar but no myocardium; Protocol 2 looks inside"
            " the myocardium: add its contours or use configs/protocol1.py"
        )
    if study.image.min() == study.image.max():
        _log.warning("patient %s: all voxels have one value", study.patient)
    if study.scar is not None and study.myocardium is not None and study.scar.any():
        outside = np.mean(~study.myocardium[study.scar])
        if outside:
            _log.warning(
                "patient %s: %.1f %% of the scar lies outside the myocardium%s",
                study.patient,
                100 * outside,
                ", where Protocol 2 cannot find it" if protocol == 2 else "",
            )


def _hash(patients, read, files, protocol: int, consensus: str) -> str:
    """Returns the SHA-256 of all that the data set is made from."""
    settings: dict = {
        "preparation": PREPARATION,
        "protocol": protocol,
        "size": crop.SIZE,
    }
    if consensus != "staple":  # data sets from before there was a choice stay valid
        settings["consensus"] = consensus
    total = hashlib.sha256(json.dumps(settings).encode())
    for patient in patients:
        if files is not None:
            sums = [(file.name, _file_sum(file)) for file in files(patient)]
            total.update(json.dumps([patient, sums]).encode())
            continue
        study = read(patient)
        image = hashlib.sha256(study.image.tobytes()).digest()
        total.update(json.dumps([patient, study.spacing_mm]).encode() + image)
        for mask in (study.myocardium, study.scar):
            total.update(b"none" if mask is None else np.packbits(mask).tobytes())
        for name, mask in study.readers.items():
            total.update(name.encode() + np.packbits(mask).tobytes())
    return total.hexdigest()


def _file_sum(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read ({error.strerror}); check data.path"
        ) from error
