"""How sure a scar's volume is, from how far networks were off on other patients."""

import math
from collections.abc import Sequence

import numpy as np

from scarseg_jax.run import INTERVAL_LEVEL, Trial

# Added to a volume before errors are set against it: those of no scar at all count, too.
_LEAST_ML = 2.0


def interval_ml(
    said_ml: float,
    trials: Sequence[Trial],
    *,
    min_ml: float = 0.0,
    but: str | None = None,
) -> tuple[float, float] | None:
    """Returns where the true volume lies with a probability of 90 %.

    Split conformal prediction of the relative error, each side by itself, with its rank
    for so few patients, each of whom counts once (Lei et al., JASA 2018, doi:10.1080/01621459.2017.1307116
    (unverified)). It holds for patients like those of the trials. Single networks made
    these; several together are off by less.

    Args:
      said_ml: The volume of what is called scar.
      trials: Of patients that no weight was fitted to.
      min_ml: The volume above which a patient's scar is called, in trials as elsewhere.
      but: A patient whose own trial does not count.

    Returns:
      Lower and upper end; None with so few trials that no end can be told.
    """
    of_each: dict[str, list[float]] = {}
    for trial in trials:
        if trial.patient != but:
            said = trial.said_ml if trial.said_ml > min_ml else 0.0
            error = (trial.true_ml - said) / (said + _LEAST_ML)
            of_each.setdefault(trial.patient, []).append(error)
    errors = sorted(float(np.mean(own)) for own in of_each.values())
    rank = math.ceil((len(errors) + 1) * (1 + INTERVAL_LEVEL) / 2)
    if rank > len(errors):
        return None
    scale_ml = said_ml + _LEAST_ML
    low, high = errors[-rank] * scale_ml, errors[rank - 1] * scale_ml
    return max(0.0, said_ml + min(low, 0.0)), said_ml + max(high, 0.0)
