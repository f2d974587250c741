"""The vocabulary: what one patient's study is."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from scarseg_jax.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """One patient's short-axis LGE stack, with the expert's contours where they exist.

    Attributes:
      patient: Name that is unique within the data set.
      image: (Z, Y, X) float32 intensities in the scanner's arbitrary unit.
      spacing_mm: Centre-to-centre voxel spacing (z, y, x).
      myocardium: (Z, Y, X) bool, the LV myocardium including any scar; None where
        the study has no contours.
      scar: (Z, Y, X) bool, infarct and no-reflow; None where the study has none, and
        where several readers drew it, until `consensus.settle` has made one of theirs.
      readers: (Z, Y, X) bool, the scar by each of several readers, by name.
      files: What the study was read from, for messages; empty for the phantom.

    Raises:
      InputError: If the arrays do not agree or hold values no scanner gives.
    """

    patient: str
    image: np.ndarray
    spacing_mm: tuple[float, float, float]
    myocardium: np.ndarray | None = None
    scar: np.ndarray | None = None
    readers: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        where = f"{self.files[0] if self.files else 'patient ' + self.patient}"
        if self.image.ndim != 3 or 0 in self.image.shape:
            raise InputError(
                f"{where}: an image of shape {self.image.shape}; expected a stack"
                " of slices with three non-empty axes"
            )
        bad = ~np.isfinite(self.image)
        if bad.any():
            slices = ", ".join(str(z) for z in np.flatnonzero(bad.any(axis=(1, 2))))
            raise InputError(
                f"{where}: {int(bad.sum())} NaN or infinite voxels in slices {slices};"
                " replace them in the file or leave the patient out"
            )
        if not all(np.isfinite(s) and s > 0 for s in self.spacing_mm):
            raise InputError(
                f"{where}: voxel spacing {self.spacing_mm} mm; expected three positive"
                " lengths: mend the header"
            )
        masks = {"myocardium": self.myocardium, "scar": self.scar, **self.readers}
        for name, mask in masks.items():
            if mask is not None and mask.shape != self.image.shape:
                raise InputError(
                    f"{where}: the {name} mask has shape {mask.shape}, the image"
                    f" {self.image.shape}; both must lie on one grid"
                )
