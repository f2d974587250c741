import jax
import jax.numpy as jnp
import numpy as np
import pytest
from builders import draw_variables
from flax.errors import FlaxError

from scarseg_jax.learn import enet
from scarseg_jax.learn.enet import ENet


def parameter_count(variant, channels=1, classes=2):
    model = ENet(variant=variant, classes=classes)
    image = jnp.zeros((1, 64, 64, channels))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def test_pytorch_enet_has_the_parameters_of_the_reference():
    # The reference's README: 348,436 parameters with 1 channel and 2 classes.
    assert parameter_count("pytorch_enet") == 348_436


def test_encoder_and_decoder_have_the_papers_number_of_bottlenecks():
    # Paper, section 2: stages 2 to 6 have 5, 9, 8, 3 and 2 bottlenecks.
    names = [block.name for block in (*enet.ENCODER, *enet.decoder(14))]
    stages = [
        sum(name.startswith(f"bottleneck{n}") for name in names) for n in range(6)
    ]
    assert stages == [0, 5, 9, 8, 3, 2]


@pytest.mark.parametrize("variant", enet.LAYOUTS)
def test_any_size_channels_and_classes(variant):
    model = ENet(variant=variant, classes=5)
    images = jnp.ones((2, 24, 40, 3))

    def run(images):
        variables = model.init(jax.random.key(0), images, train=False)
        return model.apply(variables, images, train=False)

    assert jax.eval_shape(run, images).shape == (2, 24, 40, 5)


def test_a_side_that_is_no_multiple_of_8_is_refused():
    with pytest.raises(ValueError, match="20 x 64"):
        ENet().init(jax.random.key(0), jnp.zeros((1, 20, 64, 1)), train=False)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="unet"):
        ENet(variant="unet").init(
            jax.random.key(0), jnp.zeros((1, 64, 64, 1)), train=False
        )


@pytest.fixture(scope="module")
def small():
    model = ENet()
    images = jax.random.normal(jax.random.key(1), (2, 16, 16, 1))
    variables = jax.jit(lambda: model.init(jax.random.key(0), images, train=False))()
    return model, variables, images


def test_dropout_needs_training_and_follows_its_key(small):
    model, variables, images = small

    @jax.jit
    def run(key):
        logits, _ = model.apply(
            variables,
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        return logits

    one, same, other = (run(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)


def test_training_moves_the_running_statistics_a_tenth_of_the_way(small):
    _, variables, images = small
    model = ENet(dropout=False)
    _, updated = jax.jit(
        lambda: model.apply(variables, images, train=True, mutable=["batch_stats"])
    )()
    mean = updated["batch_stats"]["initial_norm"]["mean"][-1]
    # The last map of the stem is the pooled image itself.
    pooled = np.asarray(images).reshape(2, 8, 2, 8, 2).max(axis=(2, 4)).mean()
    np.testing.assert_allclose(mean, 0.1 * pooled, rtol=1e-5)


def test_each_image_is_predicted_alone(small):
    model, variables, images = small
    run = jax.jit(lambda x: model.apply(variables, x, train=False))
    np.testing.assert_allclose(run(images)[:1], run(images[:1]), atol=1e-5)


@pytest.mark.parametrize("variant", ["seed", "pytorch_enet"])
def test_a_frozen_network_says_what_it_said_before(rng, variant):
    model = ENet(variant)
    images = rng.standard_normal((2, 32, 32, 1)).astype(np.float32)
    variables = draw_variables(model)
    frozen, small = model.freeze(variables)
    assert frozen == ENet(variant, frozen=True)
    assert set(small) == {"params"}

    @jax.jit
    def both(variables, small):
        return [
            model.apply(variables, images, train=False),
            frozen.apply(small, images, train=False),
        ]

    before, after = both(variables, small)
    assert np.abs(before).max() > 1
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)


def test_freezing_works_the_running_averages_in():
    model = ENet()
    variables = draw_variables(model)
    _, small = model.freeze(variables)
    params, statistics = (
        variables[name]["initial_norm"] for name in ("params", "batch_stats")
    )
    gain = params["scale"] / np.sqrt(statistics["variance"] + 1e-3)
    norm = small["params"]["initial_norm"]
    np.testing.assert_allclose(norm["scale"], gain, rtol=1e-5)
    offset = params["bias"] - statistics["mean"] * gain
    np.testing.assert_allclose(norm["bias"], offset, rtol=1e-5, atol=1e-6)
    same = small["params"]["initial"]["kernel"]
    np.testing.assert_array_equal(same, variables["params"]["initial"]["kernel"])


@pytest.mark.parametrize("train", [False, True])
def test_a_network_without_its_running_averages_is_refused(train):
    """It is not taken for a frozen one, whose variables look the same."""
    model = ENet(dropout=False)
    variables = draw_variables(model)
    images = jnp.zeros((1, 16, 16, 1))
    for params in (variables["params"], model.freeze(variables)[1]["params"]):
        with pytest.raises(FlaxError, match="batch_stats"):
            model.apply({"params": params}, images, train=train)
