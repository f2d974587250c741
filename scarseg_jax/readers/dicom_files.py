"""What a folder, a zip or a file holds of DICOM: the headers of its images.

Nothing is unpacked to the disk, and of whom an image is, when it was made and what its
file is called is neither kept nor said: messages count files and give reasons.
"""

import collections
import contextlib
import io
import logging
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pydicom
from pydicom import config
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.utils import pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian

from scarseg_jax.errors import InputError

_log = logging.getLogger(__name__)
_LARGEST_FILE = 2**30  # bytes; a whole enhanced cine has a tenth of it
_LARGEST_ZIP = 2**33  # unpacked: no study is as large
_MOST_FILES = 100_000
_LARGEST_SIDE = 4096  # pixels; before anything of that size is allocated
_PREAMBLE = 128  # bytes before DICM
# What pydicom raises for values that are not what their types say.
_DAMAGE = (
    *(
        InvalidDicomError,
        BytesLengthException,
        RecursionError,
        NotImplementedError,
        LookupError,
    ),
    *(OSError, EOFError, zipfile.BadZipFile, zlib.error, struct.error),
    *(ValueError, TypeError, AttributeError, ArithmeticError),
)
# All that is read of a header but the groups of an enhanced image's frames.
_WANTED = (
    *("SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "InstanceNumber"),
    *("SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "NumberOfFrames"),
    *("FrameOfReferenceUID", "Rows", "Columns", "SamplesPerPixel"),
    "PhotometricInterpretation",
    *("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    *("ImagePositionPatient", "ImageOrientationPatient"),
    *("TriggerTime", "TemporalPositionIdentifier", "AcquisitionTime"),
    *("InversionTime", "ScanningSequence", "RescaleSlope", "RescaleIntercept"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
# Whom it is of and who made it: read to be struck out of what users wrote, not kept.
_NAMES = (
    *("PatientName", "PatientID", "OtherPatientNames", "OtherPatientIDs"),
    *("PatientBirthName", "PatientMotherBirthName", "AccessionNumber", "StudyID"),
    *("ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName"),
)
SHOWN = "ShownDescription"  # the series' without these names, for messages
_STRUCK = "#"
_LEAST = 2  # letters of a name that is struck out
# Whose an image is and of which examination, which only files for DICOM's own archives
# are given.
_WHOSE = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate"),
    *("PatientSex", "PatientAge", "PatientSize", "PatientWeight"),
    *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "StudyDescription"),
    *("AccessionNumber", "ReferringPhysicianName"),
    "PositionReferenceIndicator",
)
# How many values each has; what has others is taken as not said.
_LENGTHS = {
    "PixelSpacing": 2,
    "ImagePositionPatient": 3,
    "ImageOrientationPatient": 6,
}


class Item(NamedTuple):
    """A file, or one inside a zip.

    Attributes:
      open: Returns its bytes as a stream.
      size: Of them.
    """

    open: Callable[[], BinaryIO]
    size: int


class Image(NamedTuple):
    """One image: a file's only one, or a frame of an enhanced one.

    Attributes:
      item: The file.
      frame: Counted from 0; None where the file has no others.
      fields: The header's values by keyword, a frame's own before those that the
        file's frames share.
    """

    item: Item
    frame: int | None
    fields: Mapping[str, Any]


def is_dicom(path: Path) -> bool:
    """Returns whether a path is a zip, a DICOM file or a folder with one in it."""
    if path.is_dir():
        return any(_start(file).endswith(b"DICM") for file in path.rglob("*"))
    start = _start(path)
    return start.endswith(b"DICM") or start.startswith(b"PK\x03\x04")


def frames_of(path: Path) -> tuple[int, str]:
    """Returns how many MR images a DICOM file has, and of which study; else 0."""
    try:
        with quiet():
            wanted = ["Modality", "NumberOfFrames", "StudyInstanceUID"]
            header = pydicom.dcmread(
                path, stop_before_pixels=True, specific_tags=wanted
            )
            is_mr = header.get("Modality") == "MR"
            frames = int(header.get("NumberOfFrames") or 1) if is_mr else 0
            return frames, str(header.get("StudyInstanceUID"))
    except _DAMAGE:
        return 0, ""


def read_headers(path: Path) -> list[Image]:
    """Returns the images of a folder and its folders, of a zip, or of a file.

    Files of other kinds are passed over, with a word in the log.

    Raises:
      InputError: If there is no image, or a zip is damaged, locked or too large.
    """
    images: list[Image] = []
    passed: collections.Counter[str] = collections.Counter()
    with quiet():
        for item in _items(path):
            found = _images(item)
            if isinstance(found, str):
                passed[found] += 1
            else:
                images += found
    reasons = ", ".join(f"{count} {reason}" for reason, count in passed.items())
    if not images:
        raise InputError(
            f"{path}: no DICOM image in it ({reasons or 'it is empty'}); expected the"
            " files of a series: check --input"
        )
    if passed:
        _log.warning("DICOM: files not read: %s", reasons)
    return images


def read_whose(images: Sequence[Image]) -> list[dict[str, str]]:
    """Returns as text, by keyword, whose each image is; what is not said is not there.

    Raises:
      InputError: If a file can no longer be read.
    """
    found: dict[int, dict[str, str]] = {}  # by file: one can have many images
    for image in images:
        if id(image.item) in found:
            continue
        try:
            with quiet(), image.item.open() as stream:
                header = pydicom.dcmread(
                    stream,
                    stop_before_pixels=True,
                    specific_tags=["SpecificCharacterSet", *_WHOSE],
                )
                found[id(image.item)] = {
                    element.keyword: str(element.value)
                    for element in header
                    if element.keyword in _WHOSE and element.value not in (None, "")
                }
        except _DAMAGE as error:
            raise InputError(
                "DICOM: a file of the series cannot be read again; is it still there?"
            ) from error
    return [found[id(image.item)] for image in images]


def read_pixels(image: Image) -> Any:
    """Returns the (rows, columns) stored values of an image.

    Raises:
      InputError: If they are compressed in a way that nothing here decodes, or damaged.
    """
    try:
        with quiet(), image.item.open() as stream:
            return pixel_array(stream, index=image.frame)
    except Exception as error:  # decoders raise anything
        syntax = ""
        with contextlib.suppress(Exception), quiet(), image.item.open() as stream:
            header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=[])
            syntax = header.file_meta.TransferSyntaxUID.name
        reason = " ".join(str(error).split())[:80]
        raise InputError(
            f"DICOM: pixels stored as {syntax or 'an unknown syntax'} cannot be decoded"
            f" ({reason}); expected whole images that pydicom decodes: export them"
            " uncompressed (Explicit VR Little Endian)"
        ) from error


@contextlib.contextmanager
def opened(path: Path) -> Iterator[pydicom.Dataset]:
    """Yields all of a file that is no image, such as a segmentation, to be read from.

    Its values are looked at only when asked for: what is wrong with them shows inside.

    Raises:
      InputError: If it is damaged, there or when values are asked for, deflated or too
        large.
    """
    reason = f"larger than {_LARGEST_FILE / 2**30:g} GiB"
    try:
        if path.stat().st_size <= _LARGEST_FILE:
            with quiet(), path.open("rb") as stream:
                reason = "deflated"
                if DeflatedExplicitVRLittleEndian.encode() not in stream.read(1024):
                    stream.seek(0)
                    reason = "damaged"
                    yield pydicom.dcmread(stream)
                    return
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(_not_whole(path, reason)) from error
    raise InputError(_not_whole(path, reason))


def _not_whole(path: Path, reason: str) -> str:
    return (
        f"--contours={path}: {reason}; expected a whole, plain DICOM file: export it"
        " anew"
    )


def modality(path: Path) -> str:
    """Returns what a DICOM file says that it is, such as SEG; empty if it does not."""
    if path.is_file() and _start(path).endswith(b"DICM"):
        with contextlib.suppress(*_DAMAGE), quiet():
            header = pydicom.dcmread(
                path, stop_before_pixels=True, specific_tags=["Modality"]
            )
            return str(header.get("Modality") or "")
    return ""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps pydicom from warning of, and quoting, what others wrote."""
    told = config.settings.reading_validation_mode
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config.settings.reading_validation_mode = config.IGNORE
        try:
            yield
        finally:
            config.settings.reading_validation_mode = told


def _start(path: Path) -> bytes:
    with contextlib.suppress(OSError), path.open("rb") as stream:
        return stream.read(_PREAMBLE + 4)
    return b""


def _items(path: Path) -> Iterator[Item]:
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.is_file())
        for file in files:
            if not any(p.startswith(".") for p in file.relative_to(path).parts):
                yield Item(lambda file=file: file.open("rb"), file.stat().st_size)
    elif not path.is_file():
        raise InputError(f"{path}: no such file or folder; check --input")
    elif zipfile.is_zipfile(path):
        yield from _zipped(path)
    else:
        yield Item(lambda: path.open("rb"), path.stat().st_size)


def _zipped(path: Path) -> Iterator[Item]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{path}: not a readable zip; copy it anew") from error
    members = [member for member in archive.infolist() if not member.is_dir()]
    total = sum(member.file_size for member in members)
    if len(members) > _MOST_FILES or total > _LARGEST_ZIP:
        raise InputError(
            f"{path}: a zip of {len(members)} files that unpack to {total / 2**30:.1f}"
            f" GiB; expected one study, {_LARGEST_ZIP / 2**30:g} GiB at most: unpack"
            " what is needed"
        )
    if any(member.flag_bits & 1 for member in members):
        raise InputError(f"{path}: the zip has a password; unpack it first")

    def unpacked(member: zipfile.ZipInfo) -> BinaryIO:
        # No more is read than the size that was declared and checked.
        with archive.open(member) as stream:
            return io.BytesIO(stream.read(member.file_size))

    for member in sorted(members, key=lambda member: member.filename):
        yield Item(lambda member=member: unpacked(member), member.file_size)


def _images(item: Item) -> list[Image] | str:
    """Returns a file's images, or why it has none."""
    if item.size > _LARGEST_FILE:
        return f"larger than {_LARGEST_FILE / 2**30:g} GiB"
    try:
        with item.open() as stream:
            start = stream.read(1024)
            if start[_PREAMBLE : _PREAMBLE + 4] != b"DICM":
                return "not DICOM"
            # To look into it is to inflate all of it, however large.
            if DeflatedExplicitVRLittleEndian.encode() in start:
                return "deflated"
            stream.seek(0)
            header = pydicom.dcmread(
                stream, stop_before_pixels=True, specific_tags=[*_WANTED, *_NAMES]
            )
            return _frames(item, header)
    except _DAMAGE:
        return "damaged"


def _frames(item: Item, header: pydicom.Dataset) -> list[Image] | str:
    if "Rows" not in header or "Columns" not in header:
        return "without an image"
    if not (0 < header.Rows <= _LARGEST_SIDE and 0 < header.Columns <= _LARGEST_SIDE):
        return f"of more than {_LARGEST_SIDE} pixels"
    if header.get("SamplesPerPixel", 1) != 1:
        return "in colour"
    own = _unnamed(flat(header))
    groups = header.get("PerFrameFunctionalGroupsSequence") or []
    count = int(header.get("NumberOfFrames") or 1)
    if count == 1 and not groups:
        return [Image(item, None, own)]
    if count != len(groups):
        return "with frames without a place"
    shared = header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()]
    own = own | flat(shared[0])
    return [
        Image(item, frame if count > 1 else None, own | flat(group))
        for frame, group in enumerate(groups)
    ]


def _unnamed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns fields without names, and a description to show without them."""
    said = [str(fields[name]) for name in _NAMES if name in fields]
    words = {word for text in said for word in re.split(r"[\W_]+", text)}
    names = sorted(filter(lambda w: len(w) >= _LEAST, words), key=len, reverse=True)
    text = str(fields.get("SeriesDescription", ""))
    if names:
        either = "|".join(map(re.escape, names))
        alone = rf"(?<![^\W_])({either})(?![^\W_])"
        text = re.sub(alone, _STRUCK, text, flags=re.IGNORECASE)
    kept = {key: value for key, value in fields.items() if key not in _NAMES}
    return {**kept, SHOWN: text}


def flat(dataset: pydicom.Dataset) -> dict[str, Any]:
    """Returns a dataset's values, and those of its sequences of one item, by keyword."""
    found: dict[str, Any] = {}
    for element in dataset:
        if element.VR == "SQ":
            if len(element.value) == 1 and "FunctionalGroups" not in element.keyword:
                found |= flat(element.value[0])
        elif element.keyword and element.value not in (None, ""):
            count = _LENGTHS.get(element.keyword, element.VM)
            if count == element.VM:
                found[element.keyword] = element.value
    return found
