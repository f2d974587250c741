"""A challenge's label map of one image, by a label table that is stated."""

import dataclasses
from pathlib import Path
from typing import Any

from scarseg_jax.readers import emidec, myops, nifti, places
from scarseg_jax.readers.orientation import FIND
from scarseg_jax.study import Study

TABLES: dict[str, Any] = {"emidec": emidec, "myops": myops}


def with_labels(
    study: Study,
    path: Path,
    *,
    table: str,
    spacing_from: str = "affine",
    slice_axis: int = FIND,
) -> Study:
    """Returns a study with what a NIfTI label map on its grid shows.

    Args:
      study: The image.
      path: The label map.
      table: One of `TABLES`: whose labels they are.
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
    layout = TABLES[table]
    drawn: Any = nifti.masks_of(path, labels, layout.Label, layout.MASKS)
    # A DICOM study keeps no file names.
    files = (*study.files, path) if study.files else ()
    return dataclasses.replace(study, files=files, **drawn)
