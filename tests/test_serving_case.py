"""What a person does with a case, and what is kept of it."""

import dataclasses
import json

import numpy as np
import pytest
from builders import draw_study, run_record
from hearts import heart, scar_of

from scarseg_jax.errors import InputError
from scarseg_jax.measure.numbers import measure
from scarseg_jax.measure.segments import from_insertions
from scarseg_jax.run import Decision, Segmentation
from scarseg_jax.segment.intensities import by_intensity
from scarseg_jax.segment.model import Model
from scarseg_jax.segment.pipeline import as_drawn, find_scar
from scarseg_jax.serving import case as cases
from scarseg_jax.serving import view
from scarseg_jax.serving.case import Stroke, swept
from scarseg_jax.show.patient_report import write_patient_report
from scarseg_jax.writers.segmentation import (
    LEAST_OF_SCAR,
    LEAST_OF_WALL,
    describe,
    numbers_of,
)


def case_of(study=None, probability=None, decision=None, **values):
    """A case whose networks say 0.8 where scar was drawn, and 0.3 in all of the wall."""
    study = study or draw_study("p")
    run, wall = run_record(), np.asarray(study.myocardium)
    if probability is None:
        probability = np.where(np.asarray(study.scar), 0.8, 0.3) * wall
    decision = decision or Decision(0.5)
    found = Segmentation(
        study=study,
        probability=probability.astype(np.float32),
        scar=probability >= decision.threshold,
        decision=decision,
        members=run.members,
        run=run,
        **{"myocardium": study.myocardium, "cavity": study.cavity, **values},
    )
    return cases.opened(found)


def scar(case):
    return cases.segmentation(case).scar


def stroke(*points, z=0, width_mm=5.0, erase=False, inside=True):
    return Stroke(z, points, width_mm, erase, inside)


WALL, CAVITY = (36.0, 30.0), (36.0, 41.0)  # of `draw_study`; the scar is at the right


@pytest.mark.parametrize("pixel_mm", [(1.0, 1.0), (0.5, 2.0)])
def test_a_brush_covers_what_is_within_half_its_width_of_the_line(pixel_mm):
    points = np.array([(20.0, 10.0), (20.0, 30.0)])
    mask = swept((50, 50), points, 8.0, pixel_mm)
    y, x = np.mgrid[:50, :50] * np.reshape(pixel_mm, (2, 1, 1))
    (y0, x0), (_, x1) = points * pixel_mm
    beside = np.hypot(y - y0, x - np.clip(x, x0, x1))
    np.testing.assert_array_equal(mask, beside <= 4)


def test_the_finest_brush_paints_the_pixel_it_is_in_and_none_beyond_the_picture():
    mask = swept((9, 9), np.array([(3.4, 5.4)]), 0.01, (1.0, 1.0))
    assert np.argwhere(mask).tolist() == [[3, 5]]
    assert not swept((9, 9), np.array([(-20.0, 300.0)]), 5.0, (1.0, 1.0)).any()


def test_what_was_painted_stays_whatever_the_threshold():
    case = case_of()
    drawn = np.asarray(case.found.study.scar)
    np.testing.assert_array_equal(scar(case), drawn)
    case = cases.painted(case, stroke(WALL))
    own = scar(case) & ~drawn
    assert own[0].any()
    assert not own[1].any()
    case = cases.painted(case, stroke((40.0, 52.0), z=1, erase=True))
    gone = drawn & ~scar(case)
    assert gone[1].any()
    for threshold, called in (
        (0.2, np.asarray(case.found.myocardium)),
        (0.9, np.zeros_like(own)),
    ):
        other = cases.decided(case, Decision(threshold))
        np.testing.assert_array_equal(scar(other), (called | own) & ~gone)
    back = cases.undone(cases.undone(case))
    np.testing.assert_array_equal(scar(back), drawn)
    assert cases.undone(back) is back


def test_too_little_in_all_is_not_called_but_told():
    case = case_of()
    volume_ml = cases.segmentation(case).scar_ml
    for least, dismissed_ml in ((0.99 * volume_ml, 0), (1.01 * volume_ml, volume_ml)):
        found = cases.segmentation(cases.decided(case, Decision(0.5, 0.0, least)))
        assert found.scar_ml == volume_ml - dismissed_ml
        assert found.dismissed_ml == dismissed_ml


def test_the_networks_doubts_are_of_what_they_call_themselves():
    """Not of what a person calls: by another threshold, or by hand."""

    def doubts(found):
        warnings = numbers_of(found).warnings
        return [w for w in warnings if "by their own probabilities" in w]

    found = case_of(sure_of_wall=LEAST_OF_WALL, sure_of_scar=LEAST_OF_SCAR).found
    assert doubts(found) == []
    case = case_of(sure_of_wall=0.7, sure_of_scar=0.3)
    of_wall, of_scar = doubts(cases.segmentation(case))
    assert "not sure of the myocardium that they found" in of_wall
    assert "its Dice is 0.70" in of_wall
    assert "not sure of the scar that they call" in of_scar
    assert "its Dice is 0.30" in of_scar
    for own in (
        cases.decided(case, Decision(0.2)),
        cases.painted(case, stroke(WALL)),
    ):
        assert doubts(cases.segmentation(own)) == [of_wall]
    assert doubts(as_drawn(case.found)) == [of_wall]


def test_clearing_takes_all_by_hand_away_and_can_be_undone():
    case = cases.painted(cases.painted(case_of(), stroke(WALL)), stroke(WALL, z=1))
    clear = cases.cleared(case)
    np.testing.assert_array_equal(scar(clear), case.found.study.scar)
    np.testing.assert_array_equal(scar(cases.undone(clear)), scar(case))
    assert cases.cleared(case_of()).before == ()


def test_scar_is_added_in_the_myocardium_alone_or_anywhere():
    case = case_of()
    assert cases.painted(case, stroke(CAVITY)) is case
    outside = cases.painted(case, stroke(CAVITY, inside=False))
    assert (scar(outside) & ~np.asarray(case.found.myocardium)).any()
    (warning,) = [w for w in view.state(outside)["warnings"] if "outside" in w]
    assert "ml of the scar lie outside" in warning


@pytest.mark.parametrize(
    "odd",
    [
        stroke(WALL, z=2),
        stroke(WALL, z=-1),
        stroke(),
        stroke((float("nan"), 3.0)),
        stroke((1e300, 3.0)),
        stroke(WALL, width_mm=0.0),
        stroke(WALL, width_mm=1e9),
    ],
)
def test_an_odd_stroke_is_refused(odd):
    with pytest.raises(InputError, match="expected one of the 2 slices, and a brush"):
        cases.painted(case_of(), odd)


@pytest.mark.parametrize(
    "odd",
    [
        (0.0, 0.0),
        (1.0, 0.0),
        (float("nan"), 0.0),
        (0.5, -1.0),
        (0.5, np.inf),
        (0.5, 0.0, -1.0),
        (0.5, 0.0, float("nan")),
    ],
)
def test_an_odd_decision_is_refused(odd):
    with pytest.raises(InputError, match="expected a probability between 0 and 1"):
        cases.decided(case_of(), Decision(*odd))


def test_any_change_takes_the_acceptance_back():
    case = dataclasses.replace(
        cases.painted(case_of(heart(), scar_of(heart(), 0, 90)), stroke((33.0, 60.0))),
        accepted=True,
    )
    for changed in (
        cases.decided(case, Decision(0.4)),
        cases.painted(case, stroke((33.0, 59.0), z=1)),
        cases.undone(case),
        cases.cleared(case),
        cases.referenced(case, (4, 8.0, 19.0), None),
    ):
        assert not changed.accepted
        assert cases.segmentation(changed).review is None


def test_the_figures_are_those_of_the_mask_as_it_stands():
    study = heart()
    case = case_of(study, scar_of(study, 0, 90).astype(float))
    case = cases.painted(case, stroke((33.0, 8.0), z=4, width_mm=6.0))
    case = cases.referenced(case, (4, 8.0, 19.0), None)
    reference = from_insertions(study, (4, 8.0, 19.0))
    found = cases.segmentation(case)
    beside = by_intensity(case.found)
    assert [one.name for one in beside] == ["5sd", "fwhm"]
    expected = measure(study, scar(case), reference=reference, by_intensity=beside)
    assert cases.measured(case, found) == expected
    told = view.state(case)
    assert told["figures"]["scar_mass"] == f"{expected.scar_mass_g:.1f} g"
    assert told["figures"]["scar_of_lv"] == f"{expected.scar_of_lv_percent:.1f} %"
    texts = [text for *_, text in told["eyes"]["scar"]["each"]]
    assert texts[:16] == [
        f"{s.scar_of_segment_percent:.1f}" for s in expected.segments[:16]
    ]
    json.dumps({**told, **view.pictures(case)}, allow_nan=False)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.7])
def test_another_threshold_tells_the_no_reflow_that_predict_tells_with_it(threshold):
    run = run_record(protocol=2, classes="scar_no_reflow", fingerprints={})

    def ask(crops, wanted):
        left, top = np.arange(64) < 32, np.arange(64)[:, None] < 32
        total = np.where(top, 0.6, 0.3)
        dark = total * np.where(left, 0.8, 0.2)
        each = np.stack([total - dark, dark], axis=-1).astype(np.float32)
        return np.broadcast_to(each, (*wanted.shape, 64, 64, 2))

    model = Model(None, run, run.members, ask)  # pyright: ignore[reportArgumentType]
    study = draw_study("p", seed=7)
    case = cases.decided(cases.opened(find_scar(model, study)), Decision(threshold))
    now = cases.segmentation(case)
    numbers = cases.measured(case, now)
    predicted = find_scar(model, study, threshold=threshold)
    expected = numbers_of(predicted, by_intensity=by_intensity(predicted))
    assert numbers == expected
    wall = np.asarray(study.myocardium)
    share = numbers.no_reflow_of_scar_percent
    if threshold == 0.7:  # none of it is called, and nobody drew any
        assert numbers.no_reflow_volume_ml == 0
        assert share is None
        assert np.asarray(now.no_reflow)[wall].any()
    else:
        assert share == pytest.approx(50, abs=10)
        called = 1 if threshold == 0.2 else 0.5
        assert now.scar.sum() / wall.sum() == pytest.approx(called, abs=0.1)
    assert not any("no-reflow" in said for said in numbers.warnings)


def test_without_a_myocardium_there_is_still_a_scar_to_correct():
    drawn = draw_study("p")
    study = dataclasses.replace(drawn, myocardium=None, cavity=None, scar=None)
    run = run_record(protocol=1)
    said = np.where(np.asarray(drawn.scar), 0.8, 0.1).astype(np.float32)
    decision = Decision(0.5)
    found = Segmentation(study, said, said >= 0.5, decision, run.members, run)
    case = cases.painted(cases.opened(found), stroke(CAVITY))
    assert scar(case)[0, 36, 41]
    told = view.state(case)
    assert told["figures"]["scar_of_lv"] == "\N{EN DASH}"
    assert "There is no myocardium" in told["warnings"][0]
    with pytest.raises(InputError, match="no myocardium"):
        cases.referenced(case, (0, 36.0, 30.0), None)


def test_the_review_says_what_was_changed_and_by_how_much(tmp_path):
    case = case_of()
    case = cases.painted(case, stroke(WALL, width_mm=0.1))
    case = cases.painted(case, stroke((38.0, 52.0), z=1, width_mm=0.1, erase=True))
    # Painting scar that is called already, or erasing what is not, changes nothing.
    case = cases.painted(case, stroke((38.0, 52.0), width_mm=0.1))
    case = cases.painted(case, stroke((20.0, 52.0), width_mm=0.1, erase=True))
    case = cases.decided(case, Decision(0.6, 25.0))
    case = dataclasses.replace(case, accepted=True)
    found = cases.segmentation(case)
    pixel_ml = 2.5 * 2.5 * 10 / 1000
    told = describe(found)
    assert (told["threshold"], told["min_area_mm2"]) == (0.6, 25.0)
    assert told["review"] == {
        "accepted": True,
        "corrected_by_hand": True,
        "added_ml": pytest.approx(pixel_ml),
        "erased_ml": pytest.approx(pixel_ml),
        "corrected_slices": [0, 1],
        "of_the_networks": {"threshold": 0.5, "min_area_mm2": 0.0, "min_ml": 0.0},
    }
    page = tmp_path / "page.html"
    write_patient_report(page, found, cases.measured(case, found))
    assert "accepted by a person" in page.read_text()
    assert "corrected by hand in slices 0, 1" in page.read_text()


def test_what_nobody_reviewed_says_so():
    assert describe(case_of().found)["review"] is None
