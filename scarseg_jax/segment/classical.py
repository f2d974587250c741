"""Classical methods, without training, that find scar in the drawn LV myocardium.

Each scores one slice and has the form `(image, myocardium, spacing_mm) -> scores`:

- `image`: (H, W) float32 intensities of any scale and offset;
- `myocardium`: (H, W) bool;
- `spacing_mm`: (y, x) pixel spacing, for the methods that measure areas;
- `scores`: (H, W) float64, higher where scar is likelier; -inf outside the myocardium,
  and everywhere if that is empty or of one intensity.

Scar is called from a score, and from an area, as from a network's probability
(`decide`). Intensities outside the myocardium have no influence, nor have scale (> 0)
and offset: the myocardium's are brought to 0..1 first.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from scarseg_jax.run import THRESHOLDS
from scarseg_jax.segment import mixtures, regions, thresholds


@dataclasses.dataclass(frozen=True)
class Method:
    """A method without training.

    Attributes:
      score: As above.
      published: The score from which scar is called in the literature, of any area, by
        the name under which it is judged.
      levels: The scores from which one is chosen on validation patients.
    """

    score: Callable[..., np.ndarray]
    published: Mapping[str, float]
    levels: tuple[float, ...] = THRESHOLDS


def _half(name: str, score: Callable[..., np.ndarray]) -> dict[str, Method]:
    return {name: Method(score, {f"{name} as published": 0.5})}


METHODS: dict[str, Method] = {
    "n-SD": Method(
        thresholds.n_sd,
        {f"{n}-SD as published": float(n) for n in range(2, 7)},
        tuple(half / 2 for half in range(1, 31)),
    ),
    **_half("FWHM", thresholds.fwhm),
    **_half("Otsu", thresholds.otsu),
    **_half("GMM", mixtures.gaussian_mixture),
    **_half("FCM", mixtures.fuzzy_c_means),
    **_half("SLIC", regions.superpixels),
    **_half("graph cut", regions.graph_cut),
    **_half("level set", regions.level_set),
}


def score(
    method: Callable[..., np.ndarray],
    image: np.ndarray,
    myocardium: np.ndarray,
    spacing_mm: np.ndarray,
) -> np.ndarray:
    """Returns the (n, H, W) float32 scores that a method gives, slice by slice.

    Args:
      method: As above.
      image: (n, H, W) float32 intensities.
      myocardium: (n, H, W) bool.
      spacing_mm: (n, 2) pixel spacing (y, x) of each slice.
    """
    spacing_mm = np.asarray(spacing_mm, np.float64)
    scores = np.full(myocardium.shape, -np.inf, np.float32)
    for n, (slice_, inside, (y, x)) in enumerate(
        zip(image, myocardium, spacing_mm.tolist(), strict=True)
    ):
        scores[n] = method(slice_, inside, (y, x))
    return scores
