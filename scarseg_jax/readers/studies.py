"""A folder of studies: what is one of them, what it is called, and how it is read.

Names of files and folders are patients' more often than not. So a study is known by a
number, its place in the order of these names.
"""

import collections
import dataclasses
import functools
import glob
import logging
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scarseg_jax.errors import InputError
from scarseg_jax.files import visible
from scarseg_jax.readers.dicom_files import frames_of, is_dicom
from scarseg_jax.readers.orientation import FIND
from scarseg_jax.readers.sources import READERS
from scarseg_jax.readers.strays import find_strays
from scarseg_jax.study import Study

_log = logging.getLogger(__name__)
_NIFTI = (".nii", ".nii.gz")
_DIGITS = 3  # of a number at least
Read = Callable[[Path], Study]


@dataclasses.dataclass(frozen=True)
class Unread:
    """A study that is there and not read yet.

    Attributes:
      name: What it is called in all that is written and said: nobody's name.
      paths: The files, or the folder, that decide what is read.
      read: Returns it; raises an InputError if it cannot be used.
      roles: What each path is for, without the patient's name.
    """

    name: str
    paths: tuple[Path, ...] = dataclasses.field(repr=False)  # for others' logs, too
    read: Callable[[], Study] = dataclasses.field(repr=False)
    roles: tuple[str, ...] = ("--input",)


def studies(home: Path, read: Read) -> tuple[Unread, ...]:
    """Returns a folder's studies, in order of name.

    They are its folders, zips, NIfTI files and enhanced files of DICOM.

    A folder holds DICOM, or one NIfTI file; other files are counted in the log.

    Args:
      home: The folder.
      read: Reads DICOM (a folder or a zip) or a NIfTI file.

    Raises:
      InputError: If there is none, or the folder is a study itself.
    """
    found: list[Path] = []
    loose: set[str] = set()  # of enhanced files, the examinations that they are of
    others: collections.Counter[str] = collections.Counter()
    for path in visible(home.iterdir()):
        if path.is_dir() or path.name.casefold().endswith((*_NIFTI, ".zip")):
            found.append(path)
        elif is_dicom(path) and not zipfile.is_zipfile(path):  # as a spreadsheet is
            frames, examination = frames_of(path)
            if frames == 1 or (frames and examination in loose):
                raise InputError(
                    f"--input={home} has DICOM files of one study in it that are in no"
                    " folder; expected a folder or a zip a study, or, if all are one"
                    " study, --output=NAME.nii.gz"
                )
            if frames:
                found.append(path)
                loose.add(examination)
            else:
                others["DICOM without MR images"] += 1
        else:
            others[_kind(path)] += 1
    _say_not_read(others)
    if not found:
        raise InputError(
            f"--input={home}: no study in it; expected folders, zips or enhanced files of"
            " DICOM, or .nii or .nii.gz files"
        )
    whole = [_whole(path) for path in found]
    return tuple(
        Unread(name, (path,), functools.partial(_read, path, read))
        for name, path in zip(_names(len(whole)), whole, strict=True)
    )


def studies_of_source(
    source: str, home: Path, *, slice_axis: int = FIND
) -> tuple[Unread, ...]:
    """Returns the studies of a data source's layout, with what was drawn on them.

    A patient whose files are doubled, or would be passed over for capital and small
    letters in a name, has a study that cannot be used. Other files are counted in the
    log.

    Args:
      source: One of `sources.READERS`.
      home: Its folder.
      slice_axis: As in `nifti.read_volume`.

    Raises:
      InputError: If there is none.
    """
    reader = READERS[source]
    patients = reader.list_patients(home)
    paths: dict[str, tuple[Path, ...]] = {}
    wrong: dict[str, str] = {}
    for patient in patients:
        try:
            paths[patient] = tuple(reader.list_files(home, patient))
        except InputError as error:
            wrong[patient] = str(error)
    others: collections.Counter[str] = collections.Counter()
    # Asked of each file: where something is wrong already, nothing more is said.
    for stray in find_strays(home, reader, patients, lambda name: name not in wrong):
        said = "a link to what is not there; mend or remove it"
        if stray.right is not None:
            said = f"not read under this name; expected {stray.right}: rename it"
        elif not stray.broken or not stray.whose:
            others[_kind(stray.file)] += 1
            continue
        known = [patient for patient in stray.whose if patient in patients]
        for patient in known or stray.whose[:1]:
            wrong.setdefault(patient, f"{stray.file}: {said}")
            paths.setdefault(patient, (stray.file,))
    _say_not_read(others)
    found = []
    everyone = sorted({*patients, *wrong})
    for name, patient in zip(_names(len(everyone)), everyone, strict=True):
        read = functools.partial(
            reader.read_study, home, patient, slice_axis=slice_axis
        )
        if patient in wrong:
            problem = _without_names(wrong[patient], home, patient, name)
            read = functools.partial(_refuse, problem)
            its = paths.get(patient) or visible(home.glob(f"{glob.escape(patient)}*"))
            paths[patient] = tuple(file for file in its if file.exists()) or (home,)
        roles = tuple(_role(file, home, patient) for file in paths[patient])
        found.append(Unread(name, paths[patient], read, roles))
    return tuple(found)


def _role(file: Path, home: Path, patient: str) -> str:
    """Returns a file's name in a layout, without the patient's."""
    parts = file.relative_to(home).parts
    return "/".join(part.removeprefix(patient) for part in parts)


def _refuse(problem: str) -> Study:
    raise InputError(problem)


def _without_names(text: str, home: Path, patient: str, name: str) -> str:
    """Returns what is said of files in a folder, with the study's name for a patient's."""
    alone = rf"(?<![^\W_]){re.escape(patient)}(?![^\W_])"
    return re.sub(alone, name, text.replace(f"{home}/", ""), flags=re.IGNORECASE)


def _say_not_read(others: Mapping[str, int]) -> None:
    """Counts in the log, by their endings, files that are no study's."""
    if others:
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
        _log.warning("files that are no study and not read: %s", listed)


def _kind(path: Path) -> str:
    if path.is_dir():
        return "folders"
    return path.suffix or "without an ending"


def _names(count: int) -> Sequence[str]:
    digits = max(_DIGITS, len(str(count)))
    return [f"study_{number:0{digits}}" for number in range(1, count + 1)]


def _whole(path: Path) -> Path:
    """Returns what is read: of a folder without DICOM its only NIfTI file."""
    if path.is_dir() and not is_dicom(path):
        inside = _nifti(path)
        return inside[0] if len(inside) == 1 else path
    return path


def _read(path: Path, read: Read) -> Study:
    if path.is_dir() and not is_dicom(path):
        raise InputError(
            f"{path}: a folder without DICOM and with {len(_nifti(path))} NIfTI files;"
            " expected DICOM, or one .nii or .nii.gz: with --source images are read with"
            " their contours"
        )
    return read(path)


def _nifti(folder: Path) -> list[Path]:
    return [file for file in visible(folder.rglob("*")) if file.name.endswith(_NIFTI)]
