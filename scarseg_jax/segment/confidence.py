"""How sure networks are of what they call, by their own probabilities."""

import numpy as np


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
