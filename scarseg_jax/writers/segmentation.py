"""A segmentation to a mask and a JSON of what it was made with."""

import dataclasses
import json
from pathlib import Path

from scarseg_jax import files
from scarseg_jax.errors import InputError
from scarseg_jax.run import Segmentation
from scarseg_jax.writers import nifti

_MAKER = {"made_by": "scarseg_jax"}  # by which what is ours is known again


def write_segmentation(found: Segmentation, path: Path | str) -> dict:
    """Writes the scar mask, and what it was made with under the same name in .json.

    Both or neither; what stood there before is replaced if it was made here.

    Args:
      found: From `find_scar`.
      path: Of the mask, named .nii.gz or .nii.

    Returns:
      What the JSON holds.

    Raises:
      InputError: If the mask cannot be written.
    """
    path = Path(path)
    check_ours(path)
    report = {**_MAKER, "mask": path.name, **describe(found)}
    with files.replaced(json_path(path)) as partial:
        partial.write_text(json.dumps(report, indent=1), encoding="utf-8")
        files.sync(partial)  # while the mask can still be left out
        nifti.write_mask(path, found.scar, found.study.geometry)
    return report


def check_ours(path: Path) -> None:
    """Checks that a mask and its JSON would replace nothing but what was made here.

    Raises:
      InputError: If another program's file, or a folder, has one of the names.
    """
    beside, marks = json_path(path), {**_MAKER, "mask": path.name}.items()
    try:
        said = json.loads(beside.read_bytes())
        ours = marks <= {key: said.get(key) for key, _ in marks}.items()
    except FileNotFoundError:
        ours = None
    except (OSError, ValueError, AttributeError):
        ours = False
    foreign = beside if ours is False else path if path.exists() and not ours else None
    if foreign:
        raise InputError(
            f"{foreign} is there and was not made by this program with a mask"
            f" {path.name}; choose another name, or move that file away"
        )


def json_path(path: Path) -> Path:
    """Returns where the JSON beside a mask goes."""
    return path.with_name(f"{path.name.removesuffix('.gz').removesuffix('.nii')}.json")


def describe(found: Segmentation) -> dict:
    """Returns the figures of a segmentation and what made it, as JSON can hold it."""
    run = found.run
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
        "restricted_to_myocardium": found.study.myocardium is not None,
        **dataclasses.asdict(found.decision),
        "phase_sensitive": found.study.phase_sensitive,
        "spacing_zyx_mm": list(found.study.spacing_mm),
        "slices": len(found.scar),
        "slices_with_scar": int(found.scar.any(axis=(1, 2)).sum()),
        "scar_volume_ml": found.scar_ml,
        "data_hash": run.data_hash,
        "versions": run.versions,
    }
