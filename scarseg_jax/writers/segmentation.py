"""A segmentation to a mask and a JSON of what it was made with."""

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scarseg_jax import files
from scarseg_jax.errors import InputError
from scarseg_jax.measure.mass import DENSITY_G_PER_ML, mass_g
from scarseg_jax.measure.numbers import (
    ByIntensity,
    Numbers,
    columns,
    measure,
    to_csv,
)
from scarseg_jax.measure.segments import Reference, by_patients_axes, reference_of
from scarseg_jax.measure.walls import Wall
from scarseg_jax.measure.zones import Zones
from scarseg_jax.run import INTERVAL_LEVEL, Review, Segmentation
from scarseg_jax.study import Study, Tissue, label_tissues
from scarseg_jax.writers import nifti

_MAKER = {"made_by": "scarseg_jax"}  # by which what is ours is known again
_MEANT = {"intended_use": "For research. Not a medical device."}
# Of the labels that `tissues` gives.
_TISSUES = {int(t): t.name.lower() for t in Tissue}
# Expected Dice below which a doubt is told. Of the walls of 59 EMIDEC patients, by networks
# that had not seen them, three have less, and are three of the four worst, with a Dice of 0.37,
# 0.70 and 0.73; the others have 0.81 or more, and 0.72 or more.
LEAST_OF_WALL = 0.8
# Of the same patients 20 have no scar. The networks call some in 3 of them, in the drawn
# wall others do in 6, and all of these 9 answers have less; of the 37 and 38 answers in which
# they call scar in patients who have it, 5 and 2, the other 68 have 0.75 or more.
LEAST_OF_SCAR = 0.75


def write_segmentation(
    found: Segmentation,
    path: Path | str,
    numbers: Numbers | None = None,
    *,
    made_from: Mapping[str, Any] | None = None,
    keep_identifiers: bool = False,
    as_nifti: bool = True,
    probability: bool = False,
) -> dict:
    """Writes the scar mask, and what it was made with under the same name in .json.

    The figures are in .csv too, one line.
    Where the myocardium was given or found, NAME_tissues beside it has all that is known
    in the labels of `Tissue`, which its header names. All or nothing; what stood there before
    is replaced if it was made here, and goes where it is not written now.

    Args:
      found: From `find_scar`.
      path: Of the mask, named .nii.gz or .nii.
      numbers: From `numbers_of`, where they are there already.
      made_from: What the JSON shall say besides, of what was given.
      keep_identifiers: As in `describe`.
      as_nifti: Whether volumes are written, and not the .json alone.
      probability: Whether NAME_probability is, of scar, as float32, and of several
        networks NAME_disagreement, the standard deviation of theirs.

    Returns:
      What the JSON holds.

    Raises:
      InputError: If the mask cannot be written.
    """
    path = Path(path)
    check_ours(path)
    numbers = numbers or numbers_of(found)
    said = describe(found, numbers, keep_identifiers=keep_identifiers)
    report = {**_MAKER, **_MEANT, "mask": path.name if as_nifti else None, **said}
    if made_from is not None:
        report["made_from"] = dict(made_from)
    geometry, apart = found.study.geometry, found.disagreement
    wanted = {
        path: as_nifti,
        tissues_path(path): as_nifti and found.myocardium is not None,
        probability_path(path): as_nifti and probability,
        disagreement_path(path): as_nifti and probability and apart is not None,
    }
    with files.replaced(json_path(path)) as partial:
        partial.write_text(json.dumps(report, indent=1), encoding="utf-8")
        files.sync(partial)  # while the mask can still be left out
        with contextlib.ExitStack() as together:
            if wanted[tissues_path(path)]:
                labels = together.enter_context(_beside(tissues_path(path)))
                nifti.write_mask(labels, tissues(found), geometry, _TISSUES)
            line = together.enter_context(files.replaced(table_path(path)))
            line.write_text(_table(numbers, keep_identifiers), encoding="utf-8")
            if wanted[probability_path(path)]:
                values = together.enter_context(_beside(probability_path(path)))
                nifti.write_values(values, found.probability, geometry)
            if apart is not None and wanted[disagreement_path(path)]:
                values = together.enter_context(_beside(disagreement_path(path)))
                nifti.write_values(values, apart, geometry)
            if as_nifti:
                nifti.write_mask(path, found.scar, geometry)
        for file, written in wanted.items():  # another image's, it may be
            if not written and file.is_file():
                file.unlink()
    return report


def tissues(found: Segmentation) -> np.ndarray:
    """Returns (Z, Y, X) uint8 of `Tissue`: what is known of each voxel."""
    return label_tissues(
        found.scar.shape,
        {
            "cavity": found.cavity,
            "myocardium": found.myocardium,
            "scar": found.scar,
            "no_reflow": found.no_reflow_in_scar,
        },
    )


def numbers_of(
    found: Segmentation,
    reference: Reference | None = None,
    walls: Sequence[Wall] | None = None,
    *,
    estimate_septum: bool = False,
    zones: Zones | None = None,
    by_intensity: Sequence[ByIntensity] = (),
) -> Numbers:
    """Returns the figures of a segmentation, in the myocardium given or found.

    No-reflow counts where scar is called; how much was drawn elsewhere is said.

    Args:
      found: From `find_scar`.
      reference: Where the septum is; None: as the study shows it, if it does.
      walls: As in `measure`.
      estimate_septum: Whether it is taken to be where `by_patients_axes` says, if nothing
        shows it.
      zones: As in `measure`.
      by_intensity: As in `measure`.

    Raises:
      InputError: If an insertion does not fit that myocardium.
    """
    study = with_walls(found)
    dark = found.no_reflow
    reference = reference or reference_of(study)
    if reference is None and estimate_septum:
        reference = by_patients_axes(study)
    numbers = measure(
        study,
        found.scar,
        no_reflow=found.no_reflow_in_scar,
        reference=reference,
        walls=walls,
        zones=zones,
        by_intensity=by_intensity,
    )
    said = [*found.unlike, *_unsure(found), *numbers.warnings]
    if found.dismissed_ml:
        would_g, least_g = map(mass_g, (found.dismissed_ml, found.decision.min_ml))
        said.append(
            f"The networks' scar is too little to be called: {would_g:.1f} g in all, no"
            f" more than the least of {least_g:.1f} g. Look at the probabilities."
        )
    right = study.right_ventricle
    if reference is None and right is not None and right.any():
        said.append(
            "The right ventricle stands beside no ring of myocardium: it does not show"
            " where the septum is."
        )
    # Without a myocardium there is no scar by intensity.
    wall, remote = study.myocardium, study.remote
    if by_intensity and wall is not None and remote is not None:
        said += _doubts(wall, remote, by_intensity[0])
    drawn = study.no_reflow is not None
    if drawn and dark is not None and (dark & ~found.scar).any():
        all_g, missed_g = (
            DENSITY_G_PER_ML * study.geometry.volume_ml(mask)
            for mask in (dark, dark & ~found.scar)
        )
        said.append(
            f"{missed_g:.2g} g of the {all_g:.2g} g of no-reflow that was drawn are not"
            " called scar: they are not in its mass, nor in the no-reflow's."
        )
    if zones is not None and zones.levels.remote is not None:
        said.append(
            f"Core and grey zone rest on remote myocardium: {zones.levels.remote.source}."
        )
    ml, g = found.between_ml, DENSITY_G_PER_ML
    between_g = None if ml is None else (g * ml[0], g * ml[1])
    return dataclasses.replace(
        numbers, scar_mass_between_g=between_g, warnings=tuple(said)
    )


def _unsure(found: Segmentation) -> list[str]:
    """Returns what the networks are not sure of; sentences."""
    each = (
        (found.sure_of_wall, LEAST_OF_WALL, "myocardium that they found", "draw it"),
        (found.sure_of_scar, LEAST_OF_SCAR, "scar that they call", "correct it"),
    )
    return [
        f"The networks are not sure of the {what}, or not of one mind: by their own"
        f" probabilities its Dice is {sure:.2f}, where {least:g} and more is usual. Look"
        f" at it, or {mend}."
        for sure, least, what, mend in each
        if sure is not None and sure < least
    ]


def _doubts(wall: np.ndarray, remote: np.ndarray, one: ByIntensity) -> list[str]:
    """Returns that no remote myocardium drawn could serve the scar by intensity."""
    said = (
        f"None of the {int(remote.sum())} pixels of remote myocardium drawn are in the"
        f" myocardium: scar by intensity rests on {one.remote}."
    )
    return [] if (remote & wall).any() else [said]


def with_walls(found: Segmentation) -> Study:
    """Returns a segmentation's study in the myocardium that was given or found."""
    walls = {"myocardium": found.myocardium, "cavity": found.cavity}
    return dataclasses.replace(found.study, **walls)


def check_ours(path: Path) -> None:
    """Checks that a mask and what goes beside it would replace nothing made elsewhere.

    Raises:
      InputError: If another program's file, or a folder, has one of the names.
    """
    beside = json_path(path)
    marks: dict[str, str | None] = {**_MAKER, "mask": path.name}
    others = beside_json(path)
    there = [file for file in others if file.exists()]
    try:
        said = json.loads(beside.read_bytes())
        if said["mask"] is None and not path.exists():  # NIfTI could not hold it
            marks["mask"] = None
        ours = marks.items() <= {key: said.get(key) for key in marks}.items()
    except FileNotFoundError:
        ours = None
    except (OSError, ValueError, AttributeError, LookupError, TypeError):
        ours = False
    foreign = [beside] if ours is False else [] if ours else there
    if foreign:
        raise InputError(
            f"{foreign[0]} is there and was not made by this program with a mask"
            f" {path.name}; choose another name, or move that file away"
        )


def json_path(path: Path) -> Path:
    """Returns where the JSON beside a mask goes."""
    return path.with_name(f"{_stem(path)}.json")


def beside_json(path: Path) -> tuple[Path, ...]:
    """Returns the mask's own place, and of all that may go beside it but the JSON."""
    volumes = (tissues_path, probability_path, disagreement_path)
    return (path, *(place(path) for place in (*volumes, table_path, page_path)))


def page_path(path: Path) -> Path:
    """Returns where the page beside a mask goes."""
    return path.with_name(f"{_stem(path)}.html")


def table_path(path: Path) -> Path:
    """Returns where the line of figures beside a mask goes."""
    return path.with_name(f"{_stem(path)}.csv")


def tissues_path(path: Path) -> Path:
    """Returns where the tissues beside a mask go."""
    return _volume_path(path, "tissues")


def probability_path(path: Path) -> Path:
    """Returns where the probability beside a mask goes."""
    return _volume_path(path, "probability")


def disagreement_path(path: Path) -> Path:
    """Returns where the networks' disagreement beside a mask goes."""
    return _volume_path(path, "disagreement")


def _volume_path(path: Path, what: str) -> Path:
    ending = path.name.removeprefix(_stem(path))
    return path.with_name(f"{_stem(path)}_{what}{ending}")


def _beside(path: Path) -> contextlib.AbstractContextManager[Path]:
    return files.replaced(path, path.name.removeprefix(_stem(path)))


def _table(numbers: Numbers, keep_identifiers: bool) -> str:
    line = columns(numbers)
    if not keep_identifiers:
        del line["patient"]
    return to_csv([line])


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")


def describe(
    found: Segmentation,
    numbers: Numbers | None = None,
    *,
    keep_identifiers: bool = False,
) -> dict:
    """Returns the figures of a segmentation and what made it, as JSON can hold it.

    Args:
      found: From `find_scar`.
      numbers: From `numbers_of`, where they are there already.
      keep_identifiers: Whether it tells the study's files, and of the run's patients
        whose image it is and whom the networks held out: all of them may be names.
    """
    run, restricted = found.run, found.study.myocardium is not None
    between_ml = found.between_ml
    figures = dataclasses.asdict(numbers or numbers_of(found))
    members = [dataclasses.asdict(member) for member in found.members]
    for member in members:
        del member["trials"]  # the run's, and long
    private: dict[str, Any] = {
        "files": [str(file) for file in found.study.files],
        "patient_of_the_run": found.patient,
    }
    if not keep_identifiers:
        private = {}
        for member in members:
            del member["test_patients"]
    return {
        **private,
        "run": run.name,
        "protocol": run.protocol,
        "context": run.context,
        "neighbours": run.neighbours,
        "crop": run.crop,
        "finder": run.finder or None,
        "variant": run.variant,
        "selection": run.selection,
        "symmetries": run.symmetries,
        "members": members,
        "of_the_run": found.patient is not None,
        "unseen_members_only": found.unseen,
        "members_left_out": [dataclasses.asdict(t.member) for t in found.left_out],
        "restricted_to_myocardium": restricted,
        **dataclasses.asdict(found.decision),
        "review": None if found.review is None else _review(found.review),
        "phase_sensitive": found.study.phase_sensitive,
        "spacing_zyx_mm": list(found.study.spacing_mm),
        "slices": len(found.scar),
        "slices_with_scar": int(found.scar.any(axis=(1, 2)).sum()),
        "scar_volume_ml": found.scar_ml,
        "dismissed_volume_ml": found.dismissed_ml,
        "scar_volume_between_ml": between_ml and list(between_ml),
        "between_level": between_ml and INTERVAL_LEVEL,
        "myocardium": (
            "found" if found.found_the_wall else "given" if restricted else "not known"
        ),
        "expected_dice_of_found_myocardium": found.sure_of_wall,
        "expected_dice_of_called_scar": found.sure_of_scar,
        "no_reflow": (
            "not known"
            if found.no_reflow is None
            else "found"
            if found.study.no_reflow is None
            else "given"
        ),
        "tissues": {str(label): name for label, name in _TISSUES.items()}
        if found.myocardium is not None
        else None,
        "numbers": {k: v for k, v in figures.items() if k != "patient"},
        "data_hash": run.data_hash,
        "versions": run.versions,
    }


def _review(review: Review) -> dict:
    """Returns what a person did, who thereby accepted the mask."""
    return {
        "accepted": True,
        "corrected_by_hand": review.by_hand,
        "added_ml": review.added_ml,
        "erased_ml": review.erased_ml,
        "corrected_slices": list(review.slices),
        "of_the_networks": dataclasses.asdict(review.asked),
    }
