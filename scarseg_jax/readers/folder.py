"""A plain folder of NIfTI files.

PATIENT_image.nii[.gz], and where contoured PATIENT_myocardium.nii[.gz] and
PATIENT_scar.nii[.gz]; masks are 0 and one other value. Where several readers drew the
scar, PATIENT_scar_READER.nii[.gz] of each instead.

Any name may have underscores. What could be two patients' file is that of the longer
name: with an a_scar_image.nii, a_scar_scar_b.nii is reader b's of patient a_scar,
without it reader scar_b's of patient a.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scarseg_jax.errors import InputError
from scarseg_jax.files import visible
from scarseg_jax.readers import nifti
from scarseg_jax.readers.orientation import FIND
from scarseg_jax.study import Study

SPACING_FROM = "affine"
PLACES = ("*",)
IGNORED = ()
_ENDINGS = (".nii.gz", ".nii")
_TAIL = re.compile(r"_(image|myocardium|scar)(_.+)?(\.nii|\.nii\.gz)", re.IGNORECASE)


def list_patients(path: Path) -> tuple[str, ...]:
    """Returns the names of the patients in a folder, sorted.

    Raises:
      InputError: If there are none.
    """
    found = {
        file.name.removesuffix(f"_image{ending}")
        for ending in _ENDINGS
        for file in visible(path.glob(f"*_image{ending}"))
    }
    if not found:
        raise InputError(
            f"{path}: no *_image.nii or *_image.nii.gz in it; expected PATIENT_image,"
            " PATIENT_myocardium and PATIENT_scar: check data.path"
        )
    return tuple(sorted(found))


def list_files(path: Path, patient: str) -> tuple[Path, ...]:
    """Returns a patient's image and what masks there are.

    Raises:
      InputError: If there is no image, a file is doubled, or a scar stands beside
        readers' scars.
    """
    return tuple(_files(path, patient).values())


def read_as(file: Path, spelled: Callable[[str], str]) -> list[tuple[str, Path]]:
    """Returns whose a file may be, the longest name first: see `strays.Layout`."""
    found = []
    for at in reversed(range(1, len(file.name))):
        tail = _TAIL.fullmatch(file.name, at)
        if tail is None or (tail[2] and tail[1].casefold() != "scar"):
            continue
        patient = spelled(file.name[:at])
        reader = tail[2] or ""
        right = f"{patient}_{tail[1].lower()}{reader}{tail[3].lower()}"
        found.append((patient, Path(right)))
    return found


def read_study(path: Path, patient: str, *, slice_axis: int = FIND) -> Study:
    """Returns one patient; the scar of a single reader is simply the scar.

    Args:
      path: The folder.
      patient: Its name.
      slice_axis: As in `nifti.read_volume`.

    Raises:
      InputError: As `list_files`, and if a file is damaged, on another grid than the
        image, or a mask of many values.
    """
    files = _files(path, patient)
    image, geometry = nifti.read_volume(files["image"], slice_axis=slice_axis)
    masks: dict[str, Any] = {
        name: nifti.read_mask(file, files["image"], geometry, slice_axis=slice_axis)
        for name, file in files.items()
        if name != "image"
    }
    readers = {
        name.removeprefix("scar_"): masks.pop(name)
        for name in files
        if name.startswith("scar_")
    }
    if len(readers) == 1:
        masks["scar"] = readers.popitem()[1]
    return Study(
        patient,
        image,
        geometry,
        readers=readers,
        files=tuple(files.values()),
        **masks,
    )


def _files(path: Path, patient: str) -> dict[str, Path]:
    """Returns what there is of image, myocardium, scar and scar_READER."""
    files: dict[str, Path] = {}
    for name in ("image", "myocardium", "scar", *_readers(path, patient)):
        for ending in _ENDINGS:
            file = path / f"{patient}_{name}{ending}"
            if not file.is_file():
                continue
            if name in files:
                raise InputError(
                    f"{files[name]}: {file.name} is there as well; keep one"
                )
            files[name] = file
    if "image" not in files:
        raise InputError(f"{path}: no {patient}_image.nii[.gz] in it; check the name")
    by_reader = [file for name, file in files.items() if name.startswith("scar_")]
    if "scar" in files and by_reader:
        raise InputError(
            f"{files['scar']}: {by_reader[0].name} is there as well; expected one scar or"
            " one of each reader: remove or rename one"
        )
    return files


def _readers(path: Path, patient: str) -> list[str]:
    """Returns "scar_READER" of each reader of a patient, sorted."""
    start = f"{patient}_scar_"
    stems = {
        file.name.removesuffix(ending)
        for ending in _ENDINGS
        for file in path.glob(f"*_scar_*{ending}")
        if file.name.startswith(start)
    }
    if not stems:
        return []
    longer = [re.escape(p) for p in list_patients(path) if f"{p}_".startswith(start)]
    theirs = re.compile(f"({'|'.join(longer)})_(image|myocardium|scar(_.+)?)")
    mine = stems - {start} - set(filter(theirs.fullmatch, stems))
    return sorted(stem.removeprefix(f"{patient}_") for stem in mine)
