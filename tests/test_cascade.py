"""Networks that need the myocardium, and others that find it for them."""

import dataclasses
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from builders import draw_study, make_settings

from scarseg_jax import experiment, files, finders
from scarseg_jax.errors import InputError
from scarseg_jax.judge import tables
from scarseg_jax.learn import bundle, checkpoint
from scarseg_jax.prepare.dataset import DataSet
from scarseg_jax.prepare.folds import make_folds
from scarseg_jax.prepare.likeness import fingerprint
from scarseg_jax.readers import phantom
from scarseg_jax.run import Member, RunRecord, Trial
from scarseg_jax.segment.look import Networks, Question, View, look
from scarseg_jax.segment.model import IN_THE_BOX, SIMULATED, load_model
from scarseg_jax.segment.pipeline import find_scar
from scarseg_jax.settings import Folds
from scarseg_jax.shown import shown
from scarseg_jax.split import make_split, patients_of
from scarseg_jax.study import Slices

PATIENTS = 6
IN_WALL = View(2, True, 1, "myocardium", "scar")
FINDING = View(3, False, 1, "hough", "heart_scar")


def settings(finder, **values):
    few = {"data__phantom_patients": PATIENTS, "train__epochs": 1, "folds__k": 2}
    return make_settings("cascade", **{"finder": str(finder), **few, **values})


def run(folder, given):
    experiment.run(folder, given, experiment.open_data(given), "all")


@pytest.fixture(scope="module")
def finder(tmp_path_factory):
    """A bundle of the box's networks, as if two of them had held out the phantoms."""
    variables, record = bundle.load(IN_THE_BOX / bundle.FINDER)
    names = phantom.list_patients(PATIENTS)
    studies = {name: phantom.simulate_study(name) for name in names}
    patient = np.concatenate([[name] * len(s.image) for name, s in studies.items()])
    scarred = [np.asarray(s.scar).any(axis=(1, 2)) for s in studies.values()]
    folds = make_folds(patient, np.concatenate(scarred), k=2, validation=0.125, seed=0)
    members = tuple(
        dataclasses.replace(
            record.members[number],
            member=Member(number, 0),
            test_patients=tuple(np.unique(patient[fold.test]).tolist()),
            trials=tuple(
                Trial(name, 1.0, 1.0)
                for name in np.unique(patient[fold.validation]).tolist()
            ),
        )
        for number, fold in enumerate(folds)
    )
    few = jax.tree.map(lambda leaf: leaf[:2], variables)
    home = tmp_path_factory.mktemp("finder") / "bundle"
    prints = {name: fingerprint(study.image) for name, study in studies.items()}
    record = dataclasses.replace(record, members=members, fingerprints=prints)
    bundle.save(home, few, record, "", {})
    return home


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A bundle of the box's other networks, as if they had learned on phantoms."""
    variables, record = bundle.load(IN_THE_BOX)
    home = tmp_path_factory.mktemp("start") / "bundle"
    record = dataclasses.replace(record, source="phantom", finder="")
    bundle.save(home, variables, record, "", {})
    return home


@pytest.fixture(scope="module")
def workdir(finder, start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cascade") / "run"
    run(folder, settings(finder, start=str(start)))
    return folder


def test_a_run_says_what_its_networks_began_as_and_is_better_for_it(workdir, start):
    found = tables.read(workdir).summary
    assert found.about.run is not None
    assert found.about.run.start == files.sha256(start / files.SUMS)
    mean = found.native.dice_3d_mean.mean
    assert mean is not None
    assert mean > 0.2  # after one epoch, which from nothing finds none


def test_what_is_judged_is_what_a_user_gets_who_draws_nothing(workdir):
    found, model = tables.read(workdir), load_model(workdir)
    assert found.summary.about.protocol == 3
    assert found.summary.ventricle is not None
    record = found.summary.about.run
    assert record is not None
    for trained in record.members:
        for name in trained.test_patients:
            study = phantom.simulate_study(name)
            bare = dataclasses.replace(study, myocardium=None, cavity=None, scar=None)
            said = find_scar(model, bare, force=True)
            assert [m.member for m in said.members] == [trained.member]
            assert said.found_the_wall
            (row,) = [row for row in found.patients if row.patient == name]
            assert said.scar_ml == pytest.approx(row.size.called_ml, abs=1e-3)
            assert not said.scar[~np.asarray(said.myocardium)].any()


def test_with_the_myocardium_drawn_nobody_looks_for_it(workdir, monkeypatch):
    model = load_model(workdir)
    assert model.finder is not None

    def ask(images, wanted):
        raise AssertionError("the myocardium was looked for")

    deaf = dataclasses.replace(model.finder, ask=ask)
    study = phantom.simulate_study("phantom_002")
    said = find_scar(dataclasses.replace(model, finder=deaf), study)
    np.testing.assert_array_equal(said.myocardium, study.myocardium)
    assert said.between_ml is None  # how far off it is then, nobody has tried


def test_a_bundle_has_those_who_find_the_myocardium_and_is_refused_without(
    workdir, tmp_path
):
    variables, record = checkpoint.load(workdir / "checkpoint", RunRecord)
    home = tmp_path / "bundle"
    bundle.save(home, variables, record, "", {}, finder=workdir / bundle.FINDER)
    study = phantom.simulate_study("phantom_001")
    bare = dataclasses.replace(study, myocardium=None, cavity=None, scar=None)
    one, two = (
        find_scar(load_model(path), bare, force=True) for path in (workdir, home)
    )
    # Rounded to float16; at the wall's edge that decides now and then for one side.
    assert np.abs(one.probability - two.probability).mean() < 1e-3
    for record in home.rglob(bundle.RUN):
        assert str(workdir) not in record.read_text()
        assert "phantom_0" not in record.read_text()  # nobody's name
    other = tmp_path / "other"
    shutil.copytree(home, other)
    weights = other / bundle.FINDER / bundle.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="damaged"):
        load_model(other)
    run_only = tmp_path / "run"
    shutil.copytree(workdir / "checkpoint", run_only / "checkpoint")
    with pytest.raises(InputError, match="that find the myocardium are missing"):
        load_model(run_only)
    shutil.copytree(IN_THE_BOX / bundle.FINDER, run_only / bundle.FINDER)
    with pytest.raises(InputError, match="other networks than found the myocardium"):
        load_model(run_only)


def test_where_the_myocardium_is_given_a_bundles_others_answer(workdir, tmp_path):
    home = tmp_path / "bundle"
    command = [sys.executable, "-m", "scarseg_jax.export", f"--workdir={workdir}"]
    for drawn, words in (
        (tmp_path, "is no bundle; make one of a run of Protocol 2"),
        (workdir / bundle.FINDER, "is of Protocol 3; expected Protocol 2"),
        (SIMULATED, f"{home}: 2 networks"),
    ):
        asked = [*command, f"--output={home}", f"--drawn={drawn}"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        assert words in done.stdout + done.stderr
        assert done.returncode == (0 if drawn == SIMULATED else 2)
    assert "the networks in the folder drawn" in (home / bundle.CARD).read_text()
    study = phantom.simulate_study("phantom_001")
    said, theirs = (find_scar(load_model(path), study) for path in (home, SIMULATED))
    np.testing.assert_array_equal(said.probability, theirs.probability)
    assert said.decision == theirs.decision
    assert said.between_ml == theirs.between_ml is not None
    bare = dataclasses.replace(study, myocardium=None, cavity=None, scar=None)
    found = find_scar(load_model(home), bare, force=True)
    assert len(found.members) == 1  # of the run's two, which had not seen it
    card = home / bundle.DRAWN / bundle.CARD
    card.write_text(card.read_text() + "x")
    with pytest.raises(InputError, match="damaged"):
        load_model(home)


def test_a_trial_of_one_fold_needs_who_finds_the_myocardium_for_it_alone(
    finder, tmp_path
):
    variables, record = bundle.load(finder)
    (one,) = (n for n, m in enumerate(record.members) if m.member.fold == 1)
    alone = dataclasses.replace(record, members=(record.members[one],))
    its = jax.tree.map(lambda leaf: leaf[one : one + 1], variables)
    bundle.save(tmp_path / "finder", its, alone, "", {})
    studies = tuple(map(phantom.simulate_study, phantom.list_patients(PATIENTS)))
    slices = Slices.concatenate([IN_WALL.cut_as_drawn(study) for study in studies])
    data = DataSet(slices, studies, {}, "0")
    folds = make_split(data, Folds(k=2, validation=0.125, seed=0, seeds=(0,)))
    splits = {
        number: (
            set(patients_of(data, fold.validation)),
            set(patients_of(data, fold.test)),
        )
        for number, fold in enumerate(folds)
    }
    with pytest.raises(InputError, match="folds are others than this run's"):
        finders.kept(tmp_path, tmp_path / "finder", splits, studies)
    found = finders.kept(tmp_path, tmp_path / "finder", {1: splits[1]}, studies)
    images, own = shown(data, folds, IN_WALL, found, (1,))
    count = len(slices.slice)
    np.testing.assert_array_equal(own[0].train, folds[0].train)
    more = np.setdiff1d(own[1].train, folds[1].train)
    assert more.tolist() == list(range(count, len(images.image)))
    assert 0 < len(more) <= len(folds[1].train)


@pytest.mark.parametrize(
    ("which", "values", "words"),
    [
        ("finder", {"folds__seed": 1}, "folds are others than this run's"),
        ("finder", {"folds__validation": 0.7}, "folds are others than this run's"),
        ("absent", {}, "which is no bundle; make one of a run of Protocol 3"),
    ],
)
def test_who_cannot_find_it_for_a_run_is_refused(
    finder, tmp_path, which, values, words
):
    home = finder if which == "finder" else tmp_path / "absent"
    with pytest.raises(InputError, match=words):
        run(tmp_path / "run", settings(home, **values))


def test_networks_look_where_others_found_the_myocardium_not_where_it_was_drawn():
    study = draw_study("p", slices=3)
    drawn = dataclasses.replace(study, myocardium=np.zeros_like(study.myocardium))

    def finding(images, wanted):
        """Finds a ring in the middle of the crop."""
        y, x = np.mgrid[:64, :64] - 31.5
        far = np.hypot(y, x)
        said = [far < 10, (far >= 10) & (far < 16), np.zeros_like(far)]
        shape = (*wanted.shape, 64, 64, 3)
        return np.broadcast_to(np.stack(said, axis=-1), shape).astype(np.float32)

    asked = []

    def ask(images, wanted):
        asked.append(images)
        return np.zeros((*wanted.shape, 64, 64, 1), np.float32)

    networks = Networks(ask, 1, IN_WALL, Networks(finding, 2, FINDING))
    for one in (study, drawn):
        (said,) = look(networks, [Question(one, (0,), finders=(0, 1))])
        assert said.found is not None
        assert said.found.myocardium.any()
        np.testing.assert_array_equal(
            said.slices.myocardium.any(axis=(1, 2)),
            said.found.myocardium.any(axis=(1, 2)),
        )
    np.testing.assert_array_equal(asked[0], asked[1])
