"""What a bundle says of its networks: a card to read, and the keys of MONAI's bundles."""

from typing import Any

import numpy as np

from scarseg_jax.judge.results import Summary
from scarseg_jax.learn import bundle, portable, targets
from scarseg_jax.learn.networks import VARIANTS
from scarseg_jax.prepare.crop import SIZE
from scarseg_jax.run import RunRecord

_MEANT = (
    "short-axis late gadolinium enhancement stacks of the left ventricle, in research,"
    " read by someone who can tell when the answer is wrong"
)
_LOOKED = {
    1: "the whole crop",
    2: "the drawn myocardium, which it must be given",
    3: "the whole crop; it finds the myocardium itself",
}
_CASCADE = "the myocardium, drawn or found by the networks in the folder finder"


def card(
    record: RunRecord, summary: Summary, licence: str, *, drawn: bool = False
) -> str:
    """Returns the model card, Markdown: what the networks are, and how good.

    Args:
      record: Of their run.
      summary: Of its evaluation.
      licence: Of the weights.
      drawn: Whether others are asked where the myocardium is given.
    """
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
    instead = (
        f" Where the myocardium is drawn, the networks in the folder {bundle.DRAWN}, which"
        " have a card of their own, answer in place of these."
    ) * drawn
    begun = "; begun as networks that learned on simulated ones" * bool(record.start)
    return f"""# Scar in LGE-CMR: {record.name}

For research. Not a medical device.

- **What**: {len(record.members)} networks ({kind}), one for each
  group of patients it held out. It looks at {_looked(record)}.{instead}
- **Meant for**: {_MEANT}.
- **Trained on**: {summary.patients} patients ({record.source}), {train["epochs"]} epochs{begun}.
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
    beside = range(-record.neighbours, record.neighbours + 1)
    seen = [f"{one}{f', slice {at:+d}' * (at != 0)}" for at in beside for one in seen]
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
            f"{len(record.members)} networks"
            f" ({VARIANTS.get(record.variant, record.variant)}), one for"
            f" each group of patients it held out; {record.name} looks at"
            f" {_looked(record)}. A new patient's answer is their mean."
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


def _looked(record: RunRecord) -> str:
    return _CASCADE if record.finder else _LOOKED[record.protocol]


def _value(value: float | None, times: float, unit: str) -> str:
    return "not known" if value is None else f"{times * value:.1f}{unit}"


def _mean(figure) -> str:
    if figure.mean is None:
        return "not known"
    return f"{figure.mean:.3f}" + (f" ± {figure.sd:.3f}" if figure.sd else "")


def _tally(tally) -> str:
    return f"{tally.slices} of {tally.of_slices}"
