import dataclasses

import numpy as np
import pytest
from builders import draw_study, source_of

from scarseg_jax.errors import InputError
from scarseg_jax.prepare import dataset
from scarseg_jax.prepare.cut import cut
from scarseg_jax.prepare.plausible import check_image
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
