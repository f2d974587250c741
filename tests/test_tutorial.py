"""The tutorial's commands, as they stand in it, from the first to the last."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

from scarseg_jax.readers import phantom
from scarseg_jax.readers.patient import read_patient
from scarseg_jax.writers.dicom_images import write_images

HOME = Path(__file__).parents[1]
TUTORIAL = HOME / "docs" / "tutorial.md"


def commands() -> list[str]:
    """The blocks of commands, without those that install."""
    text = TUTORIAL.read_text(encoding="utf-8")
    fences = re.findall(
        r"^```bash( install)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL
    )
    assert text.count("```bash") == len(fences)
    return [block for install, block in fences if not install]


def test_the_commands_do_what_the_tutorial_says(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.setenv("PYTHONPATH", str(HOME))
    script = "set -e\n" + "\n".join(commands())
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = TUTORIAL.read_text(encoding="utf-8")
    named = {"patient", *re.findall(r"`((?:scar|turned)[\w.]*)`", text)}
    assert {path.name for path in tmp_path.iterdir()} >= named
    assert "% of the LV by the networks" in done.stdout
    assert "% by remote mean + 5 SD" in done.stdout
    assert "Not referenced" in (tmp_path / "scar.html").read_text()
    assert "Turned by the anterior insertion" in (tmp_path / "turned.html").read_text()


@pytest.mark.parametrize("patient", ["phantom_001", "phantom_002"])
def test_a_simulated_patient_comes_back_from_dicom(tmp_path, patient):
    study = phantom.simulate_study(patient)
    write_images(tmp_path, study)
    read = read_patient(tmp_path)
    np.testing.assert_array_equal(read.image, study.image)
    np.testing.assert_allclose(read.spacing_mm, study.spacing_mm, rtol=1e-6)
    assert read.phase_sensitive == study.phase_sensitive
    (first, *_) = sorted(tmp_path.iterdir())
    assert str(pydicom.dcmread(first).PatientName) == patient


def test_simulate_replaces_nothing_and_knows_its_patients(tmp_path):
    for given, said in (
        ([f"--output={tmp_path}"], "is there; choose a new folder"),
        ([f"--output={tmp_path / 'n'}", "--patient=me"], "such as phantom_001"),
    ):
        command = [sys.executable, "-m", "scarseg_jax.simulate", *given]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert said in done.stderr
