"""Classical methods, without training, that find scar in the drawn LV myocardium.

All but `find_scar` look at one slice and have the form
`(image, myocardium, spacing_mm, *, ...) -> mask`:

- `image`: (H, W) float32 intensities of any scale and offset;
- `myocardium`: (H, W) bool;
- `spacing_mm`: (y, x) pixel spacing, for the methods that measure areas;
- `mask`: (H, W) bool, the scar; a subset of the myocardium, empty where that is empty
  or of one intensity.

Intensities outside the myocardium have no influence, nor have scale (> 0) and offset:
the myocardium's are brought to 0..1 first.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from skimage.filters import threshold_otsu
from skimage.segmentation import morphological_chan_vese, slic

from scarseg_jax.segment.decide import without_small

# Least variance of a component, in squares of the myocardium's range: about what
# rounding to 8 bits leaves. A component of equal pixels would have none.
_LEAST_VARIANCE = 1e-5
_FCM_ITERATIONS = 1000
_FCM_TOLERANCE = 1e-10
_FLOW_CAPACITY = 2**29  # SciPy's flows are int32, and a residual is up to twice this


class Mixture(NamedTuple):
    """Two Gaussians, the darker first.

    Attributes:
      weight: (2,) float64, sum 1.
      mean: (2,) float64.
      variance: (2,) float64.
    """

    weight: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


def n_sd(
    image: np.ndarray,
    myocardium: np.ndarray,
    spacing_mm: tuple[float, float],
    *,
    n: float = 5.0,
    remote: np.ndarray | None = None,
) -> np.ndarray:
    """Calls scar what is n SD brighter than the mean of the remote myocardium.

    Args:
      image: As in the module's docstring, like the next two and what is returned.
      myocardium: As there.
      spacing_mm: As there; not used.
      n: How many (population) standard deviations.
      remote: (H, W) bool, healthy myocardium, of which what lies in `myocardium`
        counts. Usually drawn by hand; None takes the myocardium that is not above
        Otsu's threshold of the slice. That cuts the upper tail of the healthy
        intensities off when there is little scar, and so lowers the SD.

    Raises:
      ValueError: If no remote pixel lies in a myocardium that is not of one intensity.
    """

    def rule(values: np.ndarray) -> np.ndarray:
        if remote is None:
            healthy = values[values <= otsu_threshold(values)]
        else:
            healthy = values[remote[myocardium]]
        if not healthy.size:
            raise ValueError("no remote pixel lies in the myocardium")
        return values > healthy.mean() + n * healthy.std()

    return _called(image, myocardium, rule)


def fwhm(
    image: np.ndarray,
    myocardium: np.ndarray,
    spacing_mm: tuple[float, float],
    *,
    fraction: float = 0.5,
) -> np.ndarray:
    """Calls scar what is brighter than half the maximum (Amado et al. 2004).

    Half the way from the minimum to the maximum in the myocardium, as images carry an
    offset. Both are single pixels of the slice, so noise raises or lowers the half.

    Args:
      image: As in the module's docstring, like the next two and what is returned.
      myocardium: As there.
      spacing_mm: As there; not used.
      fraction: Of the way from the minimum to the maximum.
    """
    return _called(image, myocardium, lambda values: values > fraction)


def otsu(
    image: np.ndarray, myocardium: np.ndarray, spacing_mm: tuple[float, float]
) -> np.ndarray:
    """Calls scar what is above Otsu's (1979) threshold of the myocardium.

    Args:
      image: As in the module's docstring, like the next two and what is returned.
      myocardium: As there.
      spacing_mm: As there; not used.
    """
    return _called(image, myocardium, lambda values: values > otsu_threshold(values))


def gaussian_mixture(
    image: np.ndarray,
    myocardium: np.ndarray,
    spacing_mm: tuple[float, float],
    *,
    iterations: int = 100,
    tolerance: float = 1e-3,
) -> np.ndarray:
    """Calls scar what belongs to the brighter of two Gaussians with over 0.5.

    What is not above the darker mean is never scar: a wide brighter component would
    claim the darkest pixels too. Nor is what is above the brighter mean judged
    otherwise than that mean: a wide darker component would claim the brightest.

    Args:
      image: As in the module's docstring, like the next two and what is returned.
      myocardium: As there.
      spacing_mm: As there; not used.
      iterations: As for `fit_mixture`.
      tolerance: As for `fit_mixture`.
    """

    def rule(values: np.ndarray) -> np.ndarray:
        mixture = fit_mixture(values, iterations, tolerance)
        dark, bright = (
            log_likelihoods(values, mixture) + np.log(mixture.weight)[:, None]
        )
        return (bright > dark) & (values > mixture.mean[0])

    return _called(image, myocardium, rule)


def fuzzy_c_means(
    image: np.ndarray,
    myocardium: np.ndarray,
    spacing_mm: tuple[float, float],
    *,
    classes: int = 3,
    fuzziness: float = 2.0,
) -> np.ndarray:
    """Calls scar what belongs most to the brightest class of fuzzy c-means.

    Args:
      image: As in the module's docstring, like the next two and what is returned.
      myocardium: As there.
      spacing_mm: As there; not used.
      classes: Their number, 2 or more.
      fuzziness: The exponent of the memberships, above 1.

    Raises:
      ValueError: If `classes` or `fuzziness` is too low.
    """
    if classes < 2 or fuzziness <= 1:
        raise ValueError(f"{classes} classes, fuzziness {fuzziness}: need >= 2, > 1")

    def rule(values: np.ndarray) -> np.ndarray:
        centres = fuzzy_centres(values, classes, fuzziness)
        return memberships(values, centres, fuzziness).argmax(axis=0) == classes - 1

    return _called(image, myocardium, rule)


def superpixels(
    image: np.ndarray,
    myocardium: np.ndarray,
    spacing_mm: tuple[float, float],
    *,
    segment_mm2: float = 25.0,
    compactness: float = 0.1,
) -> np.ndarray:
    """Calls scar the SLIC superpixels whose mean is above Otsu's threshold of pixels.

    Args:
      image: As in the module's docstring, like the next two and what is returned.
      myocardium: As there.
      spacing_mm: As there.
      segment_mm2: About the area of a superpixel, in mm2.
      compactness: How much distance counts against intensity (of the range 0..1).
    """

    def rule(values: np.ndarray) -> np.ndarray:
        segments = round(values.size * spacing_mm[0] * spacing_mm[1] / segment_mm2)
        with warnings.catch_warnings():
            # Its start, by k-means, may leave a superpixel empty; there is one less.
            warnings.filterwarnings("ignore", "One of the clusters is empty")
            labels = slic(
                _painted(values, myocardium),
                n_segments=min(max(segments, 2), values.size),
                compactness=compactness,
                spacing=np.array(spacing_mm) / min(spacing_mm),
                mask=myocardium,
                channel_axis=None,
            )
        labels = np.asarray(labels)[myocardium]
        size = np.maximum(np.bincount(labels), 1)
        mean = np.bincount(labels, values) / size
        return mean[labels] > otsu_threshold(values)

    return _called(image, myocardium, rule)


def graph_cut(
    image: np.ndarray,
    myocardium: np.ndarray,
    spacing_mm: tuple[float, float],
    *,
    smoothness: float = 1.0,
) -> np.ndarray:
    """Calls scar by the least energy of a Markov random field (Boykov & Jolly 2001).

    Each pixel costs its negative log-likelihood under the one of two Gaussians that it
    is given (`fit_mixture`, `log_likelihoods`), each pair of different neighbours (4)
    costs `smoothness` times exp(-d^2 / (2 s^2)) for their difference d in intensity.
    s is the root mean square of those differences.

    Args:
      image: As in the module's docstring, like the next two and what is returned.
      myocardium: As there.
      spacing_mm: As there; not used, neighbours are taken as equally far.
      smoothness: What a border between equal neighbours costs, in nats.
    """

    def rule(values: np.ndarray) -> np.ndarray:
        cost = -log_likelihoods(values, fit_mixture(values))
        pairs = neighbours(myocardium)
        squares = (values[pairs[0]] - values[pairs[1]]) ** 2
        # Without any difference every border is one between equals.
        scale = squares.mean() if squares.any() else 1.0
        return least_energy(cost, pairs, smoothness * np.exp(-squares / (2 * scale)))

    return _called(image, myocardium, rule)


def level_set(
    image: np.ndarray,
    myocardium: np.ndarray,
    spacing_mm: tuple[float, float],
    *,
    iterations: int = 30,
    smoothing: int = 1,
) -> np.ndarray:
    """Calls scar the brighter side of a morphological Chan-Vese contour.

    It starts from Otsu's mask. Outside the myocardium everything is as bright as the
    mean of Otsu's darker class, lest the myocardium's borders attract the contour.

    Args:
      image: As in the module's docstring, like the next two and what is returned.
      myocardium: As there.
      spacing_mm: As there; not used.
      iterations: Of the contour.
      smoothing: How often the contour is smoothed in each.
    """

    def rule(values: np.ndarray) -> np.ndarray:
        bright = values > otsu_threshold(values)
        dark_mean = values[~bright].mean()
        contour: Any = morphological_chan_vese  # its annotations know no mask to start
        inside = contour(
            _painted(values, myocardium, dark_mean),
            iterations,
            init_level_set=_painted(bright, myocardium),
            smoothing=smoothing,
        )[myocardium].astype(bool)
        swapped = inside.any() and values[inside].mean() < dark_mean
        return ~inside if swapped else inside

    return _called(image, myocardium, rule)


def otsu_threshold(values: np.ndarray) -> float:
    """Returns the value above which the brighter class lies (Otsu 1979).

    Of all splits of the values the one with the greatest variance between classes; not
    of a histogram's bins, which for a myocardium's few pixels would be coarse.

    Args:
      values: (k,) float of at least two values.
    """
    levels, counts = np.unique(values, return_counts=True)
    return float(threshold_otsu(hist=(counts, levels)))


def fit_mixture(
    values: np.ndarray, iterations: int = 100, tolerance: float = 1e-3
) -> Mixture:
    """Returns the mixture of two Gaussians that EM reaches from Otsu's split.

    By default it stops early, near that split: with few pixels the likelihood's maximum
    is often one narrow Gaussian and a wide one, not healthy and scar.

    Args:
      values: (k,) float of at least two values, with range 0..1 for the least variance
        to be right.
      iterations: At most.
      tolerance: EM stops when it gains less log-likelihood than this, in nats a pixel.
    """
    bright = values > otsu_threshold(values)
    belongs = np.stack([~bright, bright]).astype(np.float64)
    mixture, before = _moments(values, belongs), -np.inf
    for _ in range(iterations):
        joint = _log_density(values, mixture) + np.log(mixture.weight)[:, None]
        each = np.logaddexp(*joint)
        mixture, now = _moments(values, np.exp(joint - each)), each.mean()
        if now - before < tolerance:
            break
        before = now
    order = np.argsort(mixture.mean, kind="stable")
    return Mixture(*(part[order] for part in mixture))


def log_likelihoods(values: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Returns the (2, k) log-densities of values under the darker, brighter Gaussian.

    Values outside the two means count as the nearer mean: otherwise the wider Gaussian
    is likelier far out on both sides.

    Args:
      values: (k,).
      mixture: The Gaussians; weights are not used.
    """
    return _log_density(values.clip(*mixture.mean), mixture)


def memberships(values: np.ndarray, centres: np.ndarray, fuzziness: float):
    """Returns the (classes, k) memberships of values in fuzzy classes; sums are 1.

    Args:
      values: (k,).
      centres: (classes,).
      fuzziness: The exponent, above 1.
    """
    square = (values - centres[:, None]) ** 2 + np.finfo(np.float64).tiny
    nearness = (square.min(axis=0) / square) ** (1 / (fuzziness - 1))
    return nearness / nearness.sum(axis=0)


def fuzzy_centres(values: np.ndarray, classes: int, fuzziness: float) -> np.ndarray:
    """Returns the (classes,) centres of fuzzy c-means, ascending.

    Args:
      values: (k,) of at least two values, with range 0..1 for the tolerance to be right.
      classes: Their number.
      fuzziness: The exponent of the memberships, above 1.
    """
    # Quantiles of the levels, not of the values: these may coincide, and centres that
    # start at one place never part.
    at = (np.arange(classes) + 0.5) / classes
    centres = np.quantile(np.unique(values), at)
    for _ in range(_FCM_ITERATIONS):
        weight = memberships(values, centres, fuzziness) ** fuzziness
        before, centres = centres, weight @ values / weight.sum(axis=1)
        if np.abs(centres - before).max() < _FCM_TOLERANCE:
            break
    return np.sort(centres)


def neighbours(mask: np.ndarray) -> np.ndarray:
    """Returns the (2, e) pairs of a mask's pixels that touch at a side.

    Args:
      mask: (H, W) bool; its pixels are counted in the order of `image[mask]`.
    """
    number = np.full(mask.shape, -1)
    number[mask] = np.arange(mask.sum())
    below = np.stack([number[:-1].ravel(), number[1:].ravel()])
    right = np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()])
    pairs = np.concatenate([below, right], axis=1)
    return pairs[:, (pairs >= 0).all(axis=0)]


def least_energy(cost: np.ndarray, pairs: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Returns the (k,) bool labelling of least energy, by a minimum cut.

    The energy is the sum of the pixels' costs and the borders' weights.
    Exact but for rounding: costs are cut to integers, 2^29 the sum of all pixels'
    differences. Of equals the one with the fewest True.

    Args:
      cost: (2, k) of False and True at each pixel.
      pairs: (2, e) int, neighbours, each pair once.
      weight: (e,) cost of unequal labels at each pair, not negative.
    """
    k = cost.shape[1]
    gain = cost[0] - cost[1]  # of True
    total = np.abs(gain).sum()
    if not total:
        return np.zeros(k, bool)
    source, sink = k, k + 1  # True is the source's side
    pixel = np.arange(k)
    start = np.concatenate([np.full(k, source), pixel, pairs[0], pairs[1]])
    end = np.concatenate([pixel, np.full(k, sink), pairs[1], pairs[0]])
    # A border that costs more than all pixels is never bought.
    border = np.minimum(weight, total)
    capacity = np.concatenate([gain.clip(0), (-gain).clip(0), border, border])
    units = np.rint(capacity / total * _FLOW_CAPACITY).astype(np.int32)
    shape = (k + 2, k + 2)
    network = sparse.csr_array((units, (start, end)), shape=shape, dtype=np.int32)
    flow = csgraph.maximum_flow(network, source, sink).flow
    residual = sparse.csr_array(network - flow)
    residual.eliminate_zeros()
    reached = csgraph.breadth_first_order(
        residual, source, directed=True, return_predecessors=False
    )
    return np.isin(pixel, reached)


def find_scar(
    method: str | Callable[..., np.ndarray],
    image: np.ndarray,
    myocardium: np.ndarray,
    pixel_mm: np.ndarray,
    *,
    min_area_mm2: float = 0.0,
) -> np.ndarray:
    """Returns the (n, H, W) bool scar that a method finds, slice by slice.

    Args:
      method: A name in `METHODS`, or a function like those.
      image: (n, H, W) float32 intensities.
      myocardium: (n, H, W) bool.
      pixel_mm: (n,) pixel size of each slice.
      min_area_mm2: The area, in a slice, from which connected pixels stay.

    Raises:
      KeyError: If there is no method of that name.
    """
    find = METHODS[method] if isinstance(method, str) else method
    scar = np.zeros(myocardium.shape, bool)
    for n, (slice_, inside, mm) in enumerate(
        zip(image, myocardium, pixel_mm, strict=True)
    ):
        scar[n] = find(slice_, inside, (float(mm), float(mm)))
    return without_small(scar, min_area_mm2 / np.asarray(pixel_mm, np.float64) ** 2)


def _called(
    image: np.ndarray,
    myocardium: np.ndarray,
    rule: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Returns the mask of a rule for the myocardium's intensities, brought to 0..1."""
    values = image[myocardium].astype(np.float64)
    if not values.size or values.min() == values.max():
        return np.zeros(myocardium.shape, bool)
    low = values.min()
    return _painted(rule((values - low) / (values.max() - low)), myocardium)


def _painted(values: np.ndarray, mask: np.ndarray, outside: float = 0) -> np.ndarray:
    """Returns an image of the values' dtype with the (k,) values in the mask."""
    image = np.full(mask.shape, outside, values.dtype)
    image[mask] = values
    return image


def _moments(values: np.ndarray, belongs: np.ndarray) -> Mixture:
    """Returns the mixture for the (2, k) shares of values in its components."""
    # A component that has lost all its pixels keeps a trace, not a division by zero.
    size = np.maximum(belongs.sum(axis=1), np.finfo(np.float64).tiny ** 0.5)
    mean = belongs @ values / size
    variance = (belongs * (values - mean[:, None]) ** 2).sum(axis=1) / size
    return Mixture(size / size.sum(), mean, np.maximum(variance, _LEAST_VARIANCE))


def _log_density(values: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Returns the (2, k) log-densities of values under each Gaussian."""
    variance = mixture.variance[:, None]
    square = (values - mixture.mean[:, None]) ** 2
    return -0.5 * (square / variance + np.log(2 * np.pi * variance))


METHODS: dict[str, Callable[..., np.ndarray]] = {
    **{f"{n}-SD": functools.partial(n_sd, n=float(n)) for n in range(2, 7)},
    "FWHM": fwhm,
    "Otsu": otsu,
    "GMM": gaussian_mixture,
    "FCM": fuzzy_c_means,
    "SLIC": superpixels,
    "graph cut": graph_cut,
    "level set": level_set,
}
