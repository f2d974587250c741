"""A folder of patients' folders of DICOM, each with its contours where there are any.

PATIENT/ holds the images, in whatever folders, and at most one of: a DICOM Segmentation,
an RT Structure Set, a cvi42 workspace (.cvi42wsx), or Sunnybrook's text files.
"""

from collections.abc import Callable
from pathlib import Path

from scarseg_jax.errors import InputError
from scarseg_jax.files import visible
from scarseg_jax.readers import dicom_seg, rtstruct, sunnybrook
from scarseg_jax.readers.contours import SCAR
from scarseg_jax.readers.dicom_files import is_dicom, modality
from scarseg_jax.readers.orientation import FIND
from scarseg_jax.readers.patient import read_patient
from scarseg_jax.study import Study

SPACING_FROM = "affine"
PLACES = ("*",)
IGNORED = ()
_WORKSPACE = ".cvi42wsx"
_AUTOMATIC = {"SEG": dicom_seg.automatic, "RTSTRUCT": rtstruct.automatic}


def list_patients(path: Path) -> tuple[str, ...]:
    """Returns the names of the folders that have DICOM in them, sorted.

    Raises:
      InputError: If there are none.
    """
    folders = [one for one in visible(path.iterdir()) if one.is_dir()]
    found = tuple(sorted(one.name for one in folders if is_dicom(one)))
    if not found:
        raise InputError(
            f"{path}: no folder with DICOM in it; expected a folder of each patient:"
            " check data.path"
        )
    return found


def list_files(path: Path, patient: str) -> tuple[Path, ...]:
    """Returns a patient's folder, all of which counts."""
    return (path / patient,)


def read_as(file: Path, spelled: Callable[[str], str]) -> list[tuple[str, Path]]:
    """Returns whom a folder or file is of: by its name. See `strays.Layout`."""
    del spelled  # names are free
    return [(file.name, file)]


def read_study(path: Path, patient: str, *, slice_axis: int = FIND) -> Study:
    """Returns one patient.

    Args:
      path: The folder of all.
      patient: The name of their folder.
      slice_axis: Of no meaning here; what DICOM's slices follow is known.

    Raises:
      InputError: If there is no one LGE stack, contours of more than one kind or file,
        or a scar that nobody drew, or as `read_patient`.
    """
    if slice_axis != FIND:
        raise InputError(
            f"slice_axis is {slice_axis}: of NIfTI alone; expected {FIND} for DICOM"
        )
    home = path / patient
    drawn = _contours(home)
    if len(drawn) > 1:
        raise InputError(
            f"{home}: {len(drawn)} files of contours; expected one at most: keep the one"
            " that counts"
        )
    for file in drawn:
        automatic = _AUTOMATIC.get(modality(file))
        if automatic is not None and SCAR in automatic(file):
            raise InputError(
                f"{file}: its scar is an algorithm's (AUTOMATIC), such as what predict"
                " wrote; expected a reader's: move it elsewhere, or, if a reader has"
                " corrected it, mark it SEMIAUTOMATIC"
            )
    return read_patient(home, name=patient, contours=drawn[0] if drawn else None)


def _contours(home: Path) -> list[Path]:
    """Returns what is drawn: files, or the folder itself of Sunnybrook's many."""
    found = [home] if sunnybrook.is_contours(home) else []
    files = (file for file in visible(home.rglob("*")) if file.is_file())
    return found + [
        file
        for file in files  # XML may be anything
        if file.suffix.lower() == _WORKSPACE or modality(file) in _AUTOMATIC
    ]
