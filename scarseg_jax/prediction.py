"""One study's prediction, from its files to the files that are left of it."""

import dataclasses
import importlib.metadata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scarseg_jax import files
from scarseg_jax.measure.numbers import Numbers
from scarseg_jax.segment.intensities import by_intensity, zones_of
from scarseg_jax.segment.model import Model
from scarseg_jax.segment.pipeline import as_drawn, find_scar
from scarseg_jax.show.patient_report import write_patient_report
from scarseg_jax.study import Study
from scarseg_jax.writers.dicom import write_dicom
from scarseg_jax.writers.nifti import check_grid
from scarseg_jax.writers.segmentation import numbers_of, page_path, write_segmentation

_PACKAGES = ("scarseg_jax", "jax")


@dataclasses.dataclass(frozen=True)
class Choices:
    """What a user chose that decides what the files say.

    Attributes:
      threshold: As in `find_scar`.
      force: As in `find_scar`.
      keep_identifiers: As in `writers.segmentation.describe`.
      probability: As in `write_segmentation`.
      zones: As in `zones_of`.
      estimate_septum: As in `numbers_of`.
      drawn: Whether the scar that was drawn is the answer, as in `as_drawn`.
      others: What decides how images are read and which networks are asked, by name.
    """

    threshold: float | None
    force: bool
    keep_identifiers: bool
    probability: bool
    zones: str | None
    estimate_septum: bool
    drawn: bool
    others: Mapping[str, Any]


def made_from(
    model: Model, paths: Iterable[tuple[str, Path]], choices: Choices
) -> dict[str, Any]:
    """Returns what decides a prediction's every byte, as its JSON says it.

    Args:
      model: Asked.
      paths: Of files and folders that the study is read from, each after what it is
        for; nothing is written of that but a hash.
      choices: The user's.

    Raises:
      OSError: If a file cannot be read.
    """
    return {
        "input_sha256": files.sha256_of_all(paths),
        "model_sha256": model.sha256,
        "choices": dataclasses.asdict(choices),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def predict(
    model: Model,
    study: Study,
    output: Path,
    *,
    choices: Choices,
    origin: Mapping[str, Any],
    seg: Path | None = None,
    sr: Path | None = None,
    as_nifti: bool = True,
) -> str:
    """Finds the scar of a study and writes mask, tissues, page and JSON.

    Args:
      model: Asked.
      study: To look at.
      output: The mask; the others go beside it.
      choices: The user's.
      origin: From `made_from`.
      seg: As in `writers.dicom.check_dicom`, which was called before; sr too.
      sr: As above.
      as_nifti: What it returned.

    Returns:
      In words, what was found.

    Raises:
      InputError: If the study cannot be used, or the mask not be written.
    """
    if as_nifti:
        check_grid(output, study.geometry, study.image.shape)
    found = find_scar(model, study, threshold=choices.threshold, force=choices.force)
    if choices.drawn:
        found = as_drawn(found)
    numbers = numbers_of(
        found,
        estimate_septum=choices.estimate_septum,
        zones=zones_of(found, choices.zones),
        by_intensity=by_intensity(found),
    )
    write_dicom(found, numbers, seg, sr)
    report = write_segmentation(
        *(found, output, numbers),
        as_nifti=as_nifti,
        probability=choices.probability,
        made_from=origin,
        keep_identifiers=choices.keep_identifiers,
    )
    write_patient_report(page_path(output), found, numbers)
    return _in_words(report, numbers)


def _in_words(report: Mapping[str, Any], numbers: Numbers) -> str:
    share, asked = "", len(report["members"])
    by = f"{asked} network{'s' * (asked > 1)}"
    if (review := report["review"]) is not None:
        by = (
            f"hand: {review['added_ml']:.1f} ml more and {review['erased_ml']:.1f} ml less"
            f" than {by}"
        )
    if numbers.scar_of_lv_percent is not None:
        share = (
            f", {numbers.scar_of_lv_percent:.1f} % of the {numbers.lv_mass_g:.0f} g of"
            f" myocardium {report['myocardium']}"
        )
    return (
        f"scar in {report['slices_with_scar']} of {report['slices']} slices,"
        f" {report['scar_volume_ml']:.1f} ml or {numbers.scar_mass_g:.1f} g{share}, by {by}"
    )
