"""What was found to DICOM, on request: a Segmentation and a report of its figures."""

import logging
from collections.abc import Sequence
from pathlib import Path

from scarseg_jax.errors import InputError
from scarseg_jax.measure.numbers import Numbers
from scarseg_jax.run import Segmentation
from scarseg_jax.study import Series, Study
from scarseg_jax.writers import dicom_source, nifti

_log = logging.getLogger(__name__)


def check_dicom(
    study: Study,
    seg: Path | None,
    sr: Path | None,
    *,
    output: Path,
    probability: bool = False,
    inputs: Sequence[Path | None] = (),
) -> bool:
    """Checks before all computing that what was asked for can be written.

    Args:
      study: What is looked at.
      seg: Where the Segmentation is to go; None: nowhere.
      sr: Where the report is to go; None: nowhere.
      output: Where the mask as NIfTI is to go.
      probability: Whether the probability of scar is to go beside it.
      inputs: What was given, which nothing may replace or stand among.

    Returns:
      Whether NIfTI can hold the mask. Slices that are not even it cannot; the
      Segmentation then has the mask alone.

    Raises:
      InputError: If anything asked for cannot be written.
    """
    if sr and not seg:
        raise InputError(
            f"--dicom_sr={sr}: a report refers to the segments it measures; expected"
            " --dicom_seg=FILE.dcm beside it"
        )
    for flag, path in (("dicom_seg", seg), ("dicom_sr", sr)):
        if path:
            if study.series is None:
                raise InputError(
                    f"--{flag}={path}: the image is no DICOM, which it refers to;"
                    " expected a folder, a zip or a file of DICOM as --input"
                )
            places = (path.resolve(), *path.resolve().parents)
            if any(given and given.resolve() in places for given in inputs):
                raise InputError(
                    f"--{flag}={path} is an input too, or in the folder of one; choose"
                    " another name or folder"
                )
            dicom_source.check_ours(flag, path)
    if seg and sr and seg.resolve() == sr.resolve():
        raise InputError(f"--dicom_seg and --dicom_sr are both {sr}; expected two")
    if seg and study.series is not None:
        dicom_source.check_source(study.series.read_frames())
    try:
        nifti.check_grid(output, study.geometry, study.image.shape)
    except InputError as error:
        if study.series is None:
            raise
        if not seg:
            raise InputError(
                f"{error}; or take DICOM, which can: --dicom_seg=FILE.dcm"
            ) from error
        if probability:
            raise InputError(
                f"--probability: {error}; or leave the flag out, as a Segmentation has"
                " no probabilities"
            ) from error
        _log.warning("%s; no NIfTI is written, %s alone has the mask", error, seg)
        return False
    return True


def write_dicom(
    found: Segmentation, numbers: Numbers, seg: Path | None, sr: Path | None
) -> None:
    """Writes what `check_dicom` let pass: both files, or none.

    They carry the patient's name, number and dates, and the log says so.

    Raises:
      InputError: If the headers do not say what every such file must, or a file cannot
        be written.
    """
    series = found.study.series
    if not seg or series is None:
        return
    each = _made(found, numbers, series, report=sr is not None)
    for flag, path, content in zip(
        ("dicom_seg", "dicom_sr"), (seg, sr), each, strict=False
    ):
        if path:
            dicom_source.write(flag, path, content)
            _log.warning(
                "%s carries the patient's name, number and dates, by design: it is for"
                " the archive that the images are in, not for passing on",
                path,
            )


def _made(
    found: Segmentation, numbers: Numbers, series: Series, *, report: bool
) -> Sequence[bytes]:
    # Not before they are asked for: highdicom takes a quarter of a second to import.
    from scarseg_jax.writers.dicom_seg import make_segmentation
    from scarseg_jax.writers.dicom_sr import make_report

    try:
        frames = series.read_frames()
        made = [make_segmentation(found, series, frames)]
        if report:
            made.append(make_report(found, numbers, made[0], frames))
        return [dicom_source.to_bytes(one) for one in made]
    except InputError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        # What libraries say of a value quotes it.
        raise InputError(
            "--dicom_seg: the images' headers have a value that no new file can take"
            f" over ({type(error).__name__}); expected what the standard allows: export"
            " the series anew"
        ) from None
