"""Finds and measures left-ventricular scar in LGE-CMR.

As a library, in four steps; `scarseg_jax.main` trains what `load_model` loads:

>>> import scarseg_jax as ss
>>> study = ss.read("image.nii.gz", myocardium="myocardium.nii.gz")
>>> model = ss.load_model("run")  # one load serves many studies
>>> found = ss.find_scar(model, study)
>>> found.scar.shape == study.image.shape
True
>>> report = ss.write(found, "scar.nii.gz")
>>> bool(report["scar_volume_ml"] == found.scar_ml)
True

Nothing is imported before it is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; __getattr__ does it when asked
    from scarseg_jax.readers.patient import read_patient as read
    from scarseg_jax.segment.model import load_model
    from scarseg_jax.segment.pipeline import find_scar
    from scarseg_jax.writers.segmentation import write_segmentation as write

__all__ = ["find_scar", "load_model", "read", "write"]
_HOMES = {
    "find_scar": ("scarseg_jax.segment.pipeline", "find_scar"),
    "load_model": ("scarseg_jax.segment.model", "load_model"),
    "read": ("scarseg_jax.readers.patient", "read_patient"),
    "write": ("scarseg_jax.writers.segmentation", "write_segmentation"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, function = _HOMES[name]
    return getattr(importlib.import_module(module), function)
