"""How every network is trained."""

import dataclasses
import math

from scarseg_jax.errors import InputError

AUGMENTATIONS = ("symmetries", "deformed", "repainted")
SELECTIONS = ("validation", "last", "oracle")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The paper's section 3.1.

    Attributes:
      epochs: Passes over all symmetries of all training images.
      batch_size: Images a step.
      learning_rate: At the start.
      decay: Of the learning rate, over 100 epochs.
      weight_decay: Of convolution kernels, decoupled.
      augmentation: "symmetries" of the square; or "deformed", by `augment.deform` beside
        them, another way in each epoch; or "repainted", by `augment.repaint` as well,
        where no mask's edge is in the channel.
      class_weights: Of background and each other class in the cross entropy.
      dice: Whether the loss is that of the batch's soft Dice too.
      averaging: Share of the weights' moving mean that a step keeps; it is the mean that
        is judged and kept. 0: the weights of the last step.
      selection: "validation", "last" or "oracle": what chooses the best epoch. The
        oracle looks at the test patients, to measure how much that flatters.

    Raises:
      InputError: If a value makes no sense.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    decay: float
    weight_decay: float
    augmentation: str
    class_weights: tuple[float, ...]
    dice: bool
    averaging: float
    selection: str

    def __post_init__(self) -> None:
        if self.selection not in SELECTIONS:
            raise InputError(
                f"train.selection is {self.selection!r}; expected one of"
                f" {', '.join(SELECTIONS)}"
            )
        if self.augmentation not in AUGMENTATIONS:
            raise InputError(
                f"train.augmentation is {self.augmentation!r}; expected one of"
                f" {', '.join(AUGMENTATIONS)}"
            )
        for name in ("epochs", "batch_size", "learning_rate", "decay"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(
                    f"train.{name} is {getattr(self, name)}; expected a positive number"
                )
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(
                f"train.weight_decay is {self.weight_decay}; expected 0 or more"
            )
        if not 0 <= self.averaging < 1:
            raise InputError(
                f"train.averaging is {self.averaging}; expected 0 or more, less than 1"
            )
        sound = all(0 < weight < math.inf for weight in self.class_weights)
        if len(self.class_weights) < 2 or not sound:
            raise InputError(
                f"train.class_weights is {self.class_weights}; expected a positive"
                " number for the background and for each other class"
            )
