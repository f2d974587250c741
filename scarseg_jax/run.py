"""The vocabulary of networks: who was trained how, and what they found.

A trained run describes itself by a `RunRecord`; what is stored of it is read by
`records.parse`, and nowhere else.
"""

import dataclasses
from typing import Any

import numpy as np

from scarseg_jax.study import Study

# The probabilities from which a pixel may be called scar, where one is chosen.
THRESHOLDS = tuple(percent / 100 for percent in range(5, 100, 5))
INTERVAL_LEVEL = 0.9  # how often the true volume shall lie in the interval told


@dataclasses.dataclass(frozen=True)
class Member:
    """One network: a fold of the cross-validation, by its number, and a seed."""

    fold: int
    seed: int


@dataclasses.dataclass(frozen=True)
class Decision:
    """When scar is called.

    Attributes:
      threshold: The probability from which a pixel is.
      min_area_mm2: The area, in a slice, from which connected pixels are.
      min_ml: The volume, in a patient, above which any is; a network by itself knows of
        none, all of a run tell it.
    """

    threshold: float
    min_area_mm2: float = 0.0
    min_ml: float = 0.0


@dataclasses.dataclass(frozen=True)
class EpochRecord:
    """How a member stood after an epoch; a row of history.csv.

    Attributes:
      fold: The member's.
      seed: The member's.
      epoch: Counted from 1.
      learning_rate: At its start.
      loss: Mean over its steps.
      threshold: The probability that fits the validation patients best.
      validation_dsc: Dice of all their pixels together, at that threshold; in Protocol 2
        nothing is called scar outside the myocardium.
      test_dsc: The same of the test patients; nothing is chosen by it.

    Where slices are learned to be cut out, these two are of slices cut out around the
    drawn myocardium, and say how training goes, not how good the networks are.
    """

    fold: int
    seed: int
    epoch: int
    learning_rate: float
    loss: float
    threshold: float
    validation_dsc: float
    test_dsc: float


@dataclasses.dataclass(frozen=True)
class Trial:
    """What a network called scar in a patient that chose its decision.

    Attributes:
      patient: Whose.
      true_ml: Volume of the scar that was drawn.
      said_ml: Of what the network called scar.
    """

    patient: str
    true_ml: float
    said_ml: float


@dataclasses.dataclass(frozen=True)
class TrainedMember:
    """A member after training.

    Attributes:
      member: Which.
      best_epoch: The epoch whose weights it has, from 1.
      best_dice: That epoch's, of the slices that chose it.
      decision: When it calls scar.
      test_patients: Those its fold held out.
      trials: On the patients that chose the decision.
    """

    member: Member
    best_epoch: int
    best_dice: float
    decision: Decision
    test_patients: tuple[str, ...]
    trials: tuple[Trial, ...] = ()


@dataclasses.dataclass(frozen=True)
class Divergence:
    """The end of a member whose loss or weights became NaN or infinite.

    Attributes:
      member: Which.
      epoch: Counted from 1.
      step: Of that epoch, from 1.
    """

    member: Member
    epoch: int
    step: int

    def __str__(self) -> str:
        return (
            f"fold {self.member.fold}, seed {self.member.seed}: the loss became NaN or"
            f" infinite in epoch {self.epoch}, step {self.step}"
        )


@dataclasses.dataclass(frozen=True)
class Machine:
    """What computes: another one rounds otherwise.

    Attributes:
      devices: Of JAX.
      processor: Its name.
      python: The version.
      jax: The version.
    """

    devices: tuple[str, ...]
    processor: str
    python: str
    jax: str

    def __str__(self) -> str:
        return (
            f"{len(self.devices)} x {self.devices[0]} ({self.processor}, JAX {self.jax},"
            f" Python {self.python})"
        )


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """What a checkpoint says of the run that made it.

    Attributes:
      protocol: 1 saw the whole crop, 2 the drawn myocardium; 3 finds it first.
      variant: Of the network.
      classes: What it tells apart, a name of `targets.CLASSES`.
      symmetries: Whether its answer is the mean over the square's 8 symmetries.
      source: The layout of the data, one of `sources.READERS` or "phantom".
      selection: What chose the epoch: "last", "validation" or "oracle".
      preparation: Of the slices, `cut.PREPARATION`.
      data_hash: Of the data set.
      fingerprints: Of the patients' images, by `likeness.fingerprint`.
      members: The networks, in the order of the checkpoint's leading axis.
      diverged: Networks that came to nothing, and are not among the members.
      history: One record for each member and epoch.
      settings: All of the run's, by section.
      versions: Of the packages.
      machines: Where it was trained; several, if it was taken up elsewhere.
      training_seconds: How long that took.
      context: Whether the networks of Protocol 2 see the surroundings too.
      neighbours: How many slices on each side they see beside.
      crop: Around what slices are cut out, of `crop.METHODS`.
      typical: Lowest and highest of what `unlike.traits_of` measures of the patients.
      finder: SHA-256 of the networks that found the myocardium; empty: it was drawn, or
        not needed.
      start: SHA-256 of the networks that these began as; empty: they were drawn.
    """

    protocol: int
    variant: str
    classes: str
    symmetries: bool
    source: str
    selection: str
    preparation: int
    data_hash: str
    fingerprints: dict[str, str]
    members: tuple[TrainedMember, ...]
    diverged: tuple[Divergence, ...]
    history: tuple[EpochRecord, ...]
    settings: dict[str, Any]
    versions: dict[str, str]
    machines: tuple[Machine, ...]
    training_seconds: float
    context: bool = False  # as in runs from before there was any; the next two too
    neighbours: int = 0
    crop: str = "hough"
    typical: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    finder: str = ""
    start: str = ""

    @property
    def judged_as(self) -> int:
        """The protocol whose task it does: 3, too, where others find the myocardium."""
        return 3 if self.finder else self.protocol

    @property
    def name(self) -> str:
        """What it is called beside other runs."""
        more = ", cascade" * bool(self.finder) or ", context" * self.context
        return f"Protocol {self.judged_as}{more}"

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Of all members."""
        return tuple(trial for member in self.members for trial in member.trials)

    @property
    def chose(self) -> bool:
        """Whether its networks' decisions were chosen, not fixed beforehand."""
        return not self.settings["threshold"]

    def saw(self, trained: TrainedMember, patient: str) -> bool:
        """Returns whether a network was trained or chosen by one of these patients."""
        return self.selection == "oracle" or patient not in trained.test_patients


@dataclasses.dataclass(frozen=True)
class Review:
    """What a person made of the networks' answer before accepting it.

    Attributes:
      asked: When the networks call scar; the segmentation's own decision is the person's.
      added_ml: Scar that was painted where none was called.
      erased_ml: Called scar that was erased.
      slices: Those that were so corrected, from 0.
    """

    asked: Decision
    added_ml: float
    erased_ml: float
    slices: tuple[int, ...]

    @property
    def by_hand(self) -> bool:
        """Whether the mask is other than what was called."""
        return bool(self.slices)


@dataclasses.dataclass(frozen=True, eq=False)
class Segmentation:
    """A study and the scar found in it, on the image's own grid.

    Attributes:
      study: What was looked at.
      probability: (Z, Y, X) float32 of scar, the mean over the networks.
      scar: (Z, Y, X) bool, what is called scar.
      decision: When it is.
      members: The networks.
      run: Of the networks.
      myocardium: (Z, Y, X) bool, what was given, or else found; None without either.
      cavity: (Z, Y, X) bool, the LV's; as above.
      no_reflow: (Z, Y, X) bool, as it was drawn, or else as networks that tell it apart
        found it, where scar is likelier no-reflow than not, called or not; None where
        nothing tells.
      patient: Of the run's, whose image this is; None if it is nobody's.
      left_out: Networks that were not asked, as they were trained on this patient.
      between_ml: Where the scar's true volume lies with a probability of
        `INTERVAL_LEVEL`; None where that cannot be told.
      unlike: In which ways the study is unlike those of the run; sentences.
      disagreement: (Z, Y, X) float32 standard deviation of the networks' probabilities of
        scar; None of a single one's.
      sure_of_wall: Expected Dice of the myocardium that was found, by its probabilities;
        None where none was.
      sure_of_scar: The same of the scar, where the networks call it by their own decision;
        None where they call none, or somebody else says what is scar.
      dismissed_ml: What would be called scar, were it not too little of it in all.
      review: A person's, who accepted it; None if nobody has looked.
    """

    study: Study
    probability: np.ndarray
    scar: np.ndarray
    decision: Decision
    members: tuple[TrainedMember, ...]
    run: RunRecord
    myocardium: np.ndarray | None = None
    cavity: np.ndarray | None = None
    no_reflow: np.ndarray | None = None
    patient: str | None = None
    left_out: tuple[TrainedMember, ...] = ()
    between_ml: tuple[float, float] | None = None
    unlike: tuple[str, ...] = ()
    disagreement: np.ndarray | None = None
    sure_of_wall: float | None = None
    sure_of_scar: float | None = None
    dismissed_ml: float = 0.0
    review: Review | None = None

    @property
    def unseen(self) -> bool:
        """Whether the patient is new to all of the networks."""
        return self.patient is None or not any(
            self.run.saw(trained, self.patient) for trained in self.members
        )

    @property
    def found_the_wall(self) -> bool:
        """Whether the myocardium is the networks' own."""
        return self.myocardium is not None and self.study.myocardium is None

    @property
    def no_reflow_in_scar(self) -> np.ndarray | None:
        """What of the no-reflow is called scar, (Z, Y, X) bool."""
        return None if self.no_reflow is None else self.no_reflow & self.scar

    @property
    def scar_ml(self) -> float:
        """Volume of the scar."""
        return self.study.geometry.volume_ml(self.scar)
