"""Studies and their slices, kept as a TFDS data set in ArrayRecord files.

Built without TensorFlow. The data set is keyed by a hash of all that goes into it, so
it is built once and again when inputs or settings change. A row is a slice: what the
network sees of it, and the slice itself on its own grid, on which results are judged.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from scarseg_jax import files, records
from scarseg_jax.errors import InputError, InputErrors, first_few
from scarseg_jax.judge.consensus import PatientReaders, settle
from scarseg_jax.prepare import crop, likeness
from scarseg_jax.prepare.cut import PREPARATION, boxes_drawn, cut
from scarseg_jax.prepare.plausible import check_masks
from scarseg_jax.readers.sources import Source
from scarseg_jax.study import Geometry, Slices, Study

_log = logging.getLogger(__name__)
_MOST_NAMED = 10  # patients in a message
_SPLIT = "slices"
_VERSION = "2.0.0"  # of the columns that are stored
_HOME = f"lge_slices/{_VERSION}"  # TFDS makes it in one piece, or not at all
_MASKS = ("cavity", "myocardium", "scar", "no_reflow")  # one bit each, in this order


@dataclasses.dataclass(frozen=True, eq=False)
class DataSet:
    """What preparing makes of a cohort.

    Attributes:
      slices: Of all patients, in the order of their names.
      studies: The patients, in that order; of several readers' scars, the consensus.
      readers: What `consensus.settle` says of each patient that several readers drew.
      data_hash: Of the inputs and settings.
    """

    slices: Slices
    studies: tuple[Study, ...]
    readers: Mapping[str, PatientReaders]
    data_hash: str

    def labelled(self) -> "DataSet":
        """Returns the patients with contours."""
        studies = tuple(s for s in self.studies if s.scar is not None)
        slices = self.slices.take(self.slices.labelled)
        return dataclasses.replace(self, slices=slices, studies=studies)


def prepare(
    directory: Path,
    source: Source,
    *,
    protocol: int,
    context: bool = False,
    neighbours: int = 0,
    method: str = "hough",
    consensus: str = "staple",
    myocardium_needed: bool = True,
    force: bool = False,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> DataSet:
    """Returns the prepared patients of a source, building the data set if need be.

    Args:
      directory: Where the data set is kept; one, the last that was built.
      source: The patients. The bytes of their files tell whether anything has changed;
        without files every study is read for that.
      protocol: 1 and 3 see the whole crop, 2 the myocardium only.
      context: Whether Protocol 2 sees the surroundings too.
      neighbours: How many slices on each side are seen beside.
      method: Around what slices are cut out, of `crop.METHODS`; "learned" only where
        the myocardium is not drawn, and here that is as "hough".
      consensus: How several readers' scars become one, of `consensus.RULES`.
      myocardium_needed: Whether Protocol 2 must be given it, or others find it.
      force: Whether implausible masks are taken.
      progress: Called with the number of patients prepared and of all.

    Raises:
      InputError: If a study cannot be used, a patient stands under two names, no
        patient has scar, or the data set is damaged.
    """
    view = {"protocol": protocol, "context": context, "neighbours": neighbours}
    data_hash = _hash(source, {**view, "method": method, "consensus": consensus})
    if not (directory / data_hash / files.SUMS).is_file():
        needed = protocol == 2 and myocardium_needed
        rows, readers = _rows(
            *(source, view, method, consensus, needed), force=force, progress=progress
        )
        for old in directory.glob("*/lge_slices"):  # also what a killed build left
            shutil.rmtree(old.parent)
        tfds.disable_progress_bar()  # `progress` counts patients instead
        builder = LgeSlices(
            rows=rows,
            readers={name: dataclasses.asdict(r) for name, r in readers.items()},
            data_dir=directory / data_hash,
            file_format="array_record",
        )
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # talk of downloads
                builder.download_and_prepare()
            files.write_sums(directory / data_hash)
        except BaseException:
            shutil.rmtree(directory / data_hash, ignore_errors=True)
            raise
    return load(directory)


def load(directory: Path) -> DataSet:
    """Returns the data set that `prepare` last built in a folder.

    Raises:
      InputError: If there is none, or it is damaged.
    """
    sums = next(directory.glob(f"*/{files.SUMS}"), None)
    if sums is None:
        raise InputError(f"{directory}: nothing prepared here; run --mode=prepare")
    home = sums.parent / _HOME
    if file := files.changed(sums.parent):
        raise InputError(
            f"{file}: the prepared data are damaged (its SHA-256 differs); delete"
            f" {sums.parent} and run again"
        )
    try:
        builder: Any = tfds.builder_from_directory(home)
        rows = list(builder.as_data_source(split=_SPLIT))
        kept = json.dumps(dict(builder.info.metadata).get("readers", {}))
        readers = records.parse(
            dict[str, PatientReaders], kept, "the readers", "prepare again"
        )
    except Exception as error:  # ArrayRecord and TFDS raise many kinds
        raise InputError(
            f"{home}: the prepared data cannot be read ({error}); delete {sums.parent}"
            " and run again"
        ) from error
    columns = {
        field.name: np.stack([row[field.name] for row in rows])
        for field in dataclasses.fields(Slices)
        if field.name != "patient"
    }
    for name in ("myocardium", "scar", "labelled", "contained"):
        columns[name] = columns[name].astype(bool)
    columns["side_mm"] = columns["side_mm"][:, 0]
    columns["pixel_mm"] = columns["pixel_mm"].astype(np.float32)
    columns["patient"] = np.array([row["patient"].decode() for row in rows])
    of_patient: dict[str, list[dict]] = {}
    for row in rows:
        of_patient.setdefault(row["patient"].decode(), []).append(row)
    studies = tuple(_study(name, own) for name, own in of_patient.items())
    return DataSet(Slices(**columns), studies, readers, home.parents[1].name)


class LgeSlices(tfds.core.GeneratorBasedBuilder):
    """The TFDS builder: one example a slice."""

    VERSION = tfds.core.Version(_VERSION)

    def __init__(self, *, rows: Sequence[dict], readers: dict, **kwargs):
        """Takes the rows in order, and `DataSet.readers` as JSON holds it."""
        self._rows = rows
        self._readers = readers
        super().__init__(**kwargs)

    def _info(self):
        square = (crop.SIZE, crop.SIZE)
        tensor, scalar = tfds.features.Tensor, tfds.features.Scalar

        def exact(*shape):  # TFDS keeps float64 in single precision, but for bytes
            return tensor(shape=shape, dtype=np.float64, encoding="bytes")

        def native(dtype):
            return tensor(shape=(None, None), dtype=dtype, encoding="zlib")

        features = {
            "image": tensor(shape=(*square, None), dtype=np.float32),
            "crop": tensor(shape=square, dtype=np.float32),
            "myocardium": tensor(shape=square, dtype=np.uint8),
            "scar": tensor(shape=square, dtype=np.uint8),
            "patient": tfds.features.Text(),
            "slice": scalar(np.int64),
            "labelled": scalar(np.uint8),
            "contained": scalar(np.uint8),
            "centre_px": exact(2),
            "spacing_mm": exact(3),
            "side_mm": exact(1),
            "pixel_mm": scalar(np.float32),
            "native_image": native(np.float32),
            "native_masks": native(np.uint8),  # a bit each
            "drawn": scalar(np.uint8),  # a bit for each mask that there is
            "affine": exact(4, 4),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Short-axis LGE slices, and their crops to the left ventricle.",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(readers=self._readers),
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {_SPLIT: enumerate(self._rows)}

    def _generate_examples(self):
        raise AssertionError("the split generators are the examples")


def _rows(
    source: Source,
    view: dict,
    method: str,
    consensus: str,
    needed: bool,
    *,
    force: bool,
    progress: Callable[[int, int], None],
) -> tuple[list[dict], dict[str, PatientReaders]]:
    """Returns all rows, after checks within and between the studies; `readers`."""
    rows: list[dict] = []
    readers: dict[str, PatientReaders] = {}
    seen: dict[str, str] = {}
    numbered: dict[str, list[str]] = {}  # by the number that DICOM has of them

    def add(patient: str) -> None:
        study = source.read(patient)
        if study.readers:
            study, readers[patient] = settle(study, consensus)
        slices = cut(study, **view, boxes=boxes_drawn(study, method))
        _check(study, needed, force)
        if (copy := likeness.find_copy(study.image, seen)) is not None:
            raise InputError(
                f"patients {copy[0]} and {patient} have the same image (correlation"
                f" {copy[1]:.3f}); one patient would train and test: remove one, or"
                f" --config.data.leave_out={patient}"
            )
        seen[patient] = likeness.fingerprint(study.image)
        rows.extend(_study_rows(study, slices))
        if study.series is not None:
            number = study.series.read_frames()[0].fields.get("PatientID", "")
            numbered.setdefault(str(number), []).append(patient)

    for_each(source.patients, add, progress)
    for number, same in numbered.items():
        if number and len(same) > 1:
            _log.warning(
                "%s have the same PatientID and count as several patients: if they are"
                " one's examinations, leave out all but one, so that nobody trains and"
                " tests",
                first_few(same, _MOST_NAMED),
            )
    if not any(row["scar"].any() for row in rows):
        raise InputError(
            f"none of the {len(source.patients)} patients has scar; expected contours"
            " with scar in some: check the label files"
        )
    return rows, readers


def for_each(
    patients: Sequence[str],
    do: Callable[[str], None],
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> None:
    """Does something for each patient; what is wrong with any is said at the end.

    Raises:
      InputError: If there was; with a line for each such patient.
    """
    wrong: list[InputError] = []
    for done, patient in enumerate(patients, start=1):
        try:
            do(patient)
        except InputError as error:
            wrong.append(error)
        progress(done, len(patients))
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        what = f"{len(wrong)} of {len(patients)} patients cannot be used:"
        raise InputErrors(what, [str(error) for error in wrong])


def _study_rows(study: Study, slices: Slices) -> list[dict]:
    """Returns what is stored of each slice of a study."""
    names = [field.name for field in dataclasses.fields(Slices)]
    drawn = {name: study.masks[name] for name in _MASKS}
    there = sum(1 << bit for bit, n in enumerate(_MASKS) if drawn[n] is not None)
    bits = np.zeros(study.image.shape, np.uint8)
    for bit, name in enumerate(_MASKS):
        if (mask := drawn[name]) is not None:
            bits |= mask.astype(np.uint8) << bit
    rows = []
    for z in range(len(study.image)):
        row = {name: getattr(slices, name)[z] for name in names}
        for name in ("myocardium", "scar", "labelled", "contained"):
            row[name] = row[name].astype(np.uint8)
        row["patient"] = study.patient
        row["side_mm"] = row["side_mm"][None]
        row |= {
            "native_image": study.image[z],
            "native_masks": bits[z],
            "drawn": there,
            "affine": study.geometry.affines[z],
        }
        rows.append(row)
    return rows


def _study(patient: str, rows: Sequence[dict]) -> Study:
    """Returns the study that `_study_rows` took apart."""
    z, y, x = rows[0]["spacing_mm"].tolist()
    geometry = Geometry(np.stack([row["affine"] for row in rows]), (z, y, x))
    bits = np.stack([row["native_masks"] for row in rows])
    masks = {
        name: bits & (1 << bit) != 0
        for bit, name in enumerate(_MASKS)
        if rows[0]["drawn"] & (1 << bit)
    }
    image = np.stack([row["native_image"] for row in rows])
    return Study(patient, image, geometry, **masks)


def _check(study: Study, needed: bool, force: bool) -> None:
    check_masks(study, force=force)
    if needed and study.scar is not None and study.myocardium is None:
        raise InputError(
            f"patient {study.patient}: scar but no myocardium; Protocol 2 looks inside"
            " the myocardium: add its contours or use configs/protocol1.py"
        )
    if study.scar is not None and study.myocardium is not None and study.scar.any():
        outside = np.mean(~study.myocardium[study.scar])
        if outside:
            _log.warning(
                "patient %s: %.1f %% of the scar lies outside the myocardium%s",
                study.patient,
                100 * outside,
                ", where Protocol 2 cannot find it" if needed else "",
            )


def _hash(source: Source, how: dict) -> str:
    """Returns the SHA-256 of all that the data set is made from."""
    settings: dict = {
        "preparation": PREPARATION,
        **how,
        "size": crop.SIZE,
        "slice_axis": source.slice_axis,
    }
    total = hashlib.sha256(json.dumps(settings).encode())

    def add(patient: str) -> None:
        if source.files is not None:
            sums = [(file.name, _file_sum(file)) for file in source.files(patient)]
            total.update(json.dumps([patient, sums]).encode())
            return
        study = source.read(patient)
        image = hashlib.sha256(study.image.tobytes()).digest()
        total.update(json.dumps([patient, study.spacing_mm]).encode() + image)
        total.update(study.geometry.affines.tobytes())
        for name, mask in {**study.masks, **study.readers}.items():
            packed = b"none" if mask is None else np.packbits(mask).tobytes()
            total.update(name.encode() + packed)

    for_each(source.patients, add)
    return total.hexdigest()


def _file_sum(file: Path) -> str:
    try:
        if file.is_dir():
            return files.sha256_of_all([("", file)])
        return files.sha256(file)
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read ({error.strerror}); check data.path"
        ) from error
