"""What networks are shown of scar, by what they are given and tell apart."""

import numpy as np
import pytest
from builders import draw_study

from scarseg_jax.learn import targets
from scarseg_jax.prepare import cut
from scarseg_jax.prepare.dataset import DataSet
from scarseg_jax.segment.look import View
from scarseg_jax.shown import shown
from scarseg_jax.study import Slices, Tissue


def shares_in(view):
    studies = tuple(draw_study(name, seed=n) for n, name in enumerate("ab"))
    slices = Slices.concatenate([view.cut_as_drawn(study) for study in studies])
    images, _ = shown(DataSet(slices, studies, {}, "0"), (), view, None, ())
    parts = [view.cut_as_drawn(study) for study in studies]
    tissues = [cut.tissue_shares(s, p) for s, p in zip(studies, parts, strict=True)]
    return images.shares, np.concatenate(tissues), images.inside


def view_of(protocol, classes):
    return View(protocol, context=False, neighbours=0, around="hough", classes=classes)


def test_who_is_given_the_wall_learns_the_scars_share_of_it():
    shares, tissues, inside = shares_in(view_of(2, "scar"))
    wall = tissues[..., [Tissue.MYOCARDIUM - 1, Tissue.SCAR - 1]].sum(axis=-1)
    there = wall >= 0.02
    np.testing.assert_allclose(
        shares[..., 0][there],
        (tissues[..., Tissue.SCAR - 1] / np.where(wall, wall, 1))[there],
        atol=1e-6,
    )
    assert not shares[..., 0][~there].any()
    assert inside is not None
    border = inside & (wall < 0.9) & (tissues[..., Tissue.SCAR - 1] > 0.4)
    assert (shares[..., 0] > tissues[..., Tissue.SCAR - 1] + 0.05)[border].all()
    assert border.any()


@pytest.mark.parametrize(
    ("protocol", "classes"), [(1, "scar"), (2, "heart_scar"), (3, "heart_scar")]
)
def test_others_learn_the_pixels_shares(protocol, classes):
    shares, tissues, _ = shares_in(view_of(protocol, classes))
    np.testing.assert_array_equal(shares, targets.class_shares(tissues, classes))
    assert shares.sum(axis=-1).max() <= 1 + 1e-6
