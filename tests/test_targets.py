import numpy as np
import pytest
from builders import shares_of

from scarseg_jax.errors import InputError
from scarseg_jax.learn import targets
from scarseg_jax.study import Tissue

# Of background, cavity, myocardium, scar and no-reflow, in the order of their labels.
TABLE = {
    "scar": [0, 0, 0, 1, 1],
    "scar_no_reflow": [0, 0, 0, 1, 2],
    "heart_scar": [0, 1, 2, 3, 3],
}
ALL = np.eye(len(Tissue), dtype=np.float32)[:, 1:]  # a pixel of each


def test_every_set_of_classes_is_known_here():
    assert TABLE.keys() == targets.CLASSES.keys()


@pytest.mark.parametrize("name", TABLE)
def test_tissues_become_the_classes_of_the_table(name):
    shares = targets.class_shares(ALL, name)
    np.testing.assert_array_equal(shares, shares_of(TABLE[name], 1 + max(TABLE[name])))
    assert shares.dtype == np.float32
    assert targets.count(name) == 1 + max(TABLE[name])


def test_a_pixels_shares_of_tissues_add_up():
    shares = targets.class_shares(np.array([[0.1, 0.2, 0.3, 0.15]]), "heart_scar")
    np.testing.assert_allclose(shares, [[0.1, 0.2, 0.45]])


def test_of_the_wall_alone_scar_at_its_border_is_scar():
    # Half cavity and half scar; a border in the wall; hardly any wall; none.
    tissues = [
        [0.5, 0, 0.5, 0],
        [0, 0.3, 0.2, 0.1],
        [0.9, 0.005, 0.005, 0],
        [0.4, 0, 0, 0],
    ]
    wanted = [[0, 0, 1, 0], [0, 0.5, 1 / 3, 1 / 6], [0, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(targets.of_wall(np.array(tissues)), wanted)


@pytest.mark.parametrize(
    ("name", "classes"),
    [("scar", (1,)), ("scar_no_reflow", (1, 2)), ("heart_scar", (3,))],
)
def test_the_classes_that_are_scar(name, classes):
    assert targets.scar_classes(name) == classes


@pytest.mark.parametrize("name", TABLE)
def test_who_is_sure_of_the_classes_is_sure_of_the_scar(rng, name):
    labels = rng.integers(0, len(Tissue), (3, 8, 8))
    sure = targets.class_shares(ALL[labels], name)
    said = targets.scar_probability(sure, name)
    np.testing.assert_array_equal(said == 1, labels >= Tissue.SCAR)
    np.testing.assert_array_equal(said == 0, labels < Tissue.SCAR)


@pytest.mark.parametrize(
    ("name", "said", "scar"),
    [
        ("scar", [0.25], 0.25),
        ("scar_no_reflow", [0.25, 0.5], 0.75),
        ("heart_scar", [0.5, 0.25, 0.125], 0.125),
    ],
)
def test_the_probability_of_scar_is_that_of_its_classes_together(name, said, scar):
    probability = np.tile(np.float32(said), (2, 3, 1))
    answer = targets.scar_probability(probability, name)
    assert answer.tolist() == [[scar] * 3] * 2
    assert answer.dtype == np.float32


@pytest.mark.parametrize(
    ("name", "missing", "words"),
    [
        ("scar", (Tissue.SCAR, Tissue.NO_REFLOW), "scar or no_reflow"),
        ("scar_no_reflow", (Tissue.NO_REFLOW,), "no_reflow"),
        ("heart_scar", (Tissue.CAVITY,), "cavity"),
        ("heart_scar", (Tissue.MYOCARDIUM,), "myocardium"),
    ],
)
def test_a_class_that_was_not_drawn_is_refused_by_name(name, missing, words):
    drawn = ALL[np.setdiff1d([*Tissue], missing)]
    with pytest.raises(InputError, match=f"model.classes is {name}, .* is {words};"):
        targets.class_shares(drawn, name)


def test_scar_without_no_reflow_is_scar():
    tissues = ALL[[Tissue.BACKGROUND, Tissue.SCAR]]
    assert targets.class_shares(tissues, "scar").tolist() == [[0], [1]]
