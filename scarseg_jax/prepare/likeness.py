"""Whether two images are of one patient, by a fingerprint that changes of form survive.

A copy may be rescaled, of another number of pixels or slices, noisy, smoothed, clipped
or turned. One that was cut, padded or moved is not known again. Fingerprints are the
signs of random projections, whose share of differing bits is the angle between two
images by pi (M. S. Charikar, Similarity estimation techniques from rounding algorithms,
STOC 2002). 64 bytes are too few to show the image.
"""

import functools
import hashlib
import itertools
from collections.abc import Iterator, Mapping

import numpy as np
from scipy import ndimage

_SHAPE = (8, 24, 24)  # an image's share, whatever its pixels and slices
_COARSE = 2.0  # what varies over more of these pixels, as all chests do, is left out
_WILD = (1, 99)  # percentiles to which stray values are clipped
_BITS = 512
_SOME = 64  # values that a bit compares with as many others
# No two of 60 EMIDEC patients come to more than 0.82, but for Case_P059 and Case_P072,
# one patient under two names, with 0.99; no two of 30 phantoms to more than 0.75. Copies
# made in the ways above come to 0.97 or more.
_ALIKE = 0.9


def fingerprint(image: np.ndarray) -> str:
    """Returns the fingerprint of a (Z, Y, X) image, hexadecimal; "" of a constant one."""
    small = _small(image)
    return _bits(small.ravel()).tobytes().hex() if small.any() else ""


def pseudonym(patient: str, known: Mapping[str, str]) -> str:
    """Returns a name for a patient, which only who has the image can tell.

    Args:
      patient: The name.
      known: Fingerprints by patient; without one, as of a constant image, the name stands
        for it, and who guesses it can tell.
    """
    print_ = known.get(patient) or patient
    return f"patient_{hashlib.sha256(print_.encode()).hexdigest()[:12]}"


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
    """Returns float64 of `_SHAPE`, mean 0 and at most 1; zeros of a constant image."""
    small = image - image.min().astype(np.float64)
    for axis, parts in reversed(list(enumerate(_SHAPE))):
        small = _sums(small, axis, parts)
    scale = small.max()
    small = np.clip(small, *np.percentile(small, _WILD))
    small = small - ndimage.gaussian_filter(small, (0, _COARSE, _COARSE))
    small -= small.mean()
    largest = np.abs(small).max()
    return small / largest if largest > 1e-9 * scale else np.zeros(_SHAPE)


def _bits(small: np.ndarray) -> np.ndarray:
    """Returns uint8 of eight signs each, of one or several flat images."""
    plus, minus = (small[..., at].sum(axis=-1) for at in _projections())
    return np.packbits(plus > minus, axis=-1)


def _sums(array: np.ndarray, axis: int, parts: int) -> np.ndarray:
    """Returns the sums over each of so many equal parts of an axis."""
    array = np.moveaxis(array, axis, 0)
    upto = np.concatenate([np.zeros_like(array[:1]), np.cumsum(array, axis=0)])
    edges = np.linspace(0, len(array), parts + 1)
    whole = np.minimum(edges.astype(int), len(array) - 1)
    part = (edges - whole)[:, None, None]
    at_edges = (1 - part) * upto[whole] + part * upto[whole + 1]
    return np.moveaxis(np.diff(at_edges, axis=0), 0, axis)


def _turns(small: np.ndarray) -> Iterator[np.ndarray]:
    """Yields a stack with its slices turned and flipped, and in either order."""
    for other in (small, small.swapaxes(1, 2)):
        for z, y, x in itertools.product((1, -1), repeat=3):
            yield other[::z, ::y, ::x]


@functools.cache
def _projections() -> np.ndarray:
    """Returns two (bits, some) positions in `_SHAPE`, the same for ever (NEP 19)."""
    draw = np.random.RandomState(0)
    return draw.randint(0, int(np.prod(_SHAPE)), (2, _BITS, _SOME))
