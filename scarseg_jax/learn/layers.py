"""The fast primitives ENet is made of; each is a pure function of arrays.

Convolutions are written as gathered patches times a matrix, and pooling as slices:
the vmapped step then consists of batched matrix products, gathers and element-wise
loops. There is no grouped convolution, no scatter and no select-and-scatter in it,
which XLA runs slowly on CPUs, or not deterministically on GPUs.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Window:
    """Where a convolution looks: output (y, x) reads input (y, x) * stride + tap.

    Attributes:
      taps: Offsets (dy, dx), one for each kernel element, row-major.
      stride: Step of the output grid on the input grid.
    """

    taps: tuple[tuple[int, int], ...]
    stride: int = 1

    @classmethod
    def centred(cls, height: int, width: int, *, stride=1, dilation=1) -> "Window":
        """Returns the taps of an odd-sized kernel centred on its pixel."""
        rows = range(-(height // 2), height // 2 + 1)
        columns = range(-(width // 2), width // 2 + 1)
        taps = tuple((y * dilation, x * dilation) for y in rows for x in columns)
        return cls(taps, stride)

    def reaches(self, height: int, width: int) -> tuple[bool, ...]:
        """Returns for each tap whether it ever leaves the padding on such an input."""
        return tuple(abs(y) < height and abs(x) < width for y, x in self.taps)


# The four pixels of a 2x2 block, row-major: the window of everything that goes
# from one resolution to the next.
BLOCK = Window(((0, 0), (0, 1), (1, 0), (1, 1)), stride=2)
POINT = Window(((0, 0),))


@functools.lru_cache(maxsize=256)
def _patch_indices(window: Window, height: int, width: int) -> np.ndarray:
    """Returns (h * w, T) int32 flat input positions; height * width means padding."""
    y, x = np.mgrid[0 : height : window.stride, 0 : width : window.stride]
    taps = np.array(window.taps)
    y = y.reshape(-1, 1) + taps[:, 0]
    x = x.reshape(-1, 1) + taps[:, 1]
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    return np.where(inside, y * width + x, height * width).astype(np.int32)


@functools.lru_cache(maxsize=256)
def _reader_indices(window: Window, height: int, width: int) -> np.ndarray:
    """Returns (H * W, S) int32: the flat (output, tap) pairs that read each pixel."""
    read = _patch_indices(window, height, width).reshape(-1)
    readers = [np.flatnonzero(read == pixel) for pixel in range(height * width)]
    table = np.full((height * width, max(map(len, readers))), read.size, np.int32)
    for pixel, pairs in enumerate(readers):
        table[pixel, : len(pairs)] = pairs
    return table


# Keeps XLA from repeating a computation in each of its readers.
once = jax.lax.optimization_barrier


def _take(rows: jax.Array, indices: np.ndarray) -> jax.Array:
    """Returns rows[:, indices] of (B, N, C), zeros where an index is N."""
    rows = once(jnp.pad(rows, ((0, 0), (0, 1), (0, 0))))
    return rows.at[:, indices].get(mode="promise_in_bounds")


def product(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """Returns x @ matrix of (..., C) and (C, K), as one matrix product of all rows."""
    rows = x.reshape(-1, x.shape[-1]) @ matrix
    return rows.reshape(*x.shape[:-1], -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _patches(x, window):
    b, h, w, c = x.shape
    seen = _take(x.reshape(b, h * w, c), _patch_indices(window, h, w))
    return seen.reshape(b, h // window.stride, w // window.stride, -1)


def _patches_forward(x, window):
    return _patches(x, window), x.shape


def _patches_backward(window, shape, g):
    # Written as a gather of the readers of each pixel: the transpose that JAX would
    # derive is a scatter.
    b, h, w, c = shape
    g = g.reshape(b, -1, c)
    readers = _reader_indices(window, h, w)
    read = [_take(g, slot) for slot in readers.T]
    return (sum(read[1:], read[0]).reshape(shape),)


_patches.defvjp(_patches_forward, _patches_backward)


# Compiled by itself, like `rectify` and `normalise_rectify` below: so it is traced,
# differentiated and lowered once for each shape, not for each of ENet's blocks.
@functools.partial(jax.jit, static_argnums=1)
def patches(x: jax.Array, window: Window) -> jax.Array:
    """Returns what each output pixel of a convolution sees, zeros beyond the border.

    Args:
      x: (B, H, W, C); H and W are multiples of the stride.
      window: The taps and the stride.

    Returns:
      (B, H / stride, W / stride, T * C), taps before channels.
    """
    return _patches(x, window)


def convolve(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """Returns the convolution (cross-correlation) of (B, H, W, C) with the kernel.

    Args:
      x: (B, H, W, C).
      kernel: (T, C, K): one (C, K) matrix for each tap of the window.
      window: The taps and the stride.

    Returns:
      (B, H / stride, W / stride, K).
    """
    # On small maps, widely dilated taps only ever see padding: leave them out.
    reaches = [t for t, r in enumerate(window.reaches(*x.shape[1:3])) if r]
    if len(reaches) < len(kernel):
        window = dataclasses.replace(
            window, taps=tuple(window.taps[t] for t in reaches)
        )
        kernel = jnp.stack([kernel[t] for t in reaches])  # not a gather: see above
    if window == POINT:
        return product(x, kernel[0])
    return product(patches(x, window), kernel.reshape(-1, kernel.shape[-1]))


def upsample(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the 2x2 stride-2 transposed convolution of (B, H, W, C).

    Args:
      x: (B, H, W, C).
      kernel: (4, C, K): one matrix for each pixel of the 2x2 output block.

    Returns:
      (B, 2H, 2W, K).
    """
    b, h, w, c = x.shape
    k = kernel.shape[-1]
    blocks = product(x, kernel.transpose(1, 0, 2).reshape(c, 4 * k))
    blocks = blocks.reshape(b, h, w, 2, 2, k).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(b, 2 * h, 2 * w, k)


def upsample_3x3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the 3x3 stride-2 transposed convolution, padding 1, output padding 1.

    Output pixel 2i - 1 + t receives input pixel i through tap t, so each 2x2 output
    block depends on the 2x2 input block that starts at the same place.

    Args:
      x: (B, H, W, C).
      kernel: (9, C, K), taps row-major.

    Returns:
      (B, 2H, 2W, K).
    """
    c, k = kernel.shape[1:]
    # _TAP[offset][phase]: the 1-D tap from input i + offset to output 2i + phase.
    tap = ((1, 2), (None, 0))
    zero = jnp.zeros((c, k), kernel.dtype)

    def matrix(dy, dx, py, px):
        ty, tx = tap[dy][py], tap[dx][px]
        return zero if ty is None or tx is None else kernel[3 * ty + tx]

    bits = ((0, 0), (0, 1), (1, 0), (1, 1))
    full = jnp.stack(
        [jnp.concatenate([matrix(*d, *p) for d in bits], axis=0) for p in bits]
    )
    return upsample(patches(x, Window(bits)), full)


def _split(x: jax.Array) -> tuple[jax.Array, ...]:
    """Returns the four (B, H/2, W/2, C) phases of (B, H, W, C), row-major."""
    return x[:, ::2, ::2], x[:, ::2, 1::2], x[:, 1::2, ::2], x[:, 1::2, 1::2]


def _join(phases: list[jax.Array]) -> jax.Array:
    """Returns (B, 2H, 2W, C) from its four phases; the inverse of `_split`."""
    b, h, w, c = phases[0].shape
    rows = [jnp.stack(phases[i : i + 2], axis=3) for i in (0, 2)]
    return jnp.stack(rows, axis=2).reshape(b, 2 * h, 2 * w, c)


@jax.custom_vjp
def max_pool(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the 2x2 stride-2 maximum of (B, H, W, C) and where it was found.

    Returns:
      (B, H/2, W/2, C) maxima, and int8 positions 0..3 in the block, row-major; the
      first of equal values wins.
    """
    best, *others = _split(x)
    position = jnp.zeros(best.shape, jnp.int8)
    for index, phase in enumerate(others, start=1):
        position = jnp.where(phase > best, jnp.int8(index), position)
        best = jnp.maximum(best, phase)
    return best, position


def _max_pool_forward(x):
    best, position = max_pool(x)
    return (best, position), position


def _max_pool_backward(position, g):
    return (_place(g[0], position),)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _place(x: jax.Array, position: jax.Array) -> jax.Array:
    """Returns (B, 2H, 2W, C) with each value at its position, zeros elsewhere."""
    return _join([jnp.where(position == index, x, 0) for index in range(4)])


@jax.custom_vjp
def max_unpool(x: jax.Array, position: jax.Array) -> jax.Array:
    """Returns each value put back where `max_pool` found it, zeros elsewhere.

    Args:
      x: (B, H, W, C) values.
      position: (B, H, W, C) int8 positions 0..3 from `max_pool`.

    Returns:
      (B, 2H, 2W, C).
    """
    return _place(x, position)


def _max_unpool_forward(x, position):
    return _place(x, position), position


def _max_unpool_backward(position, g):
    picked = sum(
        jnp.where(position == index, phase, 0) for index, phase in enumerate(_split(g))
    )
    return picked, None


max_unpool.defvjp(_max_unpool_forward, _max_unpool_backward)


def across(vector: jax.Array, x: jax.Array) -> jax.Array:
    """Returns a (C,) vector with as many axes as (..., C) x, to be combined with it."""
    return vector.reshape((1,) * (x.ndim - 1) + vector.shape)


def _column_sums(x: jax.Array) -> jax.Array:
    return once(x.reshape(-1, x.shape[-1])).sum(axis=0)


@jax.custom_vjp
def _rectify(x, slope):
    return jnp.where(x > 0, x, across(slope, x) * x)


def _rectify_forward(x, slope):
    x = once(x)
    return _rectify(x, slope), (x, slope)


def _rectify_backward(saved, g):
    x, slope = saved
    g = once(g)
    d_x = jnp.where(x > 0, g, across(slope, g) * g)
    return d_x, _column_sums(g * jnp.minimum(x, 0))


_rectify.defvjp(_rectify_forward, _rectify_backward)


@jax.jit
def rectify(x: jax.Array, slope: jax.Array) -> jax.Array:
    """Returns x where positive and slope * x elsewhere: PReLU (slope 0: ReLU).

    Args:
      x: (..., C).
      slope: (C,).
    """
    return _rectify(x, slope)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _normalise_rectify(x, scale, bias, slope, epsilon):
    return _normalise_rectify_forward(x, scale, bias, slope, epsilon)[0]


def _normalise_rectify_forward(x, scale, bias, slope, epsilon):
    rows = x.size // x.shape[-1]
    mean = _column_sums(x) / rows
    variance = jnp.maximum(_column_sums(x * x) / rows - mean * mean, 0)
    inverse = jax.lax.rsqrt(variance + epsilon)
    gain = scale * inverse
    y = _rectify(x * across(gain, x) + across(bias - mean * gain, x), slope)
    return (y, mean, variance), (x, mean, inverse, scale, bias, slope)


def _normalise_rectify_backward(epsilon, saved, gs):
    x, mean, inverse, scale, bias, slope = saved
    g = gs[0]
    rows = x.size // x.shape[-1]
    gain = scale * inverse
    z = x * across(gain, x) + across(bias - mean * gain, x)
    g = once(g)
    d_slope = _column_sums(g * jnp.minimum(z, 0))
    g = once(jnp.where(z > 0, g, across(slope, g) * g))
    d_bias = _column_sums(g)
    d_scale = inverse * (_column_sums(g * x) - mean * d_bias)
    # dx = gain (g - mean(g) - x_hat mean(g x_hat)), with x_hat = (x - mean) inverse.
    pull = d_scale * inverse / rows
    shift = across(mean * pull - d_bias / rows, x)
    d_x = across(gain, x) * (g - x * across(pull, x) + shift)
    return d_x, d_scale, d_bias, d_slope


_normalise_rectify.defvjp(_normalise_rectify_forward, _normalise_rectify_backward)


@functools.partial(jax.jit, static_argnums=4)
def normalise_rectify(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    slope: jax.Array,
    epsilon: float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns PReLU(batch norm(x)) and the batch's statistics.

    One function with its own derivative: JAX's own keeps, and walks through, several
    arrays of the size of x where this one keeps x alone.

    Args:
      x: (..., C).
      scale: (C,) batch norm's scale.
      bias: (C,) batch norm's offset.
      slope: (C,) PReLU's slope; 0 is ReLU, 1 is no activation.
      epsilon: Added to the variance.

    Returns:
      (..., C) activations, and mean and (biased) variance, (C,) each. The
      statistics are for the running averages: they pass no gradient.
    """
    return _normalise_rectify(x, scale, bias, slope, epsilon)
