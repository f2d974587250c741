"""What a browser sends: kept in a private folder under names of our own, then read.

Nobody's file name is asked for, and nothing that was sent is run or unpacked to the
disk. As soon as a study is read, its files are gone.
"""

import dataclasses
import re
import shutil
import tempfile
import threading
from pathlib import Path

from scarseg_jax.errors import InputError
from scarseg_jax.readers.label_maps import table_of
from scarseg_jax.readers.orientation import FIND
from scarseg_jax.readers.patient import read_patient
from scarseg_jax.study import Study

IMAGE, CONTOURS = "image", "contours"
# By a slot, what its files may be called at the end; DICOM's are called anything.
ENDINGS = {
    IMAGE: (".nii", ".nii.gz", ".zip", ""),
    CONTOURS: (".nii", ".nii.gz", ".cvi42wsx", ".xml", ""),
}
MYOCARDIUM = "myocardium"  # what a NIfTI of contours may be, beside a label map
# What the commands call by a flag, as the page calls it.
FIELDS = {
    "input": "Image",
    "myocardium": "Contours",
    "contours": "Contours",
    "dicom_seg": "DICOM",
    "labels": "What the contours are",
    "series": "Series",
    "time": "Time",
    "spacing": "Spacing",
    "slice_axis": "Slice axis",
    "force": "Take it though it looks wrong",
}
_FLAG = re.compile(rf"--({'|'.join(FIELDS)})\b")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What may be sent at once.

    Attributes:
      bytes: Of all files together.
      files: How many.
    """

    bytes: int = 2**31
    files: int = 5000


@dataclasses.dataclass(frozen=True)
class Asked:
    """How the files that were sent are to be read; see `readers.patient`.

    Attributes:
      kind: What a NIfTI of contours is: `MYOCARDIUM`, or as in `label_maps.table_of`.
      series: Empty takes the LGE short-axis stack.
      time: 0 expects one image at each place.
      spacing: "affine" or "pixdim"; empty takes what the networks' data had.
      slice_axis: -1 finds it.
      force: Whether an implausible myocardium is taken.
    """

    kind: str = MYOCARDIUM
    series: tuple[str, ...] = ()
    time: int = 0
    spacing: str = ""
    slice_axis: int = FIND
    force: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (
            ("spacing", self.spacing, ("", "affine", "pixdim")),
            ("slice_axis", self.slice_axis, (FIND, 0, 1, 2)),
        ):
            if value not in known:
                listed = ", ".join(str(one) for one in known if one != "")
                raise InputError(f"--{name}={value}; expected one of {listed}")
        if self.kind != MYOCARDIUM:
            table_of(self.kind)  # refuses it


class Uploads:
    """The files of one study, sent together as a batch within limits.

    A second window that sends files begins another batch: never are the image of one and
    the contours of another read together.
    """

    def __init__(self, home: Path, limits: Limits) -> None:
        """Takes a private folder; each batch has one of its own in it."""
        self._home, self._limits = home, limits
        self._lock = threading.Lock()
        self._batch = 0
        self._begin()

    def begin(self) -> int:
        """Deletes what was sent and not yet read; returns the number of a new batch."""
        with self._lock:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._begin()
            return self._batch

    def new(self, batch: int, slot: str, ending: str) -> Path:
        """Returns where the next file of a slot goes.

        Raises:
          InputError: If such a file is not taken, there are too many, or another batch
            was begun.
        """
        known = ENDINGS.get(slot, ())
        if ending not in known:
            raise InputError(
                f"{slot}: a file that ends in {ending or 'nothing known'}; expected"
                f" {', '.join(one or 'DICOM' for one in known) or 'no such file'}"
            )
        with self._lock:
            self._check(batch)
            self._files += 1
            if self._files > self._limits.files:
                raise InputError(
                    f"more than {self._limits.files} files; expected one study: choose"
                    " its series alone, or send a zip"
                )
            home = _sent(self._folder, slot)
            home.mkdir(parents=True, exist_ok=True)
            return home / f"{self._files:05d}{ending}"

    def count(self, batch: int, more: int) -> None:
        """Notes bytes that came.

        Raises:
          InputError: If they are too many, or another batch was begun.
        """
        with self._lock:
            self._check(batch)
            self._bytes += more
            if self._bytes > self._limits.bytes:
                raise InputError(
                    f"the files are larger than {self._limits.bytes / 2**20:,.0f} MiB"
                    " together; expected one study: choose its series alone"
                )

    def read(self, batch: int, asked: Asked, *, spacing_from: str) -> Study:
        """Returns the study that was sent, and deletes its files.

        Of DICOM it keeps the headers, in memory alone: with those of whom it is, which
        go into files for DICOM's own archives, if anybody asks for them.

        Args:
          batch: Whose files.
          asked: How.
          spacing_from: Where that does not say it.

        Raises:
          InputError: As `read_patient`, or if another batch was begun.
        """
        with self._lock:
            self._check(batch)
            folder = self._folder  # from here on nobody else's
            self._begin()
        try:
            study = _read(folder, asked, spacing_from)
            # Where they were for a moment means nothing to who reads of them.
            files = tuple(Path(file.name) for file in study.files)
            series = study.series
            if series is not None:
                frames = series.read_frames()
                series = dataclasses.replace(series, read_frames=lambda: frames)
            return dataclasses.replace(study, files=files, series=series)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def line(self, error: InputError) -> str:
        """Returns an error as the page says it: in its own words, and without folders."""
        said = " ".join(str(error).split())
        said = re.sub(rf"{re.escape(str(self._home))}/[^/\s]+/", "", said)
        return _FLAG.sub(lambda found: f"“{FIELDS[found[1]]}”", said)

    def _begin(self) -> None:
        self._folder = Path(tempfile.mkdtemp(dir=self._home))
        self._batch += 1
        self._files = self._bytes = 0

    def _check(self, batch: int) -> None:
        if batch != self._batch:
            raise InputError(
                "other files were sent from another window; expected one study at a"
                " time: send these again"
            )


def _read(folder: Path, asked: Asked, spacing_from: str) -> Study:
    image, contours = (_path(folder, slot) for slot in (IMAGE, CONTOURS))
    if image is None:
        raise InputError("--input is missing; choose the image's file")
    nifti = contours is not None and contours.name.endswith((".nii", ".nii.gz"))
    mask = contours if nifti and asked.kind == MYOCARDIUM else None
    return read_patient(
        image,
        myocardium=mask,
        contours=None if mask else contours,
        labels=asked.kind if nifti and not mask else None,
        series=list(asked.series),
        time=asked.time,
        spacing_from=asked.spacing or spacing_from,
        slice_axis=asked.slice_axis,
    )


def _sent(folder: Path, slot: str) -> Path:
    return folder / "sent" / slot


def _path(folder: Path, slot: str) -> Path | None:
    """Returns a slot's file, or the folder of several, under the slot's own name."""
    sent = _sent(folder, slot)
    files = sorted(sent.iterdir()) if sent.is_dir() else []
    if not files:
        return None
    one = len(files) == 1
    ending = "".join(files[0].suffixes) if one else ""
    return (files[0] if one else sent).rename(folder / f"{slot}{ending}")
