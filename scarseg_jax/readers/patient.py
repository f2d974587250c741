"""One patient's image, of any format, and what was drawn on it, to a study."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from scarseg_jax.errors import InputError
from scarseg_jax.readers import contours as drawn
from scarseg_jax.readers import cvi42, dicom, dicom_files, nifti, sunnybrook
from scarseg_jax.readers.orientation import FIND
from scarseg_jax.study import Study


def read_patient(
    path: Path | str,
    *,
    myocardium: Path | str | None = None,
    contours: Path | str | None = None,
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
      myocardium: The mask's NIfTI file, on the image's grid.
      contours: Of a DICOM image: a cvi42 workspace, or a folder of Sunnybrook's.
      contour_names: As `names` of `cvi42.read_contours`, in addition.
      centre_px: Of the contours, as in `polygons.coverage`.
      series: Of DICOM, as `asked` of `dicom_series.choose`.
      time: Of DICOM, as in `dicom_series.one_at_each_place`.
      spacing_from: Of NIfTI, as in `nifti.read_volume`.
      slice_axis: Of NIfTI, as in `nifti.read_volume`.

    Raises:
      InputError: If a file is missing, damaged, or on another grid or image.
    """
    path = Path(path)
    axis = {"spacing_from": spacing_from, "slice_axis": slice_axis}
    if myocardium is not None and contours is not None:
        raise InputError(
            f"--contours={contours} and --myocardium={myocardium}; expected one of them"
        )
    if not dicom_files.is_dicom(path):
        for flag, value in (("contours", contours), ("series", series), ("time", time)):
            if value:
                raise InputError(
                    f"--{flag}={value}: {path} is no DICOM, which it is for; expected a"
                    " folder, a zip or a file of DICOM"
                )
        return nifti.read_image(path, myocardium=myocardium, **axis)
    stack = dicom.open_stack(path, series=series, time=time)
    study = dicom.to_study(stack)
    if myocardium is not None:
        mask = nifti.read_mask(
            Path(myocardium),
            study.patient,
            study.geometry,
            plane=(study.image.shape[1], study.image.shape[2]),
            **axis,
        )
        return dataclasses.replace(study, myocardium=mask)
    if contours is None:
        return study
    file = Path(contours)
    if sunnybrook.is_contours(file):
        lines, key = sunnybrook.read_contours(file, centre_px=centre_px), sunnybrook.key
    elif cvi42.is_workspace(file):
        names = {**cvi42.NAMES, **(contour_names or {})}
        lines = cvi42.read_contours(file, names=names, centre_px=centre_px)
        key = cvi42.key
    else:
        raise InputError(
            f"--contours={file}: of no known kind; expected a cvi42 workspace"
            " (.cvi42wsx), or a folder of IM-*-icontour-*.txt"
        )
    return drawn.with_contours(study, drawn.draw(stack, lines, key))
