"""A label map of one image, by a label table that is stated: a challenge's or one's own."""

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.readers import emidec, myops, nifti, places
from scarseg_jax.readers.orientation import FIND
from scarseg_jax.study import Study

TABLES: dict[str, Any] = {"emidec": emidec, "myops": myops}
_OWN = {  # what a table of one's own may name; the masks that each is part of
    "cavity": ("cavity",),
    "myocardium": ("myocardium",),
    "scar": ("myocardium", "scar"),
    "no_reflow": ("myocardium", "scar", "no_reflow"),
}


class Table(NamedTuple):
    """What labels mean.

    Attributes:
      label: All of them, by name; 0 is the background.
      masks: The labels of each mask of a study.
    """

    label: type[enum.IntEnum]
    masks: Mapping[str, Sequence[int]]


def table_of(said: str | None) -> Table:
    """Returns the table of a name in `TABLES`, or of words such as cavity=1,scar=3.

    The words are cavity, myocardium (without scar), scar and no_reflow; the myocardium and
    scar of the study are then with those in them.

    Raises:
      InputError: If it is neither.
    """
    if said in TABLES:
        return Table(TABLES[said].Label, TABLES[said].MASKS)
    pairs = [pair.partition("=") for pair in (said or "").split(",")]
    own = {name.strip(): value.strip() for name, _, value in pairs}
    numbers = [int(v) if v.isascii() and v.isdigit() else 0 for v in own.values()]
    whole = 0 not in numbers and len(set(numbers)) == len(own) == len(pairs)
    if not (whole and {"myocardium"} <= own.keys() <= _OWN.keys()):
        raise InputError(
            f"--labels={said}: expected whose labels the map has, {' or '.join(TABLES)}, or"
            " what each means, such as cavity=1,myocardium=2,scar=3,no_reflow=4: the myocardium"
            " at least, and different numbers from 1"
        )
    named = dict(zip(own, numbers, strict=True))
    label = enum.IntEnum(
        "label", {"BACKGROUND": 0} | {k.upper(): v for k, v in named.items()}
    )
    masks = {part for name in own for part in _OWN[name]}
    return Table(
        label,
        {m: tuple(v for name, v in named.items() if m in _OWN[name]) for m in masks},
    )


def with_labels(
    study: Study,
    path: Path,
    *,
    table: Table,
    rv_label: int | None = None,
    spacing_from: str = "affine",
    slice_axis: int = FIND,
) -> Study:
    """Returns a study with what a NIfTI label map on its grid shows.

    Args:
      study: The image.
      path: The label map.
      table: Of the labels.
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
    right_ventricle = None
    if rv_label is not None:
        right_ventricle = labels == rv_label
        _check_right_ventricle(path, labels, rv_label, table.label)
        labels = np.where(right_ventricle, 0, labels)
    drawn: Any = nifti.masks_of(path, labels, table.label, table.masks)
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
