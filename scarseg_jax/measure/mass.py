"""Masses and shares of volumes."""

# Of myocardium; as Segment (calcfunctions.m:4971) and LazyLuna (ClinicalResults.py).
DENSITY_G_PER_ML = 1.05


def mass_g(volume_ml: float | None) -> float | None:
    """Returns the mass of so much myocardium; None of what is not known."""
    return None if volume_ml is None else DENSITY_G_PER_ML * volume_ml


def percent(part: float | None, whole: float | None) -> float | None:
    """Returns a part of a whole in per cent; None where there is none to speak of."""
    return None if part is None or not whole else 100 * (part / whole)
