"""A segmentation to a mask and a JSON of what it was made with."""

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scarseg_jax import files
from scarseg_jax.errors import InputError
from scarseg_jax.measure.mass import DENSITY_G_PER_ML, volume_ml
from scarseg_jax.measure.numbers import ByIntensity, Numbers, measure
from scarseg_jax.measure.segments import reference_of
from scarseg_jax.measure.zones import Zones
from scarseg_jax.run import Segmentation
from scarseg_jax.study import Tissue
from scarseg_jax.writers import nifti

_MAKER = {"made_by": "scarseg_jax"}  # by which what is ours is known again


def write_segmentation(
    found: Segmentation, path: Path | str, numbers: Numbers | None = None
) -> dict:
    """Writes the scar mask, and what it was made with under the same name in .json.

    Where the networks found the myocardium, NAME_tissues beside it has that too, in the
    labels of `Tissue`. All or nothing; what stood there before is replaced if it was
    made here.

    Args:
      found: From `find_scar`.
      path: Of the mask, named .nii.gz or .nii.
      numbers: From `numbers_of`, where they are there already.

    Returns:
      What the JSON holds.

    Raises:
      InputError: If the mask cannot be written.
    """
    path = Path(path)
    check_ours(path)
    report = {**_MAKER, "mask": path.name, **describe(found, numbers)}
    with files.replaced(json_path(path)) as partial:
        partial.write_text(json.dumps(report, indent=1), encoding="utf-8")
        files.sync(partial)  # while the mask can still be left out
        with contextlib.ExitStack() as together:
            if found.found_the_wall:
                beside = tissues_path(path)
                ending = beside.name.removeprefix(_stem(beside))
                labels = together.enter_context(files.replaced(beside, ending))
                nifti.write_mask(labels, tissues(found), found.study.geometry)
            nifti.write_mask(path, found.scar, found.study.geometry)
    return report


def tissues(found: Segmentation) -> np.ndarray:
    """Returns (Z, Y, X) uint8 of `Tissue`: what is known of each voxel."""
    labels = np.zeros(found.scar.shape, np.uint8)
    for mask, tissue in (
        (found.cavity, Tissue.CAVITY),
        (found.myocardium, Tissue.MYOCARDIUM),
        (found.scar, Tissue.SCAR),
    ):
        if mask is not None:
            labels[mask] = tissue
    return labels


def numbers_of(
    found: Segmentation,
    zones: Zones | None = None,
    by_intensity: Sequence[ByIntensity] = (),
) -> Numbers:
    """Returns the figures of a segmentation, in the myocardium given or found.

    No-reflow counts where it is called scar; how much was drawn elsewhere is said.

    Args:
      found: From `find_scar`.
      zones: As in `measure`.
      by_intensity: As in `measure`.

    Raises:
      InputError: If what shows the septum does not fit that myocardium.
    """
    walls = {"myocardium": found.myocardium, "cavity": found.cavity}
    study = dataclasses.replace(found.study, **walls)
    dark = found.no_reflow
    numbers = measure(
        study,
        found.scar,
        no_reflow=None if dark is None else dark & found.scar,
        reference=reference_of(study),
        zones=zones,
        by_intensity=by_intensity,
    )
    said = [*numbers.warnings]
    if dark is not None and (dark & ~found.scar).any():
        all_g, missed_g = (
            DENSITY_G_PER_ML * volume_ml(mask, study.geometry)
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
    return dataclasses.replace(numbers, warnings=tuple(said))


def check_ours(path: Path) -> None:
    """Checks that a mask and what goes beside it would replace nothing made elsewhere.

    Raises:
      InputError: If another program's file, or a folder, has one of the names.
    """
    beside, marks = json_path(path), {**_MAKER, "mask": path.name}.items()
    others = (path, tissues_path(path), page_path(path))
    there = [file for file in others if file.exists()]
    try:
        said = json.loads(beside.read_bytes())
        ours = marks <= {key: said.get(key) for key, _ in marks}.items()
    except FileNotFoundError:
        ours = None
    except (OSError, ValueError, AttributeError):
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


def page_path(path: Path) -> Path:
    """Returns where the page beside a mask goes."""
    return path.with_name(f"{_stem(path)}.html")


def tissues_path(path: Path) -> Path:
    """Returns where the tissues beside a mask go."""
    return path.with_name(f"{_stem(path)}_tissues{path.name.removeprefix(_stem(path))}")


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")


def describe(found: Segmentation, numbers: Numbers | None = None) -> dict:
    """Returns the figures of a segmentation and what made it, as JSON can hold it."""
    run, restricted = found.run, found.study.myocardium is not None
    figures = dataclasses.asdict(numbers or numbers_of(found))
    return {
        "files": [str(file) for file in found.study.files],
        "protocol": run.protocol,
        "context": run.context,
        "variant": run.variant,
        "selection": run.selection,
        "symmetries": run.symmetries,
        "members": [dataclasses.asdict(member) for member in found.members],
        "patient_of_the_run": found.patient,
        "unseen_members_only": found.unseen,
        "members_left_out": [dataclasses.asdict(t.member) for t in found.left_out],
        "restricted_to_myocardium": restricted,
        **dataclasses.asdict(found.decision),
        "phase_sensitive": found.study.phase_sensitive,
        "spacing_zyx_mm": list(found.study.spacing_mm),
        "slices": len(found.scar),
        "slices_with_scar": int(found.scar.any(axis=(1, 2)).sum()),
        "scar_volume_ml": found.scar_ml,
        "myocardium": (
            "found" if found.found_the_wall else "given" if restricted else "not known"
        ),
        "no_reflow": (
            "not known"
            if found.no_reflow is None
            else "found"
            if found.study.no_reflow is None
            else "given"
        ),
        "tissues": {str(int(t)): t.name.lower() for t in Tissue if t < Tissue.NO_REFLOW}
        if found.found_the_wall
        else None,
        "numbers": {k: v for k, v in figures.items() if k != "patient"},
        "data_hash": run.data_hash,
        "versions": run.versions,
    }
