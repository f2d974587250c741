"""What intensities say beside the networks, and no-reflow, in what predict writes."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from builders import draw_study, run_record, write_nifti
from dicom_studies import circle, images, short_axis, sop_uid, workspace, write

from scarseg_jax.errors import InputError
from scarseg_jax.measure.zones import DEFINITIONS
from scarseg_jax.readers.patient import read_patient
from scarseg_jax.run import Decision, Member, Segmentation, TrainedMember
from scarseg_jax.segment import classical
from scarseg_jax.segment.intensities import DARKEST, by_intensity, zones_of
from scarseg_jax.segment.model import Model
from scarseg_jax.segment.pipeline import find_scar
from scarseg_jax.show.patient_report import write_patient_report
from scarseg_jax.study import Study
from scarseg_jax.writers.segmentation import describe, numbers_of
from tests.hearts import heart, scar_of
from tests.test_run_report import Page

SLICES = 3
# Of the wall, from its angle: remote myocardium of mean 100 and SD 10; scar of 300, and
# between them levels that only some definitions call.
REMOTE, DIM, BRIGHT = (0, 60), (60, 60), (120, 90)


def graded(**values: Any) -> Study:
    """A tube whose intensities are known: 100 +- 10, a sixth of 125, a quarter of 300."""
    study = heart(SLICES)
    wall = np.asarray(study.myocardium)
    rows = np.indices(wall.shape).sum(axis=0)
    image = np.where(wall, np.where(rows % 2, 110, 90), 400)
    image[scar_of(study, *DIM)] = 125
    image[scar_of(study, *BRIGHT)] = 300
    return dataclasses.replace(study, image=image.astype(np.float32), **values)


def found_in(study: Study, scar: np.ndarray | None = None, **values: Any):
    run = run_record()
    scar = scar_of(study, *BRIGHT) if scar is None else scar
    of_all: Any = {"myocardium": study.myocardium, "cavity": study.cavity, **values}
    return Segmentation(
        study, scar.astype(np.float32), scar, Decision(0.5), run.members, run, **of_all
    )


def test_a_threshold_is_5_sd_or_half_way_above_the_remote_myocardium_drawn():
    remote = scar_of(heart(SLICES), *REMOTE)
    remote[1:] = False  # in one slice; the nearest serves the others
    study = graded(remote=remote)
    five, half = by_intensity(found_in(study))
    mean, sd = study.image[remote].mean(), study.image[remote].std()
    for one in (five, half):
        assert one.slices == (0, 1, 2)
        assert one.remote == "drawn"
        assert one.remote_mean == pytest.approx((mean,) * 3)
        assert one.remote_sd == pytest.approx((sd,) * 3)
        assert one.remote_pixels == (int(remote.sum()),) * 3
    assert five.above == pytest.approx((mean + 5 * sd,) * 3)
    assert half.above == pytest.approx(((mean + 300) / 2,) * 3)
    for one in (five, half):  # a quarter of the wall is bright
        assert one.scar_of_lv_percent == pytest.approx(25, abs=0.1)
    assert five.scar_mass_g == pytest.approx(
        1.05 * np.pi * (30**2 - 20**2) * 10 * SLICES / 4 / 1000, rel=0.01
    )


def test_the_maximum_is_of_where_the_brightest_scar_was_marked():
    study = graded()
    marked = scar_of(study, *DIM)
    marked[1:] = False
    _, half = by_intensity(found_in(dataclasses.replace(study, brightest=marked)))
    mean = half.remote_mean[0]
    assert half.above == pytest.approx(((mean + 125) / 2, *((mean + 300) / 2,) * 2))
    outside = np.asarray(study.cavity)
    _, plain = by_intensity(found_in(study))
    _, same = by_intensity(found_in(dataclasses.replace(study, brightest=outside)))
    assert same == plain


def test_what_was_excluded_is_no_scar_and_no_maximum():
    study = graded()
    bright = scar_of(study, *BRIGHT)
    five, half = by_intensity(found_in(dataclasses.replace(study, excluded=bright)))
    plain_five, _ = by_intensity(found_in(study))
    assert five.above == plain_five.above
    assert five.scar_mass_g == 0
    assert half.above == pytest.approx(((half.remote_mean[0] + 125) / 2,) * 3)
    assert five.region.endswith("without what was excluded")
    remote = scar_of(study, *REMOTE)
    without = dataclasses.replace(study, excluded=bright, remote=remote)
    zones = zones_of(found_in(without, no_reflow=bright), "5sd")
    assert zones is not None
    assert not (zones.core & bright).any()
    all_of_it = np.ones(bright.shape, bool)
    nothing = by_intensity(found_in(dataclasses.replace(study, excluded=all_of_it)))
    assert [one.scar_mass_g for one in nothing] == [0, 0]
    with pytest.raises(InputError, match="all of the myocardium is excluded"):
        zones_of(found_in(dataclasses.replace(without, excluded=all_of_it)), "5sd")


def test_slices_may_have_intensities_of_their_own():
    study, gain = graded(), np.array([1, 7, 0.2]).reshape(-1, 1, 1)
    other = dataclasses.replace(study, image=(study.image * gain).astype(np.float32))
    for one, same in zip(
        *(by_intensity(found_in(s)) for s in (study, other)), strict=True
    ):
        assert one.scar_mass_g == pytest.approx(same.scar_mass_g)
        np.testing.assert_allclose(same.above, np.array(one.above) * gain.ravel(), 1e-5)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_where_none_was_drawn_it_is_what_the_methods_without_training_call(seed):
    study = draw_study("p", seed=seed, slices=3)
    wall = np.asarray(study.myocardium)
    spacing_mm = np.tile(study.spacing_mm[1:], (3, 1))
    named = zip(("n-SD", "FWHM"), by_intensity(found_in(study)), strict=True)
    for name, one in named:
        method = classical.METHODS[name]
        level = 5.0 if name == "n-SD" else method.published["FWHM as published"]
        score = classical.score(method.score, study.image, wall, spacing_mm)
        share = 100 * (score >= level).sum() / wall.sum()
        assert one.scar_of_lv_percent == pytest.approx(share, abs=0.1)
        assert one.remote == DARKEST


def test_a_myocardium_of_one_intensity_has_no_scar_and_no_myocardium_no_figure():
    study = heart(SLICES)
    flat = by_intensity(found_in(study))
    assert [one.scar_mass_g for one in flat] == [0, 0]
    bare = dataclasses.replace(study, myocardium=None, cavity=None)
    nothing = found_in(bare, np.zeros(study.image.shape, bool))
    assert by_intensity(nothing) == ()
    assert zones_of(nothing, None) is None
    with pytest.raises(InputError, match="--zones=roes_2009: no myocardium"):
        zones_of(nothing, "roes_2009")


def test_zones_are_those_of_the_definition_and_refused_where_they_mean_nothing():
    remote = scar_of(heart(SLICES), *REMOTE)
    study = graded(remote=remote, phase_sensitive=True)
    wall_ml = np.pi * (30**2 - 20**2) * 10 * SLICES / 1000
    zones = zones_of(found_in(study), "yan_2006")
    numbers = numbers_of(found_in(study), zones=zones)
    assert numbers.zones is not None
    levels = numbers.zones.levels
    assert levels.remote is not None
    assert (levels.definition, levels.remote.source) == ("yan_2006", "drawn")
    assert levels.remote.mean == pytest.approx(100, abs=0.5)
    assert levels.remote.sd == pytest.approx(10, abs=0.1)
    assert levels.remote.pixels == remote.sum()
    assert levels.region_pixels == np.asarray(study.myocardium).sum()
    # 125 is between 2 and 3 SD, 300 above.
    assert numbers.zones.core_mass_g == pytest.approx(1.05 * wall_ml / 4, rel=0.01)
    assert numbers.zones.grey_mass_g == pytest.approx(1.05 * wall_ml / 6, rel=0.01)
    kept = json.loads(json.dumps(describe(found_in(study), numbers)))["numbers"]
    assert kept["zones"]["levels"]["remote"]["pixels"] == remote.sum()
    assert any("remote myocardium: drawn" in said for said in numbers.warnings)


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_a_definition_is_refused_without_the_remote_or_the_zero_that_it_needs(
    definition,
):
    how = DEFINITIONS[definition]
    remote = scar_of(heart(SLICES), *REMOTE)
    cases = [
        (graded(phase_sensitive=False), "without remote", how.takes_remote),
        (graded(remote=remote), "that may be phase-sensitive", how.takes_zero),
        (graded(remote=remote, phase_sensitive=True), "is arbitrary", how.takes_zero),
    ]
    for study, said, refused in cases:
        if refused:
            with pytest.raises(InputError, match=said) as one:
                zones_of(found_in(study), definition)
            assert "\n" not in str(one.value)
        else:
            assert zones_of(found_in(study), definition) is not None
    # An offset shows though no remote myocardium was drawn and none has a part in it.
    if definition in ("amado_fwhm", "roes_2009"):
        study = graded(phase_sensitive=False)
        study = dataclasses.replace(study, image=study.image + 1000)
        with pytest.raises(InputError, match="half of a maximum"):
            zones_of(found_in(study), definition)


def test_remote_myocardium_outside_is_refused_by_zones_and_said_by_the_numbers():
    outside = np.zeros(heart(SLICES).image.shape, bool)
    outside[:, :3, :3] = True
    found = found_in(graded(remote=outside))
    with pytest.raises(InputError, match="none of its 27 pixels are in the myocardium"):
        zones_of(found, "yan_2006")
    beside = by_intensity(found)
    assert beside == by_intensity(found_in(graded()))
    assert [one.remote for one in beside] == [DARKEST] * 2
    (said,) = (s for s in numbers_of(found, by_intensity=beside).warnings if "27" in s)
    assert said.endswith(f"scar by intensity rests on {DARKEST}.")


def test_a_remote_mask_and_the_kind_of_image_are_read(tmp_path):
    study = dataclasses.replace(graded(), geometry=short_axis(SLICES, (10, 1, 1)))
    remote, affine = scar_of(study, *REMOTE), study.geometry.affines[0]
    given: Any = {
        name: write_nifti(tmp_path / f"{name}.nii.gz", mask.astype(np.uint8).T, affine)
        for name, mask in (
            ("remote", remote),
            ("myocardium", np.asarray(study.myocardium)),
        )
    }
    image = write_nifti(tmp_path / "image.nii.gz", study.image.T, affine)
    home = write(tmp_path / "d", images(study))
    for path in (image, home):
        read = read_patient(path, **given, phase_sensitive=True)
        np.testing.assert_array_equal(read.remote, remote)
        np.testing.assert_array_equal(read.myocardium, study.myocardium)
        assert read.phase_sensitive
    with pytest.raises(InputError, match="--nophase_sensitive: the header of series"):
        read_patient(home, phase_sensitive=False)
    assert read_patient(image, phase_sensitive=False).phase_sensitive is False


def test_cvi42s_reference_contour_is_remote_myocardium(tmp_path):
    study = dataclasses.replace(graded(), geometry=short_axis(SLICES, (10, 1, 1)))
    home = write(tmp_path / "d", images(study))
    lines = {
        "saendocardialContour": circle(33.5, 33.5, 20),
        "saepicardialContour": circle(33.5, 33.5, 30),
        "saReferenceMyoContour": circle(33.5, 58, 3),
    }
    drawn = [(sop_uid(7, 1), name, points) for name, points in lines.items()]
    path = tmp_path / "w.cvi42wsx"
    path.write_text(workspace(drawn))
    read = read_patient(home, contours=path)
    assert read.remote is not None
    assert read.remote.sum() == pytest.approx(np.pi * 9, abs=1)
    assert read.remote.any(axis=(1, 2)).tolist() == [False, True, False]


def test_drawn_no_reflow_counts_in_the_scar_and_what_is_not_called_is_said():
    study = heart(SLICES)
    dark = scar_of(study, 120, 20, depth=0.5)
    study = dataclasses.replace(study, no_reflow=dark)
    numbers = numbers_of(found_in(study, no_reflow=dark))
    # (25^2 - 20^2) / (30^2 - 20^2) of 20 of 90 degrees
    assert numbers.no_reflow_of_scar_percent == pytest.approx(10, abs=0.5)
    assert not any("no-reflow" in said for said in numbers.warnings)
    for one in by_intensity(found_in(study, no_reflow=dark)):
        assert one.scar_mass_g == pytest.approx(numbers.no_reflow_mass_g)
    scar = scar_of(study, 130, 80)
    half = numbers_of(found_in(study, scar, no_reflow=dark))
    assert half.scar_mass_g == numbers_of(found_in(study, scar)).scar_mass_g
    assert half.no_reflow_mass_g == pytest.approx(
        (numbers.no_reflow_mass_g or 0) / 2, rel=0.1
    )
    (said,) = (said for said in half.warnings if "no-reflow" in said)
    assert said.startswith("0.66 g of the 1.2 g of no-reflow that was drawn")
    report = describe(found_in(study, scar, no_reflow=dark), half)
    assert report["no_reflow"] == "given"


@pytest.mark.parametrize("drawn", [False, True])
def test_no_reflow_that_the_networks_tell_apart_is_measured_unless_it_was_drawn(drawn):
    member = TrainedMember(Member(0, 0), 1, 0.5, Decision(0.5), ("a",))
    record = run_record(
        protocol=1, classes="scar_no_reflow", members=(member,), fingerprints={}
    )

    def ask(crops, wanted):
        left = np.arange(64) < 32
        each = np.stack([np.where(left, 0.1, 0.5), np.where(left, 0.6, 0.1)], axis=-1)
        return np.broadcast_to(each, (1, len(crops), 64, 64, 2)).astype(np.float32)

    study = draw_study("p", seed=7)
    dark = np.zeros(study.image.shape, bool)
    dark[:, 0, 0] = True
    if drawn:
        study = dataclasses.replace(study, no_reflow=dark)
    model = Model(None, record, (member,), ask)  # pyright: ignore[reportArgumentType]
    found = find_scar(model, study, threshold=0.5)
    report = describe(found)
    assert found.no_reflow is not None
    if drawn:
        np.testing.assert_array_equal(found.no_reflow, dark)
        assert report["no_reflow"] == "given"
        return
    assert report["no_reflow"] == "found"
    assert 40 < report["numbers"]["no_reflow_of_scar_percent"] < 60
    columns = np.flatnonzero(found.no_reflow.any(axis=(0, 1)))
    others = np.flatnonzero((found.scar & ~found.no_reflow).any(axis=(0, 1)))
    assert columns.max() < others.min()


def test_the_page_sets_them_beside_the_networks(tmp_path):
    study = graded(remote=scar_of(heart(SLICES), *REMOTE))
    found = found_in(study)
    numbers = numbers_of(
        found, zones=zones_of(found, "yan_2006"), by_intensity=by_intensity(found)
    )
    write_patient_report(tmp_path / "page.html", found, numbers)
    page = Page((tmp_path / "page.html").read_text())
    masses = [row[1] for row in page.tables["sizes"][-2:]]
    assert masses == [f"{one.scar_mass_g:.1f}" for one in numbers.by_intensity]
    assert "Remote mean + 5 SD: from an intensity of 150.0" in page.text
    assert "Remote myocardium (drawn): means of 100." in page.text
    assert "Yan 2006" in page.text
