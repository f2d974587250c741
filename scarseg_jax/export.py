r"""Makes of a finished run a bundle: a folder with its networks that needs nothing else.

python -m scarseg_jax.export --workdir=runs/protocol3 --output=FOLDER --stablehlo

The weights are float16 safetensors; beside them are the run's record, a model card, what
MONAI's bundles say of themselves (metadata.json), and the SHA-256 of each.
`predict --checkpoint=FOLDER` takes it as it takes a run; networks that found the
myocardium for these are in it, and with --drawn those that answer in their place where it
is given. With --stablehlo the networks are
there as a program too, network.stablehlo, that JAX alone can run.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from absl import app, flags

from scarseg_jax import files
from scarseg_jax.errors import InputError
from scarseg_jax.judge import tables
from scarseg_jax.learn import bundle, checkpoint, portable
from scarseg_jax.learn.card import card, metadata
from scarseg_jax.run import RunRecord
from scarseg_jax.segment.model import load_model
from scarseg_jax.terminal import (
    exit_code,
    only_flags,
    parse,
    required_path,
    start_jax,
)

_WORKDIR = flags.DEFINE_string("workdir", None, "Working directory of a finished run.")
_OUTPUT = flags.DEFINE_string("output", None, "The bundle's folder, a new one.")
_LICENCE = flags.DEFINE_string(
    "licence", None, "Of the weights: that of the data; known of emidec and phantom."
)
_DRAWN = flags.DEFINE_string(
    "drawn", None, "Bundle of Protocol 2, asked instead where the myocardium is given."
)
_STABLEHLO = flags.DEFINE_bool(
    "stablehlo", False, "Add the networks as a program, for the CPU and CUDA."
)


def main(argv: list[str]) -> int:
    """Writes one bundle; returns the exit code."""
    return exit_code(lambda: _export(argv))


def _export(argv: list[str]) -> None:
    only_flags(argv)
    workdir, output = map(required_path, (_WORKDIR, _OUTPUT))
    if output.exists():
        raise InputError(f"--output={output} is there; choose a new folder")
    variables, record = checkpoint.load(workdir / "checkpoint", RunRecord)
    licence = _LICENCE.value or bundle.LICENCES.get(record.source)
    if not licence:
        raise InputError(
            f"--licence is missing; that of the {record.source} data is not known: say"
            " under which the weights go"
        )
    drawn = _drawn_of(_DRAWN.value, record)
    summary = tables.read(workdir).summary
    text = card(record, summary, licence, drawn=drawn is not None)
    keys = metadata(record, summary, licence)
    program = None
    if _STABLEHLO.value:
        start_jax()
        program = portable.to_stablehlo(bundle.kept(variables), record)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        partial = Path(folder) / "bundle"
        finder = load_model(workdir).finder if record.finder else None
        bundle.save(
            *(partial, variables, record, text, keys, program),
            finder=finder and finder.path,
            drawn=drawn,
        )
        shutil.move(partial, output)
    sys.stdout.write(
        f"{output}: {len(record.members)} networks, {_megabytes(output):.1f} MB, weights"
        f" {files.sha256(output / bundle.WEIGHTS)[:16]}\n"
    )


def _drawn_of(folder: str | None, record: RunRecord) -> Path | None:
    """Returns the bundle that is asked in a run's place where the myocardium is given."""
    if folder is None:
        return None
    if record.judged_as == 2:
        raise InputError(
            f"--drawn={folder} has no effect: the run is of Protocol 2, and looks inside a"
            " given myocardium itself; leave it out"
        )
    if not bundle.is_bundle(Path(folder)):
        raise InputError(
            f"--drawn={folder} is no bundle; make one of a run of Protocol 2:"
            " python -m scarseg_jax.export --workdir=RUN --output=FOLDER"
        )
    _, theirs = bundle.load(Path(folder))
    if theirs.judged_as != 2:
        raise InputError(
            f"--drawn={folder} is of Protocol {theirs.judged_as}; expected Protocol 2,"
            " which looks inside a given myocardium"
        )
    return Path(folder)


def _megabytes(folder: Path) -> float:
    return (
        sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
    )


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
