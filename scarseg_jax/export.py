r"""Makes of a finished run a bundle: a folder with its networks that needs nothing else.

python -m scarseg_jax.export --workdir=runs/protocol3 --output=FOLDER --stablehlo

The weights are float16 safetensors; beside them are the run's record, a model card, what
MONAI's bundles say of themselves (metadata.json), and the SHA-256 of each.
`predict --checkpoint=FOLDER` takes it as it takes a run. With --stablehlo the networks are
there as a program too, network.stablehlo, that JAX alone can run.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from scarseg_jax import files
from scarseg_jax.errors import InputError
from scarseg_jax.judge import tables
from scarseg_jax.judge.results import Summary
from scarseg_jax.learn import bundle, checkpoint, portable, targets
from scarseg_jax.learn.networks import VARIANTS
from scarseg_jax.prepare.crop import SIZE
from scarseg_jax.run import RunRecord
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
_STABLEHLO = flags.DEFINE_bool(
    "stablehlo", False, "Add the networks as a program, for the CPU and CUDA."
)
_MEANT = (
    "short-axis late gadolinium enhancement stacks of the left ventricle, in research,"
    " read by someone who can tell when the answer is wrong"
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
    summary = tables.read(workdir).summary
    text, keys = card(record, summary, licence), metadata(record, summary, licence)
    program = None
    if _STABLEHLO.value:
        start_jax()
        program = portable.to_stablehlo(bundle.kept(variables), record)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        partial = Path(folder) / "bundle"
        bundle.save(partial, variables, record, text, keys, program)
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
- **Meant for**: {_MEANT}.
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


def metadata(record: RunRecord, summary: Summary, licence: str) -> dict[str, Any]:
    """Returns what MONAI's bundle specification asks of a metadata.json, of JAX networks.

    Keys beside MONAI's: `license`, `axes`, `coordinates`, `program`.

    Args:
      record: Of the run.
      summary: Of its evaluation.
      licence: Of the weights.
    """
    dice = summary.native.dice_3d_mean
    classes = targets.CLASSES[record.classes]
    names = [
        " and ".join(tissue.name.lower() for tissue in tissues) for tissues in classes
    ]
    seen = ["z-scored crop"]
    if record.protocol == 2:
        seen = ["crop less its offset, 0 outside the myocardium, z-scored"]
        seen += ["z-scored crop", "myocardium"] if record.context else []
    plane = {
        "type": "image",
        "spatial_shape": [SIZE, SIZE],
        "dtype": "float32",
        "is_patch_data": False,
    }
    made = record.versions
    return {
        "version": made.get("scarseg_jax", "not known"),
        "changelog": {},
        "monai_version": "not used: the networks are JAX's",
        "pytorch_version": "not used: the networks are JAX's",
        "numpy_version": np.__version__,
        "optional_packages_version": {
            name: it for name, it in made.items() if name != "scarseg_jax"
        },
        "task": "Finds left-ventricular scar in late gadolinium enhancement MRI",
        "description": (
            f"{len(record.members)} networks (ENet, variant {record.variant}), one for"
            f" each group of patients it held out; Protocol {record.protocol} looks at"
            f" {_LOOKED[record.protocol]}. A new patient's answer is their mean."
        ),
        "authors": "whoever trained it, with scarseg_jax",
        "copyright": licence,
        "license": licence,
        "intended_use": f"For research, not a medical device: {_MEANT}",
        "data_source": f"{summary.patients} patients ({record.source})",
        "data_type": "short-axis LGE-CMR stacks",
        "eval_metrics": {
            "scar_dice_3d_mean": dice.mean,
            "scar_dice_3d_sd": dice.sd,
            "patients_with_scar": dice.n,
            "scar_slice_dsc_median": summary.native.dsc.median,
            "judged": "by the network that had not seen the patient, native grids",
        },
        "network_data_format": {
            "inputs": {
                "image": {
                    **plane,
                    "format": "magnitude",
                    "modality": "MR",
                    "num_channels": len(seen),
                    "value_range": [],
                    "channel_def": {str(i): words for i, words in enumerate(seen)},
                    "axes": "batch, row, column, channel",
                    "coordinates": (
                        "a square on the left ventricle, seen from the apex, the"
                        " patient's left at the right"
                    ),
                }
            },
            "outputs": {
                "pred": {
                    **plane,
                    "format": "classes",
                    "modality": "n/a",
                    "num_channels": len(names),
                    "value_range": [0, 1],
                    "channel_def": {str(i): name for i, name in enumerate(names)},
                    "axes": "network, batch, row, column, channel",
                }
            },
        },
        "program": (
            f"{bundle.STABLEHLO}, where it is there: jax.export.deserialize of JAX"
            f" {made.get('jax', 'not known')} or up to six months later; batches of any"
            f" size; {' and '.join(portable.PLATFORMS)}; an answer is a network's"
            + (", the mean over 8 symmetries" if record.symmetries else "")
        ),
    }


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
