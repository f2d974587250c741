"""A recurrent U-Net: what it saw in the slices before helps with this one.

R. Poudel et al. 2016, arXiv:1608.03974 (unverified): a network of single slices with a
memory at its coarsest resolution, passed on through the stack from base to apex. Here
the memory comes to the asked slice from both ends of those that are given, so that none
is looked at in vain; its widths, which were not at hand, are half the U-Net's, with which
it is as good as with all of them (docs/ablations.md).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from scarseg_jax.learn import layers
from scarseg_jax.learn.modules import (
    Convolution,
    Network,
    check_sides,
    each_slice,
    stack_of,
)
from scarseg_jax.learn.unet import Decoder, Encoder

WIDTHS = (8, 16, 32, 64)  # maps at each resolution
STRIDE = 2 ** (len(WIDTHS) - 1)  # height and width must be multiples of it
_WINDOW = layers.Window.centred(3, 3)


class Memory(nn.Module):
    """A gated recurrent unit whose products are 3x3 convolutions.

    K. Cho et al. 2014, arXiv:1406.1078 (unverified): an update gate z says how much of
    the state stays, a reset gate r how much of it the candidate n sees.

    Attributes:
      features: Channels of the state.
    """

    features: int

    @nn.compact
    def __call__(self, maps: jax.Array) -> jax.Array:
        """Returns the (B, H, W, features) state after the last of (B, S, H, W, C) maps.

        The state is zero at first: with a single map there is nothing to remember, and
        no kernels for it.
        """
        see = Convolution(3 * self.features, _WINDOW, use_bias=True, name="see")
        seen = each_slice(see, maps)
        gates = Convolution(2 * self.features, _WINDOW, name="gates")
        recall = Convolution(self.features, _WINDOW, name="recall")
        update, _, candidate = jnp.split(seen[:, 0], 3, axis=-1)
        state = (1 - nn.sigmoid(update)) * jnp.tanh(candidate)
        for step in range(1, maps.shape[1]):
            update, reset, candidate = jnp.split(seen[:, step], 3, axis=-1)
            more_update, more_reset = jnp.split(gates(state), 2, axis=-1)
            z = nn.sigmoid(update + more_update)
            r = nn.sigmoid(reset + more_reset)
            n = jnp.tanh(candidate + recall(r * state))
            state = z * state + (1 - z) * n
        return state


class RecurrentUNet(Network):
    """The U-Net with two memories, one from each end of the slices to the middle one.

    Parameters, with one channel a slice and two classes: 231,826 for one slice and
    287,122 for several.

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
        stack = stack_of(images, self.slices)
        b, s, *shape = stack.shape
        encoder = Encoder(WIDTHS, self.frozen, name="encoder")
        levels = [
            level.reshape(b, s, *level.shape[1:])
            for level in encoder(stack.reshape(b * s, *shape), train=train)
        ]
        *skips, deepest = levels
        middle = s // 2
        half = WIDTHS[-1] // 2
        remembered = [
            Memory(half, name="from_first")(deepest[:, : middle + 1]),
            Memory(half, name="from_last")(deepest[:, middle:][:, ::-1]),
        ]
        decoder = Decoder(self.classes, self.frozen, name="decoder")
        return decoder(
            [
                *(skip[:, middle] for skip in skips),
                jnp.concatenate(remembered, axis=-1),
            ],
            train=train,
        )
