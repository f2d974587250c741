import numpy as np
import pytest

from scarseg_jax.errors import InputError
from scarseg_jax.learn import targets
from scarseg_jax.study import Tissue

# Of background, cavity, myocardium, scar and no-reflow, in the order of their labels.
TABLE = {
    "scar": [0, 0, 0, 1, 1],
    "scar_no_reflow": [0, 0, 0, 1, 2],
    "heart_scar": [0, 1, 2, 3, 3],
}
ALL = np.array([[*Tissue]], np.int8)


def test_every_set_of_classes_is_known_here():
    assert TABLE.keys() == targets.CLASSES.keys()


@pytest.mark.parametrize("name", TABLE)
def test_tissues_become_the_classes_of_the_table(name):
    classes = targets.to_classes(ALL, name)
    assert classes.tolist() == [TABLE[name]]
    assert classes.dtype == np.int8
    assert targets.count(name) == 1 + max(TABLE[name])


@pytest.mark.parametrize(
    ("name", "classes"),
    [("scar", (1,)), ("scar_no_reflow", (1, 2)), ("heart_scar", (3,))],
)
def test_the_classes_that_are_scar(name, classes):
    assert targets.scar_classes(name) == classes


@pytest.mark.parametrize("name", TABLE)
def test_who_is_sure_of_the_classes_is_sure_of_the_scar(rng, name):
    labels = rng.integers(0, len(Tissue), (3, 8, 8)).astype(np.int8)
    sure = np.eye(targets.count(name))[targets.to_classes(labels, name)]
    said = targets.scar_probability(sure[..., 1:], name)
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
    drawn = np.setdiff1d(ALL, missing)
    with pytest.raises(InputError, match=f"model.classes is {name}, .* is {words};"):
        targets.to_classes(drawn, name)


def test_scar_without_no_reflow_is_scar():
    labels = np.array([Tissue.BACKGROUND, Tissue.SCAR], np.int8)
    assert targets.to_classes(labels, "scar").tolist() == [0, 1]
