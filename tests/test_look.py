"""Who is asked about which slices, cut out where, by networks that say what is told."""

import dataclasses

import numpy as np
import pytest
from builders import draw_study

from scarseg_jax.prepare import crop
from scarseg_jax.segment.look import Networks, Question, View, look

PLAIN = View(protocol=1, context=False, neighbours=0, around="hough", classes="scar")
LEARNED = dataclasses.replace(PLAIN, around="learned", classes="heart_scar")


@pytest.fixture
def studies():
    return [
        draw_study(name, seed=seed, slices=2 + seed) for seed, name in enumerate("ab")
    ]


def test_everyone_is_asked_what_concerns_them_and_several_answer_with_their_mean(
    studies,
):
    calls = []

    def ask(images, wanted):
        """Network m says of an image its mean, plus 10 m."""
        calls.append(wanted)
        means = images[wanted].mean(axis=(2, 3, 4)) + 10 * np.arange(3)[:, None]
        return np.broadcast_to(means[..., None, None, None], (*wanted.shape, 64, 64, 1))

    cut_out = [PLAIN.cut(study) for study in studies]
    for given in (None, *cut_out[:1]):
        questions = [
            Question(studies[0], (0, 2), given),
            Question(studies[1], (2,)),
            Question(studies[1], (0,)),
        ]
        said = look(Networks(ask, 3, PLAIN), questions)
        for answer, who, slices in zip(
            said, (1, 2, 0), [cut_out[i] for i in (0, 1, 1)], strict=True
        ):
            np.testing.assert_array_equal(answer.slices.image, slices.image)
            expected = slices.image.mean(axis=(1, 2, 3)) + 10 * who
            np.testing.assert_allclose(
                answer.probability[:, 5, 5, 0], expected, atol=1e-5
            )
    assert all((wanted[1] == -1).all() for wanted in calls)  # nobody asked network 1


def silent(images, wanted):
    return np.zeros((*wanted.shape, 64, 64, 1), np.float32)


def brightest(images, wanted):
    """Says that what is bright in a slice is the cavity, and what is near it the wall."""
    seen = images[np.maximum(wanted, 0)][..., images.shape[-1] // 2]
    said = np.zeros((*seen.shape, 3), np.float32)
    said[..., 0] = seen > 2
    said[..., 1] = (seen > 1) & (seen <= 2)
    return said


def bright_at(centre_px, radius_px):
    """Returns a study of which only a disc, and a ring around it, are bright."""
    y, x = np.mgrid[:72, :80]
    far = np.hypot(y - centre_px[0], x - centre_px[1])
    image = (far < radius_px).astype(np.float32) + (far < radius_px / 2)
    study = draw_study("p", slices=3)
    image = np.repeat(100 * image[None], 3, axis=0)
    return dataclasses.replace(
        study, image=image, myocardium=None, cavity=None, scar=None
    )


def test_a_heart_off_the_middle_is_found_from_afar_and_cut_out_closely():
    study = bright_at((26, 55), 20)
    (said,) = look(Networks(brightest, 1, LEARNED), [Question(study, (0,))])
    np.testing.assert_allclose(said.slices.centre_px, [[26, 55]] * 3, atol=1.5)
    width_mm = 40 * np.array(study.spacing_mm[1:]).max()
    side_mm = np.clip(crop.AROUND * width_mm, crop.MIN_AROUND_MM, crop.MAX_SIDE_MM)
    np.testing.assert_allclose(said.slices.side_mm, side_mm, rtol=0.1)


@pytest.mark.parametrize("seen_px", [0, 2])
def test_without_a_heart_from_afar_slices_are_cut_out_around_circles(seen_px, caplog):
    study = draw_study("p", slices=3)

    def ask(images, wanted):
        said = np.zeros((*wanted.shape, 64, 64, 3), np.float32)
        said[..., 31 : 31 + seen_px, 31 : 31 + seen_px, 0] = 1
        return said

    (said,) = look(Networks(ask, 1, LEARNED), [Question(study, (0,))])
    circles = LEARNED.cut(study)
    np.testing.assert_array_equal(said.slices.centre_px, circles.centre_px)
    assert "no left ventricle seen from afar" in caplog.text


def test_what_was_drawn_is_not_looked_at_where_it_shall_be_found(studies):
    bare = [
        dataclasses.replace(study, myocardium=None, cavity=None, scar=None)
        for study in studies
    ]
    for one, other in zip(studies, bare, strict=True):
        seen = [
            look(Networks(brightest, 1, LEARNED), [Question(study, (0,))])[0]
            for study in (one, other)
        ]
        np.testing.assert_array_equal(seen[0].slices.image, seen[1].slices.image)


def test_slices_are_cut_out_around_a_myocardium_that_is_given(studies):
    view = View(
        protocol=2, context=True, neighbours=1, around="myocardium", classes="scar"
    )
    (said,) = look(Networks(silent, 1, view), [Question(studies[1], (0,))])
    boxes = crop.boxes_around(studies[1].myocardium, studies[1].spacing_mm)
    assert said.slices.side_mm.tolist() == [box.side_mm for box in boxes or ()]
    assert said.slices.image.shape == (3, 64, 64, 9)
