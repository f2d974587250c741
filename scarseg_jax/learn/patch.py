"""A patch network: it tells of each pixel by the 17 x 17 around it, and nothing else.

As such networks were built for scar and for the atrium's wall: convolution 32, pooling,
convolution 64, pooling, dense 64, dropout 0.5. Their kernels' sizes are not published;
here they are those that use up the 17 pixels. It is written for all pixels at once: what
follows a pooling is dilated where the pooling of a single patch would have a stride.

Its training is that of the other networks and so not the published one, which draws as
many patches of scar as of the rest: here each pixel of each image counts at each step,
and `train.class_weights` alone can lift the scar. Batch normalisation is added too.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from scarseg_jax.learn import layers
from scarseg_jax.learn.modules import Convolution, Network, Norm

SIDE = 17  # 17 - 6 + 1 = 12, pooled 6; 6 - 3 + 1 = 4, pooled 2: the dense layer's


class Patch(Network):
    """The patch network, for images of any size: 36,418 parameters (1 channel, 2 classes).

    Attributes:
      dropout: Whether half of the last layer's values are dropped in training.
    """

    dropout: bool = True

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns (B, H, W, classes) logits, each of the patch around its pixel."""
        beyond = SIDE // 2
        x = jnp.pad(images, ((0, 0), (beyond, beyond), (beyond, beyond), (0, 0)))
        x = self._layer(x, "conv1", 32, size=6, dilation=1, train=train)
        x = _pool(x, dilation=1)
        x = self._layer(x, "conv2", 64, size=3, dilation=2, train=train)
        x = _pool(x, dilation=2)
        x = self._layer(x, "dense", 64, size=2, dilation=4, train=train)
        if train and self.dropout:
            bits = jax.random.bits(self.make_rng("dropout"), x.shape, jnp.uint8)
            x = jnp.where(bits < 128, 2 * x, 0)
        return Convolution(self.classes, use_bias=True, name="classify")(x)

    def _layer(self, x, name, features, *, size, dilation, train) -> jax.Array:
        """Returns a convolution, only where its kernel is on x, normalised, and ReLU."""
        reach = range(0, size * dilation, dilation)
        window = layers.Window(tuple((i, j) for i in reach for j in reach))
        x = Convolution(features, window, name=name)(x)
        x = x[:, : -reach[-1], : -reach[-1]]
        return Norm("relu", self.frozen, name=f"{name}_norm")(x, train=train)


def _pool(x: jax.Array, *, dilation: int) -> jax.Array:
    """Returns the maximum of each pixel and those so far right, below, and both."""
    ends = slice(None, -dilation), slice(dilation, None)
    return functools.reduce(jnp.maximum, [x[:, i, j] for i in ends for j in ends])
