"""What is far from the patients that networks learned from."""

import dataclasses

import numpy as np
import pytest
from builders import SPACING_MM, draw_study

from scarseg_jax.prepare.cut import cut
from scarseg_jax.prepare.unlike import ranges_of, traits_of, unlike
from scarseg_jax.study import Geometry


@pytest.fixture
def typical():
    studies = [draw_study(str(seed), seed=seed) for seed in range(20, 40)]
    return ranges_of([traits_of(s, cut(s, protocol=1)) for s in studies])


def far(study, typical):
    return unlike(traits_of(study, cut(study, protocol=1)), typical)


def test_another_patient_of_the_kind_is_not_unlike_whatever_the_scale(typical):
    other = draw_study("f", seed=9)
    assert far(other, typical) == []
    assert far(dataclasses.replace(other, image=7 * other.image - 300), typical) == []


def test_sizes_are_those_of_the_study_closed_form(typical):
    study = draw_study("f", seed=9)
    traits = traits_of(study, cut(study, protocol=1))
    assert traits["slice_mm"] == SPACING_MM[0]
    assert traits["pixel_mm"] == pytest.approx(np.sqrt(SPACING_MM[1] * SPACING_MM[2]))
    thin = (SPACING_MM[0] / 4, *SPACING_MM[1:])
    other = dataclasses.replace(study, geometry=Geometry.upright(2, thin))
    (said,) = far(other, typical)
    assert said == (
        "Unlike the patients that the networks learned from: the slice distance is"
        f" {thin[0]:.3g} mm, theirs {SPACING_MM[0]:.3g} to {SPACING_MM[0]:.3g}."
    )


def test_an_image_with_other_grey_values_is_unlike(typical):
    study = draw_study("f", seed=9)
    spots = np.random.default_rng(0).random(study.image.shape) < 0.01
    dotted = dataclasses.replace(study, image=np.float32(spots * 1000))
    said = " ".join(far(dotted, typical))
    assert "darkness of the crop's darkest 5 %" in said


def test_nothing_is_said_where_nothing_is_known_and_ends_are_in(typical):
    assert unlike(dict.fromkeys(typical, 1e9), {}) == []
    at_ends = {name: high for name, (_, high) in typical.items()}
    assert unlike(at_ends, typical) == []
    sizes = {"slice_mm": 15.01, "pixel_mm": 0.66, "crop_mm": 100.0}
    assert len(unlike(sizes, dict.fromkeys(sizes, (1.0, 10.0)))) == 3
