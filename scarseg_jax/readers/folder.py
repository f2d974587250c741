"""A plain folder of NIfTI files.

PATIENT_image.nii[.gz], and where contoured PATIENT_myocardium.nii[.gz] and
PATIENT_scar.nii[.gz]; masks are 0 and one other value.
"""

from pathlib import Path

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.readers import nifti
from scarseg_jax.study import Study

_ENDINGS = (".nii.gz", ".nii")


def list_patients(path: Path) -> tuple[str, ...]:
    """Returns the names of the patients in a folder, sorted.

    Raises:
      InputError: If there are none.
    """
    found = {
        file.name.removesuffix(f"_image{ending}")
        for ending in _ENDINGS
        for file in path.glob(f"*_image{ending}")
    }
    if not found:
        raise InputError(
            f"{path}: no *_image.nii or *_image.nii.gz in it; expected PATIENT_image,"
            " PATIENT_myocardium and PATIENT_scar: check data.path"
        )
    return tuple(sorted(found))


def list_files(path: Path, patient: str) -> tuple[Path, ...]:
    """Returns a patient's image and what masks there are.

    Raises:
      InputError: If there is no image, or a file is doubled.
    """
    return tuple(_files(path, patient).values())


def read_study(path: Path, patient: str) -> Study:
    """Returns one patient.

    Raises:
      InputError: If a file is missing, damaged, doubled, or a mask has many values.
    """
    files = _files(path, patient)
    image, grid = nifti.read_volume(files["image"])
    masks = {
        name: read_mask(file, files["image"], grid)
        for name, file in files.items()
        if name != "image"
    }
    spacing_mm = grid.spacing_zyx_mm
    return Study(patient, image, spacing_mm, files=tuple(files.values()), **masks)


def read_mask(
    path: Path, image_path: Path, grid: nifti.Grid, *, spacing_from: str = "affine"
) -> np.ndarray:
    """Returns a (Z, Y, X) bool mask on the image's grid.

    Args:
      path: The mask's file.
      image_path: The image's, for messages.
      grid: The image's.
      spacing_from: As in `nifti.read_volume`.

    Raises:
      InputError: If it lies on another grid or has more than one value beside 0.
    """
    labels, labels_grid = nifti.read_labels(path, spacing_from=spacing_from)
    nifti.check_same_grid(image_path, grid, path, labels_grid)
    values = np.setdiff1d(labels, 0)
    if len(values) > 1:
        raise InputError(
            f"{path}: {len(values)} values beside 0; expected a mask of one: split the"
            " labels into one file each"
        )
    return labels != 0


def _files(path: Path, patient: str) -> dict[str, Path]:
    """Returns what there is of image, myocardium and scar."""
    files: dict[str, Path] = {}
    for name in ("image", "myocardium", "scar"):
        for ending in _ENDINGS:
            file = path / f"{patient}_{name}{ending}"
            if not file.is_file():
                continue
            if name in files:
                raise InputError(
                    f"{files[name]}: {file.name} is there as well; keep one"
                )
            files[name] = file
    if "image" not in files:
        raise InputError(f"{path}: no {patient}_image.nii[.gz] in it; check the name")
    return files
