r"""Finds scar in one image with the networks of a finished run.

python -m scarseg_jax.predict --checkpoint=runs/protocol2 --input=IMAGE.nii.gz \
    --myocardium=MASK.nii.gz --output=SCAR.nii.gz

Protocol 2 needs the myocardium, Protocol 1 does not. The mask has the input's own grid
and affine; OUTPUT with the ending .json says what it was made with.
"""

import dataclasses
import json
import os
import sys
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

from scarseg_jax.errors import InputError
from scarseg_jax.judge import evaluate
from scarseg_jax.learn import checkpoint, ensemble
from scarseg_jax.learn.enet import ENet
from scarseg_jax.main import fail, log_to_terminal, parse, start_jax
from scarseg_jax.prepare import crop, dataset
from scarseg_jax.prepare.hough import find_left_ventricle
from scarseg_jax.readers import folder, nifti
from scarseg_jax.segment import decide
from scarseg_jax.study import Study

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Working directory of a finished run, or its checkpoint."
)
_INPUT = flags.DEFINE_string("input", None, "The LGE stack, .nii or .nii.gz.")
_MYOCARDIUM = flags.DEFINE_string("myocardium", None, "Its myocardium, for Protocol 2.")
_OUTPUT = flags.DEFINE_string("output", None, "Where the scar mask goes.")
_FOLDS = flags.DEFINE_list("folds", [], "Networks of these folds only; empty: all.")
_SEEDS = flags.DEFINE_list("seeds", [], "Networks of these seeds only; empty: all.")
_THRESHOLD = flags.DEFINE_float(
    "threshold", None, "Probability from which scar is called; default: the run's."
)
_SPACING = flags.DEFINE_enum(
    "spacing",
    None,
    ["affine", "pixdim"],
    "Which part of the header carries it; default: what the run's source uses.",
)


def main(argv: list[str]) -> int:
    """Predicts one image; returns the exit code."""
    log_to_terminal()
    try:
        if len(argv) > 1:
            raise InputError(f"argument {argv[1]!r} is not a flag; see --help")
        checkpoint_path, image_path, output = (
            _path(flag) for flag in (_CHECKPOINT, _INPUT, _OUTPUT)
        )
        start_jax(0, require_gpu=False)
        report = predict_file(
            checkpoint_path,
            image_path,
            output,
            myocardium_path=Path(_MYOCARDIUM.value) if _MYOCARDIUM.value else None,
            folds=_numbers("folds", _FOLDS.value),
            seeds=_numbers("seeds", _SEEDS.value),
            threshold=_THRESHOLD.value,
            spacing_from=_SPACING.value,
        )
    except InputError as error:
        return fail(error)
    sys.stdout.write(
        f"{output}: scar in {report['slices_with_scar']} of {report['slices']}"
        f" slices, {report['scar_volume_ml']:.1f} ml, by {len(report['members'])}"
        " networks\n"
    )
    return 0


def predict_file(
    checkpoint_path: Path,
    image_path: Path,
    output: Path,
    *,
    myocardium_path: Path | None = None,
    folds: tuple[int, ...] = (),
    seeds: tuple[int, ...] = (),
    threshold: float | None = None,
    spacing_from: str | None = None,
) -> dict:
    """Writes the scar mask of an image and a JSON of what was used, and returns that.

    Args:
      checkpoint_path: A finished run's folder, or its checkpoint.
      image_path: NIfTI image.
      output: NIfTI mask to write.
      myocardium_path: NIfTI mask; required by Protocol 2.
      folds: Members of these folds; empty takes all.
      seeds: Members of these seeds; empty takes all.
      threshold: Probability from which a pixel is scar, of any area; None takes the
        mean of what the networks were trained to take.
      spacing_from: As in `nifti.read_volume`; None takes what the run's source uses.

    Raises:
      InputError: If a file cannot be used or a member is not there.
    """
    _check_output(output, image_path, myocardium_path)
    if threshold is not None and not 0 < threshold < 1:
        raise InputError(f"--threshold={threshold}; expected between 0 and 1")
    inside = checkpoint_path / "checkpoint"
    variables, about = checkpoint.load(inside if inside.is_dir() else checkpoint_path)
    config, members = about["config"], about["members"]
    decided = all("threshold" in member for member in members)
    if about["preparation"] != dataset.PREPARATION or not decided:
        raise InputError(
            f"{checkpoint_path} was trained by another version, with preparation"
            f" {about['preparation']} and {'' if decided else 'no '}decisions; this one"
            f" makes preparation {dataset.PREPARATION}, with them: train again"
        )
    for key, wanted in (("fold", folds), ("seed", seeds)):
        there = sorted({member[key] for member in members})
        if not set(wanted) <= set(there):
            raise InputError(
                f"--{key}s={','.join(map(str, wanted))}; the run has"
                f" {', '.join(map(str, there))}"
            )
    chosen = [
        i
        for i, member in enumerate(members)
        if (not folds or member["fold"] in folds)
        and (not seeds or member["seed"] in seeds)
    ]
    if spacing_from is None:
        source = config["data"]["source"]
        spacing_from = "pixdim" if source == "emidec" else "affine"
    image, grid = nifti.read_volume(image_path, spacing_from=spacing_from)
    myocardium = None
    if config["protocol"] == 2:
        if myocardium_path is None:
            raise InputError(
                "--myocardium is missing; this run is Protocol 2, which looks inside"
                " the myocardium: give its mask, or use a run of Protocol 1"
            )
        myocardium = folder.read_mask(
            myocardium_path, image_path, grid, spacing_from=spacing_from
        )
    # Checks the voxels as training does.
    Study(image_path.name, image, grid.spacing_zyx_mm, files=(image_path,))
    variables = jax.tree.map(lambda leaf: leaf[np.array(chosen)], variables)
    model = ENet(variant=config["model"]["variant"])
    probability = predict_volume(
        model,
        variables,
        image,
        grid.spacing_zyx_mm,
        myocardium,
        symmetries=config["symmetries"],
    )
    own = [
        decide.Decision(members[i]["threshold"], members[i]["min_area_mm2"])
        for i in chosen
    ]
    decision = decide.mean(own) if threshold is None else decide.Decision(threshold)
    pixel_mm2 = np.full(len(image), np.prod(grid.spacing_zyx_mm[1:]))
    scar = decide.call_scar(probability, pixel_mm2, decision)
    voxel_ml = float(np.prod(grid.spacing_mm)) / 1000
    report = {
        "input": str(image_path),
        "myocardium": myocardium_path and str(myocardium_path),
        "checkpoint": str(checkpoint_path),
        "protocol": config["protocol"],
        "selection": config["train"]["selection"],
        "members": [members[i] for i in chosen],
        **dataclasses.asdict(decision),
        "symmetries": config["symmetries"],
        "spacing_mm": grid.spacing_mm,
        "slices": len(scar),
        "slices_with_scar": int(scar.any(axis=(1, 2)).sum()),
        "scar_volume_ml": float(scar.sum()) * voxel_ml,
        "data_hash": about["data_hash"],
        "versions": about["versions"],
    }
    nifti.write_mask(output, scar, grid)
    stem = output.name.removesuffix(".gz").removesuffix(".nii")
    evaluate.write_text(output.with_name(f"{stem}.json"), json.dumps(report, indent=1))
    return report


def _check_output(output: Path, *inputs: Path | None) -> None:
    """Checks before all computing that the mask can be written and replaces no input."""
    if not output.name.endswith((".nii", ".nii.gz")):
        raise InputError(
            f"--output={output}: expected a name ending in .nii.gz or .nii"
        )
    if not os.access(output.parent, os.W_OK):
        raise InputError(
            f"--output={output}: {output.parent} cannot be written to; choose a folder"
            " that exists and that you may write to"
        )
    if output.resolve() in [path.resolve() for path in inputs if path]:
        raise InputError(f"--output={output} is an input too; choose another name")


def predict_volume(
    model: ENet,
    variables: dict,
    image: np.ndarray,
    spacing_mm: tuple[float, float, float],
    myocardium: np.ndarray | None,
    *,
    symmetries: bool,
) -> np.ndarray:
    """Returns the members' mean probability of scar on the image's own grid.

    Args:
      model: The network.
      variables: Leading axis M.
      image: (Z, Y, X) float32.
      spacing_mm: Voxel spacing (z, y, x).
      myocardium: (Z, Y, X) bool for Protocol 2, and no scar is outside it; None for
        Protocol 1.
      symmetries: Whether to average over the square's 8 symmetries.

    Returns:
      (Z, Y, X) float32.
    """
    boxes = crop.boxes(find_left_ventricle(image, spacing_mm), spacing_mm)
    inputs = []
    for z, box in enumerate(boxes):
        seen = crop.crop_image(image[z], box)
        inside = None if myocardium is None else crop.crop_mask(myocardium[z], box)
        protocol = 1 if inside is None else 2
        inputs.append(crop.network_input(seen, inside, protocol=protocol))
    members = len(jax.tree.leaves(variables)[0])
    wanted = np.tile(np.arange(len(boxes), dtype=np.int32), (members, 1))
    probability = ensemble.predict_members(
        model, variables, np.stack(inputs)[..., None], wanted, symmetries=symmetries
    ).mean(axis=0)
    native = np.stack(
        [
            crop.uncrop_probability(p, box, image.shape[1:])
            for p, box in zip(probability, boxes, strict=True)
        ]
    )
    return native if myocardium is None else native * myocardium


def _path(flag: flags.FlagHolder) -> Path:
    if not flag.value:
        raise InputError(f"--{flag.name} is missing; see --help")
    return Path(flag.value)


def _numbers(name: str, texts: list[str]) -> tuple[int, ...]:
    try:
        return tuple(int(text) for text in texts)
    except ValueError:
        raise InputError(
            f"--{name}={','.join(texts)}; expected whole numbers such as 0,1"
        ) from None


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
