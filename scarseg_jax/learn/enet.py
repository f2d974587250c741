"""ENet, adapted to LGE crops as in the paper (section 2, Fig. 1).

Stages 1 to 7 of the paper are the initial block, three encoder stages (5, 9 and 8
bottlenecks), two decoder stages (3 and 2), and a transposed convolution to the
classes. The encoder's max pooling stores where each maximum was; the decoder puts
its values back there.
"""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from scarseg_jax.learn import layers

INITIAL_CONVOLUTIONS = 13  # paper, section 2: 13 maps beside the pooled input
STRIDE = 8  # of the encoder: height and width must be multiples of it


@dataclasses.dataclass(frozen=True)
class Block:
    """One line of the architecture's table.

    Attributes:
      name: Numbered as in the ENet paper's Table 1.
      features: Output channels.
      kind: "regular", "down" or "up".
      dilation: Of the 3x3 convolution; 0: 5x1 then 1x5 instead.
      dropout: Rate at which whole maps are dropped in training.
    """

    name: str
    features: int
    kind: str = "regular"
    dilation: int = 1
    dropout: float = 0.1


CONTEXT_DILATIONS = (1, 2, 0, 4, 1, 8, 0, 16)
ENCODER = (
    Block("bottleneck1_0", 64, "down", dropout=0.01),
    *(Block(f"bottleneck1_{i}", 64, dropout=0.01) for i in range(1, 5)),
    Block("bottleneck2_0", 128, "down"),
    *(
        Block(f"bottleneck{stage}_{i}", 128, dilation=dilation)
        for stage in (2, 3)
        for i, dilation in enumerate(CONTEXT_DILATIONS, start=1)
    ),
)


def decoder(stem_features: int) -> tuple[Block, ...]:
    """Returns the decoder; its last stage is as wide as the stem it unpools to."""
    return (
        Block("bottleneck4_0", 64, "up"),
        *(Block(f"bottleneck4_{i}", 64) for i in (1, 2)),
        Block("bottleneck5_0", stem_features, "up"),
        Block("bottleneck5_1", stem_features),
    )


@dataclasses.dataclass(frozen=True)
class Layout:
    """What published ENets do differently.

    Attributes:
      inner_from_output: A bottleneck's inner width is a quarter of its output's
        channels, not of its input's.
      rectify_expansion: An activation follows the expansion also in regular and
        downsampling bottlenecks.
      split_asymmetric: Normalisation and activation stand between 5x1 and 1x5.
      decoder_dropout: Dropout acts in the decoder too.
      decoder_activation: "prelu" or "relu".
      shared_slope: One PReLU slope for all channels of a layer.
      lateral_upsampling: Kernel size, 2 or 3, of the decoder's transposed convolution.
      full_convolution: Kernel size of the last layer: 2 (with bias) or 3 (without).
      epsilon: Added to the variance in batch normalisation.
    """

    inner_from_output: bool
    rectify_expansion: bool
    split_asymmetric: bool
    decoder_dropout: bool
    decoder_activation: str
    shared_slope: bool
    lateral_upsampling: int
    full_convolution: int
    epsilon: float


LAYOUTS = {
    # The paper's text; where it is silent, its nearest relative.
    "seed": Layout(
        inner_from_output=False,
        rectify_expansion=True,
        split_asymmetric=True,
        decoder_dropout=True,
        decoder_activation="prelu",
        shared_slope=False,
        lateral_upsampling=3,
        full_convolution=2,
        epsilon=1e-3,
    ),
    # Paszke et al. 2016, as in the authors' own code.
    "enet": Layout(
        inner_from_output=True,
        rectify_expansion=False,
        split_asymmetric=False,
        decoder_dropout=False,
        decoder_activation="relu",
        shared_slope=False,
        lateral_upsampling=3,
        full_convolution=2,
        epsilon=1e-3,
    ),
    # davidtvs/PyTorch-ENet, to prove the implementation and to load its weights.
    "pytorch_enet": Layout(
        inner_from_output=False,
        rectify_expansion=True,
        split_asymmetric=True,
        decoder_dropout=True,
        decoder_activation="relu",
        shared_slope=True,
        lateral_upsampling=2,
        full_convolution=3,
        epsilon=1e-5,
    ),
}


def kernel_bound(shape: tuple[int, ...]) -> float:
    """Returns where the uniform distribution of (T, C, K) kernels ends at first.

    As jax.nn.initializers.glorot_uniform.
    """
    taps, inputs, outputs = shape
    return math.sqrt(6 / (taps * (inputs + outputs)))


def _draw_kernel(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    bound = kernel_bound(shape)
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


class Slope(nn.Module):
    """PReLU's slope, 0.25 at first (He et al. 2015)."""

    layout: Layout

    @nn.compact
    def __call__(self, channels: int) -> jax.Array:
        """Returns (channels,) slopes."""
        size = 1 if self.layout.shared_slope else channels
        slope = self.param("slope", nn.initializers.constant(0.25), (size,))
        return jnp.broadcast_to(slope, (channels,))


class Norm(nn.Module):
    """Batch normalisation, then PReLU, ReLU or nothing.

    Attributes:
      layout: The variant's details.
      activation: "prelu", "relu" or "none".
      frozen: Whether scale and offset hold the running averages, as `ENet.freeze`
        makes them; there are none beside.
      momentum: Share of the running averages that a training step keeps.
    """

    layout: Layout
    activation: str
    frozen: bool = False
    momentum: float = 0.9

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns the activations of (B, H, W, C)."""
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        if self.activation == "prelu":
            slope = Slope(self.layout, name="prelu")(channels)
        else:
            slope = jnp.full((channels,), 1.0 if self.activation == "none" else 0.0)
        if self.frozen:
            shifted = x * layers.across(scale, x) + layers.across(bias, x)
            return layers.rectify(shifted, slope)
        mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        variance = self.variable("batch_stats", "variance", jnp.ones, (channels,))
        if not train:
            gain = scale * jax.lax.rsqrt(variance.value + self.layout.epsilon)
            shift = layers.across(bias - mean.value * gain, x)
            return layers.rectify(x * layers.across(gain, x) + shift, slope)
        y, batch_mean, batch_variance = layers.normalise_rectify(
            x, scale, bias, slope, self.layout.epsilon
        )
        if not self.is_initializing():
            keep = self.momentum
            mean.value = keep * mean.value + (1 - keep) * batch_mean
            variance.value = keep * variance.value + (1 - keep) * batch_variance
        return y


class Convolution(nn.Module):
    """A convolution without bias: a normalisation follows it.

    Attributes:
      features: Output channels.
      window: Taps and stride.
    """

    features: int
    window: layers.Window = layers.POINT

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the convolution of (B, H, W, C)."""
        shape = (len(self.window.taps), x.shape[-1], self.features)
        kernel = self.param("kernel", _draw_kernel, shape)
        return layers.convolve(x, kernel, self.window)


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
        kernel = self.param("kernel", _draw_kernel, shape)
        upsample = layers.upsample if self.size == 2 else layers.upsample_3x3
        y = upsample(x, kernel)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y += layers.across(bias, y)
        return y


class Bottleneck(nn.Module):
    """A lateral branch of three convolutions, added to a main branch.

    Attributes:
      layout: The variant's details.
      block: Its line of the table.
      activation: "prelu" or "relu".
      frozen: As `Norm.frozen`.
    """

    layout: Layout
    block: Block
    activation: str
    frozen: bool = False

    @nn.compact
    def __call__(self, x, position, keep, *, train: bool):
        """Returns the output and, when downsampling, where the maxima were.

        Args:
          x: (B, H, W, C).
          position: What the matching "down" bottleneck returned; read by "up".
          keep: (B, features) dropout factors; None: keep all.
          train: Whether to use, and average, the batch's statistics.
        """
        kind, features = self.block.kind, self.block.features
        inner = (features if self.layout.inner_from_output else x.shape[-1]) // 4
        window = layers.BLOCK if kind == "down" else layers.POINT
        y = Convolution(inner, window, name="project")(x)
        y = self._norm("project_norm")(y, train=train)
        y = self._middle(y, inner, train)
        y = self._norm("middle_norm")(y, train=train)
        y = Convolution(features, name="expand")(y)
        rectified = self.layout.rectify_expansion and kind != "up"
        y = self._norm("expand_norm", rectified)(y, train=train)
        if keep is not None:
            y = y * keep[:, None, None]
        main = x
        if kind == "down":
            main, position = layers.max_pool(x)
            main = jnp.pad(main, ((0, 0),) * 3 + ((0, features - x.shape[-1]),))
        elif kind == "up":
            main = Convolution(features, name="main")(x)
            main = self._norm("main_norm", rectified=False)(main, train=train)
            main = layers.max_unpool(main, position)
        if self.activation == "relu":
            return nn.relu(main + y), position
        slope = Slope(self.layout, name="prelu")(features)
        return layers.rectify(main + y, slope), position

    def _norm(self, name: str, rectified: bool = True) -> Norm:
        activation = self.activation if rectified else "none"
        return Norm(self.layout, activation, self.frozen, name=name)

    def _middle(self, y: jax.Array, inner: int, train: bool) -> jax.Array:
        if self.block.kind == "up":
            size = self.layout.lateral_upsampling
            return Upsampling(inner, size, name="middle")(y)
        if self.block.dilation:
            window = layers.Window.centred(3, 3, dilation=self.block.dilation)
            return Convolution(inner, window, name="middle")(y)
        tall, wide = layers.Window.centred(5, 1), layers.Window.centred(1, 5)
        y = Convolution(inner, tall, name="middle_tall")(y)
        if self.layout.split_asymmetric:
            y = self._norm("middle_tall_norm")(y, train=train)
        return Convolution(inner, wide, name="middle")(y)


class ENet(nn.Module):
    """ENet for images of any size that is a multiple of 8 and any channel count.

    Attributes:
      variant: "seed" (the paper), "enet" (the ENet paper) or "pytorch_enet".
      classes: Output channels.
      dropout: Whether dropout acts in training.
      frozen: Whether it only predicts, with what `freeze` returns.
    """

    variant: str = "seed"
    classes: int = 2
    dropout: bool = True
    frozen: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns (B, H, W, classes) logits.

        Args:
          images: (B, H, W, C) float32.
          train: Whether to use (and average) the batch's statistics and dropout. Then
            apply with mutable=["batch_stats"] and, with dropout, a "dropout" key.

        Raises:
          ValueError: If the variant is unknown or a side is not a multiple of 8.
        """
        if self.variant not in LAYOUTS:
            raise ValueError(f"variant {self.variant!r}; expected one of {[*LAYOUTS]}")
        if images.shape[1] % STRIDE or images.shape[2] % STRIDE:
            raise ValueError(
                f"images are {images.shape[1]} x {images.shape[2]}; both sides must"
                f" be multiples of {STRIDE}"
            )
        layout = LAYOUTS[self.variant]
        x = self._stem(images, layout, train)
        blocks = decoder(x.shape[-1])
        keep = self._keep(blocks, layout, len(images)) if train and self.dropout else {}
        positions = []
        for block in (*ENCODER, *blocks):
            activation = layout.decoder_activation if block in blocks else "prelu"
            bottleneck = Bottleneck(
                layout, block, activation, self.frozen, name=block.name
            )
            if block.kind == "down":
                x, position = bottleneck(x, None, keep.get(block.name), train=train)
                positions.append(position)
            else:
                position = positions.pop() if block.kind == "up" else None
                x, _ = bottleneck(x, position, keep.get(block.name), train=train)
        size = layout.full_convolution
        return Upsampling(self.classes, size, use_bias=size == 2, name="classify")(x)

    def freeze(self, variables: Any) -> tuple["ENet", dict]:
        """Returns a network that only predicts, faster, and its variables.

        Each normalisation's running averages are worked into its scale and offset,
        once, where prediction would do so for each pixel.
        """
        epsilon = LAYOUTS[self.variant].epsilon
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
                gain = scale * jax.lax.rsqrt(variance + epsilon)
                params |= {
                    (*layer, "scale"): gain,
                    (*layer, "bias"): bias - mean * gain,
                }
        frozen = {"params": traverse_util.unflatten_dict(params)}
        return self.clone(frozen=True), frozen

    def _stem(self, images: jax.Array, layout: Layout, train: bool) -> jax.Array:
        window = layers.Window.centred(3, 3, stride=2)
        maps = Convolution(INITIAL_CONVOLUTIONS, window, name="initial")(images)
        x = jnp.concatenate([maps, layers.max_pool(images)[0]], axis=-1)
        norm = Norm(layout, "prelu", self.frozen, name="initial_norm")
        return norm(x, train=train)

    def _keep(self, decoder_blocks, layout, batch) -> dict[str, jax.Array]:
        """Returns each block's (batch, features) dropout factors, from one draw."""
        blocks = ENCODER + (decoder_blocks if layout.decoder_dropout else ())
        features = [b.features for b in blocks]
        rates = np.repeat([b.dropout for b in blocks], features)[None]
        drawn = jax.random.uniform(self.make_rng("dropout"), (batch, rates.size))
        keep = layers.once((drawn >= rates) / jnp.asarray(1 - rates, drawn.dtype))
        ends = np.cumsum(features)[:-1]
        parts = jnp.split(keep, ends, axis=1)
        return {block.name: part for block, part in zip(blocks, parts, strict=True)}
