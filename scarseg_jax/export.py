r"""Makes of a finished run a bundle: a folder with its networks that needs nothing else.

python -m scarseg_jax.export --workdir=runs/protocol3 --output=FOLDER

The weights are float16 safetensors; beside them are the run's record, a model card and
the SHA-256 of each. `predict --checkpoint=FOLDER` takes it as it takes a run.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from absl import app, flags

from scarseg_jax import files
from scarseg_jax.errors import InputError
from scarseg_jax.judge import tables
from scarseg_jax.judge.results import Summary
from scarseg_jax.learn import bundle, checkpoint
from scarseg_jax.learn.networks import VARIANTS
from scarseg_jax.run import RunRecord
from scarseg_jax.terminal import exit_code, only_flags, parse, required_path

_WORKDIR = flags.DEFINE_string("workdir", None, "Working directory of a finished run.")
_OUTPUT = flags.DEFINE_string("output", None, "The bundle's folder, a new one.")
_LICENCE = flags.DEFINE_string(
    "licence", None, "Of the weights: that of the data; known of emidec and phantom."
)
_LOOKED = {
    1: "the whole crop",
    2: "the drawn myocardium, which it must be given",
    3: "the whole crop; it finds the myocardium itself",
}


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
    text = card(record, tables.read(workdir).summary, licence)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        partial = Path(folder) / "bundle"
        bundle.save(partial, variables, record, text)
        shutil.move(partial, output)
    sys.stdout.write(
        f"{output}: {len(record.members)} networks, {_megabytes(output):.1f} MB, weights"
        f" {files.sha256(output / bundle.WEIGHTS)[:16]}\n"
    )


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


def card(record: RunRecord, summary: Summary, licence: str) -> str:
    """Returns the model card, Markdown: what the networks are, and how good."""
    train, own = record.settings["train"], summary.native
    figures = [
        ("Patients held out", f"{summary.patients} ({own.dice_3d_mean.n} with scar)"),
        ("Scar, 3-D Dice (mean ± SD)", _mean(own.dice_3d_mean)),
        ("Scar, slice DSC (median)", _value(own.dsc.median, 100, " %")),
        ("Slices with scar missed", _tally(own.failures.missed)),
        ("Slices without, scar called", _tally(own.failures.false)),
    ]
    if summary.percent_lv:
        bias = summary.percent_lv.bland_altman
        spread = "" if bias.sd is None else f" ± {1.96 * bias.sd:.1f} (1.96 SD)"
        figures.append(("Scar, % of LV, called less true", f"{bias.bias:+.1f}{spread}"))
    if summary.ventricle:
        found = summary.ventricle
        figures += [
            ("Myocardium, 3-D Dice (mean ± SD)", _mean(found.myocardium_dice)),
            (
                "Ventricle's centre, off by (median)",
                _value(found.centre_mm.median, 1, " mm"),
            ),
            (
                "Scar, 3-D Dice with the drawn myocardium put in",
                _mean(found.scar_dice_in_drawn),
            ),
        ]
    rows = "\n".join(f"| {name} | {value} |" for name, value in figures)
    kind = VARIANTS.get(record.variant, record.variant)
    return f"""# Scar in LGE-CMR: Protocol {record.protocol}

For research. Not a medical device.

- **What**: {len(record.members)} networks ({kind}), one for each
  group of patients it held out. It looks at {_LOOKED[record.protocol]}.
- **Meant for**: short-axis late gadolinium enhancement stacks of the left ventricle, in
  research, read by someone who can tell when the answer is wrong.
- **Trained on**: {summary.patients} patients ({record.source}), {train["epochs"]} epochs.
- **Licence**: {licence}.

Each patient judged by the network that had not seen it, on the images' own grids:

| | |
|---|---|
{rows}

A new patient is answered for by the mean of all {len(record.members)}; of a patient they
were trained on, only by the one that had not seen it.

**Limits**: patients of one data set; other scanners, contrast and heart disease are not in
it. Small scars are missed, scars are called where there are none: the table says how
often. It says nothing of what it has not been shown.
"""


def _value(value: float | None, times: float, unit: str) -> str:
    return "not known" if value is None else f"{times * value:.1f}{unit}"


def _mean(figure) -> str:
    if figure.mean is None:
        return "not known"
    return f"{figure.mean:.3f}" + (f" ± {figure.sd:.3f}" if figure.sd else "")


def _tally(tally) -> str:
    return f"{tally.slices} of {tally.of_slices}"


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
