"""The EMIDEC challenge's layout.

PATH/Case_X/Images/Case_X.nii.gz and, where contoured, PATH/Case_X/Contours/Case_X.nii.gz
(A. Lalande et al., Data 5(4):89, 2020). The spacing stands in pixdim: the affine is
diag(-1, -1, 1), whose directions are right: slices are stored from apex to base.
"""

import enum
from collections.abc import Callable
from pathlib import Path

from scarseg_jax.errors import InputError
from scarseg_jax.readers import nifti
from scarseg_jax.readers.orientation import FIND
from scarseg_jax.study import Study


class Label(enum.IntEnum):
    """What the challenge's experts drew."""

    BACKGROUND = 0
    CAVITY = 1
    NORMAL_MYOCARDIUM = 2
    INFARCT = 3
    NO_REFLOW = 4


SPACING_FROM = "pixdim"
PLACES = ("*", "*/*", "*/*/*")
IGNORED = (".txt",)  # the challenge's clinical information
MASKS = {
    "cavity": (Label.CAVITY,),
    "myocardium": (Label.NORMAL_MYOCARDIUM, Label.INFARCT, Label.NO_REFLOW),
    "scar": (Label.INFARCT, Label.NO_REFLOW),
    "no_reflow": (Label.NO_REFLOW,),
}


def list_patients(path: Path) -> tuple[str, ...]:
    """Returns the names of the cases in a folder, sorted.

    Raises:
      InputError: If there are none.
    """
    names = sorted(p.name for p in path.glob("Case_*") if (p / "Images").is_dir())
    if not names:
        raise InputError(
            f"{path}: no Case_*/Images/*.nii.gz in it; expected the EMIDEC challenge's"
            " folder: check data.path"
        )
    return tuple(names)


def list_files(path: Path, patient: str) -> tuple[Path, ...]:
    """Returns a case's image and, where contoured, its labels."""
    image = path / patient / "Images" / f"{patient}.nii.gz"
    labels = path / patient / "Contours" / f"{patient}.nii.gz"
    return (image, labels) if labels.parent.is_dir() else (image,)


def read_as(file: Path, spelled: Callable[[str], str]) -> list[tuple[str, Path]]:
    """Returns whose a file or folder may be: see `strays.Layout`."""
    first, *others = file.parts
    if not first.casefold().startswith("case_"):
        return []
    patient = spelled(f"Case_{first[len('case_') :]}")
    right = [patient, "", f"{patient}.nii.gz"][: len(file.parts)]
    if others:
        kinds = {name.casefold(): name for name in ("Images", "Contours")}
        right[1] = kinds.get(others[0].casefold(), "")
    same = str(Path(*right)).casefold() == str(file).casefold()
    return [(patient, Path(*right))] if same else []


def read_study(path: Path, patient: str, *, slice_axis: int = FIND) -> Study:
    """Returns one case.

    Args:
      path: The folder.
      patient: The case's name.
      slice_axis: As in `nifti.read_volume`.

    Raises:
      InputError: If a file is missing, damaged, or its labels are unknown.
    """
    return nifti.read_study(
        patient,
        list_files(path, patient),
        known=Label,
        masks=MASKS,
        spacing_from=SPACING_FROM,
        slice_axis=slice_axis,
    )
