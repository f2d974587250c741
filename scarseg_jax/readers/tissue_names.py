"""What others call what is drawn on a heart: in words, and in DICOM's codes."""

import re
from collections.abc import Mapping

from pydicom.sr.coding import Code

from scarseg_jax.codes import SEGMENTS
from scarseg_jax.readers.contours import (
    CAVITY,
    ENDOCARDIUM,
    EPICARDIUM,
    MYOCARDIUM,
    NO_REFLOW,
    SCAR,
)

_LONGEST = 30  # characters of a name in messages
# In small letters and figures alone, without "lv" or "left ventricular" before them.
_WORDS = {
    ENDOCARDIUM: "endocardium endocardial endo saendocardial saendocardialcontour",
    EPICARDIUM: "epicardium epicardial epi saepicardial saepicardialcontour",
    MYOCARDIUM: "myocardium myo wall",
    CAVITY: "cavity bloodpool blood lumen",
    SCAR: "scar scartissue myocardialscar infarct infarction lge lgescar",
    NO_REFLOW: "noreflow noreflowarea noreflowareacontour mvo microvascularobstruction",
}
_NAMED = {word: name for name, words in _WORDS.items() for word in words.split()}
_BEFORE = re.compile(r"^(lv|leftventricle|leftventricular)(?=.)")
_FURTHER = {
    MYOCARDIUM: (Code("74281007", "SCT", "Myocardium"),),
    SCAR: (
        Code("12402003", "SCT", "Scar"),
        Code("22298006", "SCT", "Myocardial infarction"),
        Code("122113", "DCM", "Scarred Myocardium"),
    ),
}
_CODED = {
    name: (Code(*segment.type), *_FURTHER.get(name, ()))
    for name, segment in SEGMENTS.items()
}


def name_of(text: str, further: Mapping[str, str], code: Code | None = None) -> str:
    """Returns what something is, one of `contours.NAMES`; empty if it is not known.

    Args:
      text: What it is called.
      further: What further names mean; they count before all else.
      code: Of it, which counts before the text.
    """
    if text in further:
        return further[text]
    for name, known in _CODED.items():
        if code is not None and any(code == one for one in known):
            return name
    plain = re.sub(r"[^a-z0-9]", "", text.lower())
    return _NAMED.get(plain) or _NAMED.get(_BEFORE.sub("", plain), "")


def shown(text: str) -> str:
    """Returns a name for messages: short, printable and without long numbers."""
    text = "".join(c if c.isprintable() else " " for c in text)
    return re.sub(r"\d{4,}", "#", text)[:_LONGEST] or "(no name)"
