"""Networks that travel: a folder that needs no Orbax, no data set and no run beside it.

weights.safetensors in float16, run.json with the run's record, README.md (the model
card), metadata.json with the keys of MONAI's bundles, and the SHA-256 of each. Nothing that
is read is ever executed.
"""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from scarseg_jax import files, records
from scarseg_jax.errors import InputError
from scarseg_jax.prepare import likeness
from scarseg_jax.run import RunRecord

# Of weights, by the source of the data that they were trained on.
LICENCES = {
    "emidec": (
        "CC BY-NC-SA 4.0 (https://creativecommons.org/licenses/by-nc-sa/4.0/), that of"
        " the data they were trained on: EMIDEC, A. Lalande et al., Data 5(4):89, 2020;"
        " not for commercial use"
    ),
    "phantom": "Apache-2.0; trained on simulated patients",
}
WEIGHTS, RUN, CARD = "weights.safetensors", "run.json", "README.md"
FINDER = "finder"  # a bundle in a bundle, and beside a run's checkpoint
DRAWN = "drawn"  # a bundle in a bundle: asked where the myocardium is given
METADATA, STABLEHLO = "metadata.json", "network.stablehlo"
_KEPT = np.float16  # half as large, for up to 0.01 of a few pixels' probabilities


def is_bundle(directory: Path) -> bool:
    """Returns whether a folder holds what `save` writes."""
    return (directory / WEIGHTS).is_file()


def save(
    directory: Path,
    variables: Any,
    record: RunRecord,
    card: str,
    metadata: Mapping[str, Any],
    stablehlo: bytes | None = None,
    finder: Path | None = None,
    drawn: Path | None = None,
) -> None:
    """Writes a bundle; the same networks give the same bytes.

    Of the record it keeps neither paths nor the course of training, and of patients no
    names: each has one made of the image's fingerprint, by which a copy is known again.

    Args:
      directory: A new folder.
      variables: Of the networks, a leading member axis.
      record: Of their run.
      card: What a reader should know, Markdown.
      metadata: What a program should know, as JSON can hold it.
      stablehlo: From `portable.to_stablehlo`, of what `kept` returns.
      finder: The bundle of the networks that find the myocardium for these.
      drawn: The bundle of those that are asked in their place where it is given.
    """
    flat = traverse_util.flatten_dict(variables, sep="/")
    directory.mkdir(parents=True)
    small = {name: np.asarray(leaf, _KEPT) for name, leaf in sorted(flat.items())}
    files.write_bytes(directory / WEIGHTS, safetensors.numpy.save(small))
    if finder is not None:
        theirs = _put(finder, directory / FINDER)
        record = dataclasses.replace(record, finder=theirs)
    if drawn is not None:
        _put(drawn, directory / DRAWN)
    files.write_text(directory / RUN, records.to_json(nameless(record)) + "\n")
    files.write_text(directory / CARD, card)
    files.write_text(directory / METADATA, json.dumps(metadata, indent=1) + "\n")
    if stablehlo is not None:
        files.write_bytes(directory / STABLEHLO, stablehlo)
    files.write_sums(directory)


def _put(bundle: Path, home: Path) -> str:
    """Copies a bundle into another; returns its SHA-256 there."""
    shutil.copytree(bundle, home)
    _, theirs = load(home)  # may be of before names were left out
    files.write_text(home / RUN, records.to_json(nameless(theirs)) + "\n")
    files.write_sums(home)
    return files.sha256(home / files.SUMS)


def nameless(record: RunRecord) -> RunRecord:
    """Returns a record without paths, the course of training and patients' names."""
    prints = record.fingerprints

    def alias(patient: str) -> str:
        return likeness.pseudonym(patient, prints)

    data = {**record.settings["data"], "path": "", "patients": (), "leave_out": ()}
    return dataclasses.replace(
        record,
        history=(),
        settings={**record.settings, "finder": "", "start": "", "data": data},
        fingerprints={alias(name): print_ for name, print_ in sorted(prints.items())},
        members=tuple(
            dataclasses.replace(
                trained,
                test_patients=tuple(sorted(map(alias, trained.test_patients))),
                trials=tuple(
                    dataclasses.replace(trial, patient=alias(trial.patient))
                    for trial in trained.trials
                ),
            )
            for trained in record.members
        ),
    )


def kept(variables: Any) -> Any:
    """Returns variables as a bundle gives them back: rounded, in float32."""
    return jax.tree.map(
        lambda leaf: np.asarray(leaf, _KEPT).astype(np.float32), variables
    )


def load(directory: Path) -> tuple[dict, RunRecord]:
    """Returns the variables, in float32, and the record of a bundle.

    Raises:
      InputError: If it is damaged or of another version.
    """
    mend = "copy the bundle anew"
    if not (directory / files.SUMS).is_file():
        raise InputError(f"{directory}: the bundle has no {files.SUMS}; {mend}")
    if file := files.changed(directory):
        raise InputError(
            f"{directory}: the bundle is damaged (the SHA-256 of {file.name} differs);"
            f" {mend}"
        )
    try:
        flat = safetensors.numpy.load_file(directory / WEIGHTS)
    except safetensors.SafetensorError as error:
        raise InputError(f"{directory / WEIGHTS}: {error}; {mend}") from error
    text = (directory / RUN).read_bytes()
    where = f"{directory / RUN}: no record of this version"
    record = records.parse(RunRecord, text, where, mend)
    arrays = {name: leaf.astype(np.float32) for name, leaf in flat.items()}
    return traverse_util.unflatten_dict(arrays, sep="/"), record
