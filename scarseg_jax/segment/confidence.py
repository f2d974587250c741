"""How sure networks are of what they call, by their own probabilities."""

import numpy as np

# Of 59 EMIDEC patients two have less, by networks that had not seen them, and the two worst
# walls of all, with a Dice of 0.62 and 0.64; the others have 0.81 or more, and 0.70 or more.
LEAST_OF_WALL = 0.8
LEAST_OF_SCAR = 0.6


def expected_dice(called: np.ndarray, probability: np.ndarray) -> float | None:
    """Returns the Dice that a mask would have, were the probabilities right.

    A ratio of expectations: twice those of what is called by those of both. None: nothing
    is called.

    Args:
      called: (Z, Y, X) bool.
      probability: (Z, Y, X), of the same.
    """
    if not called.any():
        return None
    common = float(probability[called].sum())
    return 2 * common / (float(called.sum()) + float(probability.sum()))


def unsure(of_wall: float | None, of_scar: float | None) -> list[str]:
    """Returns what networks are not sure of; sentences.

    Args:
      of_wall: Expected Dice of the myocardium that they found; None: it was given.
      of_scar: Of the scar that they call; None: there is none.
    """
    each = (
        (of_wall, LEAST_OF_WALL, "myocardium that they found", "draw it"),
        (of_scar, LEAST_OF_SCAR, "scar that they call", "correct it"),
    )
    return [
        f"The networks are not sure of the {what}, or not of one mind: by their own"
        f" probabilities its Dice is {sure:.2f}, where {least:g} and more is usual. Look"
        f" at it, or {mend}."
        for sure, least, what, mend in each
        if sure is not None and sure < least
    ]
