"""What is judged: what was drawn, and what was called scar."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from scarseg_jax.judge import consensus
from scarseg_jax.judge.ventricle import FoundVentricles
from scarseg_jax.study import Slices, Study


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """What was tested.

    Attributes:
      slices: N slices of patients with contours, in the order of names and slices.
      studies: The same patients.
      readers: What `consensus.settle` says of each that several readers drew.
    """

    slices: Slices
    studies: Sequence[Study]
    readers: Mapping[str, consensus.PatientReaders]

    def take(self, which: np.ndarray) -> "Truth":
        """Returns those of (n,) some slices, all of a patient's."""
        slices = self.slices.take(which)
        tested = set(slices.patient.tolist())
        studies = [study for study in self.studies if study.patient in tested]
        return Truth(slices, studies, self.readers)


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What was called scar, each by a network that did not train on the patient.

    Attributes:
      fold: (N,) int, that tested each slice.
      seeds: Of the networks.
      crop: (seeds, N, 64, 64) bool.
      native: Of each patient, (seeds, Z, Y, X) bool.
      crop_probability: (seeds, N, 64, 64) float32; None of a method without.
      native_probability: Of each patient, (seeds, Z, Y, X) float32; None as above.
      found: The ventricles that were found, if they were looked for.
      contained: (seeds, N) bool, whether what was looked at holds the slice's whole
        myocardium; None: as the slices say.
      between_ml: Of each patient, (seeds, 2), where the scar's volume shall lie; NaN
        where that cannot be told. None of a method that does not say it.
    """

    fold: np.ndarray
    seeds: Sequence[int]
    crop: np.ndarray
    native: Mapping[str, np.ndarray]
    crop_probability: np.ndarray | None = None
    native_probability: Mapping[str, np.ndarray] | None = None
    found: FoundVentricles | None = None
    contained: np.ndarray | None = None
    between_ml: Mapping[str, np.ndarray] | None = None

    def take(self, which: np.ndarray) -> "Answers":
        """Returns those of (n,) some slices; what is kept by patient stays."""
        said, contained = self.crop_probability, self.contained
        return dataclasses.replace(
            self,
            fold=self.fold[which],
            crop=self.crop[:, which],
            crop_probability=None if said is None else said[:, which],
            contained=None if contained is None else contained[:, which],
        )
