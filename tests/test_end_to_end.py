"""The whole job on a small phantom, and what a user does with it afterwards."""

import dataclasses
import json
import logging
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from scarseg_jax import compare, main
from scarseg_jax.errors import InputError
from scarseg_jax.judge import evaluate
from scarseg_jax.judge.evaluate import read_summary, read_table
from scarseg_jax.learn import checkpoint
from scarseg_jax.learn.fit import Member
from scarseg_jax.predict import predict_file
from scarseg_jax.readers import phantom
from scarseg_jax.segment import baselines
from scarseg_jax.segment.decide import Decision

load: Any = nibabel.load
CONFIGS = Path(__file__).parents[1] / "configs"
PATIENTS = 6


def load_config(name="quickstart"):
    config = runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"]()
    config.data.phantom_patients = PATIENTS
    config.train.epochs = 2
    config.devices = 2  # as conftest
    return config.lock()


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A finished run of Protocol 2."""
    folder = tmp_path_factory.mktemp("rün 1")
    main.run(load_config(), folder, "all")
    return folder


def test_every_slice_is_tested_once_by_a_network_that_never_saw_its_patient(workdir):
    rows = read_table(workdir / "results" / "slices.csv")
    slices = {(row["patient"], int(row["slice"])) for row in rows}
    wanted = {
        (name, z)
        for name in phantom.list_patients(PATIENTS)
        for z in range(len(phantom.simulate_study(name).image))
    }
    assert len(rows) == len(slices)
    assert slices == wanted
    summary = read_summary(workdir / "results" / "summary.json")
    assert summary["slices"] == len(rows)
    assert summary["folds"] == 2


def test_the_report_stands_alone(workdir):
    page = (workdir / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert " src=" in page
    assert all(f.startswith('"data:') for f in page.split(" src=")[1:])
    rows = read_table(workdir / "results" / "patients.csv")
    assert all(f"<td>{row['patient']}</td>" in page for row in rows)


def test_a_finished_run_is_not_trained_again(workdir, caplog, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(main, "fit", refuse)
    monkeypatch.setattr(logging.getLogger("scarseg_jax"), "propagate", True)
    before = (workdir / "results" / "slices.csv").read_text()
    with caplog.at_level(logging.INFO):
        main.run(load_config(), workdir, "all")
    assert "training has finished before" in caplog.text
    assert (workdir / "results" / "slices.csv").read_text() == before


def test_a_run_equals_itself(workdir, capsys):
    assert compare.main([str(workdir), str(workdir)]) == 0
    assert "no significant difference" in capsys.readouterr().out


def test_when_scar_is_called_does_not_depend_on_the_test_patients(workdir):
    config, slices = load_config(), main._labelled(workdir)
    variables, metadata = checkpoint.load(workdir / "checkpoint")
    folds = main._split(config, slices)
    members = [Member(m["fold"], m["seed"]) for m in metadata["members"]]
    kept = [Decision(m["threshold"], m["min_area_mm2"]) for m in metadata["members"]]
    for number, fold in enumerate(folds):
        for side, same in ((fold.test, True), (fold.validation, False)):
            scar = slices.scar.copy()
            scar[side] = slices.myocardium[side] & ~scar[side]
            other = dataclasses.replace(slices, scar=scar)
            decisions = main._decide(config, other, folds, members, variables)
            assert (decisions[number] == kept[number]) is same


def test_a_damaged_configuration_is_one_clear_line(workdir, tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: damaged"):
        main.run(load_config(), tmp_path, "report")


def test_methods_without_training_join_the_run_in_compare_and_report(workdir, capsys):
    main.run(load_config(), workdir, "baselines")
    said = capsys.readouterr().out.splitlines()
    assert len(said) == len(baselines.METHODS)
    folders = sorted((workdir / "baselines").iterdir())
    assert len(folders) == len(baselines.METHODS)
    tested = read_table(workdir / "results" / "slices.csv")
    key = ("patient", "slice", "fold", "true_px")
    for folder in folders:
        rows = read_table(folder / "results" / "slices.csv")
        assert [[r[k] for k in key] for r in rows] == [
            [r[k] for k in key] for r in tested
        ]
    # On the phantom the scar is much brighter than the myocardium.
    gmm = read_summary(workdir / "baselines" / "GMM" / "results" / "summary.json")
    assert gmm["patients_dsc"]["mean"] > 0.5
    assert compare.main([str(workdir), *map(str, folders)]) == 0
    table = capsys.readouterr().out
    assert all(folder.name in table for folder in folders)
    main.run(load_config(), workdir, "report")
    page = (workdir / "report.html").read_text()
    assert all(f"<td>{name}</td>" in page for name in baselines.METHODS)


def test_another_configuration_is_refused_in_the_same_folder(workdir):
    config = load_config()
    with config.unlocked():
        config.train.epochs = 3
    with pytest.raises(InputError, match=r"train\.epochs was 2, is 3"):
        main.run(config, workdir, "all")


@pytest.fixture
def image(tmp_path):
    """A phantom as files on an oblique grid, slices along the first stored axis."""
    study = phantom.simulate_study("phantom_002")
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array(study.spacing_mm)
    affine[:3, 3] = (-40, 12, 7)
    for name in ("image", "myocardium", "scar"):
        volume = getattr(study, name).astype(np.float32)
        stored = nibabel.Nifti1Image(volume.transpose(0, 2, 1), affine)
        nibabel.save(stored, tmp_path / f"{name}.nii.gz")
    return tmp_path / "image.nii.gz"


def test_a_mask_lies_on_the_inputs_grid_inside_the_myocardium(workdir, image):
    output = image.with_name("found.nii.gz")
    mask = image.with_name("myocardium.nii.gz")
    report = predict_file(workdir, image, output, myocardium_path=mask, threshold=0.2)
    found, given = load(output), load(image)
    assert found.shape == given.shape
    np.testing.assert_array_equal(found.affine, given.affine)
    values = np.asarray(found.dataobj)
    assert values.dtype == np.uint8
    assert values.any()
    assert set(np.unique(values)) == {0, 1}
    assert not values[np.asarray(load(mask).dataobj) == 0].any()
    spacing_mm = np.linalg.norm(given.affine[:3, :3], axis=0)
    assert report["scar_volume_ml"] == pytest.approx(
        values.sum() * spacing_mm.prod() / 1000, rel=1e-5
    )
    assert json.loads(image.with_name("found.json").read_text()) == json.loads(
        json.dumps(report)
    )
    assert len(report["members"]) == 2
    one = predict_file(workdir, image, output, myocardium_path=mask, folds=(1,))
    assert [member["fold"] for member in one["members"]] == [1]


def test_restored_networks_say_what_the_evaluation_said(workdir, tmp_path):
    """Through files, Orbax and the native grid; only resampling lies between."""
    name = phantom.list_patients(PATIENTS)[1]
    study = phantom.simulate_study(name)
    affine = np.diag([*study.spacing_mm[::-1], 1.0])
    paths = {}
    for part in ("image", "myocardium"):
        paths[part] = tmp_path / f"{part}.nii"
        volume = getattr(study, part).astype(np.float32).T
        nibabel.save(nibabel.Nifti1Image(volume, affine), paths[part])
    rows = [
        row
        for row in read_table(workdir / "results" / "slices.csv")
        if row["patient"] == name
    ]
    output = tmp_path / "found.nii"
    predict_file(
        workdir,
        paths["image"],
        output,
        myocardium_path=paths["myocardium"],
        folds=(int(rows[0]["fold"]),),
        threshold=0.3,
    )
    found = np.asarray(load(output).dataobj).T > 0
    with np.load(workdir / "results" / "predictions.npz") as archive:
        mine = archive["patient"] == name
        inside = archive["myocardium"][mine]
        called = (archive["probability"][mine] >= 0.3) & inside
        area_mm2 = archive["pixel_mm"][mine] ** 2
    called_mm2 = called.sum(axis=(1, 2)) * area_mm2
    found_mm2 = found.sum(axis=(1, 2)) * study.spacing_mm[1] ** 2
    inside_mm2 = (inside.sum(axis=(1, 2)) * area_mm2).sum()
    assert called_mm2.sum() > 0
    assert np.abs(found_mm2 - called_mm2).sum() < 0.1 * inside_mm2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "--myocardium is missing"),
        ({"folds": (1, 7)}, "--folds=1,7; the run has 0, 1"),
        ({"threshold": 50.0}, "--threshold=50.0; expected between 0 and 1"),
        ({"myocardium_path": Path("absent.nii.gz")}, "absent.nii.gz: no such file"),
    ],
)
def test_a_prediction_that_cannot_be_made_writes_nothing(
    workdir, image, options, message
):
    output = image.with_name("found.nii.gz")
    with pytest.raises(InputError, match=message):
        predict_file(workdir, image, output, **options)
    assert not list(image.parent.glob("*found*"))


def test_a_prediction_never_replaces_an_input(workdir, image):
    before = image.read_bytes()
    mask = image.with_name("myocardium.nii.gz")
    for output in (image, mask):
        with pytest.raises(InputError, match="is an input too"):
            predict_file(workdir, image, output, myocardium_path=mask)
    assert image.read_bytes() == before


def test_nan_is_refused_rather_than_called_background(workdir, image):
    stored = load(image)
    volume = np.asarray(stored.dataobj).copy()
    volume[5, 5, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(volume, stored.affine), image)
    output = image.with_name("found.nii.gz")
    mask = image.with_name("myocardium.nii.gz")
    with pytest.raises(InputError, match=r"image\.nii\.gz: 1 NaN"):
        predict_file(workdir, image, output, myocardium_path=mask)
    assert not output.exists()


def test_a_new_process_goes_on_with_a_finished_run(workdir, tmp_path):
    """Where JAX has not been started yet, and with another number of devices."""
    config = tmp_path / "config.py"
    config.write_text(
        "import runpy\n\n\ndef get_config():\n"
        f"    config = runpy.run_path({str(CONFIGS / 'quickstart.py')!r})['get_config']()\n"
        f"    config.data.phantom_patients = {PATIENTS}\n"
        "    config.train.epochs = 2\n    config.devices = 3\n    return config\n"
    )
    before = (workdir / "results" / "summary.json").read_text()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "scarseg_jax.main", f"--config={config}"),
            *(f"--workdir={workdir}", "--mode=evaluate"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "cpu:2" in done.stderr
    after = (workdir / "results" / "summary.json").read_text()
    assert json.loads(after)["table1"] == json.loads(before)["table1"]


def test_several_readers_reach_the_results(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name in phantom.list_patients(4):
        study = phantom.simulate_study(name)
        scar, affine = np.asarray(study.scar), np.diag([*study.spacing_mm[::-1], 1.0])
        scars = {"scar_one": scar, "scar_two": scar, "scar_three": np.roll(scar, 1, 2)}
        if name == "phantom_004":
            scars = {"scar": scar}
        parts = {"image": study.image, "myocardium": study.myocardium, **scars}
        for part, volume in parts.items():
            stored = nibabel.Nifti1Image(np.float32(volume).T, affine)
            nibabel.save(stored, images / f"{name}_{part}.nii")
    config = load_config()
    with config.unlocked():
        config.data.update(source="folder", path=str(images))
    main.run(config, tmp_path, "prepare")
    slices = main._labelled(tmp_path)
    evaluate.evaluate(
        tmp_path / "results",
        slices,
        slices.scar[None],
        fold=np.zeros(len(slices.slice), int),
        seeds=[0],
        about={"protocol": 2, "variant": "seed", "selection": "last"},
    )
    text = (tmp_path / "results" / "summary.json").read_text()
    assert "NaN" not in text
    readers = json.loads(text)["readers"]
    assert readers["names"] == ["one", "three", "two"]
    assert (readers["patients"], readers["consensus"]) == (3, "staple")
    assert readers["by_reader"]["one"]["dice"] == 1  # two agree against the third
    assert 0.3 < readers["by_reader"]["three"]["others"] < readers["dice"]["mean"] < 1


def test_a_folder_without_networks_is_named(image, tmp_path):
    with pytest.raises(InputError, match="no checkpoint here"):
        predict_file(tmp_path, image, tmp_path / "found.nii.gz")
