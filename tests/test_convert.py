"""Parity with davidtvs/PyTorch-ENet; ../shared/reference says how it was computed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scarseg_jax.errors import InputError
from scarseg_jax.learn.convert import from_pytorch_enet
from scarseg_jax.learn.enet import ENet
from scarseg_jax.learn.train import cross_entropy


def named(reference, prefix):
    return {k.removeprefix(prefix): v for k, v in reference.items() if prefix in k}


def _leaves(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return ((jax.tree_util.keystr(path), np.asarray(leaf)) for path, leaf in leaves)


def relative(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def test_the_names_are_those_of_a_new_network(reference):
    variables = from_pytorch_enet(named(reference, "param/"))
    model = ENet(variant="pytorch_enet")
    image = jnp.zeros((1, 64, 64, 1))
    fresh = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, fresh)


def test_logits_equal_pytorchs(reference):
    variables = from_pytorch_enet(named(reference, "param/"))
    images = reference["input"].transpose(0, 2, 3, 1)
    model = ENet(variant="pytorch_enet", dropout=False)
    logits = model.apply(variables, images, train=False)
    theirs = reference["logits_eval"].transpose(0, 2, 3, 1)
    assert relative(logits, theirs) < 1e-5
    logits, _ = model.apply(variables, images, train=True, mutable=["batch_stats"])
    theirs = reference["logits_train"].transpose(0, 2, 3, 1)
    assert relative(logits, theirs) < 1e-4


# In exact arithmetic an input of each of these three rectifiers (bottleneck, layer,
# channel) is within 2e-6 of zero, and the reference's float32 put it on the other side,
# which shows in the gradients of all that comes before. Moving the channels' offsets by
# this much puts them on the reference's side.
KINKS = (
    ("bottleneck4_1", "expand_norm", 12, -2e-6),
    ("bottleneck3_2", "middle_norm", 1, -3.5e-6),
    ("bottleneck3_7", "expand_norm", 117, -1.3e-6),
)


def test_every_gradient_equals_pytorchs(reference):
    """In float64, so that the only rounding is the reference's own."""
    theirs = from_pytorch_enet(named(reference, "grad/"))["params"]
    with jax.enable_x64(True):
        variables = jax.tree.map(
            lambda a: a.astype(np.float64),
            from_pytorch_enet(named(reference, "param/")),
        )
        for block, layer, channel, move in KINKS:
            variables["params"][block][layer]["bias"][channel] += move
        images = jnp.asarray(reference["input"].transpose(0, 2, 3, 1), jnp.float64)
        scar = jnp.asarray(reference["target"] == 1, jnp.float64)[..., None]
        model = ENet(variant="pytorch_enet", dropout=False)

        def loss_fn(params):
            logits: Any = model.apply(
                {"params": params, "batch_stats": variables["batch_stats"]},
                images,
                train=True,
                mutable=["batch_stats"],
            )[0]
            return cross_entropy(logits, scar, (1.0, 1.0))

        loss, ours = jax.jit(jax.value_and_grad(loss_fn))(variables["params"])
    assert abs(float(loss) - float(reference["loss_train"])) < 1e-6
    ours, theirs = dict(_leaves(ours)), dict(_leaves(theirs))
    assert ours.keys() == theirs.keys()
    # A shared slope's gradient is one number, thousands of terms that nearly cancel:
    # it is measured against the largest of its kind.
    largest_slope = max(abs(g).max() for path, g in theirs.items() if "slope" in path)
    for path, gradient in ours.items():
        scale = largest_slope if "slope" in path else np.abs(theirs[path]).max()
        assert np.abs(gradient - theirs[path]).max() < 1e-4 * scale, path


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="backbone"):
        from_pytorch_enet({"backbone.weight": np.zeros((1, 1, 3, 3))})
