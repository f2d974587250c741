"""Images and their classes made other ones, on the device.

The eight symmetries of the square (paper, section 3); and beyond the paper smooth
deformations, turned, scaled, shifted and bent, and the looks of other scanners: other
contrast, shading, sharpness and noise.
"""

import jax
import jax.numpy as jnp
import numpy as np

LARGEST_SCALE = 1.25  # and its inverse
LARGEST_SHIFT_PX = 4.0  # of 64
BEND_PX = 1.5  # standard deviation of a bend's knots, `_KNOTS` along each side
_KNOTS = 5
_TINY = 1e-6  # of a constant image
LARGEST_GAMMA = 1.7  # and its inverse: exponent of the brightness, scaled to 0..1
SHADING = 0.15  # standard deviation of the shading's knots, a logarithm
LARGEST_NOISE = 0.3  # standard deviation, of the image's own


def apply_symmetry(image: jax.Array, symmetry: jax.Array) -> jax.Array:
    """Returns the image under one of the square's 8 symmetries.

    Args:
      image: (H, H, ...).
      symmetry: int 0..7; its bits flip vertically, flip horizontally and transpose.
    """
    image = jnp.where(symmetry & 1, image[::-1], image)
    image = jnp.where(symmetry & 2, image[:, ::-1], image)
    return jnp.where(symmetry & 4, jnp.swapaxes(image, 0, 1), image)


def undo_symmetry(image: jax.Array, symmetry: jax.Array) -> jax.Array:
    """Returns the (H, H, ...) image that `apply_symmetry` was given."""
    image = jnp.where(symmetry & 4, jnp.swapaxes(image, 0, 1), image)
    image = jnp.where(symmetry & 2, image[:, ::-1], image)
    return jnp.where(symmetry & 1, image[::-1], image)


def deform(
    key: jax.Array, image: jax.Array, shares: jax.Array, cut_out: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Returns an image and its classes' shares turned, scaled, shifted and bent alike.

    Args:
      key: Draws how.
      image: (H, H, C) float32, interpolated linearly.
      shares: (H, H, K) float32, interpolated linearly.
      cut_out: (C,) bool, channels that are the nearest pixel's too, because linear
        interpolation would blur a mask's edge in them; None: none.

    Returns:
      (H, H, C) and (H, H, K); beyond the border stands the border's value.
    """
    size = image.shape[0]
    at = _where_from(key, size)
    first = jnp.clip(jnp.floor(at), 0, size - 2).astype(jnp.int32)
    (y, x), (down, right) = first, jnp.clip(at - first, 0, 1)[..., None]
    both = jnp.concatenate([image, shares], axis=-1)
    upper = both[y, x] * (1 - right) + both[y, x + 1] * right
    lower = both[y + 1, x] * (1 - right) + both[y + 1, x + 1] * right
    linear = upper * (1 - down) + lower * down
    linear, shares = jnp.split(linear, [image.shape[-1]], axis=-1)
    if cut_out is not None:
        nearest = jnp.clip(jnp.round(at), 0, size - 1).astype(jnp.int32)
        linear = jnp.where(cut_out[None, None], image[nearest[0], nearest[1]], linear)
    return linear, shares


def repaint(key: jax.Array, image: jax.Array) -> jax.Array:
    """Returns an image as another scanner or inversion time might have shown it.

    All channels are of one patient: contrast, shading and sharpness are the same in them.

    Args:
      key: Draws how.
      image: (H, H, C) float32, each channel z-scored, as what is returned.
    """
    gamma, shade, soft, noise, grain = jax.random.split(key, 5)
    low, high = (of(image, axis=(0, 1), keepdims=True) for of in (jnp.min, jnp.max))
    by = jnp.exp(jax.random.uniform(gamma, minval=-1) * np.log(LARGEST_GAMMA))
    bright = ((image - low) / jnp.maximum(high - low, _TINY)) ** by
    knots = jax.random.normal(shade, (_KNOTS, _KNOTS)) * SHADING
    weights = _knot_weights(image.shape[0])
    bright *= jnp.exp(weights @ knots @ weights.T)[..., None]
    share = jnp.maximum(0, jax.random.uniform(soft, minval=-1))  # half stay sharp
    bright += share * (_softened(bright) - bright)
    mean, spread = (
        of(bright, axis=(0, 1), keepdims=True) for of in (jnp.mean, jnp.std)
    )
    painted = (bright - mean) / (spread + _TINY)
    deviation = LARGEST_NOISE * jnp.square(jax.random.uniform(noise))
    painted += deviation * jax.random.normal(grain, image.shape)
    return painted / jnp.sqrt(1 + jnp.square(deviation))


def _softened(image: jax.Array) -> jax.Array:
    """Returns the (H, H, C) mean over each pixel's 3 x 3."""
    for axis in (0, 1):
        wide = jnp.pad(
            image, [(1, 1) if a == axis else (0, 0) for a in range(3)], "edge"
        )
        size = image.shape[axis]
        each = [jax.lax.slice_in_dim(wide, i, i + size, axis=axis) for i in range(3)]
        image = (each[0] + each[1] + each[2]) / 3
    return image


def _where_from(key: jax.Array, size: int) -> jax.Array:
    """Returns (2, size, size) float32: where each pixel of a deformed image was."""
    turn, scale, shift, bend = jax.random.split(key, 4)
    angle = jax.random.uniform(turn, maxval=2 * np.pi)
    by = jnp.exp(jax.random.uniform(scale, minval=-1) * np.log(LARGEST_SCALE))
    cos, sin = by * jnp.cos(angle), by * jnp.sin(angle)
    matrix = jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin, cos])])
    moved = jax.random.uniform(shift, (2, 1, 1), minval=-1) * LARGEST_SHIFT_PX
    knots = jax.random.normal(bend, (2, _KNOTS, _KNOTS)) * BEND_PX
    weights = _knot_weights(size)
    middle = (size - 1) / 2
    grid = np.mgrid[:size, :size].reshape(2, -1).astype(np.float32) - middle
    turned = (matrix @ grid).reshape(2, size, size)
    return turned + middle + moved + weights @ knots @ weights.T


def _knot_weights(size: int) -> np.ndarray:
    """Returns (size, knots) float32 weights of the cubic B-spline; rows sum to 1."""
    at = np.linspace(0, _KNOTS - 1, size)[:, None]
    far = np.abs(at - np.arange(_KNOTS))
    spline = np.where(
        far < 1, 2 / 3 - far**2 + far**3 / 2, np.maximum(0, 2 - far) ** 3 / 6
    )
    return (spline / spline.sum(axis=1, keepdims=True)).astype(np.float32)
