"""Whether two images are of one patient, by a fingerprint that changes of form survive.

A copy may be rescaled, of another number of pixels or slices, noisy, smoothed, clipped
or turned. One that was cut, padded or moved is not known again. Fingerprints are the
signs of random projections, whose share of differing bits is the angle between two
images by pi (M. S. Charikar, Similarity estimation techniques from rounding algorithms,
STOC 2002); no image can be made of one.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping

import numpy as np
from scipy import ndimage

_SHAPE = (8, 24, 24)  # an image's share, whatever its pixels and slices
_COARSE = 2.0  # what varies over more of these pixels, as all chests do, is left out
_WILD = (1, 99)  # percentiles to which stray values are clipped
_BITS = 512
# No two of 60 EMIDEC patients come to more than 0.83, but for Case_P059 and Case_P072,
# one patient under two names, with 0.99; no two of 30 phantoms to more than 0.73. Copies
# made in the ways above come to 0.97 or more.
_ALIKE = 0.9


def fingerprint(image: np.ndarray) -> str:
    """Returns the fingerprint of a (Z, Y, X) image, hexadecimal; "" of a constant one."""
    small = _small(image)
    return _bits(small.ravel()).tobytes().hex() if small.any() else ""


def find_copy(image: np.ndarray, known: Mapping[str, str]) -> tuple[str, float] | None:
    """Returns whose image a (Z, Y, X) one is a copy of, and how alike they are.

    Args:
      image: Turned and flipped in any way.
      known: Fingerprints by patient.

    Returns:
      The patient and the correlation, estimated, of what is alike most; None if
      nothing is alike enough.
    """
    small = _small(image)
    names = [name for name, print_ in known.items() if print_]
    if not names or not small.any():
        return None
    theirs = np.stack([np.frombuffer(bytes.fromhex(known[n]), np.uint8) for n in names])
    turned = np.stack([other.ravel() for other in _turns(small)])
    differing = (
        np.bitwise_count(_bits(turned)[:, None] ^ theirs).sum(axis=2).min(axis=0)
    )
    best = int(differing.argmin())
    alike = float(np.cos(np.pi * differing[best] / _BITS))
    return (names[best], alike) if alike >= _ALIKE else None


def _small(image: np.ndarray) -> np.ndarray:
    """Returns float64 of `_SHAPE`, of mean 0 and length 1; zeros of a constant image."""
    lowest = image.min().astype(np.float64)
    planes, rows, columns = map(_means, image.shape, _SHAPE)
    small = rows @ (image - lowest) @ columns.T
    small = np.tensordot(planes, small, axes=1)
    small = np.clip(small, *np.percentile(small, _WILD))
    small = small - ndimage.gaussian_filter(small, (0, _COARSE, _COARSE))
    small -= small.mean()
    largest = np.abs(small).max()
    if largest <= 1e-9 * (float(image.max()) - lowest):
        return np.zeros(_SHAPE)
    return small / largest


def _bits(small: np.ndarray) -> np.ndarray:
    """Returns uint8 of eight signs each, of one or several flat images."""
    return np.packbits(small @ _projections() > 0, axis=-1)


def _means(length: int, parts: int) -> np.ndarray:
    """Returns (parts, length) weights that average each of so many equal parts."""
    edges = np.linspace(0, length, parts + 1)
    at = np.arange(length)
    inside = np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at)
    return np.maximum(inside, 0) * parts / length


def _turns(small: np.ndarray) -> Iterator[np.ndarray]:
    """Yields a stack with its slices turned and flipped, and in either order."""
    for other in (small, small.swapaxes(1, 2)):
        for z, y, x in itertools.product((1, -1), repeat=3):
            yield other[::z, ::y, ::x]


@functools.cache
def _projections() -> np.ndarray:
    """Returns (values of `_SHAPE`, bits) float64, the same for ever (NEP 19)."""
    draw = np.random.RandomState(0)
    return draw.standard_normal((int(np.prod(_SHAPE)), _BITS))
