import jax
import jax.numpy as jnp
import numpy as np

from scarseg_jax.learn.augment import apply_symmetry, undo_symmetry
from scarseg_jax.prepare.folds import SYMMETRIES


def test_undoing_a_symmetry_gives_the_image_back(rng):
    image = rng.normal(size=(5, 5, 2))
    symmetries = jnp.arange(SYMMETRIES)
    turned = jax.vmap(apply_symmetry, (None, 0))(image, symmetries)
    back = jax.vmap(undo_symmetry)(turned, symmetries)
    for one in back:
        np.testing.assert_array_equal(one, image.astype(np.float32))
    # A quarter turn is not its own inverse.
    assert not np.array_equal(jax.vmap(apply_symmetry)(turned, symmetries), back)
