"""What holds of every network that can be trained, and of each that is not ENet."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from builders import draw_variables, shares_of
from jax import lax

from scarseg_jax.errors import InputError
from scarseg_jax.learn import fcn3d, modules, train
from scarseg_jax.learn.modules import Network
from scarseg_jax.learn.networks import network
from scarseg_jax.learn.patch import SIDE, Patch
from scarseg_jax.learn.rfcn import Memory

# Of one channel a slice and two classes.
PARAMETERS = {
    ("unet", 1): 482_466,
    ("fcn3d", 1): 821_726,
    ("fcn3d", 3): 821_726,
    ("rfcn", 1): 231_826,
    ("rfcn", 3): 287_122,
    ("rfcn", 5): 287_122,
    ("patch", 1): 36_418,
}
OTHERS = [("unet", 1), ("fcn3d", 3), ("rfcn", 3), ("patch", 1)]


# Compiled without care for speed: compiling takes most of the time here.
quickly = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


def shapes_of(model: Network, images: jax.Array) -> dict:
    def run():
        variables = model.init(jax.random.key(0), images, train=False)
        return variables, model.apply(variables, images, train=False)

    return jax.eval_shape(run)


@pytest.mark.parametrize(("variant", "slices"), PARAMETERS)
def test_a_network_has_so_many_parameters(variant, slices):
    model = network(variant, 2, slices=slices)
    variables, _ = shapes_of(model, jnp.zeros((1, 16, 16, slices)))
    found = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert found == PARAMETERS[variant, slices]


def test_a_unets_kernels_are_as_many_as_published():
    """481 k, computed layer by layer from 16, 32, 64 and 128 maps."""
    widths, into = (16, 32, 64, 128), 1
    kernels = 0
    for width in widths:
        kernels += 9 * (into * width + width * width)
        into = width
    for width in widths[-2::-1]:
        kernels += 4 * 2 * width * width + 9 * (2 * width * width + width * width)
    kernels += 16 * 2
    variables, _ = shapes_of(network("unet", 2), jnp.zeros((1, 16, 16, 1)))
    weights = jax.eval_shape(train.pack, variables)
    assert weights.kernels.size == kernels == 480_944


@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("variant", ["unet", "fcn3d", "rfcn", "patch"])
def test_any_size_channels_slices_and_classes(variant, slices):
    images = jnp.zeros((2, 24, 40, slices * 2))
    _, logits = shapes_of(network(variant, 5, slices=slices), images)
    assert logits.shape == (2, 24, 40, 5)


@pytest.mark.parametrize("variant", ["unet", "fcn3d", "rfcn", "patch"])
def test_all_kernels_are_drawn_and_decay(variant):
    """`init_state` and the optimiser know them by this name and these axes."""
    images = jnp.zeros((1, 16, 16, 3))
    variables, _ = shapes_of(network(variant, 2, slices=3), images)
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"]):
        assert (leaf.ndim == 3) == (path[-1].key == "kernel"), path
        assert leaf.ndim in (1, 3)


def test_a_network_of_another_version_is_named():
    with pytest.raises(InputError, match=r"model.variant is 'vnet'.*expected.* unet,"):
        network("vnet", 2)


@pytest.mark.parametrize("variant", ["unet", "fcn3d", "rfcn"])
def test_a_side_that_cannot_be_halved_so_often_is_refused(variant):
    with pytest.raises(ValueError, match="20 x 64"):
        shapes_of(network(variant, 2), jnp.zeros((1, 20, 64, 1)))


@pytest.mark.parametrize(("slices", "channels"), [(2, 4), (3, 4)])
def test_channels_that_are_not_those_of_the_slices_are_refused(slices, channels):
    with pytest.raises(ValueError, match=f"{channels} channels for {slices} slices"):
        modules.stack_of(jnp.zeros((1, 8, 8, channels)), slices)


def test_a_stack_has_the_first_slices_channels_first():
    stack = np.arange(2 * 3 * 4 * 5 * 2).reshape(2, 3, 4, 5, 2)  # B, S, H, W, C
    images = np.concatenate([stack[:, s] for s in range(3)], axis=-1)
    np.testing.assert_array_equal(modules.stack_of(jnp.asarray(images), 3), stack)


@functools.lru_cache
def two_members(variant: str, slices: int):
    """Returns a network, two members' variables, and images."""
    model = network(variant, 3, slices=slices)
    images = np.random.default_rng(0).normal(size=(2, 16, 16, slices))
    each = [draw_variables(model, seed=seed, channels=slices) for seed in range(2)]
    return model, each, images.astype(np.float32)


@pytest.mark.parametrize(("variant", "slices"), OTHERS)
def test_a_member_among_others_learns_as_it_does_among_its_like(variant, slices):
    model, each, images = two_members(variant, slices)
    shares = shares_of(images[..., 0] > 1, 3)

    def learn(variables):
        def loss(params):
            logits, updated = model.apply(
                variables | {"params": params},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(7)},
            )
            return train.cross_entropy(logits, shares, (1.0, 1.0, 1.0)), updated

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    def together(*members):
        return learned(jax.tree.map(lambda *leaves: np.stack(leaves), *members))

    learned = quickly(jax.vmap(learn))
    one, other = each
    both, alone = together(one, other), together(other, other)
    (loss, _), gradients = both
    assert abs(loss[0] - loss[1]) > 1e-3
    for leaf in jax.tree.leaves(gradients):
        assert np.isfinite(leaf).all()
        assert np.any(leaf != 0)  # nothing is there that does not learn
    jax.tree.map(
        lambda among, by_itself: np.testing.assert_array_equal(among[1], by_itself[0]),
        *(both, alone),
    )


@pytest.mark.parametrize(("variant", "slices"), OTHERS)
def test_a_frozen_network_says_what_it_said_before(variant, slices):
    model, (variables, _), images = two_members(variant, slices)
    frozen, small = model.freeze(variables)
    assert frozen == model.clone(frozen=True)
    assert set(small) == {"params"}

    @quickly
    def both(variables, small):
        return [
            model.apply(variables, images, train=False),
            frozen.apply(small, images, train=False),
        ]

    before, after = both(variables, small)
    assert np.abs(before).max() > 0.5
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", ["fcn3d", "rfcn"])
def test_the_answer_is_the_middle_slices_and_hangs_on_its_neighbours(variant):
    model, (variables, _), images = two_members(variant, 3)
    run = quickly(functools.partial(model.apply, train=False))
    said, changes = run(variables, images), []
    for channel in range(3):
        other = images.copy()
        other[..., channel] *= -2
        changes.append(np.abs(run(variables, other) - said).max())
    first, own, last = changes
    assert own > 0.1
    assert 1e-5 < first < own
    assert 1e-5 < last < own


@pytest.mark.parametrize("slices", [1, 3, 5])
def test_convolve_3d_equals_xla_convolution(rng, slices):
    x = rng.normal(size=(2, slices, 8, 6, 3))
    kernel = rng.normal(size=(3, 3, 3, 3, 4))
    with jax.enable_x64(True):
        expected = lax.conv_general_dilated(
            *(x, kernel, (1, 1, 1), "SAME"),
            dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
        )
        found = fcn3d.convolve_3d(jnp.asarray(x), jnp.asarray(kernel.reshape(27, 3, 4)))
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_memory_follows_the_equations_of_its_unit(rng):
    """On maps of one pixel, where a 3x3 convolution is its middle tap."""
    maps = rng.normal(size=(2, 3, 1, 1, 4)).astype(np.float32)
    memory = Memory(5)
    variables = quickly(memory.init)(jax.random.key(0), maps)
    see, gates, recall = (
        np.asarray(variables["params"][name]["kernel"])[4]
        for name in ("see", "gates", "recall")
    )
    state = np.zeros((2, 5))
    for x in maps[:, :, 0, 0].swapaxes(0, 1):
        seen, held = x @ see, state @ gates
        z = 1 / (1 + np.exp(-seen[:, :5] - held[:, :5]))
        r = 1 / (1 + np.exp(-seen[:, 5:10] - held[:, 5:]))
        n = np.tanh(seen[:, 10:] + (r * state) @ recall)
        state = z * state + (1 - z) * n
    found = quickly(memory.apply)(variables, maps)
    np.testing.assert_allclose(found[:, 0, 0], state, atol=1e-6)


def test_all_pixels_at_once_are_told_what_each_patch_tells(rng):
    """The oracle cuts out 17 x 17 pixels, and pools and convolves as one would."""
    model = Patch()
    variables = draw_variables(model, seed=1)
    image = rng.normal(size=(9, 12)).astype(np.float32)
    beyond = SIDE // 2
    padded = np.pad(image, beyond)
    patches = np.lib.stride_tricks.sliding_window_view(padded, (SIDE, SIDE))

    def layer(x, name, size):
        kernel = variables["params"][name]["kernel"].reshape(
            size, size, x.shape[-1], -1
        )
        y = lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        scale, bias = (
            variables["params"][f"{name}_norm"][k] for k in ("scale", "bias")
        )
        mean, variance = (
            variables["batch_stats"][f"{name}_norm"][k] for k in ("mean", "variance")
        )
        y = (np.asarray(y) - mean) / np.sqrt(variance + 1e-3) * scale + bias
        return np.maximum(y, 0)

    def pool(x):
        b, h, w, c = x.shape
        return x.reshape(b, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))

    x = patches.reshape(-1, SIDE, SIDE, 1)
    x = pool(layer(x, "conv1", 6))
    x = pool(layer(x, "conv2", 3))
    x = layer(x, "dense", 2)
    assert x.shape == (image.size, 1, 1, 64)
    classify = variables["params"]["classify"]
    expected = x[:, 0, 0] @ classify["kernel"][0] + classify["bias"]
    run = quickly(functools.partial(model.apply, train=False))
    found = run(variables, image[None, ..., None])
    np.testing.assert_allclose(found.reshape(-1, 2), expected, atol=1e-4)


def test_dropout_drops_half_of_a_patchs_values_and_keeps_the_mean():
    model = Patch(classes=64)
    variables = draw_variables(model)
    kernel = np.eye(64, dtype=np.float32)[None]
    variables["params"]["classify"] = {"kernel": kernel, "bias": np.zeros(64)}
    images = np.random.default_rng(0).normal(size=(1, 16, 16, 1)).astype(np.float32)

    def run(model):
        return model.apply(
            variables,
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )[0]

    kept, all_ = map(
        np.asarray, quickly(lambda: (run(model), run(model.clone(dropout=False))))()
    )
    above = all_ > 0
    stays = kept[above] > 0
    assert 0.48 < stays.mean() < 0.52
    np.testing.assert_allclose(kept[above][stays], 2 * all_[above][stays], rtol=1e-6)
