"""What networks are made of, and what they have in common."""

import math
from typing import Any, Self

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from scarseg_jax.learn import layers

EPSILON = 1e-3  # added to a variance, as in ENet


class Network(nn.Module, kw_only=True):
    """What all networks have: they answer every pixel of images of any channel count.

    `__call__(images, *, train)` returns (B, H, W, classes) logits of (B, H, W, C)
    float32 images. `train` says whether to use (and average) the batch's statistics and
    dropout: then apply with mutable=["batch_stats"] and, with dropout, a "dropout" key.

    Attributes:
      classes: Output channels.
      frozen: Whether it only predicts, with what `freeze` returns.
    """

    classes: int = 2
    frozen: bool = False

    @property
    def epsilon(self) -> float:
        """What its normalisations add to a variance."""
        return EPSILON

    def freeze(self, variables: Any) -> tuple[Self, dict]:
        """Returns a network that only predicts, faster, and its variables.

        Each normalisation's running averages are worked into its scale and offset,
        once, where prediction would do so for each pixel.
        """
        params: Any = traverse_util.flatten_dict(variables["params"])
        statistics: Any = traverse_util.flatten_dict(variables["batch_stats"])
        for *layer, name in list(statistics):
            if name == "mean":
                mean, variance, scale, bias = (
                    tree[*layer, leaf]
                    for tree, leaf in (
                        (statistics, "mean"),
                        (statistics, "variance"),
                        (params, "scale"),
                        (params, "bias"),
                    )
                )
                gain = scale * jax.lax.rsqrt(variance + self.epsilon)
                params |= {
                    (*layer, "scale"): gain,
                    (*layer, "bias"): bias - mean * gain,
                }
        frozen = {"params": traverse_util.unflatten_dict(params)}
        return self.clone(frozen=True), frozen


def check_sides(images: jax.Array, multiple: int) -> None:
    """Checks that images fit a network that halves them so often.

    Raises:
      ValueError: If a side is not a multiple.
    """
    height, width = images.shape[1:3]
    if height % multiple or width % multiple:
        raise ValueError(
            f"images are {height} x {width}; both sides must be multiples of {multiple}"
        )


def stack_of(images: jax.Array, slices: int) -> jax.Array:
    """Returns the (B, S, H, W, C) slices of images whose channels hold them.

    Args:
      images: (B, H, W, S * C), the channels of the first slice first.
      slices: S, an odd number: the middle one is asked about.

    Raises:
      ValueError: If S is even, or the channels are not those of S slices.
    """
    channels = images.shape[-1]
    if slices % 2 == 0 or channels % slices:
        raise ValueError(
            f"{channels} channels for {slices} slices; expected an odd number of slices,"
            " all of as many channels"
        )
    split = images.reshape(*images.shape[:-1], slices, channels // slices)
    return jnp.moveaxis(split, -2, 1)


def kernel_bound(shape: tuple[int, ...]) -> float:
    """Returns where the uniform distribution of (T, C, K) kernels ends at first.

    As jax.nn.initializers.glorot_uniform.
    """
    taps, inputs, outputs = shape
    return math.sqrt(6 / (taps * (inputs + outputs)))


def draw_kernel(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Returns (T, C, K) kernels, drawn as `kernel_bound` says."""
    bound = kernel_bound(shape)
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


class Slope(nn.Module):
    """PReLU's slope, 0.25 at first (He et al. 2015).

    Attributes:
      shared: Whether all channels have the same.
    """

    shared: bool = False

    @nn.compact
    def __call__(self, channels: int) -> jax.Array:
        """Returns (channels,) slopes."""
        size = 1 if self.shared else channels
        slope = self.param("slope", nn.initializers.constant(0.25), (size,))
        return jnp.broadcast_to(slope, (channels,))


class Norm(nn.Module):
    """Batch normalisation, then PReLU, ReLU or nothing.

    Attributes:
      activation: "prelu", "relu" or "none".
      frozen: Whether scale and offset hold the running averages, as `Network.freeze`
        makes them; there are none beside.
      epsilon: Added to the variance.
      shared_slope: As `Slope.shared`.
      momentum: Share of the running averages that a training step keeps.
    """

    activation: str
    frozen: bool = False
    epsilon: float = EPSILON
    shared_slope: bool = False
    momentum: float = 0.9

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns the activations of (B, H, W, C)."""
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        if self.activation == "prelu":
            slope = Slope(self.shared_slope, name="prelu")(channels)
        else:
            slope = jnp.full((channels,), 1.0 if self.activation == "none" else 0.0)
        if self.frozen:
            shifted = x * layers.across(scale, x) + layers.across(bias, x)
            return layers.rectify(shifted, slope)
        mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        variance = self.variable("batch_stats", "variance", jnp.ones, (channels,))
        if not train:
            gain = scale * jax.lax.rsqrt(variance.value + self.epsilon)
            shift = layers.across(bias - mean.value * gain, x)
            return layers.rectify(x * layers.across(gain, x) + shift, slope)
        y, batch_mean, batch_variance = layers.normalise_rectify(
            x, scale, bias, slope, self.epsilon
        )
        if not self.is_initializing():
            keep = self.momentum
            mean.value = keep * mean.value + (1 - keep) * batch_mean
            variance.value = keep * variance.value + (1 - keep) * batch_variance
        return y


class Convolution(nn.Module):
    """A convolution; without bias where a normalisation follows it.

    Attributes:
      features: Output channels.
      window: Taps and stride.
      use_bias: Whether a bias is added.
    """

    features: int
    window: layers.Window = layers.POINT
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the convolution of (B, H, W, C)."""
        shape = (len(self.window.taps), x.shape[-1], self.features)
        kernel = self.param("kernel", draw_kernel, shape)
        y = layers.convolve(x, kernel, self.window)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y += layers.across(bias, y)
        return y


class Upsampling(nn.Module):
    """A stride-2 transposed convolution.

    Attributes:
      features: Output channels.
      size: Kernel size, 2 or 3.
      use_bias: Whether a bias is added.
    """

    features: int
    size: int
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the (B, 2H, 2W, features) upsampling of (B, H, W, C)."""
        shape = (self.size**2, x.shape[-1], self.features)
        kernel = self.param("kernel", draw_kernel, shape)
        upsample = layers.upsample if self.size == 2 else layers.upsample_3x3
        y = upsample(x, kernel)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y += layers.across(bias, y)
        return y


def each_slice(function, x: jax.Array) -> jax.Array:
    """Returns what a function of (B, H, W, C) makes of each of (B, S, H, W, C)."""
    y = function(x.reshape(-1, *x.shape[2:]))
    return y.reshape(*x.shape[:2], *y.shape[1:])
