"""A 2-D U-Net, as small as 64 x 64 pixels ask for.

O. Ronneberger et al., MICCAI 2015, doi:10.1007/978-3-319-24574-4_28 (unverified), with
batch normalisation, borders kept by zeros, and 16 maps at first where they have 64.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from scarseg_jax.learn import layers
from scarseg_jax.learn.modules import (
    Convolution,
    Network,
    Norm,
    Upsampling,
    check_sides,
)

WIDTHS = (16, 32, 64, 128)  # maps at each resolution
STRIDE = 2 ** (len(WIDTHS) - 1)  # height and width must be multiples of it
_WINDOW = layers.Window.centred(3, 3)


class Convolutions(nn.Module):
    """Two 3x3 convolutions, each with batch normalisation and ReLU.

    Attributes:
      features: Output channels of each.
      frozen: As `Norm.frozen`.
    """

    features: int
    frozen: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns (B, H, W, features) maps of (B, H, W, C)."""
        for number in (1, 2):
            x = Convolution(self.features, _WINDOW, name=f"conv{number}")(x)
            x = Norm("relu", self.frozen, name=f"norm{number}")(x, train=train)
        return x


class Encoder(nn.Module):
    """The way down, max pooling between resolutions.

    Attributes:
      widths: Maps at each resolution.
      frozen: As `Norm.frozen`.
    """

    widths: tuple[int, ...]
    frozen: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> list[jax.Array]:
        """Returns the maps of each resolution, the finest first."""
        levels = []
        for level, features in enumerate(self.widths):
            if level:
                x = layers.max_pool(x)[0]
            block = Convolutions(features, self.frozen, name=f"level{level}")
            x = block(x, train=train)
            levels.append(x)
        return levels


class Decoder(nn.Module):
    """The way up: what comes from below beside what `Encoder` saw there.

    Attributes:
      classes: Output channels.
      frozen: As `Norm.frozen`.
    """

    classes: int
    frozen: bool = False

    @nn.compact
    def __call__(self, levels: list[jax.Array], *, train: bool) -> jax.Array:
        """Returns (B, H, W, classes) logits of the maps of each resolution."""
        *skips, x = levels
        for level in reversed(range(len(skips))):
            width = skips[level].shape[-1]
            up = Upsampling(width, 2, use_bias=True, name=f"up{level}")
            x = jnp.concatenate([skips[level], up(x)], axis=-1)
            block = Convolutions(width, self.frozen, name=f"level{level}")
            x = block(x, train=train)
        return Convolution(self.classes, use_bias=True, name="classify")(x)


class UNet(Network):
    """The U-Net: 482,466 parameters with one channel and two classes."""

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns (B, H, W, classes) logits.

        Raises:
          ValueError: If a side is not a multiple of 8.
        """
        check_sides(images, STRIDE)
        levels = Encoder(WIDTHS, self.frozen, name="encoder")(images, train=train)
        decoder = Decoder(self.classes, self.frozen, name="decoder")
        return decoder(levels, train=train)
