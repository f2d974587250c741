"""Classical methods, without training, that find scar in the drawn LV myocardium.

Each looks at one slice and has the form `(image, myocardium, spacing_mm, *, ...) -> mask`:

- `image`: (H, W) float32 intensities of any scale and offset;
- `myocardium`: (H, W) bool;
- `spacing_mm`: (y, x) pixel spacing, for the methods that measure areas;
- `mask`: (H, W) bool, the scar; a subset of the myocardium, empty where that is empty
  or of one intensity.

Intensities outside the myocardium have no influence, nor have scale (> 0) and offset:
the myocardium's are brought to 0..1 first.
"""

import functools
from collections.abc import Callable

import numpy as np

from scarseg_jax.segment import mixtures, regions, thresholds
from scarseg_jax.segment.decide import without_small

METHODS: dict[str, Callable[..., np.ndarray]] = {
    **{f"{n}-SD": functools.partial(thresholds.n_sd, n=float(n)) for n in range(2, 7)},
    "FWHM": thresholds.fwhm,
    "Otsu": thresholds.otsu,
    "GMM": mixtures.gaussian_mixture,
    "FCM": mixtures.fuzzy_c_means,
    "SLIC": regions.superpixels,
    "graph cut": regions.graph_cut,
    "level set": regions.level_set,
}


def find_scar(
    method: str | Callable[..., np.ndarray],
    image: np.ndarray,
    myocardium: np.ndarray,
    spacing_mm: np.ndarray,
    *,
    min_area_mm2: float = 0.0,
) -> np.ndarray:
    """Returns the (n, H, W) bool scar that a method finds, slice by slice.

    Args:
      method: A name in `METHODS`, or a function like those.
      image: (n, H, W) float32 intensities.
      myocardium: (n, H, W) bool.
      spacing_mm: (n, 2) pixel spacing (y, x) of each slice.
      min_area_mm2: The area, in a slice, from which connected pixels stay.

    Raises:
      KeyError: If there is no method of that name.
    """
    find = METHODS[method] if isinstance(method, str) else method
    spacing_mm = np.asarray(spacing_mm, np.float64)
    scar = np.zeros(myocardium.shape, bool)
    for n, (slice_, inside, (y, x)) in enumerate(
        zip(image, myocardium, spacing_mm.tolist(), strict=True)
    ):
        scar[n] = find(slice_, inside, (y, x))
    return without_small(scar, min_area_mm2 / spacing_mm.prod(axis=1))
