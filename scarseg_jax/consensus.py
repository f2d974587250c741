"""Masks of several readers: one made from them all, and how far they agree."""

import itertools

import numpy as np
from scipy import special

_START = 0.99999  # of both sensitivity and specificity, as in Warfield et al.
_LEAST = 1e-12  # keeps the logarithm of a perfect reader's error finite


def majority(masks: np.ndarray) -> np.ndarray:
    """Returns the (...) bool mask of what more than half of the readers marked.

    A tie of an even number of readers is not scar.

    Args:
      masks: (R, ...) bool of R readers.

    Raises:
      ValueError: If the masks are not bool or there is none.
    """
    _check(masks)
    return 2 * masks.sum(axis=0) > len(masks)


def staple(
    masks: np.ndarray, *, max_iterations: int = 100, tolerance: float = 1e-7
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the hidden truth and the readers' performance, estimated together.

    Binary STAPLE by expectation maximisation (Warfield, Zou and Wells, 2004), without
    a spatial prior: that of each pixel is the mean of all masks, and stays. All given
    pixels count. Give those of the myocardium, or near where readers disagree: a
    large background that all agree on lowers the prior and takes every specificity
    towards 1.

    Args:
      masks: (R, ...) bool of R readers.
      max_iterations: The most iterations.
      tolerance: Iterations end when no sensitivity or specificity changes by more.

    Returns:
      The (...) float64 probability of scar, (R,) sensitivities and (R,)
      specificities. Where no reader marked anything the probability is 0 and
      sensitivity NaN, being undefined; where all marked everything it is 1 and
      specificity NaN.

    Raises:
      ValueError: If the masks are not bool, or there are no readers or pixels.
    """
    _check(masks)
    marked = masks.reshape(len(masks), -1).astype(float)
    if not marked.size:
        raise ValueError("there are no pixels")
    prior = marked.mean()
    if prior in (0, 1):
        right, undefined = np.ones(len(masks)), np.full(len(masks), np.nan)
        whole = np.full(masks.shape[1:], float(prior))
        return (whole, right, undefined) if prior else (whole, undefined, right)
    sensitivity = specificity = np.full(len(masks), _START)
    probability = _expect(marked, prior, sensitivity, specificity)
    for _ in range(max_iterations):
        before = sensitivity, specificity
        sensitivity = marked @ probability / probability.sum()
        specificity = (1 - marked) @ (1 - probability) / (1 - probability).sum()
        probability = _expect(marked, prior, sensitivity, specificity)
        if np.allclose(before, (sensitivity, specificity), rtol=0, atol=tolerance):
            break
    return probability.reshape(masks.shape[1:]), sensitivity, specificity


def agreement(masks: np.ndarray) -> dict[str, float | int | None]:
    """Returns the Dice between readers, of each pair of them.

    Args:
      masks: (R, ...) bool of R readers.

    Returns:
      {"mean", "min", "max", "pairs"}; pairs that both marked nothing are left out,
      and with none left figures are None.

    Raises:
      ValueError: If the masks are not bool or there is none.
    """
    _check(masks)
    dice = [
        float(2 * (one & other).sum() / (one.sum() + other.sum()))
        for one, other in itertools.combinations(masks, 2)
        if one.any() or other.any()
    ]
    if not dice:
        return {"mean": None, "min": None, "max": None, "pairs": 0}
    return {
        "mean": float(np.mean(dice)),
        "min": min(dice),
        "max": max(dice),
        "pairs": len(dice),
    }


def _expect(
    marked: np.ndarray, prior: float, sensitivity: np.ndarray, specificity: np.ndarray
) -> np.ndarray:
    # In log odds, since products over many readers would underflow.
    p, q = (np.clip(v, _LEAST, 1 - _LEAST) for v in (sensitivity, specificity))
    scar = np.log(p / (1 - q)) @ marked
    background = np.log((1 - p) / q) @ (1 - marked)
    return special.expit(special.logit(prior) + scar + background)


def _check(masks: np.ndarray) -> None:
    if masks.dtype != bool or masks.ndim < 1 or not len(masks):
        raise ValueError(
            f"masks must be bool (R, ...); got {masks.dtype} {masks.shape}"
        )
