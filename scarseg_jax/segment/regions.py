"""Methods that look at where the bright pixels of the myocardium are.

Their contract is in `classical`.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import sparse, special
from scipy.sparse import csgraph
from skimage.segmentation import morphological_chan_vese, slic

from scarseg_jax.run import THRESHOLDS
from scarseg_jax.segment.mixtures import fit_mixture, log_likelihoods
from scarseg_jax.segment.thresholds import between_means, otsu_threshold
from scarseg_jax.segment.within import paint, score

SEGMENT_MM2 = 25.0  # about the area of a superpixel
_COMPACTNESS = 0.1  # of one: how much distance counts against intensity, of 0..1
_CONTOUR_LEVELS = THRESHOLDS[1::2]  # fewer, as each contour takes long
_FLOW_CAPACITY = 2**29  # SciPy's flows are int32, and a residual is up to twice this


def superpixels(
    image: np.ndarray,
    myocardium: np.ndarray,
    spacing_mm: tuple[float, float],
    *,
    segment_mm2: float = SEGMENT_MM2,
) -> np.ndarray:
    """Scores the mean of a pixel's SLIC superpixel, as `thresholds.otsu` scores pixels.

    Args:
      segment_mm2: About the area of a superpixel.
    """

    def rule(values: np.ndarray, wall: np.ndarray) -> np.ndarray:
        labels = parts(values, wall, spacing_mm, segment_mm2)
        size = np.maximum(np.bincount(labels), 1)
        mean = np.bincount(labels, values) / size
        return between_means(mean[labels], values)

    return score(image, myocardium, rule)


def parts(
    values: np.ndarray,
    wall: np.ndarray,
    spacing_mm: tuple[float, float],
    segment_mm2: float = SEGMENT_MM2,
) -> np.ndarray:
    """Returns the (k,) number of each pixel's SLIC superpixel, from 1.

    Args:
      values: (k,) intensities of the wall, 0..1.
      wall: (H, W) bool.
      spacing_mm: (y, x).
      segment_mm2: As in `superpixels`.
    """
    segments = round(values.size * spacing_mm[0] * spacing_mm[1] / segment_mm2)
    with warnings.catch_warnings():
        # Its start, by k-means, may leave a superpixel empty; there is one less.
        warnings.filterwarnings("ignore", "One of the clusters is empty")
        labels = slic(
            paint(values, wall),
            n_segments=min(max(segments, 2), values.size),
            compactness=_COMPACTNESS,
            spacing=np.array(spacing_mm) / min(spacing_mm),
            mask=wall,
            channel_axis=None,
        )
    return np.asarray(labels)[wall]


def graph_cut(
    image: np.ndarray,
    myocardium: np.ndarray,
    spacing_mm: tuple[float, float],
    *,
    smoothness: float = 1.0,
) -> np.ndarray:
    """Scores by the least energy of a Markov random field (Boykov & Jolly 2001).

    Each pixel costs its negative log-likelihood under the one of two Gaussians that it
    is given (`fit_mixture`, `log_likelihoods`), scar the log odds of a level besides;
    each pair of different neighbours (4) costs `smoothness` times exp(-d^2 / (2 s^2))
    for their difference d in intensity. s is the root mean square of those differences.
    A pixel's score is the highest of `THRESHOLDS` at which it is scar, 0 if at none:
    the higher the level, the less is.

    Args:
      smoothness: What a border between equal neighbours costs, in nats.
    """

    def rule(values: np.ndarray, wall: np.ndarray) -> np.ndarray:
        cost = -log_likelihoods(values, fit_mixture(values))
        pairs = neighbours(wall)
        squares = (values[pairs[0]] - values[pairs[1]]) ** 2
        # Without any difference every border is one between equals.
        scale = squares.mean() if squares.any() else 1.0
        weight = smoothness * np.exp(-squares / (2 * scale))

        def scar(level: float) -> np.ndarray:
            odds = np.array([[0.0], [special.logit(level)]])
            return least_energy(cost + odds, pairs, weight)

        return _highest(scar, THRESHOLDS, values.size)

    return score(image, myocardium, rule)


def level_set(
    image: np.ndarray,
    myocardium: np.ndarray,
    spacing_mm: tuple[float, float],
    *,
    iterations: int = 30,
    smoothing: int = 1,
) -> np.ndarray:
    """Scores by morphological Chan-Vese contours, of which the brighter side is scar.

    They start from Otsu's mask. Outside the myocardium everything is as bright as the
    mean of Otsu's darker class, lest the myocardium's borders attract the contour. A
    pixel's score is the highest tenth at which it is scar, 0 if at none; a
    level is the weight of the squared distance from the scar's mean, to which that
    from the other mean adds up to 1.

    Args:
      iterations: Of the contour.
      smoothing: How often the contour is smoothed in each.
    """

    def rule(values: np.ndarray, wall: np.ndarray) -> np.ndarray:
        bright = values > otsu_threshold(values)
        dark_mean = values[~bright].mean()
        contour: Any = morphological_chan_vese  # its annotations know no mask to start
        seen, start = paint(values, wall, dark_mean), paint(bright, wall)

        def scar(level: float) -> np.ndarray:
            inside = contour(
                seen,
                iterations,
                init_level_set=start,
                smoothing=smoothing,
                lambda1=level,
                lambda2=1 - level,
            )[wall].astype(bool)
            swapped = inside.any() and values[inside].mean() < dark_mean
            return ~inside if swapped else inside

        return _highest(scar, _CONTOUR_LEVELS, values.size)

    return score(image, myocardium, rule)


def _highest(
    scar: Callable[[float], np.ndarray], levels: Sequence[float], size: int
) -> np.ndarray:
    """Returns the (size,) highest of ascending levels at which pixels are scar, or 0."""
    scores = np.zeros(size)
    for level in levels:
        scores[scar(level)] = level
    return scores


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
