"""Where studies come from: one of the layouts of files, or the phantom."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scarseg_jax.errors import InputError, first_few
from scarseg_jax.readers import dicom_patients, emidec, folder, myops, phantom
from scarseg_jax.readers.orientation import FIND
from scarseg_jax.readers.strays import check_strays
from scarseg_jax.study import Study

READERS: dict[str, Any] = {
    "emidec": emidec,
    "myops": myops,
    "folder": folder,
    "dicom": dicom_patients,
}
SOURCES = ("phantom", *READERS)


@dataclasses.dataclass(frozen=True)
class Source:
    """The chosen patients and how they are read.

    Attributes:
      patients: Their names, sorted.
      read: Returns a patient's study.
      files: Returns the files a patient is read from; None where there are none.
      slice_axis: The stored axis that slices follow; -1 finds it in each file.
    """

    patients: tuple[str, ...]
    read: Callable[[str], Study]
    files: Callable[[str], Sequence[Path]] | None = None
    slice_axis: int = FIND


def open_source(
    source: str,
    path: str,
    *,
    patients: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    slice_axis: int = FIND,
    phantom_patients: int = 30,
    phantom_seed: int = 0,
    phantom_wide: bool = False,
) -> Source:
    """Returns a source; no study is read yet.

    Args:
      source: One of `SOURCES`.
      path: Its folder; the phantom has none.
      patients: Those to take; empty takes all.
      leave_out: Those not to take.
      slice_axis: As in `Source`.
      phantom_patients: How many the phantom has.
      phantom_seed: Which they are.
      phantom_wide: Whether they differ more than real ones do.

    Raises:
      InputError: If there is no such folder or no such patient, or a file would be
        passed over for its name: see `strays.check_strays`.
    """
    if source == "phantom":
        names = phantom.list_patients(phantom_patients)
        read = functools.partial(
            phantom.simulate_study, seed=phantom_seed, wide=phantom_wide
        )
        found = Source(names, read)
    else:
        if not path:
            raise InputError(
                f"data.path is empty; expected the folder of the {source} data:"
                " --config.data.path=FOLDER"
            )
        home = Path(path)
        if not home.is_dir():
            raise InputError(f"{path}: no such folder; check data.path")
        reader = READERS[source]
        found = Source(
            reader.list_patients(home),
            functools.partial(reader.read_study, home, slice_axis=slice_axis),
            functools.partial(reader.list_files, home),
            slice_axis,
        )
    names = found.patients
    for setting, named in (("patients", patients), ("leave_out", leave_out)):
        if unknown := sorted(set(named) - set(names)):
            raise InputError(
                f"data.{setting} names {', '.join(unknown)}; expected some of"
                f" {first_few(names, 5)}"
            )

    def wanted(name: str) -> bool:
        return name not in leave_out and (not patients or name in patients)

    if source in READERS:
        check_strays(Path(path), READERS[source], names, wanted)
    return dataclasses.replace(found, patients=tuple(sorted(filter(wanted, names))))


def spacing_from(source: str) -> str:
    """Returns the part of a file's header that carries the spacing in a source."""
    return READERS[source].SPACING_FROM if source in READERS else "affine"
