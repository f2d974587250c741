"""The one way in: a study's slices as the network sees them.

Preparing a data set, evaluating and predicting all come through `cut`; the way back is
`segment.pipeline.on_native_grid`.
"""

from collections.abc import Sequence

import numpy as np

from scarseg_jax.prepare import crop, plausible
from scarseg_jax.prepare.clean import clean, used_window
from scarseg_jax.prepare.hough import find_left_ventricle
from scarseg_jax.study import Slices, Study, Tissue, label_tissues

# Raise this when the same study gives other slices than before.
PREPARATION = 4


def cut(
    study: Study,
    *,
    protocol: int,
    context: bool = False,
    neighbours: int = 0,
    boxes: Sequence[crop.CropBox] | None = None,
) -> Slices:
    """Returns a study's slices: cut out and normalised.

    Args:
      study: With its myocardium for Protocol 2; without, the network sees nothing.
      protocol: 1 and 3 see the whole crop, 2 the myocardium only.
      context: Whether the network sees the surroundings beside the myocardium.
      neighbours: How many slices on each side it sees beside, cut out at the same place;
        beyond the stack's end it sees the last one again.
      boxes: Where each slice is cut out; None: around the circles that are found.

    Raises:
      InputError: If the image is none that a scanner makes.
    """
    plausible.check_image(study)
    count = len(study.image)
    image, corner_px = _cleaned(study.image)
    if boxes is None:
        found = find_left_ventricle(image, study.spacing_mm)
        inner = crop.boxes(found, study.spacing_mm)
        boxes = [crop.moved(box, corner_px) for box in inner]
    else:
        inner = [crop.moved(box, -corner_px) for box in boxes]
    masks = {
        name: np.zeros(study.image.shape, bool) if mask is None else mask
        for name, mask in study.masks.items()
    }
    crops = np.stack(
        [crop.crop_image(*pair) for pair in zip(image, inner, strict=True)]
    )
    inside = {
        name: np.stack(
            [crop.crop_mask(*pair) for pair in zip(mask, boxes, strict=True)]
        )
        for name, mask in masks.items()
    }

    def seen(z: int) -> np.ndarray:
        beside = range(z - neighbours, z + neighbours + 1)
        each = [min(max(at, 0), count - 1) for at in beside]
        made = {}
        for at in set(each):
            cut_out = crops[z], inside["myocardium"][z]
            if at != z:
                cut_out = (
                    crop.crop_image(image[at], inner[z]),
                    crop.crop_mask(masks["myocardium"][at], boxes[z]),
                )
            made[at] = crop.network_input(*cut_out, protocol=protocol, context=context)
        return np.concatenate([made[at] for at in each], axis=-1)

    side_mm = np.array([box.side_mm for box in boxes])
    slices = Slices(
        image=np.stack([seen(z) for z in range(count)]),
        crop=crops,
        myocardium=inside["myocardium"],
        scar=inside["scar"],
        patient=np.array([study.patient] * count),
        slice=np.arange(count),
        labelled=np.full(count, study.scar is not None),
        contained=np.array(
            [
                crop.contains(*pair)
                for pair in zip(boxes, masks["myocardium"], strict=True)
            ]
        ),
        centre_px=np.array([box.centre_px for box in boxes]),
        spacing_mm=np.tile(study.spacing_mm, (count, 1)),
        side_mm=side_mm,
        pixel_mm=(side_mm / crop.SIZE).astype(np.float32),
    )
    plausible.check_crops(study, slices)
    return slices


def boxes_drawn(study: Study, method: str) -> tuple[crop.CropBox, ...] | None:
    """Returns boxes around what is drawn of a study; None: around circles.

    Args:
      study: The study.
      method: Of `crop.METHODS`; only "hough" takes circles where there is a myocardium.
    """
    if method == "hough" or study.myocardium is None:
        return None
    return crop.boxes_around(study.myocardium, study.spacing_mm)


def _cleaned(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the stack without wild values and borders, and its corner, (y, x)."""
    corner_px = np.zeros(2, int)
    # A stray value hides a border, and a border what values are tame: hence twice.
    for again in (True, True, False):
        rows, columns = used_window(image)
        corner_px += np.array([rows.start, columns.start])
        image = image[:, rows, columns]
        image = clean(image) if again else image
    return image, corner_px


def box_of(slices: Slices, index: int) -> crop.CropBox:
    """Returns where a slice was cut out."""
    y, x = slices.centre_px[index].tolist()
    _, spacing_y, spacing_x = slices.spacing_mm[index].tolist()
    return crop.CropBox((y, x), float(slices.side_mm[index]), (spacing_y, spacing_x))


def tissue_shares(study: Study, slices: Slices) -> np.ndarray:
    """Returns how much of each tissue lies in the pixels of a study's crops.

    Its mask, interpolated as the image is: a pixel across a border has shares of both
    sides, where the nearest pixel of the mask would move the border by up to half of one.

    Args:
      study: With its masks. Where they overlap the more special one counts; scar that was
        drawn outside the myocardium is scar.
      slices: Some of its, cut out anywhere.

    Returns:
      (n, 64, 64, 4) float32 in 0..1, of each `Tissue` but the background.
    """
    tissue = label_tissues(study.image.shape, study.masks)
    crops = [
        [
            crop.crop_image((tissue[z] == own).astype(np.float32), box_of(slices, n))
            for own in Tissue
            if own != Tissue.BACKGROUND
        ]
        for n, z in enumerate(slices.slice)
    ]
    return np.moveaxis(np.array(crops), 1, -1)
