"""What new DICOM objects take over from the images they were made of.

They belong to the patient, the study and the frame of reference of their source, so
they carry these by design. Nothing of it is said: libraries warn of values that are not
what the standard allows, and quote them.
"""

import contextlib
import importlib.metadata
import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pydicom
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage, generate_uid
from pydicom.valuerep import format_number_as_ds

from scarseg_jax import files
from scarseg_jax.codes import PRIVATE
from scarseg_jax.errors import InputError
from scarseg_jax.study import Frame

_log = logging.getLogger(__name__)
MAKER = "scarseg_jax"
VERSION = importlib.metadata.version(MAKER)
_PATIENT = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
_NEEDED = ("StudyInstanceUID", "FrameOfReferenceUID", "SeriesInstanceUID")
_STUDY = ("AccessionNumber", "StudyID", "StudyDate", "StudyTime")
# What the standard allows; anything else is left out.
_FORMS = {
    "PatientBirthDate": r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])",
    "StudyDate": r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])",
    "StudyTime": r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?",
    "PatientSex": "[MFO]",
    "PatientAge": r"\d{3}[DWMY]",
    "PatientSize": r"\d{0,4}(\.\d{1,8})?",
    "PatientWeight": r"\d{0,4}(\.\d{1,8})?",
}
_LAST_SERIES = 2**31 - 1
_LONGEST = {"AccessionNumber": 16, "StudyID": 16}  # characters; of others 64
# Of the source's series number, so that what was made of it stands near it.
SEGMENTATION_SERIES, REPORT_SERIES = 1000, 2000


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps pydicom and highdicom from quoting what a header says."""
    logs = [logging.getLogger(name) for name in ("highdicom", "pydicom")]
    levels, settings = [log.level for log in logs], config.settings
    told = settings.writing_validation_mode, settings.reading_validation_mode
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for log in logs:
            log.setLevel(logging.CRITICAL + 1)
        settings.writing_validation_mode = config.IGNORE
        settings.reading_validation_mode = config.IGNORE
        try:
            yield
        finally:
            settings.writing_validation_mode, settings.reading_validation_mode = told
            for log, level in zip(logs, levels, strict=True):
                log.setLevel(level)


def check_source(frames: Sequence[Frame]) -> None:
    """Checks that images say what a new object takes over from them.

    Raises:
      InputError: If one says no study or no frame of reference.
    """
    for keyword in _NEEDED:
        # Many have parts that begin with 0, which no UID may: they are as they are.
        if not all(re.fullmatch(r"[\d.]{1,64}", _said(f, keyword)) for f in frames):
            raise InputError(
                f"--dicom_seg: images without a {keyword}, which a segmentation takes"
                " over; export the series anew"
            )


def say_what_differs(frames: Sequence[Frame]) -> None:
    """Says in the log where images name several of what there can be but one."""
    for keyword in _NEEDED[:2]:
        if (count := len({_said(frame, keyword) for frame in frames})) > 1:
            _log.warning(
                "DICOM: the images have %d values of %s, the segmentation but the first;"
                " its frames lie where their own positions say",
                *(count, keyword),
            )


def source_of(frames: Sequence[Frame]) -> list[Dataset]:
    """Returns the headers of a stack's images, one an image, each alone in its file.

    What highdicom asks of a segmentation's source: one series of single MR images that
    are turned alike. What the images really are, `dicom_seg` puts in its place.

    Raises:
      InputError: As `check_source`.
    """
    check_source(frames)
    first = frames[0].fields
    found = []
    for number, frame in enumerate(frames, 1):
        fields, data = frame.fields, Dataset()
        data.SpecificCharacterSet = "ISO_IR 192"
        for keyword in (*_PATIENT, *_STUDY):  # are to be there, and may be empty
            setattr(data, keyword, "")
        for keyword, said in _whose(first).items():
            setattr(data, keyword, said)
        data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, stand_in(number)
        data.Modality = "MR"
        data.SeriesInstanceUID = str(first["SeriesInstanceUID"])
        data.Rows, data.Columns = int(fields["Rows"]), int(fields["Columns"])
        data.PixelSpacing = numbers(fields["PixelSpacing"])
        data.ImagePositionPatient = numbers(fields["ImagePositionPatient"])
        data.ImageOrientationPatient = numbers(first["ImageOrientationPatient"])
        if float(fields.get("SliceThickness") or 0) > 0:
            data.SliceThickness = numbers([fields["SliceThickness"]])[0]
        found.append(data)
    return found


def stand_in(number: int) -> str:
    """Returns what `source_of` calls an image, counted from 1."""
    return f"2.25.{number}"


def reference(frame: Frame) -> Dataset:
    """Returns an item that refers to an image, and to its frame where it has several."""
    item = Dataset()
    item.ReferencedSOPClassUID = str(frame.fields["SOPClassUID"])
    item.ReferencedSOPInstanceUID = str(frame.fields["SOPInstanceUID"])
    if frame.number is not None:
        item.ReferencedFrameNumber = frame.number
    return item


def files_of(frames: Sequence[Frame]) -> list[Frame]:
    """Returns the first frame of each file, without its number."""
    by_uid: dict[str, Frame] = {}
    for frame in frames:
        uid = str(frame.fields["SOPInstanceUID"])
        by_uid.setdefault(uid, Frame(frame.fields, None))
    return list(by_uid.values())


def series_number(frames: Sequence[Frame], further: int) -> int:
    """Returns the number of a series that was made of a source's."""
    said = str(frames[0].fields.get("SeriesNumber") or 0)
    number = int(said) if re.fullmatch(r"\+?\d{1,10}", said) else 0
    return min(number + further, _LAST_SERIES)


def maker() -> dict[str, Any]:
    """Returns what highdicom's classes are told of who made an object."""
    return {
        "series_instance_uid": generate_uid(),
        "sop_instance_uid": generate_uid(),
        "instance_number": 1,
        "manufacturer": MAKER,
        "manufacturer_model_name": MAKER,
        "software_versions": VERSION,
        "device_serial_number": "none",
        "specific_character_set": "ISO_IR 192",
    }


def declare_private_codes(made: Dataset) -> None:
    """Says whose the private codes of an object are."""
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE
    item.CodingSchemeName = f"Private codes of {MAKER}"
    item.CodingSchemeResponsibleOrganization = MAKER
    made.CodingSchemeIdentificationSequence = [item]


def to_bytes(made: Dataset) -> bytes:
    """Returns an object as a file has it."""
    stream = io.BytesIO()
    made.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def check_ours(flag: str, path: Path) -> None:
    """Checks that an object can be written and replaces nothing that others made.

    Raises:
      InputError: If it cannot, or would.
    """
    if path.suffix.lower() != ".dcm":
        raise InputError(f"--{flag}={path}: expected a name ending in .dcm")
    if not path.parent.is_dir():
        raise InputError(
            f"--{flag}={path}: {path.parent} is no folder; choose one that exists and"
            " that you may write to"
        )
    if not path.exists():
        return
    made_by = None
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = ["ManufacturerModelName"]
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=wanted)
        made_by = header.get("ManufacturerModelName")
    if made_by != MAKER:
        raise InputError(
            f"--{flag}={path} is there and was not made by this program; choose another"
            " name, or move that file away"
        )


def write(flag: str, path: Path, content: bytes) -> None:
    """Writes an object, whole or not at all.

    Raises:
      InputError: If the folder cannot be written to.
    """
    try:
        files.write_bytes(path, content)
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        raise InputError(
            f"--{flag}={path}: cannot write ({error.strerror}); choose a folder that"
            " exists and that you may write to"
        ) from error


def _whose(fields: Any) -> dict[str, str]:
    """Returns whose an image is, without values that the standard does not allow."""
    found = {}
    for keyword in (
        *(*_PATIENT, *_STUDY, "IssuerOfPatientID", "PatientAge", "PatientSize"),
        *("PatientWeight", "StudyInstanceUID", "StudyDescription"),
        *("ReferringPhysicianName", "FrameOfReferenceUID"),
        "PositionReferenceIndicator",
    ):
        said = str(fields.get(keyword, "")).strip()
        fits = re.fullmatch(_FORMS.get(keyword, r"[^\\\x00-\x1f]+"), said)
        if said and fits:
            long = _LONGEST.get(keyword, 64)
            found[keyword] = said if "Name" in keyword else said[:long]
    return found


def _said(frame: Frame, keyword: str) -> str:
    return str(frame.fields.get(keyword, ""))


def numbers(values: Any) -> list[str]:
    """Returns numbers as a header has them: 16 characters at most."""
    return [format_number_as_ds(float(value)) for value in values]
