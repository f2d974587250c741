"""Many networks at once, which say what each of them says."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from builders import draw_blobs, draw_variables

from scarseg_jax.errors import InputError
from scarseg_jax.learn import ensemble, train
from scarseg_jax.learn.augment import apply_symmetry
from scarseg_jax.learn.enet import ENet
from scarseg_jax.prepare.folds import SYMMETRIES

MEMBERS = 3
SIZE = 16


@functools.lru_cache
def networks(classes=2):
    """Returns a network and the variables of three of its kind."""
    model = ENet(classes=classes)
    each = [draw_variables(model, seed=seed) for seed in range(MEMBERS)]
    return model, jax.tree.map(lambda *leaves: np.stack(leaves), *each)


@functools.lru_cache
def asked(*, symmetries, classes=2):
    return ensemble.make_predictor(*networks(classes), symmetries=symmetries)


@jax.jit
def ask_alone(variables, images):
    """Returns what one network says, as it was trained."""
    return train.predict(ENet(), variables, images, len(images))


def test_members_fill_up_any_number_of_devices_and_come_back():
    mesh = ensemble.member_mesh(5)
    assert mesh.size == 2
    tree = {"a": np.arange(10).reshape(5, 2), "b": np.arange(5, dtype=np.float32)}
    spread = ensemble.put_members(tree, mesh)
    assert spread["b"].tolist() == [0, 1, 2, 3, 4, 4]
    jax.tree.map(np.testing.assert_array_equal, ensemble.take_members(spread, 5), tree)


def test_there_are_no_more_devices_than_members():
    assert ensemble.member_mesh(1).size == 1


def test_each_member_has_its_own_arguments_and_those_that_all_share():
    mesh = ensemble.member_mesh(MEMBERS)
    run = ensemble.map_members(
        lambda own, all_, other: own * all_.sum() + other,
        mesh,
        shared=(False, True, False),
    )
    own, other = np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 30.0])
    said = run(
        ensemble.put_members(own, mesh),
        ensemble.put_shared(np.array([3.0, 4.0]), mesh),
        ensemble.put_members(other, mesh),
    )
    assert ensemble.take_members(said, MEMBERS).tolist() == [17, 34, 51]


@pytest.mark.parametrize("wanted_of_each", [2, ensemble.PREDICT_BATCH + 3])
def test_predicting_many_equals_predicting_each(rng, wanted_of_each):
    images = draw_blobs().image
    wanted = rng.integers(0, len(images), (MEMBERS, wanted_of_each))
    together = asked(symmetries=False)(images, wanted)
    assert together.shape == (MEMBERS, wanted_of_each, SIZE, SIZE, 1)
    assert together.dtype == np.float32
    for member in range(MEMBERS):
        own = jax.tree.map(lambda leaf, member=member: leaf[member], networks()[1])
        each = np.asarray(ask_alone(own, images))
        np.testing.assert_allclose(together[member], each[wanted[member]], atol=1e-5)
    assert not np.allclose(together[0], together[1], atol=0.1)


def test_what_is_wanted_of_one_member_changes_no_others_answer():
    images = draw_blobs().image
    wanted = np.array([[0, 1, 2], [3, 4, -1], [5, -1, -1]])
    said = asked(symmetries=False)(images, wanted)
    full = asked(symmetries=False)(images, np.array([[0, 1, 2], [3, 4, 9], [5, 8, 7]]))
    np.testing.assert_array_equal(said[wanted >= 0], full[wanted >= 0])


def test_averaging_over_symmetries_makes_the_answer_turn_with_the_image():
    images = draw_blobs().image[:1]
    wanted = np.zeros((MEMBERS, 1), int)
    ask = asked(symmetries=True)
    said = ask(images, wanted)
    for turn in (
        lambda image: np.rot90(image, axes=(-3, -2)),
        lambda image: np.flip(image, -2),
        lambda image: np.swapaxes(image, -3, -2),
    ):
        np.testing.assert_allclose(turn(said), ask(turn(images), wanted), atol=1e-5)
    plain = asked(symmetries=False)(images, wanted)
    assert not np.allclose(plain, said, atol=0.01)


def test_the_average_is_of_the_answers_to_all_eight_turned_back():
    image = draw_blobs().image[0]
    # Where each turned image has the pixel (y, x): turning an image of pixel numbers.
    number = jnp.arange(SIZE * SIZE).reshape(SIZE, SIZE)
    places = [np.asarray(apply_symmetry(number, s)) for s in jnp.arange(SYMMETRIES)]
    turned = np.stack([image.reshape(-1, 1)[place] for place in places])
    wanted = np.tile(np.arange(SYMMETRIES), (MEMBERS, 1))
    answers = asked(symmetries=False)(turned, wanted)
    expected = np.zeros((MEMBERS, SIZE * SIZE))
    for place, answer in zip(places, answers.swapaxes(0, 1), strict=True):
        expected[:, place.reshape(-1)] += answer.reshape(MEMBERS, -1) / SYMMETRIES
    said = asked(symmetries=True)(image[None], np.zeros((MEMBERS, 1), int))
    np.testing.assert_allclose(said.reshape(MEMBERS, -1), expected, atol=1e-5)


def test_another_number_of_images_traces_and_compiles_nothing_anew():
    """In the predictor's life: networks are asked about studies of any length."""
    images = draw_blobs(30).image
    events = []

    def note(event, duration_secs, **_):
        del duration_secs
        if event.startswith("/jax/core/compile"):
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        ask = ensemble.make_predictor(*networks(), symmetries=True)
        first = ask(images[:3], np.array([[0], [1], [2]]))
        assert {name.rpartition("/")[2] for name in events} >= {
            "jaxpr_trace_duration",
            "backend_compile_duration",
        }
        events.clear()
        again = ask(images, np.tile(np.arange(30), (MEMBERS, 1)))
        assert events == []
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert again.shape[1] == 30
    for member in range(MEMBERS):
        np.testing.assert_allclose(first[member, 0], again[member, member], atol=1e-6)


def test_the_probabilities_of_several_classes_sum_to_at_most_one():
    said = asked(symmetries=True, classes=4)(
        draw_blobs().image, np.tile(np.arange(5), (MEMBERS, 1))
    )
    assert said.shape == (MEMBERS, 5, SIZE, SIZE, 3)
    assert said.min() >= 0
    total = said.sum(axis=-1)
    assert total.max() <= 1 + 1e-6
    assert total.min() < 0.5  # what is left is the background's
    assert (said.max(axis=(0, 1, 2, 3)) > 0.5).all()


def test_the_networks_are_asked_as_they_were_when_the_predictor_was_made():
    model, variables = networks()
    mine = jax.tree.map(np.copy, variables)
    ask = ensemble.make_predictor(model, mine, symmetries=False)
    for leaf in jax.tree.leaves(mine):
        leaf[:] = 0
    wanted = np.array([[0], [1], [2]])
    images = draw_blobs().image
    np.testing.assert_array_equal(
        ask(images, wanted), asked(symmetries=False)(images, wanted)
    )


def test_networks_of_another_versions_shapes_are_refused():
    model, variables = networks()
    wider = model.clone(classes=3)  # whose last kernel is another
    ask = ensemble.make_predictor(wider, variables, symmetries=False)
    lacking = {**variables, "params": dict(list(variables["params"].items())[1:])}
    wanted = np.array([[0], [1], [2]])
    with pytest.raises(InputError, match="other shapes than this version's"):
        ask(draw_blobs().image, wanted)
    with pytest.raises(InputError, match="other shapes than this version's"):
        ensemble.make_predictor(model, lacking, symmetries=False)(
            draw_blobs().image, wanted
        )
