"""A small 3-D network for thick slices.

V-Net (F. Milletari et al., 3DV 2016, doi:10.1109/3DV.2016.79 (unverified)): residual
stages, PReLU, strided convolutions down and transposed ones up, the skipped maps beside.
As slices are far apart, it looks at single slices on the two finest resolutions and at
3 x 3 x 3 below, and never takes fewer slices; nearly so does the EMIDEC network EcorC.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from scarseg_jax.learn import layers
from scarseg_jax.learn.modules import (
    Convolution,
    Network,
    Norm,
    Slope,
    Upsampling,
    check_sides,
    draw_kernel,
    each_slice,
    stack_of,
)

WIDTHS = (12, 24, 48, 96)  # maps at each resolution
CONVOLUTIONS = (1, 2, 2, 2)  # of each stage on the way down; one on the way up
FLAT = 2  # resolutions whose convolutions are 1 x 3 x 3
STRIDE = 2 ** (len(WIDTHS) - 1)  # height and width must be multiples of it
_WINDOW = layers.Window.centred(3, 3)


def convolve_3d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the 3 x 3 x 3 convolution of (B, S, H, W, C), zeros beyond the border.

    Args:
      x: (B, S, H, W, C).
      kernel: (27, C, K), taps by slice, row and column.

    Returns:
      (B, S, H, W, K).
    """
    b, s, h, w, _ = x.shape
    # A single slice has no neighbours: those taps would only see padding.
    near = (-1, 0, 1) if s > 1 else (0,)
    padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))
    seen = [padded[:, 1 + z : 1 + z + s] for z in near]
    seen = jnp.concatenate(seen, axis=-1).reshape(b * s, h, w, -1)
    taps = [kernel[9 * (1 + z) : 9 * (2 + z)] for z in near]
    y = layers.convolve(seen, jnp.concatenate(taps, axis=1), _WINDOW)
    return y.reshape(b, s, h, w, -1)


class Convolution3D(nn.Module):
    """A 3 x 3 x 3 convolution without bias.

    Attributes:
      features: Output channels.
    """

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the convolution of (B, S, H, W, C)."""
        kernel = self.param("kernel", draw_kernel, (27, x.shape[-1], self.features))
        return convolve_3d(x, kernel)


class Stage(nn.Module):
    """Convolutions, and what came in added to them.

    Attributes:
      features: Channels.
      count: Of the convolutions.
      flat: Whether they are 1 x 3 x 3.
      frozen: As `Norm.frozen`.
    """

    features: int
    count: int
    flat: bool
    frozen: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, beside=None, *, train: bool) -> jax.Array:
        """Returns (B, S, H, W, features).

        Args:
          x: (B, S, H, W, features), to be added to.
          beside: (B, S, H, W, any) maps that the convolutions see too; None: no more.
          train: As of the network.
        """
        y = x if beside is None else jnp.concatenate([beside, x], axis=-1)
        for number in range(1, self.count + 1):
            name = f"conv{number}"
            if self.flat:
                y = each_slice(Convolution(self.features, _WINDOW, name=name), y)
            else:
                y = Convolution3D(self.features, name=name)(y)
            activation = "none" if number == self.count else "prelu"
            y = Norm(activation, self.frozen, name=f"norm{number}")(y, train=train)
        return layers.rectify(x + y, Slope(name="prelu")(self.features))


class FCN3D(Network):
    """The network: 821,726 parameters with one channel a slice and two classes.

    Attributes:
      slices: How many the channels hold; an odd number.
    """

    slices: int = 1

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns (B, H, W, classes) logits of the middle slice.

        Raises:
          ValueError: If a side is not a multiple of 8, or the channels are not those of
            so many slices.
        """
        check_sides(images, STRIDE)
        x = stack_of(images, self.slices)
        skips = []
        for level, (features, count) in enumerate(
            zip(WIDTHS, CONVOLUTIONS, strict=True)
        ):
            window = layers.BLOCK if level else _WINDOW
            x = each_slice(Convolution(features, window, name=f"down{level}"), x)
            x = Norm("prelu", self.frozen, name=f"down{level}_norm")(x, train=train)
            stage = Stage(features, count, level < FLAT, self.frozen, name=f"in{level}")
            x = stage(x, train=train)
            skips.append(x)
        skips.pop()
        for level in reversed(range(len(skips))):
            features, flat = WIDTHS[level], level < FLAT
            if level == FLAT - 1:  # from here on, slices see no others
                x = _middle(x)
            x = each_slice(Upsampling(features, 2, name=f"up{level}"), x)
            x = Norm("prelu", self.frozen, name=f"up{level}_norm")(x, train=train)
            skip = _middle(skips[level]) if flat else skips[level]
            stage = Stage(features, 1, flat, self.frozen, name=f"out{level}")
            x = stage(x, skip, train=train)
        classify = Convolution(self.classes, use_bias=True, name="classify")
        return classify(_middle(x)[:, 0])


def _middle(x: jax.Array) -> jax.Array:
    """Returns the middle slice of (B, S, H, W, C), as (B, 1, H, W, C)."""
    middle = x.shape[1] // 2
    return x[:, middle : middle + 1]
