"""What a user may get wrong: one line that says what, where and the mend."""

import dataclasses
import fcntl
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from absl.testing import flagsaver

from scarseg_jax import main
from scarseg_jax.errors import InputError
from scarseg_jax.prepare import dataset
from scarseg_jax.readers import phantom
from scarseg_jax.study import Study

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))


def load_config(path=CONFIGS[0], **values):
    config = runpy.run_path(str(path))["get_config"]()
    config.update_from_flattened_dict({"devices": 2, **values})
    return config.lock()


@pytest.fixture
def command(monkeypatch):
    """Runs the command in this process; returns its exit code."""
    monkeypatch.setattr(main, "log_to_terminal", lambda: None)

    def run(*arguments):
        # Overrides become flags where ml_collections sees them: in sys.argv.
        monkeypatch.setattr(sys, "argv", ["main", *arguments])
        with flagsaver.flagsaver():
            try:
                return main.main(main.parse(["main", *arguments]))
            except SystemExit as stop:
                return stop.code

    return run


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_passes_the_checks_and_survives_json(path):
    config = load_config(path)
    main._check(config)
    assert json.loads(config.to_json()) == json.loads(config.to_json_best_effort())


# ml_collections loads the file with a function that Python will drop.
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ("--config is missing", "configs/protocol2.py")),
        ([f"--config={CONFIGS[0]}"], ("--workdir is missing",)),
        ([f"--config={CONFIGS[0]}", "--config.train.epoch=3"], ("epoch", "epochs")),
        ([f"--config={CONFIGS[0]}", "--config.protocol=two"], ("protocol", "two")),
        (["--config=absent.py"], ("absent.py", "configs/protocol2.py")),
        (["--mode=dance"], ("dance", "prepare")),
        (["train"], ("'train' is not a flag", "--config.train.epochs=20")),
    ],
)
def test_a_bad_command_is_one_line_and_exit_code_2(command, capsys, arguments, words):
    assert command(*arguments) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1, said
    assert said.startswith("error: ")
    for word in words:
        assert word in said


def test_help_shows_the_job_and_its_flags():
    module = [sys.executable, "-m", "scarseg_jax.main"]
    done = subprocess.run(
        [*module, "--help"], capture_output=True, text=True, check=False
    )
    for word in ("scarseg_jax.main --config=", "--workdir", "--mode", "prepare"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"protocol": 3}, "protocol is 3; expected one of 1, 2"),
        ({"data.source": "dicom"}, "data.source is 'dicom'; expected one of phantom"),
        ({"data.source": "emidec"}, "data.path is empty"),
        (
            {"data.consensus": "mean"},
            "data.consensus is 'mean'; expected one of staple",
        ),
        ({"data.source": "myops", "data.path": "absent"}, "absent: no such folder"),
        ({"data.patients": ("nobody",)}, "data.patients names nobody; expected some"),
        ({"model.variant": "unet"}, "model.variant is 'unet'; expected one of seed"),
        ({"threshold": 1.5}, "threshold is 1.5; expected between 0 and 1, or 0 to"),
        ({"train.selection": "best"}, "train.selection is 'best'; expected one of"),
        ({"train.epochs": 0}, "train.epochs is 0; expected a positive number"),
        ({"train.weight_decay": -1.0}, "train.weight_decay is -1.0; expected 0 or"),
        ({"train.class_weights": (1.0, 0.0)}, "expected two positive numbers"),
        ({"folds.seeds": (1, 1)}, "folds.seeds is (1, 1); expected different"),
        ({"folds.seed": -1}, "folds.seed is -1; expected 0 or more"),
        ({"data.phantom_patients": 2}, "data.phantom_patients is 2; expected 3"),
        ({"folds.k": 99}, "folds.k is 99; expected 0"),
        ({"data.patients": ("phantom_001",)}, "leaving one out needs at least 3"),
    ],
)
def test_a_bad_value_is_refused_before_anything_is_written(tmp_path, values, message):
    folder = tmp_path / "run"
    with pytest.raises(InputError) as raised:
        main.run(load_config(**values), folder, "all")
    assert message in str(raised.value)
    assert not folder.exists()


def test_a_configuration_without_a_setting_is_refused(tmp_path):
    config = load_config()
    with config.unlocked():
        del config.data.consensus
    with pytest.raises(InputError, match="the configuration lacks a setting"):
        main.run(config, tmp_path / "run", "all")


def test_data_that_cannot_be_used_claim_no_folder(tmp_path, monkeypatch):
    simulate = phantom.simulate_study

    def broken(patient, *, seed):
        study = simulate(patient, seed=seed)
        if patient == "phantom_002":
            study.image[0, 0, 0] = np.nan
            return dataclasses.replace(study)
        return study

    monkeypatch.setattr(phantom, "simulate_study", broken)
    values: dict[str, Any] = {"data.phantom_patients": 4, "folds.k": 0}
    with pytest.raises(InputError, match="phantom_002: 1 NaN or infinite voxels"):
        main.run(load_config(**values), tmp_path, "prepare")
    # The mend that the message names works in the same folder.
    values["data.patients"] = ("phantom_001", "phantom_003", "phantom_004")
    main.run(load_config(**values), tmp_path, "prepare")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write there"):
        main.run(load_config(), tmp_path / "file" / "run", "all")


def test_a_run_from_before_there_was_a_consensus_goes_on(tmp_path):
    settings = main._settings_for(tmp_path, load_config())
    del settings["data"]["consensus"]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    main._settings_for(tmp_path, load_config())
    other: dict[str, Any] = {"data.consensus": "majority"}
    with pytest.raises(InputError, match=r"data\.consensus was staple, is majority"):
        main._settings_for(tmp_path, load_config(**other))


def test_two_runs_never_share_a_folder(tmp_path):
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another run is at work in it"):
            main.run(load_config(), tmp_path, "all")


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("train", "nothing prepared here; run --mode=prepare"),
        ("evaluate", "nothing prepared here; run --mode=prepare"),
        ("report", "no such file; finish that run first"),
    ],
)
def test_a_part_says_which_part_comes_before(tmp_path, mode, message):
    with pytest.raises(InputError, match=message):
        main.run(load_config(), tmp_path, mode)


def test_patients_without_contours_are_prepared_but_not_trained_on(tmp_path):
    studies = {name: phantom.simulate_study(name) for name in phantom.list_patients(2)}
    bare = studies["phantom_002"]
    studies["phantom_002"] = Study(bare.patient, bare.image, bare.spacing_mm)
    dataset.prepare(tmp_path / "data", tuple(studies), studies.__getitem__, protocol=1)
    slices = main._labelled(tmp_path)
    assert set(slices.patient) == {"phantom_001"}
    np.testing.assert_array_equal(slices.labelled, True)


def test_a_missing_gpu_is_no_silent_fallback():
    with pytest.raises(InputError, match="require_gpu is set but JAX sees"):
        main.start_jax(2, require_gpu=True)
