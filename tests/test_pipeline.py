"""Who answers for a study, and where, by networks that only say how sure they are."""

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from builders import draw_study, load, run_record

from scarseg_jax.errors import InputError
from scarseg_jax.measure.numbers import columns
from scarseg_jax.prepare.likeness import fingerprint
from scarseg_jax.run import Decision, Member, TrainedMember, Trial
from scarseg_jax.segment.model import Model
from scarseg_jax.segment.pipeline import find_scar
from scarseg_jax.study import Study
from scarseg_jax.writers import nifti
from scarseg_jax.writers.segmentation import describe, numbers_of, write_segmentation

SAID = (0.25, 0.5, 0.75)  # by the networks of folds 0, 1 and 2, everywhere
HELD_OUT = ("a", "b", "c")


def model_of(*, folds=(0, 1, 2), **values):
    """Returns networks of which each was tested on one patient; the others trained it."""
    members = tuple(
        TrainedMember(Member(f, 0), 1, 0.5, Decision(SAID[f] - 0.1), (HELD_OUT[f],))
        for f in folds
    )
    names = zip(HELD_OUT, range(3), strict=True)
    prints = {name: fingerprint(draw_study(name, seed=i).image) for name, i in names}
    record = run_record(fingerprints=prints, members=members, **values)

    def ask(images, wanted):
        assert len(images)
        said = [
            np.full((*w.shape, 64, 64, 1), SAID[f])
            for f, w in zip(folds, wanted, strict=True)
        ]
        return np.stack(said).astype(np.float32)

    return Model(Path("run"), record, members, ask)


@pytest.mark.parametrize(
    ("protocol", "context", "channels"), [(1, False, 1), (2, False, 1), (2, True, 3)]
)
def test_the_networks_see_what_their_run_says_they_saw(protocol, context, channels):
    model, seen = model_of(protocol=protocol, context=context), []

    def ask(images, wanted):
        seen.append(images.shape[1:])
        return model.ask(images, wanted)

    find_scar(dataclasses.replace(model, ask=ask), draw_study("p", seed=7))
    assert seen == [(64, 64, channels)]


def folds_of(members):
    return [trained.member.fold for trained in members]


def test_a_patient_of_the_run_is_answered_for_by_networks_that_never_saw_it(caplog):
    caplog.set_level(logging.INFO, "scarseg_jax")
    for fold, name in enumerate(HELD_OUT):
        study = draw_study("of any name", seed=fold)
        rescaled = dataclasses.replace(study, image=100 + 2 * study.image)
        for known in (study, rescaled):
            found = find_scar(model_of(), known)
            assert found.patient == name
            assert folds_of(found.members) == [fold]
            assert sorted([fold, *folds_of(found.left_out)]) == [0, 1, 2]
            assert found.probability.max() == pytest.approx(SAID[fold])
            assert found.disagreement is None
            assert found.decision.threshold == pytest.approx(SAID[fold] - 0.1)
            told = json.loads(json.dumps(describe(found, keep_identifiers=True)))
            assert told["unseen_members_only"] is True
            assert told["of_the_run"] is True
            assert told["patient_of_the_run"] == name
            assert told["members"][0]["test_patients"] == [name]
            neutral = json.dumps(describe(found))
            assert "patient_of_the_run" not in neutral
            assert "test_patients" not in neutral
            assert [m["fold"] for m in told["members_left_out"]] == [
                f for f in range(3) if f != fold
            ]
        assert "that of a patient of the run (correlation" in caplog.text
        assert "only the 1 of 3 networks that had not seen it are asked" in caplog.text
    assert all(record.levelno == logging.INFO for record in caplog.records)


def test_a_new_patient_is_answered_for_by_all(caplog):
    found = find_scar(model_of(), draw_study("a", seed=7))
    assert folds_of(found.members) == [0, 1, 2]
    assert found.probability.max() == pytest.approx(np.mean(SAID))
    assert found.disagreement is not None
    assert found.disagreement.max() == pytest.approx(np.std(SAID))
    told = describe(found)
    assert told["unseen_members_only"] is True
    assert told["of_the_run"] is False
    assert told["members_left_out"] == []
    assert not caplog.text


@pytest.mark.parametrize(
    "options",
    [
        {"folds": (1, 2)},
        {"selection": "oracle"},  # the test patients chose the epochs
    ],
)
def test_that_all_have_seen_the_patient_is_said_aloud(options, caplog):
    model = model_of(**options)
    found = find_scar(model, draw_study("p", seed=0))
    assert found.members == model.members
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"all {len(model.members)} networks" in record.message
    told = describe(found)
    assert told["unseen_members_only"] is False
    assert told["of_the_run"] is True
    assert told["members_left_out"] == []


@pytest.mark.parametrize("protocol", [1, 2])
def test_no_scar_is_called_outside_a_myocardium_that_is_given(protocol):
    study = draw_study("p", seed=7)
    found = find_scar(model_of(protocol=protocol), study, threshold=0.3)
    np.testing.assert_array_equal(found.scar, study.myocardium)
    assert not found.probability[~np.asarray(study.myocardium)].any()
    assert describe(found)["restricted_to_myocardium"] is True


def test_without_a_myocardium_protocol_1_looks_everywhere():
    study = draw_study("p", seed=7)
    bare = Study("p", study.image, study.geometry)
    found = find_scar(model_of(protocol=1), bare, threshold=0.3)
    assert found.scar.sum() > 3 * np.sum(np.asarray(study.myocardium))
    assert describe(found)["restricted_to_myocardium"] is False


@pytest.mark.parametrize("protocol", [1, 2])
def test_an_implausible_myocardium_is_refused_or_forced(protocol, caplog):
    study = draw_study("p", seed=7)
    filled = dataclasses.replace(
        study, myocardium=np.asarray(study.myocardium) | np.asarray(study.cavity)
    )
    with pytest.raises(InputError, match="the myocardium has no cavity in 2 of its 2"):
        find_scar(model_of(protocol=protocol), filled)
    found = find_scar(model_of(protocol=protocol), filled, threshold=0.3, force=True)
    np.testing.assert_array_equal(found.scar, np.asarray(filled.myocardium))
    assert "the myocardium has no cavity" in caplog.text


def test_what_protocol_3_finds_is_written_beside_the_scar_all_or_nothing(
    tmp_path, monkeypatch
):
    study = draw_study("p", seed=7)
    bare = dataclasses.replace(study, myocardium=None, cavity=None, scar=None)
    model = model_of(protocol=3, classes="heart_scar")

    def ask(images, wanted):
        y, x = np.mgrid[:64, :64] - 31.5
        far = np.hypot(y, x)
        wall = (far >= 8) & (far < 14)
        said = 0.9 * np.stack([far < 8, wall & (x < 0), wall & (x > 0)], axis=-1)
        return np.broadcast_to(said, (*wanted.shape, *said.shape)).astype(np.float32)

    found = find_scar(dataclasses.replace(model, ask=ask), bare)
    assert found.found_the_wall
    assert found.scar.any()
    assert not found.scar[~np.asarray(found.myocardium)].any()
    names = {"scar.nii.gz", "scar.json", "scar.csv", "scar_tissues.nii.gz"}
    report = write_segmentation(found, tmp_path / "scar.nii.gz")
    assert {path.name for path in tmp_path.iterdir()} == names
    labels = np.asarray(load(tmp_path / "scar_tissues.nii.gz").dataobj)
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    assert report["tissues"]["3"] == "scar"
    ml = np.prod(study.spacing_mm) / 1000
    lv_ml = np.isin(labels, (2, 3)).sum() * ml
    assert report["numbers"]["lv_mass_g"] == pytest.approx(1.05 * lv_ml)
    assert report["numbers"]["scar_volume_ml"] == pytest.approx(
        (labels == 3).sum() * ml
    )
    assert report["myocardium"] == "found"
    write_segmentation(found, tmp_path / "scar.nii.gz")  # our own are replaced
    write_segmentation(found, tmp_path / "scar.nii.gz", probability=True)
    for name, values in (
        ("probability", found.probability),
        ("disagreement", found.disagreement),
    ):
        there = np.asarray(load(tmp_path / f"scar_{name}.nii.gz").dataobj)
        np.testing.assert_array_equal(there.T, values)
    drawn = find_scar(dataclasses.replace(model, ask=ask), study)
    write_segmentation(drawn, tmp_path / "scar.nii.gz")  # nothing of the first stays
    left = {path.name for path in tmp_path.iterdir()}
    assert left == names  # the tissues are those that were given
    for _ in range(2):  # nor refuses the next
        write_segmentation(drawn, tmp_path / "scar.nii.gz", as_nifti=False)
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {"scar.json", "scar.csv"}
    (tmp_path / "other_tissues.nii.gz").write_bytes(b"another's")
    with pytest.raises(InputError, match=r"other_tissues\.nii\.gz is there"):
        write_segmentation(found, tmp_path / "other.nii.gz")
    given = find_scar(dataclasses.replace(model, ask=ask), study)
    assert not given.found_the_wall
    np.testing.assert_array_equal(given.myocardium, study.myocardium)
    assert describe(given)["myocardium"] == "given"
    monkeypatch.setattr(nifti, "write_mask", full_at_the_second())
    with pytest.raises(OSError, match="No space"):
        write_segmentation(found, tmp_path / "third.nii.gz")
    assert not list(tmp_path.glob("third*"))


def full_at_the_second():
    """Returns a writer of masks to a disk that holds one more."""
    left, write = [1], nifti.write_mask

    def write_mask(*arguments):
        if not left:
            raise OSError(28, "No space left on device")
        left.pop()
        write(*arguments)

    return write_mask


@pytest.mark.parametrize(
    ("probability", "odd"),
    [(0.0, "the myocardium is empty in all"), (0.9, "the myocardium has no cavity")],
)
def test_a_ventricle_that_cannot_be_one_is_refused(probability, odd, caplog):
    study = draw_study("p", seed=7)
    bare = dataclasses.replace(study, myocardium=None, cavity=None, scar=None)

    def ask(images, wanted):
        said = np.zeros((*wanted.shape, 64, 64, 3), np.float32)
        said[..., 20:40, 20:40, 1] = probability
        return said

    model = dataclasses.replace(model_of(protocol=3, classes="heart_scar"), ask=ask)
    with pytest.raises(InputError, match=f"found no left ventricle: {odd}"):
        find_scar(model, bare)
    found = find_scar(model, bare, force=True)
    assert found.found_the_wall
    assert odd in caplog.text


def test_the_interval_is_told_by_others_trials_and_not_for_a_threshold_of_ones_own():
    model, drawn = model_of(protocol=1), draw_study("p", seed=7)
    study = dataclasses.replace(drawn, myocardium=None, cavity=None, scar=None)
    assert find_scar(model, study).between_ml is None  # without trials
    trials = tuple(Trial(f"t{i}", 12.0, 6.0) for i in range(25))  # half of it seen
    members = tuple(dataclasses.replace(m, trials=trials) for m in model.members)
    run = dataclasses.replace(model.run, members=members)
    model = dataclasses.replace(model, run=run, members=members)
    found = find_scar(model, study)
    assert found.between_ml == pytest.approx(
        (found.scar_ml, found.scar_ml + (found.scar_ml + 2) * 6 / 8)
    )
    report = describe(found)
    assert report["scar_volume_between_ml"] == list(found.between_ml or ())
    low_g, high_g = report["numbers"]["scar_mass_between_g"]
    assert low_g == pytest.approx(1.05 * found.scar_ml)
    assert high_g == pytest.approx(1.05 * report["scar_volume_between_ml"][1])
    assert columns(numbers_of(found))["scar_mass_between_g"] == f"{low_g} {high_g}"
    assert "t3" not in json.dumps(report)
    assert find_scar(model, study, threshold=0.3).between_ml is None
    assert find_scar(model, drawn).between_ml is None  # nobody tried it in a given wall


def test_tissues_hold_all_that_was_given_too(tmp_path):
    study = draw_study("p", seed=7)
    core = np.asarray(study.scar) & (np.arange(80) > 47)
    given = dataclasses.replace(study, no_reflow=core)
    found = find_scar(model_of(protocol=2), given, threshold=0.3)
    report = write_segmentation(found, tmp_path / "scar.nii.gz")
    drawn = np.asarray(load(tmp_path / "scar_tissues.nii.gz").dataobj)
    dark = core & found.scar
    assert (drawn == 4).sum() == dark.sum() > 0
    assert (drawn == 1).sum() == np.sum(np.asarray(study.cavity))
    assert report["tissues"] == {
        "0": "background",
        "1": "cavity",
        "2": "myocardium",
        "3": "scar",
        "4": "no_reflow",
    }
    assert report["intended_use"] == "For research. Not a medical device."
    bare = dataclasses.replace(given, myocardium=None, cavity=None, no_reflow=None)
    found = find_scar(model_of(protocol=1), bare, threshold=0.3)
    assert write_segmentation(found, tmp_path / "scar.nii.gz")["tissues"] is None
    assert not (tmp_path / "scar_tissues.nii.gz").exists()


def test_less_scar_than_the_run_calls_in_healthy_patients_is_none():
    model, drawn = model_of(protocol=1), draw_study("p", seed=7)
    bare = {"myocardium": None, "cavity": None, "scar": None}
    study = dataclasses.replace(drawn, **bare)
    plain = find_scar(model, study)
    volume_ml = plain.scar_ml
    assert plain.dismissed_ml == plain.decision.min_ml == 0 < volume_ml
    trials = tuple(
        Trial(*one)
        for one in (
            ("a", 0.0, 2 * volume_ml),
            ("s", 0.0, 0.5 * volume_ml),
            ("t", 9.0, 9 * volume_ml),
        )
    )
    members = (dataclasses.replace(model.members[0], trials=trials), *model.members[1:])
    run = dataclasses.replace(model.run, members=members)
    model = dataclasses.replace(model, run=run, members=members)
    found = find_scar(model, study)
    assert found.decision.min_ml == found.dismissed_ml * 2 == 2 * volume_ml
    assert not found.scar.any()
    report = describe(found)
    assert (report["min_ml"], report["dismissed_volume_ml"]) == (
        2 * volume_ml,
        volume_ml,
    )
    assert "scar is too little to be called" in " ".join(report["numbers"]["warnings"])
    assert describe(plain)["dismissed_volume_ml"] == 0
    np.testing.assert_array_equal(found.probability, plain.probability)
    anyhow = find_scar(model, study, threshold=plain.decision.threshold)
    np.testing.assert_array_equal(anyhow.scar, plain.scar)
    known = dataclasses.replace(draw_study("of any name", seed=0), **bare)
    own = find_scar(model, known)  # a's own does not count
    assert own.patient == "a"
    assert own.scar.any()
    given = find_scar(model, drawn)  # nobody tried it in a given wall
    assert given.scar.any()
    assert given.decision.min_ml == 0
    fixed = dataclasses.replace(run, settings={**run.settings, "threshold": 0.4})
    told = find_scar(dataclasses.replace(model, run=fixed), study)
    np.testing.assert_array_equal(told.scar, plain.scar)
