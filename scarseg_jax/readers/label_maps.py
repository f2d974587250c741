"""A challenge's label map of one image, by a label table that is stated."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.readers import emidec, myops, nifti, places
from scarseg_jax.readers.orientation import FIND
from scarseg_jax.study import Study

TABLES: dict[str, Any] = {"emidec": emidec, "myops": myops}


def with_labels(
    study: Study,
    path: Path,
    *,
    table: str,
    rv_label: int | None = None,
    spacing_from: str = "affine",
    slice_axis: int = FIND,
) -> Study:
    """Returns a study with what a NIfTI label map on its grid shows.

    Args:
      study: The image.
      path: The label map.
      table: One of `TABLES`: whose labels they are.
      rv_label: A label that the table has not, of the right ventricle.
      spacing_from: As in `nifti.read_volume`.
      slice_axis: As in `nifti.read_volume`.

    Raises:
      InputError: If it is damaged, on another grid, or has other labels.
    """
    labels, geometry = nifti.read_labels(
        path, spacing_from=spacing_from, slice_axis=slice_axis
    )
    name = study.files[0] if study.files else study.patient
    plane = study.image.shape[1], study.image.shape[2]
    places.check_same_grid(name, study.geometry, path, geometry, plane=plane)
    layout, right_ventricle = TABLES[table], None
    if rv_label is not None:
        right_ventricle = labels == rv_label
        _check_right_ventricle(path, labels, rv_label, layout.Label)
        labels = np.where(right_ventricle, layout.Label.BACKGROUND, labels)
    drawn: Any = nifti.masks_of(path, labels, layout.Label, layout.MASKS)
    if right_ventricle is not None:
        drawn["right_ventricle"] = right_ventricle
    # A DICOM study keeps no file names.
    files = (*study.files, path) if study.files else ()
    return dataclasses.replace(study, files=files, **drawn)


def _check_right_ventricle(path: Path, labels: np.ndarray, rv_label: int, known: Any):
    names = {int(label): label.name.lower() for label in known}
    if rv_label in names:
        raise InputError(
            f"--rv_label={rv_label}: of {path} that is {names[rv_label]}; expected a"
            " label that --labels does not name"
        )
    if rv_label not in labels:
        there = ", ".join(str(label) for label in np.unique(labels))
        raise InputError(
            f"--rv_label={rv_label}: {path} has no such label; expected one of {there}"
        )
