from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from scarseg_jax.learn import layers
from scarseg_jax.learn.layers import Window

NHWC = ("NHWC", "HWIO", "NHWC")


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("dilation", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("shape", [(3, 3), (5, 1), (1, 5)])
def test_convolve_equals_xla_convolution(rng, shape, dilation):
    x = rng.normal(size=(2, 8, 12, 5))
    kernel = rng.normal(size=(*shape, 5, 7))
    expected = lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", rhs_dilation=(dilation,) * 2, dimension_numbers=NHWC
    )
    window = Window.centred(*shape, dilation=dilation)
    actual = layers.convolve(
        jnp.asarray(x), jnp.asarray(kernel.reshape(-1, 5, 7)), window
    )
    np.testing.assert_allclose(actual, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("window", "size", "padding"),
    [
        (Window.centred(3, 3, stride=2), 3, ((1, 1), (1, 1))),
        (layers.BLOCK, 2, ((0, 0), (0, 0))),
    ],
)
def test_strided_convolve_equals_xla_convolution(rng, window, size, padding):
    x = rng.normal(size=(2, 8, 12, 3))
    kernel = rng.normal(size=(size, size, 3, 4))
    expected = lax.conv_general_dilated(
        x, kernel, (2, 2), padding, dimension_numbers=NHWC
    )
    actual = layers.convolve(
        jnp.asarray(x), jnp.asarray(kernel.reshape(-1, 3, 4)), window
    )
    np.testing.assert_allclose(actual, expected, atol=1e-12)


@pytest.mark.parametrize("upsample", [layers.upsample, layers.upsample_3x3])
def test_upsampling_is_the_transpose_of_the_strided_convolution(rng, upsample):
    size = 2 if upsample is layers.upsample else 3
    window = layers.BLOCK if size == 2 else Window.centred(3, 3, stride=2)
    x = rng.normal(size=(2, 4, 6, 3))
    kernel = rng.normal(size=(size * size, 3, 5))
    y = rng.normal(size=(2, 8, 12, 5))
    # <upsample(x), y> = <x, convolve(y)> for the kernel with its channels swapped.
    down = layers.convolve(jnp.asarray(y), jnp.asarray(kernel.swapaxes(1, 2)), window)
    up = upsample(jnp.asarray(x), jnp.asarray(kernel))
    assert up.shape == y.shape
    np.testing.assert_allclose(jnp.vdot(up, y), jnp.vdot(x, down), rtol=1e-12)


def test_max_pool_equals_a_loop_and_the_first_of_equals_wins(rng):
    x = rng.integers(0, 3, size=(2, 6, 4, 3)).astype(float)
    best, position = layers.max_pool(jnp.asarray(x))
    for b, i, j, c in np.ndindex(*best.shape):
        block = x[b, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c].reshape(-1)
        assert best[b, i, j, c] == block.max()
        assert position[b, i, j, c] == block.argmax()


def test_unpooling_puts_each_maximum_back(rng):
    x = rng.normal(size=(2, 6, 4, 3))
    best, position = layers.max_pool(jnp.asarray(x))
    placed = np.asarray(layers.max_unpool(best, position))
    assert np.count_nonzero(placed) == best.size
    np.testing.assert_array_equal(placed[placed != 0], x[placed != 0])
    again, same = layers.max_pool(jnp.where(placed == 0, -np.inf, placed))
    np.testing.assert_array_equal(again, best)
    np.testing.assert_array_equal(same, position)


def plain_normalise_rectify(x, scale, bias, slope, epsilon):
    with jax.numpy_rank_promotion("allow"):
        mean = x.mean(axis=(0, 1, 2))
        variance = ((x - mean) ** 2).mean(axis=(0, 1, 2))
        z = (x - mean) / jnp.sqrt(variance + epsilon) * scale + bias
        return jnp.where(z > 0, z, slope * z), mean, variance


def plain_patches(x, window):
    _, h, w, _ = x.shape
    taps = []
    for dy, dx in window.taps:
        moved = jnp.pad(x, ((0, 0), (20, 20), (20, 20), (0, 0)))
        moved = moved[:, 20 + dy : 20 + dy + h, 20 + dx : 20 + dx + w]
        taps.append(moved[:, :: window.stride, :: window.stride])
    return jnp.stack(taps, axis=3).reshape(*taps[0].shape[:3], -1)


def gradients(function, arguments, weights):
    def total(*arguments):
        return jnp.vdot(function(*arguments), weights)

    return jax.grad(total, argnums=tuple(range(len(arguments))))(*arguments)


def test_normalise_rectify_and_its_derivative_equal_jaxs_own(rng):
    x = jnp.asarray(rng.normal(2, 3, size=(3, 4, 4, 5)))
    parts = [jnp.asarray(rng.normal(size=5)) for _ in range(3)]
    weights = jnp.asarray(rng.normal(size=x.shape))

    def first(function):
        return lambda *a: function(*a, 1e-3)[0]

    ours: Any = layers.normalise_rectify
    plain: Any = plain_normalise_rectify
    for a, b in zip(ours(x, *parts, 1e-3), plain(x, *parts, 1e-3), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    for a, b in zip(
        gradients(first(ours), (x, *parts), weights),
        gradients(first(plain), (x, *parts), weights),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-11)


@pytest.mark.parametrize(
    "window",
    [Window.centred(3, 3, dilation=2), Window.centred(3, 3, stride=2), layers.BLOCK],
)
def test_patches_and_their_derivative_equal_jaxs_own(rng, window):
    x = jnp.asarray(rng.normal(size=(2, 8, 6, 3)))
    expected = plain_patches(x, window)
    np.testing.assert_array_equal(layers.patches(x, window), expected)
    weights = jnp.asarray(rng.normal(size=expected.shape))
    (ours,) = gradients(lambda x: layers.patches(x, window), (x,), weights)
    (plain,) = gradients(lambda x: plain_patches(x, window), (x,), weights)
    np.testing.assert_allclose(ours, plain, atol=1e-12)


@pytest.mark.parametrize("columns", [3, 9])
def test_product_derivative_equals_jaxs_own(rng, columns):
    x = jnp.asarray(rng.normal(size=(2, 3, 4, 6)))
    matrix = jnp.asarray(rng.normal(size=(6, columns)))
    weights = jnp.asarray(rng.normal(size=(2, 3, 4, columns)))
    ours = gradients(layers.product, (x, matrix), weights)
    plain = gradients(lambda x, m: x @ m, (x, matrix), weights)
    for a, b in zip(ours, plain, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_pooling_derivatives_equal_jaxs_own(rng):
    x = jnp.asarray(rng.normal(size=(2, 6, 4, 3)))
    weights = jnp.asarray(rng.normal(size=(2, 3, 2, 3)))
    (ours,) = gradients(lambda x: layers.max_pool(x)[0], (x,), weights)

    def plain(x):
        return x.reshape(2, 3, 2, 2, 2, 3).max(axis=(2, 4))

    np.testing.assert_allclose(ours, gradients(plain, (x,), weights)[0], atol=1e-12)
    position = layers.max_pool(x)[1]
    big = jnp.asarray(rng.normal(size=x.shape))
    (back,) = gradients(lambda v: layers.max_unpool(v, position), (weights,), big)
    picked = layers.max_unpool(jnp.ones_like(weights), position) * big
    np.testing.assert_allclose(back, picked.reshape(2, 3, 2, 2, 2, 3).sum((2, 4)))


def test_rectify_and_its_derivative_equal_jaxs_own(rng):
    x = jnp.asarray(rng.normal(size=(2, 3, 4, 5)))
    slope = jnp.asarray(rng.normal(size=5))
    weights = jnp.asarray(rng.normal(size=x.shape))

    def plain(x, slope):
        with jax.numpy_rank_promotion("allow"):
            return jnp.maximum(x, 0) + slope * jnp.minimum(x, 0)

    np.testing.assert_allclose(layers.rectify(x, slope), plain(x, slope))
    for a, b in zip(
        gradients(layers.rectify, (x, slope), weights),
        gradients(plain, (x, slope), weights),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-12)
