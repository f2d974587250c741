"""Two CPU devices, strict JAX, and the data sets that tests share."""

import os
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
# Programs that several tests compile are compiled once, and nothing is left behind.
_CACHE = tempfile.TemporaryDirectory()
os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE.name
jax.config.update("jax_compilation_cache_dir", _CACHE.name)

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
