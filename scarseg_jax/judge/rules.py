"""By which rules the figures are made, in the words that stand beside them."""

import numpy as np

from scarseg_jax.judge.results import About
from scarseg_jax.study import Slices

EMPTY_MASK_RULE = (
    "Se and DSC are taken over slices with true scar, a missed scar counting 0; Acc and"
    " Sp over all slices; slices without scar enter DSC nowhere and are counted as"
    " false scars where any pixel is called scar."
)
POOLING_RULE = (
    "Each slice counts once for each seed in the tables and failures; a patient's 3-D"
    " Dice is of all its pixels together, the mean over the seeds."
)
PICTURE_RULE = (
    "Of several seeds, what more than half of them call scar: of two, what both do."
)


def grid_rule(slices: Slices) -> str:
    """Returns in words on which pixels figures are, of these slices."""
    names = np.unique(slices.patient)
    mixed = sum(len(np.unique(slices.side_mm[slices.patient == n])) > 1 for n in names)
    return (
        "First come the images' own pixels, on which a user's mask lies. Beside them the"
        " paper's 64 x 64 pixels of the crops: these differ in size between slices (in"
        f" {mixed} of {len(names)} patients), so a patient's ratios and 3-D Dice weight"
        " them by their area; figures by slice do not."
    )


def decision_rule(about: About) -> str:
    """Returns in words when scar is called, and what chose that."""
    if not about.decisions:
        return "When scar is called was not recorded."
    what = "probability" if about.run else "score"
    of = "each network" if about.run else "each fold"
    values = {
        what: sorted({d.threshold for d in about.decisions}),
        "area": sorted({d.min_area_mm2 for d in about.decisions}),
    }
    least, area = (
        f"{own[0]:g}" if len(own) == 1 else f"{own[0]:g} to {own[-1]:g}"
        for own in values.values()
    )
    called = (
        f"A pixel is called scar from a {what} of {least}, connected pixels of a slice"
        f" from an area of {area} mm2"
    )
    if about.decided_on == "none":
        return f"{called}; both were fixed beforehand."
    flatters = " (the oracle's: not a result)" if about.decided_on == "test" else ""
    return (
        f"{called}; both were chosen for {of} on its fold's {about.decided_on} patients"
        f"{flatters}: of what comes within two points of the best mean Dice of slices,"
        " one without scar counting 1 if nothing is called in it and else 0, the smallest"
        " area, and the mean of its thresholds. In a patient with no more in all"
        " than a limit none is called: the lowest limit that tells most of the other"
        " patients who chose rightly into those with scar and those without, if it tells"
        " two more than none does."
    )
