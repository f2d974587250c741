"""The whole job on a small phantom, and what a user does with it afterwards."""

import dataclasses
import doctest
import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from builders import (
    CONFIGS,
    load,
    make_settings,
    run_record,
    write_nifti,
    write_study,
)

import scarseg_jax
from scarseg_jax import (
    asked,
    compare,
    evaluation,
    experiment,
    records,
    split,
    training,
)
from scarseg_jax.errors import Diverged, InputError
from scarseg_jax.judge import tables
from scarseg_jax.learn import checkpoint, targets
from scarseg_jax.prepare import cut, dataset
from scarseg_jax.prepare.folds import make_folds
from scarseg_jax.readers import nifti, phantom
from scarseg_jax.run import Decision, Divergence, Member, RunRecord, TrainedMember
from scarseg_jax.segment import classical
from scarseg_jax.segment.look import View
from scarseg_jax.segment.model import Model, load_model
from scarseg_jax.segment.pipeline import find_scar
from scarseg_jax.study import Geometry, Study
from scarseg_jax.writers.segmentation import write_segmentation

PATIENTS = 6
GOLDEN = Path(__file__).parent / "golden" / "phantom_run.json"


def settings(name="quickstart", **values):
    few = {"data__phantom_patients": PATIENTS, "train__epochs": 2}
    return make_settings(name, **{**few, **values})


def run(folder, given, mode="all"):
    experiment.run(folder, given, experiment.open_data(given), mode)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A finished run of Protocol 2."""
    folder = tmp_path_factory.mktemp("rün 1")
    run(folder, settings())
    return folder


def test_every_slice_is_tested_once_by_a_network_that_never_saw_its_patient(workdir):
    found = tables.read(workdir)
    slices = {(row.patient, row.slice) for row in found.slices}
    wanted = {
        (name, z)
        for name in phantom.list_patients(PATIENTS)
        for z in range(len(phantom.simulate_study(name).image))
    }
    assert len(found.slices) == len(slices)
    assert slices == wanted
    assert found.summary.slices == len(found.slices)
    assert found.summary.folds == 2
    record = found.summary.about.run
    assert record is not None
    held_out = {m.member.fold: m.test_patients for m in record.members}
    assert all(row.patient in held_out[row.fold] for row in found.slices)


def test_the_run_comes_to_the_golden_figures(workdir):
    """Another processor rounds otherwise; a changed computation differs by more."""
    golden = json.loads(GOLDEN.read_text())
    found = tables.read(workdir)
    losses = [row.loss for row in found.history]
    np.testing.assert_allclose(losses, golden["losses"], rtol=golden["rtol"])
    # Not what is called scar: rounding decides between decisions that are nearly equal.
    calibration, probability = found.summary.calibration, found.pictures.probability
    assert calibration is not None
    assert probability is not None
    said = {
        "native_brier": calibration.brier,
        "crop_probability": probability.astype(float).mean(),
    }
    for name, value in said.items():
        assert value == pytest.approx(golden[name], rel=6 * golden["rtol"]), (
            f"{name}: the networks say something else; if that was meant, remake the"
            " golden file as it says, and say so in the commit"
        )


def test_the_report_stands_alone(workdir):
    page = (workdir / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert " src=" not in page
    addresses = page.split(" href=")[1:]
    assert any(address.startswith('"data:image/png') for address in addresses)
    assert all(address.startswith(('"data:', '"#')) for address in addresses)
    assert all(row.patient in page for row in tables.read(workdir).patients)


def test_a_finished_run_is_not_trained_again(workdir, caplog, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(training, "fit", refuse)
    monkeypatch.setattr(logging.getLogger("scarseg_jax"), "propagate", True)
    before = (workdir / "results" / "slices.csv").read_text()
    with caplog.at_level(logging.INFO):
        run(workdir, settings())
    assert "training has finished before" in caplog.text
    assert (workdir / "results" / "slices.csv").read_text() == before


def test_results_that_were_deleted_come_back_whole(workdir):
    folder = workdir / "results"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert "history.csv" in before
    shutil.rmtree(folder)
    run(workdir, settings(), "evaluate")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_with_a_diverged_network_is_judged_by_nobody(workdir, tmp_path):
    variables, record = checkpoint.load(workdir / "checkpoint", RunRecord)
    ended = Divergence(Member(1, 0), 2, 17)
    one = jax.tree.map(lambda leaf: leaf[:1], variables)
    left = {"members": record.members[:1], "diverged": (ended,)}
    shutil.copytree(workdir / "data", tmp_path / "data")
    checkpoint.save(tmp_path / "checkpoint", one, dataclasses.replace(record, **left))
    for mode in ("train", "evaluate", "all"):
        with pytest.raises(Diverged, match=r"fold 1, seed 0: .* epoch 2, step 17; the"):
            run(tmp_path, settings(), mode)
    assert not (tmp_path / "results").exists()
    assert [m.member for m in load_model(tmp_path).members] == [Member(0, 0)]


def test_when_scar_is_called_does_not_depend_on_the_test_patients(workdir):
    data = dataset.load(workdir / "data").labelled()
    model = load_model(workdir)
    given, slices = settings(), data.slices
    folds = make_folds(
        slices.patient,
        np.any(slices.scar, axis=(1, 2)),
        k=given.folds.k,
        validation=given.folds.validation,
        seed=given.folds.seed,
    )
    members = [trained.member for trained in model.members]
    assert members == [Member(0, 0), Member(1, 0)]

    def healthy(study):
        return np.asarray(study.myocardium) & ~np.asarray(study.scar)

    def decisions(studies):
        decided = asked.decide_when(
            model.networks,
            dataclasses.replace(data, studies=studies),
            folds,
            members,
            whom=[()] * len(members),
            threshold=0.0,
            selection="last",
        )
        return [decision for decision, _ in decided]

    kept = [trained.decision for trained in model.members]
    assert decisions(data.studies) == kept
    for number, fold in enumerate(folds):
        for side, same in ((fold.test, True), (fold.validation, False)):
            names = set(slices.patient[side])
            other = tuple(
                dataclasses.replace(study, scar=healthy(study))
                if study.patient in names
                else study
                for study in data.studies
            )
            assert (decisions(other)[number] == kept[number]) is same


def test_protocol_3_is_judged_in_the_ventricle_it_finds(tmp_path, monkeypatch):
    """By networks that know the labels of all that is cut out, so all but grids is right."""
    given = settings("protocol3", folds__k=2)
    run(tmp_path, given, "prepare")
    data = dataset.load(tmp_path / "data").labelled()
    folds = split.make_split(data, given.folds)
    members = tuple(
        TrainedMember(
            *(Member(number, 0), 1, 0.5, Decision(0.5)),
            tuple(np.unique(data.slices.patient[fold.test]).tolist()),
        )
        for number, fold in enumerate(folds)
    )
    record = run_record(
        protocol=3,
        classes="heart_scar",
        neighbours=given.neighbours,
        crop=given.crop,
        data_hash=data.data_hash,
        members=members,
        diverged=(),
        settings={"threshold": 0.0},
    )
    known, cut_out = {}, View.cut

    def remembered(view, study, boxes=None):
        slices = cut_out(view, study, boxes)
        shares = targets.class_shares(cut.tissue_shares(study, slices), "heart_scar")
        known.update(zip(map(bytes, slices.image), shares, strict=True))
        return slices

    def ask(images, wanted):
        each = [[known[images[at].tobytes()] for at in own] for own in wanted]
        return np.array(each)

    monkeypatch.setattr(View, "cut", remembered)
    knowing = Model(tmp_path, record, members, ask)
    monkeypatch.setattr(evaluation, "load_model", lambda path: knowing)
    run(tmp_path, given, "evaluate")
    found = tables.read(tmp_path).summary
    ventricle = found.ventricle
    assert ventricle is not None
    for dice in (
        ventricle.myocardium_dice,
        ventricle.scar_dice_in_drawn,
        found.native.dice_3d_mean,
    ):
        assert dice.mean is not None
        assert 0.85 < dice.mean <= 1
    assert ventricle.centre_mm.median is not None
    assert ventricle.centre_mm.median < 1
    assert ventricle.missed_slices == 0
    assert found.percent_lv is not None
    bias = found.percent_lv.bland_altman.bias
    assert bias is not None
    assert abs(bias) < 3
    run(tmp_path, given, "report")
    page = (tmp_path / "report.html").read_text()
    assert "The ventricle that was found" in page
    assert f"{ventricle.myocardium_dice.mean:.3f}" in page


def test_other_methods_join_the_run_in_compare_and_report(workdir, capsys):
    run(workdir, settings(), "baselines")
    said = capsys.readouterr().out.splitlines()
    ways = [*classical.METHODS, "superpixels by auto-encoder"]
    ways += [way for method in classical.METHODS.values() for way in method.published]
    folders = sorted((workdir / "baselines").iterdir())
    assert len(said) == len(folders) == len(ways)
    tested = tables.read(workdir).slices
    for folder in folders:
        rows = tables.read(folder).slices
        for ours, theirs in zip(rows, tested, strict=True):
            assert (ours.patient, ours.slice) == (theirs.patient, theirs.slice)
            assert (ours.fold, ours.seed) == (theirs.fold, theirs.seed)
            for grid in ("native", "crop"):
                pair = [getattr(row, grid).true_px for row in (ours, theirs)]
                assert pair[0] == pair[1]
    # On the phantom the scar is much brighter than the myocardium.
    for name in ("GMM", "superpixels_by_auto-encoder"):
        found = tables.read(workdir / "baselines" / name).summary
        assert (found.native.dice_3d_mean.mean or 0) > 0.5
        assert (found.about.decided_on, len(found.about.decisions)) == ("validation", 2)
    five = tables.read(workdir / "baselines" / "5-SD_as_published").summary.about
    assert (five.decided_on, five.decisions) == ("none", (Decision(5.0),) * 2)
    assert compare.main([str(workdir), *map(str, folders)]) == 0
    table = capsys.readouterr().out
    assert all(folder.name in table for folder in folders)
    run(workdir, settings(), "report")
    page = (workdir / "report.html").read_text()
    assert all(f"<td>{name}</td>" in page for name in ways)


def test_a_trial_of_some_folds_is_judged_on_their_patients(workdir, tmp_path):
    """And another run of them stands beside it."""
    given = settings(folds__only=(1,), train__epochs=1)
    run(tmp_path / "one", given)
    found, whole = tables.read(tmp_path / "one"), tables.read(workdir)
    tested = [(row.patient, row.slice) for row in whole.slices if row.fold == 1]
    assert [(row.patient, row.slice) for row in found.slices] == tested
    assert {(row.fold, row.seed) for row in found.slices} == {(1, 0)}
    assert {row.fold for row in found.history} == {1}
    run(tmp_path / "two", settings(folds__only=(1,), model__variant="enet"))
    experiment.run(tmp_path / "one", given, None, "report", [tmp_path / "two"])
    page = (tmp_path / "one" / "report.html").read_text()
    assert f"<td>{found.summary.about.name} (two)</td>" in page
    with pytest.raises(InputError, match="the same"):
        experiment.run(tmp_path / "one", given, None, "report", [workdir])
    with pytest.raises(InputError, match=r"folds\.only is \(2,\); expected .* 0 to 1"):
        run(tmp_path / "none", settings(folds__only=(2,)))


def test_another_configuration_is_refused_in_the_same_folder(workdir):
    with pytest.raises(InputError, match=r"train\.epochs was 2, is 3"):
        run(workdir, settings(train__epochs=3))


@pytest.fixture
def image(tmp_path):
    """A phantom that is new to the run, as files on an oblique grid, slices first."""
    study = phantom.simulate_study("phantom_008")
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array(study.spacing_mm)
    affine[:3, 3] = (-40, 12, 7)
    for name in ("image", "myocardium"):
        volume = getattr(study, name).astype(np.float32)
        write_nifti(tmp_path / f"{name}.nii.gz", volume.transpose(0, 2, 1), affine)
    return tmp_path / "image.nii.gz"


def predict(workdir, image, output=None, *, threshold=None, **which):
    """Does what the command does."""
    myocardium = image.with_name(image.name.replace("image", "myocardium"))
    study = nifti.read_image(image, myocardium=myocardium)
    found = find_scar(load_model(workdir, **which), study, threshold=threshold)
    return found, output and write_segmentation(found, output)


def test_a_mask_lies_on_the_inputs_grid_inside_the_myocardium(workdir, image):
    output = image.with_name("found.nii.gz")
    _, report = predict(workdir, image, output, threshold=0.3)
    given, found = load(image), load(output)
    assert found.shape == given.shape
    np.testing.assert_array_equal(found.affine, given.affine)
    values = np.asarray(found.dataobj)
    assert values.dtype == np.uint8
    assert values.any()
    assert set(np.unique(values)) == {0, 1}
    inside = np.asarray(load(image.with_name("myocardium.nii.gz")).dataobj)
    assert not values[inside == 0].any()
    spacing_mm = np.linalg.norm(given.affine[:3, :3], axis=0)
    assert report["scar_volume_ml"] == pytest.approx(
        values.sum() * spacing_mm.prod() / 1000, rel=1e-5
    )
    kept = json.loads(image.with_name("found.json").read_text())
    assert kept == json.loads(json.dumps(report))
    assert [m["member"]["fold"] for m in report["members"]] == [0, 1]
    one, _ = predict(workdir, image, folds=(1,))
    assert [trained.member for trained in one.members] == [Member(1, 0)]


def test_a_mask_replaces_its_own_kind_alone_and_comes_with_its_json_or_not_at_all(
    workdir, image, monkeypatch
):
    output = image.with_name("found.nii.gz")
    beside = image.with_name("found.json")
    beside.write_text('{"Modality": "MR"}')
    with pytest.raises(InputError, match=r"found\.json is there and was not made by"):
        predict(workdir, image, output)
    assert beside.read_text() == '{"Modality": "MR"}'
    beside.unlink()
    output.write_bytes(b"a scanner's")
    with pytest.raises(InputError, match=r"found\.nii\.gz is there and was not made"):
        predict(workdir, image, output)
    output.unlink()
    before = sorted(image.parent.iterdir())

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("nibabel.Nifti1Image.to_filename", full)
        with pytest.raises(OSError, match="No space"):
            predict(workdir, image, output)
    assert sorted(image.parent.iterdir()) == before
    predict(workdir, image, output)
    predict(workdir, image, output)  # what is ours is replaced
    with pytest.raises(InputError, match=r"by this program with a mask found\.n"):
        predict(workdir, image, image.with_name("found.nii"))


def test_one_image_is_answered_for_with_nothing_drawn_or_trained(image):
    command = [sys.executable, "-m", "scarseg_jax.predict", f"--input={image}"]
    output = image.with_name("alone.nii.gz")
    done = subprocess.run(
        [*command, f"--output={output}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "of myocardium found, by 5 networks" in done.stdout
    assert "CC BY-NC-SA 4.0" in done.stderr
    for name in ("alone.json", "alone.html", "alone_tissues.nii.gz"):
        assert image.with_name(name).is_file()


def test_an_exported_run_answers_as_the_run_does(workdir, image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-m", "scarseg_jax.export", f"--workdir={workdir}"]
    done = subprocess.run(
        [*command, "--output=b/x"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("b/x: 2 networks, ")
    text = (tmp_path / "b" / "x" / "README.md").read_text()
    dice = tables.read(workdir).summary.native.dice_3d_mean.mean
    assert f"| {dice:.3f} ± " in text
    assert "simulated patients" in text
    whole, _ = predict(workdir, image, threshold=0.3)
    light, _ = predict(tmp_path / "b" / "x", image, threshold=0.3)
    apart = np.abs(light.probability - whole.probability)
    assert apart.max() < 0.02
    assert apart.mean() < 1e-4
    again = subprocess.run(
        [*command, "--output=b/x"], capture_output=True, text=True, check=False
    )
    assert again.returncode == 2
    assert "--output=b/x is there; choose a new folder" in again.stderr


def test_what_is_judged_is_what_a_user_gets(workdir, tmp_path):
    """Through files, Orbax and the native grid, by the network that was judged."""
    found = tables.read(workdir)
    for name in phantom.list_patients(PATIENTS)[:2]:
        study = phantom.simulate_study(name)
        write_study(tmp_path, study)
        (row,) = [row for row in found.patients if row.patient == name]
        output = tmp_path / f"{name}_found.nii"
        image = tmp_path / f"{name}_image.nii"
        _, report = predict(workdir, image, output, folds=(row.fold,))
        mask = np.asarray(load(output).dataobj).T > 0
        rows = [r.native for r in found.slices if r.patient == name]
        assert mask.sum(axis=(1, 2)).tolist() == [r.predicted_px for r in rows]
        both = (mask & np.asarray(study.scar)).sum(axis=(1, 2))
        assert both.tolist() == [r.tp for r in rows]
        assert report["scar_volume_ml"] == pytest.approx(row.size.called_ml, rel=1e-6)
        # Of all networks, too, only those answer that had not seen the patient.
        _, all_asked = predict(workdir, image, tmp_path / f"{name}_all.nii")
        assert all_asked["members"] == report["members"]
        assert all_asked["members_left_out"] == [{"fold": 1 - row.fold, "seed": 0}]
        assert all_asked["of_the_run"] is True


def test_a_second_study_of_another_shape_is_neither_traced_nor_compiled(
    workdir, monkeypatch
):
    model = load_model(workdir)
    studies = [phantom.simulate_study(name) for name in ("phantom_001", "phantom_002")]
    shapes = {study.image.shape for study in studies}
    assert len(shapes) == 2
    first = find_scar(model, studies[0])
    monkeypatch.setattr(
        "scarseg_jax.learn.train.probabilities",
        lambda logits: pytest.fail("traced again"),
    )
    assert find_scar(model, studies[1]).scar.shape == studies[1].image.shape
    np.testing.assert_array_equal(find_scar(model, studies[0]).scar, first.scar)


def test_the_library_does_what_its_docstring_says(workdir, tmp_path, monkeypatch):
    study = phantom.simulate_study("phantom_002")
    for name in ("image", "myocardium"):
        affine = np.diag([*study.spacing_mm[::-1], 1.0])
        volume = getattr(study, name).astype(np.float32).T
        write_nifti(tmp_path / f"{name}.nii.gz", volume, affine)
    (tmp_path / "run").symlink_to(workdir)
    monkeypatch.chdir(tmp_path)
    done = doctest.testmod(scarseg_jax, verbose=False)
    assert done.attempted == 7
    assert not done.failed


def test_importing_the_library_imports_nothing_else():
    code = (
        "import sys; import scarseg_jax;"
        "print(sorted({'jax', 'numpy', 'nibabel'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'scar'"):
        _ = scarseg_jax.scar


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": (1, 7)}, "--folds=1,7; the run has 0, 1"),
        ({"seeds": (3,)}, "--seeds=3; the run has 0"),
        ({"threshold": 50.0}, "--threshold=50.0; expected between 0 and 1"),
    ],
)
def test_a_prediction_that_cannot_be_made_says_why(workdir, image, options, message):
    with pytest.raises(InputError, match=message):
        predict(workdir, image, **options)


def test_protocol_2_needs_the_myocardium(workdir):
    study = phantom.simulate_study("phantom_001")
    bare = Study(study.patient, study.image, study.geometry)
    with pytest.raises(InputError, match="--myocardium is missing"):
        find_scar(load_model(workdir), bare)


def test_the_command_refuses_before_it_computes_and_writes_nothing(workdir, image):
    output, mask = image.with_name("found.nii.gz"), image.with_name("myocardium.nii.gz")
    before = image.read_bytes()
    flags = {
        "checkpoint": workdir,
        "input": image,
        "myocardium": mask,
        "output": output,
    }
    for change, words in (
        ({"output": image}, "is an input too"),
        ({"output": mask}, "is an input too"),
        ({"output": image.with_name("found.png")}, "expected a name ending in .nii.gz"),
        ({"output": image.parent / "absent" / "a.nii"}, "cannot be written to"),
        ({"myocardium": "absent.nii.gz"}, "absent.nii.gz: no such file"),
        ({"folds": "one"}, "--folds=one; expected whole numbers"),
        ({"input": ""}, "--input is missing"),
        ({"input": image.parent}, "is a folder, with 2 of .nii or .nii.gz in it, such"),
    ):
        done = command("predict", **{**flags, **change})
        assert done.returncode == 2, done.stderr
        assert done.stderr.splitlines()[-1].startswith("error: ")
        assert words in done.stderr.splitlines()[-1]
    assert image.read_bytes() == before
    assert not list(image.parent.glob("*found*"))


def command(module, **flags):
    """Runs a command in a new process, where JAX has not been started yet."""
    return subprocess.run(
        [
            *(sys.executable, "-m", f"scarseg_jax.{module}"),
            *(f"--{name}={value}" for name, value in flags.items()),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def test_nan_is_refused_rather_than_called_background(image):
    stored = load(image)
    volume = np.asarray(stored.dataobj).copy()
    volume[5, 5, 0] = np.nan
    write_nifti(image, volume, stored.affine)
    with pytest.raises(InputError, match=r"image\.nii\.gz: 1 NaN"):
        nifti.read_image(image)


def test_a_new_process_goes_on_with_a_finished_run(workdir, tmp_path):
    """With another number of devices."""
    config = tmp_path / "config.py"
    config.write_text(
        "import runpy\n\n\ndef get_config():\n"
        f"    config = runpy.run_path({str(CONFIGS / 'quickstart.py')!r})['get_config']()\n"
        f"    config.data.phantom_patients = {PATIENTS}\n"
        "    config.train.epochs = 2\n    config.devices = 3\n    return config\n"
    )
    before = tables.read(workdir).summary
    done = command("main", config=config, workdir=workdir, mode="evaluate")
    assert done.returncode == 0, done.stderr
    assert "cpu:2" in done.stderr
    after = tables.read(workdir).summary
    assert (after.native, after.crop) == (before.native, before.crop)


@pytest.mark.parametrize("other", ["state", "nothing", "empty record"])
def test_what_is_no_finished_run_is_one_clear_line(workdir, tmp_path, other):
    path = tmp_path / "absent"
    if other == "state":
        (path,) = sorted((workdir / "state").iterdir())[-1:]
    elif other == "empty record":
        path = tmp_path / "checkpoint"
        checkpoint.save(path, {"a": np.zeros(2)}, Empty())
    with pytest.raises(InputError, match="no checkpoint") as raised:
        load_model(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


@dataclasses.dataclass(frozen=True)
class Empty:
    """A record that says nothing."""


def test_networks_for_slices_that_were_prepared_otherwise_are_refused(
    workdir, tmp_path
):
    variables, record = checkpoint.load(workdir / "checkpoint", RunRecord)
    older = dataclasses.replace(record, preparation=record.preparation - 1)
    checkpoint.save(tmp_path / "older", variables, older)
    with pytest.raises(InputError, match="another version, with preparation"):
        load_model(tmp_path / "older")


def test_the_record_of_a_run_survives_its_checkpoint(workdir):
    _, record = checkpoint.load(workdir / "checkpoint", RunRecord)
    text = records.to_json(record)
    assert records.parse(RunRecord, text, "it", "mend") == record
    assert len(record.history) == 2 * len(record.members)


def test_data_that_cannot_be_used_keep_no_settings(tmp_path, monkeypatch):
    simulate = phantom.simulate_study

    def broken(patient, **which):
        study = simulate(patient, **which)
        if patient == "phantom_002":
            study.image[0, 0, 0] = np.nan
            return dataclasses.replace(study)
        return study

    monkeypatch.setattr(phantom, "simulate_study", broken)
    few: dict[str, Any] = {"data__phantom_patients": 4, "folds__k": 0}
    with pytest.raises(InputError, match="phantom_002: 1 NaN or infinite voxels"):
        run(tmp_path, settings(**few), "prepare")
    # The mend that the message names works in the same folder.
    left = ("phantom_001", "phantom_003", "phantom_004")
    run(tmp_path, settings(**few, data__patients=left), "prepare")


def test_patients_without_contours_are_named_and_not_trained_on(
    tmp_path, caplog, monkeypatch
):
    studies = [phantom.simulate_study(name) for name in phantom.list_patients(6)]
    studies[1] = Study(studies[1].patient, studies[1].image, studies[1].geometry)
    for study in studies:
        write_study(tmp_path / "images", study)
    given = settings(data__source="folder", data__path=str(tmp_path / "images"))
    monkeypatch.setattr(logging.getLogger("scarseg_jax"), "propagate", True)
    with caplog.at_level(logging.INFO):
        run(tmp_path, given, "prepare")
    assert "no scar was drawn of 1 patients" in caplog.text
    assert "not tested: phantom_002\n" in caplog.text
    data = dataset.load(tmp_path / "data")
    assert len(data.studies) == 6
    kept = data.labelled()
    names = {study.patient for study in kept.studies}
    assert (
        names
        == set(kept.slices.patient)
        == {s.patient for s in studies} - {"phantom_002"}
    )


def test_several_readers_reach_the_results(tmp_path, monkeypatch):
    otsu = {"Otsu": classical.METHODS["Otsu"]}
    monkeypatch.setattr(classical, "METHODS", otsu)  # the others say no more of readers
    for name in phantom.list_patients(4):
        study = phantom.simulate_study(name)
        scar = np.asarray(study.scar)
        if name != "phantom_004":
            drawn = {"one": scar, "two": scar, "three": np.roll(scar, 1, 2)}
            study = dataclasses.replace(study, scar=None, readers=drawn)
        write_study(tmp_path / "images", study)
    given = settings(
        data__source="folder", data__path=str(tmp_path / "images"), protocol=2
    )
    run(tmp_path, given, "prepare")
    run(tmp_path, given, "baselines")
    path = tmp_path / "baselines" / "Otsu" / "results" / "summary.json"
    assert "NaN" not in path.read_text()
    readers = tables.read_summary(path).readers
    assert readers is not None
    assert readers.names == ("one", "three", "two")
    assert (readers.patients, readers.consensus) == (3, "staple")
    assert readers.by_reader["one"].dice == 1  # two agree against the third
    others = readers.by_reader["three"].others
    assert others is not None
    assert readers.dice.mean is not None
    assert 0.3 < others < readers.dice.mean < 1


def test_a_geometry_of_its_own_for_each_slice_is_judged_by_the_slices_distances():
    study = phantom.simulate_study("phantom_001")
    affines = study.geometry.affines.copy()
    affines[:, 2, 3] *= 2  # twice as far apart as the header says
    far = dataclasses.replace(study, geometry=Geometry(affines, study.spacing_mm))
    np.testing.assert_allclose(far.geometry.voxels_ml, 2 * study.geometry.voxels_ml)
