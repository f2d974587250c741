import dataclasses
import json

import pytest

from scarseg_jax import records
from scarseg_jax.errors import InputError
from scarseg_jax.judge.results import Size
from scarseg_jax.learn.recipe import Recipe
from scarseg_jax.run import RunRecord, TrainedMember
from tests.builders import run_record

WHERE, MEND = "run.json: damaged", "train again"
RECIPE = Recipe(
    epochs=2,
    batch_size=4,
    learning_rate=5e-4,
    decay=0.1,
    weight_decay=2e-4,
    augmentation="symmetries",
    class_weights=(1.0, 2.0),
    dice=False,
    averaging=0.0,
    selection="last",
)


def tree_of(record):
    """What JSON holds of a record."""
    return json.loads(records.to_json(record))


def refusal(kind, text):
    """The one line with which text is refused."""
    with pytest.raises(InputError) as caught:
        records.parse(kind, text, WHERE, MEND)
    line = str(caught.value)
    assert "\n" not in line
    return line


@dataclasses.dataclass(frozen=True)
class Cohort:
    """Records in the three ways they can be inside one another."""

    first: Recipe
    all: tuple[Recipe, ...]
    by_name: dict[str, Recipe]


def test_a_run_reads_back_as_it_was():
    run = run_record()
    back = records.parse(RunRecord, records.to_json(run), WHERE, MEND)
    assert back == run
    assert type(back.members[0]) is TrainedMember
    assert type(back.members) is tuple
    assert records.to_json(back) == records.to_json(run)


def test_what_differs_in_any_value_reads_back_as_another_run():
    run = run_record()
    for field in dataclasses.fields(RunRecord):
        tree = tree_of(run)
        old = tree[field.name]
        changed = {str: "other", bool: True, int: 9, float: 9.5, list: []}
        tree[field.name] = changed.get(type(old), {"other": "1"})
        if field.name == "typical":
            tree[field.name] = {"pixel_mm": [1.5, 2.0]}
        back = records.parse(RunRecord, json.dumps(tree), WHERE, MEND)
        assert back != run
        assert tree_of(back) == tree


def test_bytes_read_as_their_text():
    run = run_record(versions={"jax": "Gerät"})
    text = records.to_json(run)
    assert records.parse(RunRecord, text.encode(), WHERE, MEND) == run
    as_it_is = json.dumps(tree_of(run), ensure_ascii=False).encode()
    assert records.parse(RunRecord, as_it_is, WHERE, MEND) == run


def test_every_bit_of_a_number_is_kept(rng):
    for _ in range(50):
        seconds = float(rng.random() * 10.0 ** rng.integers(-300, 300))
        run = run_record(training_seconds=seconds)
        back = records.parse(RunRecord, records.to_json(run), WHERE, MEND)
        assert back.training_seconds == seconds


def test_records_of_records_and_what_is_undefined_read_back():
    other = dataclasses.replace(RECIPE, epochs=7)
    cohort = Cohort(RECIPE, (other, RECIPE), {"a": RECIPE, "b": other})
    assert records.parse(Cohort, records.to_json(cohort), WHERE, MEND) == cohort
    size = Size(1.5, 0.0, None, None, None, 2.0, None, None)
    assert records.parse(Size, records.to_json(size), WHERE, MEND) == size


def test_a_whole_number_is_a_float_too():
    tree = {**tree_of(run_record()), "training_seconds": 3}
    back = records.parse(RunRecord, json.dumps(tree), WHERE, MEND)
    assert back.training_seconds == 3
    assert type(back.training_seconds) is float


def test_what_is_not_json_is_said_in_one_line():
    text = records.to_json(run_record())
    for broken in ("", "{", text[: len(text) // 2], text + "}", b"\xff\xfe", b"\x00"):
        line = refusal(RunRecord, broken)
        assert line.startswith(f"{WHERE} (Invalid JSON: ")
        assert line.endswith(f"); {MEND}")


def test_json_of_another_shape_is_said_in_one_line():
    for other in ("[]", "null", "3", '"run"'):
        line = refusal(RunRecord, other)
        assert line.startswith(f"{WHERE} (")
        assert line.endswith(f"); {MEND}")


REQUIRED = [
    field.name
    for field in dataclasses.fields(RunRecord)
    if field.default is field.default_factory is dataclasses.MISSING
]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_field_is_named(name):
    tree = tree_of(run_record())
    del tree[name]
    assert refusal(RunRecord, json.dumps(tree)) == (
        f"{WHERE} ({name}: Field required); {MEND}"
    )


def test_a_run_from_before_there_was_context_or_a_neighbour_had_none():
    tree = tree_of(run_record(context=True, neighbours=1, crop="myocardium"))
    for name in ("context", "neighbours", "crop"):
        del tree[name]
    assert records.parse(RunRecord, json.dumps(tree), WHERE, MEND) == run_record()


def test_an_unknown_field_is_named():
    tree = tree_of(run_record())
    line = refusal(RunRecord, json.dumps({**tree, "colour": "red"}))
    assert line.startswith(f"{WHERE} (colour: ")
    tree["members"][1]["decision"]["colour"] = "red"
    line = refusal(RunRecord, json.dumps(tree))
    assert line.startswith(f"{WHERE} (members.1.decision.colour: ")
    assert line.endswith(f"); {MEND}")


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("protocol",), "2"),
        (("protocol",), 2.5),
        (("protocol",), True),
        (("protocol",), None),
        (("variant",), 7),
        (("symmetries",), 1),
        (("symmetries",), "false"),
        (("training_seconds",), "1.5"),
        (("members",), {}),
        (("settings",), []),
        (("versions", "jax"), 1),
        (("members", 0, "decision", "threshold"), "0.5"),
        (("members", 1, "member", "fold"), 0.5),
        (("members", 0, "test_patients", 0), 3),
        (("history", 1, "loss"), None),
    ],
)
def test_a_value_of_another_type_is_named_and_not_made_to_fit(path, wrong):
    tree = tree_of(run_record())
    inner = tree
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = wrong
    line = refusal(RunRecord, json.dumps(tree))
    assert line.startswith(f"{WHERE} ({'.'.join(map(str, path))}: ")
    assert line.endswith(f"); {MEND}")


def test_of_several_oddities_the_first_is_said():
    tree = {**tree_of(run_record()), "protocol": "2", "variant": 7, "colour": "red"}
    del tree["history"]
    assert refusal(RunRecord, json.dumps(tree)).count(WHERE) == 1


def test_a_record_refuses_its_own_values_in_its_own_words():
    wrong = "train.epochs is 0; expected a positive number"
    tree = {**tree_of(RECIPE), "epochs": 0}
    assert refusal(Recipe, json.dumps(tree)) == wrong
    with pytest.raises(InputError, match=wrong):
        dataclasses.replace(RECIPE, epochs=0)


@pytest.mark.parametrize("path", [("first",), ("all", 1), ("by_name", "b")])
def test_so_does_a_record_inside_another(path):
    tree = tree_of(Cohort(RECIPE, (RECIPE, RECIPE), {"a": RECIPE, "b": RECIPE}))
    inner = tree
    for key in path:
        inner = inner[key]
    inner["selection"] = "best"
    assert refusal(Cohort, json.dumps(tree)) == (
        "train.selection is 'best'; expected one of validation, last, oracle"
    )


def test_json_is_indented_one_field_a_line():
    assert records.to_json(Size(1.5, *[None] * 7)).splitlines()[:3] == [
        "{",
        ' "true_ml": 1.5,',
        ' "called_ml": null,',
    ]
