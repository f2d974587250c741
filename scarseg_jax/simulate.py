"""Writes a simulated patient as DICOM, to try everything on that belongs to nobody.

python -m scarseg_jax.simulate --patient=phantom_001 --output=FOLDER

The folder is a new one. A number of three digits gives another patient each.
"""

import re
import sys
import tempfile
from pathlib import Path

from absl import app, flags

from scarseg_jax import files
from scarseg_jax.errors import InputError
from scarseg_jax.readers import phantom
from scarseg_jax.terminal import exit_code, only_flags, parse, required_path
from scarseg_jax.writers.dicom_images import write_images

_PATIENT = flags.DEFINE_string("patient", "phantom_001", "Who is simulated.")
_OUTPUT = flags.DEFINE_string("output", None, "The folder for the images, a new one.")


def main(argv: list[str]) -> int:
    """Writes one patient; returns the exit code."""
    return exit_code(lambda: _simulate(argv))


def _simulate(argv: list[str]) -> None:
    only_flags(argv)
    output, patient = required_path(_OUTPUT), _PATIENT.value
    if not re.fullmatch(r"phantom_\d{3}", patient):
        raise InputError(f"--patient={patient}; expected such as phantom_001")
    if output.exists():
        raise InputError(f"--output={output} is there; choose a new folder")
    study = phantom.simulate_study(patient)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        partial = Path(folder) / "images"
        partial.mkdir()
        write_images(partial, study)
        files.put(partial, output)
    sys.stdout.write(f"{output}: {len(study.image)} images of {patient}, simulated\n")


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
