"""What lies in a folder of patients and would be passed over without a word."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from scarseg_jax.errors import InputError, first_few

_log = logging.getLogger(__name__)
_MOST_NAMED = 10


class Layout(Protocol):
    """What a reader tells of its layout; paths in `read_as` are within the folder."""

    PLACES: Sequence[str]  # patterns of where files and their folders are
    IGNORED: tuple[str, ...]  # endings of files that are known and not read

    @staticmethod
    def list_files(path: Path, patient: str) -> Sequence[Path]:
        """Returns the files that a patient is read from."""
        ...

    @staticmethod
    def read_as(
        file: Path, spelled: Callable[[str], str]
    ) -> Iterable[tuple[str, Path]]:
        """Returns whose a file may be, letters' case aside, and its right name.

        Args:
          file: Or a folder, of the layout.
          spelled: Returns the spelling of a patient's name, where there is another.
        """
        ...


class Stray(NamedTuple):
    """What lies in a folder of patients and is not read.

    Attributes:
      file: Or a folder.
      whose: The patients that it may be of, likeliest first, whether known or not.
      right: The name within the folder under which it would be read, if it is its
        letters' case alone that is wrong; None: it is simply no patient's.
      broken: Whether it is a link that leads nowhere.
    """

    file: Path
    whose: tuple[str, ...] = ()
    right: Path | None = None
    broken: bool = False


def find_strays(
    home: Path,
    layout: Layout,
    patients: Sequence[str],
    wanted: Callable[[str], bool] = lambda patient: True,
) -> Iterator[Stray]:
    """Yields what belongs to no patient, or would if it had another name.

    Args:
      home: The folder.
      layout: Its reader.
      patients: All that are in it.
      wanted: Says whether a patient matters; what is amiss with others' files does not.

    Raises:
      InputError: As `list_files`.
    """
    spellings = {name.casefold(): name for name in patients}

    def spelled(name: str) -> str:
        return name if name in patients else spellings.get(name.casefold(), name)

    own = {file for p in patients if wanted(p) for file in layout.list_files(home, p)}
    own |= {folder for file in own for folder in file.parents}
    for file in _listed(home, layout.PLACES):
        within = file.relative_to(home)
        might = list(layout.read_as(within, spelled))
        if might and not any(wanted(patient) for patient, _ in might):
            continue
        whose = tuple(patient for patient, _ in might)
        if file.is_symlink() and not file.exists():
            yield Stray(file, whose, broken=True)
            continue
        if file in own or file.name.endswith(layout.IGNORED):
            continue
        if near := [(patient, right) for patient, right in might if right != within]:
            yield Stray(file, tuple(patient for patient, _ in near), near[0][1])
        elif might or not file.is_dir():
            yield Stray(file, whose)


def check_strays(
    home: Path,
    layout: Layout,
    patients: Sequence[str],
    wanted: Callable[[str], bool] = lambda patient: True,
) -> None:
    """Names in the log, in one line, what belongs to no patient.

    Args:
      home: As in `find_strays`; the others too.
      layout: As above.
      patients: As above.
      wanted: As above.

    Raises:
      InputError: If a link leads nowhere, a file's name is right but for capital and
        small letters, or as `list_files`.
    """
    strays = []
    for stray in find_strays(home, layout, patients, wanted):
        file = stray.file
        if stray.broken:
            raise InputError(
                f"{file}: a link to {file.readlink()}, which is not there; mend or"
                " remove it"
            )
        if stray.right is not None:
            raise InputError(
                f"{file}: not read under this name; expected {stray.right}: rename it"
            )
        strays.append(str(file.relative_to(home)))
    if strays:
        _log.warning(
            "%s: no patient's and not read are %d files: %s",
            home,
            len(strays),
            first_few(strays, _MOST_NAMED),
        )


def _listed(home: Path, places: Sequence[str]) -> list[Path]:
    """Returns what is in the places, sorted; what is hidden is nobody's."""
    found = {file for place in places for file in home.glob(place)}
    return sorted(
        file
        for file in found
        if not any(part.startswith(".") for part in file.relative_to(home).parts)
    )
