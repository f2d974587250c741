"""The layout of the MyoPS and MS-CMRSeg challenges.

`X_LGE.nii.gz` with its labels `X_gd.nii.gz`, in one folder a case or all in one.
"""

import enum
import re
from collections.abc import Callable
from pathlib import Path

from scarseg_jax.errors import InputError
from scarseg_jax.files import visible
from scarseg_jax.readers import nifti
from scarseg_jax.readers.orientation import FIND
from scarseg_jax.study import Study

_IMAGE, _LABELS = "_LGE.nii.gz", "_gd.nii.gz"


class Label(enum.IntEnum):
    """The challenges' label values."""

    BACKGROUND = 0
    NORMAL_MYOCARDIUM = 200
    CAVITY = 500
    RIGHT_VENTRICLE = 600
    OEDEMA = 1220
    SCAR = 2221


SPACING_FROM = "affine"
PLACES = ("*", "*/*")
IGNORED = ("_C0.nii.gz", "_T2.nii.gz")  # the challenge's other sequences
_NAME = re.compile(f"(.+)({_IMAGE}|{_LABELS})", re.IGNORECASE)
MASKS = {
    "cavity": (Label.CAVITY,),
    "myocardium": (Label.NORMAL_MYOCARDIUM, Label.OEDEMA, Label.SCAR),
    "scar": (Label.SCAR,),
    "right_ventricle": (Label.RIGHT_VENTRICLE,),
}


def list_patients(path: Path) -> tuple[str, ...]:
    """Returns the names of the cases in a folder, sorted.

    Raises:
      InputError: If there are none, or a name stands for two files.
    """
    return tuple(sorted(_images(path)))


def list_files(path: Path, patient: str) -> tuple[Path, ...]:
    """Returns a case's image and, where contoured, its labels.

    Raises:
      InputError: If there is no such case, or a name stands for two files.
    """
    images = _images(path)
    if patient not in images:
        raise InputError(f"{path}: no {patient}{_IMAGE} in it; check the name")
    image = images[patient]
    labels = image.with_name(patient + _LABELS)
    return (image, labels) if labels.is_file() else (image,)


def read_as(file: Path, spelled: Callable[[str], str]) -> list[tuple[str, Path]]:
    """Returns whose a file may be: see `strays.Layout`."""
    if (match := _NAME.fullmatch(file.name)) is None:
        return []
    patient = spelled(match[1])
    ending = _IMAGE if match[2].casefold() == _IMAGE.casefold() else _LABELS
    return [(patient, file.with_name(patient + ending))]


def read_study(path: Path, patient: str, *, slice_axis: int = FIND) -> Study:
    """Returns one case.

    Args:
      path: The folder.
      patient: The case's name.
      slice_axis: As in `nifti.read_volume`.

    Raises:
      InputError: If a file is missing, damaged, or its labels are unknown.
    """
    files = list_files(path, patient)
    return nifti.read_study(
        patient, files, known=Label, masks=MASKS, slice_axis=slice_axis
    )


def _images(path: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    homes = [path, *visible(home for home in path.glob("*") if home.is_dir())]
    for image in (i for home in homes for i in visible(home.glob(f"*{_IMAGE}"))):
        name = image.name.removesuffix(_IMAGE)
        if name in found:
            raise InputError(
                f"{image}: patient {name} is also in {found[name]}; keep one"
            )
        found[name] = image
    if not found:
        raise InputError(
            f"{path}: no *{_IMAGE} in it or in its folders; expected the MyoPS"
            " challenge's layout: check data.path"
        )
    return found
