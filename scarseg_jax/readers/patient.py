"""One patient's image, of any format, and what was drawn on it, to a study."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.readers import contours as drawn
from scarseg_jax.readers import (
    cvi42,
    dicom,
    dicom_files,
    dicom_seg,
    insertions,
    nifti,
    rtstruct,
    sunnybrook,
)
from scarseg_jax.readers.dicom_files import Image
from scarseg_jax.readers.label_maps import table_of, with_labels
from scarseg_jax.readers.orientation import FIND
from scarseg_jax.study import Study


def read_patient(
    path: Path | str,
    *,
    name: str | None = None,
    myocardium: Path | str | None = None,
    contours: Path | str | None = None,
    labels: str | None = None,
    rv_label: int | None = None,
    rv_insertions: Sequence[Sequence[float]] = (),
    remote: Path | str | None = None,
    phase_sensitive: bool | None = None,
    contour_names: Mapping[str, str] | None = None,
    centre_px: float = 0.0,
    series: Sequence[str] = (),
    time: int = 0,
    spacing_from: str = "affine",
    slice_axis: int = FIND,
) -> Study:
    """Returns the study of one image.

    Args:
      path: A NIfTI file, or DICOM: a folder, a zip or a file.
      name: Of the patient; None takes what the file's name or the series says.
      myocardium: The mask's NIfTI file, on the image's grid.
      contours: Instead of it, a NIfTI label map on the image's grid; of a DICOM image
        also a cvi42 workspace, a folder of Sunnybrook's contours, or a DICOM
        Segmentation or RT Structure Set.
      labels: Whose labels a label map has, or what they mean: see `label_maps.table_of`.
      contour_names: Further names of contours, segments and regions, each with the one
        of `contours.NAMES` that it means.
      rv_label: Of such a map, of the right ventricle, where its table has none.
      rv_insertions: The right ventricle's anterior insertion and, if any, its inferior
        one: (slice, row, column) of the image as it is stored, as `insertions` says.
      remote: A mask of healthy myocardium, as that of the myocardium.
      phase_sensitive: Whether the image is, where the file does not say.
      centre_px: Of lines, as in `polygons.coverage`.
      series: Of DICOM, as `asked` of `dicom_series.choose`.
      time: Of DICOM, as in `dicom_series.one_at_each_place`.
      spacing_from: Of NIfTI, as in `nifti.read_volume`.
      slice_axis: Of NIfTI, as in `nifti.read_volume`.

    Raises:
      InputError: If a file is missing, damaged, or on another grid or image, or
        something is told of what is not given.
    """
    path = Path(path)
    names = contour_names or {}
    stored: Any = {"spacing_from": spacing_from, "slice_axis": slice_axis}
    if myocardium is not None and contours is not None:
        raise InputError(
            f"--contours={contours} and --myocardium={myocardium}; expected one of them"
        )
    is_map = contours is not None and str(contours).endswith((".nii", ".nii.gz"))
    lines, key = None, cvi42.key
    if contours is not None and not is_map:
        lines, key = _lines(Path(contours), names, centre_px)
    if dicom_files.is_dicom(path):
        lined = {line.image for line in lines or ()}
        stack = dicom.open_stack(
            path, series=series, time=time, drawn_on=lambda image: key(image) in lined
        )
        points = insertions.on_dicom(rv_insertions, stack)
        study = dicom.to_study(stack)
        if myocardium is not None:
            mask = _read_mask(study, Path(myocardium), stored)
            study = dataclasses.replace(study, myocardium=mask)
    else:
        for flag, value in (("series", series), ("time", time)):
            if value:
                raise InputError(
                    f"--{flag}={value}: {path} is no DICOM, which it is for; expected a"
                    " folder, a zip or a file of DICOM"
                )
        stack = None
        study = nifti.read_image(path, myocardium=myocardium, **stored)
        assert study.geometry.stored is not None
        points = insertions.on_nifti(rv_insertions, study.geometry.stored)
    if rv_label is not None and not is_map:
        raise InputError(
            f"--rv_label={rv_label}: a label of no label map; expected --contours to be"
            " one (.nii or .nii.gz)"
        )
    if labels is not None and not is_map:
        raise InputError(
            f"--labels={labels}: of no label map; expected --contours to be one (.nii or"
            " .nii.gz)"
        )
    if contours is None or is_map:
        for flag, value in (
            ("contour_names", ",".join(f"{k}={v}" for k, v in names.items())),
            ("contour_centre_px", centre_px),
        ):
            if value:
                raise InputError(
                    f"--{flag}={value}: of no contours; expected --contours to have"
                    " some by name, and not to be a label map"
                )
    if contours is not None:
        file = Path(contours)
        if is_map:
            study = _with_map(study, file, labels, rv_label, stored)
        else:
            study = _with_drawn(stack, study, file, names, lines, key)
    if remote is not None:
        mask = _read_mask(study, Path(remote), stored)
        study = dataclasses.replace(study, remote=mask)
    if phase_sensitive is not None:
        study = _with_kind(study, phase_sensitive)
    return dataclasses.replace(
        study, patient=study.patient if name is None else name, insertions=points
    )


def _read_mask(study: Study, path: Path, stored: Mapping[str, Any]) -> np.ndarray:
    name = study.files[0] if study.files else study.patient
    plane = study.image.shape[1], study.image.shape[2]
    return nifti.read_mask(path, name, study.geometry, plane=plane, **stored)


def _with_kind(study: Study, phase_sensitive: bool) -> Study:
    if study.phase_sensitive not in (None, phase_sensitive):
        flag = "--phase_sensitive" if phase_sensitive else "--nophase_sensitive"
        raise InputError(
            f"{flag}: the header of {study.patient} says that the image is"
            f" {'magnitude' if phase_sensitive else 'phase-sensitive'}; expected no such"
            " flag, or another series (--series)"
        )
    return dataclasses.replace(study, phase_sensitive=phase_sensitive)


def _with_map(
    study: Study,
    file: Path,
    labels: str | None,
    rv_label: int | None,
    stored: Mapping[str, Any],
) -> Study:
    table = table_of(labels)
    return with_labels(study, file, table=table, rv_label=rv_label, **stored)


def _lines(
    file: Path, names: Mapping[str, str], centre_px: float
) -> tuple[list[drawn.Contour] | None, Callable[[Image], str]]:
    """Returns lines on images and what names these; None where a file says places."""
    if sunnybrook.is_contours(file):
        return sunnybrook.read_contours(file, centre_px=centre_px), sunnybrook.key
    if cvi42.is_workspace(file):
        names = {**cvi42.NAMES, **names}
        return cvi42.read_contours(file, names=names, centre_px=centre_px), cvi42.key
    if dicom_files.modality(file) in ("SEG", "RTSTRUCT"):
        if centre_px:
            raise InputError(
                f"--contour_centre_px={centre_px}: {file} is DICOM, which says where"
                " pixels are; leave it out"
            )
        return None, cvi42.key
    raise InputError(
        f"--contours={file}: of no known kind; expected a NIfTI label map, a DICOM"
        " Segmentation or RT Structure Set, a cvi42 workspace (.cvi42wsx), or a"
        " folder of IM-*-icontour-*.txt"
    )


def _with_drawn(
    stack: dicom.Stack | None,
    study: Study,
    file: Path,
    names: Mapping[str, str],
    lines: Sequence[drawn.Contour] | None,
    key: Callable[[Image], str],
) -> Study:
    if stack is None:
        raise InputError(
            f"--contours={file}: drawn on DICOM images, but the image is NIfTI; give the"
            " DICOM series as --input"
        )
    if lines is not None:
        masks = drawn.draw(stack, lines, key)
    else:
        is_seg = dicom_files.modality(file) == "SEG"
        read = dicom_seg.read_masks if is_seg else rtstruct.read_masks
        masks = read(file, stack, names=names)
    return drawn.with_contours(study, masks)
