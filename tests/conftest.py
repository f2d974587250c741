"""Two CPU devices, strict JAX, and the data sets that tests share."""

import dataclasses
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from builders import write_nifti
from dicom_studies import short_axis

from scarseg_jax.learn import autoencoder
from scarseg_jax.readers import phantom
from scarseg_jax.study import Study

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
# Programs that several tests compile are compiled once, and nothing is left behind.
_CACHE = tempfile.TemporaryDirectory()
os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE.name
jax.config.update("jax_compilation_cache_dir", _CACHE.name)

# A twentieth of its training tells a phantom's superpixels apart.
autoencoder.STEPS = 250

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "pytorch_enet_1ch.npz"
EMIDEC = Path(__file__).parents[2] / "shared" / "data" / "emidec"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def reference() -> dict[str, np.ndarray]:
    """What a PyTorch ENet computed; see tests/test_convert.py."""
    if not REFERENCE.is_file():
        pytest.skip("the reference file is not there")
    with np.load(REFERENCE) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.fixture(scope="session")
def emidec() -> Path:
    """The folder of real patients."""
    if not EMIDEC.is_dir():
        pytest.skip("the EMIDEC patients are not there")
    return EMIDEC


@pytest.fixture(scope="session")
def patient() -> Study:
    """A phantom that lies as patients do."""
    study = phantom.simulate_study("phantom_003")
    image = study.image[:5, 40:200:2, 30:220:2]
    shown: Any = {
        name: np.asarray(getattr(study, name))[:5, 40:200:2, 30:220:2]
        for name in ("myocardium", "scar", "cavity")
    }
    z, y, x = study.spacing_mm
    return Study("p", image, short_axis(5, (z, 2 * y, 2 * x)), **shown)


@pytest.fixture(scope="session")
def as_nifti(patient, tmp_path_factory) -> Path:
    return write_nifti(
        tmp_path_factory.mktemp("nifti") / "image.nii",
        patient.image.T,
        patient.geometry.affines[0],
    )


@pytest.fixture
def command(monkeypatch, capsys):
    """Calls predict with flags and networks that tell bright from dark."""
    # It has flags of its own, which `flagsaver` would forget if they came later.
    import array_record.python.array_record_data_source  # noqa: F401
    from test_pipeline import model_of

    from scarseg_jax import predict

    def ask(crops, wanted):
        assert len(wanted)
        said = 1 / (1 + np.exp(-crops[None, ..., :1]))
        return np.repeat(said, len(wanted), axis=0).astype(np.float32)

    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["predict"])
    model = dataclasses.replace(model_of(protocol=1), ask=ask)
    monkeypatch.setattr(predict, "start_jax", lambda: None)
    monkeypatch.setattr(predict, "load_model", lambda *_, **__: model)
    log = logging.getLogger("scarseg_jax")
    before = log.handlers, log.level, log.propagate

    def call(**values):
        given = {"checkpoint": "run", **{k: str(v) for k, v in values.items()}}
        with flagsaver.as_parsed(**given):
            code = predict.main(["predict"])
        said = capsys.readouterr()
        return code, said.out + said.err

    yield call
    log.handlers, log.level, log.propagate = before
