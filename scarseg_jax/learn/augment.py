"""The eight symmetries of the square (paper, section 3), on the device."""

import jax
import jax.numpy as jnp


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
