r"""Finds scar in one image or many, with the networks in the box or of a finished run.

python -m scarseg_jax.predict --input=IMAGE.nii.gz --output=SCAR.nii.gz
python -m scarseg_jax.predict --checkpoint=runs/protocol2 --input=IMAGE.nii.gz \
    --myocardium=MASK.nii.gz --output=SCAR.nii.gz
python -m scarseg_jax.predict --checkpoint=runs/protocol2 --input=FOLDER \
    --contours=WORKSPACE.cvi42wsx --output=SCAR.nii.gz
python -m scarseg_jax.predict --input=FOLDER_OF_STUDIES --output=FOLDER

INPUT may be DICOM: a folder, a zip or a file; --series chooses where several could be it.
The networks in the box find the myocardium, and so do those of Protocol 3 or a cascade:
SCAR_tissues.nii.gz has the labels. Those of Protocol 2 need it given. Where it is given,
none looks for it, and no scar is called outside.
The mask has the input's own grid and affine; SCAR.html is a page to read and print, and
SCAR.json has the measures and what made them, SCAR.csv the measures as one line. Of
DICOM, --dicom_seg=SCAR.dcm writes the masks on its own images too, and --dicom_sr the
measures. Of a patient of the run, only networks that had not seen it are asked.

Of many, every folder, zip or enhanced file of DICOM and every NIfTI file in INPUT is a
study, or with --source all patients of a layout, with what was drawn on them. Each gets
a folder with these files; cohort.csv and index.html are about all. Run again it goes on.
Studies that cannot be used are listed at the end, and the exit code is 3.

No names of patients or files are written or logged without --keep_identifiers: studies
are numbered in the order of their names.
"""

import contextlib
import dataclasses
import functools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from scarseg_jax import cluster, cohort, evaluation, files, prediction
from scarseg_jax.errors import InputError, InputErrors
from scarseg_jax.identifiers import kept_from_log, withheld
from scarseg_jax.measure.zones import DEFINITIONS
from scarseg_jax.prediction import Choices
from scarseg_jax.readers import insertions, sources
from scarseg_jax.readers.contours import NAMES as CONTOURS
from scarseg_jax.readers.dicom_files import is_dicom
from scarseg_jax.readers.label_maps import TABLES
from scarseg_jax.readers.patient import read_patient
from scarseg_jax.readers.sources import Source
from scarseg_jax.readers.studies import Unread, studies, studies_of_source
from scarseg_jax.segment.model import IN_THE_BOX, Model, load_model
from scarseg_jax.show import text
from scarseg_jax.study import Study
from scarseg_jax.terminal import exit_code, only_flags, parse, required_path, start_jax
from scarseg_jax.writers.dicom import check_dicom
from scarseg_jax.writers.segmentation import beside_json, check_ours

_ENDINGS = (".nii", ".nii.gz")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "Working directory of a finished run, its checkpoint or a bundle, or"
    " simulated, which learned on nobody's images; default: the"
    " networks in the box.",
)
_INPUT = flags.DEFINE_string(
    "input",
    None,
    "The LGE stack, .nii[.gz], or DICOM: folder, zip, file; or a folder of many.",
)
_MYOCARDIUM = flags.DEFINE_string("myocardium", None, "Its myocardium, if it is drawn.")
_CONTOURS = flags.DEFINE_string(
    "contours",
    None,
    "Instead of it: a label map (.nii, with --labels), or of DICOM images a DICOM SEG or"
    " RTSTRUCT, a .cvi42wsx or Sunnybrook's folder.",
)
_LABELS = flags.DEFINE_string(
    "labels",
    None,
    f"Whose labels --contours has, {' or '.join(TABLES)}, or what each means, such as"
    " cavity=1,myocardium=2,scar=3,no_reflow=4.",
)
_CONTOUR_NAMES = flags.DEFINE_list(
    "contour_names", [], "Further names in --contours, as THEIRS=endocardium."
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
_ESTIMATE_SEPTUM = flags.DEFINE_bool(
    "estimate_septum",
    False,
    "Turn the segments by the patient's right and front where nothing shows the septum:"
    " an estimate, which can be off by a segment.",
)
_DRAWN = flags.DEFINE_bool(
    "drawn",
    False,
    "Measure and report the scar that --contours or --source has, as corrected by hand.",
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
_SOURCE = flags.DEFINE_enum(
    "source", None, list(sources.READERS), "Of many: the layout that INPUT has."
)
_JUDGE = flags.DEFINE_bool(
    "judge",
    False,
    "Of many with --source: judge the networks by what was drawn, as a run is judged;"
    " OUTPUT gets report.html and results/, and no predictions.",
)
_SCHEDULER = flags.DEFINE_string(
    "scheduler",
    None,
    "Of many: address of a Dask scheduler whose workers do them; needs"
    " scarseg_jax[cluster], and one disk for all.",
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Where the scar mask goes, .nii[.gz]; of many, a folder."
)
_KEEP_IDENTIFIERS = flags.DEFINE_bool(
    "keep_identifiers",
    False,
    "Write names of input files, and of the run's patients, into JSON and log; of many,"
    " identifiers.csv says which study is which file.",
)
_PROBABILITY = flags.DEFINE_bool(
    "probability",
    False,
    "Write the probability of scar beside it too, and how far the"
    " networks disagree about it.",
)
_DICOM_SEG = flags.DEFINE_string(
    "dicom_seg",
    None,
    "Of DICOM: where the masks go as a DICOM Segmentation, which has the patient's name.",
)
_DICOM_SR = flags.DEFINE_string(
    "dicom_sr", None, "Where its measures go as a DICOM report, which has it too."
)
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
    """Predicts one image or many; returns the exit code."""
    return exit_code(lambda: _predict(argv))


def _predict(argv: list[str]) -> None:
    only_flags(argv)
    if _DRAWN.value:
        _refuse(_THRESHOLD, why="is the networks', and --drawn takes what was drawn")
    image, output = map(required_path, (_INPUT, _OUTPUT))
    if image.is_dir() and not output.name.endswith(_ENDINGS):
        _predict_many(image, output)
    else:
        _predict_one(image, output)


def _predict_one(image: Path, output: Path) -> None:
    myocardium, contours, remote = (
        Path(flag.value) if flag.value else None
        for flag in (_MYOCARDIUM, _CONTOURS, _REMOTE)
    )
    _refuse(
        *(_SOURCE, _SCHEDULER, _JUDGE),
        why="is for many studies; expected their folder as --input, and a folder as"
        " --output",
    )
    if contours is None:
        _refuse(_DRAWN, why="is of a scar that --contours has; expected them too")
    if not is_dicom(image):
        _check_file(_INPUT, image)
    _check_file(_MYOCARDIUM, myocardium)
    _check_file(_REMOTE, remote)
    given = {"--input": image, "--myocardium": myocardium, "--contours": contours}
    given["--remote"] = remote
    inputs = {flag: path for flag, path in given.items() if path}
    _check_output(output, *inputs.values())
    private = {flag: [path] for flag, path in inputs.items()}
    with kept_from_log({} if _KEEP_IDENTIFIERS.value else private):
        model, choices = _model(), _choices()
        study = _reading(model)(
            image,
            myocardium=myocardium,
            contours=contours,
            labels=_LABELS.value,
            rv_label=_RV_LABEL.value,
            rv_insertions=_points(_RV_INSERTION.value, _RV_INFERIOR.value),
            remote=remote,
            contour_names=_pairs(_CONTOUR_NAMES),
            centre_px=_CONTOUR_CENTRE_PX.value,
        )
        seg, sr = (Path(f.value) if f.value else None for f in (_DICOM_SEG, _DICOM_SR))
        as_nifti = check_dicom(
            *(study, seg, sr),
            output=output,
            probability=_PROBABILITY.value,
            inputs=tuple(inputs.values()),
        )
        origin = prediction.made_from(model, inputs.items(), choices)
        said = prediction.predict(
            *(model, study, output),
            choices=choices,
            origin=origin,
            seg=seg,
            sr=sr,
            as_nifti=as_nifti,
        )
    sys.stdout.write(f"{output if as_nifti else seg}: {said}\n")


def _predict_many(home: Path, output: Path) -> None:
    _refuse(
        *(_MYOCARDIUM, _CONTOURS, _LABELS, _CONTOUR_NAMES, _CONTOUR_CENTRE_PX),
        *(_RV_LABEL, _RV_INSERTION, _RV_INFERIOR, _REMOTE, _DICOM_SEG, _DICOM_SR),
        why=f"is of one image, and --output={output} asks for many; expected --source,"
        " which reads images with their contours",
    )
    if _SOURCE.value:
        _refuse(
            *(_SPACING, _SERIES, _TIME, _PHASE_SENSITIVE),
            why=f"has no effect on --source={_SOURCE.value}, whose layout says where"
            " everything is; leave one of them out",
        )
    if _JUDGE.value:
        _refuse(
            *(_SCHEDULER, _ZONES, _PROBABILITY, _ESTIMATE_SEPTUM, _DRAWN),
            why="is of predictions, and --judge makes none; leave one of them out",
        )
    _check_folder(output, home)
    home = home.absolute()  # workers may be elsewhere
    model, choices = _model(), _choices()
    if _SOURCE.value:
        many = studies_of_source(_SOURCE.value, home, slice_axis=_SLICE_AXIS.value)
    else:
        many = studies(home, _reading(model))
    if _JUDGE.value:
        _judge(model, many, output)
        return
    if _SCHEDULER.value:
        do = cluster.elsewhere(
            *(_SCHEDULER.value, model, output, choices),
            folds=_numbers(_FOLDS),
            seeds=_numbers(_SEEDS),
        )
    else:
        do = cohort.here(model, output, choices)
    cohort.predict_all(many, output, do, keep_identifiers=_KEEP_IDENTIFIERS.value)


def _refuse(*given: flags.FlagHolder, why: str) -> None:
    """Refuses flags that would have no effect, whatever their value."""
    for flag in given:
        if flag.value != flag.default:
            value = flag.value
            said = ",".join(value) if isinstance(value, list) else value
            raise InputError(f"--{flag.name}={said} {why}")


def _judge(model: Model, many: Sequence[Unread], output: Path) -> None:
    if not _SOURCE.value:
        raise InputError(
            "--judge: expected --source too, which says how the drawn scar is stored"
        )
    known = {one.name: one for one in many}
    private = {one.name: one.paths for one in many}

    def read(name: str) -> Study:
        return dataclasses.replace(known[name].read(), patient=name, files=())

    source = Source(tuple(known), read, lambda name: known[name].paths)
    with files.claimed(output, "output"), _nobody_named(private):
        found = evaluation.evaluate_new(
            *(output, model, source),
            name=_SOURCE.value,
            threshold=_THRESHOLD.value,
            force=_FORCE.value,
        )
        page = evaluation.report(output)
        cohort.write_names(output, many if _KEEP_IDENTIFIERS.value else ())
    sys.stdout.write(f"{text.headline(found.summary)}\nreport: {page}\n")


@contextlib.contextmanager
def _nobody_named(paths: Mapping[str, Sequence[Path]]) -> Iterator[None]:
    """Keeps names of files from the log and from errors, unless they are asked for."""
    if _KEEP_IDENTIFIERS.value:
        yield
        return
    with kept_from_log(paths):
        try:
            yield
        except InputErrors as error:
            what, *each = (withheld(line, paths) for line in error.lines)
            raise InputErrors(what, each) from None
        except InputError as error:
            raise InputError(withheld(str(error), paths)) from None


def _model() -> Model:
    start_jax()
    return load_model(
        _CHECKPOINT.value or IN_THE_BOX,
        folds=_numbers(_FOLDS),
        seeds=_numbers(_SEEDS),
    )


def _reading(model: Model) -> functools.partial:
    """Returns what reads an image as the flags say."""
    return functools.partial(
        read_patient,
        phase_sensitive=_PHASE_SENSITIVE.value,
        series=_SERIES.value,
        time=_TIME.value,
        spacing_from=_SPACING.value or sources.spacing_from(model.run.source),
        slice_axis=_SLICE_AXIS.value,
    )


def _choices() -> Choices:
    flags_that_decide = (
        *(_FOLDS, _SEEDS, _SOURCE, _SERIES, _TIME, _SPACING, _SLICE_AXIS),
        *(_LABELS, _CONTOUR_NAMES, _CONTOUR_CENTRE_PX, _RV_LABEL, _RV_INSERTION),
        *(_RV_INFERIOR, _PHASE_SENSITIVE),
    )
    others: dict[str, Any] = {flag.name: flag.value for flag in flags_that_decide}
    return Choices(
        threshold=_THRESHOLD.value,
        force=_FORCE.value,
        keep_identifiers=_KEEP_IDENTIFIERS.value,
        probability=_PROBABILITY.value,
        zones=_ZONES.value,
        estimate_septum=_ESTIMATE_SEPTUM.value,
        drawn=_DRAWN.value,
        others=others,
    )


def _check_file(flag: flags.FlagHolder, path: Path | None) -> None:
    if path is None or not path.is_dir():
        return
    images = sorted(f.name for f in path.iterdir() if f.name.endswith(_ENDINGS))
    there = f"{len(images)} of .nii or .nii.gz in it"
    if images:
        there += f", such as {images[0]}: name one, or for all a folder as --output"
    raise InputError(
        f"--{flag.name}={path} is a folder, with {there}; expected one file"
    )


def _check_output(output: Path, *inputs: Path) -> None:
    """Checks before all computing that the mask can be written and replaces no input."""
    if not output.name.endswith(_ENDINGS):
        raise InputError(
            f"--output={output}: expected a name ending in .nii.gz or .nii, since"
            f" --input={inputs[0]} is no folder of studies"
        )
    if not os.access(output.parent, os.W_OK):
        raise InputError(
            f"--output={output}: {output.parent} cannot be written to; choose a folder"
            " that exists and that you may write to"
        )
    given = [path.resolve() for path in inputs]
    for file in beside_json(output):
        if file.resolve() in given:
            also = "" if file == output else f"would replace {file}, which "
            raise InputError(
                f"--output={output} {also}is an input too; choose another name"
            )
    _check_apart(output, *inputs)
    check_ours(output)


def _check_folder(output: Path, home: Path) -> None:
    """Checks before all computing that a folder can be made and is not the input's."""
    if output.resolve() == home.resolve():
        raise InputError(f"--output={output} is the input too; choose another folder")
    if output.exists() and not output.is_dir():
        raise InputError(f"--output={output} is a file; expected a folder")
    _check_apart(output, home)


def _check_apart(output: Path, *inputs: Path) -> None:
    for folder in (path.resolve() for path in inputs if path.is_dir()):
        if folder in output.resolve().parents:
            raise InputError(
                f"--output={output} is in the folder of an input; choose another folder"
            )


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
