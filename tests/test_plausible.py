import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
from builders import draw_study, source_of
from scipy import ndimage

from scarseg_jax.errors import InputError
from scarseg_jax.prepare import dataset
from scarseg_jax.prepare.cut import cut
from scarseg_jax.prepare.plausible import check_image, check_masks
from scarseg_jax.readers import emidec as emidec_reader
from scarseg_jax.readers import phantom
from scarseg_jax.study import Geometry, Study


def spaced(*spacing_mm):
    """Returns a study of this (z, y, x) spacing."""
    study = draw_study("p")
    return dataclasses.replace(
        study, geometry=Geometry.upright(len(study.image), spacing_mm)
    )


@pytest.mark.parametrize(
    ("spacing_mm", "said"),
    [
        ((8.0, 0.01, 0.01), "rows 0.01 mm apart; expected 0.2 to 6 mm"),
        ((8.0, 1.5, 7.0), "columns 7 mm apart; expected 0.2 to 6 mm"),
        ((0.01, 1.5, 1.5), "slices 0.01 mm apart; expected 0.5 to 40 mm"),
        ((130.0, 1.5, 1.5), "slices 130 mm apart; expected 0.5 to 40 mm"),
    ],
)
def test_a_spacing_that_no_scanner_has_is_refused(tmp_path, spacing_mm, said):
    study = spaced(*spacing_mm)
    with pytest.raises(InputError, match=f"patient p: {said}: mend"):
        cut(study, protocol=1)
    with pytest.raises(InputError, match=f"patient p: {said}: mend"):
        dataset.prepare(tmp_path, source_of({"p": study}), protocol=2)


@pytest.mark.parametrize(
    ("spacing_mm", "said"),
    [
        ((8.0, 0.4, 1.5), "patient p: rows 0.4 mm apart is unusual"),
        ((25.0, 1.5, 1.5), "patient p: slices 25 mm apart is unusual"),
        ((13.0, 1.4, 1.4), ""),
        ((1.3, 1.3, 1.3), ""),
    ],
)
def test_an_odd_spacing_is_said(spacing_mm, said, caplog):
    cut(spaced(*spacing_mm), protocol=1)
    assert ("unusual" in caplog.text) == bool(said)
    assert said in caplog.text


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30, 1e35])
def test_only_an_image_of_one_value_is_constant(scale):
    study = draw_study("p")
    flat = np.full_like(study.image, 7 * scale)
    with pytest.raises(InputError, match=r"patient p: all voxels are 7.*; expected an"):
        check_image(dataclasses.replace(study, image=flat))
    check_image(dataclasses.replace(study, image=study.image * np.float32(scale)))
    extreme = np.where(study.image > 200, np.float32(3e38), np.float32(-3e38))
    check_image(dataclasses.replace(study, image=extreme))


def test_slices_of_one_value_are_said(caplog):
    study = draw_study("p", slices=4)
    study.image[1] = 5
    cut(study, protocol=1)
    assert "p: all pixels have one value in slice 1 (0 is the base)" in caplog.text


def test_slices_whose_crop_misses_the_myocardium_are_said(caplog):
    study = draw_study("p", slices=4)
    cut(study, protocol=2)
    assert not caplog.text
    far = np.array(study.myocardium)
    far[2:, 0, 0] = True
    cut(dataclasses.replace(study, myocardium=far), protocol=2)
    assert "the crop misses some of the myocardium in slices 2, 3 (0 is" in caplog.text
    caplog.clear()
    bare = Study("p", study.image, study.geometry)
    assert cut(bare, protocol=1).contained.all()
    assert not caplog.text


@pytest.fixture(scope="module")
def study():
    return phantom.simulate_study("phantom_002")


def with_masks(study, **masks):
    return dataclasses.replace(study, **masks)


def by_slice(change, mask, **options):
    return np.stack([change(plane, **options) for plane in mask])


def rim(study):
    """Returns the line around the heart, a pixel wide."""
    whole = study.myocardium | study.cavity
    return whole & ~by_slice(ndimage.binary_erosion, whole)


WRONG = {
    "empty": (
        lambda s: {"myocardium": np.zeros_like(s.myocardium)},
        "the myocardium is empty in all 8 slices",
    ),
    "inverted": (
        lambda s: {"myocardium": ~s.myocardium},
        r"the myocardium covers 9\d% of its slices; .* inverted",
    ),
    "filled": (
        lambda s: {"myocardium": s.myocardium | s.cavity},
        "no cavity in 8 of its 8 slices, which are 100% of it .* filled",
    ),
    "the cavity": (
        lambda s: {"myocardium": s.cavity, "scar": None},
        "no cavity in 8 of its 8 slices",
    ),
    "swapped": (
        lambda s: {"myocardium": s.scar, "scar": s.myocardium},
        r"\d\d% of the scar lies outside the myocardium, and it is .* swapped",
    ),
    "without the scar": (
        lambda s: {"myocardium": s.myocardium & ~s.scar},
        "100% of the scar lies outside the myocardium",
    ),
    "the scar": (
        lambda s: {"myocardium": s.scar, "scar": None},
        r"surrounds [3-8]\d% of the cavity; expected 90% or more",
    ),
    "a line": (
        lambda s: {"myocardium": rim(s), "scar": None},
        r"wall is 1\.\d mm thick where it is thickest; expected 2.5 to 30 mm",
    ),
    "one slice": (
        lambda s: {"myocardium": s.myocardium & first(s), "scar": None},
        "is drawn in 1 of 8 slices; expected 25% or more",
    ),
}


def first(study):
    return (np.arange(len(study.image)) == 0)[:, None, None]


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_myocardium_is_refused_with_its_numbers_and_can_be_forced(
    study, what, caplog
):
    change, words = WRONG[what]
    wrong = with_masks(study, **change(study))
    with pytest.raises(InputError, match=words) as caught:
        check_masks(wrong)
    assert "--force" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("patient phantom_002: ")
    with caplog.at_level(logging.WARNING):
        check_masks(wrong, force=True)
    assert str(caught.value).split(";")[0] in caplog.text


def test_the_message_names_the_masks_own_file(study):
    empty = np.zeros_like(study.myocardium)
    files = (Path("image.nii"), Path("mask.nii"))
    with pytest.raises(InputError, match=r"^mask\.nii: the myocardium is empty"):
        check_masks(with_masks(study, myocardium=empty, files=files))


def test_the_wall_of_a_ring_is_measured_in_mm():
    """Of radii 22 and 33 mm; a pixel of twice the size doubles it."""
    study = draw_study("p")
    check_masks(study)
    thick = Geometry.upright(2, (10.0, 7.5, 7.5))
    with pytest.raises(InputError, match=r"wall is 3[23]\.\d mm thick"):
        check_masks(dataclasses.replace(study, geometry=thick))


def variants(study, *, most_px):
    """Yields what a less careful or another reader may have drawn."""
    cross = ndimage.generate_binary_structure(2, 1)
    for change in (ndimage.binary_erosion, ndimage.binary_dilation):
        for pixels in range(1, most_px + 1):
            options = {"structure": cross, "iterations": pixels}
            drawn = by_slice(change, study.myocardium, **options)
            yield with_masks(study, myocardium=drawn)
    apex, base = study.myocardium.copy(), study.myocardium.copy()
    apex[-1] = ndimage.binary_fill_holes(apex[-1])
    base[0] = False
    for drawn in (study.myocardium, apex, base):
        yield with_masks(study, myocardium=drawn)


def test_right_masks_pass_though_thinner_thicker_filled_or_absent_at_an_end(caplog):
    for name in phantom.list_patients(4):
        for study in variants(phantom.simulate_study(name), most_px=1):
            check_masks(study)
    assert not caplog.text


def test_no_real_patients_masks_are_refused(emidec, caplog):
    names = emidec_reader.list_patients(emidec)
    for name in names:
        for study in variants(emidec_reader.read_study(emidec, name), most_px=2):
            check_masks(study)
    assert len(names) == 60
    assert not caplog.text


def test_without_a_myocardium_there_is_nothing_to_check(study):
    check_masks(Study(study.patient, study.image, study.geometry))
