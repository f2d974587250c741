r"""Finds scar in one image, with the networks in the box or those of a finished run.

python -m scarseg_jax.predict --input=IMAGE.nii.gz --output=SCAR.nii.gz
python -m scarseg_jax.predict --checkpoint=runs/protocol2 --input=IMAGE.nii.gz \
    --myocardium=MASK.nii.gz --output=SCAR.nii.gz
python -m scarseg_jax.predict --checkpoint=runs/protocol2 --input=FOLDER \
    --contours=WORKSPACE.cvi42wsx --output=SCAR.nii.gz

INPUT may be DICOM: a folder, a zip or a file; --series chooses where several could be it.
Protocol 2 needs the myocardium; 1 and 3, as the networks in the box, do not, but with it
call no scar outside. Protocol 3 finds it: SCAR_tissues.nii.gz has the labels.
The mask has the input's own grid and affine; SCAR.html is a page to read and print, and
SCAR.json has the measures and what made them. Of a patient of the run, only networks that
had not seen it are asked.
"""

import logging
import os
import sys
from pathlib import Path

from absl import app, flags

from scarseg_jax.errors import InputError
from scarseg_jax.learn.bundle import CARD, LICENCES
from scarseg_jax.measure.zones import DEFINITIONS
from scarseg_jax.readers import insertions, sources
from scarseg_jax.readers.contours import NAMES as CONTOURS
from scarseg_jax.readers.dicom_files import is_dicom
from scarseg_jax.readers.label_maps import TABLES
from scarseg_jax.readers.patient import read_patient
from scarseg_jax.segment.intensities import by_intensity, zones_of
from scarseg_jax.segment.model import IN_THE_BOX, load_model
from scarseg_jax.segment.pipeline import find_scar
from scarseg_jax.show.patient_report import write_patient_report
from scarseg_jax.terminal import exit_code, only_flags, parse, required_path, start_jax
from scarseg_jax.writers.nifti import check_grid
from scarseg_jax.writers.segmentation import (
    check_ours,
    numbers_of,
    page_path,
    write_segmentation,
)

_log = logging.getLogger("scarseg_jax.predict")  # as a command its name is __main__
_ENDINGS = (".nii", ".nii.gz")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "Working directory of a finished run, its checkpoint or a bundle; default: the"
    " networks in the box.",
)
_INPUT = flags.DEFINE_string(
    "input", None, "The LGE stack, .nii[.gz], or DICOM: folder, zip, file."
)
_MYOCARDIUM = flags.DEFINE_string(
    "myocardium", None, "Its myocardium; Protocol 2 needs it."
)
_CONTOURS = flags.DEFINE_string(
    "contours",
    None,
    "Instead of it: a label map (.nii, with --labels), or of DICOM images a .cvi42wsx or"
    " Sunnybrook's folder.",
)
_LABELS = flags.DEFINE_enum(
    "labels", None, list(TABLES), "Whose labels --contours has."
)
_CONTOUR_NAMES = flags.DEFINE_list(
    "contour_names", [], "Further names of cvi42's contours, as THEIRS=endocardium."
)
_CONTOUR_CENTRE_PX = flags.DEFINE_float(
    "contour_centre_px",
    0.0,
    "Coordinates of the first pixel's centre in contours: 0, or 0.5.",
)
_SERIES = flags.DEFINE_list(
    "series", [], "Number or UID's end of the DICOM series; several make one stack."
)
_TIME = flags.DEFINE_integer(
    "time", 0, "Of several DICOM images at a place, which in time: 1, 2 ..., or -1."
)
_RV_INSERTION = flags.DEFINE_list(
    insertions.FLAGS[0],
    [],
    "SLICE,ROW,COLUMN of the right ventricle's anterior insertion, in the file as it is"
    " stored, from 0; of DICOM, SLICE is the image's number. It turns the segments.",
)
_RV_INFERIOR = flags.DEFINE_list(
    insertions.FLAGS[1], [], "The same of the inferior insertion, beside the anterior."
)
_RV_LABEL = flags.DEFINE_integer(
    "rv_label", None, "Of --contours: a further label, of the right ventricle."
)
_ZONES = flags.DEFINE_enum(
    "zones",
    None,
    list(DEFINITIONS),
    "Whose infarct core and grey zone to measure; default: none, as they disagree.",
)
_REMOTE = flags.DEFINE_string(
    "remote",
    None,
    "Mask of remote, healthy myocardium, which most --zones need; by default scar by"
    " thresholds takes each slice's darkest sector.",
)
_PHASE_SENSITIVE = flags.DEFINE_bool(
    "phase_sensitive",
    None,
    "Whether the image is, where its file does not say: some --zones need to know.",
)
_OUTPUT = flags.DEFINE_string("output", None, "Where the scar mask goes.")
_FOLDS = flags.DEFINE_list("folds", [], "Networks of these folds only; empty: all.")
_SEEDS = flags.DEFINE_list("seeds", [], "Networks of these seeds only; empty: all.")
_THRESHOLD = flags.DEFINE_float(
    "threshold", None, "Probability from which scar is called; default: the run's."
)
_FORCE = flags.DEFINE_bool("force", False, "Take a myocardium that looks wrong.")
_SPACING = flags.DEFINE_enum(
    "spacing",
    None,
    ["affine", "pixdim"],
    "Which part of the header carries it; default: what the run's source uses.",
)
_SLICE_AXIS = flags.DEFINE_integer(
    "slice_axis",
    -1,
    "Stored axis that slices follow: 0, 1 or 2; -1: the clearly thickest.",
    lower_bound=-1,
    upper_bound=2,
)


def main(argv: list[str]) -> int:
    """Predicts one image; returns the exit code."""
    return exit_code(lambda: _predict(argv))


def _predict(argv: list[str]) -> None:
    only_flags(argv)
    image, output = map(required_path, (_INPUT, _OUTPUT))
    myocardium, contours, remote = (
        Path(flag.value) if flag.value else None
        for flag in (_MYOCARDIUM, _CONTOURS, _REMOTE)
    )
    if not is_dicom(image):
        _check_file(_INPUT, image)
    _check_file(_MYOCARDIUM, myocardium)
    _check_file(_REMOTE, remote)
    _check_output(output, image, myocardium, contours, remote)
    start_jax()
    model = load_model(
        _CHECKPOINT.value or IN_THE_BOX,
        folds=_numbers(_FOLDS),
        seeds=_numbers(_SEEDS),
    )
    if not _CHECKPOINT.value:
        licence = LICENCES[model.run.source]
        _log.info("the networks in the box (%s/%s): %s", model.path, CARD, licence)
    study = read_patient(
        image,
        myocardium=myocardium,
        contours=contours,
        labels=_LABELS.value,
        rv_label=_RV_LABEL.value,
        rv_insertions=_points(_RV_INSERTION.value, _RV_INFERIOR.value),
        remote=remote,
        phase_sensitive=_PHASE_SENSITIVE.value,
        contour_names=_pairs(_CONTOUR_NAMES),
        centre_px=_CONTOUR_CENTRE_PX.value,
        series=_SERIES.value,
        time=_TIME.value,
        spacing_from=_SPACING.value or sources.spacing_from(model.run.source),
        slice_axis=_SLICE_AXIS.value,
    )
    check_grid(output, study.geometry, study.image.shape)
    found = find_scar(model, study, threshold=_THRESHOLD.value, force=_FORCE.value)
    numbers = numbers_of(
        found, zones=zones_of(found, _ZONES.value), by_intensity=by_intensity(found)
    )
    report = write_segmentation(found, output, numbers)
    write_patient_report(page_path(output), found, numbers)
    share, asked = "", len(report["members"])
    if numbers.scar_of_lv_percent is not None:
        share = (
            f", {numbers.scar_of_lv_percent:.1f} % of the {numbers.lv_mass_g:.0f} g of"
            f" myocardium {report['myocardium']}"
        )
    sys.stdout.write(
        f"{output}: scar in {report['slices_with_scar']} of {report['slices']}"
        f" slices, {report['scar_volume_ml']:.1f} ml or {numbers.scar_mass_g:.1f} g"
        f"{share}, by {asked} network{'s' * (asked > 1)}\n"
    )


def _check_file(flag: flags.FlagHolder, path: Path | None) -> None:
    if path is None or not path.is_dir():
        return
    images = sorted(f.name for f in path.iterdir() if f.name.endswith(_ENDINGS))
    there = f"{len(images)} of .nii or .nii.gz in it"
    if images:
        there += f", such as {images[0]}: name one"
    raise InputError(
        f"--{flag.name}={path} is a folder, with {there}; expected one file"
    )


def _check_output(output: Path, *inputs: Path | None) -> None:
    """Checks before all computing that the mask can be written and replaces no input."""
    if not output.name.endswith(_ENDINGS):
        raise InputError(
            f"--output={output}: expected a name ending in .nii.gz or .nii"
        )
    if not os.access(output.parent, os.W_OK):
        raise InputError(
            f"--output={output}: {output.parent} cannot be written to; choose a folder"
            " that exists and that you may write to"
        )
    if output.resolve() in [path.resolve() for path in inputs if path]:
        raise InputError(f"--output={output} is an input too; choose another name")
    for folder in (path.resolve() for path in inputs if path and path.is_dir()):
        if folder in output.resolve().parents:
            raise InputError(
                f"--output={output} is in the folder of an input; choose another folder"
            )
    check_ours(output)


def _pairs(flag: flags.FlagHolder) -> dict[str, str]:
    pairs = [text.partition("=") for text in flag.value]
    if wrong := [name for name, _, ours in pairs if ours not in CONTOURS]:
        raise InputError(
            f"--{flag.name}: {', '.join(wrong)} without one of {', '.join(CONTOURS)};"
            " expected THEIRS=OURS"
        )
    return {name: ours for name, _, ours in pairs}


def _points(*each: list[str]) -> list[list[float]]:
    """Returns the anterior and the inferior insertion, those that were given."""
    points = []
    for name, texts in zip(insertions.FLAGS, each, strict=True):
        said = f"--{name}={','.join(texts)}"
        try:
            points.append([float(text) for text in texts])
        except ValueError:
            raise InputError(
                f"{said}; expected SLICE,ROW,COLUMN such as 4,81.5,60"
            ) from None
        if texts and not points[0]:
            raise InputError(
                f"{said} without the anterior one; expected --{insertions.FLAGS[0]} too"
            )
    return [point for point in points if point]


def _numbers(flag: flags.FlagHolder) -> tuple[int, ...]:
    try:
        return tuple(int(text) for text in flag.value)
    except ValueError:
        raise InputError(
            f"--{flag.name}={','.join(flag.value)}; expected whole numbers such as 0,1"
        ) from None


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
