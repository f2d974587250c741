"""ENet, adapted to LGE crops as in the paper (section 2, Fig. 1).

Stages 1 to 7 of the paper are the initial block, three encoder stages (5, 9 and 8
bottlenecks), two decoder stages (3 and 2), and a transposed convolution to the
classes. The encoder's max pooling stores where each maximum was; the decoder puts
its values back there.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from scarseg_jax.learn import layers
from scarseg_jax.learn.modules import (
    Convolution,
    Network,
    Norm,
    Slope,
    Upsampling,
    check_sides,
)

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


def _norm(layout: Layout, activation: str, frozen: bool, *, name: str) -> Norm:
    return Norm(
        *(activation, frozen, layout.epsilon, layout.shared_slope),
        name=name,
    )


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
        slope = Slope(self.layout.shared_slope, name="prelu")(features)
        return layers.rectify(main + y, slope), position

    def _norm(self, name: str, rectified: bool = True) -> Norm:
        activation = self.activation if rectified else "none"
        return _norm(self.layout, activation, self.frozen, name=name)

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


class ENet(Network):
    """ENet for images of any size that is a multiple of 8 and any channel count.

    Attributes:
      variant: "seed" (the paper), "enet" (the ENet paper) or "pytorch_enet".
      dropout: Whether dropout acts in training.
    """

    variant: str = "seed"
    dropout: bool = True

    @property
    def epsilon(self) -> float:
        """What the variant's normalisations add to a variance."""
        return LAYOUTS[self.variant].epsilon

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns (B, H, W, classes) logits.

        Raises:
          ValueError: If the variant is unknown or a side is not a multiple of 8.
        """
        if self.variant not in LAYOUTS:
            raise ValueError(f"variant {self.variant!r}; expected one of {[*LAYOUTS]}")
        check_sides(images, STRIDE)
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

    def _stem(self, images: jax.Array, layout: Layout, train: bool) -> jax.Array:
        window = layers.Window.centred(3, 3, stride=2)
        maps = Convolution(INITIAL_CONVOLUTIONS, window, name="initial")(images)
        x = jnp.concatenate([maps, layers.max_pool(images)[0]], axis=-1)
        norm = _norm(layout, "prelu", self.frozen, name="initial_norm")
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
