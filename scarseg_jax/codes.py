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
# The American Heart Association's 17, from 1: context group 3717, SNOMED CT's codes.
WALL_SEGMENTS = (
    Code("264850008", "SCT", "left ventricle basal anterior segment"),
    Code("396482007", "SCT", "left ventricle basal anteroseptal segment"),
    Code("396646008", "SCT", "left ventricle basal inferoseptal segment"),
    Code("264846001", "SCT", "left ventricle basal inferior segment"),
    Code("396652009", "SCT", "left ventricle basal inferolateral segment"),
    Code("396654005", "SCT", "left ventricle basal anterolateral segment"),
    Code("264848000", "SCT", "left ventricle mid anterior segment"),
    Code("396647004", "SCT", "left ventricle mid anteroseptal segment"),
    Code("396649001", "SCT", "left ventricle mid inferoseptal segment"),
    Code("264847005", "SCT", "left ventricle mid inferior segment"),
    Code("396655006", "SCT", "left ventricle mid inferolateral segment"),
    Code("396656007", "SCT", "left ventricle mid anterolateral segment"),
    Code("264844003", "SCT", "left ventricle apical anterior segment"),
    Code("264845002", "SCT", "left ventricle apical septal segment"),
    Code("264849008", "SCT", "left ventricle apical inferior segment"),
    Code("264853005", "SCT", "left ventricle apical lateral segment"),
    Code("128564006", "SCT", "Apex of left ventricle"),
)
