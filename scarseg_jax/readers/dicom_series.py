"""Which of a study's series is the LGE short-axis stack.

A series is all images of one series UID and one kind: scanners keep the magnitude and
the phase-sensitive images of one acquisition, which share their places, under one or
two UIDs. The rule for choosing is `choose`'s.
"""

import dataclasses
import enum
import logging
import math
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from scarseg_jax.errors import InputError
from scarseg_jax.readers.dicom_files import SHOWN, Image
from scarseg_jax.study import is_short_axis

_log = logging.getLogger(__name__)
_SAME_PLACE_MM = 0.1  # along the normal: breath-holds that are repeated copy the place
_UID_END = 8  # characters of a series UID that messages show, or more
_LONGEST_TEXT = 40
_LEAST_SLICES = 3  # of a stack, where another series has as many
_TIMES = (  # of an image, and of a frame of an enhanced file
    *("TriggerTime", "NominalCardiacTriggerDelayTime"),
    *("TemporalPositionIdentifier", "TemporalPositionIndex"),
    *("AcquisitionTime", "FrameAcquisitionDateTime", "InstanceNumber"),
)
_LONGEST_INVERSION_MS = 10_000.0  # some scanners write the largest number there is
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?")
_LATE = re.compile(
    r"lge|psir|late[-_ ]*(gad|enh)|delay|viab|scar|(?<![a-z])m?de(?![a-z])",
    re.IGNORECASE,
)


class Kind(enum.Enum):
    """What the pixels of an image are."""

    MAGNITUDE = "magnitude"
    PHASE_SENSITIVE = "phase-sensitive"
    PHASE = "phase"


# Of ImageType's third and later values (Siemens M, P, R; Philips M_IR, CR; GE and
# enhanced images in words), and of ComplexImageComponent.
_KINDS = {
    **dict.fromkeys(("M", "MAG", "MAGNITUDE", "M_IR", "M_FFE"), Kind.MAGNITUDE),
    **dict.fromkeys(
        ("R", "REAL", "R_IR", "CR", "PSIR", "PHASE SENSITIVE"), Kind.PHASE_SENSITIVE
    ),
    **dict.fromkeys(("P", "PHASE", "PHASE MAP", "P_IR", "P_FFE"), Kind.PHASE),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """Images of one UID and kind, in no order.

    Attributes:
      uid_end: Of the series UID, by which it can be asked for.
      number: As the scanner counts; -1 where it is not said.
      kind: What its pixels are.
      images: All of them.
    """

    uid_end: str
    number: int
    kind: Kind
    images: tuple[Image, ...]

    @property
    def description(self) -> str:
        """As the scanner's users wrote it, without names and what no terminal shows."""
        text = str(self.images[0].fields.get(SHOWN, ""))
        text = "".join(c if c.isprintable() else " " for c in text)
        return re.sub(r"\d{6,}", "#", text)[:_LONGEST_TEXT]  # no dates, no numbers

    @property
    def placed(self) -> bool:
        """Whether all images say where they lie and how large they are, and it can be."""
        try:
            for image in self.images:
                directions(image)
                position_mm(image)
                sizes_mm = [float(size) for size in image.fields["PixelSpacing"]]
                if not all(0 < size < math.inf for size in sizes_mm):
                    return False
        except (KeyError, ValueError, TypeError, InputError):
            return False
        return True

    @property
    def places(self) -> list[list[Image]]:
        """The images of each place, along the first's normal, each in order of time."""
        _, _, normal = directions(self.images[0])
        at_mm = [float(position_mm(image) @ normal) for image in self.images]
        order = sorted(range(len(at_mm)), key=at_mm.__getitem__)
        found: list[list[Image]] = []
        last = -math.inf
        for i in order:
            if at_mm[i] - last > _SAME_PLACE_MM:
                found.append([])
            last = at_mm[i]
            found[-1].append(self.images[i])
        return [sorted(images, key=_time) for images in found]

    @property
    def line(self) -> str:
        """What tells it from the others, for messages."""
        fields = self.images[0].fields
        text = f"{self.number if self.number >= 0 else '?'} (UID ..{self.uid_end})"
        text += f" '{self.description}' {self.kind.value}"
        if not self.placed:
            return f"{text}, {len(self.images)} images without a place"
        places = self.places
        each = max(len(images) for images in places)
        y, x = (float(s) for s in fields["PixelSpacing"])
        times = f" x {each} images" if each > 1 else ""
        return (
            f"{text}, {len(places)} slices{times}, {fields['Rows']} x"
            f" {fields['Columns']} pixels of {y:.3g} x {x:.3g} mm"
        )


def list_series(images: Iterable[Image]) -> tuple[Series, ...]:
    """Returns the series of images, by number; an image there twice counts once."""
    groups: dict[tuple[str, Kind], dict] = {}
    doubled = 0
    for image in images:
        uid = str(image.fields.get("SeriesInstanceUID", ""))
        own = groups.setdefault((uid, _kind(image)), {})
        instance = image.fields.get("SOPInstanceUID", id(image)), image.frame
        doubled += instance in own
        own.setdefault(instance, image)
    if doubled:
        _log.warning("DICOM: %d images are there twice; one of each is taken", doubled)
    uids = {uid for uid, _ in groups}
    end = _UID_END  # or as many as tell them apart: some end alike
    while len({uid[-end:] for uid in uids}) < len(uids):
        end += 1
    found = []
    for (uid, kind), own in groups.items():
        first = next(iter(own.values()))
        number = first.fields.get("SeriesNumber")
        number = int(number) if re.fullmatch(r"\+?\d{1,10}", str(number)) else -1
        found.append(Series(uid[-end:], number, kind, tuple(own.values())))
    return tuple(sorted(found, key=lambda s: (s.number, s.uid_end, s.kind.value)))


def choose(
    series: Sequence[Series],
    asked: Sequence[str] = (),
    *,
    many: bool = False,
    drawn_on: Callable[[Image], bool] = lambda image: False,
) -> Series:
    """Returns the series that was asked for, or the LGE short-axis stack.

    Candidates are MR images with a place, not phase maps, one at each place. Of several
    those that have three slices or more, that are short-axis, and that say of
    themselves that they are late or inversion-recovery images are kept, and those that
    something is drawn on, step by step as long as any is; and of a pair of one acquisition the phase-sensitive one, whose
    contrast depends less on the inversion time. There must then be one.

    Args:
      series: From `list_series`.
      asked: Each a series' number, or the end of its UID; several are one stack, as
        when every slice is a series.
      many: Whether a place may have several images, of which one will be taken.
      drawn_on: Says whether something is drawn on an image.

    Raises:
      InputError: If there is none, or more than one: the message lists them.
    """

    def is_drawn(one: Series) -> bool:
        return any(map(drawn_on, one.images))

    if asked:
        chosen = _asked(series, asked)
    else:
        left = [s for s in series if _possible(s, many=many)]
        for keep in (_is_stack, _is_short_axis, is_late, is_drawn):
            left = [s for s in left if keep(s)] or left
        if len(left) > 1 and len({_place_key(s) for s in left}) == 1:
            sensitive = [s for s in left if s.kind is Kind.PHASE_SENSITIVE]
            left = sensitive or left
        if len(left) != 1:
            listed = "; ".join(s.line for s in series)
            raise InputError(
                f"{len(left)} of {len(series)} series can be the LGE short-axis stack;"
                " expected one, of MR with one image at each place: say which with"
                " --series=NUMBER, or the end of its UID, and of several images at a"
                f" place with --time. There are: {listed}"
            )
        chosen = left[0]
        if not is_late(chosen):
            _log.warning(
                "DICOM: nothing in the header of series %s says that it is late"
                " enhancement; it is taken as such",
                chosen.line,
            )
    _log.info("DICOM: of %d series: %s", len(series), chosen.line)
    taken = set(map(id, chosen.images))
    for one in series:
        if not taken.issuperset(map(id, one.images)):
            _log.info("DICOM: not taken: series %s", one.line)
    return chosen


def one_at_each_place(series: Series, time: int = 0) -> list[Image]:
    """Returns a series' image of each place, along its normal.

    Args:
      series: With a place for each image.
      time: Which to take where a place has several, in the order of time: 1 is the
        first, -1 the last; 0 refuses.

    Raises:
      InputError: If a place has several and none was asked for, or fewer than asked.
    """
    chosen = []
    for images in series.places:
        if len(images) == 1:
            chosen += images
        elif time == 0 or abs(time) > len(images):
            raise InputError(
                f"series {series.line}: a place has {len(images)} images, such as times"
                f" of a cine or a repeated breath-hold; expected one: say which in time"
                f" with --time=1 to {len(images)}, or -1 for the last"
                + (f" (it is {time})" if time else "")
            )
        else:
            chosen.append(images[time - 1 if time > 0 else time])
    return chosen


def directions(image: Image) -> np.ndarray:
    """Returns (3, 3): unit vectors along columns' x, rows' y, and the normal, LPS.

    Raises:
      InputError: If they are not at right angles.
    """
    raw = np.array([float(v) for v in image.fields["ImageOrientationPatient"]])
    with np.errstate(all="ignore"):
        x, y = (v / np.linalg.norm(v) for v in raw.reshape(2, 3))
        if not abs(x @ y) < 1e-3:
            raise InputError(
                f"DICOM: ImageOrientationPatient {raw.tolist()}; expected two directions"
                " at right angles: export the series anew"
            )
    return np.stack([x, y, np.cross(x, y)])


def position_mm(image: Image) -> np.ndarray:
    """Returns the (3,) place of the first pixel's centre, LPS.

    Raises:
      InputError: If it is none.
    """
    place = np.array([float(v) for v in image.fields["ImagePositionPatient"]])
    if not np.isfinite(place).all():
        raise InputError(
            f"DICOM: ImagePositionPatient {place.tolist()}; expected three lengths:"
            " export the series anew"
        )
    return place


def _asked(series: Sequence[Series], asked: Sequence[str]) -> Series:
    found: list[Series] = []
    for text in asked:
        name = text.strip().removeprefix("..")
        fits = [s for s in series if name in (str(s.number), s.uid_end)]
        fits = fits or [s for s in series if len(name) > 2 and s.uid_end.endswith(name)]
        if len(fits) > 1 and len({s.uid_end for s in fits}) == 1:  # a pair of one UID
            fits = [s for s in fits if s.kind is Kind.PHASE_SENSITIVE] or fits
        if len(fits) != 1:
            listed = "; ".join(s.line for s in series)
            raise InputError(
                f"--series={text}: {len(fits)} series fit; expected one's number or the"
                f" end of its UID. There are: {listed}"
            )
        found += fits
    kinds = {s.kind for s in found}
    if len(kinds) > 1 or not all(s.placed for s in found):
        raise InputError(
            f"--series={','.join(asked)}: {'; '.join(s.line for s in found)}; expected"
            " images of one kind that say where they lie: choose others"
        )
    images = tuple(image for s in found for image in s.images)
    return dataclasses.replace(found[0], images=images)


def _kind(image: Image) -> Kind:
    fields = image.fields
    said = [
        fields.get("ComplexImageComponent"),
        *np.atleast_1d(fields.get("ImageType", ()))[2:],
    ]
    kinds = [_KINDS[str(s).upper()] for s in said if str(s).upper() in _KINDS]
    described = str(fields.get("SeriesDescription", "")).upper()
    sensitive = "PSIR" in described and "MAG" not in described
    if not kinds:
        return Kind.PHASE_SENSITIVE if sensitive else Kind.MAGNITUDE
    if Kind.PHASE_SENSITIVE in kinds or (kinds[0] is Kind.PHASE and sensitive):
        return Kind.PHASE_SENSITIVE
    return kinds[0]


def _possible(series: Series, *, many: bool) -> bool:
    fields = series.images[0].fields
    return (
        fields.get("Modality") == "MR"
        and series.kind is not Kind.PHASE
        and series.placed
        and (many or all(len(images) == 1 for images in series.places))
    )


def _is_stack(series: Series) -> bool:
    return len(series.places) >= _LEAST_SLICES


def _is_short_axis(series: Series) -> bool:
    left, back, head = directions(series.images[0])[2]
    return is_short_axis(np.array([-left, -back, head]))


def is_late(series: Series) -> bool:
    """Returns whether it says of itself that it is late or an inversion recovery."""
    fields = series.images[0].fields
    sequence = np.atleast_1d(fields.get("ScanningSequence", "")).tolist()
    times_ms = [fields.get("InversionTime", 0), fields.get("InversionTimes", 0)]
    return (
        "IR" in sequence
        or fields.get("InversionRecovery") == "YES"
        or any(0 < float(t) < _LONGEST_INVERSION_MS for t in np.hstack(times_ms))
        or series.kind is Kind.PHASE_SENSITIVE
        or bool(_LATE.search(str(fields.get("SeriesDescription", ""))))
    )


def _place_key(series: Series) -> tuple:
    places = [position_mm(images[0]) for images in series.places]
    return tuple(np.round(np.ravel(places), 1).tolist())


def _time(image: Image) -> tuple[float, ...]:
    """Returns what sorts images of one place: trigger time, index, clock, number."""
    said = (str(image.fields.get(name, "")) for name in _TIMES)
    return tuple(float(t) if _NUMBER.fullmatch(t) else 0.0 for t in said)
