"""What tissues are called in DICOM: SNOMED CT's codes, and ours where there is none.

Category and type as the Segment Description macro has them (PS3.3 C.8.20.2). SNOMED has
no blood pool: the left ventricle stands for its cavity, as in dcmqi's list. No code was
found for microvascular obstruction, nor for a mass in per cent of another.
"""

from typing import NamedTuple

PRIVATE = "99SCARSEG"  # names that begin with 99 are anybody's


class Code(NamedTuple):
    """A coded concept.

    Attributes:
      value: The code.
      scheme_designator: Whose: SCT, DCM, LN, UCUM or a private one.
      meaning: In words.
    """

    value: str
    scheme_designator: str
    meaning: str


class Segment(NamedTuple):
    """What a mask of a tissue is.

    Attributes:
      label: As viewers list it.
      category: Its kind.
      type: What it is.
    """

    label: str
    category: Code
    type: Code


_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
MYOCARDIUM = Code("49848007", "SCT", "Myocardium of left ventricle")
# By the names of a study's masks.
SEGMENTS = {
    "myocardium": Segment("Myocardium", _STRUCTURE, MYOCARDIUM),
    "cavity": Segment(
        "LV cavity", _STRUCTURE, Code("87878005", "SCT", "Left ventricle")
    ),
    "scar": Segment("Scar", _ABNORMAL, Code("55641003", "SCT", "Infarct")),
    "no_reflow": Segment(
        "No-reflow", _ABNORMAL, Code("NO_REFLOW", PRIVATE, "Microvascular obstruction")
    ),
}
